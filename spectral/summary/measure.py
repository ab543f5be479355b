"""What a finished run does to its users' histories, in one small file. Its curves are drawn without the checkpoint.

Everything is a sum over all users, and over each bootstrap sample of them. How often a user is in a sample is a Poisson
variable of mean 1 (Hanley and MacGibbon 2006). The draws depend only on the number of users, so all runs on a dataset
have the same samples, and differences between runs have an uncertainty too.

    attention, hidden states along positions: users with full windows; if fewer than 100 have one, the users with the
        most common number of items, so that all have the same frequencies;
    representations at the last position, similarities: all users.

Null models (`spectral.nulls`) on the same users are kept with it, without bootstrap samples.

Half precision is widened as the measures do it that the sums are of.

Contents: `summarise`; the module `stored` has `SpectralSummary` and its file, and `runs` finds those of a figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.checkpoint import RANDOM_STREAMS
from spectral.arrays import as_float64
from spectral.capture import Capture, capture, in_batches, real_items
from spectral.choices import DRAWS
from spectral.cosine_similarity import Directions, SequenceSimilarities, similarity_of_each, unit_rows
from spectral.filter_response import power_of_each
from spectral.nulls import under_nulls
from spectral.resampling import SampledGram, SampledSimilarities, sampled_gram, sampled_similarities
from spectral.response import Array
from spectral.singular_values import Gram, effective_rank, gram, stable_rank
from spectral.summary.stored import FILE as FILE
from spectral.summary.stored import SpectralSummary
from spectral.summary.stored import read_summary as read_summary
from spectral.summary.stored import without_samples as without_samples
from spectral.sums import Sums
from spectral.transfer_map import transfer_power

SAMPLES = 200  # bootstrap samples of the users
SAMPLES_SEED = 0  # the same for all runs
ENOUGH_USERS = 100  # if so many users have full windows, the others are left out


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
