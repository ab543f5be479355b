"""Ranking against torchmetrics and a plain loop over users, and the rules about seen items, ties and padding."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg, retrieval_reciprocal_rank

from models import evaluation
from models.datasets import Sequences, load
from models.datasets.sampling import UnseenItems
from models.errors import ConfigError, DataError
from models.evaluation import CUTOFFS, Protocol, evaluate, ndcg, per_user, rank_targets, summarise
from models.recommender import Recommender
from models.registry import build, configure

ITEMS = 40


def scores_of(model: Recommender, seen: list[int], target: int, mask_seen: str) -> Tensor:
    """The scores of all items for one user, one dense row, as a researcher would write them."""
    scores = model.eval()(torch.tensor([seen]))[0].double()
    for item in set(seen):
        if mask_seen == "0":
            scores[item] = 0
        elif item != target:
            scores[item] = -torch.inf
    if mask_seen == "inf":
        scores[0] = -torch.inf
    return scores


def users(sequences: Sequences, split: str) -> list[tuple[list[int], int]]:
    """Every user's items before the target, and the target."""
    last = {"test": 1, "valid": 2, "train": 3}[split]
    cut = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [(sequences.items[a : b - last].tolist(), int(sequences.items[b - last])) for a, b in cut]


@pytest.fixture
def model() -> Recommender:
    model = build(configure("bsarec", ITEMS, max_len=8))
    model.initialise(0)
    return model


def test_metrics_are_those_of_torchmetrics():
    scores = torch.rand(40, 101, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 101, (40,), generator=torch.Generator().manual_seed(1))
    relevant = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, target[:, None], True)
    rank = (scores >= scores.gather(1, target[:, None])).sum(1)
    result = summarise(rank)
    pairs = list(zip(scores, relevant, strict=True))
    for k in CUTOFFS:
        hits = [retrieval_hit_rate(s, r, top_k=k) for s, r in pairs]
        gains = [retrieval_normalized_dcg(s, r, top_k=k) for s, r in pairs]
        assert result[f"HR@{k}"] == pytest.approx(float(torch.stack(hits).mean()), abs=1e-6)
        assert result[f"NDCG@{k}"] == pytest.approx(float(torch.stack(gains).mean()), abs=1e-6)
    reciprocal = torch.stack([retrieval_reciprocal_rank(s, r) for s, r in pairs])
    assert result["MRR"] == pytest.approx(float(reciprocal.mean()), abs=1e-6)


