"""The sums of a finished run in one small file, and the curves that can be drawn of them without the checkpoint.

Contents: `SpectralSummary`, which `measure` makes, `read_summary`, and `without_samples` for null models.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.errors import CheckpointError, ConfigError
from models.files import Kind, write_atomically
from spectral.cosine_similarity import CosineSimilarity, Directions
from spectral.filter_response import FrequencyResponse
from spectral.response import DEFAULT_C, Array
from spectral.result import Result
from spectral.singular_values import LayerSpectra, SingularValues
from spectral.transfer_map import TransferMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

FORMAT = "spectral-recommender-summary"
FORMAT_VERSION = 2  # 1 lacks `transfer`, the means and deviations of columns, and `nulls`
FILE = Kind("a spectral summary", b"summary.npy")  # the name of its first array
RELATIVE = np.float16  # for samples divided by the mean of all users: near 1 its resolution is 5e-4
NULL = "null"  # how the names of their arrays begin: null/<name>/<field>, with the draws first
OF_NULLS = ("power", "self_power", "singular_values", "directions", "within")  # what a file holds of each null model


@dataclass(frozen=True, eq=False)
class SpectralSummary(Result):
    """The sums of one run, with R samples, L layers, H heads, F = n // 2 + 1 frequencies and D dimensions.

    Attributes:
        about: Model, dataset, fingerprint and seed of the run, and whatever else is known about it.
        positions: n, the number of real items of the users in `power`, `self_power` and `hidden_power`.
        is_full: Whether n is the model's whole window.
        window_users: Number of these users.
        users: Number of all users.
        sequences: Number of users with at least two real positions, over which `within` is the sum.
        power: (L, H, F), sum over users of ||A f_k||^2, the energy that attention passes of a unit wave; no layers for
            a model without attention.
        self_power: (L, H, F), sum over users of the energy that stays at frequency k.
        hidden_power: (L + 1, F), sum over users and dimensions of the energy of the hidden states at frequency k.
        singular_values: (L + 1, min(users, D)), of the representations at the last position.
        directions: (L + 1, D), sum of the directions (unit vectors) of these representations.
        within: (L + 1,), sum over sequences of the mean cosine between their positions.
        power_samples, self_power_samples: (R, L, F), mean over heads and users of a sample.
        hidden_power_samples: (R, L + 1, F), mean over users of a sample.
        output_singular_values_samples: (R, min(users, D)), of the last layer.
        effective_rank_samples, stable_rank_samples: (R, L + 1), of the representations at the last position.
        between_samples: (R, L + 1), mean cosine over pairs of different users of a sample.
        within_samples: (R, L + 1), mean cosine between positions, over sequences of a sample.
        beta: (L, D), gain of the high frequencies in BSARec's frequency branch; no layers for other models.
        transfer: (L, F, F), sum over users, mean over heads, of the energy that leaves attention at j when k enters.
        column_means, column_deviations: (L + 1, D), of the representations at the last position, over users.
        nulls: By the name of a null model, its summary for each draw, with no samples. It may lack measures that need
            the checkpoint: these have no layers.
    """

    about: dict[str, Any]
    positions: int
    is_full: bool
    window_users: int
    users: int
    sequences: int
    power: Array
    self_power: Array
    hidden_power: Array
    singular_values: Array
    directions: Array
    within: Array
    power_samples: Array
    self_power_samples: Array
    hidden_power_samples: Array
    output_singular_values_samples: Array
    effective_rank_samples: Array
    stable_rank_samples: Array
    between_samples: Array
    within_samples: Array
    beta: Array
    transfer: Array = field(default_factory=partial(np.zeros, (0, 1, 1)))
    column_means: Array = field(default_factory=partial(np.zeros, (0, 1)))
    column_deviations: Array = field(default_factory=partial(np.zeros, (0, 1)))
    nulls: "dict[str, list[SpectralSummary]]" = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """L."""
        return len(self.singular_values) - 1

    def response(self) -> FrequencyResponse:
        """Return the frequency response of attention as the head mean, (L, 1, F), with the samples.

        Raises ConfigError if the model has no attention.
        """
        if not len(self.power):
            raise ConfigError(f"{self.about['model']} has no attention, so its summary holds no response of it")
        samples = self.power_samples
        return FrequencyResponse(
            gain=np.sqrt(self.power.mean(1, keepdims=True) / self.window_users),
            self_gain=np.sqrt(self.self_power.mean(1, keepdims=True) / self.window_users),
            positions=self.positions,
            users=self.window_users,
            layers=tuple(range(1, len(self.power) + 1)),
            resampled=np.sqrt(samples)[:, :, None] if len(samples) else None,
        )

    def transfer_map(self, c: int = DEFAULT_C) -> TransferMap:
        """Return the transfer map of attention as the head mean, (L, 1, F, F).

        Raises ConfigError if the model has no attention, or the file is of format 1.
        """
        if not len(self.transfer):
            raise ConfigError(f"this summary of {self.about['model']} holds no transfer map; make it again")
        layers = tuple(range(1, len(self.transfer) + 1))
        power = self.transfer[:, None] / self.window_users
        return TransferMap(power=power, positions=self.positions, users=self.window_users, layers=layers, c=c)

    def spectra(self) -> LayerSpectra:
        """Return the singular values of the representations after each layer."""
        columns = zip(self.column_means, self.column_deviations, strict=True)
        known = dict(enumerate(columns))  # of no layer in files of format 1
        return LayerSpectra(
            {
                layer: SingularValues(values, self.users, False, *known.get(layer, (None, None)))
                for layer, values in enumerate(self.singular_values)
            }
        )

    def similarity(self) -> CosineSimilarity:
        """Return the cosine similarities after each layer, between all pairs of users and between positions."""
        return CosineSimilarity(
            np.arange(len(self.directions)),
            np.array([Directions(torch.from_numpy(total), self.users).similarity() for total in self.directions]),
            self.within / self.sequences if self.sequences else np.full(len(self.within), np.nan),
            self.users,
            self.sequences,
        )

    def table(self) -> "DataFrame":
        """Return one row per layer: effective and stable rank of the users, and both similarities."""
        import pandas as pd

        ranks = pd.DataFrame(
            [(layer, s.effective_rank, s.stable_rank) for layer, s in self.spectra().layers.items()],
            columns=["layer", "effective_rank", "stable_rank"],
        )
        return ranks.merge(self.similarity().table()[["layer", "between_users", "within_sequence"]], on="layer")

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw singular values and similarities, and the gain of attention of a model that has it.

        Raises ConfigError for a given `ax`.
        """
        from spectral import plot

        if ax is not None:
            raise ConfigError(
                "a summary has several pictures; draw one of them, as in summary.spectra().plot(ax), "
                "summary.similarity().plot(ax) or summary.response().plot(ax)"
            )
        return plot.summary(self)

    def write(self, path: str | Path) -> None:
        """Write the summary as a compressed archive of arrays, which numpy.load reads; whole or not at all.

        Missing folders are made. Raises OSError if the file cannot be written, OutputError if another file is there.
        """
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        arrays: dict[str, Any] = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
        for name, whole in _whole(self).items():
            with np.errstate(invalid="ignore"):
                arrays[name] = np.where(whole > 0, arrays[name] / whole, 1).astype(RELATIVE)
        for name in (key for key in arrays if key.endswith("_samples") and arrays[key].dtype != RELATIVE):
            arrays[name] = arrays[name].astype(np.float32)
        about = {name: value for name, value in content.items() if name not in (*arrays, "nulls")}
        text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **about})
        for null, draws in self.nulls.items():
            for name in OF_NULLS:
                stacked = np.stack([getattr(draw, name) for draw in draws])
                arrays[f"{NULL}/{null}/{name}"] = stacked.astype(np.float32)
        buffer = BytesIO()
        np.savez_compressed(buffer, summary=np.array(text), **arrays)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), buffer.getvalue(), FILE)


