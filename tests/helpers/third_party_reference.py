"""Plain forwards on state dicts share these: no layer of the toolkit is used, only functions of torch."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]
# From a batch of histories: for each its hidden states (n, D) and attention (H, n, n) by layer, at real positions.
Reference = Callable[[list[list[int]]], list[tuple[list[Tensor], list[Tensor]]]]
LENGTHS = (1, 7, 50, 60)  # the last one longer than N = 50


def real_file(name: str) -> Path:
    """A checkpoint in the folder `checkpoints` beside that of the datasets."""
    data = os.environ.get("SPECTRAL_DATA_DIR")
    path = Path(data).parent / "checkpoints" / name if data else None
    if path is None or not path.is_file():
        pytest.skip(f"{name} is not in a folder 'checkpoints' beside the one that SPECTRAL_DATA_DIR names")
    return path


def histories(num_items: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(1, num_items + 1, (length,), generator=generator).tolist() for length in LENGTHS]


def draw(shapes: dict[str, tuple[int, ...]], std: float = 0.15) -> State:
    """A state dict with weights large enough that every part of a model matters; norms around 1."""
    generator = torch.Generator().manual_seed(11)
    state = {key: std * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    for key in state:
        if "norm" in key.lower() and key.endswith("weight") and state[key].ndim == 1:
            state[key] += 1
    return state


def layers(shapes: dict[str, tuple[int, ...]], count: int = 2) -> dict[str, tuple[int, ...]]:
    """The shapes of every layer, {} in the keys being its number."""
    return {key.replace("{}", str(layer)): shape for layer in range(count) for key, shape in shapes.items()}


def dense(key: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (outputs, inputs), f"{key}.bias": (outputs,)}


def norms(key: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.weight": (size,), f"{key}.bias": (size,)}


def linear(x: Tensor, state: State, key: str) -> Tensor:
    return x @ state[f"{key}.weight"].squeeze().T + state[f"{key}.bias"]


def norm(x: Tensor, state: State, key: str, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) * state[f"{key}.weight"] + state[f"{key}.bias"]
    )


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor) -> tuple[Tensor, Tensor]:
    """One sequence: (n, D) each and a mask (n, n) that is added; returns (n, D) and (H, n, n)."""
    size = query.shape[-1] // heads
    outputs, maps = [], []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        weights = torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(size) + mask, dim=-1)
        outputs.append(weights @ value[:, part])
        maps.append(weights)
    return torch.cat(outputs, dim=1), torch.stack(maps)


def low_pass(x: Tensor, c: int) -> Tensor:
    spectrum = torch.fft.rfft(x, dim=0, norm="ortho")
    spectrum[c // 2 + 1 :] = 0
    return torch.fft.irfft(spectrum, n=len(x), dim=0, norm="ortho")


def assert_same(model, reference: Reference, num_items: int, atol: float = 1e-5) -> None:
    """The trace of a model at real positions is that of the reference, for sequences alone and for a batch."""
    sequences = histories(num_items)
    for batch in [*([sequence] for sequence in sequences), sequences]:
        width = max(len(sequence) for sequence in batch)
        windows = torch.tensor([[0] * (width - len(sequence)) + sequence for sequence in batch])
        with torch.inference_mode():
            trace, scores = model.trace(windows), model(windows)
        for row, (hidden, attention) in enumerate(reference(batch)):
            n = len(hidden[0])
            assert trace.mask[row].sum() == n and bool(trace.mask[row, -n:].all())
            assert len(trace.hidden) == len(hidden)
            for ours, theirs in zip(trace.hidden, hidden, strict=True):
                torch.testing.assert_close(ours[row, -n:], theirs, atol=atol, rtol=1e-5)
            assert (trace.attention is None) == (not attention)
            for ours, theirs in zip(trace.attention or [], attention, strict=True):
                torch.testing.assert_close(ours[row, :, -n:, -n:], theirs, atol=atol, rtol=1e-5)
        assert scores.shape == (len(batch), num_items + 1)
