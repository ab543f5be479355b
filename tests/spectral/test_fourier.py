"""Frequencies of a sequence: the Fourier basis of the ring and the split into low and high."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral import fourier
from spectral.fourier import fourier_basis, low_frequency, split


@st.composite
def length_and_c(draw):
    length = draw(st.integers(1, 40))
    return length, 2 * draw(st.integers(0, (length - 1) // 2)) + 1


def naive_low_pass(length: int, c: int) -> np.ndarray:
    """The projection onto the c lowest modes, written with the complex DFT matrix."""
    n = np.arange(length)
    dft = np.exp(-2j * np.pi * np.outer(n, n) / length) / np.sqrt(length)
    keep = np.minimum(n, length - n) <= (c - 1) // 2
    return (dft.conj().T @ (keep[:, None] * dft)).real


@given(length_and_c())
def test_projection_keeps_exactly_the_c_lowest_dft_modes(drawn):
    length, c = drawn
    basis = fourier_basis(length, c)
    assert basis.shape == (length, c) and basis.dtype == torch.float64
    np.testing.assert_allclose(basis.T @ basis, np.eye(c), atol=1e-13)
    projection = basis @ basis.T
    np.testing.assert_allclose(projection, naive_low_pass(length, c), atol=1e-12)
    np.testing.assert_allclose(projection @ projection, projection, atol=1e-13)


@given(length_and_c(), st.integers(0, 2**32 - 1))
def test_low_and_high_are_orthogonal_and_sum_to_the_signal(drawn, seed):
    length, c = drawn
    x = torch.randn(3, length, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = split(x, c)
    torch.testing.assert_close(low + high, x)
    torch.testing.assert_close((low * high).sum((-1, -2)), torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(low_frequency(low, c), low)
    energy = low.square().sum() + high.square().sum()  # Pythagoras, which is Parseval over the two bands
    torch.testing.assert_close(energy, x.square().sum())


@given(length_and_c(), st.integers(-50, 50))
def test_the_split_moves_along_when_the_ring_is_turned(drawn, shift):
    length, c = drawn
    x = torch.randn(length, 2, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    torch.testing.assert_close(low_frequency(x.roll(shift, 0), c), low_frequency(x, c).roll(shift, 0))


def test_a_wave_within_c_passes_and_one_above_does_not():
    n = torch.arange(12, dtype=torch.float64)
    slow, fast = (torch.cos(2 * torch.pi * k * n / 12 + 0.3) for k in (2, 3))
    torch.testing.assert_close(low_frequency(slow + fast, 5), slow)


def test_positions_are_the_last_axis_but_one_unless_named():
    x = torch.randn(2, 7, 4, dtype=torch.float64)
    torch.testing.assert_close(low_frequency(x.transpose(1, 2), 3, dim=2), low_frequency(x, 3).transpose(1, 2))
    torch.testing.assert_close(low_frequency(x[0, :, 0], 3), low_frequency(x, 3)[0, :, 0])


def test_precision_of_the_signal_is_kept_and_integers_become_real():
    assert low_frequency(torch.ones(5, 2), 3).dtype == torch.float32
    torch.testing.assert_close(low_frequency(torch.tensor([1, 2, 3]), 1), torch.full((3,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    "length, c, largest", [(50, 50, 49), (50, 2, 49), (51, 53, 51), (5, 0, 5), (5, -1, 5), (5, 1.0, 5)]
)
def test_impossible_numbers_of_modes_are_refused_with_the_range(length, c, largest):
    with pytest.raises(ValueError, match=rf"c must be odd and lie in 1..{largest} for {length} positions"):
        fourier_basis(length, c)


def test_every_mode_is_low_for_odd_length_and_only_nyquist_is_high_for_even_length():
    x = torch.randn(5, 1, dtype=torch.float64)
    torch.testing.assert_close(low_frequency(x, 5), x)
    alternating = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    torch.testing.assert_close(split(alternating, 5)[1], alternating)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 50])
def test_fourier_basis_diagonalises_the_laplacian_of_the_ring(length):
    laplacian = fourier.ring_laplacian(length)
    c = length if length % 2 else length - 1
    eigenvalues = fourier.laplacian_eigenvalues(length)
    basis = fourier_basis(length, c)
    of_columns = eigenvalues[(torch.arange(c) + 1) // 2]
    torch.testing.assert_close(laplacian @ basis, basis * of_columns, atol=1e-12, rtol=0)
    every = torch.repeat_interleave(eigenvalues, fourier.multiplicity(length))
    torch.testing.assert_close(torch.linalg.eigvalsh(laplacian), every, atol=1e-12, rtol=0)


def test_a_ring_without_nodes_is_refused():
    with pytest.raises(ValueError, match="at least one node"):
        fourier.ring_laplacian(0)


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_frequencies_run_from_dc_to_half_a_cycle_per_position(length):
    k, omega = fourier.frequencies(length), fourier.angular_frequencies(length)
    assert k.tolist() == list(range(length // 2 + 1))
    np.testing.assert_allclose(omega, 2 * np.pi * np.fft.rfftfreq(length))
    assert int(fourier.multiplicity(length).sum()) == length
