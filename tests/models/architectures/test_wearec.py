"""WEARec against its equations, position by position and head by head."""

import pytest
import torch
from plain_models import WINDOWS, D, assert_hidden, feed_forward, linear, norm, random_model, weights
from torch import Tensor

from models.architectures.wearec import WEARec, WEARecConfig
from models.errors import ConfigError
from models.recommender import Recommender


def wearec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w, count, alpha = weights(model), model.config.num_heads, model.config.alpha
    length = ids.shape[1]
    hidden = [norm(w["items.weight"][ids] + w["positions.weight"], w, "norm")]
    for layer in range(model.config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        key = f"{name}.mixer"
        context = linear(torch.nn.functional.gelu(linear(x.mean(1), w, f"{key}.inner")), w, f"{key}.outer")
        context = context.view(len(x), count, length // 2 + 1, 2)
        mixed = torch.zeros_like(x)
        for head in range(count):
            part = slice(head * D // count, (head + 1) * D // count)
            spectrum = torch.fft.rfft(x[:, :, part], dim=1, norm="ortho")
            factor = w[f"{key}.factor"][head] * (1 + context[:, head, :, 0])
            shift = w[f"{key}.shift"][head] + context[:, head, :, 1]
            spectrum = spectrum * factor[..., None] + shift[..., None]
            mixed[:, :, part] = alpha * torch.fft.irfft(spectrum, n=length, dim=1, norm="ortho")
            for pair in range(length // 2):
                even, odd = x[:, 2 * pair, part], x[:, 2 * pair + 1, part]
                detail = (even - odd) / 2 * w[f"{key}.detail"][head, pair]
                mixed[:, 2 * pair, part] += (1 - alpha) * ((even + odd) / 2 + detail)
                mixed[:, 2 * pair + 1, part] += (1 - alpha) * ((even + odd) / 2 - detail)
        hidden.append(feed_forward(norm(mixed + x, w, f"{key}.add_norm.norm"), w, name))
    return hidden


@pytest.mark.parametrize(("length", "heads"), [(11, 2), (10, 4)])
def test_wearec_has_the_numbers_of_its_equations(length, heads):
    model = random_model("wearec", num_heads=heads, max_len=length, alpha=0.3)
    ids = WINDOWS[:, -length:]
    trace = model.trace(ids)
    assert_hidden(trace.hidden, wearec_reference(model, ids))
    assert trace.attention is None
    torch.testing.assert_close(model.encode(ids), trace.hidden[-1][:, -1])  # the fast path, for even and odd N


def test_at_first_the_filters_multiply_by_one_and_add_a_constant():
    model = WEARec(WEARecConfig(3646))
    model.initialise(0)
    mixer = model.blocks[1].mixer
    assert (mixer.factor == 1).all() and (mixer.shift == -0.1).all() and mixer.gate == 0
    assert mixer.detail.std().item() == pytest.approx(0.02, rel=0.1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 328_674  # the published log's number


def test_nothing_depends_on_the_gate():
    model = random_model("wearec")
    before = model(WINDOWS)
    with torch.no_grad():
        model.blocks[0].mixer.gate += 1
    assert torch.equal(before, model(WINDOWS))


def test_alpha_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="alpha"):
        WEARecConfig(30, alpha=1.5)
