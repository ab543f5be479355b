"""The difference of two systems: tests over users, and intervals over users and seeds.

A test over users asks whether these runs differ on other users. It knows nothing of other seeds. The interval also
draws seeds, so it is the one to trust about systems; with one seed on a side it is about these runs only.

Contents: `permutation_test` and `wilcoxon_test` of users' differences, `holm`, which corrects the p-values of a family;
`means_of_samples` and `difference`, the two-way bootstrap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8
DRAWS = 10_000  # of signs
SAMPLES = 2_000  # of users
SEED = 0
EXACT = 13  # so many users that differ have at most 8,192 sign patterns, which are all taken
AT_ONCE = 500  # draws held in memory


def permutation_test(differences: Array, draws: int = DRAWS, seed: int = SEED) -> float:
    """Return the two-sided p-value of the mean difference of paired users, by random changes of sign.

    If the two systems are equal, the differences (users,) are as likely with the other sign. The p-value is the share
    of sign patterns whose sum is at least as far from 0 as the observed one. All patterns are taken if at most 13
    users differ. Otherwise `draws` are drawn, and the observed pattern counts as one of them, so that p is at least
    1 / (draws + 1).

    Source: Fisher, The Design of Experiments, 1935; for rankings Smucker, Allan and Carterette, CIKM 2007.

    >>> permutation_test(np.array([1.0, 2.0, 3.0, 0.0]))  # of 8 patterns, +++ and --- are as far from 0
    0.25
    """
    values = differences[differences != 0]  # the others add nothing under either sign
    if not len(values):
        return 1.0
    reached = abs(values.sum()) * (1 - 1e-12)  # patterns with the same sum differ by rounding
    if len(values) <= EXACT:
        patterns = (np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ values) >= reached))
    rng = np.random.default_rng(seed)
    as_far = 1
    for start in range(0, draws, AT_ONCE):
        signs = rng.integers(0, 2, (min(AT_ONCE, draws - start), len(values)), dtype=np.int8)
        as_far += int(np.sum(np.abs(2 * (signs @ values) - values.sum()) >= reached))
    return as_far / (draws + 1)


def wilcoxon_test(differences: Array) -> float:
    """Return the p-value of Wilcoxon's two-sided signed-rank test; users without a difference are ranked (Pratt).

    It tests whether the differences are symmetric around 0, not whether their mean is 0. Many small gains outweigh few
    large losses, so it can favour the system with the lower mean.

    Source: Wilcoxon, Biometrics Bulletin 1945; Pratt, JASA 1959.

    >>> round(wilcoxon_test(np.array([1.0, 2.0, 3.0, 4.0])), 3)
    0.125
    """
    return 1.0 if not differences.any() else float(scipy.stats.wilcoxon(differences, zero_method="pratt").pvalue)


TESTS: dict[str, Callable[[Array], float]] = {"permutation": permutation_test, "wilcoxon": wilcoxon_test}
WHAT_IS_TESTED = {
    "permutation": "a permutation test over users of the mean difference (signs changed, 10,000 draws)",
    "wilcoxon": "Wilcoxon's signed-rank test over users, which asks whether differences are symmetric around 0 and can "
    "favour the system with the lower mean",
}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's step-down method.

    The smallest of n p-values is multiplied by n, the next by n - 1, and so on. A corrected value is at least as large
    as the one before it, and at most 1.

    Source: Holm, Scandinavian Journal of Statistics 1979.

    >>> holm([0.03, 0.01, 0.02])  # 0.01 * 3; then 0.02 * 2; then 0.03 * 1, raised to the one before it
    [0.04, 0.03, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1)
    return [float(value) for value in corrected]


@dataclass(frozen=True)
class Difference:
    """A difference, or another statistic of systems, with its standard error from a two-way bootstrap.

    Attributes:
        estimate: The statistic.
        error: Its standard error over users and seeds; a system with a single seed adds its users alone.
        seeds: The smallest number of seeds of a system in it.
        seed_share: The share of seeds in the variance; the rest is of users.
    """

    estimate: float
    error: float
    seeds: int
    seed_share: float

    @property
    def knows_seeds(self) -> bool:
        """Whether every system has several seeds; a single run says nothing about other seeds."""
        return self.seeds > 1

    @property
    def freedom(self) -> float:
        """Degrees of freedom: (seeds - 1) / seed_share^2, since only the variance of seeds is known from few values.

        Source: Satterthwaite, Biometrics Bulletin 1946.
        """
        return (self.seeds - 1) / self.seed_share**2 if self.knows_seeds and self.seed_share else float("inf")

    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95% interval, by Student's t.

        >>> low, high = Difference(0.01, error=0.005, seeds=3, seed_share=0.5).interval()  # 8 degrees of freedom
        >>> round(low, 4), round(high, 4)
        (-0.0015, 0.0215)
        """
        half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * self.error
        return self.estimate - half, self.estimate + half

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the statistic being 0, below .05 where the interval lies on one side of 0.

        NaN for one seed: such an interval says nothing about other seeds.

        >>> round(Difference(0.01, error=0.005, seeds=3, seed_share=0.5).p_value, 3)
        0.081
        """
        if not self.knows_seeds:
            return float("nan")
        if self.error == 0:
            return float(self.estimate == 0)
        return float(2 * scipy.stats.t.sf(abs(self.estimate) / self.error, self.freedom))

    @property
    def detectable(self) -> float:
        """The smallest difference that so many users and seeds detect with a power of 80%, at a level of 5%.

        >>> round(Difference(0.01, error=0.005, seeds=1, seed_share=0.0).detectable, 4)  # (1.96 + 0.84) * 0.005
        0.014
        """
        quantiles = scipy.stats.t.ppf([(1 + CONFIDENCE) / 2, POWER], self.freedom)
        return float(quantiles.sum()) * self.error


def means_of_samples(values: Array, samples: int = SAMPLES, seed: int = SEED) -> Array:
    """Return the mean of each run over each bootstrap sample of the users, (samples, runs).

    values: (runs, users). A sample holds as many users as there are, drawn with replacement, the same for all runs.

    >>> means_of_samples(np.array([[1.0, 1.0, 1.0]]), samples=2).tolist()
    [[1.0], [1.0]]
    """
    rng = np.random.default_rng(seed)
    users = values.shape[1]
    means = []
    for start in range(0, samples, AT_ONCE):
        drawn = rng.integers(0, users, (min(AT_ONCE, samples - start), users))
        counts = np.stack([np.bincount(row, minlength=users) for row in drawn])
        means.append(counts @ values.T / users)
    return np.concatenate(means)


def difference(
    first: tuple[Array, Array],
    second: tuple[Array, Array] | None = None,
    statistic: Callable[[Any, Any], Any] = np.subtract,
    seed: int = SEED,
) -> Difference:
    """Return the difference of two systems with its standard error over users and seeds.

    Args:
        first: The measure of a system, (seeds,), and the measure in samples of users, (samples, seeds).
        second: The same of the other, with the same samples of users; None stands for 0.
        statistic: What is taken of the two means over seeds instead of their difference; elementwise.
        seed: Of the drawn seeds.

    In every bootstrap sample the users of all runs are drawn, and to that is added what a draw of seeds changes: for
    each system by itself, n - 1 of its n seeds with replacement, which makes the variance between seeds unbiased (Rao
    and Wu, JASA 1988). That a user differs between seeds is in both draws, so the error is rather too large than too
    small; crossed draws would count it three times (Owen, Annals of Applied Statistics 2007).

    Raises ValueError if the numbers of samples differ.

    >>> runs = np.array([[0.0, 1.0], [1.0, 1.0]])  # two seeds, two users
    >>> found = difference((runs.mean(1), means_of_samples(runs)))  # their mean, against 0
    >>> found.estimate, found.seeds
    (0.75, 2)
    """
    pair = [first] if second is None else [first, second]
    count = max(SAMPLES, len(first[1]))
    of_users = [
        np.resize(samples.mean(axis=1), count) if len(samples) < count else samples.mean(axis=1) for _, samples in pair
    ]
    rng = np.random.default_rng(seed)
    of_both = [means + _drawn_seeds(measure, count, rng) for means, (measure, _) in zip(of_users, pair, strict=True)]

    def value(means: list[Any]) -> Any:
        return statistic(*means, *([] if second is not None else [0.0]))

    variance = float(value(of_both).var())
    seeds = min(len(measure) for measure, _ in pair)
    share = 1 - min(float(value(of_users).var()) / variance, 1) if variance else 0.0
    return Difference(float(value([measure.mean() for measure, _ in pair])), variance**0.5, seeds, share)


def _drawn_seeds(measure: Array, count: int, rng: np.random.Generator) -> Array:
    """Return (count,) how far the mean over n - 1 drawn seeds is from the mean of all n; 0 for a single seed."""
    seeds = len(measure)
    if seeds == 1:
        return np.zeros(count)
    drawn: Array = measure[rng.integers(0, seeds, (count, seeds - 1))].mean(axis=1) - measure.mean()
    return drawn
