"""What a finished run does to its users' histories, in one small file. Its curves are drawn without the checkpoint.

Everything is a sum over all users, and over each bootstrap sample of them. How often a user is in a sample is a Poisson
variable of mean 1 (Hanley and MacGibbon 2006). The draws depend only on the number of users, so all runs on a dataset
have the same samples, and differences between runs have an uncertainty too.

    attention, hidden states along positions: users with full windows; if fewer than 100 have one, the users with the
        most common number of items, so that all have the same frequencies;
    representations at the last position, similarities: all users.

Null models (`spectral.nulls`) on the same users are kept with it, without bootstrap samples.

Half precision is widened as the measures do it that the sums are of.

Contents: `SpectralSummary`, `summarise` and `read_summary`. The module `runs` finds the summaries of a figure.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.checkpoint import RANDOM_STREAMS
from models.errors import CheckpointError, ConfigError
from models.files import Kind, write_atomically
from spectral.arrays import as_float64
from spectral.capture import Capture, capture, in_batches, real_items
from spectral.choices import DRAWS
from spectral.cosine_similarity import (
    CosineSimilarity,
    Directions,
    SequenceSimilarities,
    similarity_of_each,
    unit_rows,
)
from spectral.filter_response import FrequencyResponse, power_of_each
from spectral.nulls import under_nulls
from spectral.resampling import SampledGram, SampledSimilarities, sampled_gram, sampled_similarities
from spectral.response import DEFAULT_C, Array
from spectral.result import Result
from spectral.singular_values import Gram, LayerSpectra, SingularValues, effective_rank, gram, stable_rank
from spectral.sums import Sums
from spectral.transfer_map import TransferMap, transfer_power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

FORMAT = "spectral-recommender-summary"
FORMAT_VERSION = 2  # 1 lacks `transfer`, the means and deviations of columns, and `nulls`
FILE = Kind("a spectral summary", b"summary.npy")  # the name of its first array
SAMPLES = 200  # bootstrap samples of the users
SAMPLES_SEED = 0  # the same for all runs
ENOUGH_USERS = 100  # if so many users have full windows, the others are left out
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


def summarise(
    model: Any,
    windows: Tensor,
    about: Mapping[str, Any],
    batch_size: int = 256,
    progress: bool = False,
    nulls: Sequence[str] = (),
    draws: int = DRAWS,
    samples: int = SAMPLES,
) -> SpectralSummary:
    """Return the summary of a model over the windows (P, N) of all users of a dataset, in the dataset's order.

    Args:
        model: A `models.recommender.Recommender`.
        windows: Padding 0 on the left.
        about: What is known about the run, at least "model".
        batch_size: Users at a time.
        progress: Whether to show it on a terminal.
        nulls: Null models to keep with it, as `spectral.nulls.under_nulls` takes them.
        draws: Of each random null.
        samples: Number of bootstrap samples, at most 200.

    Raises DataError or ValueError for windows that the measures cannot take, ConfigError for a null that the model does
    not have.

    Example:
        Three users, two of them with a full window. The summary is written to a file and read back.

        >>> from tempfile import TemporaryDirectory
        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=2, num_heads=2))
        >>> model.initialise(seed=0)
        >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8], [1, 2, 3, 4]])
        >>> summary = summarise(model, windows, {"model": "sasrec"})
        >>> summary.users, summary.window_users, summary.power.shape
        (3, 2, (2, 2, 3))
        >>> with TemporaryDirectory() as folder:
        ...     summary.write(f"{folder}/run.spectral.npz")
        ...     response = read_summary(f"{folder}/run.spectral.npz").response()
        >>> response.gain[:, 0, 0].round(3)  # a constant signal passes attention unchanged
        array([1., 1.])
    """
    counts = np.random.default_rng(SAMPLES_SEED).poisson(1.0, (len(windows), SAMPLES)).astype(np.int8)[:, :samples]
    length = measured_length(windows)
    chosen = real_items(windows) == length
    along, last = _AlongPositions(length, samples), _LastPosition()
    for rows, batch in _batches(windows, batch_size, f"{model.name}, all users" if progress else None):
        for captured in capture(model, [batch], attention=False):
            last.add(captured, torch.from_numpy(counts[rows]))
    selected = np.flatnonzero(chosen.numpy())
    described = f"{model.name}, {length} items" if progress else None
    for rows, batch in _batches(windows[chosen], batch_size, described):
        for captured in capture(model, [batch]):
            along.add(captured.last(length), torch.from_numpy(counts[selected[rows]]))

    def of_null(other: Any, inputs: Tensor) -> SpectralSummary:
        return summarise(other, inputs, about, batch_size, progress, samples=0)

    at_last = last.result()
    return SpectralSummary(
        about=dict(about) | {"samples_seed": SAMPLES_SEED, "random_streams": RANDOM_STREAMS},
        positions=length,
        is_full=length == windows.shape[1],
        window_users=int(chosen.sum()),
        users=len(windows),
        beta=_beta(model, at_last["directions"].shape[1]),
        nulls=under_nulls(of_null, model, windows, nulls, draws),
        **along.result(),
        **at_last,
    )


def measured_length(windows: Tensor) -> int:
    """Return the number of real items of the users to measure along positions, for windows (P, N).

    It is N if at least 100 users have a full window, and the most common number otherwise.

    Example:
        >>> measured_length(torch.tensor([[0, 0, 3, 1], [0, 0, 2, 4], [1, 2, 3, 4]]))
        2
        >>> measured_length(torch.ones(100, 4, dtype=torch.int64))
        4
    """
    lengths = real_items(windows)
    positions = windows.shape[1]
    if int((lengths == positions).sum()) >= ENOUGH_USERS:
        return positions
    return int(torch.bincount(lengths)[1:].argmax()) + 1


def _batches(windows: Tensor, size: int, description: str | None) -> Any:
    start = 0
    for batch in in_batches(windows, size, description):
        yield slice(start, start + len(batch)), batch
        start += len(batch)


def _beta(model: Any, size: int) -> Array:
    """Return the gain (L, D) of the high frequencies in BSARec's frequency branch; D is `size`."""
    betas = [as_float64(beta).numpy() for beta in model.betas()]
    return np.stack(betas) if betas else np.zeros((0, size))


