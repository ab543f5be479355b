"""Measure how smooth sequences become along their positions: `python -m spectral.smoothing ckpt.pt`."""

from typing import TYPE_CHECKING

from models.command_line import print_json, run
from models.errors import DataError
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, users_of

if TYPE_CHECKING:
    from torch import Tensor

    from spectral.smoothing import Smoothing


DECIMALS = {"dirichlet_path": 2, "dirichlet_ring": 2, "effective_rank": 2, "stable_rank": 2}


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    c: options.COption = None,
    nulls: options.Nulls,
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
    from spectral.smoothing import Smoothing

    nulls.check()
    output = Output.prepare("smoothing", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    c = subject.modes(c, length)
    windows = subject.users(length)
    subject.describe(len(windows), users_of(length, "users"))

    def measure(other: Subject, inputs: "Tensor") -> "Smoothing":
        return Smoothing.from_captures(other.captures(inputs, attention=False), c)

    measured = measure(subject, windows)
    if not measured.sequences:
        raise DataError(f"{subject.dataset}: no user has two items, so there are no positions to compare")
    of_nulls = nulls.of(subject, windows, measure)
    if files.json:
        described = {"sequences": measured.sequences, "c": c, "layers": measured.summary()}
        print_json(described | options.nulls_json(of_nulls))
    else:
        print_table(measured.summary(), DECIMALS)
        options.print_nulls(of_nulls, DECIMALS)
    output.save(measured.labelled(subject.model.name), of_nulls)


if __name__ == "__main__":
    run(main)
