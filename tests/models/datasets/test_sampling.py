"""What a training step is given: every sample once an epoch, and draws that are uniform over what is allowed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.datasets import load
from models.datasets.sampling import EpochSampler, NegativeSampler, SameTargetSampler, UnseenItems
from models.errors import DataError
from models.train import train


@settings(max_examples=60)
@given(targets=st.lists(st.integers(1, 6), min_size=1, max_size=40), seed=st.integers(0, 1000))
def test_another_sample_with_the_same_target_is_drawn(targets: list[int], seed: int):
    array = np.array(targets)
    drawn = SameTargetSampler(array).draw(np.random.default_rng(seed))
    assert (array[drawn] == array).all()
    alone = np.array([targets.count(target) == 1 for target in targets])
    assert ((drawn == np.arange(len(targets))) == alone).all()


def test_every_other_sample_with_the_same_target_is_drawn_as_often():
    sampler, rng = SameTargetSampler(np.array([3, 1, 3, 3, 3])), np.random.default_rng(0)
    drawn = np.array([sampler.draw(rng)[2] for _ in range(3000)])
    counts = np.bincount(drawn, minlength=5)
    assert counts[[1, 2]].sum() == 0
    assert counts[[0, 3, 4]] == pytest.approx(1000, abs=120)


def test_same_targets_leave_the_other_draws_alone():
    sequences = load("synthetic:users=40,items=30")
    plain, with_targets = (EpochSampler(sequences, 10, 16, True, 5, same_target=wanted) for wanted in (False, True))
    for a, b in zip(plain.epoch(2, torch.device("cpu")), with_targets.epoch(2, torch.device("cpu")), strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.negatives, b.negatives)
        assert a.same_target is None and b.same_target.shape == b.inputs.shape


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own():
    sequences = load("synthetic:users=60,items=40")
    samples = sequences.prefixes(10)
    sampler = EpochSampler(sequences, 10, batch_size=64, negatives=False, seed=5)
    epochs = [list(sampler.epoch(number, torch.device("cpu"))) for number in (0, 1, 0)]
    assert len(epochs[0]) == len(sampler) == -(-len(samples) // 64)
    targets = [torch.cat([batch.targets for batch in epoch]) for epoch in epochs]
    assert torch.equal(targets[0], targets[2])
    assert not torch.equal(targets[0], targets[1])
    rows = torch.cat([torch.cat([b.inputs, b.targets[:, None]], dim=1) for b in epochs[1]])
    expected = np.column_stack([samples.inputs, samples.targets])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))


def test_negatives_are_uniform_among_the_items_that_the_user_has_not():
    sequences = load("synthetic:users=20,items=30,length=8")
    samples = sequences.prefixes(10)
    sampler = NegativeSampler(sequences, samples)
    rng = np.random.default_rng(0)
    drawn = np.stack([sampler.draw(rng) for _ in range(4000)])
    items, offsets = sequences.history("valid")
    row = 0
    seen = set(items[offsets[samples.users[row]] : offsets[samples.users[row] + 1]].tolist())
    counts = np.bincount(drawn[:, row], minlength=31)
    allowed = np.array([item not in seen and item > 0 for item in range(31)])
    assert (counts[~allowed] == 0).all()
    expected = 4000 / allowed.sum()
    assert abs(counts[allowed] - expected).max() < 5 * expected**0.5


def test_a_user_who_has_everything_leaves_no_negative(tmp_path):
    path = tmp_path / "all.txt"
    path.write_text("1 1 2 3 3 1\n2 1 2 3\n")
    with pytest.raises(DataError, match="only 0 left"):
        train("sasrec", path, out=tmp_path / "x.pt", epochs=1)


@settings(max_examples=30)
@given(count=st.integers(1, 5), seed=st.integers(0, 1000))
def test_distinct_draws_are_uniform_over_what_is_left(count: int, seed: int):
    offsets = np.arange(401) * 4
    unseen = UnseenItems("x", 9, np.tile([2, 4, 6, 8], 400), offsets)
    drawn = unseen.draw_distinct(np.random.default_rng(seed), count)
    counts = np.bincount(drawn.flatten(), minlength=10)
    assert counts[[0, 2, 4, 6, 8]].sum() == 0
    assert counts[[1, 3, 5, 7, 9]] == pytest.approx(400 * count / 5, abs=65)
