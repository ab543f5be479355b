"""What a finished run does to its users' histories, in one small file. Its curves are drawn without the checkpoint.

Everything is a sum over all users, and over each bootstrap sample of them. How often a user is in a sample is a Poisson
variable of mean 1 (Hanley and MacGibbon 2006). The draws depend only on the number of users, so all runs on a dataset
have the same samples, and differences between runs have an uncertainty too.

    attention, hidden states along positions: users with full windows; if fewer than 100 have one, the users with the
        most common number of items, so that all have the same frequencies;
    representations at the last position, similarities: all users.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.checkpoint import RANDOM_STREAMS
from models.errors import CheckpointError, ConfigError
from models.files import Kind, write_atomically
from spectral.arrays import as_float64
from spectral.capture import Capture, capture, in_batches, real_items
from spectral.cosine_similarity import (
    CosineSimilarity,
    Directions,
    SequenceSimilarities,
    directions,
    sequence_similarities,
    similarity_of_each,
    unit_rows,
)
from spectral.filter_response import FrequencyResponse, power_of_each
from spectral.learned_filters import learned_filters
from spectral.response import Array
from spectral.singular_values import Gram, LayerSpectra, SingularValues, effective_rank, gram, stable_rank

FORMAT = "spectral-recommender-summary"
FORMAT_VERSION = 1
FILE = Kind("a spectral summary", b"summary.npy")  # the name of its first array
SAMPLES = 200  # bootstrap samples of the users
SAMPLES_SEED = 0  # the same for all runs
ENOUGH_USERS = 100  # if so many users have full windows, the others are left out
RELATIVE = np.float16  # for samples divided by the mean of all users: near 1 its resolution is 5e-4


@dataclass(frozen=True, eq=False)
class SpectralSummary:
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

    def response(self) -> FrequencyResponse:
        """Return the frequency response of attention as the head mean, (L, 1, F), with the samples.

        Raises ConfigError if the model has no attention.
        """
        if not len(self.power):
            raise ConfigError(f"{self.about['model']} has no attention, so its summary holds no response of it")
        return FrequencyResponse(
            gain=np.sqrt(self.power.mean(1, keepdims=True) / self.window_users),
            self_gain=np.sqrt(self.self_power.mean(1, keepdims=True) / self.window_users),
            positions=self.positions,
            users=self.window_users,
            layers=tuple(range(1, len(self.power) + 1)),
            resampled=np.sqrt(self.power_samples)[:, :, None],
        )

    def spectra(self) -> LayerSpectra:
        """Return the singular values of the representations after each layer."""
        return LayerSpectra(
            {layer: SingularValues(values, self.users) for layer, values in enumerate(self.singular_values)}
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

    def save(self, path: str | Path) -> None:
        """Write the summary as a compressed archive of arrays, which numpy.load reads; whole or not at all.

        Missing folders are made. Raises OSError if the file cannot be written, OutputError if another file is there.
        """
        content = vars(self)
        arrays: dict[str, Any] = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
        for name, whole in _whole(self).items():
            with np.errstate(invalid="ignore"):
                arrays[name] = np.where(whole > 0, arrays[name] / whole, 1).astype(RELATIVE)
        for name in (key for key in arrays if key.endswith("_samples") and arrays[key].dtype != RELATIVE):
            arrays[name] = arrays[name].astype(np.float32)
        about = {name: value for name, value in content.items() if name not in arrays}
        text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **about})
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
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: has summary format version {version}, this toolkit reads {FORMAT_VERSION}")
    known = set(SpectralSummary.__dataclass_fields__)
    if wrong := known ^ (arrays.keys() | about.keys()):
        raise CheckpointError(f"{path}: these fields are missing, or should not be there: {', '.join(sorted(wrong))}")
    summary = SpectralSummary(**about, **{name: array.astype(np.float64) for name, array in arrays.items()})
    scaled = {name: getattr(summary, name) * whole for name, whole in _whole(summary).items()}
    return SpectralSummary(**{**vars(summary), **scaled})


def _whole(summary: SpectralSummary) -> dict[str, Array]:
    """Return the mean over all users for each kind of sampled spectrum. The file holds samples relative to it."""
    return {
        "power_samples": summary.power.mean(1) / summary.window_users,
        "self_power_samples": summary.self_power.mean(1) / summary.window_users,
        "hidden_power_samples": summary.hidden_power / summary.window_users,
    }


def summarise(
    model: Any, windows: Tensor, about: Mapping[str, Any], batch_size: int = 256, progress: bool = False
) -> SpectralSummary:
    """Return the summary of a model over the windows (P, N) of all users of a dataset, in the dataset's order.

    about: what is known about the run, at least "model". Raises DataError or ValueError for windows that the measures
    cannot take.

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
        ...     summary.save(f"{folder}/run.spectral.npz")
        ...     response = read_summary(f"{folder}/run.spectral.npz").response()
        >>> response.gain[:, 0, 0].round(3)  # a constant signal passes attention unchanged
        array([1., 1.])
    """
    counts = np.random.default_rng(SAMPLES_SEED).poisson(1.0, (len(windows), SAMPLES)).astype(np.int8)
    length = measured_length(windows)
    chosen = real_items(windows) == length
    along, last = _AlongPositions(length), _LastPosition()
    for rows, batch in _batches(windows, batch_size, f"{model.name}, all users" if progress else None):
        for captured in capture(model, [batch], attention=False):
            last.add(captured, torch.from_numpy(counts[rows]))
    selected = np.flatnonzero(chosen.numpy())
    described = f"{model.name}, {length} items" if progress else None
    for rows, batch in _batches(windows[chosen], batch_size, described):
        for captured in capture(model, [batch]):
            along.add(captured.last(length), torch.from_numpy(counts[selected[rows]]))
    return SpectralSummary(
        about=dict(about) | {"samples_seed": SAMPLES_SEED, "random_streams": RANDOM_STREAMS},
        positions=length,
        is_full=length == windows.shape[1],
        window_users=int(chosen.sum()),
        users=len(windows),
        beta=_beta(model),
        **along.result(),
        **last.result(),
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


def _beta(model: Any) -> Array:
    """Return the gain (L, D) of the high frequencies in BSARec's frequency branch."""
    if not hasattr(model.config, "beta"):
        return np.zeros((0, model.config.hidden_size))
    return learned_filters(model).gain[:, -1]


