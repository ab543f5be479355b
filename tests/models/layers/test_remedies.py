"""Remedies against oversmoothing, written plainly with loops over queries; and what they leave unchanged at first."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import ConfigError
from models.layers.dropout import MaskSource
from models.layers.feed_forward import FeedForward
from models.layers.packing import all_positions, real_positions
from models.layers.remedies import GFSA, KINDS, AttnScale, ContraNorm, FeatScale, Remedy, ResidualScale

IDS = torch.tensor([[0, 0, 3, 4, 9], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [0, 0, 0, 0, 7]])
LONG = IDS.shape[1]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


def keys_of(row: Tensor, query: int, causal: bool) -> list[int]:
    """The positions that a query may attend to; all of them if there is none."""
    seen = [key for key in range(LONG) if row[key] > 0 and (key <= query or not causal)]
    return seen or list(range(LONG))


def weighted(layer: torch.nn.Module) -> torch.nn.Module:
    """The layer in float64, with every trained weight drawn."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer.double()


@pytest.mark.parametrize("causal", [True, False])
def test_attnscale_scales_what_is_not_uniform_over_the_visible_keys(causal):
    mask = all_positions(IDS, causal).whole.mask
    attention = (random(len(IDS), 2, LONG, LONG) + mask).softmax(-1)
    layer = weighted(AttnScale(heads=2))
    scaled = layer(attention, mask).detach()
    for b, h, query in np.ndindex(len(IDS), 2, LONG):
        keys = keys_of(IDS[b], query, causal)
        for key in range(LONG):
            low = 1 / len(keys) if key in keys else 0.0
            expected = low + (1 + layer.high_offset[h].item()) * (attention[b, h, query, key].item() - low)
            assert scaled[b, h, query, key].item() == pytest.approx(expected, abs=1e-12)


def test_gfsa_is_the_published_polynomial_and_its_approximation_is_exact_for_a_square():
    attention = random(3, 2, 6, 6).softmax(-1)
    layer = weighted(GFSA(heads=2, order=4))
    filtered = layer(attention, torch.zeros(3, 1, 6, 6)).detach()
    w0, w1, w_power = layer.identity_offset, 1 + layer.first_offset, layer.power_offset
    for b, h in np.ndindex(3, 2):
        a = attention[b, h].numpy()
        power = a + 3 * (a @ a - a)
        expected = w0[h].item() * np.eye(6) + w1[h].item() * a + w_power[h].item() * power
        np.testing.assert_allclose(filtered[b, h].numpy(), expected, atol=1e-12)
    square = GFSA(heads=2, order=2).double()
    with torch.no_grad():
        square.first_offset.fill_(-1)
        square.power_offset.fill_(1)
    torch.testing.assert_close(square(attention, attention), torch.linalg.matrix_power(attention, 2))


@pytest.mark.parametrize("causal", [True, False])
def test_featscale_scales_the_mean_of_the_visible_positions_and_the_rest(causal):
    y, layer = random(len(IDS), LONG, 3), weighted(FeatScale(size=3))
    scaled = layer(y, all_positions(IDS, causal).whole.mask).detach()
    low_weight, high_weight = (1 + layer.low_offset).detach(), (1 + layer.high_offset).detach()
    for b, query in np.ndindex(len(IDS), LONG):
        low = y[b, keys_of(IDS[b], query, causal)].mean(0)
        torch.testing.assert_close(scaled[b, query], low_weight * low + high_weight * (y[b, query] - low))


@pytest.mark.parametrize("causal", [True, False])
def test_contranorm_takes_similar_positions_away_and_normalises(causal):
    x, layer = random(len(IDS), LONG, 4), weighted(ContraNorm(size=4, scale=0.7, temperature=0.5))
    repelled = layer(x, all_positions(IDS, causal).whole.mask).detach()
    for b, query in np.ndindex(len(IDS), LONG):
        keys = keys_of(IDS[b], query, causal)
        cosine = torch.stack([torch.cosine_similarity(x[b, query], x[b, key], dim=0) for key in keys])
        weights = torch.exp(cosine / 0.5) / torch.exp(cosine / 0.5).sum()
        row = x[b, query] - 0.7 * sum(weight * x[b, key] for weight, key in zip(weights, keys, strict=True))
        unit = (row - row.mean()) / (row - row.mean()).square().mean().sqrt()
        torch.testing.assert_close(repelled[b, query], (unit * layer.norm.weight + layer.norm.bias).detach())


