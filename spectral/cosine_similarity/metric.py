"""Cosine similarities as accumulators over batches."""

import torch
from torch import Tensor

from spectral.accumulator import Accumulator
from spectral.cosine_similarity import (
    Convention,
    Directions,
    SequenceSimilarities,
    check_convention,
    directions,
    sequence_similarities,
)


class CosineSimilarityMetric(Accumulator):
    """Accumulates the sum of directions; `compute` gives what `cosine_similarity` gives of all rows.

    The states are D + 1 numbers, whatever the number of users; they add up over processes.

    Args:
        size: D, the columns of every update.
        convention: "pairs" or "published", see `cosine_similarity`.

    Raises:
        ConfigError: For an unknown convention.
    """

    total: Tensor
    users: Tensor

    def __init__(self, size: int, convention: Convention = "pairs") -> None:
        super().__init__()
        check_convention(convention)
        self.convention: Convention = convention
        self.add_state("total", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        """Take in rows (n, D); raises ValueError for another shape or a row of zeros."""
        sums = Directions(self.total.cpu(), int(self.users)) + directions(x)
        self.total = sums.total.to(self.total.device)
        self.users = torch.tensor(sums.users, device=self.users.device)

    def compute(self) -> float:
        """Return the similarity of all rows so far; raises ValueError if there were fewer than two."""
        return Directions(self.total.cpu(), int(self.users)).similarity(self.convention)


class WithinSequenceSimilarityMetric(Accumulator):
    """Accumulates what `within_sequence_similarity` gives of all sequences, in two numbers."""

    total: Tensor
    sequences: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sequences", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, hidden: Tensor, mask: Tensor | None = None) -> None:
        """Take in hidden states (B, N, D) and which positions are real, (B, N)."""
        batch = sequence_similarities(hidden, mask)
        self.total = self.total + batch.total
        self.sequences = self.sequences + batch.sequences

    def compute(self) -> float:
        """Return the mean over sequences so far; NaN if none had two real positions."""
        return SequenceSimilarities(float(self.total), int(self.sequences)).mean
