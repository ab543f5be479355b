"""Comparison of systems: means and spread over seeds, and significance tests over users."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import torch
from numpy.typing import NDArray

from models.choices import METRICS, PRINTED
from models.errors import ConfigError, DataError, did_you_mean
from models.evaluation import ndcg
from models.registry import MODELS
from models.results.description import HEAD, cells, described, is_as_published, losses, named
from models.results.published import published
from models.results.runs import Result, run_name
from models.results.significance import (
    CONFIDENCE,
    POWER,
    TESTS,
    WHAT_IS_TESTED,
    Difference,
    difference,
    holm,
    means_of_samples,
)
from models.results.tables import latex_table, markdown_table, notes, write_table

AMONG_DRAWN = "NDCG@10"  # the metric that is also shown among drawn items, as papers with 99 negatives do
TESTED_CUTOFF = 20
TESTED = f"NDCG@{TESTED_CUTOFF}"  # the metric of the tests, and of the order of systems
SIGNIFICANT = 0.05
_NOT_OF_A_SYSTEM = ("seed", "threads", "epochs", "patience")
_INTERVAL = ("difference", "difference_low", "difference_high")
TEST_COLUMNS = ("p_value", "p_holm", *_INTERVAL, "knows_seeds", "detectable")


@dataclass(frozen=True)
class Comparison:
    """The metrics of some systems on one dataset.

    Attributes:
        dataset: Name of the dataset.
        reference: The system that the others are compared with.
        users: Number of test users.
        systems: One row per system: system, the columns of `models.results.description.described`, seconds_per_epoch;
            among_drawn and its place, the mean NDCG@10 among 99 drawn items of the seeds that have it; published,
            published_metric, published_source, what others report for the system (models.results.published); p_value
            and p_holm of the test against the reference, difference (of the system's NDCG@20 to that of the reference),
            its 95% interval difference_low and difference_high, knows_seeds (whether both have several seeds; a single
            one adds nothing to the interval), detectable (the smallest difference that would be detected), all NaN for
            the reference.
        metrics: One row per system and metric: mean, std (n - 1 in the denominator), low and high ends of the 95%
            confidence interval of the mean over seeds, improvement (of the reference over the system, in percent),
            place (1 is best).
        missing: By system, the seeds of missing runs; a system without any run has no row.
        test: The test over users, of `models.results.significance.TESTS`.
    """

    dataset: str
    reference: str
    users: int
    systems: pd.DataFrame
    metrics: pd.DataFrame
    test: str
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return the tidy table: one row per system and metric, with all columns of `metrics` and `systems`."""
        return self.metrics.merge(self.systems, on="system", sort=False)

    def to_markdown(self, metrics: Sequence[str] = PRINTED) -> str:
        """Return a Markdown table of mean ± std, with the best in bold and the second best in italics."""
        return markdown_table(*self._cells(metrics, "±", ("**{}**", "*{}*")), self._notes())

    def to_latex(self, metrics: Sequence[str] = PRINTED) -> str:
        """Return a LaTeX table for booktabs, with the best in bold and the second best underlined."""
        marks = (r"\textbf{{{}}}", r"\underline{{{}}}")
        return latex_table(*self._cells(metrics, r"{\tiny$\pm$}", marks), self._notes())

    def sentence(self) -> str:
        """Return what the tests say: who can be told from the reference, and which difference would have been."""
        tested = self.systems[self.systems.system != self.reference]
        if self.systems.p_holm.isna().all():
            return ""
        apart = [
            f"{row.system} (p {row.p_holm:.2g}{'' if row.knows_seeds else ', one seed'})"
            for row in tested.itertuples()
            if row.p_holm < SIGNIFICANT
        ]
        smallest, largest = f"{tested.detectable.min():.4f}", f"{tested.detectable.max():.4f}"
        between = smallest if smallest == largest else f"{smallest} to {largest}"
        return (
            f"Over users {', '.join(apart) or 'none of the others'} can be told from {self.reference}"
            f" (p < {SIGNIFICANT}); {self.users:,} users and these seeds would detect a difference in {TESTED} of "
            f"{between} (power {POWER:.0%})."
        )

    def tested(self) -> str:
        """Return what p is, as a sentence after a space; "" if no others were tested, as in a table of one system."""
        if self.systems.p_holm.isna().all():
            return ""
        return f" p: {WHAT_IS_TESTED[self.test]}, against {self.reference}, corrected after Holm."

    def losses(self) -> str:
        """Return which systems are trained with which loss."""
        return losses({str(loss): list(rows.system) for loss, rows in self.systems.groupby("loss", sort=False)})

    def _notes(self) -> list[str]:
        marked = self.systems.set_index("system")
        return notes(marked["first_epoch"].to_dict(), marked["capped"].to_dict(), self.missing, self._sources())

    def _sources(self) -> list[str]:
        return list(dict.fromkeys(self.systems.published_source[self.systems.published_source != ""]))

    def _cells(self, metrics: Sequence[str], sign: str, marks: tuple[str, str]) -> tuple[list[str], list[list[str]]]:
        """Return the head and the rows of a printed table. Columns that would be empty are left out."""
        sources = self._sources()
        tested = bool(self.systems.p_holm.notna().any())
        drawn = bool(self.systems.among_drawn.notna().any())
        head = ["", *HEAD, *metrics]
        head += [f"{AMONG_DRAWN} of 99"] if drawn else []
        head += [f"{TESTED} published"] if sources else []
        head += [f"{TESTED} to {self.reference}", "p (Holm)"] if tested else []
        rows = []
        for system in self.systems.itertuples():
            own = self.metrics[self.metrics.system == system.system].set_index("metric")
            row = [named(system), *cells(system)]
            for metric in metrics:
                value = own.loc[metric]
                cell = _ranked(value["mean"], value["place"], marks)
                row.append(cell if np.isnan(value["std"]) else f"{cell} {sign} {value['std']:.4f}")
            row += [_ranked(system.among_drawn, system.among_drawn_place, marks)] if drawn else []
            row += [_published(system, sources)] if sources else []
            row += [_interval(system), "" if np.isnan(system.p_holm) else f"{system.p_holm:.2g}"] if tested else []
            rows.append(row)
        return head, rows


def _ranked(mean: float, place: float, marks: tuple[str, str]) -> str:
    if np.isnan(mean):
        return ""
    return marks[int(place) - 1].format(f"{mean:.4f}") if place <= len(marks) else f"{mean:.4f}"


def _published(system: Any, sources: list[str]) -> str:
    if np.isnan(system.published):
        return ""
    metric = "" if system.published_metric == TESTED else f"{system.published_metric} "
    return f"{metric}{system.published:.4f} [{sources.index(system.published_source) + 1}]"


def _interval(system: Any) -> str:
    if np.isnan(system.difference):
        return ""
    one_seed = "" if system.knows_seeds else " one seed"
    return f"{system.difference:+.4f} [{system.difference_low:+.4f}, {system.difference_high:+.4f}]{one_seed}"


def write_tables(comparison: Comparison, stem: str | Path, metrics: Sequence[str] = PRINTED) -> None:
    """Write the tidy table as stem.csv, and the printed tables as stem.md and stem.tex."""
    write_table(stem, comparison.table(), comparison.to_markdown(metrics), comparison.to_latex(metrics))


def compare(
    results: Iterable[Result],
    reference: str | None = None,
    missing: Mapping[str, Sequence[int]] | None = None,
    sampled: bool = False,
    test: str = "permutation",
) -> Comparison:
    """Compare systems, in the order of their first results; a system is a model with its settings, over its seeds.

    reference: the system that the others are tested against: its name in the table, or its model if no other system
    has the same model. Upper and lower case are the same. By default the system with the best mean NDCG@20.

    missing: by system, the seeds of runs that should exist and do not; they are named below the table.

    sampled: take the metrics among 99 drawn items instead of all, of the runs that have them. No test is made then,
    because the stored ranks of users are those among all items.

    test: permutation or wilcoxon, of each user's NDCG@20, averaged over the seeds that both systems have. If they share
    no seed, the first seeds of each are taken, equally many of both: a mean over more seeds has another distribution
    over users, so that equal systems would seem to differ. The p-values are corrected for the number of systems with
    `holm`. The difference and its interval, over users and seeds, are of all seeds. See `models.results.significance`.

    Raises:
        DataError: If the results are not of the same data, or a run occurs twice.
        ConfigError: If the reference is unknown, or fits several systems, or if the test is unknown.
    """
    if test not in TESTS:
        raise ConfigError(f"unknown test {test!r}; choose one of {', '.join(TESTS)}{did_you_mean(test, TESTS)}")
    runs, missing = list(results), dict(missing or {})
    if sampled:
        without = [run for run in runs if run.sampled is None]
        missing |= {run_name(run): [*missing.get(run_name(run), []), run.seed] for run in without}
        runs = [replace(run, test=run.sampled) for run in runs if run.sampled is not None]
    systems = systems_of(runs)
    dataset = dataset_of(systems)
    if reference is None:
        reference = max(systems, key=lambda name: float(np.mean([run.test[TESTED] for run in systems[name]])))
    else:
        reference = _named(reference, systems)
    tested = pd.DataFrame({"system": list(systems)}) if sampled else _tested(systems, reference, test)
    rows = [
        {
            "system": name,
            **described(runs),
            "seconds_per_epoch": np.mean([run.seconds_per_epoch or np.nan for run in runs]),
            "among_drawn": np.nan if sampled else _mean_among_drawn(runs),
            **_published_of(runs, sampled),
        }
        for name, runs in systems.items()
    ]
    table = pd.DataFrame(rows).merge(tested.reindex(columns=["system", *TEST_COLUMNS]), on="system")
    table.insert(table.columns.get_loc("among_drawn") + 1, "among_drawn_place", table.among_drawn.rank(ascending=False))
    users = int(runs[0].dataset["num_users"])
    return Comparison(dataset, reference, users, table, _metrics(systems, reference), test, missing)


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
    """Return the settings that define a system: not the seed, the threads, and the limits of the training's length."""
    training = {key: value for key, value in result.training.items() if key not in _NOT_OF_A_SYSTEM}
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
    return std, float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * std / np.sqrt(len(values)))


