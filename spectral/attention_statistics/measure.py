"""Statistics of the attention maps of trained layers, head by head, in addition to their frequency response.

A map A (N, N) is row-stochastic, rows are queries, and all N positions are real items. P = I - 11^T / N removes the
mean over positions, so P x is the part of a signal x that is not DC. Every measure is one number per map. Mean and
standard error over sequences come last:

    entropy              mean over rows of -sum_j a_ij ln a_ij, in nats;
    relative_entropy     the same with each row divided by ln of the number of keys it may see (i + 1 for causal maps,
                         else N), 0 (one key) to 1 (uniform); a row with one key is left out;
    distance             mean over rows of sum_j a_ij |i - j|, in positions;
    lambda2              |lambda_2|, the second largest modulus of an eigenvalue: the factor by which each application
                         scales HFC in the long run, by Theorem 1;
    hfc_factor           ||P A P||_2, the largest factor by which one application can scale what is not DC. A 1 = 1, so
                         P A = P A P and ||P A x|| <= hfc_factor ||P x||, with equality for one x; above 1 the part
                         that is not DC may grow;
    residual_hfc_factor  the same for r I + (1 - r) A, attention with a residual connection of weight r.

Averaged over sequences there are also `perron` and the rollout. `perron` is the left Perron vector pi of each map. It
says what A^t x converges to, (pi^T x) 1; for causal maps all its weight is on the first position. The rollout is the
product over layers of r I + (1 - r) (mean of A over heads). Its last row says how much of each input position reaches
the last output, and its |lambda_2| is reported too. Values, output projections, LayerNorm and feed-forward networks are
not part of any of this. `spectral.attention_statistics.bounds` includes projections and residual, and
`spectral.block_response` measures whole layers.

Half precision is widened to float64, like all maps, and each row is divided by its sum.

Contents: `attention_statistics` for arrays, and its result `AttentionStatistics`, which can also be measured from
captures of a model. The modules `bounds` and `eigenvalues` hold the bounds of whole layers and the linear algebra.

Sources: distance: Dosovitskiy et al., ICLR 2021 (in an image; here along the sequence). lambda_2 and pi: Shin et al.,
AAAI 2024, Theorem 1. hfc_factor: Wang et al., ICLR 2022, "Anti-oversmoothing in deep vision transformers via the
Fourier domain analysis", where lambda_A is its square. Rollout: Abnar and Zuidema, ACL 2020.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError
from spectral.arrays import as_float64, check_finite, row_sum_tolerance
from spectral.attention_statistics.eigenvalues import hfc_factors, left_perron_vectors, second_moduli
from spectral.capture import Capture
from spectral.choices import RESIDUAL
from spectral.filter_response import layers_of
from spectral.moments import Moments
from spectral.resampling import ONE_MODEL, interval_columns
from spectral.result import Result
from spectral.sums import sum_of_attention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Array = NDArray[np.float64]

MEASURES = ("entropy", "relative_entropy", "distance", "lambda2", "hfc_factor", "residual_hfc_factor")


@dataclass(frozen=True, eq=False)
class AttentionStatistics(Result):
    """Means over sequences of the measures of this module, per layer and head.

    Attributes:
        layers: (L,) the layer numbers, from 1.
        entropy, relative_entropy, distance, lambda2, hfc_factor, residual_hfc_factor: (L, H).
        standard_error: For each of these by name, (L, H), the standard error of the mean; NaN for one sequence.
        perron: (L, H, N), rows sum to 1.
        rollout: (N,), sums to 1.
        rollout_lambda2: |lambda_2| of the rollout over all layers.
        residual: r, the weight of the residual connection.
        sequences: Number of sequences.

    Example:
        Causal attention that sees all earlier positions alike. Powers of it collapse onto the first position, and
        |lambda_2| is the second entry of the diagonal, 1/2.

        >>> causal = torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None]
        >>> statistics = attention_statistics(causal)
        >>> statistics.perron[0, 0], statistics.lambda2[0].round(3), statistics.relative_entropy[0].round(3)
        (array([1., 0., 0., 0.]), array([0.5]), array([1.]))
    """

    layers: tuple[int, ...]
    entropy: Array
    relative_entropy: Array
    distance: Array
    lambda2: Array
    hfc_factor: Array
    residual_hfc_factor: Array
    standard_error: dict[str, Array]
    perron: Array
    rollout: Array
    rollout_lambda2: float
    residual: float
    sequences: int

    @classmethod
    def from_captures(
        cls, captures: Iterable[Capture], length: int | None = None, residual: float = RESIDUAL
    ) -> "AttentionStatistics":
        """Average over the sequences of all captures, over their last `length` positions, or all for None.

        residual: r, 0 to 1. Raises ConfigError if the model has no attention, or a sequence has padding among these
        positions, and ValueError for no captures or rows that do not sum to 1.
        """
        sums, layers = sum_of_attention(
            (captured.last(length) for captured in captures), lambda maps: sum_over_sequences(maps, residual)
        )
        return sums.statistics(residual, layers)

    def table(self) -> "DataFrame":
        """Return one row per layer and head: each measure, its standard error `<measure>_se`, and its 95% interval.

        The intervals, `<measure>_low` and `<measure>_high`, are over the `users` of one model (`seeds`).
        """
        import pandas as pd

        heads = range(1, self.entropy.shape[1] + 1)
        index = pd.MultiIndex.from_product([self.layers, heads], names=["layer", "head"])
        columns: dict[str, Any] = {}
        for name in MEASURES:
            value, error = getattr(self, name), self.standard_error[name]
            columns |= {name: value.ravel(), f"{name}_se": error.ravel()} | interval_columns(value, error, f"{name}_")
        constants = {"residual": self.residual, "positions": len(self.rollout), **ONE_MODEL, "users": self.sequences}
        return pd.DataFrame(columns | constants, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None, *, measure: str | None = None) -> "Axes | Figure":
        """Draw four measures over layers, or one (on a given `ax` "lambda2")."""
        from spectral import plot

        if ax is None and measure is None:
            return plot.attention_statistics_panels(self._by_label(self))
        return plot.attention_statistics(self._by_label(self), measure or "lambda2", ax=ax)

    def positions_table(self) -> "DataFrame":
        """Return one row per position, from 0, with the rollout, and pi as `perron_<layer>_<head>`."""
        import pandas as pd

        columns = {"position": np.arange(len(self.rollout)), "rollout": self.rollout}
        for layer, heads in zip(self.layers, self.perron, strict=True):
            columns |= {f"perron_{layer}_{head}": pi for head, pi in enumerate(heads, start=1)}
        return pd.DataFrame(columns)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer and head: the measures."""
        return [
            {"layer": layer, "head": head + 1} | {name: float(getattr(self, name)[row, head]) for name in MEASURES}
            for row, layer in enumerate(self.layers)
            for head in range(self.entropy.shape[1])
        ]


