"""Circulant matrices and sums along wrapped diagonals, against rolls and each other's derivative."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.layers.circulant import circulant, wrapped_diagonal_sums


@given(batch=st.integers(1, 3), length=st.integers(1, 9), seed=st.integers(0, 99))
def test_circulant_matrices_and_wrapped_sums_equal_rolls_and_each_others_derivative(batch: int, length: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(batch, length, dtype=torch.float64, generator=generator, requires_grad=True)
    matrix = torch.randn(batch, length, length, dtype=torch.float64, generator=generator, requires_grad=True)
    for n in range(length):
        torch.testing.assert_close(circulant(weight)[:, n], weight.roll(n, dims=1))
    sums = [sum(matrix[:, n, (n + t) % length] for n in range(length)) for t in range(length)]
    torch.testing.assert_close(wrapped_diagonal_sums(matrix), torch.stack(sums, dim=1))
    assert torch.autograd.gradcheck(circulant, weight) and torch.autograd.gradcheck(wrapped_diagonal_sums, matrix)
