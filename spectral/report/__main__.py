"""Put all measures of some checkpoints on one page: `python -m spectral.report ckpt.pt [more.pt ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, run
from models.errors import ConfigError
from models.files import check_replaceable, write_atomically
from spectral import command_line as options
from spectral.command_line import Subject, check_modes


def main(
    checkpoints: Annotated[list[Path], typer.Argument(help="One or several checkpoints.", metavar="CHECKPOINT...")],
    *,
    users: options.Users,
    c: options.COption = None,
    nulls: options.Nulls,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write.", show_default="report.html beside the first one"),
    ] = None,
    loading: options.Loading,
) -> None:
    """Take all measures of one or several checkpoints, and write them side by side to one HTML file.

    The file contains its pictures and tables, opens without a network, and can be printed. If a model does not have a
    measure, the file says why. Sentences in bold say what a model does beyond its null models: uniform attention and
    initial weights, or those of --null. Options for third-party checkpoints apply to every checkpoint.
    """
    from spectral.analysis import Analysis
    from spectral.report import names_of, page
    from spectral.response import DEFAULT_C

    nulls.check()
    target = checkpoints[0].parent / "report.html" if out is None else out
    if target.is_dir():
        raise ConfigError(f"--out {target} is a folder; name the file to write, as in --out {target}/report.html")
    target.parent.mkdir(parents=True, exist_ok=True)
    check_replaceable(target)
    subjects = {checkpoint: Subject.load(checkpoint, **vars(users), **vars(loading), c=c) for checkpoint in checkpoints}
    c = DEFAULT_C if c is None else c
    check_modes(c, min(subject.model.config.max_len for subject in subjects.values()))
    names = names_of({path: subject.model for path, subject in subjects.items()})
    analyses = [
        Analysis(subject, name, path.name, c, nulls.null or (), nulls.draws)
        for name, (path, subject) in zip(names, subjects.items(), strict=True)
    ]
    write_atomically(target, page(analyses).encode())
    inform(f"wrote {target}")


if __name__ == "__main__":
    run(main)
