"""The frequency response of attention, against the DFT matrix written out and against closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from json_output import json_of

import spectral
from models.errors import ConfigError
from spectral import FrequencyResponse, FrequencyResponseMetric, frequency_response, full_windows
from spectral.capture import Capture

KEYS = ["layer", "head", "gain_dc_db", "gain_nyquist_db", "self_gain_nyquist_db", "cutoff", "passed_ratio"]
SEEDS = st.integers(0, 2**32 - 1)


def random_attention(*shape: int, seed: int = 0, causal: bool = False) -> torch.Tensor:
    scores = torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if causal:
        scores = scores.masked_fill(torch.ones(shape[-1], shape[-1]).triu(1).bool(), -torch.inf)
    return (2 * scores).softmax(-1)


def transfer(a: np.ndarray) -> np.ndarray:
    """H = F A F^-1 with the unitary DFT matrix, as in the definition."""
    n = np.arange(len(a))
    dft = np.exp(-2j * np.pi * np.outer(n, n) / len(a)) / np.sqrt(len(a))
    return dft @ a @ dft.conj().T


def a_response(gain: np.ndarray) -> FrequencyResponse:
    return FrequencyResponse(gain=gain, self_gain=gain, positions=4, users=1, layers=(1,))


def captured(attention: torch.Tensor) -> Capture:
    """A capture of layers (L, B, H, N, N)."""
    return Capture(hidden=(None,), attention=tuple(attention), mask=torch.ones(attention.shape[1], attention.shape[-1]))


@given(st.integers(1, 17), SEEDS)
def test_gain_is_the_norm_of_the_columns_of_the_transfer_matrix(length, seed):
    a = random_attention(1, 1, length, seed=seed)
    response, h = frequency_response(a, c=1), transfer(a[0, 0].numpy())
    k = np.arange(length // 2 + 1)
    np.testing.assert_allclose(response.gain[0, 0], np.linalg.norm(h[:, k], axis=0), atol=1e-13)
    np.testing.assert_allclose(response.self_gain[0, 0], np.abs(h[k, k]), atol=1e-13)


@given(st.integers(1, 60), SEEDS, st.booleans(), st.sampled_from([torch.float64, torch.float32]))
def test_row_stochastic_attention_passes_dc_at_0_db(length, seed, causal, dtype):
    a = random_attention(3, 2, length, seed=seed, causal=causal).to(dtype)
    response = frequency_response(a, c=1)
    np.testing.assert_allclose(response.gain_db[..., 0], 0, atol=1e-12 if dtype == torch.float64 else 1e-5)
    np.testing.assert_allclose(response.head_mean.gain_db[..., 0], 0, atol=1e-12 if dtype == torch.float64 else 1e-5)


@given(st.integers(2, 24).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(-1, 1))))
def test_circulant_attention_has_the_gain_of_its_kernel(kernel):
    length = len(kernel)
    circulant = torch.from_numpy(np.stack([np.roll(kernel[::-1], i + 1) for i in range(length)]))
    expected = np.abs(np.fft.rfft(kernel))
    response = frequency_response(circulant, c=1)
    np.testing.assert_allclose(response.gain[0, 0], expected, atol=1e-12)
    np.testing.assert_allclose(response.self_gain[0, 0], expected, atol=1e-12)  # no wave becomes another one


def test_uniform_attention_passes_only_the_mean():
    response = frequency_response(torch.full((8, 8), 1 / 8, dtype=torch.float64))
    np.testing.assert_allclose(response.gain[0, 0], np.eye(5)[0], atol=1e-15)
    assert response.passed_ratio[0, 0] < 1e-30


def test_identity_passes_everything_and_never_cuts_off():
    response = frequency_response(torch.eye(9), c=3)
    np.testing.assert_allclose(response.gain_db, 0, atol=1e-6)
    assert math.isnan(response.cutoff[0, 0])
    assert response.passed_ratio[0, 0] == pytest.approx(6 / 3)  # nine modes, three of them low


@pytest.mark.parametrize("length", [6, 7])
def test_energy_over_all_modes_is_that_of_the_matrix(length):
    a = random_attention(1, 1, length, seed=3)
    response = frequency_response(a, c=3)
    low = (response.gain[0, 0, :2] ** 2 * [1, 2]).sum()
    assert low * (1 + response.passed_ratio[0, 0]) == pytest.approx(float(a.square().sum()))


def test_passed_ratio_counts_pairs_twice_and_nyquist_once():
    h = transfer(random_attention(1, 1, 8, seed=5)[0, 0].numpy())
    power = np.linalg.norm(h, axis=0) ** 2  # of each of the 8 modes
    low = [0, 1, 2, 6, 7]
    expected = power[[3, 4, 5]].sum() / power[low].sum()
    assert frequency_response(random_attention(1, 1, 8, seed=5), c=5).passed_ratio[0, 0] == pytest.approx(expected)


def test_power_is_averaged_over_sequences_and_heads_not_decibels():
    identity, uniform = torch.eye(4, dtype=torch.float64), torch.full((4, 4), 0.25, dtype=torch.float64)
    over_sequences = frequency_response(torch.stack([identity, uniform])[:, None])
    np.testing.assert_allclose(over_sequences.gain[0, 0], [1, 0.5**0.5, 0.5**0.5], atol=1e-14)
    over_heads = frequency_response(torch.stack([identity, uniform])[None]).head_mean
    np.testing.assert_allclose(over_heads.gain[0, 0], [1, 0.5**0.5, 0.5**0.5], atol=1e-14)
    assert over_sequences.users == 2 and over_heads.users == 1


def test_cutoff_is_interpolated_in_db():
    kernel_gain = 10 ** (np.array([0, -2, -6, -9, -20]) / 20)
    kernel = torch.from_numpy(np.fft.irfft(kernel_gain, 8))
    circulant = torch.stack([kernel.flip(0).roll(i + 1) for i in range(8)])
    assert frequency_response(circulant).cutoff[0, 0] == pytest.approx(1.25)


def test_cutoff_of_attention_that_removes_a_frequency_is_just_before_it():
    response = a_response(np.array([[[1.0, 1.0, 0.0]]]))
    assert response.cutoff[0, 0] == 1.0
    nothing = a_response(np.zeros((1, 1, 3)))
    assert math.isnan(nothing.cutoff[0, 0])


def test_frequencies_are_cycles_per_sequence_and_radians_per_position():
    response = frequency_response(random_attention(1, 1, 50))
    assert response.frequency[-1] == 25 and response.angular_frequency[-1] == pytest.approx(np.pi)


def test_layers_may_be_a_tensor_or_a_list_or_arrays():
    a = random_attention(3, 4, 2, 6)
    stacked = frequency_response(a)
    assert stacked.gain.shape == (3, 2, 4) and stacked.layers == (1, 2, 3)
    for same in (frequency_response(list(a)), frequency_response(a.numpy())):
        np.testing.assert_array_equal(same.gain, stacked.gain)
    np.testing.assert_allclose(frequency_response(a[1]).gain[0], stacked.gain[1])


def test_half_precision_is_computed_in_single():
    a = random_attention(2, 1, 8).half()
    np.testing.assert_allclose(frequency_response(a).gain, frequency_response(a.double()).gain, rtol=1e-5, atol=1e-6)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), SEEDS)
def test_accumulator_equals_the_function_however_the_users_are_batched(sizes, seed):
    sizes = [*sizes, 1]
    a = random_attention(2, sum(sizes), 3, 7, seed=seed)
    metric = FrequencyResponseMetric(num_layers=2, num_heads=3, positions=7, c=5)
    for part in a.split(sizes, dim=1):
        metric.update(part)
    together, expected = metric.compute(), frequency_response(a, c=5)
    np.testing.assert_allclose(together.gain, expected.gain, rtol=1e-13)
    np.testing.assert_allclose(together.self_gain, expected.self_gain, rtol=1e-13)
    assert (together.users, together.c, together.layers) == (sum(sizes), 5, (1, 2))


def test_accumulators_of_two_processes_merge():
    a = random_attention(1, 5, 2, 6)
    metrics = [FrequencyResponseMetric(1, 2, 6) for _ in range(2)]
    metrics[0].update(a[:, :3])
    metrics[1].update(a[:, 3:])
    metrics[0].merge_state(metrics[1])
    np.testing.assert_allclose(metrics[0].compute().gain, frequency_response(a).gain, rtol=1e-13)
    assert all(reduce is torch.sum or reduce.__name__ == "dim_zero_sum" for reduce in metrics[0]._reductions.values())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_state_does_not_grow_and_reset_forgets():
    metric = FrequencyResponseMetric(1, 1, 10)
    sizes = []
    for _ in range(3):
        metric.update(random_attention(1, 50, 1, 10).float())
        sizes.append(sum(value.numel() * value.element_size() for value in metric.metric_state.values()))
    assert len(set(sizes)) == 1 and metric.power.dtype == torch.float64
    metric.reset()
    with pytest.raises(ValueError, match="no sequences"):
        metric.compute()


def test_response_of_captures_uses_every_batch_and_only_the_real_positions():
    a = random_attention(2, 5, 1, 8, causal=True)
    batches = [captured(a[:, :2]), captured(a[:, 2:])]
    np.testing.assert_allclose(FrequencyResponse.from_captures(batches).gain, frequency_response(a).gain, rtol=1e-12)
    cut = FrequencyResponse.from_captures(iter(batches), c=1, length=5)
    np.testing.assert_allclose(cut.gain, frequency_response(a[..., -5:, -5:], c=1).gain, rtol=1e-12)
    assert cut.positions == 5 and cut.users == 5


def test_layers_that_were_not_captured_keep_their_numbers():
    a = random_attention(1, 2, 1, 4)
    capture = Capture(hidden=(), attention=(None, a[0]), mask=torch.ones(2, 4))
    assert FrequencyResponse.from_captures([capture]).layers == (2,)


def test_captures_without_attention_are_refused():
    with pytest.raises(ConfigError, match="no attention"):
        FrequencyResponse.from_captures([Capture((), (None,), torch.ones(1, 4))])
    with pytest.raises(ValueError, match="no captures"):
        FrequencyResponse.from_captures([])


@pytest.mark.parametrize(
    "attention, message",
    [
        (torch.ones(2, 3), r"got a layer of \(1, 1, 2, 3\)"),
        (torch.ones(2, 3, 3), r"must be \(N, N\), \(B, H, N, N\)"),
        ([torch.ones(2, 1, 3, 3), torch.ones(2, 1, 4, 4)], "same shape"),
        ([], "no layers"),
        (torch.ones(0, 1, 3, 3), "no sequences"),
        (torch.full((3, 3), torch.nan), "finite"),
        (torch.ones(3, 3, dtype=torch.complex64), "real numbers"),
    ],
)
def test_arrays_that_are_not_attention_are_refused(attention, message):
    with pytest.raises(ValueError, match=message):
        frequency_response(attention)


def test_metric_refuses_other_shapes_than_it_was_made_for():
    with pytest.raises(ValueError, match="same layers, heads and positions"):
        FrequencyResponseMetric(1, 2, 6).update(random_attention(3, 1, 6))
    with pytest.raises(ValueError, match="c must be odd"):
        FrequencyResponseMetric(1, 1, 6, c=4)


def test_table_has_a_row_per_layer_head_and_frequency_and_the_mean():
    response = frequency_response(random_attention(2, 3, 2, 6))
    table = response.table()
    assert len(table) == 2 * (2 + 1) * 4
    row = table[(table["layer"] == 2) & (table["head"] == 1) & (table["frequency"] == 3)].iloc[0]
    assert row["gain"] == response.gain[1, 0, 3] and row["gain_db"] == response.gain_db[1, 0, 3]
    mean = table[(table["layer"] == 1) & (table["head"] == "mean")]
    np.testing.assert_allclose(mean["gain"] ** 2, (response.gain[0] ** 2).mean(0))
    np.testing.assert_allclose(mean["angular_frequency"], response.angular_frequency)
    assert set(table["users"]) == {3}


def test_summary_lists_heads_and_their_mean_for_each_layer():
    summary = frequency_response(random_attention(2, 3, 2, 6)).summary()
    assert [(record["layer"], record["head"]) for record in summary] == [
        (layer, head) for layer in (1, 2) for head in (1, 2, "mean")
    ]
    assert list(summary[0]) == KEYS


def test_public_names_are_there():
    assert spectral.frequency_response is frequency_response
    assert spectral.FrequencyResponseMetric is FrequencyResponseMetric


def test_bootstrap_samples_are_what_averaging_each_sample_gives():
    a = random_attention(2, 7, 3, 6, seed=3)
    response = FrequencyResponse.from_captures([captured(a[:, :4]), captured(a[:, 4:])], resamples=5, seed=9)
    counts = np.random.default_rng(9).poisson(1.0, (7, 5))
    for sample, times in enumerate(counts.T):
        repeated = frequency_response(a[:, np.repeat(np.arange(7), times)])
        np.testing.assert_allclose(response.resampled[sample], repeated.gain, atol=1e-12)
        np.testing.assert_allclose(response.head_mean.resampled[sample], repeated.head_mean.gain, atol=1e-12)


def test_the_band_does_not_depend_on_batches_and_closes_where_users_agree():
    a = random_attention(1, 30, 1, 6, seed=3)
    whole = FrequencyResponse.from_captures([captured(a)], resamples=200)
    parts = FrequencyResponse.from_captures([captured(a[:, :11]), captured(a[:, 11:])], resamples=200)
    np.testing.assert_allclose(whole.band(), parts.band(), atol=1e-12)
    low, high = whole.band()
    assert (low[..., 1:] < whole.gain[..., 1:]).all() and (whole.gain[..., 1:] < high[..., 1:]).all()
    alike = FrequencyResponse.from_captures([captured(a[:, :1].expand(-1, 30, -1, -1, -1))], resamples=50)
    np.testing.assert_allclose(*alike.band(), atol=1e-12)


def test_the_band_is_as_wide_as_the_standard_error_says():
    a = random_attention(1, 400, 1, 8, seed=4)
    response = FrequencyResponse.from_captures([captured(a)], resamples=1000)
    power = np.stack([frequency_response(each[None]).gain[0, 0] ** 2 for each in a[0]])
    error = power.std(0) / np.sqrt(len(power)) / (2 * response.gain[0, 0])  # delta method: of the root of a mean
    low, high = (end[0, 0] for end in response.band())
    np.testing.assert_allclose((high - low)[1:], 2 * 1.96 * error[1:], rtol=0.15)


def test_without_bootstrap_samples_there_is_no_band():
    with pytest.raises(ValueError, match="resamples"):
        frequency_response(random_attention(1, 1, 5)).band()


def test_filter_response_prints_its_documented_json(call, checkpoint, model, tmp_path):
    code, out, err = call("filter_response", checkpoint, "--json", "--out", tmp_path)
    assert code == 0
    result = json_of(out)
    assert list(result) == ["model", "dataset", "users", "responses"]
    assert (result["model"], result["dataset"]) == (model.name, model.checkpoint["dataset"]["name"])
    windows = full_windows(model.probe.input_ids)
    assert result["users"] == len(windows) and f"{len(windows):,} users" in err
    expected = FrequencyResponse.from_captures(spectral.capture(model, windows)).summary()
    assert [list(record) for record in result["responses"]] == [[*record, "transfer"] for record in expected]
    for record, other in zip(result["responses"], expected, strict=True):
        assert record["head"] == other["head"] and record["layer"] == other["layer"]
        assert record["gain_dc_db"] == pytest.approx(0, abs=1e-5)
        for key in KEYS[3:]:
            value = math.nan if record[key] is None else record[key]
            assert value == pytest.approx(other[key], nan_ok=True)


def test_table_of_the_filter_is_printed_and_saved(call, checkpoint, tmp_path):
    code, out, err = call("filter_response", checkpoint, "--out", tmp_path)
    assert code == 0 and "full windows" in err
    header, *rows = out.splitlines()
    assert header.split() == KEYS
    assert rows[0].split()[:3] == ["1", "1", "0.00"]
    table = pd.read_csv(tmp_path / "filter_response.csv")
    assert {"layer", "head", "frequency", "gain_db", "window"} <= set(table.columns)
    assert set(table["window"]) == {"real"}


def test_padding_is_shown_beside_the_real_positions(call, checkpoint, model, tmp_path):
    code, out, err = call("filter_response", checkpoint, "--padding", "--json", "--out", tmp_path)
    assert code == 0 and "padding included" in err
    result = json_of(out)
    everyone = model.probe.input_ids[model.probe.uniform]
    assert result["padding"]["users"] == int((everyone > 0).any(1).sum())
    assert len(result["padding"]["responses"]) == len(result["responses"])
    plain = json_of(call("filter_response", checkpoint, "--json", "--out", tmp_path)[1])
    assert result["responses"] == plain["responses"]
    code, out, _ = call("filter_response", checkpoint, "--padding", "--out", tmp_path)
    assert out.splitlines()[0].split()[0] == "window"
    assert set(pd.read_csv(tmp_path / "filter_response.csv")["window"]) == {"real", "padded"}
