"""Dropout masks: Bernoulli, independent, decided by the seed alone, and only while training."""

import pytest
import torch

from models.layers.dropout import Dropout, MaskSource

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_masks_are_bernoulli_and_scaled_to_mean_one(p):
    mask = MaskSource(seed=7).mask(torch.Size((400, 1000)), p, CPU)
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
    standard_error = (p * (1 - p) / mask.numel()) ** 0.5
    assert abs((mask == 0).double().mean().item() - p) < 4 * standard_error


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_masks_are_independent_across_elements_calls_and_seeds(p):
    source = MaskSource(seed=3)
    size = 31 * 4000  # the elements that share random words at p = 0.5 lie this far apart, divided by 31
    drawn = [source.mask(torch.Size((size,)), p, CPU).double() for _ in range(2)]
    other = MaskSource(seed=4).mask(torch.Size((size,)), p, CPU).double()
    first = drawn[0] - drawn[0].mean()
    lagged = [first.roll(lag) for lag in (1, 2, 31, 4000, 8000, 64)]
    for partner in [drawn[1], other, *lagged]:
        correlation = (first * (partner - partner.mean())).mean() / (first.std() * partner.std())
        assert abs(correlation) < 4.5 / size**0.5


def test_the_seed_alone_decides_the_masks():
    shape = torch.Size((50, 7))
    a, b = MaskSource(1), MaskSource(2)
    b.seed(1)
    assert torch.equal(a.mask(shape, 0.5, CPU), b.mask(shape, 0.5, CPU))
    a.seed(1, 5)
    b.seed(1, 6)
    assert not torch.equal(a.mask(shape, 0.5, CPU), b.mask(shape, 0.5, CPU))


def test_dropout_only_acts_while_training():
    layer = Dropout(0.5, MaskSource())
    x = torch.ones(100)
    assert set(layer(x).tolist()) == {0.0, 2.0}
    assert layer.eval()(x) is x
