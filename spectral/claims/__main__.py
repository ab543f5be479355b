"""Judge the paper's claims on the runs that are there: `python -m spectral.claims figures`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, print_json, run
from spectral import command_line as options
from spectral.command_line import print_table


def main(
    figures: Annotated[Path, typer.Argument(help="The gallery, with <dataset>/runs/<profile> in it.")] = Path(
        "figures"
    ),
    *,
    profile: Annotated[str, typer.Option(help="Which runs: smoke, quick or paper.")] = "paper",
    dataset: Annotated[
        list[str] | None, typer.Option(help="Judge on these datasets only. Repeatable.", show_default="all with runs")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write OUT.csv and OUT.md.", show_default="<figures>/claims")] = None,
    data_dir: options.DataDirOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Judge each claim: reproduced, contradicted, or undecided, with the reason. Writes claims.csv and claims.md.

    Reads results and spectral summaries of runs only; claims about users' histories also read the dataset's file.
    """
    from spectral.claims import ledger
    from spectral.claims.paper import CLAIMS

    judged = ledger(figures, CLAIMS, profile, dataset, data_dir)
    judged.write(out or figures / "claims")
    columns = ["claim", "dataset", "estimate", "low", "high", "p_holm", "verdict", "reason"]
    if json:
        print_json({"profile": profile, "claims": judged.table().to_dict("records")})
    else:
        print_table(judged.table()[columns].to_dict("records"), {})
    inform(f"{judged.sentence()} Wrote {out or figures / 'claims'}.csv and .md")


if __name__ == "__main__":
    run(main)
