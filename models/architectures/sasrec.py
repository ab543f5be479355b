"""SASRec: self-attention and feed-forward blocks (Kang and McAuley, ICDM 2018), as published by BSARec's authors."""

from dataclasses import dataclass

from models.architectures.encoder import Encoder, RemediedConfig
from models.layers.attention import SelfAttention
from models.layers.remedies import Remedy


@dataclass(frozen=True)
class SASRecConfig(RemediedConfig):
    """Configuration of SASRec; see RemediedConfig."""


class SASRec(Encoder):
    """Causal self-attention over the window; padding keys have weight exactly 0, so padding is inert."""

    name, title = "sasrec", "SASRec"
    config_type = SASRecConfig
    published_loss = "bce"
    capturable = True
    inert_padding = True

    def __init__(self, config: SASRecConfig) -> None:
        size, heads, p = config.hidden_size, config.num_heads, config.dropout
        remedy = Remedy.parse(config.remedy)
        super().__init__(config, lambda masks: SelfAttention(size, heads, p, masks, remedy))
