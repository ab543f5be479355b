"""How far the hidden states of a sequence are from rank one: ||X - 1 x^T|| / ||X||, layer by layer and part by part.

A sequence of n real positions is a matrix X (n, D). The nearest matrix whose rows are all equal is 1 x^T with x the
mean over positions, so the numerator is what differs between positions (Frobenius norms). The distance is 0 if all
positions are equal, the end of oversmoothing within a sequence, and 1 if their mean is zero. Its square is 1 minus the
share of DC that `spectral.smoothing` measures.

For n positions of white noise the squared distance has mean 1 - 1 / n, so short sequences are close to rank one
whatever a model does. `noise`, the mean of sqrt(1 - 1 / n) over the same sequences, is the scale to compare with. A
single position always has distance 0, so sequences with one real position are left out, and so are sequences of zeros,
which have no distance.

A block ends each of its sub-layers f with LayerNorm(x + f(x)). Its parts are measured in this order, for each
sub-layer ("step"): what the sub-layer adds ("alone"), x + f(x) ("with residual"), and the LayerNorm of it ("after
norm"). So one can see which of them brings positions together, and which keeps them apart.

Half precision is widened to float64, like all states, in `relative_distance` to float32; `of_parts` measures a model in
half precision on a copy in float32.

Contents: `rank_one_distance` for arrays, and its result `RankOneDistance`, which can also be measured from captures, or
through the parts of a model's blocks with `RankOneDistance.of_parts`; `relative_distance` of a single signal.

Source: Dong, Cordonnier and Loukas, ICML 2021, "Attention is not all you need: pure attention loses rank doubly
exponentially with depth", whose residual res(X) is X - 1 x^T with the nearest x. They use another norm, for which the
nearest x has no closed form; here it is the Frobenius norm. Measuring it through the parts of a block is our addition.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.layers.add_norm import ResidualStep
from spectral.arrays import as_float64, check_finite, widened
from spectral.blocks import real_blocks, real_mask
from spectral.capture import Capture
from spectral.moments import Moments
from spectral.resampling import ONE_MODEL, interval_columns
from spectral.result import Result
from spectral.steps import residual_steps
from spectral.sums import sum_by_layer, sum_of_hidden

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Array = NDArray[np.float64]
Part = tuple[int, str, str]  # layer, step, stage

STAGES = ("alone", "with residual", "after norm")
LAYER, OUTPUT = "layer", "output"  # step and stage of the hidden states between the layers


@dataclass(frozen=True, eq=False)
class RankOneDistance(Result):
    """Mean distances to rank one, of the hidden states after each layer and of the parts of blocks.

    Attributes:
        parts: R of (layer, step, stage), in the order of the computation. (l, "layer", "output") is the output of
            layer l, and layer 0 is the embedding output.
        distance: (R,) mean over sequences, 0 to 1.
        standard_error: (R,) of `distance`; NaN for a single sequence.
        noise: (R,) the distance of white noise with as many positions, as root of its expected square.
        sequences: (R,) number of sequences with at least two real positions that are not all zero.

    Example:
        A layer that turns an alternating sequence into a constant one:

        >>> alternating = torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]]])  # (B, N, D)
        >>> captured = Capture((alternating, torch.ones(1, 4, 1)), (), torch.ones(1, 4, dtype=torch.bool))
        >>> measured = RankOneDistance.from_captures([captured])
        >>> measured.distance, measured.noise.round(3)  # sqrt(1 - 1/4) = 0.866
        (array([1., 0.]), array([0.866, 0.866]))
    """

    parts: tuple[Part, ...]
    distance: Array
    standard_error: Array
    noise: Array
    sequences: NDArray[np.int64]

    @classmethod
    def from_captures(cls, captures: Iterable[Capture]) -> "RankOneDistance":
        """Measure the hidden states of all sequences of the captures, layer by layer.

        Raises ValueError if there are no hidden states.
        """
        sums = sum_of_hidden(captures, rank_one_moments)
        return cls.from_moments(_stacked(sums.values()), [(layer, LAYER, OUTPUT) for layer in sums])

    @classmethod
    def of_parts(cls, model: Any, batches: Iterable[Tensor]) -> "RankOneDistance":
        """Measure the parts of each block of a model, and the output of each layer.

        model: see `spectral.steps.residual_steps`. batches: int tensors (B, N), padding 0. Raises ConfigError if the
        model is not made of blocks with residual connections, ValueError if there are no sequences.

        Example:
            >>> from models.registry import build, configure
            >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=1))
            >>> model.initialise(seed=0)
            >>> measured = RankOneDistance.of_parts(model, [torch.tensor([[5, 6, 7, 8]])])
            >>> [f"{step} {stage}" for _, step, stage in measured.parts[:4]]
            ['layer output', 'attention alone', 'attention with residual', 'attention after norm']
        """
        sums = sum_by_layer(_moments_of_parts(mask, layers) for mask, layers in residual_steps(model, batches))
        if not sums:
            raise ValueError("there are no sequences to measure")
        return cls.from_moments(_stacked(sums.values()), list(sums))

    @classmethod
    def from_moments(cls, moments: Moments, parts: Sequence[Part] | None = None) -> "RankOneDistance":
        """Return the means, from sums (R, 2) over sequences: the distance, and that of noise. parts: None for layers.

        Example:
            >>> RankOneDistance.from_moments(moments_of_layers(torch.ones(3, 5, 4, 2))).parts[-1]
            (2, 'layer', 'output')
        """
        rows = [(layer, LAYER, OUTPUT) for layer in range(len(moments.total))] if parts is None else parts
        return cls(
            parts=tuple(rows),
            distance=moments.mean[:, 0],
            standard_error=moments.standard_error[:, 0],
            noise=moments.mean[:, 1],
            sequences=moments.count[:, 0].long().numpy(),
        )

    @property
    def outputs(self) -> "RankOneDistance":
        """The rows of the layers' outputs only."""
        return self._rows([row for row, (_, step, _) in enumerate(self.parts) if step == LAYER])

    def of_step(self, layer: int, step: str) -> "RankOneDistance":
        """Return the rows of one step of a layer; none if the layer does not have it."""
        return self._rows([row for row, part in enumerate(self.parts) if part[:2] == (layer, step)])

    def _rows(self, rows: list[int]) -> "RankOneDistance":
        return RankOneDistance(
            parts=tuple(self.parts[row] for row in rows),
            distance=self.distance[rows],
            standard_error=self.standard_error[rows],
            noise=self.noise[rows],
            sequences=self.sequences[rows],
        )

    def table(self) -> "DataFrame":
        """Return one row per part: layer, step, stage, distance, its standard error, noise, and its 95% interval.

        The interval, `low` and `high`, is over the `users` of one model (`seeds`).
        """
        import pandas as pd

        return pd.DataFrame(self.parts, columns=["layer", "step", "stage"]).assign(
            distance=self.distance,
            distance_se=self.standard_error,
            noise=self.noise,
            **interval_columns(self.distance, self.standard_error),
            **ONE_MODEL,
            users=self.sequences,
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the distance over layers, and through the parts of blocks if they were measured."""
        from spectral import plot

        return plot.rank_one_parts(self, label=self.label or None, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per part: layer, step, stage, distance and noise."""
        rows = zip(self.parts, self.distance, self.noise, strict=True)
        return [
            {"layer": layer, "step": step, "stage": stage, "distance": float(distance), "noise": float(noise)}
            for (layer, step, stage), distance, noise in rows
        ]


def rank_one_distance(hidden: Any, mask: Any = None) -> RankOneDistance:
    """Return the distances to rank one of hidden states, ||X - 1 x^T|| / ||X|| averaged over sequences.

    hidden: (N, D), (B, N, D) or (L, B, N, D), or a list of L of (B, N, D); layers count from 0. mask: (B, N), True for
    real positions, which must be the last ones of their row; None if all are real.

    Raises ValueError for another shape, numbers that are not finite, or padding that is not on the left.

    Source: Dong, Cordonnier and Loukas, ICML 2021, with Frobenius norms.

    Example:
        The mean of 3 and 1 is 2, so X - 1 x^T is 1, -1, and the distance is sqrt(2 / 10):

        >>> rank_one_distance(torch.tensor([[3.0], [1.0]])).distance.round(3)
        array([0.447])
    """
    return RankOneDistance.from_moments(moments_of_layers(hidden, mask))


def moments_of_layers(hidden: Any, mask: Any = None) -> Moments:
    """Return the sums over sequences, (L, 2), of hidden states as `rank_one_distance` takes them.

    Example:
        >>> moments_of_layers(torch.ones(3, 5, 4, 2)).mean[:, 0]  # three layers, all positions equal
        array([0., 0., 0.])
    """
    if not isinstance(hidden, list | tuple):
        states = as_float64(hidden)
        hidden = list(states) if states.ndim == 4 else [states[None] if states.ndim == 2 else states]
    return _stacked([rank_one_moments(x, mask) for x in hidden])


def rank_one_moments(hidden: Any, mask: Any = None) -> Moments:
    """Return the sums over sequences, (2,), of the distance and of that of noise. hidden: (B, N, D).

    Example:
        >>> rank_one_moments(torch.ones(5, 4, 2)).count.tolist()
        [5.0, 5.0]
    """
    states = as_float64(hidden)
    if states.ndim != 3 or 0 in states.shape[1:]:
        raise ValueError(f"hidden must be (B, N, D), got shape {tuple(states.shape)}")
    values = [torch.empty(2, 0, dtype=torch.float64)]
    for n, sequences in real_blocks(real_mask(mask, states.shape[:2])):
        if n >= 2:
            distance = relative_distance(check_finite(states[sequences, -n:], "hidden states"))
            values.append(torch.stack([distance, (0 * distance + 1 - 1 / n).sqrt()]))
    return Moments.of(torch.cat(values, dim=1))


def relative_distance(x: Tensor) -> Tensor:
    """Return ||X - 1 x^T|| / ||X|| of signals (..., n, D), x their mean over positions, shape (...), 0 to 1.

    NaN for a signal of zeros.

    Source: Dong, Cordonnier and Loukas, ICML 2021, with Frobenius norms.

    Example:
        A constant signal, an alternating one, and zeros:

        >>> relative_distance(torch.tensor([[[1.0], [1.0]], [[1.0], [-1.0]], [[0.0], [0.0]]]))
        tensor([0., 1., nan])
    """
    # Dividing by the largest entry first keeps the squares of very large or very small numbers in range.
    x = widened(x)
    signals = x / x.abs().amax((-2, -1), keepdim=True)
    apart = signals - signals.mean(-2, keepdim=True)
    return torch.linalg.norm(apart, dim=(-2, -1)) / torch.linalg.norm(signals, dim=(-2, -1))


def _moments_of_parts(mask: Tensor, layers: list[list[ResidualStep]]) -> dict[Part, Moments]:
    """Return the sums of every part of one batch."""
    found = {(0, LAYER, OUTPUT): rank_one_moments(layers[0][0].x, mask)}
    for layer, steps in enumerate(layers, start=1):
        for step in steps:
            for stage, x in zip(STAGES, (step.update, step.total, step.output), strict=True):
                found[layer, step.name, stage] = rank_one_moments(x, mask)
        found[layer, LAYER, OUTPUT] = found[layer, steps[-1].name, STAGES[-1]]
    return found


def _stacked(moments: Iterable[Moments]) -> Moments:
    parts = list(moments)
    if not parts:
        raise ValueError("there are no hidden states to measure")
    return Moments(*(torch.stack([getattr(part, name) for part in parts]) for name in ("count", "total", "squares")))
