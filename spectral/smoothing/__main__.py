"""Measure how smooth sequences become along their positions: `python -m spectral.smoothing ckpt.pt`."""

from models.command_line import print_json, run
from models.errors import DataError
from spectral import command_line as options
from spectral.command_line import FORMATS, Output, Subject, check_modes, print_table
from spectral.response import DEFAULT_C
from spectral.smoothing import Smoothing

DECIMALS = {"dirichlet_path": 2, "dirichlet_ring": 2, "effective_rank": 2, "stable_rank": 2}


def main(
    checkpoint: options.CheckpointArgument,
    data: options.DataOption = None,
    split: options.SplitOption = "test",
    max_users: options.MaxUsersOption = None,
    length: options.LengthOption = None,
    c: options.COption = None,
    out: options.OutOption = None,
    format: options.FormatOption = FORMATS,
    json: options.JsonOption = False,
    device: options.DeviceOption = "cpu",
    batch_size: options.BatchSizeOption = options.BATCH_SIZE,
    data_dir: options.DataDirOption = None,
    settings: options.ModelSettings = options.NO_SETTINGS,
) -> None:
    """Measure how smooth the hidden states of users are along the positions of their sequences, after each layer.

    MAD (mean of 1 - cosine over pairs of positions), Dirichlet energy on the path and the ring, as is and
    divided by the energy, effective and stable rank, the share of DC in the energy, and energy above c modes
    over that below; means over users with at least two items, on their real positions. Prints them; writes
    smoothing.png, .pdf and .csv with standard errors. Layer 0 is the embedding output.
    """
    output = Output.prepare("smoothing", checkpoint, out, format)
    subject = Subject.load(
        checkpoint,
        data=data,
        split=split,
        max_users=max_users,
        device=device,
        batch_size=batch_size,
        data_dir=data_dir,
        settings=settings,
        c=c,
    )
    c = DEFAULT_C if c is None else c
    check_modes(c, subject.model.config.max_len if length is None else length)
    windows = subject.users(length)
    subject.describe(len(windows), "users" if length is None else f"users with exactly {length} items")
    measured = Smoothing.from_captures(subject.captures(windows, attention=False), c)
    if not measured.sequences:
        raise DataError(f"{subject.dataset}: no user has two items, so there are no positions to compare")
    if json:
        print_json({"sequences": measured.sequences, "c": c, "layers": measured.summary()})
    else:
        print_table(measured.summary(), DECIMALS)
    from spectral import plot

    output.write(plot.smoothing_panels({subject.model.name: measured}), measured.table())


if __name__ == "__main__":
    run(main)
