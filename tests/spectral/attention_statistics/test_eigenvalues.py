"""Eigenvalues and Perron vectors of attention maps, against numpy's whole decomposition."""

import numpy as np
import pytest
import torch
from attention_maps import attention, naive
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral import attention_statistics
from spectral.attention_statistics.eigenvalues import LARGE, hfc_factors, left_perron_vectors, second_moduli

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=30)
@given(st.integers(2, 9), st.booleans(), SEEDS)
def test_no_application_scales_what_is_not_dc_by_more_than_the_factor(n, causal, seed):
    a = attention(n, causal=causal, seed=seed)
    result = attention_statistics(a)
    x = torch.randn(n, 50, generator=torch.Generator().manual_seed(seed % 2**31)).double()
    for matrix, factor in ((a, result.hfc_factor), (0.5 * torch.eye(n) + 0.5 * a, result.residual_hfc_factor)):
        before, after = ((y - y.mean(0)).norm(dim=0) for y in (x, matrix @ x))
        assert bool((after <= factor.item() * before + 1e-9).all())


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


@pytest.mark.parametrize("n", [2, 20, 21, 49, 51, 57, 100, 127, 128, 130])
def test_maps_with_equal_rows_have_one_eigenvalue(n):
    row = torch.softmax(torch.randn(n, generator=torch.Generator().manual_seed(0)), -1)
    for maps in (torch.full((1, 1, n, n), 1 / n), row.expand(1, 1, n, n)):
        found = attention_statistics(maps)  # a constant signal is put out, so nothing but DC is left
        assert found.lambda2.item() == pytest.approx(0, abs=1e-9)
        assert found.hfc_factor.item() == pytest.approx(0, abs=1e-9)


def test_one_map_with_equal_rows_leaves_the_others_of_its_batch_as_they_are():
    n = 21
    maps = torch.stack([attention(n, seed=1), torch.full((n, n), 1 / n).double(), attention(n, seed=2)])
    moduli = second_moduli(maps)
    for place in (0, 2):
        expected = naive(maps[place].numpy(), False)["lambda2"]
        assert moduli[place].item() == pytest.approx(expected, abs=1e-9)
    assert moduli[1].item() == pytest.approx(0, abs=1e-9)


def test_a_routine_that_fails_is_replaced_by_another(monkeypatch):
    maps = torch.stack([attention(6, seed=1), attention(6, seed=2)])
    second, factors = second_moduli(maps), hfc_factors(maps)

    def fails(*given, **options):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "eigvals", fails)
    monkeypatch.setattr(torch.linalg, "svdvals", fails)
    torch.testing.assert_close(second_moduli(maps), second, atol=1e-9, rtol=0)
    torch.testing.assert_close(hfc_factors(maps), factors, atol=1e-9, rtol=0)
    direct = np.linalg.eigvals

    def fails_too():
        raise np.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(np.linalg, "eigvals", lambda a: direct(a) if np.trace(a) > 6 else fails_too())
    torch.testing.assert_close(second_moduli(maps), second, atol=1e-9, rtol=0)
