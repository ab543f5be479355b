"""Measure how smooth sequences become along their positions: `python -m spectral.smoothing ckpt.pt`."""

from models.command_line import print_json
from models.errors import DataError
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, run, users_of
from spectral.smoothing import Smoothing

DECIMALS = {"dirichlet_path": 2, "dirichlet_ring": 2, "effective_rank": 2, "stable_rank": 2}


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    c: options.COption = None,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure how smooth the hidden states of users are along the positions of their sequences, after each layer.

    The measures are MAD (mean of 1 - cosine over pairs of positions), Dirichlet energy on the path and the ring, as it
    is and divided by the energy, effective and stable rank, the share of DC in the energy, and the energy above the c
    lowest modes divided by the energy in them. They are means over users with at least two items, on their real
    positions. Prints them, and writes smoothing.png, .pdf and .csv with standard errors. Layer 0 is the embedding
    output.
    """
    output = Output.prepare("smoothing", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    c = subject.modes(c, length)
    windows = subject.users(length)
    subject.describe(len(windows), users_of(length, "users"))
    measured = Smoothing.from_captures(subject.captures(windows, attention=False), c)
    if not measured.sequences:
        raise DataError(f"{subject.dataset}: no user has two items, so there are no positions to compare")
    if files.json:
        print_json({"sequences": measured.sequences, "c": c, "layers": measured.summary()})
    else:
        print_table(measured.summary(), DECIMALS)
    from spectral import plot

    output.write(plot.smoothing_panels({subject.model.name: measured}), measured.table())


if __name__ == "__main__":
    run(main)
