"""What recommendations share with those of the last item alone, against Python's own sets and lists."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from json_output import json_of
from plain_models import ITEMS, WINDOWS, random_model

import models
from models.errors import ConfigError
from models.registry import MODELS
from spectral import LastItemOverlap, LastItemOverlapMetric, last_item_overlap, plot, top_items
from spectral.last_item import MEASURES

SEEDS = st.integers(0, 2**32 - 1)


def drawn(users: int, k: int, seed: int, items: int = 12) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [(generator.permutation(items)[:k] + 1).tolist() for _ in range(users)]


def naive(whole: list[list[int]], alone: list[list[int]], k: int) -> dict[str, list[float]]:
    """Each measure of each user from its definition, and of each pair of different users."""
    pairs = list(zip(whole, alone, strict=True))
    return {
        "overlap": [len(set(a[:k]) & set(b[:k])) / k for a, b in pairs],
        "same": [float(set(a[:k]) == set(b[:k])) for a, b in pairs],
        "same_order": [float(a[:k] == b[:k]) for a, b in pairs],
        "by_chance": [
            len(set(whole[u][:k]) & set(alone[v][:k])) / k for u, v in itertools.permutations(range(len(whole)), 2)
        ],
    }


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 5), SEEDS, st.booleans())
def test_every_measure_is_that_of_its_definition(users, k, seed, alike):
    whole = drawn(users, k, seed)
    alone = (
        [sorted(each) if row % 2 else each for row, each in enumerate(whole)] if alike else drawn(users, k, seed + 1)
    )
    measured = last_item_overlap(whole, alone)
    assert measured.users == users
    for at in range(k):
        expected = naive(whole, alone, at + 1)
        for name in MEASURES:
            assert getattr(measured, name)[at] == pytest.approx(np.mean(expected[name])), name
            error = pd.Series(expected[name]).sem()
            assert measured.standard_error[name][at] == pytest.approx(error, nan_ok=True, abs=1e-7)
        chance = np.mean(expected["by_chance"]) if users > 1 else np.nan
        assert measured.by_chance[at] == pytest.approx(chance, nan_ok=True)


@given(st.integers(1, 4), st.integers(1, 6), SEEDS)
def test_measures_are_ordered_and_do_not_know_which_list_is_which(users, k, seed):
    one, other = drawn(users, k, seed), drawn(users, k, seed + 1)
    measured, swapped = last_item_overlap(one, other), last_item_overlap(other, one)
    pd.testing.assert_frame_equal(measured.table(), swapped.table())
    assert (measured.same_order <= measured.same).all() and (measured.same <= measured.overlap + 1e-12).all()
    assert last_item_overlap(one, one).same_order.tolist() == [1.0] * k


def test_top_items_leave_out_history_and_padding_and_order_ties_by_id():
    scores = [[9.0, 1.0, 5.0, 5.0, 7.0, 5.0], [0.0, -1.0, -2.0, -1.0, -3.0, -1.0]]
    assert top_items(scores, [[0, 4], [1, 1]], k=3).tolist() == [[2, 3, 5], [3, 5, 2]]
    with pytest.raises(ConfigError, match=r"k must lie in 1\.\.4, .*, got 5"):
        top_items(scores, [[0, 4], [1, 1]], k=5)
    with pytest.raises(ConfigError, match="got 0"):
        top_items(scores, [[0, 4], [1, 1]], k=0)
    with pytest.raises(ValueError, match="scores must be finite"):
        top_items([[0.0, np.nan]], [[0]], k=1)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_ranks_for_the_history_and_for_its_last_item(name):
    model = random_model(name)
    windows = torch.cat([WINDOWS[1:], WINDOWS[2:].flip(1).sort(1).values])
    lists = []
    for window in windows:
        history = [int(item) for item in window if item > 0]
        if len(history) > 1:
            both = [model(torch.tensor([ids]))[0].tolist() for ids in (history, history[-1:])]
            items = [item for item in range(1, ITEMS + 1) if item not in history]
            lists.append([sorted(items, key=lambda item: (-scores[item], item))[:4] for scores in both])
    measured = LastItemOverlap.of_model(model, windows.split(2), k=4)
    assert measured.users == len(lists) == 4
    for at in range(4):
        expected = naive([a for a, _ in lists], [b for _, b in lists], at + 1)
        for column in (*MEASURES, "by_chance"):
            assert getattr(measured, column)[at] == pytest.approx(np.mean(expected[column])), column
    assert not model.training


def test_a_model_that_only_sees_the_last_item_is_explained_by_it_wholly():
    model = random_model("sasrec")
    with torch.no_grad():
        for block in model.blocks:  # attention adds nothing, so positions do not know each other
            block.mixer.output.weight.zero_()
    measured = LastItemOverlap.of_model(model, [WINDOWS], k=5)
    assert measured.overlap.tolist() == measured.same_order.tolist() == [1.0] * 5
    assert measured.by_chance[-1] < 1


@settings(max_examples=15)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), SEEDS)
def test_the_accumulator_equals_the_function_however_users_are_batched(sizes, seed):
    lists = [torch.tensor(drawn(sum(sizes), 3, each)) for each in (seed, seed + 1)]
    metric = LastItemOverlapMetric(num_items=12, k=3)
    for whole, alone in zip(*(x.split(sizes) for x in lists), strict=True):
        metric.update(whole, alone)
    pd.testing.assert_frame_equal(metric.compute().table(), last_item_overlap(*lists).table())


@pytest.mark.parametrize(
    "whole, alone, message",
    [
        ([[1, 2]], [[1, 2, 3]], r"\(P, K\) each, got shapes \(1, 2\) and \(1, 3\)"),
        ([1, 2], [1, 2], r"\(P, K\)"),
        ([[1, 1]], [[1, 2]], "twice"),
        ([[1, 0]], [[1, 2]], r"1\.\.2, got 0"),
        (np.ones((0, 2), int), np.ones((0, 2), int), "no lists"),
    ],
)
def test_what_is_no_list_of_items_is_refused(whole, alone, message):
    with pytest.raises(ValueError, match=message):
        last_item_overlap(whole, alone)


def test_users_with_nothing_but_a_last_item_are_refused():
    with pytest.raises(ValueError, match="no user has an item before the last one"):
        LastItemOverlap.of_model(random_model("sasrec"), [WINDOWS[1:2]], k=4)


def test_the_picture_has_overlap_and_chance_of_every_k():
    measured = last_item_overlap(drawn(5, 4, 0), drawn(5, 4, 1))
    lines = {line.get_label(): line.get_ydata() for line in plot.last_item({"sasrec": measured}).lines}
    np.testing.assert_array_equal(lines["_sasrec by chance"], measured.by_chance)
    assert any(np.array_equal(values, measured.overlap) for values in lines.values())


def test_the_command_writes_what_the_measure_gives(call, checkpoint, tmp_path):
    code, out, err = call("last_item", checkpoint, "--k", 4, "--out", tmp_path, "--json")
    assert code == 0, err
    model = models.load(checkpoint)
    measured = LastItemOverlap.of_model(model, [model.probe.input_ids[model.probe.uniform]], k=4)
    printed = json_of(out)
    assert printed["users"] == measured.users and [row["k"] for row in printed["lists"]] == [1, 4]
    assert printed["lists"][1]["overlap"] == pytest.approx(measured.overlap[-1])
    assert pd.read_csv(tmp_path / "last_item.csv")["by_chance"].tolist() == pytest.approx(measured.by_chance.tolist())
    code, _, err = call("last_item", checkpoint, "--k", 1000, "--out", tmp_path)
    assert code == 2 and "k must lie in 1.." in err
    code, _, err = call("last_item", checkpoint, "--length", 1, "--out", tmp_path)
    assert code == 2 and ("no user has an item before" in err or "exactly 1 items" in err)
