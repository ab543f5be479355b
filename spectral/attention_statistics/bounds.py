"""Bounds of how much one layer of attention, with its projections and its residual, scales what is not DC.

The layer is y = x + sum_h A_h x M_h, with the maps A_h (N, N) of its heads and M_h = W_v^h W_o^h (D, D), the product of
value and output projection. Biases are the same at every position, so they are DC. Since A 1 = 1, with
P = I - 11^T / N we have P y = P x + sum_h (P A_h P) (P x) M_h and

    (1 - g)_+ ||P x||_F  <=  ||P y||_F  <=  (1 + g) ||P x||_F,     g = sum_h ||P A_h P||_2 ||M_h||_2.

This includes attention, projections and residual. It does not include LayerNorm, the feed-forward network, or BSARec's
frequency branch. The bounds are reached only if all that is not DC lies along the first singular vectors of every head,
so a layer is usually far inside them. The factor for the given sequences, ||P y||_F / ||P x||_F, is measured too.

Sources: Wang et al., ICLR 2022, "Anti-oversmoothing in deep vision transformers via the Fourier domain analysis"; their
bounds of multi-head attention and of a residual connection are combined here, head by head. Attention without residual
converges to DC: Dong et al., ICML 2021, "Attention is not all you need".

Half precision is widened to float64, like all maps, projections and states.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spectral.arrays import as_float64
from spectral.attention_statistics import Array, AttentionStatistics, attention_statistics
from spectral.capture import Capture
from spectral.decompositions import singular_values_of
from spectral.filter_response import layers_of
from spectral.moments import Moments
from spectral.result import Result
from spectral.sums import sum_by_layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class LayerBounds(Result):
    """Bounds of the factor by which layers of attention scale what is not DC, means over sequences.

    Attributes:
        layers: (L,) the layer numbers, from 1.
        projection_norm: (L, H), ||W_v^h W_o^h||_2.
        lower: (L,), 1 - g with the mean of g over sequences, at least 0. At most the mean of the lower bounds.
        upper: (L,), 1 + g.
        measured: (L,), the factor of the layer, ||P y||_F / ||P x||_F; NaN if there were no hidden states.

    Example:
        Identity attention whose projection halves its input, without hidden states:

        >>> layer_bounds(torch.eye(4), torch.full((1, 1, 1), 0.5)).upper.round(3)
        array([1.5])
    """

    layers: tuple[int, ...]
    projection_norm: Array
    lower: Array
    upper: Array
    measured: Array

    @classmethod
    def of(
        cls,
        statistics: AttentionStatistics,
        value_output: Sequence[Any],
        captures: Iterable[Capture] = (),
        length: int | None = None,
    ) -> "LayerBounds":
        """Bound the layers whose attention was measured.

        value_output: W_v^h W_o^h, (H, D, D), for every layer of the model, as `Recommender.value_output` returns them.
        captures: the same sequences with hidden states and attention, for `measured`. length: the one that the
        statistics were made with.

        Raises ValueError if the matrices do not fit the heads or the hidden states, and ConfigError for padding among
        the positions.
        """
        matrices = {layer: _matrices(value_output, layer, statistics) for layer in statistics.layers}
        norms = torch.stack([singular_values_of(m)[..., 0] for m in matrices.values()]).numpy()
        growth = (statistics.hfc_factor * norms).sum(1)
        factors = sum_by_layer(
            {layer: Moments.of(_factors(*_input_of(layer, captured), products)) for layer, products in matrices.items()}
            for captured in (captured.last(length).check_real() for captured in captures)
        )
        return cls(
            layers=statistics.layers,
            projection_norm=norms,
            lower=np.maximum(1 - growth, 0),
            upper=1 + growth,
            measured=np.array([float(factors[n].mean) if n in factors else np.nan for n in statistics.layers]),
        )

    def table(self) -> "DataFrame":
        """Return one row per layer and head: `projection_norm`, and the layer's factors in columns `layer_<name>`."""
        import pandas as pd

        heads = self.projection_norm.shape[1]
        index = pd.MultiIndex.from_product([self.layers, range(1, heads + 1)], names=["layer", "head"])
        columns = {"projection_norm": self.projection_norm.ravel()}
        columns |= {f"layer_{name}": np.repeat(getattr(self, name), heads) for name in ("lower", "measured", "upper")}
        return pd.DataFrame(columns, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the measured factor of each layer between its bounds."""
        from spectral import plot

        return plot.layer_bounds(self._by_label(self), ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer: its number, the lower bound, the measured factor and the upper bound."""
        rows = zip(self.layers, self.lower, self.measured, self.upper, strict=True)
        return [
            {"layer": layer, "lower": float(lower), "measured": float(measured), "upper": float(upper)}
            for layer, lower, measured, upper in rows
        ]


def layer_bounds(attention: Any, value_output: Any, hidden: Any = None) -> LayerBounds:
    """Return the bounds of this module for attention maps and the products of value and output projections.

    attention: (N, N), (B, H, N, N) or (L, B, H, N, N), or a list of L of (B, H, N, N), as `attention_statistics` takes
    it. value_output: (H, D, D), or (L, H, D, D), or a list of L of (H, D, D). hidden: the inputs of the layers, (B, N,
    D) or L of them, to measure the factor for them too; None for the bounds only.

    Raises ValueError for other shapes, or attention whose rows do not sum to 1.

    Source: Wang et al., ICLR 2022.

    Example:
        With uniform attention the residual alone carries what is not DC, so the factor is exactly 1. With identity
        attention y = x + x, and the factor 2 is the upper bound.

        >>> x, projection = torch.tensor([[[1.0], [2.0], [3.0], [6.0]]]), torch.ones(1, 1, 1)
        >>> for attention in (torch.full((4, 4), 1 / 4), torch.eye(4)):
        ...     bounds = layer_bounds(attention, projection, x)
        ...     print(*(f"{factor[0]:.1f}" for factor in (bounds.lower, bounds.measured, bounds.upper)))
        1.0 1.0 1.0
        0.0 2.0 2.0
    """
    maps = layers_of(attention)
    matrices = list(value_output) if len(maps) > 1 or _ndim(value_output) == 4 else [value_output]
    captures = []
    if hidden is not None:
        states = [as_float64(hidden)] if _ndim(hidden) == 3 else [as_float64(x) for x in hidden]
        captures = [Capture(tuple(states), tuple(maps), torch.ones(states[0].shape[:2], dtype=torch.bool))]
    return LayerBounds.of(attention_statistics(attention), matrices, captures)


def _ndim(given: Any) -> int:
    return 1 + _ndim(given[0]) if isinstance(given, list | tuple) else given.ndim


def _matrices(value_output: Sequence[Any], layer: int, statistics: AttentionStatistics) -> Tensor:
    """Return the matrices W_v^h W_o^h of a layer, (H, D, D) float64."""
    heads = statistics.hfc_factor.shape[1]
    matrices = as_float64(value_output[layer - 1]) if layer <= len(value_output) else torch.empty(0)
    if matrices.ndim != 3 or len(matrices) != heads or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(
            f"layer {layer} with {heads} heads needs W_v W_o of shape ({heads}, D, D), got {tuple(matrices.shape)}"
        )
    return matrices


def _input_of(layer: int, captured: Capture) -> tuple[Tensor, Tensor]:
    """Return the input (B, N, D) of a layer and its attention (B, H, N, N), float64."""
    x, maps = captured.hidden[layer - 1], captured.attention[layer - 1]
    if x is None or maps is None:
        raise ValueError(f"layer {layer} was captured without its input or without its attention")
    return as_float64(x), as_float64(maps)


def _factors(x: Tensor, maps: Tensor, matrices: Tensor) -> Tensor:
    """Return ||P y||_F / ||P x||_F, (B,), of x (B, N, D), maps (B, H, N, N) and matrices (H, D, D); NaN if P x = 0."""
    if x.shape[-1] != matrices.shape[-1]:
        raise ValueError(f"hidden states of {x.shape[-1]} dimensions do not fit W_v W_o of {matrices.shape[-1]}")
    y = x + (maps @ (x[:, None] @ matrices)).sum(1)
    before, after = ((signal - signal.mean(1, keepdim=True)).square().sum((1, 2)).sqrt() for signal in (x, y))
    return after / before
