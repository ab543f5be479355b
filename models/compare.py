"""Compare finished runs: `python -m models.compare runs/paper/lastfm`."""

from pathlib import Path
from typing import Annotated

import typer

from models.choices import METRICS, PRINTED, TESTS
from models.command_line import inform, print_json, run
from models.errors import ConfigError, did_you_mean


def main(
    runs: Annotated[list[Path], typer.Argument(help="checkpoints, results (.json), or folders with results")],
    reference: Annotated[
        str | None,
        typer.Option(help="system or model that the others are tested against", show_default="the best by NDCG@20"),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help=f"columns of the printed tables, separated by commas: some of {', '.join(METRICS)}")
    ] = ",".join(PRINTED),
    test: Annotated[str, typer.Option(help=f"over users: {' or '.join(TESTS)}")] = "permutation",
    out: Annotated[Path | None, typer.Option(help="write OUT.csv, OUT.md and OUT.tex", show_default="none")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
) -> None:
    """Print every system's mean and standard deviation over seeds, and tests over users against the best system."""
    from models.results.comparison import compare, write_tables
    from models.results.runs import collect
    from models.results.significance import WHAT_IS_TESTED

    columns = [name.strip() for name in metrics.split(",")]
    if unknown := [name for name in columns if name not in METRICS]:
        raise ConfigError(
            f"unknown metric {', '.join(unknown)}; choose among {', '.join(METRICS)}{did_you_mean(unknown[0], METRICS)}"
        )
    comparison = compare(collect(runs), reference, test=test)
    if out is not None:
        write_tables(comparison, out, columns)
    if json:
        rows = comparison.table().to_dict("records")
        print_json({"dataset": comparison.dataset, "reference": comparison.reference, "test": test, "rows": rows})
        return
    inform(
        f"{comparison.dataset}: mean ± standard deviation over seeds (none for one seed). {comparison.losses()} p: "
        f"{WHAT_IS_TESTED[test]}, against {comparison.reference}, with Holm's correction. In brackets: the 95% "
        f"interval over users and, where both have several, seeds. {comparison.sentence()}"
    )
    print(comparison.to_markdown(columns), end="")


if __name__ == "__main__":
    run(main)
