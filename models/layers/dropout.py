"""Dropout with masks cut from bulk random bits; drawing them one by one would dominate training on a CPU."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from models.layers import compiled

_TWO = 0x40000000  # the bits of the float32 number 2.0, only one of which is set; 2 = 1 / (1 - p) at p = 0.5
_SHIFTS = torch.arange(31, dtype=torch.int32)[:, None]  # this many fair coins are cut from one 32-bit word


class MaskSource:
    """A seeded stream of dropout masks, shared by all dropout layers of a model.

    On the CPU the bits come from numpy's SFC64, on other devices from torch's generator of the device.

    >>> source = MaskSource(seed=0)
    >>> mask = source.mask(torch.Size([1000, 100]), p=0.5, device=torch.device("cpu"))
    >>> mask.unique().tolist()  # dropped, or scaled by 1 / (1 - p)
    [0.0, 2.0]
    >>> round(mask.mean().item(), 1)  # so the mean stays 1
    1.0
    >>> source.seed(0)  # the stream starts again
    >>> torch.equal(mask, source.mask(torch.Size([1000, 100]), p=0.5, device=torch.device("cpu")))
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed(seed)

    def seed(self, *entropy: int) -> None:
        """Restart the stream; equal numbers (for example seed and epoch) give equal masks."""
        sequence = np.random.SeedSequence(entropy)
        self._words = np.random.SFC64(sequence)
        self._device_seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)
        self._generators: dict[torch.device, torch.Generator] = {}

    def mask(self, shape: torch.Size, p: float, device: torch.device) -> Tensor:
        """Return a float32 mask of this shape; each entry is 0 with probability p, else 1 / (1 - p)."""
        if device.type != "cpu":
            return (self.uniform(shape, device) >= p) / (1 - p)
        size = shape.numel()
        if p == 0.5:
            return _coins(self._random_words(-(-size // len(_SHIFTS)))).view(-1)[:size].view(shape)
        dropped = self._random_words(size) < round(p * 2**32) - 2**31
        return torch.where(dropped, 0.0, 1 / (1 - p)).view(shape)

    def uniform(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Return independent uniform numbers in [0, 1) of this shape; float64 on the CPU, else float32."""
        if device.type != "cpu":
            if device not in self._generators:
                self._generators[device] = torch.Generator(device).manual_seed(self._device_seed)
            return torch.rand(shape, device=device, generator=self._generators[device])
        return (self._random_words(shape.numel()).double().add_(2**31) / 2**32).view(shape)

    def _random_words(self, count: int) -> Tensor:
        """Return `count` random 32-bit words, uniform over all of int32."""
        return torch.from_numpy(self._words.random_raw(-(-count // 2)).view(np.int32))[:count]


def _coins(words: Tensor) -> Tensor:
    """Return masks (31, words) of 0 and 2, cut from the bits of random words (words,)."""
    if compiled.takes(torch.empty(0)):
        return compiled.coins(words, len(_SHIFTS))
    return (words << _SHIFTS).bitwise_and_(_TWO).view(torch.float32)


class Dropout(nn.Module):
    """Dropout (Srivastava et al., JMLR 2014): in training, zero elements with probability p, scale the others.

    The elements that stay are scaled by 1 / (1 - p), so the expected output is the input. `source` draws the masks.

    >>> layer = Dropout(0.5, MaskSource(seed=0))
    >>> set(layer(torch.ones(1000)).tolist()) == {0.0, 2.0}
    True
    >>> layer.eval()(torch.ones(3)).tolist()  # unchanged in evaluation
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float, source: MaskSource) -> None:
        super().__init__()
        self.p = p
        self.source = source

    def mask(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor | None:
        """Return a fresh mask to multiply with; None in evaluation or if p is 0."""
        if not self.training or self.p == 0:
            return None
        return self.source.mask(torch.Size(shape), self.p, device)

    def masks(self, shapes: list[tuple[int, ...]], device: torch.device) -> list[Tensor] | None:
        """Return a mask for each shape, drawn together; None in evaluation or if p is 0."""
        sizes = [math.prod(shape) for shape in shapes]
        mask = self.mask((sum(sizes),), device)
        if mask is None:
            return None
        return [part.view(shape) for part, shape in zip(mask.split(sizes), shapes, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a fresh mask applied; x itself in evaluation or if p is 0."""
        mask = self.mask(x.shape, x.device)
        return x if mask is None else x * mask
