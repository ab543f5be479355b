"""Comparison of systems: means and spread over seeds, and significance tests over users."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from models.errors import ConfigError, DataError
from models.evaluation import ndcg
from models.registry import MODELS
from models.results.runs import Result, run_name
from models.results.tables import MARK, footnotes, latex_table, markdown_table, write_table

METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR")
TESTED_CUTOFF = 20
TESTED = f"NDCG@{TESTED_CUTOFF}"  # the metric of the tests, and of the order of systems
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """The metrics of some systems on one dataset.

    Attributes:
        dataset: Name of the dataset.
        reference: The system that the others are compared with.
        systems: One row per system: system, model, seeds, n (number of seeds), parameters, seconds_per_epoch, p_value
            and p_holm of the test against the reference (NaN for the reference), first_epoch (seeds of the runs whose
            best epoch was the first), and sources, the files of its results.
        metrics: One row per system and metric: mean, std (n - 1 in the denominator), low and high ends of the 95%
            confidence interval of the mean over seeds, improvement (of the reference over the system, in percent),
            place (1 is best).
        missing: By system, the seeds of missing runs; a system without any run has no row.
    """

    dataset: str
    reference: str
    systems: pd.DataFrame
    metrics: pd.DataFrame
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return the tidy table: one row per system and metric, with all columns of `metrics` and `systems`."""
        return self.metrics.merge(self.systems, on="system", sort=False)

    def to_markdown(self, metrics: Sequence[str] = METRICS) -> str:
        """Return a Markdown table of mean ± std, with the best in bold and the second best in italics."""
        head = ["", *metrics, "p (Holm)", "gain", "seeds"]
        first_epoch = self.systems.set_index("system")["first_epoch"].to_dict()
        table = markdown_table(head, self._rows(metrics, "±", ("**{}**", "*{}*"), "%"))
        return table + footnotes(first_epoch, self.missing)

    def to_latex(self, metrics: Sequence[str] = METRICS) -> str:
        """Return a LaTeX table for booktabs, with the best in bold and the second best underlined."""
        rows = self._rows(metrics, r"{\tiny$\pm$}", (r"\textbf{{{}}}", r"\underline{{{}}}"), r"\%")
        return latex_table(["", *metrics, "$p$", "gain", "$n$"], rows)

    def _rows(self, metrics: Sequence[str], sign: str, marks: tuple[str, str], percent: str) -> list[list[str]]:
        rows = []
        for system in self.systems.itertuples():
            own = self.metrics[self.metrics.system == system.system].set_index("metric")
            cells = []
            for metric in metrics:
                value = own.loc[metric]
                cell = f"{value['mean']:.4f}"
                if 1 <= value["place"] <= len(marks):
                    cell = marks[int(value["place"]) - 1].format(cell)
                cells.append(cell if np.isnan(value["std"]) else f"{cell} {sign} {value['std']:.4f}")
            is_reference = system.system == self.reference
            p_value = "" if np.isnan(system.p_holm) else f"{system.p_holm:.3g}"
            improvement = own.loc[TESTED, "improvement"]  # NaN where the system's NDCG is 0
            gain = "" if is_reference or np.isnan(improvement) else f"{improvement:+.1f}{percent}"
            name = f"{system.system} {MARK}" if system.first_epoch else str(system.system)
            rows.append([name, *cells, p_value, gain, str(system.n)])
        return rows


def write_tables(comparison: Comparison, stem: str | Path, metrics: Sequence[str] = METRICS) -> None:
    """Write the tidy table as stem.csv, and the printed tables as stem.md and stem.tex."""
    write_table(stem, comparison.table(), comparison.to_markdown(metrics), comparison.to_latex(metrics))


def compare(
    results: Iterable[Result],
    reference: str | None = None,
    missing: Mapping[str, Sequence[int]] | None = None,
    sampled: bool = False,
) -> Comparison:
    """Compare systems, in the order of their first results; a system is a model with its settings, over its seeds.

    reference: the system that the others are tested against: its name in the table, or its model if no other system
    has the same model. Upper and lower case are the same. By default the system with the best mean NDCG@20.

    missing: by system, the seeds of runs that should exist and do not; they are named below the table.

    sampled: take the metrics among 99 drawn items instead of all, of the runs that have them. No test is made then,
    because the stored ranks of users are those among all items.

    The test is Wilcoxon's two-sided signed-rank test over users. It compares each user's NDCG@20, averaged over the
    seeds that both systems have. If they share no seed, the first seeds of each are taken, equally many of both: a mean
    over more seeds has another distribution over users, so that equal systems would seem to differ. Users with equal
    values take part in the ranking and are then dropped (Pratt). The p-values are corrected for the number of systems
    with `holm`.

    Raises:
        DataError: If the results are not of the same data, or a run occurs twice.
        ConfigError: If the reference is unknown, or fits several systems.
    """
    runs, missing = list(results), dict(missing or {})
    if sampled:
        without = [run for run in runs if run.sampled is None]
        missing |= {run_name(run): [*missing.get(run_name(run), []), run.seed] for run in without}
        runs = [replace(run, test=run.sampled) for run in runs if run.sampled is not None]
    systems = systems_of(runs)
    if reference is None:
        reference = max(systems, key=lambda name: float(np.mean([run.test[TESTED] for run in systems[name]])))
    else:
        reference = _named(reference, systems)
    others = [name for name in systems if name != reference]
    p_values = [np.nan if sampled else _p_value(systems[reference], systems[name]) for name in others]
    corrected = dict(zip(others, holm(p_values), strict=True))
    rows = [
        {
            "system": name,
            "model": runs[0].model,
            "seeds": " ".join(str(run.seed) for run in runs),
            "n": len(runs),
            "parameters": runs[0].parameters,
            "seconds_per_epoch": np.mean([run.seconds_per_epoch or np.nan for run in runs]),
            "p_value": dict(zip(others, p_values, strict=True)).get(name, np.nan),
            "p_holm": corrected.get(name, np.nan),
            "first_epoch": " ".join(str(run.seed) for run in runs if run.best_epoch == 0),
            "sources": " ".join(run.source for run in runs),
        }
        for name, runs in systems.items()
    ]
    return Comparison(dataset_of(systems), reference, pd.DataFrame(rows), _metrics(systems, reference), missing)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's step-down method.

    The smallest of n p-values is multiplied by n, the next by n - 1, and so on. A corrected value is at least as large
    as the one before it, and at most 1.

    Source: Holm, Scandinavian Journal of Statistics 1979.

    >>> holm([0.03, 0.01, 0.02])  # 0.01 * 3; then 0.02 * 2; then 0.03 * 1, raised to the one before it
    [0.04, 0.03, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1)
    return [float(value) for value in corrected]


