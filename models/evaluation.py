"""Leave-one-out evaluation: the rank of every user's one held-out item, the target, among the other items."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from models.datasets import Sequences
from models.datasets.sampling import UnseenItems
from models.errors import ConfigError
from models.precision import widened
from models.recommender import Recommender

CUTOFFS = (5, 10, 20)
USERS_AT_ONCE = 256
USERS_ON_GPU = 4096  # to hand a GPU the work of a few users takes longer than to do it
ITEMS_AT_ONCE = 8192  # with these a block of scores is bounded to 8 MB, on a GPU to 128 MB


@dataclass(frozen=True)
class Protocol:
    """Which items a target is ranked among; the defaults are the published ones.

    Attributes:
        mask_seen: What happens to the score of an item that the user's history already contains. "0" sets the score
            to 0, so the item stays in the ranking, as published. "inf" sets it to minus infinity, which removes the
            item from the ranking, and the padding item too.
        negatives: Rank the target among this many randomly drawn items that the user never interacted with. None
            ranks it among all items.
        seed: Seed of the drawn items. It does not depend on the model, so models are compared on the same draws.

    Raises:
        ConfigError: If a field is outside its range.
    """

    mask_seen: str = "0"
    negatives: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mask_seen not in ("0", "inf"):
            raise ConfigError(f"mask_seen must be 0 or inf, got {self.mask_seen!r}")
        if self.negatives is not None and self.negatives < 1:
            raise ConfigError(f"negatives must be at least 1, got {self.negatives}")
        if self.seed < 0:
            raise ConfigError(f"the seed of the negatives must be at least 0, got {self.seed}")


PUBLISHED = Protocol()
SAMPLED = Protocol(negatives=99)  # the other protocol of many papers


@dataclass(frozen=True)
class _Batch:
    rows: slice  # of the users
    inputs: Tensor  # (B, N)
    target: Tensor  # (B,)
    seen_rows: Tensor  # (S,) one entry for every item before a target: the user's row in the batch
    seen_items: Tensor  # (S,) the item of each entry


def ndcg(rank: Tensor, k: int) -> Tensor:
    """Return NDCG@k of each rank (...), float64: 1 / log2(rank + 1) up to rank k, else 0.

    rank: the rank of the one relevant item; 1 is the best rank and has gain 1. The result is on the CPU.

    Source: Järvelin and Kekäläinen, ACM Transactions on Information Systems 2002, with one relevant item.

    >>> ndcg(torch.tensor([1, 3, 7, 8]), k=7).tolist()  # 1 / log2(2), 1 / log2(4), 1 / log2(8), below the cutoff
    [1.0, 0.5, 0.3333333333333333, 0.0]
    """
    rank = rank.cpu()  # some devices have no float64
    return torch.where(rank <= k, 1 / (rank.double() + 1).log2(), 0.0)


def evaluate(model: Recommender, sequences: Sequences, split: str, protocol: Protocol = PUBLISHED) -> dict[str, float]:
    """Return HR@k and NDCG@k for k = 5, 10, 20, and MRR, of the targets of a split.

    The arguments and errors are those of `rank_targets`, the names and units those of `summarise`.
    """
    return summarise(rank_targets(model, sequences, split, protocol))


def summarise(ranks: Tensor) -> dict[str, float]:
    """Return HR@k and NDCG@k for k = 5, 10, 20, and MRR, of ranks (num_users,); 1 is the best rank.

    Each is a mean over users, in [0, 1]. With one relevant item per user, HR@k is 1 for rank <= k, else 0; for NDCG@k
    see `ndcg`. The reciprocal rank of a user is 1 / rank, and MRR is its mean.

    >>> metrics = summarise(torch.tensor([1, 3, 30]))
    >>> round(metrics["HR@5"], 4), round(metrics["NDCG@5"], 4)  # 2 / 3 and (1 + 0.5) / 3
    (0.6667, 0.5)
    """
    ranks = ranks.cpu()  # some devices have no float64
    metrics = {}
    for k in CUTOFFS:
        hit = ranks <= k
        metrics[f"HR@{k}"] = float(hit.double().mean())
        metrics[f"NDCG@{k}"] = float(ndcg(ranks[hit], k).sum() / len(ranks))
    return metrics | {"MRR": float((1 / ranks.double()).mean())}


@torch.inference_mode()
def rank_targets(model: Recommender, sequences: Sequences, split: str, protocol: Protocol = PUBLISHED) -> Tensor:
    """Return the rank of every user's target, (num_users,) int64 on the CPU; 1 is the best rank.

    split: "test", "valid" or "train" (the last item of the training part).

    Ties count against the target: a model that gives all items the same score ranks its targets last, not first. NaN
    scores count against it too. In the full ranking of the published protocol the padding item takes part, and a
    target that the history already contains gets the score 0 like every other seen item.

    Scores are computed for some users and some items at a time; no users x items matrix is held. A model in half
    precision is widened to float32 (a copy), because its scores would have many ties.

    Raises:
        ConfigError: If the split is unknown.
        DataError: If `protocol.negatives` items are to be drawn and a user has fewer unseen ones.
    """
    model = widened(model)
    ranks = torch.empty(sequences.num_users, dtype=torch.int64)
    users = _known_users(model, sequences)
    drawn = None
    if protocol.negatives is not None:
        unseen = UnseenItems(sequences.name, sequences.num_items, sequences.items, sequences.offsets)
        rng = np.random.default_rng(protocol.seed)
        drawn = torch.from_numpy(unseen.draw_distinct(rng, protocol.negatives))
    was_training = model.training
    model.eval()
    try:
        for batch in _user_batches(model, sequences, split):
            known = None if users is None else users[batch.rows]
            output = model.encode(batch.inputs, known)
            if drawn is None:
                rank = _rank_among_all(model, output, batch, protocol)
            else:
                rank = _rank_among_drawn(model, output, batch.target, drawn[batch.rows].to(output.device))
            ranks[batch.rows] = rank.cpu()
    finally:
        model.train(was_training)
    return ranks


def per_user(sequences: Sequences, split: str, ranks: Tensor) -> pd.DataFrame:
    """Return a table with one row per user.

    Columns: user (id as in the file), history (number of items before the target), target, rank, HR@k and NDCG@k for
    k = 5, 10, 20, reciprocal_rank.

    split: the one that `ranks` (num_users,) are from; see `rank_targets`.
    """
    rank = ranks.numpy()
    lengths = np.diff(sequences.history(split)[1])
    table = pd.DataFrame({"user": sequences.users, "history": lengths})
    table["target"], table["rank"] = sequences.windows(split, 1).targets, rank
    for k in CUTOFFS:
        table[f"HR@{k}"] = (rank <= k).astype(np.int8)
        table[f"NDCG@{k}"] = ndcg(ranks, k).numpy()
    table["reciprocal_rank"] = 1 / rank
    return table


def _rank_among_all(model: Recommender, output: Tensor, batch: _Batch, protocol: Protocol) -> Tensor:
    """Return (B,) ranks among all items for the codes (B, D) of windows, block of items by block of items."""
    end = model.config.num_items + 1
    blocks = [slice(start, min(start + ITEMS_AT_ONCE, end)) for start in range(0, end, ITEMS_AT_ONCE)]

    def products() -> Iterator[tuple[slice, Tensor]]:
        return ((block, _scores(model, output, block, batch, protocol)) for block in blocks)

    # The target's score is taken from the same matrix product as the scores it is compared with, so that ties are
    # exact. A single block is kept for this; several blocks are computed twice.
    kept = list(products()) if len(blocks) == 1 else None
    target_score = output.new_empty(len(output))
    for block, scores in kept or products():
        here = torch.nonzero((batch.target >= block.start) & (batch.target < block.stop))[:, 0]
        target_score[here] = scores[here, batch.target[here] - block.start]
    rank = torch.zeros_like(batch.target)
    for _, scores in kept or products():
        rank += _not_below(scores, target_score[:, None])  # the target itself among them
    return rank


def _scores(model: Recommender, output: Tensor, block: slice, batch: _Batch, protocol: Protocol) -> Tensor:
    """Return the scores (B, block) of a block of items; the scores of seen items follow the protocol."""
    scores = model.scores_of(output, block)
    inside = (batch.seen_items >= block.start) & (batch.seen_items < block.stop)
    if protocol.mask_seen == "0":
        scores[batch.seen_rows[inside], batch.seen_items[inside] - block.start] = 0
        return scores
    inside &= batch.seen_items != batch.target[batch.seen_rows]  # the target stays, even if it was seen before
    scores[batch.seen_rows[inside], batch.seen_items[inside] - block.start] = -torch.inf
    if block.start == 0:
        scores[:, 0] = -torch.inf
    return scores


def _rank_among_drawn(model: Recommender, output: Tensor, target: Tensor, drawn: Tensor) -> Tensor:
    """Return (B,) ranks among the drawn items (B, n)."""
    scores = model.scores_of(output, torch.cat([target[:, None], drawn], dim=1))
    return _not_below(scores, scores[:, :1])


def _not_below(scores: Tensor, target: Tensor) -> Tensor:
    """Return (B,) the number of scores (B, n) that are not below the target's (B, 1); NaN is never below."""
    return scores.shape[1] - (scores < target).sum(1)


def _known_users(model: Recommender, sequences: Sequences) -> Tensor | None:
    """Return the rows of the users in the training data, or None if the model was trained on other data."""
    trained_on = model.checkpoint["dataset"]["fingerprint"] if model.checkpoint else sequences.fingerprint
    if trained_on != sequences.fingerprint:
        return None
    return torch.arange(sequences.num_users, device=model.device)


def _user_batches(model: Recommender, sequences: Sequences, split: str) -> Iterator[_Batch]:
    device = model.device
    windows = sequences.windows(split, model.config.max_len, model.config.padding)
    items, offsets = sequences.history(split)
    size = USERS_AT_ONCE if device.type == "cpu" else USERS_ON_GPU
    for start in range(0, len(windows), size):
        rows = slice(start, min(start + size, len(windows)))
        seen_rows = np.repeat(np.arange(rows.stop - start), np.diff(offsets[start : rows.stop + 1]))
        seen_items = items[offsets[start] : offsets[rows.stop]].astype(np.int64)
        arrays = (windows.inputs[rows], windows.targets[rows], seen_rows, seen_items)
        yield _Batch(rows, *(torch.from_numpy(array).to(device) for array in arrays))
