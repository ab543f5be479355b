"""Smoothness along positions, against loops over positions, explicit Laplacians, numpy's FFT and SVD."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import models
import spectral
from spectral import Smoothing, SmoothingMetric, dc_share, dirichlet_energy, high_low_ratio, plot, smoothing
from spectral.capture import Capture
from spectral.smoothing import MEASURES

SEEDS = st.integers(0, 2**32 - 1)
RELATIVE = [name for name in MEASURES if name not in ("dirichlet_path", "dirichlet_ring")]


def signal(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size)) + 0.5


def laplacian(n: int, ring: bool) -> np.ndarray:
    weights = np.zeros((n, n))
    for i in range(n if ring else n - 1):
        weights[i, (i + 1) % n] += 1
        weights[(i + 1) % n, i] += 1
    return np.diag(weights.sum(1)) - weights


def naive(x: np.ndarray, c: int) -> dict[str, float]:
    """Each measure of one sequence (n, D) from its definition."""
    n = len(x)
    distances = [
        1 - x[i] @ x[j] / (np.linalg.norm(x[i]) * np.linalg.norm(x[j])) for i in range(n) for j in range(n) if i != j
    ]
    energy = (x**2).sum()
    path, ring = (np.trace(x.T @ laplacian(n, ring) @ x) for ring in (False, True))
    values = np.linalg.svd(x, compute_uv=False)
    p = values / values.sum()
    power = (np.abs(np.fft.fft(x, axis=0)) ** 2).sum(1) / n
    low = [k for k in range(n) if min(k, n - k) <= c // 2]
    return {
        "mad": np.mean(distances),
        "dirichlet_path": path,
        "dirichlet_ring": ring,
        "dirichlet_path_relative": path / energy,
        "dirichlet_ring_relative": ring / energy,
        "effective_rank": math.exp(-sum(q * math.log(q) for q in p if q > 0)),
        "stable_rank": energy / values[0] ** 2,
        "dc_share": power[0] / energy,
        "high_low_ratio": (energy - power[low].sum()) / power[low].sum() if n > c else math.nan,
    }


@settings(max_examples=30)
@given(st.integers(2, 14), st.integers(2, 6), st.sampled_from([1, 3, 5]), SEEDS)
def test_every_measure_is_that_of_its_definition(n, size, c, seed):
    x = signal(n, size, seed)
    result = smoothing(x, c=c)
    for name, expected in naive(x, c).items():
        assert getattr(result, name)[0] == pytest.approx(expected, nan_ok=True), name


def test_padding_is_left_out_and_lengths_are_measured_one_by_one():
    lengths, n, size = [2, 3, 5, 9, 9, 1, 0], 9, 4
    hidden, mask = np.full((len(lengths), n, size), 100.0), np.zeros((len(lengths), n), dtype=bool)
    singles = []
    for row, length in enumerate(lengths):
        if length:
            hidden[row, -length:], mask[row, -length:] = signal(length, size, row), True
        if length >= 2:
            singles.append(naive(signal(length, size, row), 3))
    result = smoothing(hidden, mask)
    frame = pd.DataFrame(singles)
    for name in MEASURES:
        values = frame[name].dropna()
        assert getattr(result, name)[0] == pytest.approx(values.mean())
        assert result.standard_error[name][0] == pytest.approx(values.sem())
    assert (result.sequences, result.long_sequences) == (5, 3)


@pytest.mark.parametrize("n, k", [(8, 1), (8, 3), (9, 2), (8, 4)])
def test_a_wave_has_the_eigenvalue_of_its_frequency_on_the_ring(n, k):
    wave = torch.cos(2 * math.pi * k * torch.arange(n, dtype=torch.float64) / n)[:, None]
    assert dirichlet_energy(wave, "ring", relative=True).item() == pytest.approx(2 - 2 * math.cos(2 * math.pi * k / n))


def test_equal_positions_are_wholly_smooth_and_alternating_ones_are_not():
    constant = smoothing(np.ones((6, 3)))
    expected = {
        "mad": 0,
        "dirichlet_path": 0,
        "dirichlet_ring": 0,
        "stable_rank": 1,
        "dc_share": 1,
        "high_low_ratio": 0,
    }
    for name, value in expected.items():
        assert getattr(constant, name)[0] == pytest.approx(value, abs=1e-12), name
    assert constant.effective_rank[0] == pytest.approx(1, abs=1e-6)
    alternating = smoothing(np.outer((-1.0) ** np.arange(6), np.ones(3)))
    assert alternating.dirichlet_ring_relative[0] == pytest.approx(4)
    assert alternating.dc_share[0] == pytest.approx(0, abs=1e-12)
    assert alternating.mad[0] == pytest.approx(1 + 3 / 15)  # of 15 pairs 9 point apart and 6 the same way


@settings(max_examples=30)
@given(st.integers(4, 12), st.integers(1, 5), SEEDS, st.floats(1e-3, 1e3))
def test_relative_measures_do_not_know_the_scale_and_keep_their_bounds(n, size, seed, scale):
    x = signal(n, size, seed)
    result, scaled = smoothing(x), smoothing(scale * x)
    for name in RELATIVE:
        assert getattr(scaled, name)[0] == pytest.approx(getattr(result, name)[0], abs=1e-9), name
    assert scaled.dirichlet_path[0] == pytest.approx(scale**2 * result.dirichlet_path[0])
    bounds = {"mad": (0, 2), "dirichlet_path_relative": (0, 4), "dirichlet_ring_relative": (0, 4), "dc_share": (0, 1)}
    bounds |= {"effective_rank": (1, min(n, size)), "stable_rank": (1, min(n, size)), "high_low_ratio": (0, math.inf)}
    for name, (least, most) in bounds.items():
        assert least - 1e-9 <= getattr(result, name)[0] <= most + 1e-9, name


@settings(max_examples=30)
@given(st.integers(3, 12), st.integers(1, 5), SEEDS, st.integers(0, 11))
def test_measures_on_the_ring_do_not_know_where_it_starts(n, size, seed, shift):
    x = torch.from_numpy(signal(n, size, seed))
    moved = x.roll(shift, 0)
    assert dirichlet_energy(moved, "ring").item() == pytest.approx(dirichlet_energy(x, "ring").item())
    assert high_low_ratio(moved, 1).item() == pytest.approx(high_low_ratio(x, 1).item())
    assert dc_share(x).item() == pytest.approx(1 / (1 + high_low_ratio(x, 1).item()))  # with c = 1, LFC is DC


def test_a_ring_of_two_positions_has_two_edges():
    x = torch.tensor([[0.0], [3.0]])
    assert (dirichlet_energy(x, "path").item(), dirichlet_energy(x, "ring").item()) == (9, 18)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), SEEDS)
def test_the_accumulator_equals_the_function_however_sequences_are_batched(sizes, seed):
    assume(sum(sizes) > 0)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, sum(sizes), 6, 4, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) >= torch.randint(0, 5, (sum(sizes), 1), generator=generator)
    metric = SmoothingMetric(3)
    for part, real in zip(hidden.split(sizes, dim=1), mask.split(sizes), strict=True):
        metric.update(part, real)
    pd.testing.assert_frame_equal(metric.compute().table(), smoothing(hidden, mask).table())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_accumulators_merge_and_stay_small():
    hidden = torch.randn(2, 9, 5, 3, generator=torch.Generator().manual_seed(0))
    first, second = SmoothingMetric(2), SmoothingMetric(2)
    first.update(hidden[:, :4])
    second.update(hidden[:, 4:])
    first.merge_state(second)
    pd.testing.assert_frame_equal(first.compute().table(), smoothing(hidden).table())
    assert sum(value.numel() for value in first.metric_state.values()) == 3 * 2 * len(MEASURES)


def test_captures_are_measured_layer_by_layer():
    hidden = torch.randn(3, 7, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) >= torch.arange(7)[:, None] % 3
    captures = [Capture(tuple(hidden[:, part]), (), mask[part]) for part in (slice(0, 4), slice(4, 7))]
    result = Smoothing.from_captures(captures, c=1)
    pd.testing.assert_frame_equal(result.table(), smoothing(hidden, mask, c=1).table())
    with pytest.raises(ValueError, match="no hidden states"):
        Smoothing.from_captures([])


def test_a_single_sequence_has_no_standard_error_and_lone_positions_no_measure():
    assert np.isnan(smoothing(signal(5, 3)).standard_error["mad"][0])
    lone = smoothing(signal(5, 3), mask=[[False] * 4 + [True]])
    assert lone.sequences == 0 and np.isnan(lone.mad[0])


@pytest.mark.parametrize(
    "hidden, options, message",
    [
        (np.ones(3), {}, r"\(B, N, D\)"),
        (np.ones((2, 3, 0)), {}, r"\(B, N, D\)"),
        (np.full((2, 3), np.nan), {}, "finite"),
        (np.zeros((4, 3)), {}, "zero"),
        (np.ones((4, 3)), {"c": 2}, "odd"),
        (np.ones((4, 3)), {"c": -1}, "odd|at least"),
        (np.ones((4, 3)), {"mask": [[True, True, True, False]]}, "padding must be on the left"),
        (np.ones((4, 3)), {"mask": [[True]]}, r"mask must be \(B, N\)"),
        ([], {}, "no hidden states"),
    ],
)
def test_what_is_no_hidden_state_is_refused(hidden, options, message):
    with pytest.raises(ValueError, match=message):
        smoothing(hidden, **options)


def test_an_unknown_graph_or_measure_is_refused():
    with pytest.raises(ValueError, match="path or ring, got 'star'"):
        dirichlet_energy(torch.ones(3, 2), "star")
    with pytest.raises(ValueError, match="measure must be one of mad"):
        plot.smoothing({"bsarec": smoothing(np.ones((4, 3)))}, "roughness")


def test_the_command_writes_what_a_loop_over_users_gives(checkpoint, command, tmp_path):
    done = command("spectral.smoothing", checkpoint, "--out", tmp_path, "--json", "--c", "5")
    assert done.returncode == 0, done.stderr
    model = models.load(checkpoint)
    windows = model.probe.input_ids[model.probe.uniform]
    expected: dict[int, list[dict[str, float]]] = {}
    for window in windows:
        n = int((window > 0).sum())
        for layer, hidden in enumerate(next(spectral.capture(model, window[None])).hidden if n >= 2 else ()):
            expected.setdefault(layer, []).append(naive(hidden[0, -n:].double().numpy(), 5))
    table = pd.read_csv(tmp_path / "smoothing.csv")
    printed = json.loads(done.stdout)
    for layer, singles in expected.items():
        for name, value in pd.DataFrame(singles).mean().items():
            assert table[name][layer] == pytest.approx(value, rel=1e-4), name
            assert printed["layers"][layer][name] == pytest.approx(value, rel=1e-4), name
    assert printed["sequences"] == len(expected[0]) and printed["c"] == 5


def test_more_modes_than_the_window_are_refused_by_the_command(checkpoint, command):
    done = command("spectral.smoothing", checkpoint, "--c", "21")
    assert done.returncode == 2 and "error: --c" in done.stderr
