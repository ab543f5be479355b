"""FMLP-Rec against its equations, how its filters are drawn, and what padding does."""

import pytest
import torch
from plain_models import WINDOWS, D, N, assert_hidden, embed, feed_forward, norm, random_model, weights
from torch import Tensor

from models.architectures.fmlprec import FMLPRec, FMLPRecConfig
from models.recommender import Recommender


def fmlprec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w = weights(model)
    hidden = [embed(ids, w)]
    for layer in range(model.config.num_layers):
        name = f"blocks.{layer}"
        filters = torch.view_as_complex(w[f"{name}.mixer.filter"])
        x = hidden[-1]
        mixed = torch.fft.irfft(torch.fft.rfft(x, dim=1, norm="ortho") * filters, n=N, dim=1, norm="ortho")
        hidden.append(feed_forward(norm(mixed + x, w, f"{name}.mixer.add_norm.norm"), w, name))
    return hidden


def test_filters_are_drawn_small_in_both_parts():
    model = FMLPRec(FMLPRecConfig(100, num_layers=3))
    model.initialise(0)
    for block in model.blocks:
        assert block.mixer.filter.shape == (26, 64, 2)
        parts = block.mixer.filter.detach().flatten(0, 1)
        assert parts.mean(0).tolist() == pytest.approx([0, 0], abs=4 * 0.02 / len(parts) ** 0.5)
        assert parts.std(0).tolist() == pytest.approx([0.02, 0.02], rel=0.1)


def test_padding_and_the_items_after_it_reach_every_position():
    model = FMLPRec(FMLPRecConfig(30, max_len=7, hidden_size=8)).double().eval()
    model.initialise(1)
    ids = torch.tensor([[0, 0, 3, 4, 5, 6, 7]])
    before = model.trace(ids).hidden[-1]
    later = model.trace(torch.tensor([[0, 0, 3, 4, 5, 6, 8]])).hidden[-1]
    assert (before[:, :-1] != later[:, :-1]).any(-1).all()
    with torch.no_grad():
        model.items.weight[0] += torch.arange(8.0)  # a constant would be lost in LayerNorm
    assert (before != model.trace(ids).hidden[-1]).any(-1).all()


def test_fmlprec_multiplies_each_frequency_by_its_filter():
    model = random_model("fmlprec")
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, fmlprec_reference(model, WINDOWS))
    assert trace.attention is None and trace.filters is not None
    assert [tuple(part.shape) for part in trace.filters] == [(N // 2 + 1, D)] * 2


def test_fmlprec_layer_commutes_with_a_shift_of_the_ring():
    layer = random_model("fmlprec").blocks[0].mixer
    x = torch.randn(3, N, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x.roll(4, dims=1), None)[0], layer(x, None)[0].roll(4, dims=1))
