"""Matrix products: the same numbers whichever library makes them, and derivatives that are those of the formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.layers import matmul

FAST_CPU = pytest.mark.skipif(not matmul._FAST, reason="oneDNN is used on processors with AVX-512 alone")
SIZES = st.integers(1, 70)


@pytest.mark.parametrize("fast", [pytest.param(True, marks=FAST_CPU), False])
@settings(deadline=None)  # a kernel is built for every new shape
@given(rows=SIZES, inputs=SIZES, outputs=SIZES)
def test_products_are_those_of_float64(fast, rows, inputs, outputs):
    generator = torch.Generator().manual_seed(rows)
    sizes = [(rows, inputs), (outputs, inputs), (outputs,), (rows, outputs)]
    x, weight, bias, add = (torch.randn(size, generator=generator) for size in sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "_FAST", fast)
        made = [
            matmul.linear(x, weight),
            matmul.linear(x, weight, bias),
            matmul.linear(x, weight, add=add),
            matmul.linear(x, weight, bias, add),
            matmul.linear(add, weight.T),
            matmul.outer(add, x),
        ]
    x, weight, bias, add = (tensor.double() for tensor in (x, weight, bias, add))
    plain = x @ weight.T
    expected = [plain, plain + bias, plain + add, plain + bias + add, add @ weight, add.T @ x]
    for product, exact in zip(made, expected, strict=True):
        torch.testing.assert_close(product.double(), exact, rtol=1e-5, atol=1e-4)


@FAST_CPU
def test_rows_in_eights_go_to_the_fast_library_and_others_do_not():
    def is_fast(rows, **options):
        return matmul._is_fast(torch.zeros(rows, 3, **options))

    assert is_fast(8) and is_fast(1024)
    assert not is_fast(7) and not is_fast(0) and not is_fast(8, dtype=torch.float64)


def test_an_addend_keeps_its_value():
    add = torch.ones(8, 2)
    matmul.linear(torch.ones(8, 3), torch.ones(2, 3), add=add)
    assert torch.equal(add, torch.ones(8, 2))


@pytest.mark.parametrize("shape", [(8, 3), (2, 4, 3), (3, 5, 3)])
def test_a_projection_has_the_derivatives_of_a_linear_layer(shape):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(size, generator=generator) for size in (shape, (4, 3), (4,)))
    gradients = []
    for function in (matmul.project, functional.linear):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        function(*inputs).square().sum().backward()
        gradients.append([tensor.grad for tensor in inputs])
    torch.testing.assert_close(matmul.project(x, weight, bias), functional.linear(x, weight, bias))
    torch.testing.assert_close(*gradients)
    exact = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    assert torch.autograd.gradcheck(matmul.project, exact)
