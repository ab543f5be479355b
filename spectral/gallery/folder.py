"""The gallery: a note for every figure and table on what it shows and what it was made from, and pages of all of them.

A notebook opens a `Gallery` and saves its figures with it. `python -m spectral.gallery figures` then writes
figures/README.md and figures/index.html from the notes.

Contents: the `Gallery`, its `Note`, and what a note says about the runs behind a figure. The module `sentences` turns
numbers into words. The templates of the pages are here as well.

Example:
    >>> from tempfile import TemporaryDirectory
    >>> import pandas as pd
    >>> from spectral import plot
    >>> with TemporaryDirectory() as folder:
    ...     gallery = Gallery(folder, dataset="ml-100k")
    ...     figure = gallery.save(
    ...         plot.ring_graph(8, (0, 1)).figure,
    ...         "fig2a",
    ...         pd.DataFrame({"k": [0, 1]}),
    ...         caption="A ring of 8 nodes.",
    ...         see="The second wave changes its sign twice.",
    ...     )
    ...     print([path.name for path in write_pages(folder)], collect(folder)[0].caption)
    ['README.md', 'index.html'] A ring of 8 nodes.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import DataError
from models.files import Kind, write_atomically, write_together
from models.recommender import Recommender
from models.results.runs import Result, read, run_name
from spectral.gallery.sentences import listing, runs_by_seeds
from spectral.tables import stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

__all__ = ["Gallery", "Note", "collect", "configuration_of", "listing", "results_behind", "seeds_of", "write_pages"]

FORMAT = "spectral-gallery-note"
FILE = Kind("a note", FORMAT.encode())


@dataclass(frozen=True)
class Note:
    """What is written about a figure or a table.

    Attributes:
        name: The name of its files, without suffix.
        caption: What is drawn, of which models and data, in what units.
        see: What the reader should notice: sentences made from the numbers, and where they differ from the paper.
        dataset: Name of the dataset and of its folder, "" for several datasets.
        runs: The seeds of the runs behind it, by system (a model, or a variant of one); none for third-party models.
        configuration: The first digits of a SHA-256 over all settings of these runs, "" if there are none.
        date: The day on which it was made, ISO 8601.
        seconds: The time that it took to make, without training.
    """

    name: str
    caption: str
    see: str
    dataset: str
    runs: dict[str, list[int]]
    configuration: str
    date: str
    seconds: float


class Gallery:
    """The folder for the figures of a notebook, and the runs that they are made from.

    The time of a figure counts from the figure before it, or from the opening of the gallery.

    Args:
        out: The gallery. Figures go to its subfolder for the dataset.
        dataset: Name of the dataset, "" for several.
        runs: Loaded models, or results of runs, by the name of their system. Several runs of one system are a list.
    """

    def __init__(self, out: str | Path, dataset: str, runs: Mapping[str, Any] | None = None) -> None:
        self.folder, self.dataset = Path(out, dataset), dataset
        self._runs = runs or {}
        self._since = time.perf_counter()

    def save(
        self,
        figure: "Figure | SubFigure",
        name: str,
        table: "DataFrame | Mapping[str, Any]",
        *,
        caption: str,
        see: str,
        runs: Mapping[str, Any] | None = None,
    ) -> "Figure | SubFigure":
        """Write a figure as PNG and PDF, the table behind it as CSV, and its note. Returns the figure.

        Args:
            figure: The figure.
            name: The name of the files, without suffix.
            table: A table; or results by model name, whose tables are put one below the other.
            caption: See `Note`.
            see: See `Note`.
            runs: The runs that the figure shows; None for all runs of the gallery.

        Raises OSError if the folder cannot be written.
        """
        from spectral import plot

        if isinstance(table, Mapping):
            table = stacked({model: result.table() for model, result in table.items()})
        plot.save(figure, self.folder / name, table)
        self.note(name, caption=caption, see=see, runs=runs)
        return figure

    def add_table(self, name: str, table: "DataFrame") -> None:
        """Write a further table as <name>.csv to the folder. Raises OSError if the folder cannot be written."""
        write_atomically(self.folder / f"{name}.csv", table.to_csv(index=False).encode())

    def note(self, name: str, *, caption: str, see: str, runs: Mapping[str, Any] | None = None) -> None:
        """Write the note of a figure or table whose files are in the folder already. The arguments are as in `save`."""
        now = time.perf_counter()
        shown = self._runs if runs is None else runs
        by_system = {system: of if isinstance(of, list) else [of] for system, of in shown.items()}
        note = Note(
            name=name,
            caption=_one_line(caption),
            see=_sentence(see),
            dataset=self.dataset,
            runs={system: seeds_of(runs) for system, runs in by_system.items()},
            configuration=configuration_of(chain.from_iterable(by_system.values())),
            date=datetime.now(UTC).date().isoformat(),
            seconds=round(now - self._since, 1),
        )
        self._since = now
        content = {"format": FORMAT, **asdict(note)}
        write_atomically(self.folder / f"{name}.json", f"{json.dumps(content, indent=1)}\n".encode(), FILE)


def results_behind(sources: Iterable[str]) -> dict[str, list[Result]]:
    """Return the results in the files that the column `sources` of a table names, by system.

    Raises CheckpointError for a file that is not a result, and OSError for a file that cannot be read.

    Example:
        >>> results_behind([])
        {}
    """
    runs: dict[str, list[Result]] = {}
    for path in dict.fromkeys(path for paths in sources for path in re.split(r"(?<=\.json) ", paths)):
        run = read(path)
        runs.setdefault(run_name(run), []).append(run)
    return runs


def settings_of(run: Recommender | Result) -> dict[str, Any]:
    """Return all settings of a run. Raises ValueError for a model that does not come from a checkpoint."""
    if isinstance(run, Result):
        return {"model": run.model, "config": run.config, "training": run.training}
    if run.checkpoint is None:
        raise ValueError(f"this {run.title} does not come from a checkpoint")
    checkpoint = {"config": asdict(run.config)} | run.checkpoint  # that of a third party has no configuration of ours
    return {key: checkpoint[key] for key in ("model", "config", "training")}


def seeds_of(runs: Iterable[Recommender | Result]) -> list[int]:
    """Return the seeds of runs in ascending order; third-party models have none. Raises ValueError as `settings_of`.

    Example:
        >>> seeds_of([])
        []
    """
    seeds = {settings_of(run)["training"].get("seed") for run in runs}
    return sorted(int(seed) for seed in seeds if seed is not None)


def configuration_of(runs: Iterable[Recommender | Result]) -> str:
    """Return the first 12 digits of the SHA-256 over all settings of the runs, in any order; "" for no runs.

    Example:
        >>> configuration_of([])
        ''
    """
    settings = sorted(json.dumps(settings_of(run), sort_keys=True) for run in runs)
    return hashlib.sha256("\n".join(settings).encode()).hexdigest()[:12] if settings else ""


def collect(folder: str | Path) -> list[Note]:
    """Return the notes of a gallery, sorted by dataset and name. Notes on several datasets are last.

    Raises DataError for a broken note.
    """
    notes = []
    for path in [*sorted(Path(folder).glob("*/*.json")), *sorted(Path(folder).glob("*.json"))]:
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(f"{path}: is not JSON ({error}); draw the figure again") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            continue
        if content.keys() != {field.name for field in fields(Note)}:
            raise DataError(f"{path}: lacks fields of a note or has others; draw the figure again")
        notes.append(Note(**content))
    return notes


def write_pages(folder: str | Path) -> list[Path]:
    """Write README.md and index.html of a gallery from its notes. Returns the paths.

    Raises DataError if there are no notes, or if the files of a note are missing; OutputError if there are other pages.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = Path(folder)
    notes = collect(folder)
    if not notes:
        raise DataError(f"{folder}: holds no figures with notes; make some with: make figures")
    shown = [{**asdict(note), "files": _files(folder, note), "runs": runs_by_seeds(note.runs)} for note in notes]
    datasets = {name: [note for note in shown if note["dataset"] == name] for name in {n["dataset"]: 0 for n in shown}}
    environment = Environment(
        loader=PackageLoader("spectral", "."),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = ("README.md", "index.html")
    pages = {
        folder / name: environment.get_template(f"gallery/{name}.j2").render(datasets=datasets).encode()
        for name in names
    }
    write_together(pages)
    return list(pages)


def _files(folder: Path, note: Note) -> dict[str, str]:
    """Return the files of a figure or table by kind, relative to the gallery. Raises DataError if there are none."""
    files = {}
    for kind in ("png", "pdf", "csv", "md", "tex"):
        path = folder / note.dataset / f"{note.name}.{kind}"
        if path.exists():
            files[kind] = path.relative_to(folder).as_posix()
    if not files:
        raise DataError(f"{folder / note.dataset / note.name}.json: is the note of a figure that is missing")
    return files


def _sentence(text: str) -> str:
    line = _one_line(text)
    return line[:1].upper() + line[1:]


def _one_line(text: str) -> str:
    return " ".join(text.split())
