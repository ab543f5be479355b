"""What the attention maps of trained layers are like, head by head, beside their frequency response.

A map A (N, N) is row-stochastic, rows are queries; all N positions are real items. P = I - 11^T / N takes the mean
over positions away, so P x is all that is not DC of a signal x. Every measure is one number per map; then come mean
and standard error over sequences:

    entropy              mean over rows of -sum_j a_ij ln a_ij, in nats;
    relative_entropy     the same with each row divided by ln of the number of keys it may see (i + 1 where no
                         position sees a later one, else N), 0 (one key) to 1 (uniform); a row with one key is left out;
    distance             mean over rows of sum_j a_ij |i - j|, in positions;
    lambda2              |lambda_2|, the second largest modulus of an eigenvalue: what Theorem 1 says is left of HFC
                         per application, in the long run;
    hfc_factor           ||P A P||_2, the most that one application can scale what is not DC. A 1 = 1, so P A = P A P
                         and ||P A x|| <= hfc_factor ||P x||, with equality for one x; above 1 it may grow;
    residual_hfc_factor  the same of r I + (1 - r) A, attention with a residual connection of weight r.

Beside them, averaged over sequences: `perron`, the left Perron vector pi of each map, which says where A^t x goes,
(pi^T x) 1 (all of it on the first position if no position sees a later one); and of the rollout, the product over
layers of r I + (1 - r) (mean of A over heads), its last row: how much of each input position reaches the last output,
and its |lambda_2|. Values, output projections, LayerNorm and feed-forward networks are outside of all of this; with
projections and residual it is `spectral.attention_statistics.bounds`, and whole layers `spectral.block_response`.

Here live `attention_statistics` for maps of one's own, its result `AttentionStatistics`, which is measured from
captures of a model as well, and the sums that it follows from, `AttentionSums`; next door `bounds`, how much a layer
can scale what is not DC, and `eigenvalues`, the numerical work.

Sources: distance: Dosovitskiy et al., ICLR 2021 (in an image; here along the sequence). lambda_2 and pi: Shin et al.,
AAAI 2024, Theorem 1. The factor of what is not DC: Wang et al., ICLR 2022, "Anti-oversmoothing in deep vision
transformers via the Fourier domain analysis", whose lambda_A is its square. Rollout: Abnar and Zuidema, ACL 2020.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectral.arrays import as_float64, check_finite
from spectral.attention_statistics.eigenvalues import hfc_factors, left_perron_vectors, second_moduli
from spectral.capture import Capture
from spectral.filter_response import layers_of
from spectral.moments import Moments
from spectral.sums import sum_of_attention
from spectral.theorem1.spectrum import ROW_SUM_TOLERANCE

if TYPE_CHECKING:
    from pandas import DataFrame

Array = NDArray[np.float64]

MEASURES = ("entropy", "relative_entropy", "distance", "lambda2", "hfc_factor", "residual_hfc_factor")
RESIDUAL = 0.5


@dataclass(frozen=True, eq=False)
class AttentionStatistics:
    """Means over sequences of the measures of this module, per layer and head.

    Attributes:
        layers: (L,) the layer numbers, from 1.
        entropy, relative_entropy, distance, lambda2, hfc_factor, residual_hfc_factor: (L, H).
        standard_error: For each of these by name, (L, H), the standard error of the mean; NaN for one sequence.
        perron: (L, H, N), rows sum to 1.
        rollout: (N,), sums to 1.
        rollout_lambda2: Of the rollout over all layers.
        residual: r, the weight of the residual connection.
        sequences: How many there were.
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
        """Average over the sequences of all captures; with `length` n over their last n positions.

        Raises ConfigError if the model has no attention, ValueError for no captures or rows that do not sum to 1.
        """
        sums, layers = sum_of_attention(
            (captured.last(length) for captured in captures), lambda maps: sum_over_sequences(maps, residual)
        )
        return sums.statistics(residual, layers)

    def table(self) -> "DataFrame":
        """Return one row per layer and head: each measure, and its standard error with `_se` behind the name."""
        import pandas as pd

        heads = range(1, self.entropy.shape[1] + 1)
        index = pd.MultiIndex.from_product([self.layers, heads], names=["layer", "head"])
        columns: dict[str, Any] = {}
        for name in MEASURES:
            columns |= {name: getattr(self, name).ravel(), f"{name}_se": self.standard_error[name].ravel()}
        constants = {"residual": self.residual, "positions": len(self.rollout), "sequences": self.sequences}
        return pd.DataFrame(columns | constants, index=index).reset_index()

    def positions_table(self) -> "DataFrame":
        """Return one row per position, from 0: the rollout, and pi as `perron_<layer>_<head>`."""
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
    """The moments of the measures, (L, H, 6), and beside them more sums over sequences, float64 on the CPU.

    perron: (L, H, N). rollout: (N,). rollout_lambda2: ().
    """

    addends = "statistics of the same layers, heads and positions"

    perron: Tensor
    rollout: Tensor
    rollout_lambda2: Tensor

    def statistics(self, residual: float = RESIDUAL, layers: Sequence[int] | None = None) -> AttentionStatistics:
        """Return the means; raises ValueError if there were no sequences."""
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

    Raises ValueError for another shape, no sequences, negative entries, or rows that do not sum to 1.
    """
    return sum_over_sequences(attention, residual).statistics(residual)


def sum_over_sequences(attention: Any, residual: float = RESIDUAL) -> AttentionSums:
    """Return the sums over sequences of what `attention_statistics` averages; errors are those."""
    if not 0 <= residual <= 1:
        raise ValueError(f"residual must lie in 0..1, got {residual}")
    maps = layers_of(attention)
    measures, perron, mixed = zip(*(_of_layer(_row_stochastic(a), residual) for a in maps), strict=True)
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
    """(B, H, N, N) -> measures (H, 6, B), the sum of left Perron vectors (H, N), and what rolls out (B, N, N)."""
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


def _row_stochastic(maps: Tensor) -> Tensor:
    """Return maps as float64 with rows that sum to exactly 1."""
    if maps.shape[-1] < 2:
        raise ValueError("attention must be over at least 2 positions, got 1")
    exact = check_finite(as_float64(maps), "attention")
    sums = exact.sum(-1, keepdim=True)
    if len(exact) and (exact.min() < 0 or (sums - 1).abs().max() > ROW_SUM_TOLERANCE):
        raise ValueError(
            "attention must be row-stochastic over the positions that are measured: no negative entry, and rows that "
            f"sum to 1; got a smallest entry of {exact.min():.3g} and row sums of {sums.min():.3g} to {sums.max():.3g}"
        )
    return exact / sums
