"""Theorem 1 in numbers: A^t x loses its high frequencies; at what rate, and when it does not.

A row-stochastic A with one absorbing class has A^t -> 1 pi^T, where pi is the left Perron vector (pi^T A = pi^T, sum
1). So A^t x -> (pi^T x) 1, which is DC, and ||HFC[A^t x]|| / ||LFC[A^t x]|| falls like |lambda_2|^t. This module
follows the ratio over hundreds of steps in float64. Computing A^t x itself would lose it to rounding, so the module
iterates y_t = A^t x - (pi^T x) 1 and normalises it at every step; HFC[A^t x] = HFC[y_t].

The module also measures what the theorem leaves open: the rate; the exceptional x with pi^T x = 0, for which the ratio
converges to the ratio of the second eigenvector and not to 0; and causal attention, which has its eigenvalues on the
diagonal and collapses onto the first (real) position. Residual connections, value and output projections, LayerNorm and
the feed-forward network are outside the theorem. `layer_ratios` measures blocks with all of these.

Half precision is widened to float64, like all matrices, and each row is divided by its sum.

Contents: `theorem1`, which follows attention matrices, and its result `Theorem1` with one `Case` for each;
`random_attentions` and `trained_attentions`, matrices to follow; `decay` for a single matrix. The module `spectrum` has
what the theorem predicts for a matrix.

Source: Shin et al., AAAI 2024, Definition 2 and Theorem 1. Positions count from 0. LFC has c modes, by default c = 1
(DC). The limit and the rate are the same for every c.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectral.arrays import as_float64, check_finite
from spectral.capture import Capture, capture
from spectral.fourier import check_c, fourier_basis, split
from spectral.result import Nulls, Result
from spectral.sums import sum_of_hidden
from spectral.theorem1.spectrum import (
    ROUNDING,
    Spectrum,
    analyse,
    is_lower_triangular,
    left_perron_vector,
    row_stochastic,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

DEFAULT_C = 1
MIN_STEPS, MAX_STEPS = 400, 10_000
RANDOM_LENGTHS = (10, 50, 200)  # N of the random bidirectional attention matrices
RANDOM_SIZE = 64  # d of the random queries and keys
TABLE_STEPS = 200  # rows per case in the CSV; the fit may have gone on for longer
EQUAL = 1e-9  # weights whose ratio differs from 1 by less are equal; which one is larger depends on the processor
EXCEPTIONAL = ", exceptional x"  # the end of the names of cases with exceptional x

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Attention:
    """An attention matrix to check the theorem on.

    Attributes:
        name: Its name in tables and figures.
        matrix: (N, N), rows are queries and sum to 1.
        causal: Whether real positions see only earlier ones. None means that lower triangular matrices are causal.
    """

    name: str
    matrix: Any
    causal: bool | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One matrix, one start vector, and the ratio HFC / LFC over the steps.

    Attributes:
        name: The name of the matrix, with ", exceptional x" for an exceptional start vector.
        n: N.
        causal: Whether real positions see only earlier ones.
        exceptional: Whether x was made orthogonal to pi, the left Perron vector: pi^T x = 0. Its mean need not be 0.
        lambda2: The second eigenvalue of the matrix, complex.
        predicted_slope: The predicted change of log(HFC / LFC) per step: log|lambda_2|, or 0 for exceptional x.
        fitted_slope: The measured change per step, over the second half of the steps.
        limit: The limit of the ratio: 0, or for exceptional x the ratio of the second eigenvector.
        collapses_onto: The position of the largest weight in pi, from 0; the first of those that are equal to rounding.
        collapse_weight: That weight: 1 if everything collapses onto one position, about 1 / N if all take part.
        log_ratio: (steps + 1,) natural log of the ratio at t = 0, 1, ...
    """

    name: str
    n: int
    causal: bool
    exceptional: bool
    lambda2: complex
    predicted_slope: float
    fitted_slope: float
    limit: float
    collapses_onto: int
    collapse_weight: float
    log_ratio: Array

    @property
    def predicted(self) -> Array:
        """(steps + 1,) the line with the predicted slope, at the mean height of the second half of the steps."""
        t = np.arange(len(self.log_ratio))
        if not math.isfinite(self.predicted_slope):
            return np.full(len(t), math.nan)
        tail = slice(len(t) // 2, None)
        return self.predicted_slope * t + (self.log_ratio - self.predicted_slope * t)[tail].mean()


@dataclass(frozen=True, eq=False)
class Theorem1(Result):
    """The checked cases.

    Attributes:
        cases: Two per matrix: a random x, then an exceptional one.
        c: Number of modes of LFC.

    Example:
        >>> checked = theorem1([Attention("mixing", [[0.75, 0.25], [0.25, 0.75]])])
        >>> print(checked.table()[["name", "lambda2", "fitted_slope"]].round(3).to_string(index=False))
                         name  lambda2  fitted_slope
                       mixing      0.5        -0.693
        mixing, exceptional x      0.5         0.000
    """

    cases: tuple[Case, ...]
    c: int

    def table(self) -> "DataFrame":
        """Return one row per case."""
        import pandas as pd

        columns = ["exceptional", "collapses_onto", "collapse_weight"]
        rows = [
            record
            | {"lambda2_angle": abs(float(np.angle(case.lambda2))), "c": self.c}
            | {name: getattr(case, name) for name in columns}
            for record, case in zip(self.summary(), self.cases, strict=True)
        ]
        return pd.DataFrame(rows)

    def table_of_files(self, nulls: Nulls | None = None) -> "DataFrame":
        """Return the table that `save` writes, of what is drawn: the decay over the first 200 steps."""
        return self.decay_table(TABLE_STEPS)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw HFC / LFC against t."""
        from spectral import plot

        return plot.theorem1(self, label=self.label or None, ax=ax)

    def decay_table(self, steps: int | None = None) -> "DataFrame":
        """Return one row per case and step, up to `steps`: log10 of the ratio and of the predicted decay."""
        import pandas as pd

        end = None if steps is None else steps + 1
        tables = [
            pd.DataFrame(
                {
                    "name": case.name,
                    "t": np.arange(len(case.log_ratio)),
                    "log10_ratio": case.log_ratio / math.log(10),
                    "predicted_log10_ratio": case.predicted / math.log(10),
                }
            )[:end]
            for case in self.cases
        ]
        return pd.concat(tables, ignore_index=True)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per case. `lambda2` is the modulus, and slopes are natural logs per step."""
        return [
            {
                "name": case.name,
                "n": case.n,
                "causal": case.causal,
                "lambda2": abs(case.lambda2),
                "predicted_slope": case.predicted_slope,
                "fitted_slope": case.fitted_slope,
                "limit": case.limit,
            }
            for case in self.cases
        ]


def theorem1(attentions: Iterable[Attention], c: int = DEFAULT_C, seed: int = 0) -> Theorem1:
    """Check the theorem on each attention matrix, with a random x and with an exceptional one.

    c: number of modes of LFC. seed: of the random x. Raises ValueError for a matrix that is not row-stochastic, or a c
    that is not odd or not below N.

    Source: Shin et al., AAAI 2024, Theorem 1.

    Example:
        This matrix has the eigenvalues 1 and 3/4 - 1/4 = 1/2, so the ratio halves at every step. The causal one has
        them on its diagonal, and collapses onto the first position. log(1/2) is -0.693.

        >>> mixing = Attention("mixing", [[0.75, 0.25], [0.25, 0.75]])
        >>> causal = Attention("causal", [[1.0, 0.0], [0.5, 0.5]])
        >>> for case in theorem1([mixing, causal]).cases:
        ...     if not case.exceptional:
        ...         print(case.name, round(case.fitted_slope, 3), case.collapses_onto, round(case.collapse_weight, 3))
        mixing -0.693 0 0.5
        causal -0.693 0 1.0
    """
    cases = []
    for attention in attentions:
        matrix = row_stochastic(attention.matrix)
        causal = is_lower_triangular(matrix) if attention.causal is None else attention.causal
        spectrum = analyse(matrix)
        x = np.random.default_rng(seed).standard_normal(len(matrix))
        for start in (x, exceptional(x, spectrum.pi)):
            cases.append(_case(attention.name, matrix, causal, spectrum, start, start is not x, c))
    return Theorem1(tuple(cases), c)


def random_attentions(
    lengths: Iterable[int] = RANDOM_LENGTHS, causal_length: int = 50, seed: int = 0
) -> list[Attention]:
    """Return random attention softmax(Q K^T / sqrt(d)) with standard normal Q and K and d = 64.

    There is one bidirectional matrix per length N, and one causal matrix.

    Example:
        >>> [attention.name for attention in random_attentions(lengths=[10], causal_length=20)]
        ['random, N = 10', 'random, causal, N = 20']
    """
    generator = np.random.default_rng(seed)

    def draw(length: int, causal: bool) -> Array:
        query, key = generator.standard_normal((2, length, RANDOM_SIZE))
        scores = query @ key.T / math.sqrt(RANDOM_SIZE)
        if causal:
            scores[np.triu_indices(length, 1)] = -np.inf
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)

    cases = [Attention(f"random, N = {length}", draw(length, False)) for length in lengths]
    return [*cases, Attention(f"random, causal, N = {causal_length}", draw(causal_length, True))]