def systems_of(results: list[Result]) -> dict[str, list[Result]]:
    """Return groups of results with the same settings, sorted by seed.

    A group is named after its model, and after the settings in which it differs from other groups of the model. Raises
    DataError if there are no results, or if a group has a seed twice.
    """
    if not results:
        raise DataError("no results to compare")
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, *sorted(settings_of(result).items())), []).append(result)
    systems = {}
    for runs in groups.values():
        same_model = [settings_of(group[0]) for group in groups.values() if group[0].model == runs[0].model]
        own = settings_of(runs[0])
        differing = [key for key in own if any(other.get(key) != own[key] for other in same_model)]
        name = MODELS[runs[0].model].title
        if differing:
            name += f" ({', '.join(f'{key} {own[key]}' for key in differing)})"
        seeds = [run.seed for run in runs]
        twice = next((run for run in runs if seeds.count(run.seed) > 1), None)
        if twice is not None:
            sources = " and ".join(run.source for run in runs if run.seed == twice.seed)
            raise DataError(f"{name} with seed {twice.seed} occurs twice: {sources}; leave one out")
        systems[name] = sorted(runs, key=lambda run: run.seed)
    return systems


def _named(reference: str, systems: dict[str, list[Result]]) -> str:
    """Return the system with this name, or the only system of the model with this name."""
    wanted = reference.casefold()
    fitting = [name for name in systems if name.casefold() == wanted]
    if not fitting:
        fitting = [
            name
            for name, runs in systems.items()
            if wanted in (runs[0].model.casefold(), MODELS[runs[0].model].title.casefold())
        ]
    if len(fitting) > 1:
        raise ConfigError(f"{reference!r} is the model of several systems; choose one of {', '.join(fitting)}")
    if not fitting:
        raise ConfigError(f"no system {reference!r} among these results; there are {', '.join(systems)}")
    return fitting[0]


def settings_of(result: Result) -> dict[str, Any]:
    """Return the settings that define a system: all but the seed, and the limits of the training's length."""
    training = {key: value for key, value in result.training.items() if key not in ("seed", "epochs", "patience")}
    return training | result.config


def dataset_of(systems: dict[str, list[Result]]) -> str:
    """Return the name of the dataset of all runs; raises DataError if their data differ."""
    runs = [run for group in systems.values() for run in group]
    for run in runs:
        if run.dataset["fingerprint"] != runs[0].dataset["fingerprint"]:
            raise DataError(
                f"{run.source or run.model} is a run on {run.dataset['name']}, {runs[0].source or runs[0].model} on "
                f"{runs[0].dataset['name']}, or on other data of that name; compare runs on the same data"
            )
    return str(runs[0].dataset["name"])


def _metrics(systems: dict[str, list[Result]], reference: str) -> pd.DataFrame:
    rows = []
    for metric in METRICS:
        values = {name: np.array([run.test[metric] for run in runs]) for name, runs in systems.items()}
        means = {name: float(value.mean()) for name, value in values.items()}
        for name, value in values.items():
            std, half = _spread(value)
            rows.append(
                {
                    "system": name,
                    "metric": metric,
                    "mean": means[name],
                    "std": std,
                    "low": means[name] - half,
                    "high": means[name] + half,
                    "improvement": 100 * (means[reference] / means[name] - 1) if means[name] else np.nan,
                    "place": 1 + sum(other > means[name] for other in means.values()),
                }
            )
    return pd.DataFrame(rows)


def _spread(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the standard deviation, and half the width of the mean's confidence interval; NaN for a single seed."""
    if len(values) < 2:
        return np.nan, np.nan
    std = float(values.std(ddof=1))
    return std, float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * std / np.sqrt(len(values)))


def _p_value(first: list[Result], second: list[Result]) -> float:
    """Return the p-value of the test over users that compares two systems; see `compare`."""
    shared = {run.seed for run in first} & {run.seed for run in second}
    count = len(shared) or min(len(first), len(second))
    gains = []
    for runs in (first, second):
        chosen = [run for run in runs if run.seed in shared or not shared][:count]
        gains.append(np.mean([ndcg(torch.tensor(run.test_ranks), TESTED_CUTOFF).numpy() for run in chosen], axis=0))
    if np.array_equal(*gains):
        return 1.0
    return float(stats.wilcoxon(*gains, zero_method="pratt").pvalue)
