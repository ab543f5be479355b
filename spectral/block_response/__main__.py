"""Measure the frequency response of whole layers: `python -m spectral.block_response ckpt.pt`."""

from dataclasses import dataclass
from typing import Annotated

import typer

import spectral.command_line as options
from models.command_line import print_json
from spectral.block_response import PROBES, block_response
from spectral.capture import in_batches
from spectral.command_line import Output, Subject, print_table, run, users_of

DECIMALS = {"gain_dc_db": 2, "nyquist_relative_db": 2, "last_nyquist_relative_db": 2, "cutoff": 2, "hfc_lfc": 3}


@dataclass(frozen=True)
class Users(options.Users):
    """The users to measure. A derivative costs about a hundred times as much as its layer, and 128 users suffice."""

    max_users: options.MaxUsersOption = 128


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: Users,
    length: options.LengthOption = None,
    probes: Annotated[int, typer.Option(min=1, help="Random outputs to backpropagate, per user.")] = PROBES,
    c: options.COption = None,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure how much of each frequency passes whole layers: attention, residuals, norms and feed-forward.

    A small wave of each frequency is added to the layer's input, and its power in the output is measured, at all
    positions and at the last one only. Prints the gain at DC, the gain at the highest frequency relative to DC, and
    cutoff and HFC/LFC as spectral.filter_response does. Writes block_response.png, .pdf and .csv. Only users with full
    windows are measured, or with --length the users with exactly n items.
    """
    output = Output.prepare("block_response", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    c = subject.modes(c, length)
    windows = subject.full_windows(length)
    kind = users_of(length, "users with full windows")
    subject.describe(len(windows), f"{kind} (of {len(subject.windows):,})")
    batches = in_batches(windows, loading.batch_size, subject.model.name)
    response = block_response(subject.model, batches, c, length, probes)
    if files.json:
        print_json({"users": response.users, "responses": response.summary()})
    else:
        print_table(response.summary(), DECIMALS)
    from spectral import plot

    figure, axes = plot.panels(2)
    for ax, at, label in zip(axes, ("all", "last"), ("all positions", "last position"), strict=True):
        plot.block_response(response, at=at, label=label, ax=ax)
        ax.label_outer()
    output.write(figure, response.table())


if __name__ == "__main__":
    run(main)
