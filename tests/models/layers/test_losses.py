"""Losses against PyTorch and against their definition written out."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.layers.losses import LOSSES, info_nce


@settings(max_examples=20)
@given(batch=st.integers(2, 6), seed=st.integers(0, 100), temperature=st.floats(0.2, 3))
@example(batch=3, seed=0, temperature=0.203125)
def test_info_nce_is_the_log_share_of_the_partner(batch: int, seed: int, temperature: float):
    first, second = torch.randn(2, batch, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rows, total = torch.cat([first, second]), 0.0
    for i in range(2 * batch):
        similar = [math.exp(float(rows[i] @ rows[j]) / temperature) for j in range(2 * batch)]
        others = sum(value for j, value in enumerate(similar) if j != i)
        total -= math.log(similar[(i + batch) % (2 * batch)] / others)
    assert float(info_nce(first, second, temperature)) == pytest.approx(total / (2 * batch))


def test_losses_are_those_of_pytorch():
    generator = torch.Generator().manual_seed(0)
    output, items = torch.randn(6, 4, generator=generator), torch.randn(9, 4, generator=generator)
    target, negative = torch.randint(1, 9, (2, 6), generator=generator)
    scores = output @ items.T
    pick = lambda ids: scores.gather(1, ids[:, None])[:, 0]  # noqa: E731
    ones = torch.ones(6)
    expected = {
        "ce": functional.cross_entropy(scores, target),
        "bce": functional.binary_cross_entropy_with_logits(pick(target), ones)
        + functional.binary_cross_entropy_with_logits(pick(negative), 0 * ones),
        "bpr": functional.binary_cross_entropy_with_logits(pick(target) - pick(negative), ones),
    }
    for name, value in expected.items():
        torch.testing.assert_close(LOSSES[name].function(output, items, target, negative), value)
    with pytest.raises(ValueError, match="negative"):
        LOSSES["bce"].function(output, items, target, None)


def test_cross_entropy_is_finite_for_scores_far_apart_and_has_numerical_gradients():
    far = LOSSES["ce"].function(torch.tensor([[200.0]]), torch.tensor([[0.0], [1.0]]), torch.tensor([0]), None)
    assert far == 200
    output = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    items = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([4, 0, 4])
    assert torch.autograd.gradcheck(lambda o, i: LOSSES["ce"].function(o, i, target, None), (output, items))