def read_summary(path: str | Path) -> SpectralSummary:
    """Return the summary in a file. Raises CheckpointError if it holds none, and OSError if it cannot be read.

    Spectra of samples are stored relative to all users in half precision, so they are exact to about 5e-4.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("summary")))
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{path}: is not the spectral summary of a run ({error})") from error
    version = about.pop("format_version", None) if about.pop("format", None) == FORMAT else None
    if version not in range(1, FORMAT_VERSION + 1):
        raise CheckpointError(f"{path}: has summary format version {version}, this toolkit reads 1 to {FORMAT_VERSION}")
    of_nulls = {name: arrays.pop(name) for name in [*arrays] if name.startswith(f"{NULL}/")}
    expected = {each.name for each in fields(SpectralSummary)} - {"nulls"}
    if version == 1:
        expected -= {"transfer", "column_means", "column_deviations"}
    if wrong := expected ^ (arrays.keys() | about.keys()):
        raise CheckpointError(f"{path}: these fields are missing, or should not be there: {', '.join(sorted(wrong))}")
    summary = SpectralSummary(**about, **{name: array.astype(np.float64) for name, array in arrays.items()})
    scaled = {name: getattr(summary, name) * whole for name, whole in _whole(summary).items()}
    summary = SpectralSummary(**{**vars(summary), **scaled})
    return replace(summary, nulls=_read_nulls(summary, of_nulls, path))


def _read_nulls(summary: SpectralSummary, arrays: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the nulls of a summary from the arrays of its file, null/<name>/<field>."""
    names = dict.fromkeys(key.split("/")[1] for key in arrays)
    if wrong := {f"{NULL}/{name}/{each}" for name in names for each in OF_NULLS} ^ arrays.keys():
        raise CheckpointError(f"{path}: these fields are missing, or should not be there: {', '.join(sorted(wrong))}")
    return {
        name: [
            without_samples(summary, **dict(zip(OF_NULLS, map(np.float64, draw), strict=True)))
            for draw in zip(*(arrays[f"{NULL}/{name}/{each}"] for each in OF_NULLS), strict=True)
        ]
        for name in names
    }


def without_samples(summary: SpectralSummary, **given: Any) -> SpectralSummary:
    """Return a summary for the same users that holds the given arrays and nothing else, such as of a null model.

    Example:
        >>> from models.registry import build, configure
        >>> from spectral.summary import summarise
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> summary = summarise(model, torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), {"model": "sasrec"})
        >>> other = without_samples(summary, power=summary.power)
        >>> len(other.response().layers), len(other.spectra().layers)
        (2, 0)
    """
    nothing: dict[str, Any] = {
        each.name: value[:0]
        for each in fields(SpectralSummary)
        if isinstance(value := getattr(summary, each.name), np.ndarray)
    }
    return replace(summary, **nothing | given, nulls={})


def _whole(summary: SpectralSummary) -> dict[str, Array]:
    """Return the mean over all users for each kind of sampled spectrum. The file holds samples relative to it."""
    return {
        "power_samples": summary.power.mean(1) / summary.window_users,
        "self_power_samples": summary.self_power.mean(1) / summary.window_users,
        "hidden_power_samples": summary.hidden_power / summary.window_users,
    }
