"""The measures as torchmetrics metrics. For all batches together, each gives what the function of its name gives.

All states are sums over sequences, in float64 on the metric's device, or on the CPU if that has no float64. Half
precision is widened as the functions do it. See `spectral.accumulator`.
"""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from spectral.accumulator import Accumulator
from spectral.attention_statistics import RESIDUAL, AttentionStatistics, AttentionSums, sum_over_sequences
from spectral.cka import CrossGram, LinearCKA, cross_gram
from spectral.cosine_similarity import (
    Convention,
    Directions,
    SequenceSimilarities,
    check_convention,
    directions,
    sequence_similarities,
)
from spectral.filter_response import AttentionPower, FrequencyResponse, attention_power
from spectral.fourier import check_c
from spectral.last_item import K, LastItemOverlap, Overlaps, overlaps
from spectral.mixing_ratio import MixingRatio, share_moments
from spectral.moments import Moments
from spectral.rank_one import RankOneDistance
from spectral.rank_one import moments_of_layers as rank_one_moments
from spectral.response import DEFAULT_C
from spectral.singular_values import Gram, SingularValues, gram
from spectral.smoothing import Smoothing, moments_of_layers
from spectral.transfer_map import TransferMap, TransferPower, transfer_power


class FrequencyResponseMetric(Accumulator[AttentionPower, FrequencyResponse]):
    """Accumulates the power that attention passes, for `frequency_response`: 2 x L x H x (N // 2 + 1) numbers and one.

    Args:
        num_layers: L, the layers of every update.
        num_heads: H.
        positions: N.
        c: Number of modes that count as low frequency.

    Raises:
        ValueError: If c is not odd or not in 1..N.

    Example:
        Two batches, one with uniform attention and one with the identity. The gain is a root mean square over both:

        >>> metric = FrequencyResponseMetric(num_layers=1, num_heads=1, positions=4)
        >>> metric.update(torch.full((1, 1, 4, 4), 1 / 4))
        >>> metric.update(torch.eye(4)[None, None])
        >>> metric.compute().gain[0, 0].round(3)
        array([1.   , 0.707, 0.707])
    """

    def __init__(self, num_layers: int, num_heads: int, positions: int, c: int = DEFAULT_C) -> None:
        finish = partial(AttentionPower.response, c=check_c(c, positions))
        super().__init__(attention_power, finish, torch.empty(num_layers, 0, num_heads, positions, positions))

    def update(self, attention: Tensor | list[Tensor]) -> None:
        """Add the attention of a batch. Shapes and errors are those of `frequency_response`."""
        super().update(attention)


class TransferMapMetric(Accumulator[TransferPower, TransferMap]):
    """Accumulates the energy that moves between frequencies, for `transfer_map`: L x H x F x F numbers and one.

    Args:
        num_layers: L, the layers of every update.
        num_heads: H.
        positions: N; F is N // 2 + 1.
        c: Number of modes that count as low frequency.

    Raises:
        ValueError: If c is not odd or not in 1..N.

    Example:
        >>> metric = TransferMapMetric(num_layers=1, num_heads=1, positions=4)
        >>> metric.update(torch.full((1, 1, 4, 4), 1 / 4))
        >>> metric.update(torch.eye(4)[None, None])
        >>> metric.compute().power[0, 0].diagonal().round(3)
        array([1. , 0.5, 0.5])
    """

    def __init__(self, num_layers: int, num_heads: int, positions: int, c: int = DEFAULT_C) -> None:
        finish = partial(TransferPower.transfer_map, c=check_c(c, positions))
        super().__init__(transfer_power, finish, torch.empty(num_layers, 0, num_heads, positions, positions))

    def update(self, attention: Tensor | list[Tensor]) -> None:
        """Add the attention of a batch. Shapes and errors are those of `transfer_map`."""
        super().update(attention)


class SingularValuesMetric(Accumulator[Gram, SingularValues]):
    """Accumulates the Gram matrix of rows, for `singular_values`: 2 x D x D + D + 1 numbers.

    Args:
        size: D, the columns of every update.
        center: Whether the mean row is removed.

    Example:
        >>> metric = SingularValuesMetric(size=2)
        >>> metric.update(torch.tensor([[3.0, 0.0]]))
        >>> metric.update(torch.tensor([[0.0, 4.0]]))
        >>> metric.compute().values
        array([4., 3.])
    """

    def __init__(self, size: int, center: bool = False) -> None:
        super().__init__(gram, partial(Gram.singular_values, center=center), torch.empty(0, size))

    def update(self, x: Tensor) -> None:
        """Add rows (n, D). Raises ValueError for another shape."""
        super().update(x)


