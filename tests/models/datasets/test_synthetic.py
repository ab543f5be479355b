"""Generated sequences follow the rule that their knobs state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.datasets import load, synthetic
from models.datasets.synthetic import Synthetic
from models.errors import DataError


def tastes(sequences, knobs):
    return (sequences.items.astype(np.int64) - 1) % knobs.num_tastes


def within_users(sequences):
    """Mark the pairs of neighbours (i, i + 1) that belong to one user."""
    same = np.ones(sequences.num_interactions - 1, dtype=bool)
    same[sequences.offsets[1:-1] - 1] = False
    return same


def five_sigma(probability, n):
    return 5 * (probability * (1 - probability) / n) ** 0.5


def test_a_persisting_taste_without_change_lasts_for_ever():
    knobs = Synthetic(users=50, change=0, persistence=1)
    sequences = synthetic.generate(knobs)
    taste = tastes(sequences, knobs)
    first = np.repeat(taste[sequences.offsets[:-1]], sequences.lengths)
    np.testing.assert_array_equal(taste, first)
    assert len(set(taste[sequences.offsets[:-1]].tolist())) > 1  # users differ


@pytest.mark.parametrize("change", [0.05, 0.3, 1.0])
def test_tastes_change_as_often_as_the_knob_says(change):
    knobs = Synthetic(users=500, change=change, persistence=1)
    sequences = synthetic.generate(knobs)
    changed = (np.diff(tastes(sequences, knobs)) != 0)[within_users(sequences)]
    assert changed.mean() == pytest.approx(change, abs=five_sigma(change, len(changed)) + 1e-12)


@pytest.mark.parametrize("persistence", [0.0, 0.6])
def test_items_follow_the_taste_as_often_as_the_knob_says(persistence):
    knobs = Synthetic(users=500, items=100, change=0, persistence=persistence)
    sequences = synthetic.generate(knobs)
    equal = (np.diff(tastes(sequences, knobs)) == 0)[within_users(sequences)]
    # Two neighbours agree if both follow the taste, else by chance: 100 items, 10 tastes of 10.
    expected = persistence**2 + (1 - persistence**2) / 10
    assert equal.mean() == pytest.approx(expected, abs=2 * five_sigma(expected, len(equal)))


@settings(max_examples=30)
@given(
    users=st.integers(1, 40),
    items=st.integers(2, 60),
    length=st.integers(3, 20),
    change=st.floats(0, 1),
    persistence=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_sizes_are_kept_and_names_read_back(users, items, length, change, persistence, seed):
    knobs = Synthetic(users, items, change, persistence, length, seed)
    sequences = synthetic.generate(knobs)
    assert sequences.num_users == users
    assert sequences.items.min() >= 1 and sequences.items.max() <= items
    assert sequences.lengths.min() >= 3 and sequences.lengths.max() <= 2 * length - 3
    assert synthetic.parse(knobs.name) == knobs
    assert load(sequences.source).fingerprint == sequences.fingerprint


def test_every_item_can_occur_when_tastes_do_not_divide_the_catalogue():
    knobs = Synthetic(users=500, items=23, persistence=1)
    assert set(synthetic.generate(knobs).items.tolist()) == set(range(1, 24))


def test_the_mean_length_is_the_knob():
    lengths = synthetic.generate(Synthetic(users=4000, length=40)).lengths
    assert lengths.mean() == pytest.approx(40, abs=5 * 75 / 12**0.5 / 4000**0.5)


def test_the_seed_decides():
    assert load("synthetic").fingerprint == load("synthetic:seed=0").fingerprint
    assert load("synthetic").fingerprint != load("synthetic:seed=1").fingerprint


def test_the_name_states_only_what_is_not_default():
    assert load("synthetic").name == "synthetic"
    assert load("synthetic: seed = 3, change=0.2").name == "synthetic:change=0.2,seed=3"
    assert load("synthetic:change=0.05").name == "synthetic"


def test_the_default_has_full_and_padded_windows():
    padded = load("synthetic").windows("test", 50).inputs[:, 0] == 0
    assert 0.2 < padded.mean() < 0.8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "synthetic:speed=3",
            "unknown knob 'speed'; allowed are users, items, change, persistence, length, seed",
        ),
        ("synthetic:users", "'users' is not knob=value"),
        ("synthetic:", "'' is not knob=value"),
        ("synthetic:users=ten", "users must be an integer, got 'ten'"),
        ("synthetic:users=1.5", "users must be an integer, got '1.5'"),
        ("synthetic:change=often", "change must be a number, got 'often'"),
        ("synthetic:change=1.5", "change must be from 0 to 1, got 1.5"),
        ("synthetic:persistence=nan", "persistence must be from 0 to 1, got nan"),
        ("synthetic:users=0", "users must be at least 1, got 0"),
        ("synthetic:items=1", "items must be at least 2, got 1"),
        ("synthetic:length=2", "length must be at least 3, got 2"),
        ("synthetic:seed=-1", "seed must be at least 0, got -1"),
        ("synthetic:seed=1,seed=2", "seed is given twice"),
        ("synthetic:users=1000000000000", "users x length must be at most"),
        ("synthetic:items=3000000000", "items must fit 32 bits"),
    ],
)
def test_a_wrong_knob_is_named_with_what_is_allowed(name, said):
    with pytest.raises(DataError) as raised:
        load(name)
    assert said in str(raised.value)
