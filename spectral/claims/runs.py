"""The runs of a dataset that claims are judged on: results and spectral summaries, read once."""

from collections.abc import Iterable
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch

from models.datasets import Sequences, find_attributes, load
from models.datasets.attributes import Attributes
from models.errors import DataError, UserError
from models.registry import build, configure
from models.results.comparison import gains
from models.results.runs import Result, read, runs_folder
from models.results.significance import Array, means_of_samples
from spectral.capture import capture
from spectral.cosine_similarity import CosineSimilarity
from spectral.summary import SpectralSummary, read_summary

UNTRAINED = 5  # draws of initial weights


class Missing(UserError):
    """Runs or data that a claim needs are not there; the message says which."""


class Runs:
    """The runs in <figures>/<dataset>/runs/<profile>.

    Attributes:
        dataset: Name of the dataset; "" for claims that are not about data.
        folder: The folder of the runs.
    """

    def __init__(
        self, figures: str | Path, dataset: str, profile: str = "paper", data_dir: str | Path | None = None
    ) -> None:
        self.dataset, self.folder = dataset, runs_folder(figures, dataset, profile)
        self._data_dir = data_dir
        self._results: dict[str, list[Result]] = {}
        self._summaries: dict[str, list[SpectralSummary]] = {}
        self._samples: dict[str, Array] = {}

    @property
    def exist(self) -> bool:
        """Whether there is any run."""
        return any(self.folder.glob("*-seed[0-9]*.json")) or any(self.folder.glob("*-seed[0-9]*.spectral.npz"))

    def results(self, system: str) -> list[Result]:
        """Return the results of a system, by seed. Raises Missing if there are none."""
        if system not in self._results:
            files = sorted(self.folder.glob(f"{system}-seed[0-9]*.json"))
            self._results[system] = [read(path) for path in files]
        if not self._results[system]:
            raise Missing(f"no results of {system}")
        return self._results[system]

    def summaries(self, system: str) -> list[SpectralSummary]:
        """Return the spectral summaries of a system, by seed. Raises Missing if there are none."""
        if system not in self._summaries:
            files = sorted(self.folder.glob(f"{system}-seed[0-9]*.spectral.npz"))
            self._summaries[system] = [read_summary(path) for path in files]
        if not self._summaries[system]:
            raise Missing(f"no spectral summaries of {system}")
        return self._summaries[system]

    def of_seeds_in_common(self, systems: Iterable[str]) -> Self:
        """Return these systems' runs of the seeds that each of them has, so that none is compared by more than another.

        A seed counts if its run has a result and a summary. Of other systems there are the runs of all seeds.
        Raises Missing if a system has no runs, or no seed is one of all.
        """
        systems = list(systems)
        seeds = [
            {run.seed for run in self.results(system)} & {run.about["seed"] for run in self.summaries(system)}
            for system in systems
        ]
        if not (common := set.intersection(*seeds)):
            raise Missing(f"no seed is one of all of {', '.join(systems)}")
        found = copy(self)
        found._results = {name: [run for run in self.results(name) if run.seed in common] for name in systems}
        found._summaries = {
            name: [run for run in self.summaries(name) if run.about["seed"] in common] for name in systems
        }
        found._samples = {}
        return found

    def gains(self, system: str) -> Array:
        """Return the NDCG@20 of each test user in each run of a system, (seeds, users)."""
        return np.stack([gains(run) for run in self.results(system)])

    def ndcg(self, system: str) -> tuple[Array, Array]:
        """Return the NDCG@20 of a system's runs, (seeds,), and in samples of users, (samples, seeds)."""
        if system not in self._samples:
            self._samples[system] = means_of_samples(self.gains(system))
        return self.gains(system).mean(axis=1), self._samples[system]

    def varied(self, model: str, setting: str) -> list[str]:
        """Return the systems with another value of one setting, <model>-<setting><value>.

        Raises Missing if there are none.
        """
        files = self.folder.glob(f"{model}-{setting}[0-9]*-seed[0-9]*.json")
        found = sorted({path.name.rpartition("-seed")[0] for path in files})
        if not found:
            raise Missing(f"no results of {model} with other values of {setting}")
        return found

    def untrained_similarity(self, system: str) -> Array:
        """Return the mean cosine between users' outputs after each layer with initial weights, (UNTRAINED, layers).

        The users and the architecture are those of the system's runs. Raises Missing without runs or the data's file.
        """
        run = self.results(system)[0]
        self.check_data(run)
        windows = torch.from_numpy(self.sequences.windows("test", run.config["max_len"]).inputs)
        model = build(configure(run.model, **run.config))
        found = []
        for seed in range(UNTRAINED):
            model.initialise(seed)
            captures = capture(model, windows, attention=False)
            found.append(CosineSimilarity.from_captures(captures).between_users)
        return np.stack(found)

    def check_data(self, run: Result) -> None:
        """Raise Missing if the dataset's file is not here, or not the one of a run."""
        if run.dataset["fingerprint"] != self.sequences.fingerprint:
            raise Missing(f"the file of {self.dataset} is not the one of the runs")

    @cached_property
    def _loaded(self) -> Sequences | DataError:
        try:
            return load(self.dataset, self._data_dir)
        except DataError as error:  # kept, so that a download that failed is not tried again for every claim
            return error

    @property
    def sequences(self) -> Sequences:
        """The users' histories. Raises Missing if the dataset's file is not here."""
        if isinstance(self._loaded, DataError):
            raise Missing(f"the file of {self.dataset} was not found") from self._loaded
        return self._loaded

    @cached_property
    def attributes(self) -> Attributes:
        """The attributes of the items. Raises Missing if there are none."""
        found, _ = find_attributes(self.dataset, self.sequences.num_items, self._data_dir)
        if found is None:
            raise Missing(f"no attributes of the items of {self.dataset}")
        return found
