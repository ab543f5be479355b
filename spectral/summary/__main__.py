"""Write what the curves of a finished run need: `python -m spectral.summary ckpt.pt`."""

from pathlib import Path
from typing import Annotated

import torch
import typer

import models
from models.checkpoint import sequences_of
from models.command_line import check_device, inform, run
from spectral import command_line as options
from spectral.summary import summarise


def main(
    checkpoint: options.CheckpointArgument,
    result: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write (default: beside the checkpoint, .spectral.npz)."),
    ] = None,
    device: options.DeviceOption = "cpu",
    batch_size: options.BatchSizeOption = options.BATCH_SIZE,
    data_dir: options.DataDirOption = None,
) -> None:
    """Measure all users of the dataset that a run was trained on, and write the sums from which its curves are drawn.

    The sums are over all users and over 200 bootstrap samples of them: response of attention, spectrum of hidden
    states, singular values, ranks and similarities after each layer. BSARec's beta is stored as well.
    """
    model = models.load(checkpoint, check_device(device))
    sequences = sequences_of(model, data_dir=data_dir)
    assert model.checkpoint is not None
    windows = torch.from_numpy(sequences.windows("test", model.config.max_len, model.config.padding).inputs)
    about = {
        "model": model.name,
        "dataset": sequences.name,
        "fingerprint": sequences.fingerprint,
        "seed": model.checkpoint["seed"],
        "versions": model.checkpoint["versions"],
    }
    path = result or checkpoint.with_suffix(".spectral.npz")
    summarise(model, windows, about, batch_size, progress=True).save(path)
    inform(f"wrote {path}")


if __name__ == "__main__":
    run(main)
