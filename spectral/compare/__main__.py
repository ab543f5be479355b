"""Compare spectral measures of systems over users and seeds: `python -m spectral.compare A-seed1.spectral.npz ...`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, print_json, run
from models.files import write_atomically
from spectral.choices import COMPARED
from spectral.command_line import print_table

DECIMALS = {"layer": 0}


def main(
    summaries: Annotated[
        list[Path],
        typer.Argument(help="Summaries of runs, <system>-seed<seed>.spectral.npz.", metavar="SUMMARY..."),
    ],
    *,
    measure: Annotated[str, typer.Option(help=f"One of {', '.join(COMPARED)}.")] = "effective_rank",
    reference: Annotated[
        str | None, typer.Option(help="System that the others are compared with.", show_default="of the first file")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="CSV to write.", show_default="none")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Print each system's difference to a reference in a spectral measure, with intervals over users and seeds.

    The systems are those that the files are named after. p-values have Holm's correction for the number of rows.
    """
    from spectral.compare import MEASURES, by_system, compare
    from spectral.summary import read_summary

    table = compare(by_system({path: read_summary(path) for path in summaries}), measure, reference).table()
    rows = table.to_dict("records")
    if file is not None:
        write_atomically(file, table.to_csv(index=False).encode())
        inform(f"wrote {file}")
    if json:
        print_json({"measure": measure, "what": MEASURES[measure].what, "rows": rows})
        return
    over = "users and seeds" if table.knows_seeds.all() else "users, and over seeds where knows_seeds is yes"
    inform(f"{MEASURES[measure].what}; difference to {table.reference[0]} with its 95% interval over {over}")
    print_table(rows, DECIMALS)


if __name__ == "__main__":
    run(main)
