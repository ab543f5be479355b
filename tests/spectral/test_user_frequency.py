"""How low-frequency users are, against numpy's Fourier transform user by user, and metrics by group of users."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.checkpoint import sequences_of
from models.datasets.attributes import Attributes
from models.errors import ConfigError, DataError
from models.evaluation import rank_targets
from models.train import train
from spectral import by_group, user_frequency
from spectral.user_frequency import SHARES

SEEDS = st.integers(0, 2**32 - 1)

# Items 1..5: attributes {1}, {1, 2}, none, {3}, {2, 3}.
ATTRIBUTES = Attributes(np.array([1, 1, 2, 3, 2, 3]), np.array([0, 1, 3, 3, 4, 6]))
MULTI_HOT = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]], dtype=float)


def naive(x: np.ndarray, c: int) -> dict[str, float]:
    """Each share of one signal (n, D), by its Fourier transform."""
    n = len(x)
    power = (np.abs(np.fft.fft(x, axis=0)) ** 2).sum(1)
    low = [k for k in range(n) if min(k, n - k) <= c // 2]
    if not power.sum():
        return dict.fromkeys(SHARES, math.nan)
    dc, lowest = power[0] / power.sum(), power[low].sum() / power.sum() if n > c else math.nan
    return {
        "dc_share": dc,
        "low_share": lowest,
        "dc_excess": (dc - 1 / n) / (1 - 1 / n) if n > 1 else math.nan,
        "low_excess": (lowest - c / n) / (1 - c / n) if n > c else math.nan,
    }


def windows_of(lengths: list[int], positions: int, seed: int) -> torch.Tensor:
    items = np.random.default_rng(seed).integers(1, 6, (len(lengths), positions))
    items[np.arange(positions) < positions - np.array(lengths)[:, None]] = 0
    return torch.from_numpy(items)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.sampled_from([1, 3, 5]), SEEDS, st.integers(1, 9))
def test_every_share_is_that_of_the_users_own_positions(lengths, c, seed, batch_size):
    windows = windows_of(lengths, 9, seed)
    embeddings = np.random.default_rng(seed).standard_normal((6, 4)) + 1
    table = user_frequency(windows, embeddings, c, ATTRIBUTES, batch_size=batch_size)
    assert list(table["user"]) == list(range(len(lengths))) and list(table["length"]) == lengths
    for row, length in enumerate(lengths):
        items = windows[row, 9 - length :].numpy()
        expected = naive(embeddings[items], c) if length else dict.fromkeys(SHARES, math.nan)
        categories = naive(MULTI_HOT[items], c) if length else dict.fromkeys(SHARES, math.nan)
        whole = naive(embeddings[windows[row].numpy()], c)
        for name in SHARES:
            assert table[name][row] == pytest.approx(expected[name], nan_ok=True, abs=1e-12), name
            assert table[f"category_{name}"][row] == pytest.approx(categories[name], nan_ok=True, abs=1e-12), name
        for name in ("dc_share", "low_share"):
            assert table[f"window_{name}"][row] == pytest.approx(whole[name], nan_ok=True), name


@settings(max_examples=25)
@given(st.integers(3, 12), SEEDS, st.floats(0.01, 100), st.integers(0, 11))
def test_shares_know_neither_scale_nor_where_the_ring_starts_and_keep_their_bounds(n, seed, scale, shift):
    windows = windows_of([n], n, seed)
    embeddings = np.random.default_rng(seed).standard_normal((6, 3)) + 0.1
    table = user_frequency(windows, embeddings)
    moved = user_frequency(windows.roll(shift, 1), scale * embeddings)
    pd.testing.assert_frame_equal(table, moved)
    assert 0 <= table["dc_share"][0] <= 1 + 1e-12
    assert not table["low_share"][0] < table["dc_share"][0] - 1e-12
    assert table["dc_share"][0] == pytest.approx(table["window_dc_share"][0])  # a full window has no padding


def test_noise_has_no_excess_and_a_constant_taste_has_all_of_it():
    generator = np.random.default_rng(0)
    embeddings = generator.standard_normal((2001, 16))
    embeddings[0] = 0
    noise = torch.from_numpy(generator.integers(1, 2001, (2000, 20)))
    assert user_frequency(noise, embeddings)[["dc_excess", "low_excess"]].mean().abs().max() < 0.01
    same = user_frequency(torch.full((1, 20), 7), embeddings)
    assert same[["dc_share", "low_share", "dc_excess", "low_excess"]].to_numpy() == pytest.approx(1)


def test_padding_makes_a_short_history_seem_of_low_frequency():
    windows = torch.tensor([[0] * 16 + [1, 2, 1, 2]])
    embeddings = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    table = user_frequency(windows, embeddings, c=3)
    assert table["low_share"][0] == pytest.approx(0, abs=1e-12) and table["window_low_share"][0] > 0.7


def test_groups_are_quantiles_and_hold_every_user_that_has_the_measure():
    measure = pd.Series([0.1, 0.9, np.nan, 0.5, 0.7, 0.3, 0.2, 0.8, 0.6], name="dc_share")
    metric = np.arange(9.0)
    table = by_group(measure, {"bsarec": metric, "sasrec": 1 - metric}, groups=4).table()
    assert list(table["users"]) == [2] * 8 and list(table["model"]) == ["bsarec"] * 4 + ["sasrec"] * 4
    np.testing.assert_allclose(table["from"][:4], [0.1, 0.3, 0.6, 0.8])
    np.testing.assert_allclose(table["to"][:4], [0.2, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(table["mean"][:4], [(0 + 6) / 2, (3 + 5) / 2, (4 + 8) / 2, (1 + 7) / 2])
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()
    pd.testing.assert_frame_equal(table, by_group(measure, {"bsarec": metric, "sasrec": 1 - metric}, groups=4).table())


def test_equal_users_are_in_one_group_and_a_lone_one_has_no_interval():
    tied = by_group(pd.Series([0.5] * 6, name="x"), {"bsarec": [1.0] * 6}, groups=3).table()
    assert list(tied["users"]) == [6]
    half = by_group(pd.Series([0.0] * 5 + [1.0], name="x"), {"bsarec": [0.0] * 5 + [1.0]}, groups=6).table()
    assert half["users"].sum() == 6 and half.query("users == 1")["low"].isna().all()


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).exponential(size=400)
    table = by_group(pd.Series(np.arange(400.0), name="x"), {"bsarec": values}, groups=1).table()
    error = 1.96 * values.std(ddof=1) / 20
    assert table["low"][0] == pytest.approx(values.mean() - error, abs=0.03)
    assert table["high"][0] == pytest.approx(values.mean() + error, abs=0.03)


def test_what_cannot_be_grouped_or_embedded_is_refused():
    with pytest.raises(ConfigError, match="groups must be at least 1"):
        by_group(pd.Series([1.0]), {"a": [1.0]}, groups=0)
    with pytest.raises(DataError, match="no user has a low_share"):
        by_group(pd.Series([np.nan], name="low_share"), {"a": [1.0]})
    with pytest.raises(ValueError, match=r"hold item 5, there are embeddings of 0\.\.3"):
        user_frequency(torch.tensor([[0, 5, 2]]), np.ones((4, 2)))
    with pytest.raises(ValueError, match="odd"):
        user_frequency(torch.tensor([[1, 2, 3]]), np.ones((4, 2)), c=2)


def test_the_command_groups_users_and_ranks_for_each_group(checkpoint, sasrec_checkpoint, command, tmp_path):
    done = command(
        "spectral.user_frequency", checkpoint, sasrec_checkpoint, "--groups", "3", "--json", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["measure"], printed["metric"], printed["c"], len(printed["groups"])) == (
        "low_excess",
        "NDCG@20",
        3,
        6,
    )
    model = models.load(sasrec_checkpoint)
    ranks = rank_targets(model, sequences_of(model), "test").numpy()
    users = pd.read_csv(tmp_path / "user_frequency_users.csv")
    np.testing.assert_allclose(users["NDCG@20 sasrec"], np.where(ranks <= 20, 1 / np.log2(ranks + 1), 0))
    first = printed["groups"][3]
    members = users[users["low_excess"].between(first["from"], first["to"])]
    assert first["model"] == "sasrec" and len(members) == first["users"]
    assert first["mean"] == pytest.approx(members["NDCG@20 sasrec"].mean())
    assert {path.name for path in tmp_path.iterdir()} >= {f"user_frequency.{kind}" for kind in ("png", "pdf", "csv")}


def test_shares_are_of_real_items_and_those_of_windows_of_what_the_model_is_given(cyclic_checkpoint, command, tmp_path):
    done = command("spectral.user_frequency", cyclic_checkpoint, "--out", tmp_path)
    assert done.returncode == 0 and "cyclic padding" not in done.stderr
    users = pd.read_csv(tmp_path / "user_frequency_users.csv")
    model = models.load(cyclic_checkpoint)
    sequences = sequences_of(model)
    embeddings = model.items.weight.detach().double().numpy()
    for row, window in enumerate(sequences.windows("test", 20).inputs):
        history = window[window > 0]
        own = naive(embeddings[history], 3)
        given = naive(embeddings[np.pad(history, (20 - len(history), 0), mode="wrap")], 3)
        assert users["length"][row] == len(history)
        for name in SHARES:
            assert users[name][row] == pytest.approx(own[name], nan_ok=True, abs=1e-9), name
        for name in ("dc_share", "low_share"):
            assert users[f"window_{name}"][row] == pytest.approx(given[name]), name
    assert (users["length"] < 20).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--measure", "loudness"], "--measure must be one of dc_share"),
        (["--metric", "AUC"], "--metric must be one of HR@5"),
        (["--measure", "category_dc_share"], "needs attributes of the items"),
        (["--c", "4"], "--c must be odd"),
    ],
)
def test_mistakes_end_with_a_sentence(arguments, message, checkpoint, command):
    done = command("spectral.user_frequency", checkpoint, *arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_checkpoints_of_two_datasets_are_not_compared(checkpoint, command, tmp_path):
    options = {"epochs": 1, "hidden_size": 16, "max_len": 12, "show_progress": False}
    other = train("gru4rec", "synthetic:users=110,items=60", out=tmp_path / "other.pt", **options).path
    done = command("spectral.user_frequency", checkpoint, other)
    assert done.returncode == 2 and "compare models of one dataset" in done.stderr