class _AlongPositions:
    """Sums over the users that are measured along their positions."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.counts = torch.zeros(SAMPLES, dtype=torch.float64)
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
        for name, values in measured.items():
            of_heads = values if name == "hidden_power" else values.mean(2)
            _add(self.sums, name, values.sum(1))
            _add(self.samples, f"{name}_samples", torch.einsum("rb,lbf->rlf", weights, of_heads))

    def result(self) -> dict[str, Any]:
        """Return the fields of the summary."""
        bins = self.length // 2 + 1
        users = self.counts.clamp(min=1)[:, None, None]  # with very few users a sample may be empty
        none = {name: np.zeros((0, 1, bins)) for name in ("power", "self_power")}
        no_samples = {f"{name}_samples": np.zeros((SAMPLES, 0, bins)) for name in none}
        return {
            **none,
            **no_samples,
            **{name: total.numpy() for name, total in self.sums.items()},
            **{name: (total / users).numpy() for name, total in self.samples.items()},
        }


class _LastPosition:
    """Sums over all users: representations at the last position, and similarities between positions."""

    def __init__(self) -> None:
        self.layers: list[tuple[Gram, Directions, SequenceSimilarities]] = []
        self.counts, self.squared_counts, self.sequence_counts = torch.zeros(3, SAMPLES, dtype=torch.float64)
        self.samples: dict[str, Tensor] = {}

    def add(self, captured: Capture, counts: Tensor) -> None:
        """Add the users of a capture. counts: (B, R), how often each user is in each sample."""
        weights = counts.double().T  # (R, B)
        states = _stacked(captured)  # (L + 1, B, N, D)
        batch = [(gram(x[:, -1]), directions(x[:, -1]), sequence_similarities(x, captured.mask)) for x in states]
        pairs = list(zip(self.layers, batch, strict=True)) if self.layers else []
        self.layers = [(a + x, b + y, c + z) for (a, b, c), (x, y, z) in pairs] or batch
        rows = states[:, :, -1]
        products = torch.einsum("lbd,lbe->lbde", rows, rows).flatten(2)
        units = torch.stack([unit_rows(x) for x in rows])
        several = captured.mask.sum(1).cpu() >= 2
        within = torch.stack([similarity_of_each(x, captured.mask) for x in states])  # (L + 1, sequences)
        _add(self.samples, "products", torch.einsum("rb,lbp->rlp", weights, products))
        _add(self.samples, "directions", torch.einsum("rb,lbd->rld", weights, units))
        _add(self.samples, "within", weights[:, several] @ within.T)
        self.counts += weights.sum(1)
        self.squared_counts += weights.square().sum(1)
        self.sequence_counts += weights[:, several].sum(1)

    def result(self) -> dict[str, Any]:
        """Return the fields of the summary."""
        grams, totals, within = zip(*self.layers, strict=True)
        size = len(totals[0].total)
        products = self.samples["products"].unflatten(-1, (size, size))
        values = torch.linalg.eigvalsh(products).flip(-1).clamp(min=0).sqrt()[..., : min(totals[0].users, size)]
        # Pairs of different users only: a user equals itself, however much the model smooths.
        pairs = (self.counts.square() - self.squared_counts)[:, None]
        between = (self.samples["directions"].square().sum(-1) - self.squared_counts[:, None]) / pairs
        return {
            "sequences": within[0].sequences,
            "singular_values": np.stack([layer.singular_values().values for layer in grams]),
            "directions": torch.stack([layer.total for layer in totals]).numpy(),
            "within": np.array([layer.total for layer in within]),
            "output_singular_values_samples": values[:, -1].numpy(),
            "effective_rank_samples": effective_rank(values).numpy(),
            "stable_rank_samples": stable_rank(values).numpy(),
            "between_samples": between.numpy(),
            "within_samples": (self.samples["within"] / self.sequence_counts[:, None]).numpy(),
        }


def _stacked(captured: Capture) -> Tensor:
    """Return the hidden states (L + 1, B, N, D); narrower layers are filled up with zeros, which change no measure."""
    states = [as_float64(x) for x in captured.hidden if x is not None]
    widest = max(x.shape[-1] for x in states)
    return torch.stack([functional.pad(x, (0, widest - x.shape[-1])) for x in states])


def _add(sums: dict[str, Tensor], name: str, values: Tensor) -> None:
    sums[name] = sums[name] + values if name in sums else values
