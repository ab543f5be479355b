"""Theorem 1 in numbers: A^t x loses its high frequencies, at what rate, and when it does not.

A row-stochastic A with one absorbing class has A^t -> 1 pi^T, where pi is the left Perron vector (pi^T A =
pi^T, sum 1). So A^t x -> (pi^T x) 1, which is DC, and ||HFC[A^t x]|| / ||LFC[A^t x]|| falls like
|lambda_2|^t. Here that is followed over hundreds of steps in float64, which A^t itself does not allow: y_t =
A^t x - (pi^T x) 1 is iterated instead, with its norm taken out at every step, since HFC[A^t x] = HFC[y_t].

What the theorem leaves open is measured too: the rate; the exceptional x with pi^T x = 0, whose ratio tends
to that of the second eigenvector and not to 0; and causal attention, whose eigenvalues are its diagonal and
which collapses onto the first (real) position. Residual connections, the value and output projections,
LayerNorm and the feed-forward network are outside the theorem; `layer_ratios` measures the blocks with all of
these.

Here live `theorem1`, which follows attention matrices of any kind, its result `Theorem1` of one `Case` each, and the
matrices to follow, `random_attentions` and `trained_attentions`; `decay` follows a single one. Next door `spectrum`,
what the theorem predicts of a matrix.

Source: Shin et al., AAAI 2024, Definition 2 and Theorem 1. Positions count from 0; LFC has c modes, c = 1
(DC) here unless said otherwise: the limit and the rate are the same for every c.
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
    from pandas import DataFrame

DEFAULT_C = 1
MIN_STEPS, MAX_STEPS = 400, 10_000
RANDOM_LENGTHS = (10, 50, 200)  # of the random bidirectional attention
RANDOM_SIZE = 64  # d of the random queries and keys
EXCEPTIONAL = ", exceptional x"  # ends the names of such cases

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Attention:
    """An attention matrix to check the theorem on.

    Attributes:
        name: What tables and figures call it.
        matrix: (N, N), rows are queries and sum to 1.
        causal: Whether real positions see only earlier ones; lower triangular matrices are causal if None.
    """

    name: str
    matrix: Any
    causal: bool | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One matrix, one start vector, and what became of it.

    Attributes:
        name: Of the matrix; exceptional start vectors are named so.
        n: N.
        causal: Whether real positions see only earlier ones.
        exceptional: Whether x was made orthogonal to pi.
        lambda2: Of the matrix, complex.
        predicted_slope: Of log(HFC / LFC) per step: log|lambda_2|, or 0 for exceptional x.
        fitted_slope: Measured over the second half of the steps.
        limit: What the ratio tends to: 0, or for exceptional x the ratio of the second eigenvector.
        collapses_onto: The position of the largest weight in pi, from 0.
        collapse_weight: That weight: 1 if everything ends at one position, about 1 / N if all take part.
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
        """(steps + 1,) the line of the predicted slope, at the height of the second half of the steps."""
        t = np.arange(len(self.log_ratio))
        if not math.isfinite(self.predicted_slope):
            return np.full(len(t), math.nan)
        tail = slice(len(t) // 2, None)
        return self.predicted_slope * t + (self.log_ratio - self.predicted_slope * t)[tail].mean()


@dataclass(frozen=True, eq=False)
class Theorem1:
    """The cases that were checked, with LFC of c modes."""

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

    def decay_table(self, steps: int | None = None) -> "DataFrame":
        """Return one row per case and step, up to `steps`: log10 of the ratio, and of the predicted decay."""
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
        """Return one record per case; lambda2 is the modulus."""
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

    Raises ValueError for a matrix that is not row-stochastic, or a c that is not odd or not below N.
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
    """Return softmax(Q K^T / sqrt(d)), Q and K normal, d = 64: bidirectional of these lengths, one causal."""
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

    Real positions only. A window with padding also gives the whole causal matrices, padding rows included.
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
    """Return ||HFC|| / ||LFC|| of the hidden states after each layer, pooled over users.

    What whole blocks do. Over all positions, or the last `length`. Residuals, projections, LayerNorm and
    feed-forward network are included, so the theorem does not apply to it. Raises ValueError if there are no
    hidden states.
    """

    def energies_of(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        low, high = split(as_float64(hidden), c)
        return torch.stack([high.square().sum(), low.square().sum()])

    energies = sum_of_hidden((captured.last(length) for captured in captures), energies_of)
    return {layer: float((high / low).sqrt()) for layer, (high, low) in energies.items()}


def decay(attention: Any, x: Any, steps: int = MIN_STEPS, c: int = DEFAULT_C) -> Array:
    """Return log(||HFC[A^t x]|| / ||LFC[A^t x]||) for t = 0..steps, (steps + 1,) float64.

    attention: (N, N), row-stochastic; x: (N,). Minus infinity from where A^t x is DC up to rounding. An x
    with pi^T x = 0 up to rounding is followed as one with pi^T x = 0.

    Raises ValueError for a matrix that is not row-stochastic, another shape of x, or c not odd or not below
    N.
    """
    matrix = row_stochastic(attention)
    return _decay(matrix, left_perron_vector(matrix), _vector(x, len(matrix)), steps, _check_c(c, len(matrix)))


def exceptional(x: Array, pi: Array) -> Array:
    """Return x without its component along pi, so that pi^T x = 0: the theorem does not hold for it."""
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
        collapses_onto=int(np.argmax(spectrum.pi)),
        collapse_weight=float(spectrum.pi.max()),
        log_ratio=log_ratio,
    )


def fit_slope(log_ratio: Array, angle: float = 0.0) -> float:
    """Return the mean change per step over the second half; minus infinity where the ratio became exactly 0.

    angle: argument of lambda_2. If it is complex the ratio oscillates with period pi / angle, which need not
    be a whole number of steps: differences over (nearly) whole periods are averaged, so that the oscillation
    cancels.
    """
    half = log_ratio[len(log_ratio) // 2 :]
    if np.isneginf(half).any():
        return -math.inf
    if not np.isfinite(half).all():
        return math.nan
    spans = np.arange(max(1, len(half) // 4), max(2, len(half) // 2 + 1))
    periods = spans * angle / np.pi
    # Whole periods first, among them the longest span.
    span = int(spans[np.lexsort((-spans, np.abs(periods - periods.round()).round(6)))[0]])
    return float((half[span:] - half[:-span]).mean() / span)


def _enough_steps(spectrum: Spectrum) -> int:
    """Steps of which half let the second mode sink to 1e-6 of DC, and the third to 1e-6 of the second."""
    second, third = abs(spectrum.lambda2), spectrum.lambda3
    slowest = max(second, third / second if second else 0.0)
    if slowest >= 1:
        return MAX_STEPS
    transient = math.log(1e-6) / math.log(slowest) if slowest else 0.0
    return int(min(max(2 * transient, MIN_STEPS), MAX_STEPS))


def _decay(matrix: Array, pi: Array, x: Array, steps: int, c: int) -> Array:
    """Power iteration on y_t = A^t x - (pi^T x) 1 = exp(scale_t) * unit_t; see the module."""
    length = len(x)
    mean = float(pi @ x)
    if abs(mean) <= 4 * length * np.finfo(float).eps * float(np.abs(x).max()):
        mean = 0.0  # pi is known no better
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
        y = y - pi @ y  # rounding puts back a trace of DC, which would not decay
    return _combine(units, scales, mean, c)


def _combine(units: Array, scales: Array, mean: float, c: int) -> Array:
    """log(||HFC|| / ||LFC||) of mean * 1 + exp(scale_t) * unit_t, where exp(scale_t) may be 0."""
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

    With a complex lambda_2 the ratio goes on oscillating: its geometric mean over the phase. NaN if lambda_2 = 0.
    """
    if spectrum.lambda2 == 0:
        return math.nan
    phases = np.arange(4096) * (np.pi / 4096) if spectrum.lambda2.imag else np.zeros(1)
    return math.exp(_log_ratios(np.real(np.exp(1j * phases)[:, None] * spectrum.vector), c).mean())


def _log_ratios(signals: Array, c: int) -> Array:
    """log(||HFC|| / ||LFC||) of each row of (T, N)."""
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
