"""Models with random weights, and parts of them written plainly with loops and float64."""

import math

import torch
from torch import Tensor

from models.recommender import Recommender
from models.registry import build, configure

ITEMS, N, D, USERS = 30, 11, 8, 5

WINDOWS = torch.tensor(
    [
        [0] * N,
        [0] * (N - 1) + [7],
        [0] * (N - 4) + [3, 9, 3, 30],
        list(range(5, 5 + N)),
    ]
)


def random_model(name: str, **settings: object) -> Recommender:
    """A model in float64 with weights large enough that every part of it matters, in evaluation mode."""
    given = {"hidden_size": D, "max_len": N, **settings}
    model = build(configure(name, ITEMS, USERS, **given))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.double().eval()


def weights(model: Recommender) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-12)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def embed(ids: Tensor, w: dict[str, Tensor]) -> Tensor:
    return norm(w["items.weight"][ids] + w["positions.weight"], w, "norm")


def feed_forward(x: Tensor, w: dict[str, Tensor], block: str) -> Tensor:
    inner = linear(x, w, f"{block}.feed_forward.inner")
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    return norm(linear(inner, w, f"{block}.feed_forward.outer") + x, w, f"{block}.feed_forward.add_norm.norm")


def key_mask(ids: Tensor, causal: bool) -> Tensor:
    allowed = (ids > 0)[:, None, :].expand(-1, N, -1)
    if causal:
        allowed = allowed & torch.ones(N, N, dtype=torch.bool).tril()
    return (~allowed)[:, None] * -10000.0


def heads(x: Tensor, count: int) -> Tensor:
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def attention_reference(model: Recommender, ids: Tensor, causal: bool) -> list[Tensor]:
    w, count = weights(model), model.config.num_heads
    hidden = [embed(ids, w)]
    for layer in range(model.config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        q, k, v = (heads(part, count) for part in linear(x, w, f"{name}.mixer.qkv").chunk(3, dim=-1))
        attention = (q @ k.mT / math.sqrt(D // count) + key_mask(ids, causal)).softmax(-1)
        out = linear((attention @ v).transpose(1, 2).flatten(2), w, f"{name}.mixer.output")
        hidden.append(feed_forward(norm(out + x, w, f"{name}.mixer.add_norm.norm"), w, name))
    return hidden


def assert_hidden(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert len(actual) == len(expected)
    for layer, (a, b) in enumerate(zip(actual, expected, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=lambda text, layer=layer: f"layer {layer}: {text}")
