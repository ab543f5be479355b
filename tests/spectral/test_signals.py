"""Histories as signals, against a transform written out and against what energy and projections must fulfil."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import load, sequences_of
from models.errors import DataError
from spectral import extreme_signals, low_frequency_share, user_signal

Command = Callable[..., subprocess.CompletedProcess[str]]


def naive_spectrum(x: np.ndarray) -> np.ndarray:
    """The energy at each frequency 0..N//2 by the sum that defines the transform, k and N - k together."""
    length = len(x)
    energy = np.zeros(length // 2 + 1)
    for k in range(length):
        wave = np.exp(-2j * np.pi * k * np.arange(length) / length) / np.sqrt(length)
        energy[min(k, length - k)] += (np.abs(wave @ x) ** 2).sum()
    return energy


def naive_low(x: np.ndarray, c: int) -> np.ndarray:
    """The part of a signal at the frequencies up to (c - 1) / 2, wave by wave."""
    length = len(x)
    low = np.zeros(x.shape, dtype=complex)
    for k in range(-(c // 2), c // 2 + 1):
        wave = np.exp(2j * np.pi * k * np.arange(length) / length) / np.sqrt(length)
        low += np.outer(wave, wave.conj() @ x)
    return low.real


def signal(length: int, seed: int = 0, dimensions: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((length, dimensions))


@pytest.mark.parametrize(("length", "c"), [(12, 3), (13, 5), (7, 7), (1, 1), (2, 1)])
def test_spectrum_and_low_frequencies_are_those_of_the_written_out_transform(length: int, c: int):
    x = signal(length)
    found = user_signal(x, c)
    np.testing.assert_allclose(found.energy, naive_spectrum(x), atol=1e-12)
    np.testing.assert_allclose(found.low, naive_low(x, c), atol=1e-12)
    np.testing.assert_allclose(found.low + found.high, x, atol=1e-12)
    assert found.low_share == pytest.approx((naive_low(x, c) ** 2).sum() / (x**2).sum())


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(0, 100), st.data())
def test_energy_is_kept_and_low_and_high_are_orthogonal(length: int, seed: int, data: st.DataObject):
    c = 2 * data.draw(st.integers(0, (length - 1) // 2)) + 1
    x = signal(length, seed)
    found = user_signal(x, c)
    assert found.energy.sum() == pytest.approx((x**2).sum())
    assert (found.low * found.high).sum() == pytest.approx(0, abs=1e-9)
    share = low_frequency_share(torch.from_numpy(x)[None], c)
    assert share.item() == pytest.approx(found.low_share, abs=1e-12) and 0 <= found.low_share <= 1 + 1e-12


def test_a_constant_is_all_low_and_an_alternation_all_high():
    constant, alternation = np.ones((10, 3)), np.outer((-1.0) ** np.arange(10), [1, 2, 3])
    assert user_signal(constant, 1).low_share == pytest.approx(1)
    assert user_signal(alternation, 9).low_share == pytest.approx(0, abs=1e-12)


def test_the_direction_is_where_the_larger_part_exceeds_the_other_most_and_has_a_sign():
    x = signal(20)
    found = user_signal(x)
    low, high = naive_low(x, 3), x - naive_low(x, 3)
    assert found.low_share < 0.5
    excess = ((high @ found.direction) ** 2).sum() - ((low @ found.direction) ** 2).sum()
    assert excess == pytest.approx(np.linalg.eigvalsh(high.T @ high - low.T @ low)[-1])
    np.testing.assert_allclose(user_signal(-x).direction, found.direction, atol=1e-12)


@settings(max_examples=60)
@given(st.integers(3, 30), st.integers(1, 6), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 3.0]), st.booleans())
def test_what_is_said_of_a_user_has_the_most_energy_on_the_axis_that_is_drawn(n, size, seed, level, drifts):
    time = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x = signal(n, seed, size) + level + (2 * np.cos(time)[:, None] if drifts else 0)
    found = user_signal(x, 3)
    low = naive_low(x, 3)
    parts = {"stays at one level": 0 * x + x.mean(0), "drifts slowly": low - x.mean(0), "changes abruptly": x - low}
    drawn = {name: ((part @ found.direction) ** 2).sum() for name, part in parts.items()}
    high, slow = drawn.pop("changes abruptly"), sum(drawn.values())
    if found.course == "changes abruptly":
        assert found.low_share < 0.5 and high >= slow - 1e-9
    else:
        assert (
            found.low_share >= 0.5 and slow >= high - 1e-9 and drawn[found.course] == pytest.approx(max(drawn.values()))
        )


def test_the_user_of_the_most_low_energy_is_not_said_to_stay_where_it_does_not():
    n = 20
    time = 2 * np.pi * np.arange(n) / n
    jumps = (-1.0) ** np.arange(n)
    # Around an offset of 1 the first axis jumps by 3; the drift is on the second axis, and holds most of the energy.
    offset_and_jumps, drift = 1 + 3 * jumps, 6 * np.cos(time)
    found = user_signal(np.stack([offset_and_jumps, drift], axis=1), 3)
    assert found.course == "drifts slowly" and found.low_share > 0.6
    np.testing.assert_allclose(np.abs(found.direction), [0, 1], atol=0.1)
    # Most energy of the first axis is slow, but that of the whole signal is fast and spread over other axes.
    spread = np.stack([4 * np.cos(time), *(3 * np.roll(jumps, k) for k in range(3))], axis=1)
    found = user_signal(spread, 3)
    assert found.course == "changes abruptly" and abs(found.direction[0]) < 0.1
    table = np.vstack([np.zeros(1), np.arange(1.0, 7)[:, None] - 3.5])  # all users of these items change abruptly
    most, least = extreme_signals(model_of(table), torch.tensor([[1, 6, 1, 6, 1, 6], [6, 2, 5, 1, 6, 1]]), c=1)
    assert (most.course, least.course) == ("changes abruptly", "changes abruptly")


@pytest.mark.parametrize(
    ("x", "c", "items", "message"),
    [
        (np.ones(5), 1, (), r"\(N, D\)"),
        (np.ones((0, 2)), 1, (), r"\(N, D\)"),
        (np.ones((5, 2)), 4, (), "c must be odd"),
        (np.full((5, 2), np.nan), 3, (), "finite"),
        (np.ones((5, 2)), 3, [1, 2], "an item for each of 5 positions"),
    ],
)
def test_unusable_signals_are_refused(x: np.ndarray, c: int, items: object, message: str):
    with pytest.raises(ValueError, match=message):
        user_signal(x, c, items)


def model_of(table: np.ndarray, **config: object) -> SimpleNamespace:
    return SimpleNamespace(items=SimpleNamespace(weight=torch.from_numpy(table)), config=SimpleNamespace(**config))


def test_users_are_chosen_by_their_share_among_full_windows():
    table = np.array([[9.0], [1], [-1]])
    constant, alternating, mixed = [1, 1, 1, 1, 1, 1], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1, 2]
    windows = torch.tensor([[0, 1, 1, 1, 1, 1], mixed, alternating, constant, constant])
    for batch_size in (1, 2, 256):
        most, least = extreme_signals(model_of(table), windows, [10, 11, 12, 13, 14], 1, batch_size)
        assert (most.user, least.user) == (13, 12)  # the first of equals, and none with padding
        assert most.items.tolist() == constant and least.items.tolist() == alternating
    assert extreme_signals(model_of(table, c=5), windows)[0].c == 5
    assert extreme_signals(model_of(table), windows)[0].c == 3
    with pytest.raises(DataError, match="none of the 1 users has a full window"):
        extreme_signals(model_of(table), windows[:1])


def test_command_shows_the_extreme_users_of_a_checkpoint(command: Command, checkpoint: Path, tmp_path: Path):
    done = command("spectral.signals", checkpoint, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in tmp_path.glob("signals.*")} == {".png", ".pdf", ".csv"}
    model = load(checkpoint)
    windows = model.probe.input_ids.numpy()
    embeddings = model.state_dict()["items.weight"].double().numpy()
    shares = {
        int(user): naive_spectrum(embeddings[window])[:3].sum() / (embeddings[window] ** 2).sum()  # c = 5
        for user, window in zip(model.probe.users, windows, strict=True)
        if window.all()
    }
    printed = json.loads(done.stdout)
    assert printed["c"] == 5
    most, least = printed["users"]
    assert most["low_share"] == pytest.approx(max(shares.values())) == shares[most["user"]]
    assert least["low_share"] == pytest.approx(min(shares.values())) == shares[least["user"]]
    table = pd.read_csv(tmp_path / "signals.csv")
    assert table.user.unique().tolist() == [most["user"], least["user"]]


@pytest.mark.parametrize("options", [[], ["--data", "synthetic:users=120,items=60"]])
def test_command_takes_the_windows_with_the_padding_of_the_model(
    command: Command, cyclic_checkpoint: Path, tmp_path: Path, options: list[str]
):
    done = command("spectral.signals", cyclic_checkpoint, *options, "--out", tmp_path, "--json", "--format", "csv")
    assert done.returncode == 0 and "120 of 120 users have a full window" in done.stderr
    assert "note: cyclic padding fills shorter histories up" in done.stderr
    model = load(cyclic_checkpoint)
    sequences = sequences_of(model)
    histories = [row[row > 0] for row in sequences.windows("test", 20).inputs]
    embeddings = model.state_dict()["items.weight"].double().numpy()
    shares = []
    for history in histories:
        x = embeddings[np.pad(history, (20 - len(history), 0), mode="wrap")]
        shares.append(naive_spectrum(x)[:2].sum() / (x**2).sum())  # c = 3
    assert min(len(histories[index]) for index in (np.argmax(shares), np.argmin(shares))) < 20
    printed = json.loads(done.stdout)["users"]
    assert [signal["user"] for signal in printed] == [
        sequences.users[index] for index in (np.argmax(shares), np.argmin(shares))
    ]
    assert [signal["low_share"] for signal in printed] == pytest.approx([max(shares), min(shares)])


@pytest.mark.parametrize(("options", "message"), [(["--c", "4"], "c must be odd"), (["--data", "nowhere"], "nowhere")])
def test_command_names_mistakes(command: Command, checkpoint: Path, options: list[str], message: str):
    done = command("spectral.signals", checkpoint, *options)
    assert done.returncode == 2 and message in done.stderr
