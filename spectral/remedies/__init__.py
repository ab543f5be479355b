"""Remedies against oversmoothing: does less smoothing go with better ranking, over runs?

A run is a point: its test NDCG@20, and how smooth the last layer's states are by each of four measures, from the result
and the spectral summary that a run leaves. Systems are compared at equal depth only, because both quantities change
with depth.

    between_users    mean cosine of two users' representations; less is less smoothing
    within_sequence  mean cosine of two positions of a user; less is less smoothing
    effective_rank   of the matrix of all users' representations; more is less smoothing
    high_share       share of the hidden states' energy above the lowest modes, in dB; more is less smoothing

The relation is Spearman's rank correlation over runs, with the sign turned so that it is positive if less smoothing
goes with better ranking. Its 95% interval is a percentile bootstrap over systems with all their seeds, because the
seeds of one system are no independent evidence about remedies. It is a relation, no cause.

At each depth only the seeds that all of its systems have are compared, so that no system has more runs than another,
also while runs are still being made.

Contents: `Comparison`, which `compare` makes of results and summaries; `untrained`, the null; `MEASURES`.

Sources: Spearman, American Journal of Psychology 1904; bootstrap of clusters: Davison and Hinkley, Bootstrap Methods
and their Application, 1997, section 3.8.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.choices import MONITOR
from models.datasets import Sequences
from models.errors import ConfigError, DataError
from models.registry import build, configure
from models.results import comparison
from models.results.runs import Result, run_name
from models.results.tables import runs_in_words
from spectral import result
from spectral.compare import MEASURES as OF_SUMMARIES
from spectral.summary import SpectralSummary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

MEASURES = {"between_users": -1, "within_sequence": -1, "effective_rank": 1, "high_share": 1}  # sign of less smoothing
DRAWS, SEED, CONFIDENCE = 5000, 0, 0.95
LEAST_SYSTEMS = 4  # with fewer, a bootstrap of systems says nothing


@dataclass(frozen=True, eq=False)
class Comparison(result.Result):
    """The runs as points, their rank correlations, and the tests against a reference.

    Attributes:
        points: A row for each run: system, depth, seed, NDCG@20 with `metric_low` and `metric_high` over users, and for
            each measure its value, `<measure>_low` and `<measure>_high` over samples of users.
        correlations: A row for each depth and measure: rho (positive if less smoothing goes with better ranking), its
            standard error, low, high (all NaN with fewer than four systems), runs, systems.
        tests: A row for each system: depth, seeds, mean NDCG@20, its difference to the reference of its depth with
            interval, and the p-value of a permutation test over users, as it is and after Holm's correction.
        left_out: By system, the seeds that another system of its depth lacks; these runs are in none of the tables.
    """

    points: "DataFrame"
    correlations: "DataFrame"
    tests: "DataFrame"
    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def table(self) -> "DataFrame":
        """Return the points."""
        return self.points

    def plot(
        self, ax: "Axes | None" = None, *, measure: str | None = None, depth: int | None = None
    ) -> "Axes | Figure":
        """Draw NDCG@20 against every measure at every depth, or against one (on a given `ax` "between_users").

        depth: None for the smallest.
        """
        from spectral import plot

        if ax is None and measure is None and depth is None:
            return plot.remedies_panels(self)
        return plot.remedies(self, measure or next(iter(MEASURES)), depth, ax=ax)

    def verdict(self, depth: int, measure: str) -> str:
        """Return better, worse, none or undecided: whether less smoothing by a measure goes with better ranking.

        better: the interval of the correlation lies above 0; worse: below 0; none: it contains 0; undecided: there is
        no interval. Raises ConfigError for a depth or a measure that was not compared.
        """
        rows = self.correlations[(self.correlations.depth == depth) & (self.correlations.measure == measure)]
        if rows.empty:
            raise ConfigError(f"no runs with {depth} layers were compared by {measure!r}")
        row = rows.iloc[0]
        if np.isnan(row.low):
            return "undecided"
        return "better" if row.low > 0 else "worse" if row.high < 0 else "none"

    def sentence(self) -> str:
        """Return what the correlations say, depth by depth, and which runs are left out."""
        said = {
            "better": "less smoothing goes with better ranking by",
            "worse": "less smoothing goes with worse ranking by",
            "none": "no relation is shown by",
            "undecided": "too few systems to say for",
        }
        parts = []
        for depth, rows in self.correlations.groupby("depth"):
            groups = {
                verdict: [row for row in rows.itertuples() if self.verdict(depth, row.measure) == verdict]
                for verdict in said
            }
            words = [f"{said[verdict]} {', '.join(map(_number, group))}" for verdict, group in groups.items() if group]
            parts.append(
                f"{depth} layers, {rows.runs.iloc[0]} runs of {rows.systems.iloc[0]} systems: {'; '.join(words)}"
            )
        if self.left_out:
            parts.append(f"Left out, because not all systems of their depth have them: {runs_in_words(self.left_out)}")
        return f"{'. '.join(parts)}."

    def tested(self) -> str:
        """Return which systems the permutation tests tell from the reference of their depth.

        The tests are over users: runs of one seed may differ by what another seed would change, and this is said.
        """
        parts = []
        for depth, rows in self.tests.groupby("depth"):
            found = rows[rows.p_holm < 1 - CONFIDENCE]
            names = [f"{row.system} ({row.difference:+.4f}, p {row.p_holm:.2g})" for row in found.itertuples()]
            reference = rows[rows.is_reference].system.item()
            alone = ", one run each, so that another seed may say otherwise" if rows.n.max() == 1 else ""
            parts.append(f"{depth} layers{alone}: {', '.join(names) or 'none'} can be told from {reference}")
        return f"{'; '.join(parts)}."


def compare(
    runs: Sequence[Result], summaries: Mapping[str, SpectralSummary], references: Iterable[str] | None = None
) -> Comparison:
    """Compare runs of systems on one dataset, at each depth with the seeds that all of its systems have.

    runs: results, as `models.results.runs.read` returns them. summaries: by the path of a result. references: the names
    of systems, one for each depth, that the others of this depth are tested against; None for the first of each depth.

    Raises DataError if there are no runs, a run has no summary, a summary is of other data, a depth has not exactly
    one reference, or its systems have no seed in common.
    """
    import pandas as pd

    if not runs:
        raise DataError("no runs to compare; train some with: make remedies")
    runs, left_out = _balanced(runs)
    points = pd.DataFrame([_point(run, summaries) for run in runs])
    references = list(points.groupby("depth").system.first() if references is None else references)
    tests = []
    for depth in sorted(points.depth.unique()):
        of_depth = [run for run in runs if _depth(run) == depth]
        own = [name for name in references if name in {run_name(run) for run in of_depth}]
        if len(own) != 1:
            raise DataError(f"{depth} layers: needs one reference among the runs, got {', '.join(own) or 'none'}")
        tests.append(_tests(of_depth, own[0]).assign(depth=depth))
    correlations = [
        {"depth": depth, "measure": measure, **rank_correlation(rows, measure)}
        for depth, rows in points.groupby("depth")
        for measure in MEASURES
    ]
    return Comparison(points, pd.DataFrame(correlations), pd.concat(tests, ignore_index=True), left_out)


def _balanced(runs: Sequence[Result]) -> tuple[list[Result], dict[str, list[int]]]:
    """Return the runs of seeds that all systems of their depth have, and by system the seeds of the others."""
    seeds: dict[int, dict[str, set[int]]] = {}
    for run in runs:
        seeds.setdefault(_depth(run), {}).setdefault(run_name(run), set()).add(run.seed)
    common = {depth: set.intersection(*of_systems.values()) for depth, of_systems in seeds.items()}
    for depth, of_systems in seeds.items():
        if not common[depth]:
            raise DataError(
                f"{depth} layers: no seed is one of all systems, so train them with the same seed; there are: "
                f"{runs_in_words(of_systems)}"
            )
    others = {
        system: sorted(own - common[depth])
        for depth, of_systems in seeds.items()
        for system, own in of_systems.items()
        if own - common[depth]
    }
    return [run for run in runs if run.seed in common[_depth(run)]], others


def rank_correlation(points: "DataFrame", measure: str, draws: int = DRAWS, seed: int = SEED) -> dict[str, Any]:
    """Return rho, its standard error, low, high, runs and systems of runs of one depth; see the module.

    points: columns system, NDCG@20 and the measure. With fewer than four systems there is no error and no interval, and
    with one value of either there is no correlation: these are NaN.

    Example:
        Five systems whose users become less alike the better they rank:

        >>> import pandas as pd
        >>> table = pd.DataFrame({"system": list("abcde"), "NDCG@20": range(5), "between_users": range(5, 0, -1)})
        >>> found = rank_correlation(table, "between_users")
        >>> round(found["rho"], 3), round(found["low"], 3), found["systems"]
        (1.0, 1.0, 5)
    """
    import pandas as pd

    columns = points[["system", MONITOR, measure]].assign(less_smooth=MEASURES[measure] * points[measure])
    pairs, (of_system, systems) = columns[[MONITOR, "less_smooth"]].to_numpy(), pd.factorize(columns["system"])
    [rho] = _spearman(pairs, np.ones((1, len(pairs))))
    found = {"rho": float(rho), "error": np.nan, "low": np.nan, "high": np.nan}
    if len(systems) >= LEAST_SYSTEMS and np.isfinite(rho):
        drawn = np.random.default_rng(seed).integers(0, len(systems), (draws, len(systems)))
        times = (drawn[..., None] == np.arange(len(systems))).sum(axis=1)  # that each system is drawn
        values = _spearman(pairs, times[:, of_system])
        ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        found["low"], found["high"] = (float(end) for end in np.nanquantile(values, ends))
        found["error"] = float(np.nanstd(values, ddof=1))
    return found | {"runs": len(points), "systems": len(systems)}


def _number(row: Any) -> str:
    """Return a correlation in words, with its interval if it has one."""
    interval = "" if np.isnan(row.low) else f", {row.low:.2f} to {row.high:.2f}"
    return f"{row.measure} ({row.rho:+.2f}{interval})"


def _spearman(pairs: NDArray[np.float64], times: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank correlation of two columns, with mean ranks for ties, in samples of their rows.

    pairs: (rows, 2). times: (samples, rows), how often a sample has each row. Returns (samples,), NaN where all rows of
    a sample are equal in a column.
    """
    first, second = (_ranks_about_their_mean(column, times) for column in pairs.T)
    scale = np.sqrt((times * first**2).sum(axis=1) * (times * second**2).sum(axis=1))
    return np.divide((times * first * second).sum(axis=1), scale, out=np.full(len(times), np.nan), where=scale > 0)


