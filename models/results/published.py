"""Numbers that others have published for these models and datasets, each with its source.

They are in published.csv beside this module: leave-one-out, all items ranked unless `negatives` says otherwise.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from models.datasets import names
from models.errors import DataError

FILE = Path(__file__).with_name("published.csv")
# The most trusted first; numbers of another protocol are in the file, and never in a table.
KINDS = ("authors", "quoted", "re-run", "other protocol")
METRICS = ("NDCG@20", "NDCG@10", "HR@20", "HR@10", "NDCG@5", "HR@5")  # in tables the first of these that there is


@dataclass(frozen=True)
class Published:
    """One number.

    Attributes:
        dataset: Name of the dataset, as in `models.datasets`.
        model: Title of the model.
        metric: HR@k or NDCG@k.
        negatives: Number of drawn items that the target was ranked among; None for all items.
        value: The number, between 0 and 1.
        seeds: Number of seeds that it is a mean of.
        kind: Who says so: the model's authors, a table that quotes another paper, or a re-run by others;
            `other protocol` if it cannot be compared.
        source: Where it stands.
        notes: What else is known about it.
    """

    dataset: str
    model: str
    metric: str
    negatives: int | None
    value: float
    seeds: int
    kind: str
    source: str
    notes: str


@cache
def read_published(path: Path = FILE) -> tuple[Published, ...]:
    """Return all numbers of the file, in its order.

    Raises DataError for another header, or a value outside its range; the message names file, line and column.

    >>> first = read_published()[0]
    >>> first.dataset, first.metric, 0 < first.value < 1
    ('beauty', 'HR@5', True)
    """
    expected = [field.name for field in fields(Published)]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != expected:
            raise DataError(f"{path}: its first line must be {','.join(expected)}")
        return tuple(_checked(row, f"{path}, line {reader.line_num}") for row in reader)


def _checked(row: dict[str, str], where: str) -> Published:
    for column, known in (("dataset", names()), ("metric", METRICS), ("kind", KINDS)):
        if row[column] not in known:
            raise DataError(f"{where}, {column}: expected one of {', '.join(known)}, got {row[column]!r}")
    try:
        value, seeds, negatives = float(row["value"]), int(row["seeds"]), int(row["negatives"] or 0)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: value, seeds and negatives must be numbers ({error})") from error
    if not 0 < value < 1 or seeds < 1 or negatives < 0 or not row["source"]:
        raise DataError(f"{where}: needs a value between 0 and 1, at least one seed, and a source")
    return Published(**(row | {"value": value, "seeds": seeds, "negatives": negatives or None}))  # type: ignore[arg-type]


def published(dataset: str, model: str, among: Iterable[Published] | None = None) -> Published | None:
    """Return the number to set beside a system of the model, ranked among all items; None if there is none.

    It is of the most trusted kind; then of the first metric of METRICS, of the most seeds, and the first in the file.

    model: its title. among: by default all in the file.

    >>> found = published("lastfm", "BSARec")
    >>> found.metric, found.value, found.kind
    ('NDCG@20', 0.0526, 'authors')
    """
    fitting = [
        entry
        for entry in (read_published() if among is None else among)
        if (entry.dataset, entry.model, entry.negatives) == (dataset, model, None) and entry.kind != KINDS[-1]
    ]
    return min(
        fitting, key=lambda entry: (KINDS.index(entry.kind), METRICS.index(entry.metric), -entry.seeds), default=None
    )
