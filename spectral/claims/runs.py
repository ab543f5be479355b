"""The runs of a dataset that claims are judged on: results and spectral summaries, read once."""

from functools import cached_property
from pathlib import Path

import numpy as np

from models.datasets import Sequences, find_attributes, load
from models.datasets.attributes import Attributes
from models.errors import DataError, UserError
from models.results.comparison import gains
from models.results.runs import Result, read, runs_folder
from models.results.significance import Array, means_of_samples
from spectral.summary import SpectralSummary, read_summary


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

    @cached_property
    def sequences(self) -> Sequences:
        """The users' histories. Raises Missing if the dataset's file is not here."""
        try:
            return load(self.dataset, self._data_dir)
        except DataError as error:
            raise Missing(f"the file of {self.dataset} was not found") from error

    @cached_property
    def attributes(self) -> Attributes:
        """The attributes of the items. Raises Missing if there are none."""
        found, _ = find_attributes(self.dataset, self.sequences.num_items, self._data_dir)
        if found is None:
            raise Missing(f"no attributes of the items of {self.dataset}")
        return found
