"""Samples cut from sequences are those that a plain loop over the users cuts."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets import Sequences
from models.datasets.sequences import Prefixes
from models.errors import ConfigError

HELD_OUT = {"test": 1, "valid": 2, "train": 3}
histories_strategy = st.lists(
    st.lists(st.integers(1, 30), min_size=3, max_size=14), min_size=1, max_size=8
)  # lists of items, one per user
max_lens = st.integers(1, 10)


def sequences_of(histories, **fields):
    return Sequences(
        name="test",
        users=np.arange(1, len(histories) + 1),
        items=np.concatenate(histories).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum([len(history) for history in histories])]),
        **fields,
    )


def pad(items, max_len):
    items = items[-max_len:] if items else []
    return [0] * (max_len - len(items)) + items


def assert_samples(samples, expected, max_len):
    """Compare with a list of (input, target, user)."""
    assert len(samples) == len(expected)
    assert samples.inputs.shape == (len(expected), max_len)
    assert (samples.inputs.dtype, samples.targets.dtype, samples.users.dtype) == (
        np.int32,
        np.int64,
        np.int64,
    )
    for inputs, target, user, row in zip(
        samples.inputs.tolist(), samples.targets.tolist(), samples.users.tolist(), expected, strict=True
    ):
        assert (inputs, target, user) == row


@given(histories=histories_strategy, max_len=max_lens)
def test_prefixes_are_every_prefix_of_the_last_window_without_the_held_out_items(histories, max_len):
    expected = []
    for user, history in enumerate(histories):
        window = history[-(max_len + 2) :][:-2]
        for length, target in enumerate(window):
            expected.append((pad(window[:length], max_len), target, user))
    assert_samples(sequences_of(histories).prefixes(max_len), expected, max_len)


@given(histories=histories_strategy, max_len=max_lens, split=st.sampled_from(sorted(HELD_OUT)))
def test_windows_are_the_last_items_before_the_target(histories, max_len, split):
    expected = []
    for user, history in enumerate(histories):
        target = len(history) - HELD_OUT[split]
        expected.append((pad(history[:target], max_len), history[target], user))
    assert_samples(sequences_of(histories).windows(split, max_len), expected, max_len)


@given(histories=histories_strategy, split=st.sampled_from(sorted(HELD_OUT)))
def test_history_is_everything_before_the_target(histories, split):
    items, offsets = sequences_of(histories).history(split)
    assert items.dtype == np.int32 and offsets.dtype == np.int64
    seen = [items[start:stop].tolist() for start, stop in itertools.pairwise(offsets)]
    assert seen == [history[: len(history) - HELD_OUT[split]] for history in histories]


@given(histories=histories_strategy, max_len=max_lens)
def test_the_train_window_ends_like_the_last_training_sample(histories, max_len):
    sequences = sequences_of(histories)
    prefixes, windows = sequences.prefixes(max_len), sequences.windows("train", max_len)
    last = np.flatnonzero(np.diff(prefixes.users, append=-1))  # the last sample of every user
    np.testing.assert_array_equal(prefixes.targets[last], windows.targets)
    np.testing.assert_array_equal(prefixes.inputs[last, 1:], windows.inputs[:, 1:])


@given(histories=histories_strategy, max_len=max_lens, data=st.data())
def test_prefixes_are_gathered_by_row_in_any_order(histories, max_len, data):
    sequences = sequences_of(histories)
    every, gathered = sequences.prefixes(max_len), Prefixes(sequences, max_len)
    rows = np.array(data.draw(st.lists(st.integers(0, len(gathered) - 1), max_size=9)), dtype=np.int64)
    samples = gathered[rows]
    for name in ("inputs", "targets", "users"):
        np.testing.assert_array_equal(getattr(samples, name), getattr(every, name)[rows])
    np.testing.assert_array_equal(gathered.targets, every.targets)
    np.testing.assert_array_equal(gathered.users, every.users)


def test_no_training_sample_holds_a_held_out_item():
    histories = [[1, 2, 3, 4, 98, 99], [5, 98, 99], [6, 7, 8, 98, 99]]
    prefixes = sequences_of(histories).prefixes(50)
    assert prefixes.inputs.max() < 98 and prefixes.targets.max() < 98


def test_a_user_of_three_items_trains_and_is_shown_from_an_empty_window():
    sequences = sequences_of([[7, 8, 9]])
    for samples in (sequences.prefixes(4), sequences.windows("train", 4)):
        assert samples.inputs.tolist() == [[0, 0, 0, 0]]
        assert samples.targets.tolist() == [7]
    assert sequences.history("train")[0].size == 0
    assert sequences.windows("valid", 4).inputs.tolist() == [[0, 0, 0, 7]]
    assert sequences.windows("test", 4).inputs.tolist() == [[0, 0, 7, 8]]


def test_samples_do_not_share_memory_with_the_sequences():
    sequences = sequences_of([[1, 2, 3, 4, 5]])
    before = sequences.items.copy()
    sequences.windows("test", 2).inputs[:] = 0
    sequences.windows("test", 2).targets[:] = 0
    sequences.history("test")[0][:] = 0
    np.testing.assert_array_equal(sequences.items, before)


def test_counts():
    sequences = sequences_of([[1, 2, 2, 9], [4, 5, 6]])
    assert (sequences.num_users, sequences.num_items, sequences.num_interactions) == (2, 9, 7)
    assert sequences.lengths.tolist() == [4, 3]
    assert sequences.density == 7 / 18


def test_the_fingerprint_is_the_sum_of_items_and_offsets_only():
    expected = hashlib.sha256(
        np.array([1, 2, 3, 4, 5, 6], "<i4").tobytes() + np.array([0, 3, 6], "<i8").tobytes()
    ).hexdigest()
    assert sequences_of([[1, 2, 3], [4, 5, 6]]).fingerprint == expected
    assert sequences_of([[1, 2, 3], [4, 5, 6]], skipped=3, source="x").fingerprint == expected
    assert sequences_of([[1, 2, 3], [4, 5, 7]]).fingerprint != expected
    assert sequences_of([[1, 2, 3, 4, 5, 6]]).fingerprint != expected


@pytest.mark.parametrize("split", ["training", "", "Test"])
def test_an_unknown_split_is_named(split):
    sequences = sequences_of([[1, 2, 3]])
    for call in (lambda: sequences.windows(split, 3), lambda: sequences.history(split)):
        with pytest.raises(ConfigError, match=f"train, valid or test, got '{split}'"):
            call()


@pytest.mark.parametrize("max_len", [0, -1])
def test_a_window_without_positions_is_refused(max_len):
    sequences = sequences_of([[1, 2, 3]])
    for call in (lambda: sequences.prefixes(max_len), lambda: sequences.windows("test", max_len)):
        with pytest.raises(ConfigError, match=f"at least 1, got {max_len}"):
            call()


@pytest.mark.parametrize(
    ("users", "items", "offsets", "message"),
    [
        ([], [], [0], "at least one user"),
        ([1], [1, 2, 3], [0], "offsets"),
        ([1], [1, 2, 3], [0, 4], "from 0 to the number of items 3"),
        ([1], [1, 2, 3, 4], [1, 4], "from 0"),
        ([1, 2], [1, 2, 3, 4, 5], [0, 3, 5], "one has 2"),
        ([1], [1, 0, 3], [0, 3], "items must be int32 from 1"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(users, items, offsets, message):
    with pytest.raises(ValueError, match=message):
        Sequences("test", np.array(users, np.int64), np.array(items, np.int32), np.array(offsets))
