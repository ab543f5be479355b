"""BSARec: self-attention mixed with a frequency filter (Shin et al., AAAI 2024)."""

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor

from models.architectures.encoder import AttentionConfig, Block, Encoder
from models.errors import ConfigError
from models.layers.add_norm import ResidualStep
from models.layers.attention import Mixer, SelfAttention
from models.layers.dropout import MaskSource
from models.layers.frequency import FrequencyLayer
from models.layers.packing import Packing
from models.layers.parts import Branch
from models.recommender import Trace


def check_alpha_and_c(alpha: float, c: int, length: int) -> None:
    """Raise ConfigError unless alpha is in [0, 1], and c is odd and in 1..length.

    >>> check_alpha_and_c(alpha=0.7, c=5, length=50)
    >>> check_alpha_and_c(alpha=1.7, c=5, length=50)
    Traceback (most recent call last):
    models.errors.ConfigError: alpha must lie in 0..1, got 1.7
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie in 0..1, got {alpha}")
    if not isinstance(c, int) or not 1 <= c <= length or c % 2 == 0:
        raise ConfigError(
            f"c must be odd and lie in 1..{length} (the window's length), got {c}: "
            "DC and (c - 1) / 2 pairs of modes are kept"
        )


@dataclass(frozen=True)
class BSARecConfig(AttentionConfig):
    """Configuration of BSARec; the defaults of alpha and c are the published ones for LastFM."""

    alpha: float = 0.9  # weight of the frequency branch; 1 - alpha is that of attention
    c: int = 3  # number of modes that count as low frequency; odd, so that conjugate pairs stay together
    beta: Literal["vector", "scalar"] = "vector"  # one gain of the high frequencies per dimension, or one for all

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha_and_c(self.alpha, self.c, self.max_len)
        if self.beta not in ("vector", "scalar"):
            raise ConfigError(f"beta must be vector or scalar, got {self.beta!r}")


class BSARecMixer(Mixer):
    """S = alpha * A_IB X + (1 - alpha) * A X, each branch with its own residual and LayerNorm.

    A_IB is the frequency branch (`FrequencyLayer`), A is self-attention. Source: Shin et al., AAAI 2024, section 4.
    """

    def __init__(self, config: BSARecConfig, masks: MaskSource) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.frequency = FrequencyLayer(
            config.hidden_size, config.max_len, config.c, config.beta == "scalar", config.dropout, masks
        )
        self.attention = SelfAttention(config.hidden_size, config.num_heads, config.dropout, masks)

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; needs all positions (B, N, D), padding included."""
        attended, attention = self.attention(x, packing, 1 - self.alpha)
        return attended + self.frequency(x, self.alpha), attention

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer."""
        return self.attention.last(x, at, mask, 1 - self.alpha) + self.frequency.last(x, at, self.alpha)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        frequency = Branch(self.frequency.parts(), f"α = {self.alpha:g}")
        return frequency, Branch(self.attention.parts(), f"1 − α = {1 - self.alpha:g}")

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer."""
        return [*self.attention.steps(x, packing, 1 - self.alpha), self.frequency.step(x, self.alpha)]

    def value_output(self) -> Tensor:
        """See Mixer; these are the weights of the attention branch."""
        return self.attention.value_output()


class BSARec(Encoder):
    """Blocks of BSARecMixer; the frequency branch also filters padding, so padding influences real positions."""

    name, title = "bsarec", "BSARec"
    config_type = BSARecConfig
    published_loss = "ce"
    inert_padding = False

    def __init__(self, config: BSARecConfig) -> None:
        super().__init__(config, lambda masks: BSARecMixer(config, masks))

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; the square root of beta is drawn from N(0, 1)."""
        if name.endswith("sqrt_beta"):
            return torch.randn(shape, generator=generator)
        return super().draw(name, shape, generator)

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Encoder; the trace also has the filters of the frequency branch, which do not depend on the input."""
        mixers = [cast(BSARecMixer, block.mixer) for block in cast(list[Block], self.blocks)]
        return replace(super().trace(input_ids, causal), filters=[mixer.frequency.filter for mixer in mixers])
