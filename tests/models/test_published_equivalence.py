"""The fast path computes what the plainly written published loop computes: outputs, losses and gradients."""

import pytest
import torch

from benchmarks.published import LOSSES as PUBLISHED
from benchmarks.published import PublishedModel, published_model
from models.datasets.sampling import Batch
from models.layers.losses import LOSSES
from models.recommender import Recommender
from models.registry import build, configure

N, ITEMS, USERS = 50, 300, 20
BLOCKS = [name for name in PUBLISHED if name not in ("gru4rec", "caser")]


def pair(
    model: str, layers: int, heads: int, dtype: torch.dtype, loss: str | None = None
) -> tuple[Recommender, PublishedModel]:
    """Return our model and the published one with the same weights, both without dropout."""
    settings: dict[str, object] = {"alpha": 0.7, "c": 5} if model == "bsarec" else {}
    if model != "caser":
        settings["num_layers"] = layers
    if model not in ("fmlprec", "gru4rec", "caser"):
        settings["num_heads"] = heads
    ours = build(configure(model, ITEMS, USERS, dropout=0.0, **settings))
    ours.initialise(seed=1)
    # In float64, weights are large enough for attention and biases to matter. In float32 they are the initial ones:
    # the mask of -10000 leaves the scores of all-padding inputs a resolution of 1e-3, on both sides alike.
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if dtype == torch.float64 and not name.endswith("norm.weight"):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    published = published_model(model, ITEMS, USERS, loss, layers, heads, dropout=0.0, alpha=0.7, c=5)
    published.load_state_dict(to_published(ours.state_dict()))
    return ours.to(dtype), published.to(dtype)


STACKED = {"qkv": ("query", "key", "value"), "query_key": ("query", "key")}


def to_published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return our weights, or their gradients, under the names and in the shapes of the published model."""
    renamed = {}
    for key, value in state.items():
        key = key.replace("add_norm.norm", "norm")
        layer, _, part = key.rpartition(".")
        parent, _, last = layer.rpartition(".")
        if last in STACKED:
            for name, rows in zip(STACKED[last], value.chunk(len(STACKED[last])), strict=True):
                renamed[f"{parent}.{name}.{part}"] = rows
        elif part == "sqrt_beta":
            renamed[key] = value.view(1, 1, -1)
        elif parent == "layers":  # of the GRU, each one on its own
            renamed["gru." + part.replace("_l0", f"_l{last}")] = value
        elif key == "vertical.weight":
            renamed[key] = value[:, None]
        elif parent == "horizontal" and part == "weight":
            renamed[key] = value.mT[:, None]
        else:
            renamed[key] = value
    return renamed


def histories(seed: int = 0) -> torch.Tensor:
    """Windows of all kinds: all padding, one item, half full, full."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([0, 1, 2, 7, 25, 49, 50, 50, 0, 13])
    ids = torch.randint(1, ITEMS + 1, (len(lengths), N), generator=generator)
    return ids * (torch.arange(N) >= N - lengths[:, None])


def losses(ours: Recommender, published: PublishedModel, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids, same_target = histories(), histories(seed=1).flip(0)
    target, negative = torch.randint(1, ITEMS + 1, (2, len(ids)), generator=generator)
    user = torch.randint(0, USERS, (len(ids),), generator=generator)
    batch = {"input_ids": ids, "target": target, "negative": negative, "user": user, "same_target": same_target}
    our_loss = ours.objective(Batch(ids, target, user, negative, same_target), LOSSES[loss])
    return our_loss, published.objective(batch)


def assert_same_loss_and_gradients(ours: Recommender, published: PublishedModel, loss: str, tolerance: float) -> None:
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
@pytest.mark.parametrize("loss", ["ce", "bce", "bpr"])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_gradients_are_the_published_ones(model, loss, layers, heads, dtype, tolerance):
    assert_same_loss_and_gradients(*pair(model, layers, heads, dtype, loss), loss, tolerance)


@pytest.mark.parametrize("model", ["fmlprec", "duorec", "fearec", "gru4rec", "caser"])
@pytest.mark.parametrize(("layers", "heads"), [(2, 1), (3, 4)])
def test_loss_and_gradients_of_the_field_are_the_published_ones(model, layers, heads):
    ours, published = pair(model, layers, heads, torch.float64)
    assert_same_loss_and_gradients(ours, published, ours.published_loss, 1e-10)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 1), (3, 4)])
def test_the_loss_of_masked_items_is_the_published_one(layers, heads, monkeypatch):
    ours, published = pair("bert4rec", layers, heads, torch.float64)
    chosen = torch.rand(len(histories()), N, generator=torch.Generator().manual_seed(4)) < 0.3
    chosen[:, -1] = True
    for model in (ours, published):
        monkeypatch.setattr(model, "mask_items", lambda ids: ids.masked_fill(chosen & (ids > 0), ITEMS + 1))
    assert_same_loss_and_gradients(ours, published, "ce", 1e-10)


@pytest.mark.parametrize("model", BLOCKS)
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_scores_and_hidden_states_are_the_published_ones(model, heads, training):
    ours, published = (side.train(training) for side in pair(model, 2, heads, torch.float64))
    ids = histories()
    shown = ids
    if model == "bert4rec":  # is asked for the item behind the history by a mask token
        shown = torch.cat([ids[:, 1:], torch.full((len(ids), 1), ITEMS + 1)], dim=1)
    expected = published(shown)
    hidden = ours.trace(ids).hidden[-1]
    torch.testing.assert_close(hidden, expected, rtol=1e-9, atol=1e-11)
    scores = expected[:, -1] @ published.items.weight[: ITEMS + 1].T
    torch.testing.assert_close(ours(ids), scores, rtol=1e-9, atol=1e-11)


def test_scores_of_recurrent_and_convolutional_models_are_the_published_ones():
    ids, users = histories(), torch.arange(10)
    ours, published = (side.eval() for side in pair("gru4rec", 3, 1, torch.float64))
    torch.testing.assert_close(ours.trace(ids).hidden[-1], published(ids))
    torch.testing.assert_close(ours(ids), published(ids)[:, -1] @ published.items.weight.T)
    ours, published = (side.eval() for side in pair("caser", 2, 1, torch.float64))
    torch.testing.assert_close(ours(ids, users), published(ids, users)[:, -1] @ published.items.weight.T)