def _ranks_about_their_mean(column: NDArray[np.float64], times: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank of each row in each sample, (samples, rows): rows below it count 1, and rows equal to it 1/2."""
    below = (column[:, None] < column) + (column[:, None] == column) / 2
    return times @ below - times.sum(axis=1, keepdims=True) / 2


def _depth(run: Result) -> int:
    return int(run.config["num_layers"])


def _point(run: Result, summaries: Mapping[str, SpectralSummary]) -> dict[str, Any]:
    summary = summaries.get(run.source)
    if summary is None:
        raise DataError(f"{run.source}: has no summary; make it with: python -m spectral.summary CHECKPOINT")
    if summary.about["fingerprint"] != run.dataset["fingerprint"]:
        raise DataError(f"{run.source}: its summary is of other data; make it again")
    gains = comparison.gains(run)
    error = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    mean = float(gains.mean())
    point = {"system": run_name(run), "depth": _depth(run), "seed": run.seed, MONITOR: mean}
    point |= {"metric_low": mean - error, "metric_high": mean + error}
    for measure in MEASURES:
        values, samples = OF_SUMMARIES[measure].take(summary)
        low, high = np.quantile(samples[:, -1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        point |= {measure: float(values[-1]), f"{measure}_low": float(low), f"{measure}_high": float(high)}
    return point


def _tests(runs: list[Result], reference: str) -> "DataFrame":
    """Return a row for each system: its name, seeds, mean, and the comparison with the reference."""
    titles = {title: run_name(group[0]) for title, group in comparison.systems_of(runs).items()}
    title = next(title for title, name in titles.items() if name == reference)
    table = comparison.compare(runs, title).table()
    table = table[table.metric == MONITOR].assign(system=table.system.map(titles))
    table["is_reference"] = table.system == reference
    columns = ["system", "is_reference", "mean", "std", "n", "difference", "difference_low", "difference_high"]
    return table[[*columns, "knows_seeds", "p_value", "p_holm"]]


def untrained(run: Result, sequences: Sequences) -> dict[str, float]:
    """Return each measure of the run's model with initial weights, drawn from the run's seed, over all test users.

    Raises ConfigError for a model of another catalogue than the data.

    Example:
        >>> from dataclasses import asdict
        >>> from models.datasets import load
        >>> data = load("synthetic:users=120,items=30")
        >>> config = asdict(configure("sasrec", 30, max_len=4, hidden_size=8))
        >>> known = dict.fromkeys(("training", "dataset", "versions", "valid", "test", "sampled", "origin"), {})
        >>> numbers = {"parameters": 0, "best_epoch": 0, "epochs": 1, "seconds_per_epoch": None, "test_ranks": []}
        >>> run = Result(model="sasrec", config=config, **known | {"training": {"seed": 1}} | numbers)
        >>> list(untrained(run, data))
        ['between_users', 'within_sequence', 'effective_rank', 'high_share']
    """
    model = build(configure(run.model, **run.config))
    if model.config.num_items != sequences.num_items:
        raise ConfigError(
            f"{run.source}: is of {model.config.num_items} items, {sequences.name} has {sequences.num_items}"
        )
    model.initialise(run.seed)
    windows = torch.from_numpy(sequences.windows("test", model.config.max_len, model.config.padding).inputs)
    summary = summarise(model, windows, {"model": run.model})
    return {measure: float(OF_SUMMARIES[measure].take(summary)[0][-1]) for measure in MEASURES}


def sources(runs: Iterable[Result]) -> dict[str, Path]:
    """Return the path of the summary beside each result, by the path of the result.

    Example:
        >>> sources([])
        {}
    """
    return {run.source: Path(run.source).with_suffix(".spectral.npz") for run in runs}
