"""Fused layers against plain code in float64 and numerical derivatives."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from models.layers import fused
from models.layers.frequency import low_pass_basis
from models.layers.gelu import gelu
from models.layers.packing import all_positions, real_positions


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def end_of(x, total):
    """Return an end with its dropout mask, and what it makes of dropout(y) + x."""
    end = fused.End(random(x.shape[-1]), random(x.shape[-1]), 1e-12, torch.randint(0, 2, x.shape) * 2.0)
    return end, functional.layer_norm(x + end.dropout_mask * total, x.shape[-1:], end.weight, end.bias, end.eps)


def test_fused_feed_forward_is_the_plain_one_with_numerical_gradients(monkeypatch):
    monkeypatch.setattr("models.layers.fused.CACHED_ROWS", 4)  # several blocks
    torch.manual_seed(0)
    x, weights = random(3, 5, 4), [random(16, 4), random(16), random(4, 16), random(4)]
    inner = functional.gelu(functional.linear(x, *weights[:2]))
    end, expected = end_of(x, functional.linear(inner, *weights[2:]))
    torch.testing.assert_close(fused.feed_forward(x, *weights, end), expected)

    def run(x, w1, b1, w2, b2, weight, bias):
        return fused.feed_forward(x, w1, b1, w2, b2, fused.End(weight, bias, end.eps, end.dropout_mask))

    assert torch.autograd.gradcheck(run, (x, *weights, end.weight, end.bias))


def test_gelu_of_rows_is_the_plain_one_with_numerical_gradients():
    x = random(2, 7, 3)  # 14 rows, in parts of 8, 4 and 2
    torch.testing.assert_close(gelu(x), functional.gelu(x))
    assert torch.autograd.gradcheck(gelu, (x,))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch has no oneDNN here")
@pytest.mark.parametrize("remedy", ["none", "pre_norm"])
def test_blocks_of_any_number_of_rows_need_few_compiled_kernels(remedy):
    code = """
import sys
import torch
from models.layers.dropout import MaskSource
from models.layers.feed_forward import FeedForward
from models.layers.remedies import Remedy
layer = FeedForward(2, 0.0, MaskSource(), remedy=Remedy.parse(sys.argv[1]))
for rows in range(1, 1025, 16):
    layer(torch.randn(rows, 2, requires_grad=True)).sum().backward()
"""
    said = subprocess.run(
        [sys.executable, "-c", code, remedy],
        env={**os.environ, "ONEDNN_VERBOSE": "profile_create"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    compiled = [line for line in said.splitlines() if "create:cache_miss" in line and "eltwise" in line]
    assert len(compiled) <= 2 * 11  # forward and backward, of 1, 2, 4, ..., 1024 rows


@pytest.mark.parametrize("packing", [all_positions, real_positions])
@pytest.mark.parametrize("dropped", [False, True])
def test_fused_attention_has_numerical_gradients(monkeypatch, packing, dropped):
    monkeypatch.setattr("models.layers.packing.CACHED_ROWS", 8)  # several groups
    torch.manual_seed(0)
    made = packing(torch.tensor([[0, 0, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 9]]))
    assert len(made.groups) > 1
    x = random(*made.items.shape, 4)
    weights = [random(8, 4), random(8), random(4)]
    end, _ = end_of(x, x)
    masks = [torch.randint(0, 2, (len(g.mask), 1, *g.mask.shape[2:])) * 2.0 for g in made.groups]

    def run(x, w, b, b_out, weight, bias):
        ending = fused.End(weight, bias, end.eps, end.dropout_mask if dropped else None)
        return fused.attention(x, w, b, b_out, ending, made.groups, masks if dropped else None, 0.3)[0]

    assert torch.autograd.gradcheck(run, (x, *weights, end.weight, end.bias))


def test_frozen_weights_leave_the_derivative_by_the_input_as_it_is():
    torch.manual_seed(0)
    x, weights = random(6, 4), [random(16, 4), random(16), random(4, 16), random(4)]
    end, _ = end_of(x, x)
    learning = [*weights, end.weight, end.bias]
    outward = torch.randn(6, 4, dtype=torch.float64)
    expected = torch.autograd.grad(fused.feed_forward(x, *weights, end), [x, *learning], outward)
    for parameter in learning:
        parameter.requires_grad_(False)
    (found,) = torch.autograd.grad(fused.feed_forward(x, *weights, end), x, outward)
    torch.testing.assert_close(found, expected[0])
    end.bias.requires_grad_(True)  # one that learns among frozen ones has its gradient
    (found,) = torch.autograd.grad(fused.feed_forward(x, *weights, end), end.bias, outward)
    torch.testing.assert_close(found, expected[-1])


def test_one_query_attends_as_it_does_among_all():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    mask = all_positions(torch.tensor([[0, 0, 1, 2, 3], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5]])).last_mask
    drop = torch.randint(0, 2, (3, 2, 5)) * 2.0
    expected = (torch.einsum("bhd,bnd->bhn", query, x) * 0.3 + mask).softmax(-1) * drop
    mixed, weight = fused.attend_one(x, query, mask, drop, 0.3)
    torch.testing.assert_close(mixed, expected @ x)
    torch.testing.assert_close(weight, expected.sum(-1, keepdim=True))
    assert torch.autograd.gradcheck(lambda x, q: fused.attend_one(x, q, mask, drop, 0.3), (x, query))


@pytest.mark.parametrize("beta_size", [1, 4])
@pytest.mark.parametrize("last_only", [False, True])
def test_the_frequency_filter_is_low_plus_beta_high(beta_size, last_only):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    beta = torch.rand(beta_size, dtype=torch.float64, requires_grad=True)
    basis = low_pass_basis(6, 3)
    rows = slice(-1, None) if last_only else slice(None)
    drop = torch.randint(0, 2, (2, 1 if last_only else 6, 4)) * 2.0
    run = lambda x, beta: fused.frequency_filter(x, x[:, rows], basis, basis[rows], beta, drop)  # noqa: E731
    low = basis @ (basis.T @ x)
    torch.testing.assert_close(run(x, beta), (x + 0)[:, rows] + drop * (low + beta * (x - low))[:, rows])
    assert torch.autograd.gradcheck(run, (x, beta))
