"""Measure the frequency response of attention: `python -m spectral.filter_response ckpt.pt`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table

if TYPE_CHECKING:
    from spectral.filter_response.with_transfer import Measured


DECIMALS = {"gain_dc_db": 2, "gain_nyquist_db": 2, "self_gain_nyquist_db": 2, "cutoff": 2, "passed_ratio": 3}


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
    from spectral.filter_response.with_transfer import measured_with_transfer, result

    nulls.check()
    output = Output.prepare("filter_response", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    subject.check_attention()
    measured = measured_with_transfer(subject, length, padding, subject.modes(c, length), nulls)
    if files.json:
        print_json(result(subject, measured))
    else:
        _print_tables(measured)
    output.write(_draw(subject, measured), _table(measured))


def _print_tables(measured: "dict[str, Measured]") -> None:
    for window, found in measured.items():
        columns = {"window": window} if len(measured) > 1 or window != "real" else {}
        print_table([columns | record for record in found.response.summary()], DECIMALS)
        options.print_nulls(found.nulls, DECIMALS)


def _table(measured: "dict[str, Measured]") -> Any:
    import pandas as pd

    return pd.concat(
        found.response.table_of_files(found.nulls).assign(window=window) for window, found in measured.items()
    )


def _draw(subject: Subject, measured: "dict[str, Measured]") -> Any:
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
