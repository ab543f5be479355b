"""Full-ranking evaluation: HR@k and NDCG@k of the one held-out item among all items, leave-one-out."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from models.datasets import Sequences
from models.recommender import Recommender

CUTOFFS = (5, 10, 20)
USERS_AT_ONCE = 256  # bounds the score matrix to this many rows of num_items + 1


def ranks(scores: Tensor, target: Tensor) -> Tensor:
    """Return how many items are ranked before the target, (B,), from scores (B, num_items + 1).

    Ties count against the target, so a model that scores all items alike ranks its targets last, not first. The
    padding item (column 0) takes part in the ranking, as in the published code.
    """
    target_score = scores.gather(1, target[:, None])
    return (scores >= target_score).sum(1) - 1


class RankingMetrics(Metric):
    """HR@k and NDCG@k over users, accumulated from ranks (0 is the first place).

    With one relevant item per user, HR@k is 1 for rank < k and NDCG@k is 1 / log2(rank + 2) there, else both are 0.
    """

    full_state_update = False
    hits: Tensor
    gains: Tensor
    users: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(len(CUTOFFS), dtype=torch.float64)
        self.add_state("hits", zeros, dist_reduce_fx="sum")
        self.add_state("gains", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, rank: Tensor) -> None:
        """Take in the ranks of some users, (B,)."""
        gain = 1 / (rank.double() + 2).log2()
        for index, k in enumerate(CUTOFFS):
            hit = rank < k
            self.hits[index] += hit.sum()
            self.gains[index] += gain[hit].sum()
        self.users += len(rank)

    def compute(self) -> dict[str, float]:
        """Return the means over users: {"HR@5": ..., "NDCG@5": ..., "HR@10": ..., ...}."""
        result = {}
        for index, k in enumerate(CUTOFFS):
            result[f"HR@{k}"] = float(self.hits[index] / self.users)
            result[f"NDCG@{k}"] = float(self.gains[index] / self.users)
        return result


@torch.inference_mode()
def evaluate(model: Recommender, sequences: Sequences, split: str) -> dict[str, float]:
    """Rank all items for every user and return HR@k and NDCG@k, k = 5, 10, 20.

    split: "test", "valid" or "train" (the last item of the training part). The scores of the items that a user has
    before the target are set to 0, not to minus infinity, as in the published code: they stay in the ranking.
    """
    was_training = model.training
    model.eval()
    metrics = RankingMetrics()
    for inputs, target, seen_rows, seen_items in _user_batches(model, sequences, split):
        scores = model(inputs)
        scores[seen_rows, seen_items] = 0
        metrics.update(ranks(scores, target).cpu())
    model.train(was_training)
    return metrics.compute()


def _user_batches(model: Recommender, sequences: Sequences, split: str) -> Iterator[tuple[Tensor, ...]]:
    """Yield inputs (B, N), targets (B,), and the row and the item of every seen interaction of these users."""
    device = model.items.weight.device
    windows = sequences.windows(split, model.config.max_len)
    items, offsets = sequences.history(split)
    for start in range(0, len(windows), USERS_AT_ONCE):
        stop = min(start + USERS_AT_ONCE, len(windows))
        counts = np.diff(offsets[start : stop + 1])
        arrays = (
            windows.inputs[start:stop],
            windows.targets[start:stop],
            np.repeat(np.arange(stop - start), counts),
            items[offsets[start] : offsets[stop]].astype(np.int64),
        )
        yield tuple(torch.from_numpy(array).to(device) for array in arrays)
