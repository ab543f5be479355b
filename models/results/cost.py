"""The costs of systems, from the results of their runs: number of trained parameters, and training time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from models.results.comparison import dataset_of, systems_of
from models.results.description import HEAD, cells, described, losses, named
from models.results.runs import UNKNOWN, Result
from models.results.tables import latex_table, markdown_table, notes, write_table


@dataclass(frozen=True)
class Costs:
    """The costs of systems on one dataset.

    Attributes:
        dataset: Name of the dataset.
        systems: One row per system: system, the columns of `models.results.description.described`; seconds_per_epoch,
            the mean over the seeds with a known time, and fastest and slowest of these seeds (NaN if no time is
            known); minutes, the mean training time; processors, the names of those that the runs were made on,
            `unknown` for results that do not say.
        missing: By system, the seeds of missing runs; a system without any run has no row.
    """

    dataset: str
    systems: pd.DataFrame
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return the tidy table, one row per system."""
        return self.systems

    def to_markdown(self) -> str:
        """Return a Markdown table."""
        return markdown_table(*self._cells("–"), self._notes())

    def to_latex(self) -> str:
        """Return a LaTeX table for booktabs."""
        return latex_table(*self._cells("--"), self._notes())

    def write(self, stem: str | Path) -> None:
        """Write the table as stem.csv, stem.md and stem.tex."""
        write_table(stem, self.systems, self.to_markdown(), self.to_latex())

    def sentence(self) -> str:
        """Return which system has the fastest and the slowest epochs; times of several processors are not compared."""
        timed = self.systems.dropna(subset="seconds_per_epoch").sort_values("seconds_per_epoch")
        if timed.empty:
            return "No run has its time."
        if timed.processors.nunique() > 1 or "; " in timed.processors.iloc[0]:
            return "The systems were trained on different processors, so their seconds cannot be compared."
        fastest, slowest = timed.iloc[0], timed.iloc[-1]
        where = "" if fastest.processors == UNKNOWN else f" on {fastest.processors}"
        return (
            f"An epoch of {fastest.system} takes {fastest.seconds_per_epoch:.1f} s{where}, one of {slowest.system} "
            f"{slowest.seconds_per_epoch:.1f} s."
        )

    def losses(self) -> str:
        """Return which systems are trained with which loss; their epochs cost differently."""
        return losses({str(loss): list(rows.system) for loss, rows in self.systems.groupby("loss", sort=False)})

    def _notes(self) -> list[str]:
        marked = self.systems.set_index("system")
        return notes(marked["first_epoch"].to_dict(), marked["capped"].to_dict(), self.missing)

    def _cells(self, dash: str) -> tuple[list[str], list[list[str]]]:
        head = ["", *HEAD, "parameters", "seconds per epoch", "fastest to slowest", "minutes", "processor"]
        rows = []
        for row in self.systems.itertuples():
            timed = not np.isnan(row.seconds_per_epoch)
            seconds = (
                [f"{row.seconds_per_epoch:.1f}", f"{row.fastest:.1f}{dash}{row.slowest:.1f}"] if timed else ["", ""]
            )
            minutes = f"{row.minutes:.1f}" if timed else ""
            rows.append([named(row), *cells(row), f"{row.parameters:,}", *seconds, minutes, row.processors])
        return head, rows


def costs(results: Iterable[Result], missing: Mapping[str, Sequence[int]] | None = None) -> Costs:
    """Return the costs of the systems of some runs, in the order of their first results.

    missing: by system, the seeds of runs that should exist and do not; they are named below the table.

    Raises DataError if there are no results, if one occurs twice, or if they are not of the same data.
    """
    systems = systems_of(list(results))
    rows = []
    for name, runs in systems.items():
        seconds = np.array([np.nan if run.seconds_per_epoch is None else run.seconds_per_epoch for run in runs])
        epochs = np.array([run.epochs for run in runs])
        known = ~np.isnan(seconds)
        rows.append(
            {
                "system": name,
                **described(runs),
                "seconds_per_epoch": seconds[known].mean() if known.any() else np.nan,
                "fastest": seconds[known].min() if known.any() else np.nan,
                "slowest": seconds[known].max() if known.any() else np.nan,
                "minutes": (seconds * epochs)[known].mean() / 60 if known.any() else np.nan,
                "processors": "; ".join(sorted({(run.origin and run.origin.processor) or UNKNOWN for run in runs})),
            }
        )
    return Costs(dataset_of(systems), pd.DataFrame(rows), missing or {})
