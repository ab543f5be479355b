"""Show two users' histories as signals: `python -m spectral.signals ckpt.pt`."""

from typing import Annotated

import torch
import typer

import models
from models.checkpoint import sequences_of
from models.command_line import check_device, inform, print_json, run
from spectral import command_line as options
from spectral.command_line import FORMATS, Output, check_modes, print_table
from spectral.signals import extreme_signals, own_c


def main(
    checkpoint: options.CheckpointArgument,
    data: options.DataOption = None,
    c: Annotated[
        int | None, typer.Option(metavar="c", help="Modes that count as low frequency; odd [the model's own, or 3].")
    ] = None,
    out: options.OutOption = None,
    format: options.FormatOption = FORMATS,
    json: options.JsonOption = False,
    device: options.DeviceOption = "cpu",
    batch_size: options.BatchSizeOption = options.BATCH_SIZE,
    data_dir: options.DataDirOption = None,
    settings: options.ModelSettings = options.NO_SETTINGS,
) -> None:
    """Show the users with the most and the least low-frequency energy, among those with full windows.

    The signal is that of the items' embeddings along the positions. Prints the share of its energy in the c lowest
    modes; writes signals.png, .pdf and .csv with signal, LFC, HFC and spectrum of both users.
    """
    output = Output.prepare("signals", checkpoint, out, format)
    model = models.load(checkpoint, check_device(device), fallback={"c": c}, **settings)
    modes = check_modes(own_c(model) if c is None else c, model.config.max_len)
    if data is None and len(model.probe.input_ids):
        windows, users, name = model.probe.input_ids, model.probe.users, model.checkpoint["dataset"]["name"]
    else:
        sequences = sequences_of(model, data, data_dir)
        windows = torch.from_numpy(sequences.windows("test", model.config.max_len).inputs)
        users, name = sequences.users, sequences.name
    chosen = extreme_signals(model, windows, users, modes, batch_size)
    inform(f"{model.name} on {name}: {int((windows > 0).all(1).sum()):,} of {len(windows):,} users have a full window")
    if json:
        print_json({"c": modes, "users": [signal.summary() for signal in chosen]})
    else:
        print_table([signal.summary() for signal in chosen], {"low_share": 3, "expected_of_noise": 3})
    import pandas as pd

    from spectral import plot

    output.write(plot.signals(chosen), pd.concat([signal.table() for signal in chosen]))


if __name__ == "__main__":
    run(main)
