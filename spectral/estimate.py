"""Curves over several runs of a system: their mean, and which part of the uncertainty is of users, which of seeds.

A band over users asks what other users of these models would give; it knows nothing of other seeds. A band over seeds
asks what other trainings would give on these users. `low` and `high` are of both together, by the two-way bootstrap of
`models.results.significance`. With one model there is only the band over users, and every caption says so.

Contents: `estimate` and its result `Estimate`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from models.results.significance import CONFIDENCE, difference
from spectral.response import Array


@dataclass(frozen=True, eq=False)
class Estimate:
    """The mean of a curve over runs, with the ends of its 95% intervals. All arrays have the shape of the curve.

    Attributes:
        value: Mean over runs.
        low, high: Over users and seeds; over users alone if there is one run.
        users_low, users_high: Over users, for these runs.
        seeds_low, seeds_high: Over seeds, for these users; NaN for one run.
        seeds: Number of runs.
        users: Number of users behind each of them.
    """

    value: Array
    low: Array
    high: Array
    users_low: Array
    users_high: Array
    seeds_low: Array
    seeds_high: Array
    seeds: int
    users: int

    ENDS: ClassVar = ("low", "high", "users_low", "users_high", "seeds_low", "seeds_high")

    def columns(self, prefix: str = "") -> dict[str, Any]:
        """Return the ends of the intervals as columns of a table, one row per point; the prefix goes before each name.

        Example:
            >>> list(estimate(np.ones((1, 2)), np.ones((5, 1, 2)), users=9).columns("gain_"))[:2]
            ['gain_low', 'gain_high']
        """
        return {f"{prefix}{name}": getattr(self, name).ravel() for name in self.ENDS}

    def transformed(self, function: Any) -> "Estimate":
        """Return the estimate on another scale. function: elementwise and increasing, such as `np.exp`.

        Example:
            >>> estimate(np.zeros((1, 2)), np.zeros((5, 1, 2)), users=9).transformed(np.exp).high
            array([1., 1.])
        """
        ends = {name: function(getattr(self, name)) for name in ("value", *self.ENDS)}
        return Estimate(**ends, seeds=self.seeds, users=self.users)


def estimate(values: Array, samples: Array, users: int) -> Estimate:
    """Return the mean of a curve over runs and its intervals.

    values: (seeds, ...), the curve of each run. samples: (samples, seeds, ...), the curves of bootstrap samples of the
    users; sample s holds the same users for all runs. users: their number. A point that is not finite in some run or
    sample has no interval (NaN).

    Source: see `models.results.significance.difference`.

    Example:
        Two runs that differ, without any error over users: the interval is that of the mean of two numbers.

        >>> found = estimate(np.array([[1.0], [3.0]]), np.tile([[[1.0], [3.0]]], (9, 1, 1)), users=5)
        >>> found.value, found.users_high - found.users_low, found.seeds
        (array([2.]), array([0.]), 2)
        >>> bool(found.low[0] < 1 and found.high[0] > 3)  # with two runs little is known
        True
    """
    seeds, shape = len(values), values.shape[1:]
    flat, drawn = values.reshape(seeds, -1), samples.reshape(len(samples), seeds, -1)
    usable = np.isfinite(flat).all(0) & np.isfinite(drawn).all((0, 1))
    with np.errstate(invalid="ignore"):
        mean = flat.mean(0)
        error = np.where(usable, drawn.mean(1).std(0), np.nan)
        spread = flat.std(0, ddof=1) / seeds**0.5 if seeds > 1 else np.full(flat.shape[1], np.nan)
    low, high = np.full((2, len(mean)), np.nan)
    for place in np.flatnonzero(usable):
        low[place], high[place] = difference((flat[:, place], drawn[:, :, place])).interval()
    of_users = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) * error
    of_seeds = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, max(seeds - 1, 1)) * spread
    ends = (mean, low, high, mean - of_users, mean + of_users, mean - of_seeds, mean + of_seeds)
    arrays = {name: end.reshape(shape) for name, end in zip(("value", *Estimate.ENDS), ends, strict=True)}
    return Estimate(**arrays, seeds=seeds, users=users)
