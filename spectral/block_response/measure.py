"""What a whole layer does to each frequency of its input: attention, values, residuals, norms and feed-forward.

A layer f is not linear. Its response is therefore the response of its derivative J at the hidden states of real users:
a small unit wave f_k of frequency k is added to the input along each of the D dimensions in turn, and

    gain(k)^2 = ||J (f_k x I)||_F^2 / D

is the mean power in the output. For a linear layer X -> A X this equals the gain of `spectral.filter_response`, so the
two can be compared. A layer also changes the overall scale; `relative_db` removes this. `last_gain` is the gain at the
last position of the output only, where recommendations are made.

Where the filter itself depends on the input (WEARec, LoWARec, FEARec, attention), "frequency response" means just that:
the derivative at the hidden states of real users, filter and all, averaged over users. Where it differs between
positions (TV-Rec), the gain is an average over them; `spectral.block_response.positions` has the map.

The waves are not sent in one by one. For random signs w, E ||(f_k x I)^H J^T w||^2 = ||J (f_k x I)||_F^2 (Hutchinson
1990), so one backward pass gives an unbiased estimate at all frequencies. `last_gain` is exact: its J has only D rows,
which are computed one by one. Derivatives are in the model's precision, but half precision is
widened to float32 (a copy of the model); sums over users are float64.

Contents: `block_response`, which needs the model itself, and its result `BlockResponse`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from models.precision import widened
from spectral.arrays import as_float64, check_finite
from spectral.capture import Capture
from spectral.choices import PROBES
from spectral.fourier import check_c
from spectral.response import DEFAULT_C, Array, Response, decibels
from spectral.result import Nulls, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockResponse(Response, Result):
    """The frequency response of whole layers. `Response` has the other attributes.

    Attributes:
        gain: (L, F), root mean square over users of ||J (f_k x I)||_F / sqrt(D).
        last_gain: (L, F), the same for the last position of the output only.
        probes: Number of random outputs per user from which `gain` is estimated.
        resampled: (R, L, F), the gain of R bootstrap samples of the users; None if there are none.

    Example:
        A layer that doubles DC and leaves the other frequencies as they are damps them by 6 dB relative to DC:

        >>> gain = np.array([[2.0, 1.0, 1.0]])
        >>> response = BlockResponse(gain=gain, last_gain=gain, positions=4, users=1, layers=(1,), probes=8)
        >>> response.relative_db.round(2)
        array([[ 0.  , -6.02, -6.02]])
    """

    last_gain: Array
    probes: int
    resampled: Array | None = None

    KEYS: ClassVar = ("layer", "frequency")
    VALUES: ClassVar = ("relative_db", "last_relative_db")

    @property
    def relative_db(self) -> Array:
        """(L, F) gain in dB relative to the gain of DC."""
        return _relative_db(self.gain)

    @property
    def last_relative_db(self) -> Array:
        """(L, F) gain at the last position in dB relative to the gain of DC there."""
        return _relative_db(self.last_gain)

    def band(self, level: float = 0.95) -> tuple[Array, Array]:
        """Return the ends, (L, F) each, of the interval that holds `relative_db` of this share of bootstrap samples.

        Raises ValueError if there are no bootstrap samples.
        """
        if self.resampled is None:
            raise ValueError("there are no bootstrap samples; ask for them with resamples=200")
        drawn = decibels(self.resampled) - decibels(self.resampled[..., :1])
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def table(self) -> "DataFrame":
        """Return one row per layer and frequency.

        With bootstrap samples, `low` and `high` are the ends of `band`, of one model (`seeds`) over its users.
        """
        import pandas as pd

        index = pd.MultiIndex.from_product([self.layers, self.frequency], names=["layer", "frequency"])
        columns = {
            "angular_frequency": np.tile(self.angular_frequency, len(self.layers)),
            "gain": self.gain.ravel(),
            "relative_db": self.relative_db.ravel(),
            "last_gain": self.last_gain.ravel(),
            "last_relative_db": self.last_relative_db.ravel(),
            "positions": self.positions,
            "users": self.users,
        }
        if self.resampled is not None:
            low, high = self.band()
            columns |= {"low": low.ravel(), "high": high.ravel(), "seeds": 1}
        return pd.DataFrame(columns, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None, *, at: str | None = None, nulls: Nulls | None = None) -> "Axes | Figure":
        """Draw the gain at all positions and at the last one, or one of them: at "all" (on a given `ax`) or "last"."""
        from spectral import plot

        if ax is None and at is None:
            return plot.block_response_panels(self, nulls)
        return plot.block_response(self, at=at or "all", nulls=nulls, label=self.label or None, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: gain of DC, that of Nyquist relative to DC, cutoff, passed ratio."""
        return [
            {
                "layer": layer,
                "gain_dc_db": float(self.gain_db[row, 0]),
                "nyquist_relative_db": float(self.relative_db[row, -1]),
                "last_nyquist_relative_db": float(self.last_relative_db[row, -1]),
                "cutoff": float(self.cutoff[row]),
                "passed_ratio": float(self.passed_ratio[row]),
            }
            for row, layer in enumerate(self.layers)
        ]


