"""Caser: how its weights are drawn, whose embedding it takes, what its trace holds, and its convolutions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_models import WINDOWS, N, linear, random_model, weights
from torch import Tensor
from torch.nn import functional

from models.architectures.caser import Caser, CaserConfig
from models.datasets.sampling import Batch
from models.layers.losses import LOSSES
from models.recommender import Recommender


def make(**settings: object) -> Caser:
    """A model in float64 whose weights are large enough that every part matters, in evaluation mode."""
    model = Caser(CaserConfig(**{"num_items": 30, "num_users": 5, "max_len": 7, "hidden_size": 8, **settings}))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.double().eval()


def caser_reference(model: Recommender, ids: Tensor, user: Tensor) -> Tensor:
    """Caser, window by window and filter by filter."""
    w, outputs = weights(model), []
    for x, taste in zip(w["items.weight"][ids], user, strict=True):
        features = [w["vertical.weight"][:, :, 0] @ x + w["vertical.bias"][:, None]]
        for height in range(1, N + 1):
            kernel, bias = w[f"horizontal.{height - 1}.weight"], w[f"horizontal.{height - 1}.bias"]
            places = [(kernel * x[start : start + height].T).sum((1, 2)) + bias for start in range(N - height + 1)]
            features.append(torch.relu(torch.stack(places)).amax(0))
        inner = torch.relu(linear(torch.cat([part.flatten() for part in features]), w, "inner"))
        outputs.append(torch.relu(linear(torch.cat([inner, taste]), w, "outer")))
    return torch.stack(outputs)


def test_filters_and_their_biases_are_drawn_as_pytorch_does():
    model = Caser(CaserConfig(100, num_users=50, max_len=20, hidden_size=16, vertical=40, horizontal=40))
    model.initialise(0)
    inputs = {"vertical": 20} | {f"horizontal.{extra}": 16 * (1 + extra) for extra in range(20)}
    for layer, fan_in in inputs.items():
        for part in ("weight", "bias"):
            values = model.get_parameter(f"{layer}.{part}").detach()
            assert float(values.abs().max()) <= fan_in**-0.5
            assert float(values.std()) == pytest.approx((3 * fan_in) ** -0.5, rel=0.35)
    for layer in ("inner", "outer", "users", "items"):
        assert float(model.get_parameter(f"{layer}.weight").detach().std()) == pytest.approx(0.02, rel=0.2)
    assert not model.inner.bias.any() and not model.outer.bias.any()


@given(length=st.integers(1, 14), size=st.integers(1, 6), at_once=st.integers(1, 16), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_horizontal_features_are_the_best_places_of_plain_convolutions(length: int, size: int, at_once: int, seed: int):
    model = make(max_len=length, hidden_size=size, horizontal=3)
    x = torch.randn(4, length, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.architectures.caser.HEIGHTS_AT_ONCE", at_once)
        found = torch.cat(model._horizontal_features(x), dim=1)
    plain = []
    for layer in model.horizontal:
        window = layer.weight.mT[:, None]  # (filters, 1, height, D), a filter of the window as an image
        plain.append(torch.relu(functional.conv2d(x[:, None], window, layer.bias).squeeze(3)).amax(2))
    torch.testing.assert_close(found, torch.cat(plain, dim=1))


def test_each_user_has_an_embedding_and_the_mean_stands_for_the_unknown():
    model = make()
    ids = torch.tensor([[0, 0, 0, 3, 4, 5, 6]]).expand(5, -1)
    own = model.encode(ids, torch.arange(5))
    assert len(own.unique(dim=0)) == 5
    with torch.no_grad():
        unknown = model.encode(ids)
        model.users.weight[:] = model.users.weight.mean(0)
        torch.testing.assert_close(model.encode(ids, torch.arange(5)), unknown)


@pytest.mark.parametrize("padding", ["zero", "cyclic"])
def test_the_trace_holds_at_each_position_the_output_for_the_history_that_ends_there(padding: str):
    model = make(padding=padding)
    ids = torch.tensor([[0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 3, 4, 5, 6]])
    trace = model.trace(ids)
    windows = model.window(ids)
    assert [tuple(hidden.shape) for hidden in trace.hidden] == [(4, 7, 8)] * 2 and trace.attention is None
    torch.testing.assert_close(trace.hidden[0], model.items(windows))
    torch.testing.assert_close(trace.hidden[-1][:, -1], model.encode(windows))
    for row, window in enumerate(windows):
        for end in range(1, 8):
            alone = model.encode(model.window(window[None, :end]))[0]
            torch.testing.assert_close(trace.hidden[-1][row, end - 1], alone)


def test_dropout_acts_on_the_features_alone():
    model = make(dropout=0.5).train()
    with torch.no_grad():
        model.inner.weight.zero_()  # with the features out of the way nothing random is left
    ids = torch.randint(1, 31, (3, 7))
    assert torch.equal(model.encode(ids), model.encode(ids))
    assert not torch.equal(make(dropout=0.5).train().encode(ids), make(dropout=0.5).eval().encode(ids))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_regularised_by_norms_that_are_not_squared(loss: str):
    batch = Batch(torch.randint(1, 31, (4, 7)), torch.tensor([1, 2, 3, 4]), torch.arange(4), torch.tensor([5, 6, 7, 8]))
    difference = make(regularisation=2.0).objective(batch, LOSSES[loss]) - make(regularisation=0.0).objective(
        batch, LOSSES[loss]
    )
    weights = [w.detach() for name, w in make().named_parameters() if name.endswith("weight")]
    assert len(weights) == 7 + 5  # a filter bank for each height; items, users, vertical filters, two linear layers
    assert difference.item() == pytest.approx(2 * sum(math.sqrt(float((w**2).sum())) for w in weights))


def test_caser_slides_every_filter_over_the_window(monkeypatch: pytest.MonkeyPatch):
    model = random_model("caser")
    users = torch.tensor([4, 0, 2, 2])
    expected = caser_reference(model, WINDOWS, model.users.weight[users])
    for at_once in (1, 4, 10):
        monkeypatch.setattr("models.architectures.caser.HEIGHTS_AT_ONCE", at_once)
        torch.testing.assert_close(model.encode(WINDOWS, users), expected, rtol=1e-9, atol=1e-9)
    anyone = model.users.weight.mean(0).expand(4, -1)
    torch.testing.assert_close(model.encode(WINDOWS), caser_reference(model, WINDOWS, anyone), rtol=1e-9, atol=1e-9)


def test_caser_adds_the_norms_of_its_weights():
    model = random_model("caser", regularisation=0.5)
    batch = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 8]))
    plain = random_model("caser", regularisation=0.0)
    difference = model.objective(batch, LOSSES["bce"]) - plain.objective(batch, LOSSES["bce"])
    norms = sum(math.sqrt(float((w**2).sum())) for name, w in weights(model).items() if not name.endswith("bias"))
    assert difference.item() == pytest.approx(0.5 * norms)
