"""Sensitivity of a model's metrics to one of its settings, over seeds: Figures 5, 6, 8 and 9.

Source: Shin et al., AAAI 2024, sensitivity to alpha and to c.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.errors import CheckpointError, ConfigError, DataError
from models.registry import MODELS
from models.results.comparison import SIGNIFICANT, TESTED, compare, settings_of, systems_of
from models.results.profile import VARIED_MODEL, varied_systems
from models.results.runs import Result, of_systems, runs_folder

logger = logging.getLogger("models")

PUBLISHED = ("beauty", "sports", "toys", "yelp", "lastfm", "ml-1m")  # the paper tunes settings on these

_COLUMNS = ("metric", "mean", "std", "low", "high", "n", "seeds", "users", "p_value", "p_holm", "sources")


@dataclass(frozen=True)
class Sensitivity:
    """The metrics of a model on one dataset for several values of one setting, and the metrics of baselines.

    Attributes:
        dataset: Name of the dataset.
        model: Name of the model.
        setting: Name of the setting.
        best: The value in the model's own settings for the dataset, which are the published best ones if there are any.
        epochs: The largest number of epochs of a run of the model.
        values: One row per value and metric: value, metric, mean, std (n - 1 in the denominator), low and high ends of
            the 95% confidence interval of the mean over seeds (NaN for one seed), n (number of seeds), seeds, users
            (number of test users), p_value and p_holm of the test over users against the best value
            (`models.results.comparison.compare`), sources.
        baselines: One row per baseline and metric: system, model, and the same columns.
    """

    dataset: str
    model: str
    setting: str
    best: float
    epochs: int
    values: pd.DataFrame
    baselines: pd.DataFrame

    @property
    def is_published(self) -> bool:
        """Whether the paper tunes settings on the dataset, so that `best` is the published value."""
        return self.dataset in PUBLISHED

    @property
    def best_name(self) -> str:
        """What to call the best value in a figure: published best, or default setting if the paper has none."""
        return "published best" if self.is_published else "default setting"

    def sentence(self) -> str:
        """Return a sentence about the best and worst value by NDCG@20, and the significant differences to `best`."""
        rows = self.values[self.values.metric == TESTED].sort_values("mean")
        worst, best = rows.iloc[0], rows.iloc[-1]
        marked = rows[rows.value == self.best].iloc[0]
        told_apart = sorted(rows[rows.p_holm < SIGNIFICANT].value)
        return (
            f"On {self.dataset} the best {self.setting} by {TESTED} is {best.value:g} ({_spread(best)}), the worst "
            f"{worst.value:g} ({_spread(worst)}); the {self.best_name}, {marked.value:g}, has {_spread(marked)}. Over "
            f"users {', '.join(f'{value:g}' for value in told_apart) or 'none of the others'} can be told from it "
            f"(p < {SIGNIFICANT:g} after Holm)."
        )

    def table(self) -> pd.DataFrame:
        """Return the tidy table: one row per value and metric, then one per baseline and metric, whose value is NaN."""
        varied = self.values.assign(
            system=MODELS[self.model].title, model=self.model, best=self.values.value == self.best
        )
        table = pd.concat([varied, self.baselines.assign(best=False)] if len(self.baselines) else [varied])
        table = table.assign(dataset=self.dataset, setting=self.setting)
        return table[["dataset", "system", "model", "setting", "value", "best", *_COLUMNS]].reset_index(drop=True)


def _spread(row: Any) -> str:
    """Return a mean as text, with the standard deviation over seeds if there are several."""
    return f"{row['mean']:.4f}" + (f" ± {row['std']:.4f}" if row["n"] > 1 else "")


def sensitivity(runs: Iterable[Result], setting: str, best: float, baselines: Iterable[Result] = ()) -> Sensitivity:
    """Return the metrics of runs of one model that differ in one setting, over the seeds of each value.

    Raises:
        ConfigError: If the model has no such setting.
        DataError: If there are no runs, if none has the best value, or if the runs differ in another setting, in the
            model or in the dataset.
    """
    runs, baselines = list(runs), list(baselines)
    _check(runs, setting, best)
    everything = [*sorted(runs, key=lambda run: float(run.config[setting])), *baselines]
    value_of = {name: group[0].config[setting] for name, group in systems_of(everything).items() if group[0] in runs}
    compared = compare(everything, next(name for name, value in value_of.items() if value == best))
    table = compared.table().assign(users=compared.users)
    of_model = table.system.isin(value_of)
    return Sensitivity(
        compared.dataset,
        runs[0].model,
        setting,
        best,
        max(run.epochs for run in runs),
        table[of_model].assign(value=table.system.map(value_of))[["value", *_COLUMNS]].reset_index(drop=True),
        table[~of_model][["system", "model", *_COLUMNS]].reset_index(drop=True),
    )


def _check(runs: list[Result], setting: str, best: float) -> None:
    if not runs:
        raise DataError("no results of runs to draw a curve of")
    first, *others = runs
    if setting not in first.config:
        raise ConfigError(f"{first.model} has no setting {setting!r}; it has {', '.join(first.config)}")
    own = settings_of(first) | {"model": first.model}
    for other in others:
        theirs = settings_of(other) | {"model": other.model}
        differing = [name for name in own if name != setting and own[name] != theirs.get(name)]
        if differing:
            what = ", ".join(f"{name} {own[name]} and {theirs.get(name)}" for name in differing)
            raise DataError(
                f"{first.source or first.model} and {other.source or other.model} differ in more than {setting}: "
                f"{what}; take runs of one profile"
            )
    if not any(run.config[setting] == best for run in runs):
        raise DataError(f"none of the runs has the best {setting}, {best}")


def read_sensitivity(
    folder: str | Path,
    setting: str,
    models: Sequence[str] = (VARIED_MODEL, "sasrec"),
    values: Iterable[float] | None = None,
    seeds: Iterable[int] | None = None,
) -> Sensitivity:
    """Return the sensitivity from the results that the workflow keeps in a folder.

    Args:
        folder: <figures>/<dataset>/runs/<profile>.
        setting: alpha or c.
        models: The model whose setting varies, followed by systems to compare with.
        values: Values of the setting; the model's own value is always included. None takes all values in the folder.
        seeds: Seeds of the runs; None takes all seeds in the folder.

    Raises:
        CheckpointError: If results are missing; the message names the command that makes them.
        ConfigError, DataError: As `sensitivity` does.
    """
    folder, seeds = Path(folder), None if seeds is None else list(seeds)
    model, *baselines = models

    def results_of(names: Iterable[str]) -> list[Result]:
        return of_systems(folder, names, seeds, target="sensitivity")

    own = results_of([model])
    if setting not in own[0].config:
        raise ConfigError(f"{model} has no setting {setting!r}; it has {', '.join(own[0].config)}")
    best = own[0].config[setting]
    if values is None:
        there = sorted({path.name.rpartition("-seed")[0] for path in folder.glob(f"{model}-{setting}[0-9]*.json")})
        varied = there or [f"{model}-{setting}*"]
    else:
        varied = [system for value, system in varied_systems(setting, values, best, model).items() if value != best]
    return sensitivity([*own, *results_of(varied)], setting, best, results_of(baselines))


def read_sensitivities(
    figures: str | Path, profiles: Mapping[str, str], setting: str, **options: Any
) -> dict[str, Sensitivity]:
    """Return the sensitivity on each dataset that has all its results, read from <figures>/<dataset>/runs/<profile>.

    profiles: by dataset, the profile of its runs. options: of `read_sensitivity`.

    Datasets with missing results are left out; a note names the command that makes them. Raises CheckpointError if no
    dataset has its results.
    """
    found, lacking = {}, []
    for dataset, profile in profiles.items():
        try:
            found[dataset] = read_sensitivity(runs_folder(figures, dataset, profile), setting, **options)
        except CheckpointError as error:
            lacking.append(f"{dataset}: {error}")
    if not found:
        raise CheckpointError("no dataset has the runs of this figure\n" + "\n".join(lacking))
    for note in lacking:
        logger.warning("note: left out %s", note)
    return found