class CosineSimilarityMetric(Accumulator[Directions, float]):
    """Accumulates the sum of directions, for `cosine_similarity`: D + 1 numbers.

    Args:
        size: D, the columns of every update.
        convention: "pairs" or "published", see `cosine_similarity`.

    Raises:
        ConfigError: For an unknown convention.

    Example:
        Two users who point in opposite directions:

        >>> metric = CosineSimilarityMetric(size=2)
        >>> metric.update(torch.tensor([[1.0, 0.0]]))
        >>> metric.update(torch.tensor([[-2.0, 0.0]]))
        >>> metric.compute()
        -1.0
    """

    def __init__(self, size: int, convention: Convention = "pairs") -> None:
        check_convention(convention)
        super().__init__(directions, partial(Directions.similarity, convention=convention), torch.empty(0, size))

    def update(self, x: Tensor) -> None:
        """Add rows (n, D). Raises ValueError for another shape or a row of zeros."""
        super().update(x)


class WithinSequenceSimilarityMetric(Accumulator[SequenceSimilarities, float]):
    """Accumulates the similarity of positions, for `within_sequence_similarity`: two numbers.

    Example:
        A constant sequence, then one that alternates between opposite directions; the mean of 1 and -1:

        >>> metric = WithinSequenceSimilarityMetric()
        >>> metric.update(torch.tensor([[[1.0], [1.0]]]))
        >>> metric.update(torch.tensor([[[1.0], [-1.0]]]))
        >>> metric.compute()
        0.0
    """

    def __init__(self) -> None:
        super().__init__(sequence_similarities, attrgetter("mean"), torch.empty(0, 1, 1))

    def update(self, hidden: Tensor, mask: Tensor | None = None) -> None:
        """Add hidden states (B, N, D). mask: (B, N), True for real positions; None if all are real."""
        super().update(hidden, mask)


class SmoothingMetric(Accumulator[Moments, Smoothing]):
    """Accumulates the measures of smoothness, for `smoothing`: three numbers per layer and measure.

    Args:
        num_layers: L + 1, the layers of every update, including the embedding output.
        c: Number of modes that count as low frequency.

    Example:
        A constant sequence, then an alternating one; the share of DC is 1 and 0:

        >>> metric = SmoothingMetric(num_layers=1)
        >>> metric.update([torch.ones(1, 4, 1)])
        >>> metric.update([torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]]])])
        >>> metric.compute().dc_share
        array([0.5])
    """

    def __init__(self, num_layers: int, c: int = DEFAULT_C) -> None:
        finish = partial(Smoothing.from_moments, c=c)
        super().__init__(partial(moments_of_layers, c=c), finish, torch.empty(num_layers, 0, 1, 1))

    def update(self, hidden: Sequence[Tensor] | Tensor, mask: Tensor | None = None) -> None:
        """Add hidden states (B, N, D), one per layer, with their mask (B, N). Errors are those of `smoothing`."""
        super().update(hidden, mask)