def _mean_among_drawn(runs: list[Result]) -> float:
    known = [run.sampled[AMONG_DRAWN] for run in runs if run.sampled is not None]
    return float(np.mean(known)) if known else np.nan


def _published_of(runs: list[Result], sampled: bool) -> dict[str, Any]:
    """Return what others report for a system among all items: for the model's own run, not for a variant of it."""
    first = runs[0]
    own = not sampled and run_name(first) == first.model and is_as_published(first)
    found = published(str(first.dataset["name"]), MODELS[first.model].title) if own else None
    source = "" if found is None else f"{found.source}, {found.seeds} seed{'s' if found.seeds > 1 else ''}"
    return {
        "published": np.nan if found is None else found.value,
        "published_metric": "" if found is None else found.metric,
        "published_source": source,
    }


def gains(run: Result) -> NDArray[np.float64]:
    """Return the NDCG@20 of each test user of a run, (users,)."""
    return ndcg(torch.tensor(run.test_ranks), TESTED_CUTOFF).numpy()


def _tested(systems: dict[str, list[Result]], reference: str, test: str) -> pd.DataFrame:
    """Return the columns of the tests against the reference, one row for each system."""
    others = [name for name in systems if name != reference]
    p_values = [TESTS[test](_paired_gains(systems[reference], systems[name])) for name in others]
    sampled = means_of_samples(np.stack([gains(run) for runs in systems.values() for run in runs]))
    ends = np.cumsum([len(runs) for runs in systems.values()])
    drawn = dict(zip(systems, np.split(sampled, ends[:-1], axis=1), strict=True))
    measured = {name: (np.array([run.test[TESTED] for run in runs]), drawn[name]) for name, runs in systems.items()}
    rows = []
    for name, p_value, p_holm in zip(others, p_values, holm(p_values), strict=True):
        found: Difference = difference(measured[name], measured[reference])
        low, high = found.interval()
        row = (name, p_value, p_holm, found.estimate, low, high, found.knows_seeds, found.detectable)
        rows.append(dict(zip(("system", *TEST_COLUMNS), row, strict=True)))
    return pd.DataFrame([{"system": reference}, *rows])


def _paired_gains(first: list[Result], second: list[Result]) -> NDArray[np.float64]:
    """Return users' differences in NDCG@20, (users,), of the runs that `compare` tests."""
    shared = {run.seed for run in first} & {run.seed for run in second}
    count = len(shared) or min(len(first), len(second))
    means = []
    for runs in (first, second):
        chosen = [run for run in runs if run.seed in shared or not shared][:count]
        means.append(np.mean([gains(run) for run in chosen], axis=0))
    paired: NDArray[np.float64] = means[0] - means[1]
    return paired
