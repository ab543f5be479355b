"""Measure the frequency response of attention: `python -m spectral.filter_response ckpt.pt`."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import typer
from torch import Tensor

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, users_of
from spectral.filter_response import AttentionPower, FrequencyResponse, attention_power
from spectral.nulls import table_with_nulls
from spectral.resampling import RESAMPLES
from spectral.sums import Sums, sum_of_attention
from spectral.transfer_map import SUMS, TransferMap, TransferPower, transfer_power

DECIMALS = {"gain_dc_db": 2, "gain_nyquist_db": 2, "self_gain_nyquist_db": 2, "cutoff": 2, "passed_ratio": 3}
KEYS, VALUES = ["layer", "head", "frequency"], ["gain_db", "self_gain_db"]  # of the table, for the nulls' columns


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    padding: Annotated[
        bool,
        typer.Option("--padding", help="Also show the whole window of all users, padding included."),
    ] = False,
    c: options.COption = None,
    nulls: options.Nulls,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure how much of each frequency passes the attention of every layer and head.

    Prints the gain (what leaves at any frequency) at DC and at the highest frequency, the self-gain (what stays at its
    frequency) there, the cutoff (cycles per sequence, 3 dB below DC), and the energy that passes above the c lowest
    modes divided by the energy that passes in them. Writes filter_response.png, .pdf and .csv. Rows of padding are not
    attention, so only users with full windows are measured, or with --length the users with exactly n items. JSON also
    has the four sums of spectral.transfer_map. --null measures null models on the same users.
    """
    nulls.check()
    output = Output.prepare("filter_response", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    subject.check_attention()
    measured = measure(subject, length, padding, subject.modes(c, length), nulls)
    if files.json:
        print_json(result(subject, measured))
    else:
        _print_tables(measured)
    output.write(_draw(subject, measured), _table(measured))


@dataclass(frozen=True, eq=False)
class Passed(Sums):
    """The sums of the response and of the transfer map of the same attention."""

    response: AttentionPower
    transfer: TransferPower


@dataclass(frozen=True, eq=False)
class Measured:
    """What is measured on one kind of windows: the response, the transfer map, and the responses of null models."""

    response: FrequencyResponse
    transfer: TransferMap
    nulls: dict[str, list[FrequencyResponse]] = field(default_factory=dict)

    def records(self) -> list[dict[str, Any]]:
        """Return the summary of the response, with the four sums of the transfer map under `transfer`."""
        pairs = zip(self.response.summary(), self.transfer.summary(), strict=True)
        return [record | {"transfer": {name: sums[name] for name in SUMS}} for record, sums in pairs]


def measure(subject: Subject, length: int | None, padding: bool, c: int, nulls: options.Nulls) -> dict[str, Measured]:
    """Return the measures over real positions, "real", and with `padding` those over whole windows, "padded".

    "real" is left out only if padding was asked for without a length and no window is full. Null models are measured
    over real positions. Raises DataError if no user has the length.
    """
    found = {}
    has_full = bool((subject.windows > 0).all(1).any())
    if has_full or length is not None or not padding:
        windows = subject.full_windows(length)
        kind = users_of(length, "users with full windows")
        subject.describe(len(windows), f"{kind} (of {len(subject.windows):,})")

        def response_of(other: Subject, inputs: Tensor) -> FrequencyResponse:
            return FrequencyResponse.from_captures(other.captures(inputs, hidden=False), c, length)

        found["real"] = _measure(subject, windows, c, length, nulls.of(subject, windows, response_of))
    if padding:
        windows = subject.users()
        subject.describe(len(windows), "users with their whole windows, padding included")
        found["padded"] = _measure(subject, windows, c, None, {}, padded=True)
    return found


def _measure(
    subject: Subject,
    windows: Tensor,
    c: int,
    length: int | None,
    nulls: dict[str, list[FrequencyResponse]],
    padded: bool = False,
) -> Measured:
    captures = (captured.last(length) for captured in subject.captures(windows, hidden=False))
    rng = np.random.default_rng(0)
    sums, layers = sum_of_attention(
        captures,
        lambda maps: Passed(attention_power(maps, rng.poisson(1.0, (len(maps[0]), RESAMPLES)).T), transfer_power(maps)),
        padded,
    )
    return Measured(sums.response.response(c, layers), sums.transfer.transfer_map(c, layers), nulls)


def result(subject: Subject, measured: dict[str, Measured]) -> dict[str, Any]:
    """Return the JSON object. It has the key `padding` if padded windows were measured, and `nulls` by name."""
    real, padded = measured.get("real"), measured.get("padded")
    described: dict[str, Any] = {
        "model": subject.model.name,
        "dataset": subject.dataset,
        "users": real.response.users if real else 0,
        "responses": real.records() if real else [],
    }
    described |= options.nulls_json(real.nulls if real else {})
    if padded is not None:
        described["padding"] = {"users": padded.response.users, "responses": padded.records()}
    return described


def _print_tables(measured: dict[str, Measured]) -> None:
    for window, found in measured.items():
        columns = {"window": window} if len(measured) > 1 or window != "real" else {}
        print_table([columns | record for record in found.response.summary()], DECIMALS)
        options.print_nulls(found.nulls, DECIMALS)


def _table(measured: dict[str, Measured]) -> Any:
    import pandas as pd

    return pd.concat(
        table_with_nulls(found.response, found.nulls, KEYS, VALUES).assign(window=window)
        for window, found in measured.items()
    )


def _draw(subject: Subject, measured: dict[str, Measured]) -> Any:
    """Draw gain and self-gain in one column, or in two that share their axes: real positions and whole windows."""
    from spectral import palette, plot  # imports matplotlib, so only when there is something to draw

    name = palette.MODEL_NAMES.get(subject.model.name, subject.model.name)
    names = {"real": name, "padded": f"{name}, with padding"}
    return plot.frequency_response_panels(
        {names[window]: found.response for window, found in measured.items()},
        {names[window]: found.nulls for window, found in measured.items()},
    )


if __name__ == "__main__":
    run(main)
