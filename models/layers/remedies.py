"""Remedies against oversmoothing from vision, language and graph learning, each a small layer of its own.

A model with attention takes one of them: the setting `remedy`, for example `attnscale` or `gfsa:order=5`. `Remedy`
reads the setting and gives each layer of a block the part that belongs to it. Trained weights of a remedy are kept as
offsets from the value at which it changes nothing, and start at 0; so a model with AttnScale, FeatScale, GFSA or a
trained residual scale starts as the same model without it.

The papers are about bidirectional attention without padding, where the DC part of a signal is its mean over all
positions. Here a query must see neither the future nor padding, so the DC part is the mean over the keys that it may
attend to: uniform attention under the same mask. Without mask and padding the two are the same.

Shapes: b sequences, T positions, H heads, D hidden size. Masks (b, 1, T, T) are those of models.layers.packing, which
are added to scores.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ConfigError
from models.layers import NORM_EPS
from models.layers.choice import Choice, parse_choice

NONE = "none"
KINDS: dict[str, dict[str, type]] = {  # by name, the options and their types
    NONE: {},
    "attnscale": {},
    "featscale": {},
    "contranorm": {"scale": float, "temperature": float},
    "gfsa": {"order": int},
    "residual_scale": {"fixed": float},
    "pre_norm": {},
}


def uniform_attention(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return uniform attention under a mask, (b, 1, T, T): its product with a signal is the DC part that a query sees.

    >>> from models.layers.packing import all_positions
    >>> mask = all_positions(torch.tensor([[0, 7, 4]])).groups[0].mask
    >>> uniform_attention(mask, torch.float32)[0, 0, 1:].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]
    """
    return mask.to(dtype).softmax(dim=-1)


class AttnScale(nn.Module):
    """A' = DC + (1 + w) (A - DC): attention whose part beside DC is scaled by a trained number per head.

    DC is uniform attention under the same mask, and w starts at 0, so A' = A at first. Rows of A' sum to 1, but entries
    can be negative.

    Source: Wang et al., ICLR 2022, "Anti-oversmoothing in deep vision transformers via the Fourier domain analysis",
    section 3.2.

    >>> from models.layers.packing import all_positions
    >>> layer = AttnScale(heads=1)
    >>> with torch.no_grad():
    ...     _ = layer.high_offset.fill_(1.0)  # w
    >>> mask = all_positions(torch.tensor([[5, 7]])).groups[0].mask
    >>> layer(torch.tensor([[[[1.0, 0.0], [0.25, 0.75]]]]), mask)[0, 0].tolist()  # 1/2 + 2 (1/4 - 1/2), ...
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.high_offset = nn.Parameter(torch.zeros(heads))  # w

    def forward(self, attention: Tensor, mask: Tensor) -> Tensor:
        """Return the scaled attention, (b, H, T, T); attention: (b, H, T, T), before dropout."""
        low = uniform_attention(mask, attention.dtype)
        return low + (1 + self.high_offset[:, None, None]) * (attention - low)


class GFSA(nn.Module):
    """A' = w0 I + w1 A + wK A^K: attention as a polynomial graph filter, with three trained numbers per head.

    The power is approximated by A^K ~ A + (K - 1) (A^2 - A), a first-order Taylor step in K. At first w0 = wK = 0 and
    w1 = 1, so A' = A. Rows of A' sum to w0 + w1 + wK.

    order: K, at least 2.

    Source: Choi et al., NeurIPS 2024, "Graph convolutions enrich the self-attention in transformers!", section 4.

    >>> layer = GFSA(heads=1, order=3)
    >>> with torch.no_grad():
    ...     _ = layer.power_offset.fill_(1.0)  # wK
    >>> swap = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])  # A^2 = I, so A' = A + A + 2 (I - A)
    >>> layer(swap, torch.zeros(1, 1, 2, 2))[0, 0].tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """

    def __init__(self, heads: int, order: int = 3) -> None:
        super().__init__()
        self.order = order
        self.identity_offset = nn.Parameter(torch.zeros(heads))  # w0
        self.first_offset = nn.Parameter(torch.zeros(heads))  # w1 - 1
        self.power_offset = nn.Parameter(torch.zeros(heads))  # wK

    def forward(self, attention: Tensor, mask: Tensor) -> Tensor:
        """Return the filtered attention, (b, H, T, T); attention: (b, H, T, T), before dropout. The mask is not used.

        Powers of causal attention are causal, and real rows of it put no weight on padding, so powers do not either.
        """
        power = attention + (self.order - 1) * (attention @ attention - attention)
        identity = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
        w0, w1, w_power = (
            weight[:, None, None] for weight in (self.identity_offset, 1 + self.first_offset, self.power_offset)
        )
        return w0 * identity + w1 * attention + w_power * power


class FeatScale(nn.Module):
    """y' = (1 + s) DC[y] + (1 + t) (y - DC[y]): the two parts of an attention layer's output, scaled per dimension.

    DC[y] is the mean of y over the positions that a query may attend to. s and t start at 0, so y' = y at first. It
    comes after the output projection, before the residual.

    Source: Wang et al., ICLR 2022, "Anti-oversmoothing in deep vision transformers via the Fourier domain analysis",
    section 3.2.

    >>> layer = FeatScale(size=1)
    >>> with torch.no_grad():
    ...     _ = layer.high_offset.fill_(1.0)  # t
    >>> layer(torch.tensor([[[1.0], [3.0]]]), torch.zeros(1, 1, 2, 2))[0, :, 0].tolist()  # 2 - 2 and 2 + 2
    [0.0, 4.0]
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.low_offset = nn.Parameter(torch.zeros(size))  # s
        self.high_offset = nn.Parameter(torch.zeros(size))  # t

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """Return the scaled output, (b, T, D); y: (b, T, D)."""
        low = uniform_attention(mask, y.dtype).squeeze(1) @ y
        return (1 + self.low_offset) * low + (1 + self.high_offset) * (y - low)


