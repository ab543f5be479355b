"""WEARec: blocks of a filter that adapts to the input, with a wavelet filter (Xu et al., AAAI 2026)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.architectures.encoder import AttentionConfig, Encoder
from models.errors import ConfigError
from models.layers.adaptive_filter import AdaptiveFilter

ONE_HEAD = "what a single head adds is the same in all dimensions, which LayerNorm takes out"
INITIAL_SHIFT = -0.1  # what the filters add to every frequency at first, as published


@dataclass(frozen=True)
class WEARecConfig(AttentionConfig):
    """Configuration of WEARec; the defaults are the published ones, for LastFM. Its heads are groups of dimensions."""

    num_heads: int = 2
    alpha: float = 0.3  # weight of the adaptive filter; 1 - alpha is that of the wavelet filter

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha must lie in 0..1, got {self.alpha}")


class WEARec(Encoder):
    """Blocks of AdaptiveFilter; there is no mask, so padding and later positions influence every position."""

    name, title = "wearec", "WEARec"
    config_type = WEARecConfig
    published_loss = "ce"
    capturable = True
    promises = ()
    idle = (
        ("mixer.gate", "alpha mixes the filters, and the gate is not used"),
        ("mixer.shift", ONE_HEAD),
        ("mixer.outer.weight", ONE_HEAD),
    )
    inert_padding = False

    def __init__(self, config: WEARecConfig) -> None:
        super().__init__(
            config,
            lambda masks: AdaptiveFilter(
                config.hidden_size, config.max_len, config.num_heads, config.alpha, config.dropout, masks
            ),
        )

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; the filters' factors are 1, what they add is -0.1, and the unused gate is 0."""
        constant = {"factor": 1.0, "shift": INITIAL_SHIFT, "gate": 0.0}.get(name.rpartition(".")[2])
        return super().draw(name, shape, generator) if constant is None else torch.full(shape, constant)
