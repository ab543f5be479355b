"""Similarities by groups of users: the groups, what they are cut by, and that each is measured alone."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from json_output import json_of
from plain_models import ITEMS, random_model

import models
import spectral
from models import datasets
from models.datasets.sequences import training_counts
from models.errors import ConfigError, DataError
from spectral import CosineSimilarity, LastItemOverlap, LinearCKA, StratifiedSimilarity, plot, strata
from spectral.strata import SIMILARITIES, length, numbers_of, popularity

NUMBERS = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def windows(users: int = 24, n: int = 11, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, ITEMS + 1, (users, n), generator=generator)
    return items * (torch.arange(n) >= n - 2 - torch.arange(users)[:, None] % (n - 1))


@given(NUMBERS, st.integers(1, 6))
def test_strata_are_ordered_hold_everyone_once_and_keep_equals_together(numbers, groups):
    found = strata(numbers, groups)
    assert 1 <= len(found) <= groups
    assert sorted(row for stratum in found for row in stratum.rows.tolist()) == list(range(len(numbers)))
    for stratum in found:
        values = [numbers[row] for row in stratum.rows.tolist()]
        assert (stratum.low, stratum.high) == (min(values), max(values))
    assert all(one.high < other.low for one, other in pairwise(found))


def test_strata_of_different_numbers_have_equal_sizes():
    assert [len(stratum.rows) for stratum in strata(np.random.default_rng(0).permutation(30), 3)] == [10, 10, 10]
    assert [stratum.rows.tolist() for stratum in strata([5.0, 5.0, 5.0], 3)] == [[0, 1, 2]]


def test_users_with_full_windows_are_many_and_the_others_are_still_apart():
    assert [len(stratum.rows) for stratum in strata([50] * 80 + [3, 4, 5, 6] * 5, 2)] == [20, 80]


def test_popularity_is_the_mean_training_count_of_the_items():
    sequences = datasets.load("synthetic:users=40,items=20")
    counts = np.zeros(31)
    for start, stop in zip(sequences.offsets, sequences.offsets[1:], strict=False):
        for item in sequences.items[start : stop - 2]:
            counts[item] += 1
    np.testing.assert_array_equal(training_counts(sequences, 30), counts)
    given_windows = torch.from_numpy(sequences.windows("test", 10).inputs)
    expected = [np.mean([counts[item] for item in row if item]) for row in given_windows.tolist()]
    np.testing.assert_allclose(popularity(given_windows, counts), expected)
    assert length(given_windows).tolist() == [sum(item > 0 for item in row) for row in given_windows.tolist()]
    assert torch.equal(numbers_of(given_windows, "popularity", lambda: counts), popularity(given_windows, counts))
    with pytest.raises(ValueError, match=r"counts of 0\.\.2"):
        popularity(torch.tensor([[3]]), [0, 1, 1])
    with pytest.raises(ConfigError, match="length or popularity, got 'age'"):
        numbers_of(given_windows, "age", list)


def test_each_stratum_is_measured_as_if_it_were_alone():
    model, users = random_model("bsarec"), windows()
    measured = StratifiedSimilarity.of_model(model, users, length(users), "length", 3, k=4, batch_size=5)
    table = measured.table()
    for number, stratum in enumerate(measured.strata):
        members = users[stratum.rows]
        cosine = CosineSimilarity.from_captures(spectral.capture(model, members))
        cka = LinearCKA.from_captures({"": spectral.capture(model, members)})
        overlap = LastItemOverlap.of_model(model, [members], k=4)
        expected = {
            "between_users": cosine.between_users,
            "within_sequence": cosine.within_sequence,
            "cka_with_last": cka.cka[:, -1],
            "overlap": overlap.overlap,
        }
        own = table[table["stratum"] == number + 1]
        assert set(own["from"]) == {stratum.low} and set(own["users"]) == {len(members)}
        for name in SIMILARITIES:
            np.testing.assert_allclose(own[own["similarity"] == name]["value"], expected[name], err_msg=name)
        assert measured.summary()[number]["cka_by_chance"] == pytest.approx(cka.by_chance[0, -1])


def test_users_with_a_last_item_only_are_left_out_and_lone_users_refused():
    model = random_model("sasrec")
    users = torch.cat([windows(6), torch.tensor([[0] * 10 + [5]] * 3)])
    measured = StratifiedSimilarity.of_model(model, users, length(users), "length", 1, k=4)
    assert [len(stratum.rows) for stratum in measured.strata] == [6] and measured.strata[0].low == 2
    with pytest.raises(DataError, match=r"the stratum of length 2 has one user, .* choose fewer groups"):
        StratifiedSimilarity.of_model(model, windows(6), length(windows(6)), "length", 6, k=4)
    with pytest.raises(DataError, match="no users to group"):
        StratifiedSimilarity.of_model(model, users[6:], length(users[6:]), "length", 1, k=4)


@pytest.mark.parametrize(
    "numbers, groups, error, message",
    [
        ([1, 2], 0, ConfigError, "groups must be at least 1"),
        ([], 2, DataError, "no users"),
        ([1.0, np.nan], 2, ValueError, "NaN"),
        ([[1.0]], 2, ValueError, r"\(P,\)"),
    ],
)
def test_what_cannot_be_grouped_is_refused(numbers, groups, error, message):
    with pytest.raises(error, match=message):
        strata(numbers, groups)


def test_the_picture_has_a_line_for_each_stratum_and_its_chance():
    users = windows()
    measured = StratifiedSimilarity.of_model(random_model("sasrec"), users, length(users), "length", 3, k=4)
    lines = plot.strata(measured, "cka_with_last").lines
    for number in range(3):
        _, values, by_chance = measured.curve(number, "cka_with_last")
        np.testing.assert_array_equal(lines[2 * number].get_ydata(), values)
        np.testing.assert_array_equal(lines[2 * number + 1].get_ydata(), by_chance)
    with pytest.raises(ValueError, match="similarity must be one of between_users"):
        plot.strata(measured, "kinship")


@pytest.mark.parametrize("by", ["length", "popularity"])
def test_the_command_writes_what_the_measure_gives(call, checkpoint, tmp_path, by):
    code, out, err = call("strata", checkpoint, "--by", by, "--groups", 2, "--out", tmp_path, "--json")
    assert code == 0, err
    model = models.load(checkpoint)
    users = model.probe.input_ids[model.probe.uniform]
    sequences = datasets.load(model.checkpoint["dataset"]["source"])
    numbers = numbers_of(users, by, lambda: training_counts(sequences, model.config.num_items))
    measured = StratifiedSimilarity.of_model(model, users, numbers, by, groups=2)
    printed = json_of(out)
    assert printed["by"] == by and [row["users"] for row in printed["strata"]] == [len(s.rows) for s in measured.strata]
    written = pd.read_csv(tmp_path / "strata.csv")
    np.testing.assert_allclose(written["value"], measured.table()["value"], rtol=1e-5)
    assert set(written["k"].dropna()) == set(range(1, 11)) and len(measured.strata) == 2


def test_mistakes_of_the_command_are_named(call, checkpoint, tmp_path):
    code, _, err = call("strata", checkpoint, "--by", "age", "--out", tmp_path)
    assert code == 2 and "--by must be one of length, popularity, got 'age'" in err
    code, _, err = call("strata", checkpoint, "--data", "no-such-data", "--out", tmp_path)
    assert code == 2 and "no-such-data" in err
