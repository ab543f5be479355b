"""Command line: list, fetch and describe datasets, and import tables of interactions."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from models import datasets
from models.command_line import inform, print_json, run_app, with_verbosity
from models.datasets import files, synthetic
from models.datasets.registry import DATASETS
from models.datasets.statistics import describe_sequences, statistics_table
from models.errors import ConfigError
from models.files import check_replaceable, write_atomically

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Look for the files here first, then in $SPECTRAL_DATA_DIR.",
        show_default="none",
    ),
]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """List, fetch and describe the datasets that models are trained on; without a command, list them."""
    if context.invoked_subcommand is None:
        list_datasets()


@app.command("list")
@with_verbosity
def list_datasets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the known names, and whether their files are already on this machine."""
    rows = [
        {"name": name, "description": dataset.description, "path": _present(dataset.file_names, data_dir)}
        for name, dataset in DATASETS.items()
    ]
    knobs = "generated; knobs: users, items, change, persistence, length, seed"
    rows.append({"name": synthetic.NAME, "description": knobs, "path": None})
    if as_json:
        print_json({"datasets": rows})
        return
    for row in rows:
        place = row["path"] or ("" if row["name"] == synthetic.NAME else "(to be downloaded)")
        print(f"{row['name']:<10} {row['description']:<66} {place}".rstrip())
    print("Also: a path of a text file with one user per line, 'user item item ...'.")


@app.command()
@with_verbosity
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `list` shows.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Download and verify the files of datasets that are not on this machine yet."""
    paths = {name: datasets.fetch(name, data_dir) for name in names}
    if as_json:
        print_json({"files": {name: None if path is None else str(path) for name, path in paths.items()}})
        return
    for name, path in paths.items():
        print(f"{name}: {path or 'generated, nothing to fetch'}")


@app.command()
@with_verbosity
def describe(
    names: Annotated[list[str], typer.Argument(metavar="NAME_OR_PATH...", help="Names that `list` shows, or files.")],
    data_dir: DataDir = None,
    max_len: Annotated[int, typer.Option(min=1, help="N, the number of items that models see.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a CSV table with one row per dataset.", show_default="none"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count users, items, interactions, sequence lengths, training samples and full windows."""
    loaded = [datasets.load(name, data_dir) for name in names]
    rows = [describe_sequences(sequences, max_len) for sequences in loaded]
    if out is not None:
        write_atomically(out, statistics_table(loaded, max_len).to_csv(index=False).encode())
        inform(f"wrote {out}")
    if as_json:
        print_json({"datasets": rows})
        return
    for row in rows:
        _print_description(row)


@app.command("import")
@with_verbosity
def import_(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="Interactions in CSV, TSV, another text, JSON lines, .inter or Parquet, also compressed (.gz, .bz2, "
            ".zst); or a folder with the parts of a table.",
        ),
    ],
    user: Annotated[str, typer.Option(help="Column with users: its name or, in a text without names, its number.")],
    item: Annotated[str, typer.Option(help="Column with items.")],
    time: Annotated[
        str | None,
        typer.Option(
            help="Column with times, numbers or dates; without it the rows are in order.", show_default="none"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File of sequences to write", show_default="TABLE with .sequences")
    ] = None,
    core: Annotated[int, typer.Option(help="Keep users and items with at least this many interactions.")] = 5,
    separator: Annotated[
        str | None,
        typer.Option(help="What separates the columns of a text.", show_default="what its ending or first lines tell"),
    ] = None,
    quoting: Annotated[
        str | None,
        typer.Option(
            metavar="double|none",
            help="Whether values may be in quotation marks, or these are characters",
            show_default="double in a CSV",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a text, such as latin-1", show_default="UTF-8")
    ] = None,
    day_first: Annotated[
        bool | None,
        typer.Option(
            "--day-first/--month-first",
            help="Order in dates such as 05/01/2024, if no value tells it.",
            show_default="what the values tell",
        ),
    ] = None,
    date_format: Annotated[
        str | None,
        typer.Option(
            help="Format of dates of another kind, such as %y-%m-%d.", show_default="ISO 8601 and other known ones"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the first rows as understood, and what would be dropped.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make sequences from your own table of interactions, and print what happened to its rows."""
    # pandas, which the other commands do without
    from models.datasets.importing import output_paths, read_interactions
    from models.datasets.tables.files import stem

    out = out or table.with_name(f"{stem(table)}.sequences")
    for path in [] if dry_run else output_paths(out):
        check_replaceable(path)
    if core < 1:
        raise ConfigError(f"the core must be at least 1, got {core}")
    read = read_interactions(table, user, item, time, separator, quoting, encoding, day_first, date_format)
    if dry_run and not as_json:
        _print_rows(read.reading.first)
    inform(f"{table}: {read.reading.form}\norder: {read.reading.order}")
    for note in read.reading.notes:
        inform(f"note: {note}")
    imported = read.core(core)
    counts = asdict(imported.counts)
    paths = [] if dry_run else imported.save(out)
    if as_json:
        print_json({"counts": counts, "files": [str(path) for path in paths], "reading": asdict(read.reading)})
    else:
        for name, count in counts.items():
            print(f"  {name.replace('_', ' '):<20}{count:>12,}")
    inform(f"wrote {', '.join(map(str, paths))}; use it as: --dataset {paths[0]}" if paths else "nothing was written")


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    table = [("user", "item", "time")[: len(rows[0])], *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(rows[0]))]
    for row in table:
        print("  " + "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def _print_description(row: dict[str, Any]) -> None:
    length = row["length"]
    skipped = f" ({row['skipped_users']:,} with fewer than 3 items skipped)" if row["skipped_users"] else ""
    print(f"{row['name']}")
    print(f"  users             {row['users']:,}{skipped}")
    print(f"  items             {row['items']:,}")
    print(f"  interactions      {row['interactions']:,}")
    print(
        f"  items per user    {length['min']:,} to {length['max']:,}, mean {length['mean']:.1f}, "
        f"median {length['median']:g}"
    )
    print(f"  density           {row['density']:.3%}")
    print(f"  training samples  {row['training_samples']:,} (prefixes at N = {row['max_len']})")
    print(f"  full windows      {row['full_windows']:.1%} of users (at least N items before the last)")
    print(f"  padding           {row['padding']:.1%} of the positions of test inputs")


def _present(file_names: tuple[str, ...], data_dir: Path | None) -> str | None:
    """Return the path of a local file of the dataset, without checking its content; None if there is none."""
    for folder in [*files.local_folders(data_dir), files.cache_dir()]:
        for file_name in file_names:
            if (folder / file_name).is_file():
                return str(folder / file_name)
    return None


if __name__ == "__main__":
    run_app(app)
