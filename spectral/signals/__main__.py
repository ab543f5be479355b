"""Show two users' histories as signals: `python -m spectral.signals ckpt.pt`."""

from typing import Annotated

import typer

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table


def main(
    checkpoint: options.CheckpointArgument,
    *,
    data: options.DataOption = None,
    c: Annotated[
        int | None,
        typer.Option(metavar="c", help="Modes that count as low frequency; odd.", show_default="the model's own, or 3"),
    ] = None,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Show the users with the most and the least low-frequency energy, among those with full windows.

    The signal consists of the items' embeddings along the positions. Prints the share of its energy in the c lowest
    modes and in its mean, and what it does. Writes signals.png, .pdf and .csv with signal, mean, LFC, HFC and spectrum
    of both users.
    """
    from spectral.signals import extreme_signals, own_c

    output = Output.prepare("signals", checkpoint, files)
    subject = Subject.load(checkpoint, data=data, **vars(loading), c=c)
    modes = subject.modes(own_c(subject.model) if c is None else c)
    windows = subject.windows
    chosen = extreme_signals(subject.model, windows, subject.names, modes, subject.batch_size)
    subject.describe(int((windows > 0).all(1).sum()), f"of {len(windows):,} users have a full window")
    if files.json:
        print_json({"c": modes, "users": chosen.summary()})
    else:
        print_table(chosen.summary(), {"low_share": 3, "mean_share": 3, "expected_of_noise": 3})
    output.save(chosen)


if __name__ == "__main__":
    run(main)
