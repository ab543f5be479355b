"""Statistics of attention maps, against loops over rows, numpy's eigenvalues and singular values, and closed forms."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import spectral
from spectral import AttentionStatistics, AttentionStatisticsMetric, attention_statistics, plot
from spectral.attention_statistics import MEASURES
from spectral.attention_statistics.eigenvalues import LARGE, hfc_factors, left_perron_vectors, second_moduli
from spectral.capture import Capture

SEEDS = st.integers(0, 2**32 - 1)


def attention(*shape: int, causal: bool = False, seed: int = 0) -> torch.Tensor:
    """Softmax of random scores, (..., N, N)."""
    scores = 2 * torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed % 2**31)).double()
    return (scores.masked_fill(torch.ones(shape[-1], shape[-1]).triu(1) > 0, -torch.inf) if causal else scores).softmax(
        -1
    )


def naive(a: np.ndarray, causal: bool, residual: float = 0.5) -> dict[str, float]:
    """Each measure of one map from its definition."""
    n = len(a)
    rows = [-sum(p * math.log(p) for p in row if p > 0) for row in a]
    most = [math.log(i + 1) if causal else math.log(n) for i in range(n)]
    p = np.eye(n) - np.ones((n, n)) / n
    mixed = residual * np.eye(n) + (1 - residual) * a
    return {
        "entropy": np.mean(rows),
        "relative_entropy": np.mean([row / m for row, m in zip(rows, most, strict=True) if m > 0]),
        "distance": np.mean([sum(a[i, j] * abs(i - j) for j in range(n)) for i in range(n)]),
        "lambda2": np.sort(np.abs(np.linalg.eigvals(a)))[-2],
        "hfc_factor": np.linalg.svd(p @ a @ p, compute_uv=False)[0],
        "residual_hfc_factor": np.linalg.svd(p @ mixed @ p, compute_uv=False)[0],
    }


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.booleans(), SEEDS, st.floats(0, 1))
def test_every_measure_is_that_of_its_definition(n, causal, seed, residual):
    maps = attention(3, 2, n, causal=causal, seed=seed)
    result = attention_statistics(maps, residual)
    for head in range(2):
        singles = pd.DataFrame([naive(one[head].numpy(), causal, residual) for one in maps])
        for name in MEASURES:
            assert getattr(result, name)[0, head] == pytest.approx(singles[name].mean(), abs=1e-6), name
            assert result.standard_error[name][0, head] == pytest.approx(singles[name].sem(), abs=1e-6), name
    assert result.sequences == 3


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.booleans(), SEEDS)
def test_no_application_scales_what_is_not_dc_by_more_than_the_factor(n, causal, seed):
    a = attention(n, causal=causal, seed=seed)
    result = attention_statistics(a)
    x = torch.randn(n, 50, generator=torch.Generator().manual_seed(seed % 2**31)).double()
    for matrix, factor in ((a, result.hfc_factor), (0.5 * torch.eye(n) + 0.5 * a, result.residual_hfc_factor)):
        before, after = ((y - y.mean(0)).norm(dim=0) for y in (x, matrix @ x))
        assert bool((after <= factor.item() * before + 1e-9).all())


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.booleans(), SEEDS)
def test_measures_keep_their_bounds(n, causal, seed):
    result = attention_statistics(attention(2, 3, 2, n, causal=causal, seed=seed))
    assert (result.relative_entropy >= 0).all() and (result.relative_entropy <= 1 + 1e-12).all()
    assert (result.lambda2 <= 1 + 1e-12).all() and 0 <= result.rollout_lambda2 <= 1 + 1e-12
    assert (result.perron >= -1e-12).all() and (result.rollout >= 0).all()
    np.testing.assert_allclose(result.perron.sum(-1), 1)
    assert result.rollout.sum() == pytest.approx(1)


def test_uniform_causal_attention_is_known_in_closed_form():
    n = 7
    rows = torch.arange(1, n + 1, dtype=torch.float64)[:, None]
    result = attention_statistics(torch.ones(n, n, dtype=torch.float64).tril() / rows)
    assert result.entropy.item() == pytest.approx(np.mean(np.log(np.arange(1, n + 1))))
    assert result.relative_entropy.item() == pytest.approx(1)
    assert result.distance.item() == pytest.approx((n - 1) / 4)  # row i is i / 2 away on average
    assert result.lambda2.item() == pytest.approx(1 / 2)
    np.testing.assert_allclose(result.perron[0, 0], np.eye(n)[0])


@pytest.mark.parametrize(
    "matrix, lambda2, factor, entropy, distance",
    [
        (np.eye(6), 1, 1, 0, 0),
        (np.full((6, 6), 1 / 6), 0, 0, math.log(6), 35 / 18),
        (np.roll(np.eye(6), 1, axis=1), 1, 1, 0, 10 / 6),
    ],
)
def test_identity_mean_and_shift_are_known_in_closed_form(matrix, lambda2, factor, entropy, distance):
    result = attention_statistics(matrix)
    assert result.lambda2.item() == pytest.approx(lambda2, abs=1e-7)
    assert result.hfc_factor.item() == pytest.approx(factor, abs=1e-12)
    assert result.entropy.item() == pytest.approx(entropy)
    assert result.distance.item() == pytest.approx(distance)
    assert result.residual_hfc_factor.item() <= 1 + 1e-12


def test_the_perron_vector_stays_under_the_map_also_where_there_are_several():
    maps = torch.stack([attention(6), attention(6, causal=True), torch.eye(6).double(), attention(6, seed=3)])
    pi = left_perron_vectors(maps)
    torch.testing.assert_close((pi[:, None] @ maps)[:, 0], pi, atol=1e-9, rtol=0)
    torch.testing.assert_close(pi.sum(-1), torch.ones(4).double())


@pytest.mark.parametrize("causal", [False, True])
def test_large_maps_have_the_eigenvalues_of_the_whole_decomposition(causal):
    maps = attention(2, LARGE + 5, causal=causal)
    maps[0] = 0.9 * torch.eye(LARGE + 5) + 0.1 * maps[0]
    for a, second, factor in zip(maps, second_moduli(maps), hfc_factors(maps), strict=True):
        expected = naive(a.numpy(), causal)
        assert second.item() == pytest.approx(expected["lambda2"], abs=1e-8)
        assert factor.item() == pytest.approx(expected["hfc_factor"], abs=1e-8)


def test_the_rollout_is_the_product_over_layers_of_head_means_and_residuals():
    maps = attention(3, 4, 2, 5, causal=True)  # (L, B, H, N, N)
    result = attention_statistics(maps, residual=0.3)
    last_rows, moduli = [], []
    for sequence in range(4):
        product = np.eye(5)
        for layer in range(3):
            product = (0.3 * np.eye(5) + 0.7 * maps[layer, sequence].mean(0).numpy()) @ product
        last_rows.append(product[-1])
        moduli.append(np.sort(np.abs(np.linalg.eigvals(product)))[-2])
    np.testing.assert_allclose(result.rollout, np.mean(last_rows, axis=0))
    assert result.rollout_lambda2 == pytest.approx(np.mean(moduli))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_accumulators_equal_the_function_merge_and_stay_small():
    maps = attention(2, 7, 3, 5)
    first, second = AttentionStatisticsMetric(2, 3, 5), AttentionStatisticsMetric(2, 3, 5)
    first.update(maps[:, :3])
    size = sum(value.numel() for value in first.metric_state.values())
    second.update(list(maps[:, 3:6]))
    second.update(maps[:, 6:])
    first.merge_state(second)
    pd.testing.assert_frame_equal(first.compute().table(), attention_statistics(maps).table())
    pd.testing.assert_frame_equal(first.compute().positions_table(), attention_statistics(maps).positions_table())
    assert sum(value.numel() for value in first.metric_state.values()) == size == 2 * 3 * (18 + 5) + 5 + 1
    with pytest.raises(ValueError, match="no sequences"):
        AttentionStatisticsMetric(2, 3, 5).compute()


def test_captures_are_measured_on_their_last_positions():
    maps = torch.zeros(1, 4, 2, 6, 6).double()
    maps[..., :2, :2], maps[..., 2:, 2:] = attention(2, causal=True), attention(1, 4, 2, 4, causal=True)
    captures = [Capture((), tuple(maps[:, part]), torch.ones(2, 6)) for part in (slice(0, 2), slice(2, 4))]
    result = AttentionStatistics.from_captures(captures, length=4)
    pd.testing.assert_frame_equal(result.table(), attention_statistics(maps[..., 2:, 2:]).table())
    with pytest.raises(ValueError, match="no captures"):
        AttentionStatistics.from_captures([])


@pytest.mark.parametrize(
    "maps, options, message",
    [
        (np.ones((3, 3)), {}, "row-stochastic.*row sums of 3 to 3"),
        (np.array([[2.0, -1.0], [0.5, 0.5]]), {}, "smallest entry of -1"),
        (np.full((2, 2), np.nan), {}, "finite"),
        (np.ones((1, 1)), {}, "at least 2 positions"),
        (np.ones((2, 3)), {}, r"\(N, N\)"),
        (np.eye(3), {"residual": 1.5}, "residual must lie in 0..1"),
        (np.ones((0, 1, 3, 3)), {}, "no sequences"),
        ([torch.eye(3)[None, None], torch.eye(4)[None, None]], {}, "same shape"),
    ],
)
def test_what_is_no_attention_is_refused(maps, options, message):
    with pytest.raises(ValueError, match=message):
        attention_statistics(maps, **options)


def test_the_command_writes_what_a_loop_over_users_gives(checkpoint, command, tmp_path):
    done = command("spectral.attention_statistics", checkpoint, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    model = models.load(checkpoint)
    windows = spectral.full_windows(model.probe.input_ids)
    table = pd.read_csv(tmp_path / "attention_statistics.csv").set_index(["layer", "head"])
    for layer, maps in enumerate(next(spectral.capture(model, windows, hidden=False)).attention, start=1):
        for head in range(maps.shape[1]):
            singles = pd.DataFrame([naive(one[head].double().numpy(), causal=True) for one in maps])
            for name, value in singles.mean().items():
                assert table.loc[(layer, head + 1), name] == pytest.approx(value, rel=1e-4), name
    printed = json.loads(done.stdout)
    assert [(row["layer"], row["head"]) for row in printed["maps"]] == list(table.index)
    assert sum(printed["rollout"]["last_row"]) == pytest.approx(1)


@pytest.mark.parametrize("heads, layers", [(1, 1), (3, 16)])
def test_figures_draw_heads_and_their_mean(heads, layers):
    results = {"sasrec": attention_statistics(attention(layers, 2, heads, 5, causal=True))}
    ax = plot.attention_statistics(results, "distance")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), results["sasrec"].distance.mean(1))
    assert len(ax.lines) == (1 if heads == 1 else 1 + heads)
    assert len(plot.attention_statistics_panels(results).axes) == 4
    np.testing.assert_allclose(
        plot.attention_statistics_rollout(results).lines[0].get_ydata(), results["sasrec"].rollout
    )
    with pytest.raises(ValueError, match="measure must be one of entropy"):
        plot.attention_statistics(results, "focus")
