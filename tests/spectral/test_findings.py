"""Sentences against null models: each of them on data where it must appear, and on data where it must not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral.findings import beyond, predicate, sentences

WORDS = {"above": "passes more than", "below": "damps more than", "margin": 0.5}


def test_a_value_must_differ_by_more_than_the_margin():
    for value, expected in ((-14.0, 1), (-18.0, -1), (-16.4, 0), (-15.7, 0)):
        assert beyond(value, [-16.1], 0.5) == expected


def test_the_interval_of_one_more_draw_is_that_of_student():
    draws = np.array([1.0, 2.0, 3.0, 4.0])
    reach = 5.840909 * draws.std(ddof=1) * np.sqrt(1.25)  # t at 99.5% with 3 degrees of freedom
    assert beyond(2.5 + reach + 1e-4, draws, 0.1) == 1 and beyond(2.5 - reach - 1e-4, draws, 0.1) == -1
    assert beyond(2.5 + reach - 1e-4, draws, 0.1) == 0
    assert beyond(2.5 + reach + 1e-4, draws, 0.1, comparisons=2) == 0


def test_one_more_draw_of_a_null_is_called_beyond_it_at_most_as_often_as_the_level_says():
    rng = np.random.default_rng(1)
    called = sum(beyond(draw[0], draw[1:], 0.0) != 0 for draw in rng.standard_normal((4000, 4)))
    assert 15 <= called <= 65  # 40 expected


@given(st.floats(-9, 9), st.lists(st.floats(-9, 9), min_size=1, max_size=4))
def test_shuffled_histories_and_single_draws_decide_nothing(value: float, draws: list[float]):
    nulls = {"shuffled": [{1: draw} for draw in draws], "untrained": [{1: draws[0]}]}
    assert predicate({1: value}, nulls, **WORDS) == ""


@pytest.mark.parametrize(
    ("values", "said", "unsaid"),
    [
        ({1: -14.0, 2: -13.0}, "passes more than uniform attention in layers 1 and 2", "damps"),
        ({1: -18.0, 2: -19.0}, "damps more than uniform attention in layers 1 and 2", "passes"),
        ({1: -16.0, 2: -16.3}, "cannot be told apart from uniform attention in any layer", "more than"),
        ({1: -14.0, 2: -16.0}, "passes more than uniform attention in layer 1.", "damps"),
        ({1: -14.0, 2: -19.0}, "in layer 1 and damps more than uniform attention in layer 2", "told apart"),
    ],
)
def test_the_values_choose_the_sentence(values, said, unsaid):
    [sentence] = sentences({"SASRec": predicate(values, {"uniform": [{1: -16.1, 2: -16.1}]}, **WORDS)})
    assert sentence.startswith("SASRec ") and said in sentence and unsaid not in sentence


def test_the_sentence_says_what_holds_against_each_null():
    nulls = {"uniform": [{1: 0.0}], "untrained": [{1: 9.0}, {1: 9.1}, {1: 9.05}], "shuffled": [{1: 9.0}]}
    assert predicate({1: 30.0}, nulls, **WORDS) == (
        "passes more than uniform attention in layer 1; it passes more than its initial weights in layer 1"
    )
    assert predicate({1: 9.0}, nulls, **WORDS) == (
        "passes more than uniform attention in layer 1; it cannot be told apart from its initial weights in layer 1"
    )


def test_the_interval_of_a_value_must_be_beyond_the_null_too():
    assert beyond(-14.0, [-16.1], 0.5, error=1.5) == 1 and beyond(-14.0, [-16.1], 0.5, error=1.7) == 0
    nulls = {"uniform": [{1: -16.1, 2: -16.1}]}
    said = predicate({1: -14.0, 2: -14.0}, nulls, errors={1: 0.1, 2: 3.0}, **WORDS)
    assert said == "passes more than uniform attention in layer 1"


def test_values_that_are_not_numbers_are_beyond_nothing():
    assert beyond(float("nan"), [1.0], 0.1) == 0 and beyond(1.0, [float("nan")], 0.1) == 0


def test_models_of_which_the_same_is_said_share_a_sentence_and_others_do_not():
    nulls = {"uniform": [{1: -16.1}]}
    said = {name: predicate({1: value}, nulls, **WORDS) for name, value in {"A": -14.0, "B": -19.0, "C": -13.0}.items()}
    assert sentences({**said, "D": ""}) == [
        "Each of A and C passes more than uniform attention in layer 1.",
        "B damps more than uniform attention in layer 1.",
    ]
    assert sentences({"D": ""}) == []