@dataclass(frozen=True, eq=False)
class AttentionSums(Moments):
    """The moments of the measures, (L, H, 6), and further sums over sequences, float64 on the CPU.

    Attributes:
        perron: (L, H, N), sum of the left Perron vectors.
        rollout: (N,), sum of the last rows of the rollouts.
        rollout_lambda2: (), sum of |lambda_2| of the rollouts.
    """

    addends = "statistics of the same layers, heads and positions"

    perron: Tensor
    rollout: Tensor
    rollout_lambda2: Tensor

    def statistics(self, residual: float = RESIDUAL, layers: Sequence[int] | None = None) -> AttentionStatistics:
        """Return the means over sequences. Raises ValueError if there were none."""
        sequences = int(self.count.max())
        if not sequences:
            raise ValueError("there are no sequences to average over")
        return AttentionStatistics(
            layers=tuple(layers or range(1, len(self.total) + 1)),
            **self.named(MEASURES),
            perron=(self.perron / sequences).numpy(),
            rollout=(self.rollout / sequences).numpy(),
            rollout_lambda2=float(self.rollout_lambda2) / sequences,
            residual=residual,
            sequences=sequences,
        )


def attention_statistics(attention: Any, residual: float = RESIDUAL) -> AttentionStatistics:
    """Return the measures of this module for attention maps, averaged over sequences.

    attention: (N, N), (B, H, N, N) or (L, B, H, N, N), or a list of L of (B, H, N, N), N >= 2; rows are queries. All N
    positions should be real items: see `full_windows`, `of_length` and `Capture.last`. residual: r, 0 to 1.

    Raises ValueError for another shape, no sequences, negative entries, or rows that do not sum to 1 (a ConfigError).

    Example:
        Uniform attention removes all that is not DC, and identity attention removes nothing:

        >>> uniform, identity = (attention_statistics(a) for a in (torch.full((4, 4), 1 / 4), torch.eye(4)))
        >>> [round(float(s.hfc_factor[0, 0]), 3) for s in (uniform, identity)]
        [0.0, 1.0]
        >>> [round(float(s.relative_entropy[0, 0]), 3) for s in (uniform, identity)]
        [1.0, 0.0]
        >>> float(uniform.distance[0, 0])  # (0 + 1 + 2 + 3) / 4 and (1 + 0 + 1 + 2) / 4, each for two rows
        1.25
        >>> uniform.rollout.round(3)  # half of the uniform row, and half of the position itself
        array([0.125, 0.125, 0.125, 0.625])
    """
    return sum_over_sequences(attention, residual).statistics(residual)