def block_response(
    model: Any,
    batches: Iterable[Tensor],
    c: int = DEFAULT_C,
    length: int | None = None,
    probes: int = PROBES,
    seed: int = 0,
    resamples: int = 0,
) -> BlockResponse:
    """Return the frequency response of each layer of a model, averaged over sequences.

    Args:
        model: With `trace` and `layer_functions`, like `models.recommender.Recommender`.
        batches: Int tensors (B, N), padding 0. All N positions are real items, or the last `length` of them: see
            `spectral.full_windows`.
        c: Number of modes that count as low frequency.
        length: Measure the last n positions only; None for all.
        probes: Random outputs per user. With N x D or more of them, all unit vectors are used instead of random ones,
            and `gain` is exact.
        seed: Of the random outputs, and of the bootstrap samples.
        resamples: R, the number of bootstrap samples of the users, as in `FrequencyResponse.from_captures`.

    Raises ConfigError if the model is not a stack of layers or a position is padding, and ValueError for no sequences,
    an impossible c or no probes.

    Example:
        A model whose only layer is uniform attention, X -> A X. Only the mean passes, as `frequency_response` says of
        the map itself. With N x D = 8 probes the gain is exact.

        >>> from types import SimpleNamespace
        >>> class Uniform(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.map = torch.nn.Parameter(torch.full((4, 4), 1 / 4))
        ...     def trace(self, input_ids):
        ...         return SimpleNamespace(hidden=[torch.zeros(*input_ids.shape, 2)] * 2)
        ...     def layer_functions(self, input_ids):
        ...         return [lambda hidden: self.map @ hidden]
        >>> block_response(Uniform(), [torch.tensor([[5, 6, 7, 8]])], probes=8).gain.round(3)
        array([[1., 0., 0.]])
    """
    if probes < 1:
        raise ValueError(f"at least one probe is needed, got {probes}")
    model = widened(model)
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    power: Tensor | None = None
    sampled, drawn = torch.zeros(()), torch.zeros(resamples, dtype=torch.float64)
    users = positions = 0
    for batch in batches:
        Capture((), (), batch > 0).last(length).check_real()
        parts = torch.stack(
            [
                torch.stack(_power_of_layer(layer, x, length, probes, generator))
                for layer, x in layers_and_inputs(model, batch)
            ]
        )  # (L, 2, B, F)
        counts = torch.from_numpy(rng.poisson(1.0, (len(batch), resamples))).double()
        sampled = sampled + torch.einsum("br,lbf->rlf", counts, parts[:, 0])
        drawn += counts.sum(0)
        positions = length or batch.shape[1]
        users += len(batch)
        power = parts.sum(2) if power is None else power + parts.sum(2)
    if power is None or users == 0:
        raise ValueError("there are no sequences to average over")
    gain = (check_finite(power, "the derivative of a layer") / users).sqrt().numpy()
    kept = drawn > 0  # with very few users a sample may be empty
    return BlockResponse(
        gain=gain[:, 0],
        last_gain=gain[:, 1],
        positions=positions,
        users=users,
        layers=tuple(range(1, len(gain) + 1)),
        c=check_c(c, positions),
        probes=probes,
        resampled=(sampled[kept] / drawn[kept, None, None]).sqrt().numpy() if kept.any() else None,
    )


def layers_and_inputs(model: Any, batch: Tensor) -> Iterator[tuple[Callable[[Tensor], Tensor], Tensor]]:
    """Yield each layer with its input (B, N, D), frozen and in evaluation mode; what was so before is restored."""
    training = model.training
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    try:
        for parameter in learning:
            parameter.requires_grad_(False)  # else each derivative by the input would take those by the weights along
        batch = batch.to(next(model.parameters()).device)
        with torch.no_grad():
            hidden = model.trace(batch).hidden
        yield from zip(model.layer_functions(batch), hidden, strict=False)  # the last hidden state is no layer's input
    finally:
        model.train(training)
        for parameter in learning:
            parameter.requires_grad_(True)


def _power_of_layer(
    layer: Callable[[Tensor], Tensor], x: Tensor, length: int | None, probes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the power of each wave in all outputs, and in the last one, of each user, (B, F) float64 each."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        output = layer(x)
    rows = slice(-length if length else None, None)
    power = torch.zeros(len(x), x[0, rows].shape[0] // 2 + 1, dtype=torch.float64)
    last = power.clone()
    for weights in probe_weights(output, rows, probes, generator):
        power += wave_power(output, x, weights, rows)
    for dimension in range(output.shape[-1]):
        weights = torch.zeros_like(output)
        weights[:, -1, dimension] = 1
        last += wave_power(output, x, weights, rows)
    return power, last


def probe_weights(output: Tensor, rows: slice, probes: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield weights (B, N, D) of the outputs within the rows. Summed over all weights, their squares have mean 1."""
    shape = output[0, rows].shape
    if probes >= shape.numel():
        for unit in torch.eye(shape.numel()):
            yield _within(output, rows, unit.view(shape))
        return
    for _ in range(probes):
        signs = 2.0 * torch.randint(2, (len(output), *shape), generator=generator) - 1
        yield _within(output, rows, signs * probes**-0.5)


def _within(output: Tensor, rows: slice, values: Tensor) -> Tensor:
    weights = torch.zeros_like(output)
    weights[:, rows] = values.to(output)
    return weights


def wave_power(output: Tensor, x: Tensor, weights: Tensor, rows: slice) -> Tensor:
    """Return the power (B, F) at each frequency of the derivative of the weighted outputs, mean over D, by user."""
    (gradient,) = torch.autograd.grad(output, x, weights, retain_graph=True)
    waves = torch.fft.rfft(gradient[:, rows], dim=1, norm="ortho")
    return as_float64(waves.abs().square().mean(-1))


def _relative_db(gain: Array) -> Array:
    return decibels(gain) - decibels(gain[:, :1])
