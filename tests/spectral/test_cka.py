"""Linear CKA, against n x n kernel matrices, its invariances, and the mean over permutations of users."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from json_output import json_of
from plain_models import WINDOWS, random_model

import models
import spectral
from models.registry import build, configure
from spectral import LinearCKA, LinearCKAMetric, linear_cka, plot
from spectral.cka import cross_gram

SEEDS = st.integers(0, 2**32 - 1)


def rows(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size)) + 3


def naive(x: np.ndarray, y: np.ndarray) -> float:
    """CKA from the n x n kernels, centred by H."""
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h  # noqa: E741
    return np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))


@settings(max_examples=30)
@given(st.integers(3, 12), st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_it_is_that_of_the_kernels_and_knows_no_rotation_scale_or_shift(n, size, other, seed):
    x, y = rows(n, size, seed), rows(n, other, seed + 1)
    measured = linear_cka(x, y)
    assert measured == pytest.approx(naive(x, y), abs=1e-9) == pytest.approx(linear_cka(y, x), abs=1e-9)
    assert -1e-12 <= measured <= 1 + 1e-12
    rotation = np.linalg.qr(rows(size, size, seed + 2))[0]
    assert linear_cka(-7 * x @ rotation + 5, y) == pytest.approx(measured, abs=1e-9)
    assert linear_cka(x, x @ rotation) == pytest.approx(1)
    order = np.random.default_rng(seed).permutation(n)
    assert linear_cka(x[order], y[order]) == pytest.approx(measured, abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_by_chance_is_the_mean_over_all_ways_to_match_users(n):
    x, y = rows(n, 2), rows(n, 3, 1)
    every = [naive(x, y[list(order)]) for order in itertools.permutations(range(n))]
    assert cross_gram([x, y]).result().by_chance[0, 1] == pytest.approx(np.mean(every))


def test_features_that_have_nothing_in_common_have_what_chance_gives():
    x, y = rows(3000, 8), rows(3000, 8, 1)
    result = cross_gram([x, y]).result()
    assert result.cka[0, 1] == pytest.approx(result.by_chance[0, 1], abs=2e-3) and result.cka[0, 1] < 0.01


def test_layers_and_models_are_compared_pair_by_pair():
    one, other = random_model("sasrec"), random_model("bsarec", hidden_size=4)
    windows = torch.cat([WINDOWS[1:], WINDOWS[3:].flip(1)])

    def captures(model: object) -> object:
        return spectral.capture(model, windows.split(3), attention=False)

    measured = LinearCKA.from_captures({"one": captures(one), "other": captures(other)})
    states = {
        (name, layer): hidden[:, -1].numpy()
        for name, model in {"one": one, "other": other}.items()
        for layer, hidden in enumerate(next(spectral.capture(model, windows)).hidden)
    }
    assert measured.layers == tuple(states) and measured.users == 4
    expected = np.array([[naive(x, y) for y in states.values()] for x in states.values()])
    np.testing.assert_allclose(measured.cka, expected, atol=1e-9)
    np.testing.assert_array_equal(measured.between("one", "other"), measured.cka[:3, 3:])
    table = measured.table()
    assert len(table) == 21 and len(measured.summary()) == 15
    row = table.query("model == 'one' and layer == 2 and other_model == 'other' and other_layer == 1")
    assert row["cka"].item() == measured.cka[2, 4]
    with pytest.raises(ValueError, match="measured were one, other"):
        measured.between("one", "third")


def test_a_layer_in_which_all_users_are_equal_has_none_and_is_crossed_out():
    model = build(configure("bert4rec", 30, max_len=11, hidden_size=8))  # its last position holds the mask token
    model.initialise(seed=0)
    measured = LinearCKA.from_captures({"bert4rec": spectral.capture(model, WINDOWS[1:], attention=False)})
    assert np.isnan(measured.cka[0]).all() and np.isnan(measured.by_chance[:, 0]).all()
    assert np.isfinite(measured.cka[1:, 1:]).all()
    crosses = [text for text in plot.cka(measured, "bert4rec").texts if text.get_text() == "×"]
    assert len(crosses) == 5
    assert np.isnan(linear_cka(np.ones((4, 2)), rows(4, 2)))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1), SEEDS)
def test_the_accumulator_equals_the_function_however_users_are_batched(sizes, seed):
    states = [torch.from_numpy(rows(sum(sizes), size, seed)) for size in (3, 2)]
    metric = LinearCKAMetric([3, 2])
    for batch in zip(*(x.split(sizes) for x in states), strict=True):
        metric.update(batch)
    pd.testing.assert_frame_equal(metric.compute().table(), cross_gram(states).result().table())
    assert metric.compute().cka[0, 1] == pytest.approx(linear_cka(*states))


@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.ones((3, 2)), np.ones((4, 2)), r"same users in every layer, got \[3, 4\]"),
        (np.ones(3), np.ones((3, 1)), r"\(n, D\)"),
        (np.ones((1, 2)), np.ones((1, 2)), "at least 2 users, got 1"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        linear_cka(x, y)
    with pytest.raises(ValueError, match="no hidden states"):
        LinearCKA.from_captures({"one": []})


def test_the_command_compares_models_on_the_users_that_both_have(call, checkpoint, sasrec_checkpoint, tmp_path):
    code, out, err = call("cka", checkpoint, sasrec_checkpoint, "--out", tmp_path, "--json")
    assert code == 0, err
    printed = json_of(out)
    loaded = {"bsarec": models.load(checkpoint), "sasrec": models.load(sasrec_checkpoint)}
    windows = {name: model.probe.input_ids[model.probe.uniform] for name, model in loaded.items()}
    assert torch.equal(windows["bsarec"], windows["sasrec"]) and printed["users"] == len(windows["bsarec"])
    states = {
        name: [hidden[:, -1].double().numpy() for hidden in next(spectral.capture(model, windows[name])).hidden]
        for name, model in loaded.items()
    }
    table = pd.read_csv(tmp_path / "cka.csv")
    row = table.query("model == 'bsarec' and layer == 1 and other_model == 'sasrec' and other_layer == 2")
    assert row["cka"].item() == pytest.approx(naive(states["bsarec"][1], states["sasrec"][2]), rel=1e-4)
    assert len(printed["pairs"]) == 15
    assert (tmp_path / "cka.png").exists()


def test_models_of_other_data_are_not_compared(call, checkpoint, tmp_path):
    from models.train import train

    settings = {"epochs": 1, "hidden_size": 8, "max_len": 20, "show_progress": False}
    other = train("sasrec", "synthetic:users=60,items=60", out=tmp_path / "other.pt", seed=1, **settings).path
    code, out, err = call("cka", checkpoint, other, "--out", tmp_path)
    assert code == 2 and out == "" and "different data; compare models of one dataset" in err