@pytest.mark.parametrize("fixed", [None, 0.3, 0.0])
def test_a_residual_scale_multiplies_what_is_added(fixed):
    x, y, layer = random(2, 5), random(3, 5)[:2], weighted(ResidualScale(fixed))
    factor = 1 + layer.scale_offset.item() if fixed is None else fixed
    torch.testing.assert_close(layer(x + y, x), x + factor * y)
    assert [name for name, _ in layer.named_parameters()] == ([] if fixed is not None else ["scale_offset"])


@pytest.mark.parametrize("text", ["none", "residual_scale", "residual_scale:fixed=0.3", "pre_norm"])
def test_a_remedied_feed_forward_network_trains_as_its_parts_do(text):
    """The part of a layer that is computed at once has the scale in its weights; the parts have it in the sum."""
    x, size = torch.randn(7, 64, generator=torch.Generator().manual_seed(2)), 64  # compiled, where that can be
    layer = FeedForward(size, 0.5, MaskSource(3), remedy=Remedy.parse(text))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(parameter)))
    mask = MaskSource(3).mask(x.shape, 0.5, torch.device("cpu"))
    sums = {}
    for way, output in {
        "at once": layer(x),
        "parts": layer.add_norm.finish(x + mask * layer._update(x), x, 1.0),
    }.items():
        layer.zero_grad()
        (output * torch.linspace(-1, 1, size)).sum().backward()
        sums[way] = [output, *(parameter.grad for parameter in layer.parameters())]
    for at_once, parts in zip(*sums.values(), strict=True):
        torch.testing.assert_close(at_once, parts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packing", [all_positions, real_positions])
@pytest.mark.parametrize("kind", [FeatScale, ContraNorm])
def test_layers_over_positions_work_group_by_group(monkeypatch, packing, kind):
    monkeypatch.setattr("models.layers.packing.CACHED_ROWS", 8)  # several groups
    made, layer = packing(IDS), weighted(kind(3))
    assert len(made.groups) > 1
    grid = random(len(IDS), LONG, 3)
    at_once = layer(grid, all_positions(IDS).whole.mask)
    rows = (
        grid
        if made.grid is None
        else grid[made.grid < len(made.items)][made.grid[made.grid < len(made.items)].argsort()]
    )
    here = torch.ones_like(IDS, dtype=torch.bool) if made.grid is None else made.grid < len(made.items)
    torch.testing.assert_close(made.to_grid(made.by_group(rows, layer))[here], at_once[here])


def test_only_the_layers_of_the_chosen_remedy_are_made():
    for name in KINDS:
        remedy = Remedy.parse(name)
        made = [remedy.for_attention(2), remedy.for_output(4), remedy.for_block(4), remedy.for_residual()]
        assert sum(layer is not None for layer in made) + remedy.is_pre_norm == (name != "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layerscale", "remedy must be one of none, attnscale, featscale, contranorm, gfsa, residual_scale, pre_norm"),
        (3, "remedy must be one of .* got 3"),
        ("", "remedy must be one of"),
        ("gfsa:order=1", "remedy gfsa: order must be at least 2, got 1"),
        ("gfsa:order=2.5", "order must be a whole number, got '2.5'"),
        ("gfsa:power=3", "remedy gfsa has the options order, as in gfsa:order=...; got 'power=3'"),
        ("gfsa:", "remedy gfsa has the options order"),
        ("attnscale:w=1", "remedy attnscale has none; got 'w=1'"),
        ("contranorm:scale=-1", "scale must be at least 0, got -1.0"),
        ("contranorm:temperature=0", "temperature must be above 0, got 0.0"),
        ("contranorm:scale=nan", "scale must be at least 0, got nan"),
        ("contranorm:scale=1,scale=2", "got 'scale=2'"),
        ("residual_scale:fixed=inf", "fixed must be a finite number, got inf"),
        ("residual_scale:fixed=half", "fixed must be a number, got 'half'"),
    ],
)
def test_a_wrong_remedy_is_named_with_what_there_is(text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        Remedy.parse(text)
    assert "\n" not in str(raised.value)
