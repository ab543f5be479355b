"""Spectral summaries whose numbers are given, not measured."""

import numpy as np

from spectral.summary import SAMPLES, SpectralSummary

N, USERS, D = 12, 80, 6


def summary(
    model: str,
    seed: int,
    *,
    damping: tuple[float, ...] = (10.0, 12.0),
    rank: float = 4.0,
    between: tuple[float, ...] = (0.1, 0.2, 0.4),
    high_share: float = 0.3,
    beta: float | None = None,
    noise: float = 0.02,
) -> SpectralSummary:
    """A run with two layers; its numbers are off by some noise, drawn by its seed, and so are its samples of users.

    damping: of attention at the highest frequency, in dB, by layer. rank: of the outputs. between: similarity of users
    after each layer. high_share: of the energy of the hidden states.
    """
    rng = np.random.default_rng([seed, sum(map(ord, model))])

    def off(shape: tuple[int, ...] = ()) -> np.ndarray:
        return rng.normal(1, noise, shape)

    bins = N // 2 + 1
    slope = np.arange(bins) / (bins - 1)
    power = np.stack([10 ** (-db * off() * slope / 10) for db in damping])  # (L, F)
    energy = np.tile(np.r_[1 - high_share, np.full(bins - 1, high_share / (bins - 1))], (3, 1)) * off((3, 1))
    energy[:, 1:] *= off()
    values = np.full((3, D), 1e-9)
    values[:, 0] = 1
    values[-1] = np.exp(-np.arange(D) / (rank * off()))
    cosine = np.array(between) * off()
    total = np.zeros((3, D))
    total[:, 0] = np.sqrt(cosine * USERS * (USERS - 1) + USERS)
    samples = (SAMPLES, 1)
    effective = np.array([np.exp(-(p := v / v.sum()) @ np.log(p)) for v in values])
    stable = (values**2).sum(1) / values[:, 0] ** 2
    return SpectralSummary(
        about={"model": model, "dataset": "lastfm", "fingerprint": "f", "seed": seed},
        positions=N,
        is_full=True,
        window_users=USERS // 2,
        users=USERS,
        sequences=USERS,
        power=power[:, None] * (USERS // 2),
        self_power=power[:, None] ** 1.5 * (USERS // 2),
        hidden_power=energy * (USERS // 2),
        singular_values=values,
        directions=total,
        within=cosine * USERS,
        power_samples=power ** off((SAMPLES, 1, 1)),
        self_power_samples=power ** (1.5 * off((SAMPLES, 1, 1))),
        hidden_power_samples=energy * off((SAMPLES, 1, bins)),
        output_singular_values_samples=values[-1] * off(samples),
        effective_rank_samples=effective * off(samples),
        stable_rank_samples=stable * off(samples),
        between_samples=cosine * off(samples),
        within_samples=cosine * off(samples),
        beta=np.zeros((0, D)) if beta is None else np.full((2, D), beta) * off((2, D)),
    )