def trained_attentions(model: Any, window: torch.Tensor) -> list[Attention]:
    """Return the attention of every layer and head of a model on one window (N,), bidirectional and causal.

    The matrices have the real positions only. For a window with padding, the whole causal matrices with the rows of
    padding are returned as well.

    Example:
        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=1, num_heads=1))
        >>> model.initialise(seed=0)
        >>> [(a.name, tuple(a.matrix.shape)) for a in trained_attentions(model, torch.tensor([0, 6, 7, 8]))[:2]]
        [('layer 1, head 1', (3, 3)), ('layer 1, head 1, causal', (3, 3))]
    """
    real = int((window > 0).sum())
    bidirectional, causal = (
        next(capture(model, window[None], hidden=False, causal=causal)) for causal in (False, True)
    )
    attentions = _heads(bidirectional.last(real), "", False) + _heads(causal.last(real), ", causal", True)
    if real < len(window):
        attentions += _heads(causal, f", causal, {len(window) - real} of padding", True)
    return attentions


def layer_ratios(captures: Iterable[Capture], c: int = DEFAULT_C, length: int | None = None) -> dict[int, float]:
    """Return ||HFC|| / ||LFC|| of the hidden states after each layer, with the energies summed over users.

    The ratio is over all positions, or the last `length`. It shows what whole blocks do: residuals, projections,
    LayerNorm and feed-forward network are included, so the theorem does not apply. Raises ConfigError if there is
    padding among these positions, and ValueError if there are no hidden states.

    Example:
        The signal 3, 1 has an LFC of 2, 2 and an HFC of 1, -1:

        >>> captured = Capture((torch.tensor([[[3.0], [1.0]]]),), (), torch.ones(1, 2, dtype=torch.bool))
        >>> {layer: round(ratio, 3) for layer, ratio in layer_ratios([captured]).items()}
        {0: 0.5}
    """

    def energies_of(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        low, high = split(as_float64(hidden), c)
        return torch.stack([high.square().sum(), low.square().sum()])

    energies = sum_of_hidden((captured.last(length).check_real() for captured in captures), energies_of)
    return {layer: float((high / low).sqrt()) for layer, (high, low) in energies.items()}


def decay(attention: Any, x: Any, steps: int = MIN_STEPS, c: int = DEFAULT_C) -> Array:
    """Return log(||HFC[A^t x]|| / ||LFC[A^t x]||) for t = 0..steps, (steps + 1,) float64.

    attention: (N, N), row-stochastic. x: (N,). c: number of modes of LFC. The result is minus infinity from the step at
    which A^t x is DC up to rounding. If pi^T x is 0 up to rounding, it is taken to be exactly 0.

    Raises ValueError for a matrix that is not row-stochastic, another shape of x, or a c that is not odd or not below
    N.

    Source: Shin et al., AAAI 2024, Definition 2.

    Example:
        The eigenvalues are 1 and 1/2, so the ratio halves at every step:

        >>> np.exp(decay([[0.75, 0.25], [0.25, 0.75]], [1.0, 0.0], steps=3)).round(3)
        array([1.   , 0.5  , 0.25 , 0.125])
    """
    matrix = row_stochastic(attention)
    return _decay(matrix, left_perron_vector(matrix), _vector(x, len(matrix)), steps, _check_c(c, len(matrix)))


def exceptional(x: Array, pi: Array) -> Array:
    """Return x (N,) without its component along pi (N,), so that pi^T x = 0. The theorem does not hold for such x.

    pi: the left Perron vector. An x whose mean is 0 is another one, unless pi is uniform; for it the theorem holds.

    Example:
        With pi uniform, the mean is removed:

        >>> exceptional(np.array([1.0, 2.0, 6.0]), np.full(3, 1 / 3)).round(3)
        array([-2., -1.,  3.])
    """
    return x - pi * (pi @ x / (pi @ pi))


def _case(name: str, matrix: Array, causal: bool, spectrum: Spectrum, x: Array, is_exceptional: bool, c: int) -> Case:
    n = len(matrix)
    log_ratio = _decay(matrix, spectrum.pi, x, _enough_steps(spectrum), _check_c(c, n))
    slope = 0.0 if is_exceptional else spectrum.slope
    return Case(
        name=name + EXCEPTIONAL if is_exceptional else name,
        n=n,
        causal=causal,
        exceptional=is_exceptional,
        lambda2=spectrum.lambda2,
        predicted_slope=slope,
        fitted_slope=fit_slope(log_ratio, spectrum.angle),
        limit=limit_of_exceptional(spectrum, c) if is_exceptional else 0.0,
        collapses_onto=int(np.argmax(spectrum.pi >= (1 - EQUAL) * spectrum.pi.max())),
        collapse_weight=float(spectrum.pi.max()),
        log_ratio=log_ratio,
    )


def fit_slope(log_ratio: Array, angle: float = 0.0) -> float:
    """Return the mean change of log_ratio (steps + 1,) per step over the second half of the steps.

    It is minus infinity if the ratio became exactly 0. angle: argument of lambda_2. If lambda_2 is complex, the ratio
    oscillates with period pi / angle, which need not be a whole number of steps. Differences over (nearly) whole
    periods are averaged, so that the oscillation cancels.

    Example:
        >>> round(fit_slope(np.linspace(0, -8, 21)), 3)  # 20 steps of -0.4
        -0.4
    """
    half = log_ratio[len(log_ratio) // 2 :]
    if np.isneginf(half).any():
        return -math.inf
    if not np.isfinite(half).all():
        return math.nan
    spans = np.arange(max(1, len(half) // 4), max(2, len(half) // 2 + 1))
    periods = spans * angle / np.pi
    # Prefer whole periods, and among those the longest span.
    span = int(spans[np.lexsort((-spans, np.abs(periods - periods.round()).round(6)))[0]])
    return float((half[span:] - half[:-span]).mean() / span)


def _enough_steps(spectrum: Spectrum) -> int:
    """Return so many steps that in half of them mode 2 falls to 1e-6 of DC, and mode 3 to 1e-6 of mode 2."""
    second, third = abs(spectrum.lambda2), spectrum.lambda3
    slowest = max(second, third / second if second else 0.0)
    if slowest >= 1:
        return MAX_STEPS
    transient = math.log(1e-6) / math.log(slowest) if slowest else 0.0
    return int(min(max(2 * transient, MIN_STEPS), MAX_STEPS))


def _decay(matrix: Array, pi: Array, x: Array, steps: int, c: int) -> Array:
    """Iterate y_t = A^t x - (pi^T x) 1 = exp(scale_t) * unit_t; see the module."""
    length = len(x)
    mean = float(pi @ x)
    if abs(mean) <= 4 * length * np.finfo(float).eps * float(np.abs(x).max()):
        mean = 0.0  # pi is not known more exactly than this
    units, scales = np.zeros((steps + 1, length)), np.full(steps + 1, -math.inf)
    y, scale = x - mean, 0.0
    for t in range(steps + 1):
        size = math.sqrt(y @ y)
        if size <= ROUNDING * (1.0 if t else float(np.abs(x).max())):
            break  # nothing is left but rounding
        y = y / size
        scale += math.log(size)
        units[t], scales[t] = y, scale
        y = matrix @ y
        y = y - pi @ y  # rounding adds a trace of DC, which would not decay
    return _combine(units, scales, mean, c)


def _combine(units: Array, scales: Array, mean: float, c: int) -> Array:
    """Return log(||HFC|| / ||LFC||) of mean * 1 + exp(scale_t) * unit_t, where exp(scale_t) may be 0."""
    basis = fourier_basis(units.shape[1], c).numpy()
    modes = units @ basis  # (steps + 1, c): LFC of the unit vectors
    with np.errstate(divide="ignore", invalid="ignore"):
        log_high = scales + np.log(np.linalg.norm(units - modes @ basis.T, axis=1))
        if mean == 0:
            return log_high - scales - np.log(np.linalg.norm(modes, axis=1))
        modes = modes * np.exp(scales)[:, None]
        modes[:, 0] += mean * math.sqrt(units.shape[1])
        return log_high - np.log(np.linalg.norm(modes, axis=1))


def limit_of_exceptional(spectrum: Spectrum, c: int) -> float:
    """Return ||HFC[v]|| / ||LFC[v]|| of the second eigenvector, the limit of the ratio for exceptional x.

    If lambda_2 is complex the ratio never stops oscillating, and its geometric mean over the phase is returned. NaN if
    lambda_2 = 0.

    Example:
        The second eigenvector of this causal matrix is (0, 1), half of it HFC:

        >>> round(limit_of_exceptional(analyse(np.array([[1.0, 0.0], [0.5, 0.5]])), c=1), 3)
        1.0
    """
    if spectrum.lambda2 == 0:
        return math.nan
    phases = np.arange(4096) * (np.pi / 4096) if spectrum.lambda2.imag else np.zeros(1)
    return math.exp(_log_ratios(np.real(np.exp(1j * phases)[:, None] * spectrum.vector), c).mean())


def _log_ratios(signals: Array, c: int) -> Array:
    """Return log(||HFC|| / ||LFC||) of each row of (T, N)."""
    return _combine(signals, np.zeros(len(signals)), 0.0, c)


def _heads(captured: Capture, kind: str, causal: bool) -> list[Attention]:
    return [
        Attention(f"layer {layer}, head {head}{kind}", matrix, causal)
        for layer, maps in captured.attention_layers.items()
        for head, matrix in enumerate(maps[0], start=1)
    ]


def _vector(x: Any, length: int) -> Array:
    vector = check_finite(as_float64(x), "x").numpy()
    if vector.shape != (length,):
        raise ValueError(f"x must be ({length},) like a row of attention, got shape {vector.shape}")
    return vector


def _check_c(c: int, length: int) -> int:
    if check_c(c, length) == length:
        raise ValueError(f"c must be below N = {length}: with all modes low there is no HFC")
    return c
