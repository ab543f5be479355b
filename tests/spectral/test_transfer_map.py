"""The transfer map against the DFT matrix written out, its identities with the response, and its command."""

import numpy as np
import pandas as pd
import pytest
import torch
from attention_maps import attention
from hypothesis import given
from hypothesis import strategies as st
from json_output import json_of

import spectral
from spectral import FrequencyResponse, TransferMap, capture, frequency_response, full_windows, transfer_map
from spectral.capture import Capture
from spectral.metrics import TransferMapMetric
from spectral.transfer_map import SUMS

SEEDS = st.integers(0, 2**31)


def naive(a: np.ndarray) -> np.ndarray:
    """|H|^2 two-sided, (N, N), with H = F A F^-1 and the DFT matrix F written out."""
    n = np.arange(len(a))
    dft = np.exp(-2j * np.pi * np.outer(n, n) / len(a)) / np.sqrt(len(a))
    return np.abs(dft @ a @ dft.conj().T) ** 2


def folded(power: np.ndarray) -> np.ndarray:
    """Rows j and -j added up, columns 0..N//2; entry by entry."""
    length = len(power)
    found = np.zeros((length // 2 + 1, length // 2 + 1))
    for k in range(length // 2 + 1):
        for row in range(length):
            found[min(row, length - row), k] += power[row, k]
    return found


def is_low(length: int, c: int) -> np.ndarray:
    mode = np.arange(length)
    return np.minimum(mode, length - mode) <= c // 2


@given(st.integers(1, 17), SEEDS, st.booleans())
def test_the_map_is_that_of_the_dft_matrix(length, seed, causal):
    a = attention(1, 1, length, seed=seed, causal=causal)
    expected = folded(naive(a[0, 0].numpy()))
    np.testing.assert_allclose(transfer_map(a, c=1).power[0, 0], expected, atol=1e-13)


@given(st.integers(3, 16), SEEDS, st.sampled_from([1, 3]))
def test_the_four_sums_are_means_over_the_modes_that_enter(length, seed, c):
    a = attention(1, 1, length, seed=seed)
    power, low = naive(a[0, 0].numpy()), is_low(length, c)
    sums = transfer_map(a, c).sums
    entering = {"lfc": low, "hfc": ~low}
    for entered, columns in entering.items():
        for left, rows in entering.items():
            expected = power[np.ix_(rows, columns)].sum() / columns.sum() if columns.any() else np.nan
            assert sums[f"{entered}_{left}"][0, 0] == pytest.approx(expected, nan_ok=True)


@given(st.integers(4, 16), SEEDS)
def test_columns_sum_to_the_squared_gain_and_the_sums_to_its_means(length, seed):
    a = attention(3, 2, length, seed=seed, causal=True)
    moved, response = transfer_map(a, c=3), frequency_response(a, c=3)
    np.testing.assert_allclose(moved.power.sum(-2), response.gain**2, atol=1e-13)
    modes = np.array([1, *[2] * (length // 2)])
    modes[-1] -= length % 2 == 0
    squared, sums = response.gain**2, moved.sums
    low = (squared[..., :2] * modes[:2]).sum(-1) / 3
    high = (squared[..., 2:] * modes[2:]).sum(-1) / (length - 3)
    np.testing.assert_allclose(sums["lfc_lfc"] + sums["lfc_hfc"], low, atol=1e-13)
    np.testing.assert_allclose(sums["hfc_lfc"] + sums["hfc_hfc"], high, atol=1e-13)


@given(st.integers(1, 16), SEEDS)
def test_the_diagonal_is_what_stays_and_what_leaves_at_its_mirror(length, seed):
    a = attention(1, 1, length, seed=seed)
    power, k = naive(a[0, 0].numpy()), np.arange(length // 2 + 1)
    mirror = np.where((length - k) % length == k, 0, power[(length - k) % length, k])
    self_power = frequency_response(a, c=1).self_gain[0, 0] ** 2
    np.testing.assert_allclose(transfer_map(a, c=1).power[0, 0].diagonal(), self_power + mirror, atol=1e-13)


def test_of_a_convolution_nothing_leaves_its_frequency():
    kernel = torch.tensor([0.5, 0.3, 0.2, 0, 0, 0], dtype=torch.float64)
    circulant = torch.stack([kernel.roll(i) for i in range(6)])
    power = transfer_map(circulant, c=1).power[0, 0]
    np.testing.assert_allclose(power, np.diag(np.abs(np.fft.rfft(kernel)) ** 2), atol=1e-15)


def test_all_modes_low_leave_no_high_ones():
    sums = transfer_map(attention(1, 1, 5), c=5).sums
    assert np.isnan(sums["hfc_lfc"]).all() and np.isnan(sums["hfc_hfc"]).all() and (sums["lfc_hfc"] == 0).all()


def test_power_is_averaged_over_users_and_heads_however_they_are_batched():
    a = attention(2, 5, 3, 7)
    whole = transfer_map(a, c=3)
    metric = TransferMapMetric(2, 3, 7)
    for part in a.split([2, 3], dim=1):
        metric.update(part)
    np.testing.assert_allclose(metric.compute().power, whole.power, rtol=1e-12)
    np.testing.assert_allclose(whole.head_mean.power[:, 0], whole.power.mean(1), rtol=1e-14)
    batches = [Capture((), tuple(a[:, :2]), torch.ones(2, 7)), Capture((), tuple(a[:, 2:]), torch.ones(3, 7))]
    np.testing.assert_allclose(TransferMap.from_captures(batches).power, whole.power, rtol=1e-12)
    cut = TransferMap.from_captures(batches, c=1, length=4)
    np.testing.assert_allclose(cut.power, transfer_map(a[..., -4:, -4:], c=1).power, rtol=1e-12)


def test_the_table_has_a_row_for_every_pair_of_frequencies():
    measured = transfer_map(attention(2, 3, 2, 6), c=1)
    table = measured.table()
    assert len(table) == 2 * 3 * 4 * 4
    row = table.query("layer == 2 and head == 1 and leaves_at == 3 and enters_at == 1").iloc[0]
    assert row["power"] == measured.power[1, 0, 3, 1]
    assert row["power_db"] == pytest.approx(10 * np.log10(row["power"]))


@pytest.mark.parametrize(
    "given, message",
    [
        (torch.ones(2, 3), "must be"),
        ([torch.ones(1, 1, 3, 3), torch.ones(1, 1, 4, 4)], "same shape"),
        (torch.ones(0, 1, 3, 3), "no sequences"),
        (torch.full((3, 3), torch.nan), "finite"),
    ],
)
def test_what_is_not_attention_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        transfer_map(given)


def test_the_command_prints_and_saves_the_map(call, checkpoint, model, tmp_path):
    code, out, err = call("transfer_map", checkpoint, "--json", "--out", tmp_path)
    assert code == 0 and "full windows" in err
    expected = TransferMap.from_captures(capture(model, full_windows(model.probe.input_ids)))
    printed = json_of(out)
    assert (printed["users"], printed["c"]) == (expected.users, 3)
    for record, other in zip(printed["maps"], expected.summary(), strict=True):
        assert record["head"] == other["head"]
        assert record["hfc_lfc"] == pytest.approx(other["hfc_lfc"])
    table = pd.read_csv(tmp_path / "transfer_map.csv")
    assert {"leaves_at", "enters_at", "power", "power_db"} <= set(table.columns)
    assert call("transfer_map", checkpoint, "--out", tmp_path)[1].split()[:3] == ["layer", "head", "lfc_lfc"]


def test_filter_response_has_the_four_sums_in_its_json(call, checkpoint, model, tmp_path):
    printed = json_of(call("filter_response", checkpoint, "--json", "--out", tmp_path)[1])
    captures = list(capture(model, full_windows(model.probe.input_ids)))
    response = FrequencyResponse.from_captures(captures)
    for record, sums in zip(printed["responses"], TransferMap.from_captures(captures).summary(), strict=True):
        assert record["transfer"] == pytest.approx({name: sums[name] for name in SUMS})
        row, of = response.layers.index(record["layer"]), response.head_mean
        if record["head"] == "mean":
            low = (of.gain[row, 0, 0] ** 2 + 2 * of.gain[row, 0, 1] ** 2) / 3
            assert record["transfer"]["lfc_lfc"] + record["transfer"]["lfc_hfc"] == pytest.approx(low, rel=1e-5)


def test_public_names_are_there():
    assert spectral.transfer_map is transfer_map and spectral.TransferMapMetric is TransferMapMetric
