"""Fourier transforms as matrices: the low-pass basis, and the filters that FMLP-Rec learns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.layers.dropout import MaskSource
from models.layers.frequency import LearnedFilter, low_pass_basis, real_fourier_matrices


def layer_of(length: int, size: int, seed: int) -> LearnedFilter:
    """A layer in float64 whose filter and norm are drawn from the seed."""
    layer = LearnedFilter(size, length, 0.5, MaskSource()).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


@given(length=st.integers(1, 64), data=st.data())
@settings(max_examples=40)
def test_the_low_pass_basis_keeps_the_first_bins_of_the_real_fft(length, data):
    c = data.draw(st.integers(0, (length - 1) // 2)) * 2 + 1
    x = np.random.default_rng(length).normal(size=(length, 3))
    spectrum = np.fft.rfft(x, axis=0, norm="ortho")
    spectrum[c // 2 + 1 :] = 0
    low = np.fft.irfft(spectrum, n=length, axis=0, norm="ortho")
    basis = low_pass_basis(length, c).numpy()
    np.testing.assert_allclose(basis @ (basis.T @ x), low, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(c), atol=1e-12)


@given(length=st.integers(1, 60), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_matrices_are_the_real_fourier_transform_and_its_inverse(length: int, seed: int):
    x = torch.randn(length, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    transform, inverse = real_fourier_matrices(length)
    expected = torch.fft.rfft(x, dim=0, norm="ortho")
    torch.testing.assert_close(transform @ x, torch.cat([expected.real, expected.imag]))
    torch.testing.assert_close(inverse @ (transform @ x), x)
    other = torch.randn(length // 2 + 1, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    signal = torch.fft.irfft(
        other, n=length, dim=0, norm="ortho"
    )  # imaginary parts that no real signal has are ignored
    torch.testing.assert_close(inverse @ torch.cat([other.real, other.imag]), signal)


@given(length=st.integers(1, 24), size=st.integers(2, 5), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_last_position_alone_is_the_last_of_all(length: int, size: int, seed: int):
    layer = layer_of(length, size, seed)
    x = torch.randn(3, length, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    def outcome(run: object) -> tuple[Tensor, Tensor, Tensor]:
        given = x.clone().requires_grad_()
        output = run(given)  # type: ignore[operator]
        gradients = torch.autograd.grad((output * torch.arange(1.0, size + 1)).sum(), (given, layer.filter))
        return output, *gradients

    alone = outcome(lambda x: layer.last(x, x[:, -1], torch.empty(0)))
    of_all = outcome(lambda x: layer(x, None)[0][:, -1])  # type: ignore[arg-type]
    for a, b in zip(alone, of_all, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_a_filter_of_ones_changes_nothing_and_one_bin_alone_is_a_wave():
    layer, x = layer_of(8, 2, 0), torch.randn(2, 8, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.filter.zero_()
        layer.filter[..., 0] = 1
        torch.testing.assert_close(layer(x, None)[0], layer.add_norm(x, x))
        layer.filter[1:] = 0  # DC is left
        torch.testing.assert_close(layer(x, None)[0], layer.add_norm(x.mean(1, keepdim=True).expand_as(x), x))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_acts_on_what_is_filtered_and_not_on_the_residual(dropout: float):
    layer = layer_of(6, 4, 1).train()
    layer.add_norm.dropout.p = dropout
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    layer.add_norm.dropout.source.seed(1)
    mixed = layer(x, None)[0]
    filtered = torch.fft.irfft(
        torch.fft.rfft(x, dim=1) * torch.view_as_complex(layer.filter.detach())[None], n=6, dim=1
    )
    layer.add_norm.dropout.source.seed(1)
    torch.testing.assert_close(mixed, layer.add_norm(filtered, x))