class RankOneDistanceMetric(Accumulator[Moments, RankOneDistance]):
    """Accumulates the distances to rank one, for `rank_one_distance`: six numbers per layer.

    Args:
        num_layers: L + 1, the layers of every update, including the embedding output.

    Example:
        A constant sequence, then an alternating one; the distance is 0 and 1:

        >>> metric = RankOneDistanceMetric(num_layers=1)
        >>> metric.update([torch.ones(1, 4, 1)])
        >>> metric.update([torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]]])])
        >>> metric.compute().distance
        array([0.5])
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__(rank_one_moments, RankOneDistance.from_moments, torch.empty(num_layers, 0, 1, 1))

    def update(self, hidden: Sequence[Tensor] | Tensor, mask: Tensor | None = None) -> None:
        """Add hidden states (B, N, D), one per layer, with their mask (B, N). Errors: see `rank_one_distance`."""
        super().update(hidden, mask)


class MixingRatioMetric(Accumulator[Moments, MixingRatio]):
    """Accumulates the shares of parts of outputs, for `mixing_ratio`: 3 x L x P x (N // 2 + 3) numbers.

    Args:
        num_layers: L, the layers of every update.
        names: Of the P parts, the residual first.
        positions: N.

    Example:
        An update as large as the residual, then one of zeros; the ratio is 1/2 and 0:

        >>> metric = MixingRatioMetric(num_layers=1, names=["residual", "attention"], positions=2)
        >>> metric.update(torch.tensor([[3.0, 1.0], [3.0, 1.0]]).view(1, 2, 1, 2, 1))
        >>> metric.update(torch.tensor([[3.0, 1.0], [0.0, 0.0]]).view(1, 2, 1, 2, 1))
        >>> metric.compute().mixing_ratio
        array([[0.25, 0.25]])
    """

    def __init__(self, num_layers: int, names: Sequence[str], positions: int) -> None:
        finish = partial(MixingRatio.from_moments, names=tuple(names), positions=positions)
        super().__init__(share_moments, finish, torch.empty(num_layers, len(names), 0, positions, 1))

    def update(self, parts: Tensor) -> None:
        """Add the parts (L, P, B, N, D) of a batch. Errors are those of `mixing_ratio`."""
        super().update(parts)


class LinearCKAMetric(Accumulator[CrossGram, LinearCKA]):
    """Accumulates the products of layers, for `linear_cka` of all pairs: S x S + S + 1 numbers, S the sum of the sizes.

    Args:
        sizes: D_1, ..., D_R, the columns of each layer.

    Example:
        The second layer is the first one, doubled:

        >>> metric = LinearCKAMetric(sizes=[1, 1])
        >>> metric.update([torch.tensor([[3.0], [1.0]]), torch.tensor([[6.0], [2.0]])])
        >>> metric.update([torch.tensor([[0.0]]), torch.tensor([[0.0]])])
        >>> metric.compute().cka.round(3)
        array([[1., 1.],
               [1., 1.]])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(cross_gram, CrossGram.result, [torch.empty(0, size) for size in sizes])

    def update(self, states: Sequence[Tensor]) -> None:
        """Add a batch: rows (n, D_r) of each layer for the same n users. Errors are those of `linear_cka`."""
        super().update(states)


class LastItemOverlapMetric(Accumulator[Overlaps, LastItemOverlap]):
    """Accumulates what lists share, for `last_item_overlap`: 2 x K x (items + 3) numbers and one.

    Args:
        num_items: The largest item id.
        k: K, the length of the lists of every update.

    Example:
        The same lists, then lists with one of two items in common:

        >>> metric = LastItemOverlapMetric(num_items=5, k=2)
        >>> metric.update([[1, 2]], [[1, 2]])
        >>> metric.update([[3, 4]], [[5, 4]])
        >>> metric.compute().overlap
        array([0.5 , 0.75])
    """

    def __init__(self, num_items: int, k: int = K) -> None:
        super().__init__(partial(overlaps, num_items=num_items), Overlaps.result, torch.empty(2, 0, k))

    def update(self, whole: Any, alone: Any) -> None:
        """Add lists (P, K) of the same users. Errors are those of `last_item_overlap`."""
        super().update((whole, alone))


class AttentionStatisticsMetric(Accumulator[AttentionSums, AttentionStatistics]):
    """Accumulates the statistics of maps, for `attention_statistics`: L x H x (18 + N) + N + 1 numbers.

    Args:
        num_layers: L, the layers of every update.
        num_heads: H.
        positions: N.
        residual: r, the weight of the residual connection, 0 to 1.

    Example:
        Uniform attention, then the identity; the relative entropy is 1 and 0:

        >>> metric = AttentionStatisticsMetric(num_layers=1, num_heads=1, positions=4)
        >>> metric.update(torch.full((1, 1, 4, 4), 1 / 4))
        >>> metric.update(torch.eye(4)[None, None])
        >>> metric.compute().relative_entropy.round(3)
        array([[0.5]])
    """

    def __init__(self, num_layers: int, num_heads: int, positions: int, residual: float = RESIDUAL) -> None:
        sums = partial(sum_over_sequences, residual=residual)
        finish = partial(AttentionSums.statistics, residual=residual)
        super().__init__(sums, finish, torch.empty(num_layers, 0, num_heads, positions, positions))

    def update(self, attention: Tensor | list[Tensor]) -> None:
        """Add the attention of a batch. Shapes and errors are those of `attention_statistics`."""
        super().update(attention)
