"""BERT4Rec: attention in both directions, trained to fill in masked items (Sun et al., CIKM 2019)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.architectures.encoder import Encoder, RemediedConfig
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.attention import SelfAttention
from models.layers.losses import Loss
from models.layers.packing import all_positions
from models.layers.remedies import Remedy


@dataclass(frozen=True)
class BERT4RecConfig(RemediedConfig):
    """Configuration of BERT4Rec; the defaults are the published ones."""

    mask_ratio: float = 0.2  # share of the items that are masked in training
    # The training task: fill in masked items (Sun et al.), or predict the next item (the code published with BSARec).
    task: Literal["cloze", "next"] = "cloze"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mask_ratio < 1:
            raise ConfigError(f"mask_ratio must be at least 0 and below 1, got {self.mask_ratio}")
        if self.task not in ("cloze", "next"):
            raise ConfigError(f"task must be cloze or next, got {self.task!r}")
        if self.task == "next" and self.masked_positions < 1:
            raise ConfigError(
                f"task next needs a masked position, but mask_ratio {self.mask_ratio} of {self.max_len} positions is "
                f"none; choose at least {1 / self.max_len:.3g}"
            )

    @property
    def masked_positions(self) -> int:
        """The number of positions of a window that the task `next` masks."""
        return int(self.mask_ratio * self.max_len)


def most_masked(sequences: int, length: int, ratio: float) -> int:
    """Return how many items are masked at most, but for one batch in 10^14.

    The last item of each sequence is masked, and each of the others with this probability. Their number is bounded by
    Bernstein's inequality: it is t above its mean with probability exp(-t^2 / (2 variance + 2 t / 3)) at most.

    >>> most_masked(256, 50, 0.2)  # of 12,800; 2,765 on average
    3136
    """
    others, rare = sequences * (length - 1), math.log(1e14)
    variance = others * ratio * (1 - ratio)
    above = rare / 3 + math.sqrt((rare / 3) ** 2 + 2 * rare * variance)
    return sequences + min(math.ceil(others * ratio + above), others)


def first_true(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return numbers of elements of a mask (M,), those that are true first, and the share of each, (count,).

    What is true has equal shares, which sum to 1, and the rest has none. If more than `count` are true, the shares are
    NaN, as then is what is computed with them.

    >>> first_true(torch.tensor([False, True, False, True]), count=3)
    (tensor([1, 3, 0]), tensor([0.5000, 0.5000, 0.0000]))
    """
    numbers = mask.int().argsort(descending=True, stable=True)[:count]
    total = mask.sum()
    return numbers, torch.where(total <= count, mask[numbers] / total, torch.nan)


class BERT4Rec(Encoder):
    """Attention to all real positions; a mask token in the last position stands for the item to predict.

    To make room for the token, the history is shifted left, both in `encode` and in traces. The `mask` of a trace
    counts the token's position as a real one.

    In the task `cloze`, a training sample is a prefix followed by its target. Its last item is always masked, as at
    test time, and every other item with probability `mask_ratio`; the loss is the mean over all masked positions. The
    task `next` is that of the code published with BSARec: a fixed number of positions is masked, anywhere in the
    window, padding included, and one of them, chosen at random, has to predict the target. (That code also computes
    the loss of filling in the masked items, but does not return it.)
    """

    name, title = "bert4rec", "BERT4Rec"
    config_type = BERT4RecConfig
    published_loss = "ce"
    # The negatives of the others are sampled for the target only, not for every masked item.
    losses = ("ce", "sampled_softmax")
    capturable = True
    special_items = 1  # the mask token
    promises = ("padding_independent",)
    inert_padding = True
    causal = False

    def __init__(self, config: BERT4RecConfig) -> None:
        size, heads, p = config.hidden_size, config.num_heads, config.dropout
        remedy = Remedy.parse(config.remedy)
        super().__init__(config, lambda masks: SelfAttention(size, heads, p, masks, remedy))
        self.mask_token = config.num_items + 1

    def prepare(self, input_ids: Tensor) -> Tensor:
        """Shift windows (B, N) left and append the mask token, so that the last position predicts the next item."""
        token = input_ids.new_full((len(input_ids), 1), self.mask_token)
        return torch.cat([input_ids[:, 1:], token], dim=1)

    def mask_items(self, sequences: Tensor) -> Tensor:
        """Return sequences (B, N) with the last item and a random share of the other items masked."""
        masked = self.masks.uniform(sequences.shape, sequences.device) >= 1 - self.config.mask_ratio
        masked[:, -1] = True
        return torch.where(masked & (sequences > 0), self.mask_token, sequences)

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender."""
        return (self._cloze_loss if self.config.task == "cloze" else self._next_loss)(batch, loss)

    def _cloze_loss(self, batch: Batch, loss: Loss) -> Tensor:
        sequences = torch.cat([batch.inputs[:, 1:], batch.targets[:, None].to(batch.inputs.dtype)], dim=1)
        masked = self.mask_items(sequences)
        packing = self.pack(masked)
        x, last = self.up_to_last_block(packing)
        asked, share = self._asked((packing.items == self.mask_token).flatten(), len(sequences))
        output = last.some(x, packing, asked)
        targets = packing.pack(sequences).flatten()[asked].long()
        return loss.function(output, self.candidates, targets, batch.negatives, share)

    def _asked(self, is_masked: Tensor, sequences: int) -> tuple[Tensor, Tensor | None]:
        """Return the numbers of the rows that are masked, and their shares of the loss; None where all have the same.

        How many these are is a number of the device, which a GPU would have to be waited for. There, always as many
        rows are returned, and those that are not masked have no share.
        """
        if is_masked.device.type == "cpu":
            return is_masked.nonzero()[:, 0], None
        return first_true(is_masked, most_masked(sequences, self.config.max_len, self.config.mask_ratio))

    def _next_loss(self, batch: Batch, loss: Loss) -> Tensor:
        order = self.masks.uniform(batch.inputs.shape, batch.inputs.device).argsort(dim=1)
        positions = order[:, : self.config.masked_positions]
        # Masked padding counts as real, so real positions can have gaps between them: all positions are computed.
        packing = all_positions(batch.inputs.scatter(1, positions, self.mask_token), causal=False)
        x, last = self.up_to_last_block(packing)
        output = last.last(x, packing, at=positions[:, 0])  # every position has the same keys
        return loss.function(output, self.candidates, batch.targets, batch.negatives)
