"""Measure the frequency response of attention: `python -m spectral.filter_response ckpt.pt`."""

from typing import Annotated, Any

import typer

from models.command_line import print_json
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, run, users_of
from spectral.filter_response import FrequencyResponse

DECIMALS = {"gain_dc_db": 2, "gain_nyquist_db": 2, "cutoff": 2, "hfc_lfc": 3}


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
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure how much of each frequency passes the attention of every layer and head.

    Prints the gain at DC and at the highest frequency, the cutoff (cycles per sequence, 3 dB below DC), and the energy
    that passes above the c lowest modes divided by the energy that passes in them. Writes filter_response.png, .pdf
    and .csv. Rows of padding are not attention, so only users with full windows are measured, or with --length the
    users with exactly n items.
    """
    output = Output.prepare("filter_response", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    subject.check_attention()
    c = subject.modes(c, length)
    responses = measure(subject, length, padding, c)
    if files.json:
        print_json(result(subject, responses))
    else:
        _print_tables(responses)
    output.write(_draw(subject, responses), _table(responses))


def measure(subject: Subject, length: int | None, padding: bool, c: int) -> dict[str, FrequencyResponse]:
    """Return the response over real positions, "real", and with `padding` the one over whole windows, "padded".

    "real" is left out only if padding was asked for without a length and no window is full. Raises DataError if no
    user has the length.
    """
    responses = {}
    has_full = bool((subject.windows > 0).all(1).any())
    if has_full or length is not None or not padding:
        windows = subject.full_windows(length)
        kind = users_of(length, "users with full windows")
        subject.describe(len(windows), f"{kind} (of {len(subject.windows):,})")
        captures = subject.captures(windows, hidden=False)
        responses["real"] = FrequencyResponse.from_captures(captures, c, length)
    if padding:
        windows = subject.users()
        subject.describe(len(windows), "users with their whole windows, padding included")
        captures = subject.captures(windows, hidden=False)
        responses["padded"] = FrequencyResponse.from_captures(captures, c, padded=True)
    return responses


def result(subject: Subject, responses: dict[str, FrequencyResponse]) -> dict[str, Any]:
    """Return the JSON object. It has the key `padding` if padded windows were measured."""
    real, padded = responses.get("real"), responses.get("padded")
    described = {
        "model": subject.model.name,
        "dataset": subject.dataset,
        "users": real.users if real else 0,
        "responses": real.summary() if real else [],
    }
    if padded is not None:
        described["padding"] = {"users": padded.users, "responses": padded.summary()}
    return described


def _print_tables(responses: dict[str, FrequencyResponse]) -> None:
    for window, response in responses.items():
        columns = {"window": window} if len(responses) > 1 or window != "real" else {}
        print_table([columns | record for record in response.summary()], DECIMALS)


def _table(responses: dict[str, FrequencyResponse]) -> Any:
    import pandas as pd

    return pd.concat([response.table().assign(window=window) for window, response in responses.items()])


def _draw(subject: Subject, responses: dict[str, FrequencyResponse]) -> Any:
    """Draw one panel, or two that share their axes: real positions and whole windows."""
    from spectral import palette, plot  # imports matplotlib, so only when there is something to draw

    name = palette.MODEL_NAMES.get(subject.model.name, subject.model.name)
    names = {"real": name, "padded": f"{name}, with padding"}
    return plot.side_by_side(
        {names[window]: response for window, response in responses.items()}, plot.frequency_response
    )


if __name__ == "__main__":
    run(main)
