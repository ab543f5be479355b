"""TV-Rec: blocks that mix positions by a filter that varies along them (Shin et al., NeurIPS 2025)."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from models.architectures.encoder import Block, Encoder, EncoderConfig
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.losses import Loss
from models.layers.time_variant import TimeVariantFilter

INITIAL_STD = 1e-3  # of basis and coefficients, as published


@dataclass(frozen=True)
class TVRecConfig(EncoderConfig):
    """Configuration of TV-Rec; the defaults are the published ones for LastFM, except dropout (0.4 there)."""

    filters: int = 8  # M, basis filters
    order: int = 50  # K, the longest delay
    orthogonality: float = 1e-3  # factor of the basis filters' overlap in the loss

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("filters", "order")
        if self.orthogonality < 0:
            raise ConfigError(f"orthogonality must be at least 0, got {self.orthogonality}")


class TVRec(Encoder):
    """Blocks of TimeVariantFilter, without position embeddings: the filter itself knows the position.

    States of padding are set to 0 before every block, so padding is inert. The filter is meant to be causal; see
    TimeVariantFilter for the one entry that is not. The loss adds the overlap of each block's basis filters.
    """

    name, title = "tvrec", "TV-Rec"
    config_type = TVRecConfig
    published_loss = "ce"
    capturable = True
    idle = (("mixer.coefficients", "of the N + K - 1 rows of coefficients only the first N are those of positions"),)
    inert_padding = True
    positioned = False

    def __init__(self, config: TVRecConfig) -> None:
        super().__init__(
            config,
            lambda masks: TimeVariantFilter(
                config.hidden_size, config.max_len, config.filters, config.order, config.dropout, masks
            ),
        )

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; basis filters and coefficients are drawn from N(0, 0.001^2)."""
        if name.endswith(("basis", "coefficients")):
            return INITIAL_STD * torch.randn(shape, generator=generator)
        return super().draw(name, shape, generator)

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender."""
        filters = [cast(TimeVariantFilter, block.mixer) for block in cast(list[Block], self.blocks)]
        overlap = torch.stack([layer.overlap() for layer in filters]).sum()
        return super().objective(batch, loss) + self.config.orthogonality * overlap
