"""BSARec: its two branches, its beta, and how its weights are drawn."""

import pytest
import torch

from models.architectures.bsarec import BSARec, BSARecConfig
from models.registry import build, configure


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_switches_a_branch_off(alpha):
    model = BSARec(BSARecConfig(30, max_len=8, alpha=alpha, num_layers=1))
    model.initialise(0)
    ids = torch.randint(1, 31, (2, 8))
    before = model.eval()(ids)
    branch = model.blocks[0].mixer.attention if alpha == 1 else model.blocks[0].mixer.frequency
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(1)
    assert torch.equal(before, model(ids))


def test_a_scalar_beta_is_the_vector_of_equal_numbers():
    ids = torch.randint(1, 31, (2, 8))
    vector, scalar = (BSARec(BSARecConfig(30, max_len=8, beta=beta)).eval() for beta in ("vector", "scalar"))
    scalar.initialise(0)
    weights = {
        key: value.expand(64) if key.endswith("sqrt_beta") else value for key, value in scalar.state_dict().items()
    }
    vector.load_state_dict(weights)
    torch.testing.assert_close(vector(ids), scalar(ids))


def test_weights_are_drawn_as_published_from_the_seed_alone():
    models = [build(configure("bsarec", 2000)) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        model.initialise(seed)
    first, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["items.weight"], other["items.weight"])
    assert first["items.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert first["items.weight"][0].abs().min() > 0  # the padding row is drawn as well
    assert first["blocks.0.mixer.frequency.sqrt_beta"].std() == pytest.approx(1, rel=0.3)
    assert (first["blocks.1.feed_forward.inner.bias"] == 0).all()
    assert (first["norm.weight"] == 1).all()
    assert sum(parameter.numel() for parameter in build(configure("bsarec", 3646)).parameters()) == 337_088
