"""FMLP-Rec: blocks that mix positions only by a learned filter (Zhou et al., WWW 2022)."""

from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from models.architectures.encoder import Block, Encoder, EncoderConfig
from models.layers.frequency import LearnedFilter
from models.recommender import Trace


@dataclass(frozen=True)
class FMLPRecConfig(EncoderConfig):
    """Configuration of FMLP-Rec; see EncoderConfig."""


class FilterEncoder(Encoder):
    """Blocks of learned filters; there is no mask, so padding and later positions influence every position."""

    promises = ()
    inert_padding = False

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Encoder; the trace also has the filters, which do not depend on the input."""
        mixers = [cast(LearnedFilter, block.mixer) for block in cast(list[Block], self.blocks)]
        filters = [mixer.spectrum for mixer in mixers]
        return replace(super().trace(input_ids, causal), filters=filters)


class FMLPRec(FilterEncoder):
    """Each block multiplies every frequency of every dimension by a learned number."""

    name, title = "fmlprec", "FMLP-Rec"
    config_type = FMLPRecConfig
    published_loss = "bce"
    capturable = True

    def __init__(self, config: FMLPRecConfig) -> None:
        super().__init__(config, lambda masks: LearnedFilter(config.hidden_size, config.max_len, config.dropout, masks))
