"""gSASRec in PyTorch (asash/gSASRec-pytorch), and the SASRec of the same repository.

Conventions:

- Sequences are padded on the left to N with a padding item, whose id follows those of the items and whose states are
  always 0. Row 0 of the item table is not used.
- Attention ignores padding and has no output projection. Queries are normalised and are the residual; keys and values
  are not normalised.
- The feed-forward network is D -> D -> D with ReLU (without an activation in the first files).
- LayerNorms have PyTorch's eps, and another one follows the last block.
- Items may be scored with a table of their own, `output_embedding`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.recommender import Recommender
from models.third_party.blocks import ACTIVATIONS, QueryNormBlock, forbid, lower_triangle
from models.third_party.file_format import Format, Weights, both, linear
from models.third_party.model import ThirdPartyConfig, ThirdPartyEncoder, attention_blocks
from models.third_party.settings import one_of

PADDING_ITEMS = 1


@dataclass(frozen=True)
class GSASRecConfig(ThirdPartyConfig):
    """Configuration of gSASRec; with `own_output`, items are scored with a table of their own."""

    own_output: bool = False


class GSASRec(ThirdPartyEncoder):
    """gSASRec (Petrov and Macdonald, RecSys 2023); the module lists its conventions."""

    name, title = "gsasrec", "gSASRec"
    config_type = GSASRecConfig
    special_items = PADDING_ITEMS

    def __init__(self, config: GSASRecConfig) -> None:
        size = config.hidden_size
        super().__init__(config, config.max_len, attention_blocks(config, QueryNormBlock, projected=False))
        self.norm = nn.LayerNorm(size, config.norm_eps)
        self.output_items = nn.Embedding(config.num_items + 1 + PADDING_ITEMS, size) if config.own_output else None

    @property
    def candidates(self) -> Tensor:
        """The rows with which items are scored, (num_items + 1, D)."""
        table = self.items if self.output_items is None else self.output_items
        return table.weight[: self.config.num_items + 1]

    def embed(self, items: Tensor, lengths: Tensor) -> Tensor:
        """See ThirdPartyEncoder; the padding item's row does not matter, because its states are 0."""
        return self.after_block(self.items(items) + self.positions.weight, items)

    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """See ThirdPartyEncoder."""
        allowed = (items > 0)[:, None, None, :]
        return forbid(allowed & lower_triangle(items.shape[1], items.device) if causal else allowed)

    def after_block(self, x: Tensor, items: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        return torch.where((items > 0)[:, :, None], x, 0.0)

    def finish(self, x: Tensor, items: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        return self.norm(x)


_BLOCK = "transformer_blocks.{}"


def _read(weights: Weights) -> Recommender:
    size = weights.columns("item_embedding.weight")
    heads = weights.heads(size)
    why = "none for files of older code"
    activation = weights.settings.default("activation", one_of(*ACTIVATIONS), "relu", why)
    weights.settings.check()
    own_output = "output_embedding.weight" in weights.state
    config = GSASRecConfig(
        num_items=weights.rows("item_embedding.weight") - 1 - PADDING_ITEMS,
        max_len=weights.rows("position_embedding.weight"),
        hidden_size=size,
        num_layers=weights.layers,
        num_heads=heads,
        inner_size=weights.rows("transformer_blocks.0.dense1.weight"),
        activation=activation,
        own_output=own_output,
    )
    attention = f"{_BLOCK}.multihead_attention"
    return weights.into(
        GSASRec(config),
        {"items.weight": "item_embedding.weight", "positions.weight": "position_embedding.weight"}
        | ({"output_items.weight": "output_embedding.weight"} if own_output else {})
        | linear("norm", "seq_norm")
        | linear("blocks.{}.attention.query", f"{attention}.query_proj")
        | linear("blocks.{}.attention.key", f"{attention}.key_proj")
        | linear("blocks.{}.attention.value", f"{attention}.val_proj")
        | linear("blocks.{}.attention_norm", f"{_BLOCK}.first_norm")
        | linear("blocks.{}.feed_forward.inner", f"{_BLOCK}.dense1")
        | linear("blocks.{}.feed_forward.outer", f"{_BLOCK}.dense2")
        | linear("blocks.{}.feed_forward_norm", f"{_BLOCK}.second_norm"),
    )


FORMATS = (
    Format(
        "gSASRec",
        (
            *("item_embedding.weight", "position_embedding.weight"),
            *both(
                "seq_norm",
                *(f"{_BLOCK}.multihead_attention.{part}_proj" for part in ("query", "key", "val")),
                *(f"{_BLOCK}.{part}" for part in ("first_norm", "second_norm", "dense1", "dense2")),
            ),
        ),
        _read,
        optional=(r"output_embedding\.weight",),
    ),
)
