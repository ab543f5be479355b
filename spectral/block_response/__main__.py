"""Measure the frequency response of whole layers: `python -m spectral.block_response ckpt.pt`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

import spectral.command_line as options
from models.command_line import print_json, run
from models.errors import ConfigError
from spectral.choices import PROBES
from spectral.command_line import Output, Subject, print_table, users_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from spectral.block_response import BlockResponse


DECIMALS_OF_POSITIONS = {"last_dc_db": 2, "last_nyquist_db": 2}
DECIMALS = {"gain_dc_db": 2, "nyquist_relative_db": 2, "last_nyquist_relative_db": 2, "cutoff": 2, "passed_ratio": 3}


@dataclass(frozen=True)
class Users(options.Users):
    """The users to measure. A derivative costs about a hundred times as much as its layer, and 128 users suffice."""

    max_users: options.MaxUsersOption = 128


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: Users,
    length: options.LengthOption = None,
    positions: Annotated[
        bool, typer.Option("--positions", help="Measure the gain at each output position instead, as a map.")
    ] = False,
    probes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Random outputs to backpropagate, per user.",
            show_default=f"{PROBES}; with --positions one for each position",
        ),
    ] = None,
    c: options.COption = None,
    nulls: options.Nulls,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure how much of each frequency passes whole layers: attention, residuals, norms and feed-forward.

    A small wave of each frequency is added to the layer's input, and its power in the output is measured, at all
    positions and at the last one only. Prints the gain at DC, the gain at the highest frequency relative to DC, and
    cutoff and passed ratio as spectral.filter_response does. Writes block_response.png, .pdf and .csv. Only users
    with full windows are measured, or with --length the users with exactly n items. --null measures null models too.

    --positions is for filters that differ between positions. Prints how much the gain varies over output positions at
    DC and at the highest frequency (standard deviation / mean), and the gain at the last position relative to the root
    mean square of all. Writes position_response.png, .pdf and .csv.
    """
    from spectral.block_response import block_response
    from spectral.capture import in_batches
    from spectral.resampling import RESAMPLES

    nulls.check()
    if positions and nulls.null:
        raise ConfigError("--positions has no null models; drop --null")
    output = Output.prepare("position_response" if positions else "block_response", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    c = subject.modes(c, length)
    windows = subject.full_windows(length)
    kind = users_of(length, "users with full windows")
    subject.describe(len(windows), f"{kind} (of {len(subject.windows):,})")
    if positions:
        batches = in_batches(windows, loading.batch_size, subject.model.name)
        _at_positions(subject, batches, length, probes or 1, output, files.json)
        return

    def measure(other: Subject, inputs: "Tensor", resamples: int = 0) -> "BlockResponse":
        batches = in_batches(inputs, loading.batch_size, other.model.name)
        return block_response(other.model, batches, c, length, probes or PROBES, resamples=resamples)

    response, of_nulls = measure(subject, windows, RESAMPLES), nulls.of(subject, windows, measure)
    if files.json:
        print_json({"users": response.users, "responses": response.summary()} | options.nulls_json(of_nulls))
    else:
        print_table(response.summary(), DECIMALS)
        options.print_nulls(of_nulls, DECIMALS)
    output.save(response, of_nulls)


def _at_positions(
    subject: Subject, batches: "Iterable[Tensor]", length: int | None, probes: int, output: Output, json: bool
) -> None:
    from spectral.block_response.positions import position_response

    response = position_response(subject.model, batches, length, probes)
    if json:
        print_json({"users": response.users, "positions": response.gain.shape[1], "layers": response.summary()})
    else:
        print_table(response.summary(), DECIMALS_OF_POSITIONS)
    output.save(response.labelled(subject.model.name))


if __name__ == "__main__":
    run(main)
