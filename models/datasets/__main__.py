"""Command line: list, fetch and describe datasets."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models import datasets
from models.command_line import print_json, run_app
from models.datasets import files, synthetic
from models.datasets.registry import DATASETS
from models.datasets.sequences import Sequences

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Look for the files here first, then in $SPECTRAL_DATA_DIR."),
]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """List, fetch and describe the datasets that models are trained on; without a command, list them."""
    if context.invoked_subcommand is None:
        list_datasets()


@app.command("list")
def list_datasets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the known names and whether their file is already on this machine."""
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
    print("Also: a path of a text file with one user a line, 'user item item ...'.")


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `list` shows.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Download and verify the files of datasets, where they are not on this machine yet."""
    paths = {name: datasets.fetch(name, data_dir) for name in names}
    if as_json:
        print_json({"files": {name: None if path is None else str(path) for name, path in paths.items()}})
        return
    for name, path in paths.items():
        print(f"{name}: {path or 'generated, nothing to fetch'}")


@app.command()
def describe(
    names: Annotated[list[str], typer.Argument(metavar="NAME_OR_PATH...", help="Names that `list` shows, or files.")],
    data_dir: DataDir = None,
    max_len: Annotated[int, typer.Option(min=1, help="N, the number of items that models see.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Count users, items, interactions, sequence lengths, training samples and full windows."""
    rows = [description(datasets.load(name, data_dir), max_len) for name in names]
    if as_json:
        print_json({"datasets": rows})
        return
    for row in rows:
        _print_description(row)


def description(sequences: Sequences, max_len: int) -> dict[str, Any]:
    """Return the numbers that describe a dataset, with the keys of the JSON output.

    `training_samples` are the prefixes at window length N; `full_windows` is the share of users whose test
    input has N real items, in [0, 1].
    """
    lengths = sequences.lengths
    return {
        "name": sequences.name,
        "users": sequences.num_users,
        "items": sequences.num_items,
        "interactions": sequences.num_interactions,
        "skipped_users": sequences.skipped,
        "length": {
            "min": int(lengths.min()),
            "mean": float(lengths.mean()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "density": sequences.density,
        "max_len": max_len,
        "training_samples": int(np.minimum(lengths - 2, max_len).sum()),
        "full_windows": float((lengths > max_len).mean()),
        "fingerprint": sequences.fingerprint,
    }


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


def _present(file_names: tuple[str, ...], data_dir: Path | None) -> str | None:
    """Return where the file is on this machine, without checking its content."""
    for folder in [*files.local_folders(data_dir), files.cache_dir()]:
        for file_name in file_names:
            if (folder / file_name).is_file():
                return str(folder / file_name)
    return None


if __name__ == "__main__":
    run_app(app)
