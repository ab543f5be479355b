"""Losses against PyTorch and against their definition written out."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.layers import losses
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


def value_and_gradients(loss, *inputs):
    inputs = [each.clone().requires_grad_() for each in inputs]
    value = loss(*inputs)
    (3 * value).backward()
    return [value.detach(), *(each.grad for each in inputs)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("block", [1, 40, 7 * 1001, 10**6])  # scores at once: less than a row, several rows, all
def test_cross_entropy_in_blocks_is_the_plain_one(monkeypatch, dtype, tolerance, block):
    monkeypatch.setattr(losses, "SCORES_IN_ONE", 0)
    monkeypatch.setattr(losses, "SCORES_AT_ONCE", block)
    generator = torch.Generator().manual_seed(0)
    output = 3 * torch.randn(7, 16, dtype=dtype, generator=generator)
    items = torch.randn(101, 16, dtype=dtype, generator=generator)
    target = torch.tensor([100, 0, 5, 5, 50, 1, 99])  # the last and first rows, and one that two samples share
    plain = value_and_gradients(lambda o, i: functional.cross_entropy(o @ i.T, target), output, items)
    blocked = value_and_gradients(lambda o, i: LOSSES["ce"].function(o, i, target, None), output, items)
    for got, expected in zip(blocked, plain, strict=True):
        assert (got - expected).norm() <= tolerance * expected.norm()


def test_cross_entropy_in_blocks_is_finite_for_scores_far_apart(monkeypatch):
    monkeypatch.setattr(losses, "SCORES_IN_ONE", 0)
    monkeypatch.setattr(losses, "SCORES_AT_ONCE", 1)
    items = torch.tensor([[0.0], [1.0], [-1.0]])
    loss, *gradients = value_and_gradients(
        lambda o, i: LOSSES["ce"].function(o, i, torch.tensor([0]), None), torch.tensor([[200.0]]), items
    )
    assert loss == 200 and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("scores_in_one", [0, losses.SCORES_IN_ONE])  # in blocks, and at once
@pytest.mark.parametrize("name", LOSSES)
def test_shares_weigh_the_losses_and_their_gradients(name: str, scores_in_one: int, monkeypatch):
    monkeypatch.setattr(losses, "SCORES_IN_ONE", scores_in_one)
    generator = torch.Generator().manual_seed(0)
    output, items = (torch.randn(size, 4, dtype=torch.float64, generator=generator) for size in (3, 9))
    target, negative, share = torch.tensor([8, 1, 1]), torch.tensor([2, 3, 4]), torch.tensor([0.7, 0.0, 0.3]).double()

    def weighed(output, items):
        rows = [slice(i, i + 1) for i in range(3)]
        own = [LOSSES[name].function(output[i], items, target[i], negative[i]) for i in rows]
        return (torch.stack(own) * share).sum()

    at_once = value_and_gradients(lambda o, i: LOSSES[name].function(o, i, target, negative, share), output, items)
    torch.testing.assert_close(at_once, value_and_gradients(weighed, output, items))


def test_many_scores_are_taken_in_blocks_and_few_at_once(monkeypatch):
    used = []
    for name in ("_FullSoftmax", "_BlockedSoftmax"):
        form = getattr(losses, name)
        monkeypatch.setattr(form, "forward", lambda *a, name=name, form=form.forward: used.append(name) or form(*a))
    monkeypatch.setattr(losses, "SCORES_IN_ONE", 2 * 30)
    for count in (30, 31):
        LOSSES["ce"].function(torch.zeros(2, 1), torch.zeros(count, 1), torch.tensor([1, 2]), None)
    assert used == ["_FullSoftmax", "_BlockedSoftmax"]
