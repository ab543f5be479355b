"""Put all measures of some checkpoints on one page: `python -m spectral.report ckpt.pt [more.pt ...]`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, run
from models.errors import ConfigError
from models.files import check_replaceable, write_atomically
from spectral import command_line as options


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
    from spectral.analysis import analyse
    from spectral.report import names_of, page

    nulls.check()
    target = checkpoints[0].parent / "report.html" if out is None else out
    if target.is_dir():
        raise ConfigError(f"--out {target} is a folder; name the file to write, as in --out {target}/report.html")
    target.parent.mkdir(parents=True, exist_ok=True)
    check_replaceable(target)
    given = {**vars(users), **vars(loading), "c": c, "null": nulls.null or (), "draws": nulls.draws}
    analyses = {checkpoint: analyse(checkpoint, **given) for checkpoint in checkpoints}
    names = names_of({checkpoint: analysis.subject.model for checkpoint, analysis in analyses.items()})
    named = [replace(analysis, name=name) for name, analysis in zip(names, analyses.values(), strict=True)]
    write_atomically(target, page(named).encode())
    inform(f"wrote {target}")


if __name__ == "__main__":
    run(main)
