"""How models change while they are trained: the files that `spectral.watch` writes, over epochs, runs and seeds.

Runs are grouped by the names of their files: <system>-seed<seed>.watch.csv is one seed of a system. A curve of a system
is the mean over its seeds, with the smallest and the largest seed as a band, up to the last epoch that all of them
reached; early stopping ends runs at different epochs, and a mean over those that happen to be left would jump.

Contents: `read_watch` for one file; `Dynamics`, several of them, with `curves`, `paths` and `changes`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.choices import MONITOR
from models.errors import ConfigError, DataError, did_you_mean
from spectral.result import Result
from spectral.watch import ENDING, HEADER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

OVERVIEW = ("gain_nyquist", "hfc_share", "effective_rank", "between_users", "within_sequence", MONITOR)
RUN = ["system", "seed"]


def read_watch(path: str | Path) -> "DataFrame":
    r"""Return the rows of a file of `spectral.watch`: epoch, layer (missing for the whole model), measure, value.

    Raises DataError if it is not such a file, naming the line, and OSError if it cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "sasrec-seed42.watch.csv")
        ...     _ = file.write_text("epoch,layer,measure,value\n0,,NDCG@20,0.05\n0,1,hfc_share,0.5\n")
        ...     read_watch(file).layer.tolist()
        [<NA>, 1]
    """
    import pandas as pd

    lines = Path(path).read_text().splitlines()
    if not lines or lines[0] != HEADER:
        raise DataError(f"{path}: is not a file of spectral.watch; expected {HEADER} in line 1")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            epoch, layer, measure, value = line.split(",")
            rows.append((int(epoch), int(layer) if layer else pd.NA, measure, float(value)))
        except ValueError:
            raise DataError(f"{path}, line {number}: expected {HEADER}, got {line[:60]!r}") from None
    if not rows:
        raise DataError(f"{path}: holds no epoch; train at least one")
    return pd.DataFrame(rows, columns=["epoch", "layer", "measure", "value"]).astype({"layer": "Int64"})


@dataclass(frozen=True, eq=False)
class Dynamics(Result):
    """The watched numbers of some runs.

    Attributes:
        rows: system, seed (text, "" if the file's name has none), epoch, layer, measure, value.

    Example:
        >>> import pandas as pd
        >>> rows = [("sasrec", "42", epoch, 1, "hfc_share", 0.5 / (1 + epoch)) for epoch in range(3)]
        >>> rows += [("sasrec", "42", epoch, pd.NA, "NDCG@20", value) for epoch, value in enumerate([0.01, 0.03, 0.02])]
        >>> dynamics = Dynamics(pd.DataFrame(rows, columns=["system", "seed", "epoch", "layer", "measure", "value"]))
        >>> dynamics.curves("hfc_share")["mean"].round(3).tolist()
        [0.5, 0.25, 0.167]
        >>> dynamics.best().epoch.item()
        1
    """

    rows: "DataFrame"

    @classmethod
    def read(cls, paths: Iterable[str | Path]) -> "Dynamics":
        """Read the files of several runs. Raises DataError for a broken file, no files, or a run that occurs twice."""
        import pandas as pd

        tables: dict[tuple[str, str], Any] = {}
        for path in map(Path, paths):
            run = _run_of(path)
            if run in tables:
                raise DataError(f"{path}: is a second file of {run[0]}, seed {run[1] or 'unknown'}; leave one out")
            tables[run] = read_watch(path)
        if not tables:
            raise DataError("there are no watched runs; make one with: python -m models.train --watch")
        return cls(pd.concat(tables, names=RUN).reset_index(RUN).reset_index(drop=True))

    @property
    def systems(self) -> list[str]:
        """The systems, in the order of their files."""
        return list(dict.fromkeys(self.rows.system))

    @property
    def measures(self) -> list[str]:
        """The measures that a run has, in the order of the files."""
        return list(dict.fromkeys(self.rows.measure))

    def of(self, measure: str, layer: int | None = None) -> "DataFrame":
        """Return the rows of a measure in one layer, None for each system's last; all rows if it has no layer.

        Raises ConfigError for a measure or a layer that no run has.
        """
        rows = self.rows[self.rows.measure == measure]
        if rows.empty:
            raise ConfigError(
                f"no run has the measure {measure!r}; choose one of {', '.join(self.measures)}"
                f"{did_you_mean(measure, self.measures)}"
            )
        if rows.layer.isna().all():
            return rows
        rows = rows[rows.layer.notna()]
        last = rows.groupby("system").layer.transform("max")
        found = rows[rows.layer == (last if layer is None else layer)]
        if found.empty:
            raise ConfigError(f"no run has {measure} in layer {layer}; the last layer is {int(last.max())}")
        return found

    def drawn(self, measures: Iterable[str], layer: int | None = None) -> "DataFrame":
        """Return the rows behind a picture of some measures, one after the other; the arguments are those of `of`."""
        import pandas as pd

        return pd.concat([self.of(measure, layer) for measure in measures], ignore_index=True)

    def curves(self, measure: str, layer: int | None = None) -> "DataFrame":
        """Return system, epoch, mean, low and high (smallest and largest seed) and seeds, up to their common epoch."""
        rows = self.of(measure, layer)
        reached = rows.groupby(RUN).epoch.transform("max")
        common = reached.groupby(rows.system).transform("min")
        groups = rows[rows.epoch <= common].groupby(["system", "epoch"], sort=False)["value"]
        table = groups.agg(["mean", "min", "max", "count"]).reset_index()
        return table.rename(columns={"min": "low", "max": "high", "count": "seeds"})

    def best(self, metric: str = MONITOR) -> "DataFrame":
        """Return system, seed and epoch of each run's best value of a metric, the first of equal ones."""
        rows = self.of(metric).reset_index(drop=True)
        return rows.loc[rows.groupby(RUN, sort=False)["value"].idxmax(), [*RUN, "epoch"]].reset_index(drop=True)

    def paths(self, measure: str, against: str = MONITOR, layer: int | None = None) -> "DataFrame":
        """Return system, seed, epoch, the measure and the metric of the same epoch, in columns of their names."""
        first = self.of(measure, layer).rename(columns={"value": measure})[[*RUN, "epoch", measure]]
        second = self.of(against).rename(columns={"value": against})[[*RUN, "epoch", against]]
        return first.merge(second, on=[*RUN, "epoch"])

    def changes(self, measure: str, layer: int | None = None) -> "DataFrame":
        """Return how a measure changes to the best epoch: a row for each run.

        Columns: system, seed, first (after the first epoch), best (at the best epoch), best_epoch; half_epoch, the
        first epoch at which half of the change was made, missing if there is no change; turn and turn_epoch, where the
        measure turned back on its way: its smallest or largest value, if that is further from both ends than a tenth of
        the whole range; missing if it did not.
        """
        import pandas as pd

        best = {(row.system, row.seed): int(row.epoch) for row in self.best().itertuples()}
        rows = []
        for run, of_run in self.of(measure, layer).groupby(RUN, sort=False):
            values = of_run.sort_values("epoch").set_index("epoch")["value"]
            values = values[values.index <= best[run]]
            first, last = float(values.iloc[0]), float(values.iloc[-1])
            made = (values - first) * np.sign(last - first) >= abs(last - first) / 2
            half = float(made.idxmax()) if last != first else float("nan")
            turn = _turn(values)
            turned = (np.nan, np.nan) if turn is None else (float(values[turn]), float(turn))
            rows.append((*run, first, last, best[run], half, *turned))
        return pd.DataFrame(rows, columns=[*RUN, "first", "best", "best_epoch", "half_epoch", "turn", "turn_epoch"])

    def sentence(self, measure: str, what: str) -> str:
        """Return in words how a measure of the last layer changes to the best epoch, system by system.

        measure: one of `measures`; what: it in words. A change counts as one if all seeds agree in its sign, and a turn
        on its way if all seeds turn in the same direction.
        """
        changes = self.changes(measure).groupby("system", sort=False)
        parts = [
            f"{system}{' (one seed)' if len(runs) == 1 else ''}: {_change_in_words(runs)}" for system, runs in changes
        ]
        return f"{what}, from the first to the best epoch: {'; '.join(parts)}."

    def table(self) -> "DataFrame":
        """Return all rows."""
        return self.rows

    def plot(
        self, ax: "Axes | None" = None, *, measure: str | None = None, layer: int | None = None
    ) -> "Axes | Figure":
        """Draw the measures of the overview over epochs, or one (on a given `ax` the first of them).

        layer: None for each system's last.
        """
        from spectral import plot

        measures = [name for name in OVERVIEW if name in self.measures]
        if ax is None and measure is None:
            return plot.dynamics_panels(self, measures, layer)
        return plot.dynamics(self, measure or measures[0], layer, ax=ax)


def _turn(values: "Series") -> int | None:
    """Return the epoch of the smallest or largest value, whichever is further from both ends; see `changes`."""
    ends = values.iloc[0], values.iloc[-1]
    beyond = {int(values.idxmin()): min(ends) - values.min(), int(values.idxmax()): values.max() - max(ends)}
    turn = max(beyond, key=lambda epoch: beyond[epoch])
    return turn if beyond[turn] > (values.max() - values.min()) / 10 else None


def _change_in_words(runs: "DataFrame") -> str:
    """Return how a measure changes in the runs of one system; runs: their rows of `Dynamics.changes`."""
    verbs = {1.0: "rises", -1.0: "falls"}
    mean = runs.mean(numeric_only=True)
    to_turn = np.sign(runs.turn - runs["first"])  # missing where a run does not turn
    if (to_turn == to_turn.iloc[0]).all():
        there, back = verbs[to_turn.iloc[0]], verbs[-to_turn.iloc[0]]
        way = f"{there} from {mean['first']:.3g} to {mean.turn:.3g} by epoch {mean.turn_epoch:.0f}"
        return f"{way}, then {back} to {mean.best:.3g} by epoch {mean.best_epoch:.0f}"
    signs, ends = np.sign(runs.best - runs["first"]), f"{mean['first']:.3g} to {mean.best:.3g}"
    if signs.iloc[0] == 0 or (signs != signs.iloc[0]).any():
        return f"no common direction ({ends})"
    half = "" if to_turn.notna().any() else f", half of it by epoch {mean.half_epoch:.0f} of {mean.best_epoch:.0f}"
    return f"{verbs[signs.iloc[0]]} from {ends}{half}"


def _run_of(path: Path) -> tuple[str, str]:
    """Return system and seed of a file's name."""
    name = path.name.removesuffix(ENDING)
    found = re.fullmatch(r"(.+)-seed(\d+)", name)
    return (found[1], found[2]) if found else (name, "")
