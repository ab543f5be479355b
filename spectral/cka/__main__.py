"""Compare layers of one model or of several by linear CKA: `python -m spectral.cka ckpt.pt [more.pt ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table


def main(
    checkpoints: Annotated[list[Path], typer.Argument(help="One or several checkpoints.", metavar="CHECKPOINT...")],
    *,
    users: options.Users,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Compare the users' hidden states at the last position between layers and between models.

    Linear CKA is 1 if two layers are a rotation of each other, and 0 if they have nothing in common. Models are
    compared on the users that all of them have. Prints every pair of layers, with the CKA of users matched at random,
    and writes cka.png, .pdf and .csv. Layer 0 is the embedding output. Options for third-party checkpoints apply to
    every checkpoint.
    """
    from spectral.capture import capture, in_batches
    from spectral.cka import LinearCKA
    from spectral.report import names_of
    from spectral.users_in_common import windows_in_common

    output = Output.prepare("cka", checkpoints[0], files)
    subjects = {path: Subject.load(path, **vars(users), **vars(loading)) for path in checkpoints}
    names = names_of({path: subject.model for path, subject in subjects.items()})
    of_each = dict(zip(names, subjects.values(), strict=True))
    windows = windows_in_common(of_each)
    inform(f"{', '.join(names)} on {next(iter(of_each.values())).dataset}: {len(windows[names[0]]):,} users")
    measured = LinearCKA.from_captures(
        {
            name: capture(subject.model, in_batches(windows[name], loading.batch_size, name), attention=False)
            for name, subject in of_each.items()
        }
    )
    if files.json:
        print_json({"users": measured.users, "pairs": measured.summary()})
    else:
        print_table(measured.summary(), {"cka": 3, "by_chance": 3})
    output.save(measured)


if __name__ == "__main__":
    run(main)