class _AlongPositions:
    """Sums over the users that are measured along their positions."""

    def __init__(self, length: int, samples: int) -> None:
        self.length = length
        self.counts = torch.zeros(samples, dtype=torch.float64)
        self.sums: dict[str, Tensor] = {}
        self.samples: dict[str, Tensor] = {}

    def add(self, captured: Capture, counts: Tensor) -> None:
        """Add the users of a capture. counts: (B, R), how often each user is in each sample."""
        weights = counts.double().T  # (R, B)
        self.counts += weights.sum(1)
        states = _stacked(captured)  # (L + 1, B, n, D)
        energy = torch.fft.rfft(states, dim=2, norm="ortho").abs().square().sum(-1)  # (L + 1, B, F)
        measured = {"hidden_power": energy}
        if maps := [a for a in captured.attention if a is not None]:
            power, self_power = zip(*map(power_of_each, maps), strict=True)
            measured |= {"power": torch.stack(power), "self_power": torch.stack(self_power)}  # (L, B, H, F)
            _add(self.sums, "transfer", transfer_power(maps).power.mean(1))
        for name, values in measured.items():
            of_heads = values if name == "hidden_power" else values.mean(2)
            _add(self.sums, name, values.sum(1))
            _add(self.samples, f"{name}_samples", torch.einsum("rb,lbf->rlf", weights, of_heads))

    def result(self) -> dict[str, Any]:
        """Return the fields of the summary."""
        bins = self.length // 2 + 1
        users = self.counts.clamp(min=1)[:, None, None]  # with very few users a sample may be empty
        none = {name: np.zeros((0, 1, bins)) for name in ("power", "self_power")}
        no_samples = {f"{name}_samples": np.zeros((len(self.counts), 0, bins)) for name in none}
        return {
            **none,
            **no_samples,
            "transfer": np.zeros((0, bins, bins)),
            **{name: total.numpy() for name, total in self.sums.items()},
            **{name: (total / users).numpy() for name, total in self.samples.items()},
        }


class _LastPosition:
    """Sums over all users: representations at the last position, and similarities between positions."""

    def __init__(self) -> None:
        self.layers: list[_Layer] = []

    def add(self, captured: Capture, counts: Tensor) -> None:
        """Add the users of a capture. counts: (B, R), how often each user is in each sample."""
        batch = [_layer(x, captured.mask, counts.T) for x in _stacked(captured)]
        self.layers = [a + b for a, b in zip(self.layers, batch, strict=True)] if self.layers else batch

    def result(self) -> dict[str, Any]:
        """Return the fields of the summary."""
        spectra = [layer.gram.singular_values() for layer in self.layers]
        drawn = [layer.grams.singular_values(len(spectra[0].values)) for layer in self.layers]
        values = torch.from_numpy(np.stack(drawn, axis=1))
        return {
            "sequences": self.layers[0].within.sequences,
            "singular_values": np.stack([spectrum.values for spectrum in spectra]),
            "column_means": np.array([spectrum.column_means for spectrum in spectra]),
            "column_deviations": np.array([spectrum.column_deviations for spectrum in spectra]),
            "directions": torch.stack([layer.directions.total for layer in self.layers]).numpy(),
            "within": np.array([layer.within.total for layer in self.layers]),
            "output_singular_values_samples": values[:, -1].numpy(),
            "effective_rank_samples": effective_rank(values).numpy(),
            "stable_rank_samples": stable_rank(values).numpy(),
            "between_samples": np.stack([layer.similarities.between_users for layer in self.layers], axis=1),
            "within_samples": np.stack([layer.similarities.within_sequence for layer in self.layers], axis=1),
        }


@dataclass(frozen=True, eq=False)
class _Layer(Sums):
    """The sums of one layer over all users, and over bootstrap samples of them."""

    gram: Gram
    directions: Directions
    within: SequenceSimilarities
    grams: SampledGram
    similarities: SampledSimilarities


def _layer(states: Tensor, mask: Tensor, counts: Tensor) -> _Layer:
    """states: (B, N, D). counts: (R, B)."""
    rows = states[:, -1]
    units, within = unit_rows(rows), similarity_of_each(states, mask)
    return _Layer(
        gram(rows),
        Directions(units.sum(0), len(units)),
        SequenceSimilarities(float(within.sum()), len(within)),
        sampled_gram(rows, counts),
        sampled_similarities(units, within, mask.sum(1) >= 2, counts),
    )


def _stacked(captured: Capture) -> Tensor:
    """Return the hidden states (L + 1, B, N, D); narrower layers are filled up with zeros, which change no measure."""
    states = [as_float64(x) for x in captured.hidden if x is not None]
    widest = max(x.shape[-1] for x in states)
    return torch.stack([functional.pad(x, (0, widest - x.shape[-1])) for x in states])


def _add(sums: dict[str, Tensor], name: str, values: Tensor) -> None:
    sums[name] = sums[name] + values if name in sums else values
