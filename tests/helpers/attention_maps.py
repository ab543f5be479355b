"""Attention of random scores, and its statistics from their definitions."""

import math

import numpy as np
import torch


def attention(*shape: int, causal: bool = False, seed: int = 0) -> torch.Tensor:
    """Softmax of random scores, (..., N, N)."""
    scores = 2 * torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed % 2**31)).double()
    return (scores.masked_fill(torch.ones(shape[-1], shape[-1]).triu(1) > 0, -torch.inf) if causal else scores).softmax(
        -1
    )


def naive(a: np.ndarray, causal: bool, residual: float = 0.5) -> dict[str, float]:
    """Each measure of one map from its definition."""
    n = len(a)
    rows = [-sum(p * math.log(p) for p in row if p > 0) for row in a]
    most = [math.log(i + 1) if causal else math.log(n) for i in range(n)]
    p = np.eye(n) - np.ones((n, n)) / n
    mixed = residual * np.eye(n) + (1 - residual) * a
    return {
        "entropy": np.mean(rows),
        "relative_entropy": np.mean([row / m for row, m in zip(rows, most, strict=True) if m > 0]),
        "distance": np.mean([sum(a[i, j] * abs(i - j) for j in range(n)) for i in range(n)]),
        "lambda2": np.sort(np.abs(np.linalg.eigvals(a)))[-2],
        "hfc_factor": np.linalg.svd(p @ a @ p, compute_uv=False)[0],
        "residual_hfc_factor": np.linalg.svd(p @ mixed @ p, compute_uv=False)[0],
    }
