"""Profiles of the workflow: the systems, how they are trained, and what is made of their results.

A profile is a file in config/. A system is a model, or a model with other settings and its own name: a variant of the
profile (`sasrec-ce`), or a value of a sensitivity figure (`bsarec-alpha0.1`). The Snakefile, the notebooks and
`python -m models.remaining` use this module. It is light to import: it needs neither torch nor pandas.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from models.datasets import names as named_datasets
from models.errors import ConfigError

VARIED_MODEL = "bsarec"  # the model whose settings the sensitivity figures vary
VARIED_SETTINGS = ("alpha", "c")
_OF_USERS = ("fig1", "fig2", "fig3", "fig7_filters", "successors")  # notebooks that read the dataset, not only models
# Notebooks that spectral summaries, and the results beside them, are enough for.
_OF_SUMMARIES = ("fig2_filter", "fig3_oversmoothing", "fig4_architecture", "fig7_beta")
_WITH_NULLS = ("fig2", "fig3", "fig7_filters")  # notebooks that draw null models
SAMPLED_TABLE = "table_negatives"  # of the metrics among 99 drawn items
RUN_NAME = "{system}-seed{seed}"


@dataclass(frozen=True)
class Sensitivity:
    """The content of the sensitivity figures.

    Attributes:
        alpha, c: The values of each setting.
        baselines: Systems to compare with.
        datasets: Datasets of the figures over several datasets; None for all datasets that have their results.
    """

    alpha: list[float]
    c: list[int]
    baselines: list[str]
    datasets: list[str] | None


@dataclass(frozen=True)
class Remedies:
    """The content of the figures of remedies and of dynamics.

    Attributes:
        datasets: The datasets (folders) that they are drawn for; None for the profile's own.
        systems: In the figure of remedies; the first is the reference.
        dynamics: In the figure of dynamics; these systems are watched while they train.
        if_there: Further ones in the figure of dynamics, on datasets that have their runs; none is trained for it.
    """

    datasets: list[str] | None = None
    systems: list[str] = field(default_factory=list)
    dynamics: list[str] = field(default_factory=list)
    if_there: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """Runs of the run list that belong together: every system on every dataset (its folder), with every seed."""

    datasets: list[str]
    systems: list[str]
    seeds: list[int]

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """Yield dataset, system and seed of each run."""
        return ((d, s, seed) for d in self.datasets for s in self.systems for seed in self.seeds)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings of a profile, checked; raises ConfigError for a wrong one, naming file and key.

    Attributes:
        profile: Name of the profile.
        dataset: The dataset of the figures: a name, `synthetic:...`, or a file.
        models, seed: Systems in the figures, and the seed of their runs.
        figure_models: By figure, its systems, if they differ from `models`.
        depth: Number of layers of the deep systems in Figure 3, called <system>-<depth>; None for no deep systems.
        runs, figures: Folders of checkpoints, and of results and pictures.
        training: Settings of every model.
        model_settings: By model, settings that override `training`.
        dataset_settings: By dataset and model, settings that override those of the model.
        variants: By system, its model and the settings in which it differs; they override all others.
        sensitivity: See Sensitivity.
        nulls: The null models in figures of curves (spectral.nulls), or "all".
        null_draws: Draws of each null model that is random.
        from_summaries: Whether figures of curves are made from the spectral summaries of runs, of all seeds that are
            there, instead of the checkpoints of `seed`.
        remedies: See Remedies.
        seeds: By system, the seeds of the runs for tables; `default` is for all others, `sensitivity` for those of
            the sensitivity figures.
        tables: By table, its systems.
        run_list: The runs that `make runs` trains, block by block.
        checkpoints: Files of third parties in the figure of successors: by path, the settings that a file does not say.
        data_dir: Folder with the datasets' files; None for the usual places (models.datasets.files).
        block: The chosen block of the run list, from 1; None for all blocks.
        missing: What to do with runs that a table, the comparison of remedies or a figure of summaries lacks: `train`
            them, or `name` them in the note. Figures of checkpoints are drawn with `train` only.
        file: Where the settings come from, for messages.
        known_profiles: The names of all profiles.
        root: The repository's folder; the path of a dataset's file is relative to it.
    """

    profile: str
    dataset: str
    models: list[str]
    figure_models: dict[str, list[str]]
    depth: int | None
    seed: int
    runs: str
    figures: str
    training: dict[str, Any]
    model_settings: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, Any]]
    sensitivity: Sensitivity
    nulls: list[str]
    null_draws: int
    from_summaries: bool
    seeds: dict[str, list[int]]
    tables: dict[str, list[str]]
    run_list: list[Block]
    remedies: Remedies = field(default_factory=Remedies)
    dataset_settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    data_dir: str | None = None
    block: int | None = None
    missing: str = "train"
    file: str = ""
    known_profiles: tuple[str, ...] = ()
    root: str = "."

    def __post_init__(self) -> None:
        self._check_systems("models", self.models)
        for figure, systems in self.figure_models.items():
            self._check_systems(f"figure_models, {figure}", systems)
        for table, systems in self.tables.items():
            self._check_systems(f"tables, {table}", systems)
        self._check_systems("sensitivity, baselines", self.sensitivity.baselines)
        self._check_systems("remedies, systems", self.remedies.systems)
        self._check_systems("remedies, dynamics", self.remedies.dynamics)
        self._check_systems("remedies, if_there", self.remedies.if_there)
        for dataset in self.remedies.datasets or ():
            self._check("remedies, datasets", dataset, self.datasets)
        known = self.known_datasets
        self._check("dataset", self.dataset, known)
        for dataset in self.sensitivity.datasets or ():
            self._check("sensitivity, datasets", dataset, known)
        for number, block in enumerate(self.run_list, start=1):
            self._check_systems(f"run_list, block {number}", block.systems)
            for dataset in block.datasets:
                self._check(f"run_list, block {number}", dataset, self.datasets)
        self._check("missing", self.missing, ("train", "name"))
        for null in self.nulls:
            self._check("nulls", null, ("all", "uniform", "untrained", "shuffled"))
        given = self.checkpoints
        if not isinstance(given, dict) or not all(isinstance(settings, dict) for settings in given.values()):
            raise ConfigError(
                f"{self.file}, checkpoints: must be a mapping from paths to settings, as in --config "
                f"'checkpoints={{a.pt: {{}}, b.pt: {{heads: 4}}}}', got {given!r}"
            )
        if self.block is not None and not 1 <= self.block <= len(self.run_list):
            raise ConfigError(f"{self.file}, block: must lie in 1..{len(self.run_list)}, got {self.block}")

    def _check_systems(self, key: str, systems: list[str]) -> None:
        if not isinstance(systems, list):
            raise ConfigError(
                f"{self.file}, {key}: must be a list, as in --config 'models=[{systems}]', got {systems!r}"
            )
        for system in systems:
            self._check(key, system, self.systems)

    def _check(self, key: str, given: str, known: Iterable[str]) -> None:
        if given not in known:
            raise ConfigError(f"{self.file}, {key}: unknown {given!r}; expected one of {', '.join(sorted(known))}")

    @property
    def known_datasets(self) -> list[str]:
        """The datasets that the profile has settings for; without such settings, all named ones, or the own dataset.

        The own dataset counts if it is generated, or a file.
        """
        is_own = self.dataset.startswith("synthetic:") or Path(self.root, self.dataset).is_file()
        return list(self.dataset_settings) or ([self.dataset] if is_own else named_datasets())

    @property
    def datasets(self) -> dict[str, str]:
        """The datasets, by the names of their folders."""
        own = Path(self.dataset).stem if Path(self.root, self.dataset).is_file() else self.dataset
        named = {name: name for name in self.known_datasets if name != self.dataset}
        return {own.replace(":", "-"): self.dataset} | named

    @property
    def folder(self) -> str:
        """The folder of the profile's own dataset."""
        return next(iter(self.datasets))

    @property
    def systems(self) -> dict[str, dict[str, Any]]:
        """By system, its model and the settings in which it differs from the model's own."""
        varied = {
            varied_system(setting, value): {"model": VARIED_MODEL, setting: value}
            for setting in VARIED_SETTINGS
            for value in getattr(self.sensitivity, setting)
        }
        return {name: {"model": name} for name in self.model_settings} | varied | self.variants

    @property
    def checkpoint(self) -> str:
        """The path of a checkpoint, with {dataset}, {system} and {seed} to fill in."""
        return f"{self.runs}/{self.profile}/{{dataset}}/{RUN_NAME}.pt"

    @property
    def result(self) -> str:
        """The path of a result, likewise; each profile has its own folder, because budgets differ."""
        return f"{self.results_folder('{dataset}')}/{RUN_NAME}.json"

    @property
    def summary(self) -> str:
        """The path of a spectral summary, likewise."""
        return f"{self.results_folder('{dataset}')}/{RUN_NAME}.spectral.npz"

    @property
    def watched(self) -> str:
        """The path of a copy of the file of a watched run, likewise."""
        return f"{self.results_folder('{dataset}')}/{RUN_NAME}.watch.csv"

    def files_of(self, dataset: str, system: str, seed: str | int) -> list[str]:
        """Return what is kept of a finished run: its result, its summary and, if it was watched, the file of that."""
        kept = [self.result, self.summary, *([self.watched] if self.systems[system].get("watch") else [])]
        return [path.format(dataset=dataset, system=system, seed=seed) for path in kept]

    @property
    def remedies_datasets(self) -> list[str]:
        """The datasets (folders) of the figures of remedies and of dynamics."""
        return [self.folder] if self.remedies.datasets is None else self.remedies.datasets

    def remedies_systems(self, dataset: str, notebook: str) -> list[str]:
        """Return the systems in the figure of a notebook, `remedies` or `dynamics`; dataset is a folder's name."""
        if notebook == "remedies":
            return self.remedies.systems
        there = [name for name in self.remedies.if_there if all(map(os.path.exists, self._kept(dataset, name)))]
        return [*self.remedies.dynamics, *there]

    def remedies_files(self, dataset: str, notebook: str) -> list[str]:
        """Return the files of all runs in the figure of a notebook, likewise."""
        paths = [path for system in self.remedies_systems(dataset, notebook) for path in self._kept(dataset, system)]
        return self._wanted(paths)

    def _wanted(self, paths: list[str]) -> list[str]:
        """Return the paths of results, with `missing` "name" only those that exist."""
        return [path for path in paths if self.missing == "train" or Path(path).exists()]

    def _kept(self, dataset: str, system: str) -> list[str]:
        return [path for seed in self.seeds_of(system) for path in self.files_of(dataset, system, seed)]

    def remedies_parameters(self, dataset: str, notebook: str) -> dict[str, Any]:
        """Return the parameters of the notebooks `remedies` and `dynamics`."""
        systems = self.remedies_systems(dataset, notebook)
        seeds = {system: self.seeds_of(system) for system in systems}
        of_users = {"data_dir": self.data_dir} if notebook == "remedies" else {}
        return self.results_parameters(dataset=dataset, models=systems, seeds=seeds, **of_users)

    def results_folder(self, dataset: str, profile: str | None = None) -> str:
        """Return the folder of a dataset's results, by default of this profile."""
        return f"{self.figures}/{dataset}/runs/{profile or self.profile}"

    def settings_for(self, system: str, dataset: str) -> dict[str, Any]:
        """Return the settings with which a system is trained, including its model; dataset is a folder's name."""
        model = self.systems[system]["model"]
        of_dataset = self.dataset_settings.get(self.datasets[dataset], {}).get(model, {})
        return reduce(merged, [self.training, self.model_settings[model], of_dataset, self.systems[system]])

    def training_parameters(self, dataset: str, system: str, seed: str | int) -> dict[str, Any]:
        """Return the parameters of the notebook that trains one run; dataset is a folder's name."""
        of_run = {"dataset": self.datasets[dataset], "seed": int(seed), "data_dir": self.data_dir}
        path = self.checkpoint.format(dataset=dataset, system=system, seed=seed)
        return of_run | self.settings_for(system, dataset) | {"out": path}

    def seeds_of(self, system: str) -> list[int]:
        """Return the seeds of a system's runs for tables."""
        return self.seeds.get(system, self.seeds["default"])

    @property
    def sensitivity_seeds(self) -> list[int]:
        """The seeds of all runs for the sensitivity figures."""
        return self.seeds.get("sensitivity", self.seeds["default"])

    def shown(self, notebook: str) -> list[str]:
        """Return the systems in a notebook's figures, by its name or the start of it: fig3 of fig3_oversmoothing."""
        return self.figure_models.get(notebook, self.figure_models.get(notebook.partition("_")[0], self.models))

    def seeds_drawn(self, notebook: str, dataset: str) -> dict[str, list[int]] | None:
        """Return the seeds of the summaries that a notebook draws, by system; None if it draws checkpoints.

        They are those that are there. A system without any has the seed of the figures, or, with `missing` "name", is
        left to the notebook to name.
        """
        if not self.from_summaries or notebook not in _OF_SUMMARIES:
            return None
        seeds = {system: self._summarised_seeds(system, dataset) for system in self.behind(notebook)}
        if self.missing == "name":
            return {system: of_system for system, of_system in seeds.items() if of_system}
        return {system: of_system or [self.seed] for system, of_system in seeds.items()}

    def drawable(self, notebooks: Iterable[str], dataset: str) -> list[str]:
        """Return the notebooks that may be run: all of them, or with `missing` "name" those that have summaries."""
        return [name for name in notebooks if self.missing == "train" or self.seeds_drawn(name, dataset)]

    def _summarised_seeds(self, system: str, dataset: str) -> list[int]:
        pattern = Path(self.summary.format(dataset=dataset, system=system, seed="*")).name
        found = Path(self.results_folder(dataset)).glob(pattern)
        seeds = [path.name.removeprefix(f"{system}-seed").partition(".")[0] for path in found]
        return sorted(int(seed) for seed in seeds if seed.isdecimal())

    def drawn_from(self, notebook: str, dataset: str) -> list[str]:
        """Return the files that a notebook draws: checkpoints, or spectral summaries with the results beside them."""
        seeds = self.seeds_drawn(notebook, dataset)
        if seeds is None:
            return [
                self.checkpoint.format(dataset=dataset, system=system, seed=self.seed)
                for system in dict.fromkeys(self.behind(notebook))
            ]
        return [
            path.format(dataset=dataset, system=system, seed=seed)
            for system, of_system in seeds.items()
            for seed in of_system
            for path in (self.summary, self.result)
        ]

    def behind(self, notebook: str) -> list[str]:
        """Return the systems that a notebook loads; Figure 3 also shows deep systems."""
        shown = self.shown(notebook)
        has_deep = self.depth and notebook.startswith("fig3")
        return [*shown, *(f"{system}-{self.depth}" for system in shown)] if has_deep else shown

    def table_results(self, table: str, dataset: str) -> list[str]:
        """Return the paths of the results in a table; with `missing` "name" only of those that exist."""
        paths = [
            self.result.format(dataset=dataset, system=system, seed=seed)
            for system in self.tables[table]
            for seed in self.seeds_of(system)
        ]
        return self._wanted(paths)

    def varied_systems(self, setting: str, dataset: str) -> list[str]:
        """Return the systems of a sensitivity figure: one for each value, and the baselines.

        Raises ConfigError if the profile does not have the model's own value for the dataset.
        """
        own = self.settings_for(VARIED_MODEL, dataset).get(setting)
        if own is None:
            raise ConfigError(
                f"{self.file}, model_settings or dataset_settings: {VARIED_MODEL} needs its own {setting} on {dataset}"
            )
        values = getattr(self.sensitivity, setting)
        return [*varied_systems(setting, values, own).values(), *self.sensitivity.baselines]

    def varied_results(self, setting: str, dataset: str, profile: str | None = None) -> list[str]:
        """Return the paths of the results in a sensitivity figure of one dataset, by default of this profile."""
        folder = self.results_folder(dataset, profile)
        return [
            f"{folder}/{RUN_NAME.format(system=system, seed=seed)}.json"
            for system in self.varied_systems(setting, dataset)
            for seed in self.sensitivity_seeds
        ]

    def has_varied(self, setting: str, dataset: str, profile: str | None = None) -> bool:
        """Return whether all results of a sensitivity figure of a dataset exist."""
        return all(Path(path).exists() for path in self.varied_results(setting, dataset, profile))

    def varied_datasets(self, setting: str) -> dict[str, str]:
        """Return the datasets of a sensitivity figure over several datasets, and for each the profile of its runs.

        If the profile names datasets, these are returned, with this profile. Otherwise they are the datasets that have
        all results, from this profile or from the first other one that has them. If there are none, the profile's own
        dataset is returned.
        """
        if self.sensitivity.datasets:
            return dict.fromkeys(self.sensitivity.datasets, self.profile)
        others = [name for name in self.known_profiles if name != self.profile]
        found = {
            dataset: next((p for p in (self.profile, *others) if self.has_varied(setting, dataset, p)), None)
            for dataset in self.datasets
        }
        return {dataset: name for dataset, name in found.items() if name} or {self.folder: self.profile}

    def listed(self) -> list[tuple[str, str, int]]:
        """Return dataset, system and seed of all runs of the run list, or of the chosen block."""
        blocks = self.run_list if self.block is None else [self.run_list[self.block - 1]]
        return [run for block in blocks for run in block]

    def figure_parameters(self, dataset: str, notebook: str) -> dict[str, Any]:
        """Return the parameters of a notebook whose figures are of trained models."""
        shown = {"dataset": dataset, "models": self.shown(notebook), "seed": self.seed, "profile": self.profile}
        parameters = shown | {"runs": self.runs, "out": self.figures}
        if notebook.startswith("fig3"):
            parameters |= {"depth": self.depth}
        if notebook in _OF_SUMMARIES:
            parameters |= {"seeds": self.seeds_drawn(notebook, dataset), "results": self.figures}
        if notebook.startswith(_WITH_NULLS):
            parameters |= {"null": self.nulls, "draws": self.null_draws}
        if notebook == "successors":
            parameters |= {"checkpoints": list(self.checkpoints), "settings": self.checkpoints}
        if notebook.startswith(_OF_USERS):
            parameters |= {"data_dir": self.data_dir, "data": self.data_file(dataset)}
        return parameters

    def data_file(self, dataset: str) -> str | None:
        """Return the file of a dataset that the profile names by its file, else None; dataset is a folder's name.

        Checkpoints say where their data were, but nothing is read from there without being named again.
        """
        name = self.datasets[dataset]
        return name if Path(self.root, name).is_file() else None

    def table_notebook(self, table: str) -> str:
        """Return the notebook that makes a table: the one with the table's name, else that of the main table."""
        return table if Path(self.root, "notebooks", f"{table}.ipynb").is_file() else "table_main"

    def table_parameters(self, dataset: str, table: str) -> dict[str, Any]:
        """Return the parameters of a notebook that makes a table of results."""
        seeds = {system: self.seeds_of(system) for system in self.tables[table]}
        of_table = {"dataset": dataset, "table": table, "models": self.tables[table], "seeds": seeds}
        sampled = {"sampled": True} if table == SAMPLED_TABLE else {}
        return self.results_parameters(**of_table, **sampled)

    def results_parameters(self, **of_notebook: Any) -> dict[str, Any]:
        """Return the parameters of a notebook that reads results, with further ones of its own."""
        return {"profile": self.profile, "results": self.figures, "out": self.figures} | of_notebook

    def sensitivity_parameters(self, setting: str, **of_notebook: Any) -> dict[str, Any]:
        """Return the parameters of a notebook that varies one setting, with further ones of its own."""
        varied = {
            "setting": setting,
            "models": [VARIED_MODEL, *self.sensitivity.baselines],
            "values": getattr(self.sensitivity, setting),
            "seeds": self.sensitivity_seeds,
        }
        return self.results_parameters(**varied, **of_notebook)


def varied_system(setting: str, value: float, model: str = VARIED_MODEL) -> str:
    """Return the name of the model with another value of a setting.

    >>> varied_system("alpha", 0.1), varied_system("c", 5)
    ('bsarec-alpha0.1', 'bsarec-c5')
    """
    return f"{model}-{setting}{value:g}"


def varied_systems(setting: str, values: Iterable[float], own: float, model: str = VARIED_MODEL) -> dict[float, str]:
    """Return the system of each value, ascending; the model's own value is included.

    The system of the model's own value is the model itself, so that it is not trained twice.

    >>> varied_systems("c", [5, 1], own=3)
    {1: 'bsarec-c1', 3: 'bsarec', 5: 'bsarec-c5'}
    """
    return {value: model if value == own else varied_system(setting, value, model) for value in sorted({*values, own})}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of both; `above` has precedence, and mappings in both are merged.

    >>> merged({"loss": "ce", "kept": {"heads": 1, "c": 5}}, {"kept": {"heads": 2}})
    {'loss': 'ce', 'kept': {'heads': 2, 'c': 5}}
    """
    both = {key: merged(below[key], above[key]) for key in above if _are_mappings(below.get(key), above[key])}
    return {**below, **above, **both}


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)