def test_the_gain_of_a_rank_halves_from_the_first_to_the_third_place_and_ends_with_the_cutoff():
    gains = ndcg(torch.tensor([[1, 3, 7], [20, 21, 500]]), 20)
    expected = torch.tensor([[1, 1 / 2, 1 / 3], [1 / math.log2(21), 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(gains, expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("mask_seen", ["0", "inf"])
@pytest.mark.parametrize("items_at_once", [3, 20, 8192])
def test_ranks_are_those_of_the_plain_loop_over_users(
    model: Recommender, split: str, mask_seen: str, items_at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(evaluation, "ITEMS_AT_ONCE", items_at_once)
    sequences = load(f"synthetic:users=300,items={ITEMS}")
    expected = []
    for seen, target in users(sequences, split):
        scores = scores_of(model, seen or [0], target, mask_seen)
        expected.append(int((scores >= scores[target]).sum()))
    model.train()
    ranks = rank_targets(model, sequences, split, Protocol(mask_seen))
    assert model.training
    # In float32 neighbours whose scores agree to the last digits may change places.
    assert (ranks - torch.tensor(expected)).abs().max() <= 1
    assert (ranks == torch.tensor(expected)).float().mean() > 0.98


def test_blocks_of_items_change_nothing_even_where_all_scores_tie(monkeypatch: pytest.MonkeyPatch):
    model = build(configure("sasrec", ITEMS, max_len=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    sequences = load(f"synthetic:users=50,items={ITEMS}")
    monkeypatch.setattr(evaluation, "ITEMS_AT_ONCE", 7)
    ranks = rank_targets(model, sequences, "test", Protocol("inf"))
    expected = [ITEMS - len(set(seen) - {target}) for seen, target in users(sequences, "test")]
    assert ranks.tolist() == expected  # last among all that are left


@settings(max_examples=60)
@given(
    histories=st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=7), min_size=1, max_size=6),
    numbers=st.lists(st.integers(-2, 2), min_size=60, max_size=60),
    users_at_once=st.integers(1, 6),
    items_at_once=st.integers(1, 11),
    mask_seen=st.sampled_from(["0", "inf"]),
)
def test_ranks_are_exact_for_whole_numbers(
    histories: list[list[int]], numbers: list[int], users_at_once: int, items_at_once: int, mask_seen: str
):
    """Scores of small whole numbers have no rounding: many ties, targets seen before, blocks of any size."""
    offsets = np.cumsum([0, *map(len, histories)])
    items = np.concatenate(histories).astype(np.int32)
    sequences = Sequences("whole numbers", np.arange(len(histories)), items, offsets)
    table = torch.tensor(numbers, dtype=torch.float32).view(2, 10, 3)  # of candidates, and of outputs by last item
    model = build(configure("sasrec", 9, max_len=4, hidden_size=3, num_heads=1))
    model.items.weight.data = table[0]
    model.encode = lambda window, users=None: table[1][window[:, -1].long()]  # type: ignore[method-assign]
    sizes = {"USERS_AT_ONCE": users_at_once, "ITEMS_AT_ONCE": items_at_once}
    with mock.patch.multiple(evaluation, **sizes):
        ranks = rank_targets(model, sequences, "test", Protocol(mask_seen)).tolist()
    for (*seen, target), rank in zip(histories, ranks, strict=True):
        score = table[0].numpy().astype(np.int64) @ table[1][seen[-1]].numpy().astype(np.int64)
        if mask_seen == "0":
            score[seen] = 0
            ranked = range(10)
        else:
            ranked = [item for item in range(1, 10) if item == target or item not in seen]
        assert rank == sum(score[item] >= score[target] for item in ranked)


@pytest.mark.parametrize("protocol", [Protocol(), Protocol("inf"), Protocol(negatives=5)])
def test_scores_that_are_not_numbers_rank_last(model: Recommender, protocol: Protocol):
    sequences = load(f"synthetic:users=50,items={ITEMS}")
    with torch.no_grad():
        model.items.weight.fill_(torch.nan)
    last = ITEMS + 1 if protocol.negatives is None else protocol.negatives + 1
    ranks = rank_targets(model, sequences, "test", protocol)
    if protocol.mask_seen == "0" and protocol.negatives is None:  # seen items have the score 0, also as targets
        ranks = ranks[[target not in seen for seen, target in users(sequences, "test")]]
    assert len(ranks) and (ranks == last).all()


def test_sampled_negatives_are_unseen_different_and_the_same_for_every_model(model: Recommender):
    sequences = load(f"synthetic:users=60,items={ITEMS},length=10")
    unseen = UnseenItems("x", ITEMS, sequences.items, sequences.offsets)
    drawn = unseen.draw_distinct(np.random.default_rng(5), 12)
    expected = []
    for row, (seen, target) in zip(drawn, users(sequences, "test"), strict=True):
        assert len(set(row)) == 12 and not set(row) & {0, target, *seen}
        scores = model.eval()(torch.tensor([seen]))[0].double()
        expected.append(1 + int((scores[torch.from_numpy(row)] >= scores[target]).sum()))
    assert rank_targets(model, sequences, "test", Protocol(negatives=12, seed=5)).tolist() == expected
    other = rank_targets(model, sequences, "test", Protocol(negatives=12, seed=6)).tolist()
    assert other != expected


def test_more_negatives_than_a_user_has_left_is_refused(model: Recommender):
    sequences = load(f"synthetic:users=60,items={ITEMS}")
    model.train()
    with pytest.raises(DataError, match=r"synthetic.*39 unseen items.*left"):
        rank_targets(model, sequences, "test", Protocol(negatives=39))
    assert model.training


def test_caser_knows_the_users_of_its_own_data_only():
    sequences, other = load(f"synthetic:users=30,items={ITEMS}"), load(f"synthetic:users=30,items={ITEMS},seed=5")
    model = build(configure("caser", ITEMS, 30, max_len=8, hidden_size=8))
    model.initialise(1)
    with torch.no_grad():
        model.users.weight.mul_(300)
    model.checkpoint = {"dataset": {"fingerprint": sequences.fingerprint}}
    known = rank_targets(model, sequences, "test")
    model.checkpoint = {"dataset": {"fingerprint": other.fingerprint}}
    assert not torch.equal(known, rank_targets(model, sequences, "test"))


def test_the_table_of_users_adds_up_to_the_metrics(model: Recommender):
    sequences = load(f"synthetic:users=60,items={ITEMS}")
    ranks = rank_targets(model, sequences, "test")
    table, metrics = per_user(sequences, "test", ranks), summarise(ranks)
    assert table.user.tolist() == sequences.users.tolist()
    assert table.target.tolist() == [target for _, target in users(sequences, "test")]
    assert table.history.tolist() == [len(seen) for seen, _ in users(sequences, "test")]
    for column, name in {"HR@5": "HR@5", "NDCG@20": "NDCG@20", "reciprocal_rank": "MRR"}.items():
        assert table[column].mean() == pytest.approx(metrics[name])
    assert evaluate(model, sequences, "test") == metrics


@pytest.mark.parametrize("bad", [{"mask_seen": "no"}, {"negatives": 0}, {"seed": -1}])
def test_a_protocol_out_of_range_is_refused(bad: dict[str, object]):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Protocol(**bad)
