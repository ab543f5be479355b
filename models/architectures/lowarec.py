"""LoWARec: a low-pass with a short convolution, mixed with attention through a few projections (Li et al., 2026)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.architectures.bsarec import check_alpha_and_c
from models.architectures.encoder import AttentionConfig, Encoder
from models.errors import ConfigError
from models.layers.attention import Mixer
from models.layers.dropout import MaskSource
from models.layers.low_rank import LowPassConvolution, ProjectedAttention
from models.layers.packing import Packing
from models.layers.parts import Branch

INITIAL_MIXING = 0.5  # before the sigmoid, as published


@dataclass(frozen=True)
class LoWARecConfig(AttentionConfig):
    """Configuration of LoWARec; the defaults are the published ones for LastFM."""

    num_heads: int = 4
    alpha: float = 0.7  # weight of the frequency branch; 1 - alpha is that of attention
    c: int = 3  # number of modes that count as low frequency; odd
    projections: int = 8  # P, vectors through which positions attend to each other
    projected_dropout: float = 0.5  # of the attention branch

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha_and_c(self.alpha, self.c, self.max_len)
        self.check_counts("projections")
        if not 0 <= self.projected_dropout < 1:
            raise ConfigError(f"projected_dropout must be at least 0 and below 1, got {self.projected_dropout}")


class LoWARecMixer(Mixer):
    """alpha * LowPassConvolution + (1 - alpha) * ProjectedAttention; each has its own residual and LayerNorm."""

    def __init__(self, config: LoWARecConfig, masks: MaskSource) -> None:
        super().__init__()
        size, p = config.hidden_size, config.projected_dropout
        self.alpha = config.alpha
        self.frequency = LowPassConvolution(size, config.max_len, config.c, config.dropout, masks)
        self.attention = ProjectedAttention(size, config.num_heads, config.projections, p, masks)

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; needs all positions (B, N, D), padding included. The attention is that of pairs of heads."""
        attended, attention = self.attention(x)
        return torch.lerp(attended, self.frequency(x), self.alpha), [attention]

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer; the mask is not used."""
        return torch.lerp(self.attention.last(x, at), self.frequency.last(x, at), self.alpha)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        frequency = Branch(self.frequency.parts(), f"α = {self.alpha:g}")
        return frequency, Branch(self.attention.parts(), f"1 − α = {1 - self.alpha:g}")

    def value_output(self) -> Tensor:
        """See Mixer; these are the weights of the attention branch."""
        return self.attention.value_output()


class LoWARec(Encoder):
    """Blocks of LoWARecMixer; there is no mask, so padding and later positions influence every position."""

    name, title = "lowarec", "LoWARec"
    config_type = LoWARecConfig
    published_loss = "ce"
    capturable = True
    promises = ()
    inert_padding = False
    attends_padding = True
    causal = False

    def __init__(self, config: LoWARecConfig) -> None:
        super().__init__(config, lambda masks: LoWARecMixer(config, masks))

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; projections are N(0, 1), the convolution starts as a difference, its mixing at 0.5."""
        if name.endswith("attention.projections"):
            return torch.randn(shape, generator=generator)
        if name.endswith("frequency.kernel"):
            return torch.tensor([1.0, -1.0, 0.0])[:, None].expand(shape)
        return torch.full(shape, INITIAL_MIXING) if name.endswith("mixing") else super().draw(name, shape, generator)
