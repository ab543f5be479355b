"""LoWARec against its equations: attention in two steps, and a low-pass with a convolution of three taps."""

import math

import pytest
import torch
from plain_models import WINDOWS, D, N, assert_hidden, embed, feed_forward, linear, norm, random_model, weights
from torch import Tensor

from models.architectures.lowarec import LoWARec, LoWARecConfig
from models.errors import ConfigError
from models.recommender import Recommender

SETTINGS = {"num_heads": 2, "projections": 3, "alpha": 0.3, "c": 5}


def norm_of_attention(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attend(query: Tensor, key: Tensor, value: Tensor, count: int, w: dict[str, Tensor], name: str) -> tuple:
    query, key, value = (
        linear(x, w, f"{name}.{part}") for x, part in ((query, "query"), (key, "key"), (value, "value"))
    )
    outputs, maps = [], []
    for head in range(count):
        part = slice(head * D // count, (head + 1) * D // count)
        attention = (query[..., part] @ key[..., part].mT / math.sqrt(D // count)).softmax(-1)
        outputs.append(attention @ value[..., part])
        maps.append(attention)
    return linear(torch.cat(outputs, dim=-1), w, f"{name}.output"), maps


def lowarec_reference(model: Recommender, ids: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
    w, count = weights(model), model.config.num_heads
    alpha, kept = model.config.alpha, model.config.c // 2 + 1
    hidden, maps = [embed(ids, w)], []
    for layer in range(model.config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        key = f"{name}.mixer.frequency"
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")
        spectrum[:, kept:] = 0
        convolved = torch.zeros_like(x)
        for n in range(N):
            for tap, m in enumerate((n - 1, n, n + 1)):
                if 0 <= m < N:
                    convolved[:, n] += w[f"{key}.kernel"][tap] * x[:, m]
        share = 1 / (1 + torch.exp(-w[f"{key}.mixing"]))
        filtered = share * torch.fft.irfft(spectrum, n=N, dim=1, norm="ortho") + (1 - share) * convolved
        filtered = norm(filtered + x, w, f"{key}.add_norm.norm")
        key = f"{name}.mixer.attention"
        vectors = w[f"{key}.projections"].expand(len(x), -1, -1)
        summary, gathered = attend(vectors, x, x, count, w, f"{key}.gather")
        message, spread = attend(x, vectors, summary, count, w, f"{key}.spread")
        attended = norm_of_attention(x + message, w, f"{key}.add_norm.norm")
        inner = linear(attended, w, f"{key}.feed_forward.inner")
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        outer = linear(inner, w, f"{key}.feed_forward.outer")
        attended = norm_of_attention(attended + outer, w, f"{key}.feed_forward.add_norm.norm")
        hidden.append(feed_forward(alpha * filtered + (1 - alpha) * attended, w, name))
        maps.append([second @ first for second in spread for first in gathered])
    return hidden, maps


def test_lowarec_has_the_numbers_of_its_equations():
    model = random_model("lowarec", **SETTINGS)
    trace, (hidden, maps) = model.trace(WINDOWS), lowarec_reference(model, WINDOWS)
    assert_hidden(trace.hidden, hidden)
    for actual, expected in zip(trace.attention, maps, strict=True):
        torch.testing.assert_close(actual, torch.stack(expected, dim=1))
        torch.testing.assert_close(actual.sum(-1), torch.ones(4, 4, N, dtype=torch.float64))
        assert int(torch.linalg.matrix_rank(actual[3, 0])) == 3  # the number of projections


def test_the_branch_of_attention_is_the_sum_over_pairs_of_heads():
    model = random_model("lowarec", **SETTINGS)
    layer = model.blocks[0].mixer.attention
    with torch.no_grad():
        for attention in (layer.gather, layer.spread):
            for part in (attention.value, attention.output):
                part.bias.zero_()
        x = model.trace(WINDOWS).hidden[0]
        _, maps = layer(x)
        vectors = layer.projections.expand(len(x), -1, -1)
        message, _ = layer.spread(x, vectors, layer.gather(vectors, x, x)[0])
        torch.testing.assert_close((maps @ x[:, None] @ layer.value_output()).sum(1), message)


def test_without_scores_every_position_takes_the_mean_of_all():
    model = random_model("lowarec", **SETTINGS)
    ids = WINDOWS[:1]
    uniform = model.with_uniform_attention()
    for attention in uniform.trace(ids).attention:
        torch.testing.assert_close(attention, torch.full((1, 4, N, N), 1 / N, dtype=torch.float64))
    layer = uniform.blocks[0].mixer.attention
    x = uniform.trace(ids).hidden[0]
    gather, spread = layer.gather, layer.spread
    mean = gather.output(gather.value(x.mean(1)))  # what each of the projections gathers
    expected = layer.feed_forward(layer.add_norm(spread.output(spread.value(mean))[:, None], x))
    torch.testing.assert_close(layer(x)[0], expected)


def test_weights_are_drawn_as_published():
    model = LoWARec(LoWARecConfig(3646))
    model.initialise(0)
    mixer = model.blocks[1].mixer
    assert mixer.attention.projections.std().item() == pytest.approx(1, rel=0.15)
    assert (torch.tensor([1.0, -1.0, 0.0]) == mixer.frequency.kernel.T).all() and mixer.frequency.mixing == 0.5
    assert sum(parameter.numel() for parameter in model.parameters()) == 438_082  # the published log's number


@pytest.mark.parametrize("wrong", [{"c": 4}, {"alpha": 2.0}, {"projections": 0}, {"projected_dropout": 1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LoWARecConfig(30, **wrong)
