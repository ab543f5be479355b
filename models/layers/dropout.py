"""Dropout with masks cut from bulk random bits; drawing them one by one would dominate training on a CPU."""

import math
from dataclasses import dataclass
from itertools import accumulate

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
        self._generators: dict[torch.device, torch.Generator] = {}
        self.seed(seed)

    def seed(self, *entropy: int) -> None:
        """Restart the stream; equal numbers (for example seed and epoch) give equal masks."""
        sequence = np.random.SeedSequence(entropy)
        self._words = np.random.SFC64(sequence)
        self._device_seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)
        for generator in self.generators:  # kept, because a captured step draws from the same ones (models.step_graph)
            generator.manual_seed(self._device_seed)

    @property
    def generators(self) -> list[torch.Generator]:
        """The generators of the devices on which masks were drawn."""
        return list(self._generators.values())

    def mask(self, shape: torch.Size, p: float, device: torch.device) -> Tensor:
        """Return a float32 mask of this shape; each entry is 0 with probability p, else 1 / (1 - p)."""
        if device.type != "cpu":
            return (self.uniform(shape, device) >= p) / (1 - p)
        if p == 0.5:
            return self.coins(shape).dense()
        size = shape.numel()
        dropped = self._random_words(size) < round(p * 2**32) - 2**31
        return torch.where(dropped, 0.0, 1 / (1 - p)).view(shape)

    def coins(self, shape: torch.Size) -> "Coins":
        """Return a mask of this shape at p = 0.5 for the CPU, as the random words that it is cut from."""
        return Coins(self._random_words(-(-shape.numel() // len(_SHIFTS))), shape)

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


@dataclass(frozen=True)
class Coins:
    """A dropout mask at p = 0.5 as random words, a 31st of its memory; compiled layers need no other form.

    Attributes:
        words: (count,) int32. Factor n of the mask that they were drawn for is 2 where bit 30 - n // count of word
            n % count is set, else 0.
        shape: Of the mask.
        start: Number n of its first factor: a part of a mask has the words of the whole.

    >>> coins = MaskSource(seed=0).coins(torch.Size([4, 5]))
    >>> torch.equal(coins.dense(), MaskSource(seed=0).mask(torch.Size([4, 5]), 0.5, torch.device("cpu")))
    True
    >>> torch.equal(coins.part(10, (2, 5)).dense(), coins.dense()[2:])
    True
    """

    words: Tensor
    shape: torch.Size
    start: int = 0

    def part(self, start: int, shape: tuple[int, ...]) -> "Coins":
        """Return the factors from number `start` on, in a shape of their own."""
        return Coins(self.words, torch.Size(shape), self.start + start)

    def dense(self) -> Tensor:
        """Return the mask, float32."""
        if compiled.takes(torch.empty(0)):
            factors = compiled.coins(self.words, len(_SHIFTS))
        else:
            factors = (self.words << _SHIFTS).bitwise_and_(_TWO).view(torch.float32)
        return factors.view(-1)[self.start : self.start + self.shape.numel()].view(self.shape)


Mask = Tensor | Coins | None  # the factors of dropout; None for no dropout


def dense(mask: Mask) -> Tensor | None:
    """Return a mask as a tensor."""
    return mask.dense() if isinstance(mask, Coins) else mask


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

    def coins(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Mask:
        """Return the same mask, as random words where p is 0.5 and compiled layers may take it."""
        return self.source.coins(torch.Size(shape)) if self._is_coins(device) else self.mask(shape, device)

    def masks(self, shapes: list[tuple[int, ...]], device: torch.device) -> list[Tensor] | None:
        """Return a mask for each shape, drawn together; None in evaluation or if p is 0."""
        sizes = [math.prod(shape) for shape in shapes]
        mask = self.mask((sum(sizes),), device)
        if mask is None:
            return None
        return [part.view(shape) for part, shape in zip(mask.split(sizes), shapes, strict=True)]

    def coins_for(self, shapes: list[tuple[int, ...]], device: torch.device) -> list[Tensor] | list[Coins] | None:
        """Return the same masks, as `coins` does."""
        sizes = [math.prod(shape) for shape in shapes]
        if not self._is_coins(device):
            return self.masks(shapes, device)
        coins = self.source.coins(torch.Size([sum(sizes)]))
        return [
            coins.part(stop - size, shape) for stop, size, shape in zip(accumulate(sizes), sizes, shapes, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a fresh mask applied; x itself in evaluation or if p is 0."""
        mask = self.mask(x.shape, x.device)
        return x if mask is None else x * mask

    def _is_coins(self, device: torch.device) -> bool:
        return self.training and self.p == 0.5 and device.type == "cpu" and compiled.takes(torch.empty(0))
