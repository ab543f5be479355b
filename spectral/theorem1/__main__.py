"""Check Theorem 1 on random attention and on that of a checkpoint: `python -m spectral.theorem1 ckpt.pt`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from models.command_line import inform, print_json, run
from models.errors import ConfigError
from spectral import command_line as options
from spectral.command_line import Output, Subject, check_modes, print_table

if TYPE_CHECKING:
    from spectral.theorem1 import Attention, Theorem1


DECIMALS = {"limit": 3}


@dataclass(frozen=True)
class Users(options.Users):
    """The users to measure. One user has a matrix for every head, which is enough for a table."""

    max_users: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Check the attention of the first K users.")
    ] = 1


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: Users,
    length: options.LengthOption = None,
    c: options.COption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random attention and of x.")] = 0,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Check numerically that repeated attention is a low-pass filter, at which rate, and when it is not.

    Takes random attention, and the attention of every layer and head for the first user with a full window (with
    --length: with exactly n items), bidirectional and causal. Shows the second eigenvalue, the predicted and the
    measured change of log(HFC/LFC) per step, and the limit of HFC/LFC, for a random x and for one with pi^T x = 0,
    where pi is the left Perron vector (pi^T A = pi^T). Prints a table and writes theorem1.png, .pdf and .csv.
    """
    from spectral.theorem1 import DEFAULT_C, theorem1

    output = Output.prepare("theorem1", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    c = DEFAULT_C if c is None else c
    subject.check_attention()
    windows = subject.full_windows(length)
    _check_positions(subject, length, c)
    kind = "with a full window" if length is None else f"with exactly {length} items"
    subject.describe(len(windows), f"user{'s' if len(windows) > 1 else ''} {kind}, the first")
    checked = theorem1([*_random(c, seed), *_trained(subject, length)], c, seed)
    if files.json:
        print_json({"cases": checked.summary()})
    else:
        _print_tables(subject, checked, length)
    output.save(checked)


def _check_positions(subject: Subject, length: int | None, c: int) -> None:
    """Raise ConfigError if c modes leave none for HFC."""
    positions = subject.model.config.max_len if length is None else length
    check_modes(c, positions)
    if c >= positions:
        raise ConfigError(f"--c must be below the number of positions, {positions}, or no mode is high; got {c}")


def _random(c: int, seed: int) -> "list[Attention]":
    """Return random attention matrices with more positions than low modes."""
    from spectral.theorem1 import random_attentions

    return [case for case in random_attentions(seed=seed) if len(case.matrix) > c]


def _trained(subject: Subject, length: int | None) -> "list[Attention]":
    from spectral.theorem1 import Attention, trained_attentions

    windows = subject.full_windows(length)
    return [
        Attention(f"user {user}, {case.name}" if len(windows) > 1 else case.name, case.matrix, case.causal)
        for user, window in enumerate(windows, start=1)
        for case in trained_attentions(subject.model, window)
    ]


def _print_tables(subject: Subject, checked: "Theorem1", length: int | None) -> None:
    from spectral.theorem1 import layer_ratios

    collapse = [{"collapses_onto": case.collapses_onto, "weight": case.collapse_weight} for case in checked.cases]
    print_table([record | onto for record, onto in zip(checked.summary(), collapse, strict=True)], DECIMALS)
    inform("collapses_onto: position (from 0) with the largest weight in A^t for large t; slopes: log per step")
    ratios = layer_ratios(subject.captures(subject.full_windows(length), attention=False), checked.c, length)
    print()
    print_table([{"layer": layer, "high_low_norms": ratio} for layer, ratio in ratios.items()], {})
    inform(
        "high_low_norms: ||HFC|| / ||LFC|| of the hidden states after whole blocks, to which the theorem does not apply"
    )


if __name__ == "__main__":
    run(main)
