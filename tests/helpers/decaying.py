"""Random attention to apply again and again, and a signal to begin with."""

import numpy as np


def random_attention(length: int, seed: int = 0, causal: bool = False, sharpness: float = 1.0) -> np.ndarray:
    scores = sharpness * np.random.default_rng(seed).standard_normal((length, length))
    weights = np.exp(scores)
    weights = np.tril(weights) if causal else weights
    return weights / weights.sum(1, keepdims=True)


def start(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + 1).standard_normal(length)
