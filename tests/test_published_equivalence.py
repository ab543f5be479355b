"""The fast path computes what the plainly written published loop computes: outputs, losses and gradients."""

import pytest
import torch

from benchmarks.published import PublishedModel
from models.losses import LOSSES
from models.registry import build, configure

N, ITEMS = 50, 300


def pair(model: str, layers: int, heads: int, dtype: torch.dtype):
    """Return our model and the published one with the same weights, both without dropout."""
    settings = {"alpha": 0.7, "c": 5} if model == "bsarec" else {}
    ours = build(configure(model, ITEMS, num_layers=layers, num_heads=heads, dropout=0.0, **settings))
    ours.initialise(seed=1)
    # In float64, weights are large enough for attention and biases to matter. In float32 they are the initial ones:
    # the mask of -10000 leaves the scores of all-padding inputs a resolution of 1e-3, on both sides alike.
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if dtype == torch.float64 and not name.endswith("norm.weight"):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    published = PublishedModel(ITEMS, settings.get("alpha"), 5, heads, layers, dropout=0.0)
    published.load_state_dict(to_published(ours.state_dict()))
    return ours.to(dtype), published.to(dtype)


def to_published(state: dict) -> dict:
    renamed = {}
    for key, value in state.items():
        if ".mixer." in key and ".mixer.attention." not in key and ".mixer.frequency." not in key:
            key = key.replace(".mixer.", ".attention.")
        key = key.replace(".mixer.", ".").replace("add_norm.norm", "norm")
        if ".qkv." in key:
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[key.replace("qkv", part)] = rows
        elif key.endswith("sqrt_beta"):
            renamed[key] = value.view(1, 1, -1)
        else:
            renamed[key] = value
    return renamed


def histories(seed: int = 0) -> torch.Tensor:
    """Windows of all kinds: all padding, one item, half full, full."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([0, 1, 2, 7, 25, 49, 50, 50, 0, 13])
    ids = torch.randint(1, ITEMS + 1, (len(lengths), N), generator=generator)
    return ids * (torch.arange(N) >= N - lengths[:, None])


def losses(ours, published, loss: str):
    generator = torch.Generator().manual_seed(3)
    ids = histories()
    target, negative = torch.randint(1, ITEMS + 1, (2, len(ids)), generator=generator)
    our_loss = LOSSES[loss].function(ours.encode(ids), ours.items.weight, target, negative)
    if loss == "ce":
        return our_loss, published.cross_entropy(ids, target)
    return our_loss, published.binary_cross_entropy(ids, target, negative)


@pytest.mark.parametrize("model", ["sasrec", "bsarec"])
@pytest.mark.parametrize("loss", ["ce", "bce"])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_gradients_are_the_published_ones(model, loss, layers, heads, dtype, tolerance):
    ours, published = pair(model, layers, heads, dtype)
    our_loss, published_loss = losses(ours, published, loss)
    torch.testing.assert_close(our_loss, published_loss, rtol=tolerance, atol=0)
    our_loss.backward()
    published_loss.backward()
    gradients = to_published({name: p.grad for name, p in ours.named_parameters()})
    expected = {name: p.grad for name, p in published.named_parameters()}
    assert gradients.keys() == expected.keys()
    difference = torch.stack([(gradients[name] - expected[name]).norm() for name in expected]).norm()
    scale = torch.stack([value.norm() for value in expected.values()]).norm()
    assert difference / scale < tolerance


@pytest.mark.parametrize("model", ["sasrec", "bsarec"])
@pytest.mark.parametrize("heads", [1, 2])
def test_scores_and_hidden_states_are_the_published_ones(model, heads):
    ours, published = pair(model, 2, heads, torch.float64)
    ids = histories()
    expected = published(ids)
    hidden = ours.trace(ids).hidden[-1]
    torch.testing.assert_close(hidden, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours(ids), expected[:, -1] @ published.items.weight.T, rtol=1e-10, atol=1e-12)