def sum_over_sequences(attention: Any, residual: float = RESIDUAL) -> AttentionSums:
    """Return the sums over sequences of what `attention_statistics` averages. Arguments and errors are the same.

    Example:
        >>> int(sum_over_sequences(torch.eye(4)[None, None].expand(3, 2, 4, 4)).count.max())
        3
    """
    if not 0 <= residual <= 1:
        raise ValueError(f"residual must lie in 0..1, got {residual}")
    maps, tolerance = layers_of(attention), row_sum_tolerance(attention)
    measures, perron, mixed = zip(*(_of_layer(_row_stochastic(a, tolerance), residual) for a in maps), strict=True)
    if len({pi.shape for pi in perron}) != 1:
        raise ValueError("all layers must have the same shape (B, H, N, N)")
    rolled = reduce(lambda below, above: above @ below, mixed)  # (B, N, N)
    return AttentionSums(
        **Moments.of(torch.stack(measures)).additive(),
        perron=torch.stack(perron),
        rollout=rolled[:, -1].sum(0),
        rollout_lambda2=second_moduli(rolled).sum(),
    )


def _of_layer(maps: Tensor, residual: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return of maps (B, H, N, N) the measures (H, 6, B), the summed Perron vectors (H, N) and r I + (1 - r) A."""
    n = maps.shape[-1]
    position = torch.arange(n, dtype=torch.float64)
    causal = not bool(maps.triu(1).any())
    keys = position + 1 if causal else torch.full_like(position, n)
    entropy = torch.special.entr(maps).sum(-1)  # (B, H, N)
    distance = (maps * (position[:, None] - position).abs()).sum(-1)
    identity = torch.eye(n, dtype=torch.float64)
    measured = {
        "entropy": entropy.mean(-1),
        "relative_entropy": (entropy[..., keys > 1] / keys[keys > 1].log()).mean(-1),
        "distance": distance.mean(-1),
        "lambda2": second_moduli(maps),
        "hfc_factor": hfc_factors(maps),
        "residual_hfc_factor": hfc_factors(residual * identity + (1 - residual) * maps),
    }
    measures = torch.stack([measured[name] for name in MEASURES]).permute(2, 0, 1)
    mixed = residual * identity + (1 - residual) * maps.mean(1)
    return measures, left_perron_vectors(maps).sum(0), mixed


def _row_stochastic(maps: Tensor, tolerance: float) -> Tensor:
    """Return maps as float64 with rows that sum to exactly 1."""
    if maps.shape[-1] < 2:
        raise ValueError("attention must be over at least 2 positions, got 1")
    exact = check_finite(as_float64(maps), "attention")
    sums = exact.sum(-1, keepdim=True)
    if len(exact) and (exact.min() < 0 or (sums - 1).abs().max() > tolerance):
        raise ConfigError(
            "attention must be row-stochastic over the positions that are measured: no negative entry, and rows that "
            f"sum to 1; got a smallest entry of {exact.min():.3g}, row sums of {sums.min():.5g} to {sums.max():.5g}. "
            "After the remedies attnscale and gfsa it is not; measure it with python -m spectral.filter_response"
        )
    return exact / sums
