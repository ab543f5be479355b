"""Statistics of attention maps, against loops over rows, numpy's eigenvalues and singular values, and closed forms."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from attention_maps import attention, naive
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import spectral
from spectral import AttentionStatistics, AttentionStatisticsMetric, attention_statistics
from spectral.attention_statistics import MEASURES
from spectral.capture import Capture

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=30)
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


@settings(max_examples=30)
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
