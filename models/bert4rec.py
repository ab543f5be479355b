"""BERT4Rec: attention in both directions, trained to fill in masked items (Sun et al., CIKM 2019)."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from models.encoder import AttentionConfig, Block, Encoder
from models.errors import ConfigError
from models.layers import SelfAttention
from models.layout import all_positions, real_positions
from models.losses import Loss
from models.sampling import Batch


@dataclass(frozen=True)
class BERT4RecConfig(AttentionConfig):
    """Configuration of BERT4Rec; the defaults are the published ones."""

    mask_ratio: float = 0.2  # of the items are masked while training

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mask_ratio < 1:
            raise ConfigError(f"mask_ratio must be at least 0 and below 1, got {self.mask_ratio}")


class BERT4Rec(Encoder):
    """Attention to all real positions; the item to predict is the mask token in the last position.

    Each training sample is the sequence of a prefix and its target. Its last item is always masked, which is the task
    at test time, and every other one with probability `mask_ratio`; the loss is the mean over all masked positions.
    (The code published with BSARec computes such a loss, but then returns another one: the next item's, read off one
    of ten positions that it masks anywhere in the window, padding included. That is not followed.)
    """

    name, title = "bert4rec", "BERT4Rec"
    config_type = BERT4RecConfig
    published_loss = "ce"
    losses = ("ce",)  # sampled negatives are drawn for the target alone, not for every masked item
    special_items = 1  # the mask token
    inert_padding = True
    causal = False

    def __init__(self, config: BERT4RecConfig) -> None:
        super().__init__(
            config, lambda masks: SelfAttention(config.hidden_size, config.num_heads, config.dropout, masks)
        )
        self.mask_token = config.num_items + 1

    def prepare(self, input_ids: Tensor) -> Tensor:
        """Shift windows (B, N) left and append the mask token, so that the last position asks for the next item."""
        token = input_ids.new_full((len(input_ids), 1), self.mask_token)
        return torch.cat([input_ids[:, 1:], token], dim=1)

    def mask_items(self, sequences: Tensor) -> Tensor:
        """Return the sequences (B, N) with the last item and a random share of the others masked."""
        masked = self.masks.mask(sequences.shape, 1 - self.config.mask_ratio, sequences.device) > 0
        masked[:, -1] = True
        return torch.where(masked & (sequences > 0), self.mask_token, sequences)

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender."""
        sequences = torch.cat([batch.inputs[:, 1:], batch.targets[:, None].to(batch.inputs.dtype)], dim=1)
        masked = self.mask_items(sequences)
        on_cpu = masked.device.type == "cpu"
        layout = real_positions(masked, causal=False) if on_cpu else all_positions(masked, causal=False)
        *blocks, last = cast(list[Block], self.blocks)
        x = self.embed(layout)
        for block in blocks:
            x, _ = block(x, layout)
        asked = layout.items == self.mask_token
        output = last.feed_forward(last.mixer(x, layout)[0][asked])
        # Laid out like the items, whose places the targets take.
        targets = layout.arrange(sequences)[asked].long()
        return loss.function(output, self.candidates, targets, None)
