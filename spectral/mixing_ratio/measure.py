"""How much of a block's output is its residual, and how much was added by attention and feed-forward network.

A block of a post-norm model computes m = LayerNorm(x + f(x)) and its output LayerNorm(m + g(m)), with attention (or a
filter) f and feed-forward network g; BSARec has two branches f_i with a LayerNorm and a weight each, whose sum is m.
With the means and deviations that they have on x given, both LayerNorms are linear up to their biases. So the output is
a sum of parts: what became of the residual x, what became of each f_i(x), what became of g(m), and what comes from
biases alone. With F_k p the component of a part p at frequency k along the n positions,

    share_p(k) = ||F_k p|| / sum of ||F_k q|| over the residual and all updates q,    0 to 1,

and the mixing ratio is 1 - share of the residual: 0 if the output is the residual, 1 if nothing of it is left. Biases
are the same at every position before the last scaling; they are left out. Norms do not add up like energies: parts that
cancel each other have large shares all the same. `overall` is the same with the norms of whole parts, and `last` with
those at the last position, where recommendations are made. Shares are computed user by user, then averaged.

The frequency filter of BSARec itself passes the low frequencies of x unchanged; its share counts as mixed.

Half precision is widened to float64, like all parts; `of_model` measures a model in half precision on a copy in
float32.

Contents: `mixing_ratio` for arrays of parts; its result `MixingRatio`, which `MixingRatio.of_model` measures on a
model; `parts_of_block`, which takes a block's output apart.

Source: the mixing ratio of Kobayashi, Kuribayashi, Yokoi and Inui, EMNLP 2021, "Incorporating residual and
normalization layers into analysis of masked language models", which takes an attention block apart at one position in
the same way, through its LayerNorm. That it goes through the feed-forward network to the output of the block, and that
norms are taken frequency by frequency, is our definition.
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
from models.layers.add_norm import ResidualStep
from models.layers.frequency import real_fourier_matrices
from spectral.arrays import as_float, as_float64, check_finite
from spectral.fourier import angular_frequencies, frequencies
from spectral.moments import Moments
from spectral.resampling import ONE_MODEL, interval_columns
from spectral.result import Result
from spectral.steps import residual_steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Array = NDArray[np.float64]

RESIDUAL = "residual"  # the name of the part that x becomes


@dataclass(frozen=True, eq=False)
class MixingRatio(Result):
    """Mean shares of the parts of each block's output.

    Attributes:
        names: P names of the parts, the residual first.
        share: (L, P, F) share of each part at each frequency; the P shares of a layer and frequency sum to 1. NaN where
            no user has anything at a frequency.
        standard_error: (L, P, F) of `share` over users; NaN for a single user.
        overall: (L, P) share of the norms over all positions.
        last: (L, P) share of the norms at the last position.
        positions: N.
        users: Number of sequences in the mean.

    Example:
        A residual that is constant, and an update that alternates with a third of its norm:

        >>> residual = torch.tensor([3.0, 3.0, 3.0, 3.0]).view(1, 4, 1)
        >>> update = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 4, 1)
        >>> measured = mixing_ratio(torch.stack([residual, update])[None], ["residual", "attention"])
        >>> measured.mixing_ratio, measured.overall
        (array([[ 0., nan,  1.]]), array([[0.75, 0.25]]))
    """

    names: tuple[str, ...]
    share: Array
    standard_error: Array
    overall: Array
    last: Array
    positions: int
    users: int

    @classmethod
    def of_model(cls, model: Any, batches: Iterable[Tensor], length: int | None = None) -> "MixingRatio":
        """Measure the blocks of a model.

        model: see `spectral.steps.residual_steps`. batches: int tensors (B, N); all N positions should be real items,
        or the last `length` of them, see `spectral.full_windows`. length: measure the last n positions only.

        Raises ConfigError if the model is not made of blocks with residual connections, and ValueError if there are no
        sequences.

        Example:
            >>> from models.registry import build, configure
            >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=2))
            >>> model.initialise(seed=0)
            >>> measured = MixingRatio.of_model(model, [torch.tensor([[5, 6, 7, 8]])])
            >>> measured.names, measured.share.shape
            (('residual', 'attention', 'feed-forward'), (2, 3, 3))
        """
        sums: Moments | None = None
        names: Sequence[str] = ()
        positions = 0
        for _, layers in residual_steps(model, batches):
            blocks = [parts_of_block(steps) for steps in layers]
            names = list(blocks[0])
            parts = torch.stack([torch.stack(list(block.values())) for block in blocks])
            parts = parts if length is None else parts[..., -length:, :]
            positions = parts.shape[-2]
            moments = share_moments(parts)
            sums = moments if sums is None else sums + moments
        if sums is None:
            raise ValueError("there are no sequences to measure")
        return cls.from_moments(sums, names, positions)

    @classmethod
    def from_moments(cls, moments: Moments, names: Sequence[str], positions: int) -> "MixingRatio":
        """Return the means, from sums (L, P, F + 2) over users as `share_moments` makes them.

        Example:
            >>> MixingRatio.from_moments(share_moments(torch.ones(2, 3, 5, 4, 1)), ["residual", "f", "g"], 4).users
            5
        """
        mean, error = moments.mean, moments.standard_error
        users = int(moments.count.max())
        return cls(tuple(names), mean[..., :-2], error[..., :-2], mean[..., -2], mean[..., -1], positions, users)

    @property
    def mixing_ratio(self) -> Array:
        """(L, F) 1 minus the share of the residual."""
        return 1 - self.share[:, 0]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layer number of each row, from 1."""
        return tuple(range(1, len(self.share) + 1))

    @property
    def frequency(self) -> NDArray[np.int64]:
        """(F,) cycles per sequence, 0..N//2."""
        return frequencies(self.positions).numpy()

    @property
    def angular_frequency(self) -> Array:
        """(F,) rad per position, 0 to pi."""
        return angular_frequencies(self.positions).numpy()

    def table(self) -> "DataFrame":
        """Return one row per layer, part and frequency; `overall` and `last` are repeated at every frequency.

        The 95% interval of the share, `low` and `high`, is over the users of one model (`seeds`).
        """
        import pandas as pd

        index = pd.MultiIndex.from_product(
            [self.layers, self.names, self.frequency], names=["layer", "part", "frequency"]
        )
        count = len(self.frequency)
        columns = {
            "angular_frequency": np.tile(self.angular_frequency, len(self.layers) * len(self.names)),
            "share": self.share.ravel(),
            "share_se": self.standard_error.ravel(),
            **interval_columns(self.share, self.standard_error),
            "overall": self.overall.ravel().repeat(count),
            "last": self.last.ravel().repeat(count),
            "positions": self.positions,
            **ONE_MODEL,
            "users": self.users,
        }
        return pd.DataFrame(columns, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the mixing ratio of each block against frequency."""
        from spectral import plot

        return plot.mixing_ratio(self, label=self.label or None, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per layer and part: its share overall, at DC, at the highest frequency and at the end."""
        return [
            {
                "layer": layer,
                "part": name,
                "overall": float(self.overall[row, column]),
                "dc": float(self.share[row, column, 0]),
                "nyquist": float(self.share[row, column, -1]),
                "last": float(self.last[row, column]),
            }
            for row, layer in enumerate(self.layers)
            for column, name in enumerate(self.names)
        ]


def mixing_ratio(parts: Any, names: Sequence[str]) -> MixingRatio:
    """Return the shares of the parts of some layers' outputs, averaged over users.

    parts: (L, P, B, N, D), the residual first. names: P names of the parts. Raises ValueError for another shape, no
    users, more or fewer names than parts, or numbers that are not finite.

    Source: after Kobayashi et al., EMNLP 2021; see `spectral.mixing_ratio` for what is ours.

    Example:
        At every frequency half of the output is the residual:

        >>> part = torch.tensor([4.0, 1.0, 0.0, 0.0]).view(1, 4, 1)
        >>> mixing_ratio(torch.stack([part, -part])[None], ["residual", "attention"]).mixing_ratio
        array([[0.5, 0.5, 0.5]])
    """
    moments = share_moments(parts)
    _, count, users, positions, _ = as_float(parts).shape
    if users == 0:
        raise ValueError("there are no sequences to measure")
    if len(names) != count:
        raise ValueError(f"expected a name for each of {count} parts, got {len(names)}")
    return MixingRatio.from_moments(moments, names, positions)


def share_moments(parts: Any) -> Moments:
    """Return the sums over users, (L, P, F + 2), of shares of parts (L, P, B, N, D): F frequencies, overall, and last.

    Example:
        >>> share_moments(torch.ones(2, 3, 5, 4, 1)).mean[0, 0].round(3)  # constant: nothing but DC
        array([0.333,   nan,   nan, 0.333, 0.333])
    """
    given, rounding = as_float64(parts), torch.finfo(as_float(parts).dtype).eps
    check_finite(given, "parts of a layer's output")
    if given.ndim != 5 or 0 in (given.shape[0], given.shape[1], *given.shape[3:]):
        raise ValueError(f"parts must be (L, P, B, N, D), got shape {tuple(given.shape)}")
    transform, _ = real_fourier_matrices(given.shape[3])
    spectrum = (transform @ given).unflatten(3, (2, -1))  # (L, P, B, 2, F, D), real and imaginary parts
    norms = torch.cat(
        [
            torch.linalg.vector_norm(spectrum, dim=(3, 5)),  # (L, P, B, F)
            torch.linalg.vector_norm(given, dim=(-2, -1))[..., None],
            torch.linalg.vector_norm(given[..., -1, :], dim=-1)[..., None],
        ],
        dim=-1,
    )
    total = norms.sum(1, keepdim=True)
    # Rounding leaves a trace at frequencies that no part has, of which no share should be taken.
    least = given.shape[3] * rounding * total[..., -2:-1]
    return Moments.of(torch.where(total > least, norms / total, torch.nan).movedim(2, -1))


def parts_of_block(steps: Sequence[ResidualStep]) -> dict[str, Tensor]:
    """Return the parts (B, N, D) of a block's output by name: the residual, and each update. Biases are left out.

    steps: parallel branches, then the feed-forward network and what follows it, see
    `models.recommender.Recommender.residual_steps`. Raises ConfigError if two steps have the same name.

    Example:
        >>> from models.registry import build, configure
        >>> model = build(configure("bsarec", num_items=20, max_len=4, hidden_size=8, num_layers=1))
        >>> model.initialise(seed=0)
        >>> [(_, [steps])] = residual_steps(model, [torch.tensor([[5, 6, 7, 8]])])
        >>> list(parts_of_block(steps))
        ['residual', 'attention', 'frequency filter', 'feed-forward']
    """
    mixing = [step for step in steps if step.x is steps[0].x]
    parts = {RESIDUAL: reduce(torch.add, (step.through_norm(step.x) for step in mixing))}
    parts |= {step.name: step.through_norm(step.update) for step in mixing}
    for step in steps[len(mixing) :]:
        parts = {name: step.through_norm(part) for name, part in parts.items()}
        parts[step.name] = step.through_norm(step.update)
    if len(parts) <= len(steps):
        raise ConfigError(f"the steps of a block need different names, got {[step.name for step in steps]}")
    return parts