class ContraNorm(nn.Module):
    """LayerNorm(x - s softmax(u u^T / t) x): positions repel those that are similar to them.

    u are the rows of x divided by their length, as in the published code; with rows of length r, the softmax(x x^T) of
    the paper is t = 1 / r^2. A query repels only the keys that it may attend to. It comes at the end of a block. s is
    fixed, so there is no value at which a trained weight would change nothing; s = 0 leaves a LayerNorm.

    scale: s, at least 0. temperature: t, above 0.

    Source: Guo et al., ICLR 2023, "ContraNorm: a contrastive learning perspective on oversmoothing and beyond",
    section 3.

    >>> layer = ContraNorm(size=2, scale=1.0, temperature=1e-3)  # so cold that a position repels itself alone
    >>> repelled = layer(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.zeros(1, 1, 2, 2))
    >>> bool(repelled.abs().max() < 1e-3)  # x - x
    True
    """

    def __init__(self, size: int, scale: float = 0.1, temperature: float = 1.0) -> None:
        super().__init__()
        self.scale, self.temperature = scale, temperature
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the rows, repelled and normalised, (b, T, D); x: (b, T, D)."""
        return self.norm(x + self.repulsion(x, mask))

    def repulsion(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return what is added to the rows before they are normalised, (b, T, D)."""
        unit = functional.normalize(x, dim=-1)
        similar = (unit @ unit.mT / self.temperature + mask.squeeze(1)).softmax(dim=-1)  # (b, T, T), rows sum to 1
        return -self.scale * similar @ x


class ResidualScale(nn.Module):
    """x + a f(x): what a layer f adds to its input is scaled by one number, so that the residual weighs more or less.

    a is trained and starts at 1, where it changes nothing; or it is fixed. It applies to every residual connection of a
    block, each with its own number, before the LayerNorm.

    fixed: a; None to train it.

    Sources: a trained a, Bachlechner et al., UAI 2021, "ReZero is all you need" (it starts at 0 there); a fixed one of
    1 / sqrt(L) against the collapse of the rank, Noci et al., NeurIPS 2022, "Signal propagation in transformers".

    >>> ResidualScale(fixed=0.5)(torch.tensor([3.0]), torch.tensor([1.0])).item()  # 1 + 0.5 (3 - 1)
    2.0
    """

    def __init__(self, fixed: float | None = None) -> None:
        super().__init__()
        self.fixed = fixed
        if fixed is None:
            self.scale_offset = nn.Parameter(torch.zeros(1))  # a - 1

    @property
    def factor(self) -> Tensor | float:
        """The number a."""
        return 1 + self.scale_offset if self.fixed is None else self.fixed

    def forward(self, total: Tensor, x: Tensor) -> Tensor:
        """Return x + a (total - x), (..., D); x: a layer's input, total: x + f(x)."""
        return x + self.factor * (total - x)


@dataclass(frozen=True)
class Remedy:
    """A remedy as layers need it: the part that belongs to each, None where nothing does.

    >>> Remedy.parse("gfsa:order=5").for_attention(heads=2).order
    5
    >>> Remedy.parse("none").for_attention(heads=2) is None
    True
    >>> Remedy.parse("layerscale")
    Traceback (most recent call last):
    models.errors.ConfigError: remedy must be one of none, attnscale, featscale, contranorm, gfsa, residual_scale, \
pre_norm, got 'layerscale'; did you mean 'featscale'?
    """

    chosen: Choice = field(default_factory=lambda: Choice(NONE, {}))

    @classmethod
    def parse(cls, text: Any) -> "Remedy":
        """Return the remedy of a setting; raises ConfigError for an unknown one, or an option out of its range."""
        remedy = cls(parse_choice("remedy", text, KINDS))
        options = remedy.chosen.options
        least = {"scale": (0, True), "temperature": (0, False), "order": (2, True)}
        for option, (bound, allowed) in least.items():
            value = options.get(option, bound + 1)
            if not (bound < value < float("inf") or (allowed and value == bound)):
                limit = f"at least {bound}" if allowed else f"above {bound}"
                raise ConfigError(f"remedy {remedy.chosen.name}: {option} must be {limit}, got {value}")
        if not abs(options.get("fixed", 0.0)) < float("inf"):
            raise ConfigError(f"remedy {remedy.chosen.name}: fixed must be a finite number, got {options['fixed']}")
        return remedy

    def for_attention(self, heads: int) -> AttnScale | GFSA | None:
        """Return the layer that changes attention maps."""
        kinds = {"attnscale": AttnScale, "gfsa": GFSA}
        return kinds[self.chosen.name](heads, **self.chosen.options) if self.chosen.name in kinds else None

    def for_output(self, size: int) -> FeatScale | None:
        """Return the layer between the output projection of attention and the residual."""
        return FeatScale(size) if self.chosen.name == "featscale" else None

    def for_block(self, size: int) -> ContraNorm | None:
        """Return the layer at the end of a block."""
        return ContraNorm(size, **self.chosen.options) if self.chosen.name == "contranorm" else None

    def for_residual(self) -> ResidualScale | None:
        """Return the layer that scales what is added to a residual."""
        return ResidualScale(**self.chosen.options) if self.chosen.name == "residual_scale" else None

    @property
    def is_pre_norm(self) -> bool:
        """Whether layers normalise their input, x + f(LayerNorm(x)), and not their output (see AddNorm)."""
        return self.chosen.name == "pre_norm"
