"""BSARec: self-attention mixed with a frequency filter (Shin et al., AAAI 2024)."""

from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor

from models.architectures.encoder import Block, Encoder, RemediedConfig
from models.choices import BETAS
from models.errors import ConfigError, did_you_mean
from models.layers.add_norm import ResidualStep
from models.layers.attention import Mixer, SelfAttention
from models.layers.choice import Choice, parse_choice
from models.layers.dropout import MaskSource
from models.layers.frequency import FrequencyLayer, LowPass
from models.layers.packing import Packing
from models.layers.parts import Branch, Part
from models.layers.remedies import Remedy
from models.recommender import LATER, Trace

# The frequency branch, as published, and its variants in the reproduction by Hutter et al., ECIR 2026.
FREQUENCY: dict[str, dict[str, type]] = {"fourier": {}, "wavelet": {"name": str, "mode": str}, "residual": {}}


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
class BSARecConfig(RemediedConfig):
    """Configuration of BSARec; the defaults of alpha and c are the published ones for LastFM."""

    alpha: float = 0.9  # weight of the frequency branch; 1 - alpha is that of attention
    c: int = 3  # number of modes that count as low frequency; odd, so that conjugate pairs stay together
    beta: Literal["vector", "scalar"] = "vector"  # one gain of the high frequencies per dimension, or one for all
    # fourier, wavelet or residual; options as in wavelet:name=sym4,mode=reflect (models.layers.frequency.LowPass). A
    # wavelet has no c. Without a frequency branch (residual), the layer is A X + X, and has no alpha, c or beta.
    frequency: str = field(default="fourier", metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha_and_c(self.alpha, self.c, self.max_len)
        if self.beta not in BETAS:
            raise ConfigError(f"beta must be vector or scalar, got {self.beta!r}{did_you_mean(str(self.beta), BETAS)}")
        if self.chosen_frequency.name == "wavelet":
            self.low_pass()

    @property
    def chosen_frequency(self) -> Choice:
        """The setting `frequency`, read."""
        return parse_choice("frequency", self.frequency, FREQUENCY)

    def low_pass(self) -> LowPass:
        """Return the low-pass of the frequency branch; raises ConfigError for a wavelet that is not known."""
        chosen = self.chosen_frequency
        if chosen.name == "wavelet":
            return LowPass.wavelet(self.max_len, **chosen.options)
        return LowPass.fourier(self.max_len, self.c)


class BSARecMixer(Mixer):
    """S = alpha * A_IB X + (1 - alpha) * A X, each branch with its own residual and LayerNorm.

    A_IB is the frequency branch (`FrequencyLayer`), A is self-attention. Source: Shin et al., AAAI 2024, section 4.
    """

    def __init__(self, config: BSARecConfig, masks: MaskSource) -> None:
        super().__init__()
        self.alpha = config.alpha
        size, p, remedy = config.hidden_size, config.dropout, Remedy.parse(config.remedy)
        self.frequency = FrequencyLayer(size, config.low_pass(), config.beta == "scalar", p, masks, remedy)
        self.attention = SelfAttention(size, config.num_heads, p, masks, remedy)

    @property
    def needs_all_positions(self) -> bool:
        """See Mixer."""
        return self.attention.needs_all_positions

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; needs all positions (B, N, D), padding included."""
        attended, attention = self.attention(x, packing, 1 - self.alpha)
        return self.frequency(x, self.alpha, plus=attended), attention

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer."""
        attended = self.attention.last(x, at, mask, 1 - self.alpha)
        return self.frequency.last(x, at, self.alpha, plus=attended)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        frequency = Branch(self.frequency.parts(), f"α = {self.alpha:g}")
        return frequency, Branch(self.attention.parts(), f"1 − α = {1 - self.alpha:g}")

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer."""
        return [*self.attention.steps(x, packing, 1 - self.alpha), self.frequency.step(x, self.alpha)]

    def value_output(self) -> Tensor | None:
        """See Mixer; these are the weights of the attention branch."""
        return self.attention.value_output()


class ResidualMixer(Mixer):
    """S = A X + X: BSARec with a plain residual in place of its frequency branch, to tell what the filter adds.

    A X has its own residual and LayerNorm, X has none. Source: Hutter et al., ECIR 2026, arXiv 2512.17442.
    """

    def __init__(self, config: BSARecConfig, masks: MaskSource) -> None:
        super().__init__()
        remedy = Remedy.parse(config.remedy)
        self.attention = SelfAttention(config.hidden_size, config.num_heads, config.dropout, masks, remedy)

    @property
    def needs_all_positions(self) -> bool:
        """See Mixer."""
        return self.attention.needs_all_positions

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer."""
        attended, attention = self.attention(x, packing)
        return attended + x, attention

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer."""
        return self.attention.last(x, at, mask) + at

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        return Branch((Part("input", "as it is"),)), *self.attention.branches()

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer; the input is a step that adds nothing and normalises nothing."""
        return [*self.attention.steps(x, packing), ResidualStep("input", x, torch.zeros_like(x), None)]

    def value_output(self) -> Tensor | None:
        """See Mixer; these are the weights of the attention branch."""
        return self.attention.value_output()


class BSARec(Encoder):
    """Blocks of BSARecMixer; the frequency branch also filters padding, so padding influences real positions."""

    name, title = "bsarec", "BSARec"
    config_type = BSARecConfig
    published_loss = "ce"
    capturable = True
    promises = ()
    inert_padding = False

    def __init__(self, config: BSARecConfig) -> None:
        mixer = ResidualMixer if config.chosen_frequency.name == "residual" else BSARecMixer
        super().__init__(config, lambda masks: mixer(config, masks))

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; the square root of beta is drawn from N(0, 1)."""
        if name.endswith("sqrt_beta"):
            return torch.randn(shape, generator=generator)
        return super().draw(name, shape, generator)

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Encoder; the trace also has the filters of a Fourier branch, which do not depend on the input."""
        trace = super().trace(input_ids, causal)
        if self.config.chosen_frequency.name != "fourier":
            return trace
        return replace(trace, filters=[cast(Tensor, branch.filter) for branch in self._frequency_branches()])

    def betas(self) -> list[Tensor]:
        """See Recommender."""
        return [branch.beta.expand(self.config.hidden_size) for branch in self._frequency_branches()]

    def _frequency_branches(self) -> list[FrequencyLayer]:
        mixers = [block.mixer for block in cast(list[Block], self.blocks)]
        return [mixer.frequency for mixer in mixers if isinstance(mixer, BSARecMixer)]
