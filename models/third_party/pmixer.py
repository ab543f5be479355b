"""The most widely used SASRec in PyTorch (pmixer/SASRec.pytorch).

Conventions: sequences are padded on the left to N. Item embeddings are multiplied by sqrt(D). Attention is causal but
does not mask padding. The feed-forward network is D -> D -> D with ReLU (for a short time without an activation).
LayerNorms have eps 1e-8, and another one follows the last block.

The repository changed twice in ways that the keys do not show:

- Positions: at first all N positions were numbered from 0, and the states of padding were set to 0 after the embedding
  and after every block (`positions=all`). Now only real positions are numbered, from 1, in a table of N + 1 rows whose
  first row is 0, and nothing is set to 0 (`positions=real`). The first row of the table tells which.
- Norms: at first queries were normalised and were the residual (`norm=query`). Now there is a LayerNorm before (`pre`,
  --norm_first) or after (`post`) each layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.recommender import Recommender
from models.third_party.blocks import (
    ACTIVATIONS,
    PostNormBlock,
    PreNormBlock,
    QueryNormBlock,
    forbid,
    lower_triangle,
)
from models.third_party.file_format import Format, Origin, Weights, both, linear
from models.third_party.model import ThirdPartyConfig, ThirdPartyEncoder, attention_blocks
from models.third_party.settings import one_of

NORMS: dict[str, type[PostNormBlock]] = {"query": QueryNormBlock, "pre": PreNormBlock, "post": PostNormBlock}
POSITIONS = ("all", "real")


@dataclass(frozen=True)
class PmixerSASRecConfig(ThirdPartyConfig):
    """Configuration of SASRec.pytorch; the module explains `norm` and `positions`."""

    norm_eps: float = 1e-8
    norm: str = "query"
    positions: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS or self.positions not in POSITIONS:
            raise ConfigError(
                f"norm must be one of {', '.join(NORMS)} and positions one of {', '.join(POSITIONS)}, "
                f"got {self.norm!r} and {self.positions!r}"
            )


class PmixerSASRec(ThirdPartyEncoder):
    """SASRec.pytorch; the module lists its conventions."""

    name, title = "pmixer-sasrec", "SASRec.pytorch"
    config_type = PmixerSASRecConfig
    promises = ("causal",)
    attends_padding = True

    def __init__(self, config: PmixerSASRecConfig) -> None:
        blocks = attention_blocks(config, NORMS[config.norm])
        super().__init__(config, config.max_len + (config.positions == "real"), blocks)
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps)

    def embed(self, items: Tensor, lengths: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        scaled = self.items(items) * self.config.hidden_size**0.5
        if self.config.positions == "all":
            return self.after_block(scaled + self.positions.weight, items)
        place = torch.arange(1, items.shape[1] + 1, device=items.device) * (items > 0)
        return scaled + self.positions(place)

    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """See ThirdPartyEncoder."""
        allowed = lower_triangle(items.shape[1], items.device)
        return forbid(allowed if causal else torch.ones_like(allowed))

    def after_block(self, x: Tensor, items: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        return x * (items > 0)[:, :, None] if self.config.positions == "all" else x

    def finish(self, x: Tensor, items: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        return self.norm(x)


def _read(weights: Weights) -> Recommender:
    settings = weights.settings
    size = weights.columns("item_emb.weight")
    heads = weights.heads(size)
    starts_with_zeros = weights.rows("pos_emb.weight") > 0 and not bool(weights.state["pos_emb.weight"][0].any())
    positions = settings.default(
        "positions",
        one_of(*POSITIONS),
        "real" if starts_with_zeros else "all",
        f"the first position row is {'' if starts_with_zeros else 'not '}0",
    )
    norm = settings.default("norm", one_of(*NORMS), "query", "pre and post came later, with norm_first")
    activation = settings.default("activation", one_of(*ACTIVATIONS), "relu", "none for files of older code")
    settings.check()
    config = PmixerSASRecConfig(
        num_items=weights.rows("item_emb.weight") - 1,
        max_len=weights.rows("pos_emb.weight") - (positions == "real"),
        hidden_size=size,
        num_layers=weights.layers,
        num_heads=heads,
        inner_size=weights.rows("forward_layers.0.conv1.weight"),
        activation=activation,
        norm=norm,
        positions=positions,
    )
    return weights.into(
        PmixerSASRec(config),
        {"items.weight": "item_emb.weight", "positions.weight": "pos_emb.weight"}
        | linear("norm", "last_layernorm")
        | _third("query", 0)
        | _third("key", 1)
        | _third("value", 2)
        | linear("blocks.{}.attention.output", "attention_layers.{}.out_proj")
        | linear("blocks.{}.attention_norm", "attention_layernorms.{}")
        | linear("blocks.{}.feed_forward.inner", "forward_layers.{}.conv1")
        | linear("blocks.{}.feed_forward.outer", "forward_layers.{}.conv2")
        | linear("blocks.{}.feed_forward_norm", "forward_layernorms.{}"),
    )


def _third(name: str, place: int) -> dict[str, Origin]:
    """Return where queries, keys or values come from; PyTorch's multi-head attention stacks the three."""
    return {
        f"blocks.{{}}.attention.{name}.{part}": (f"attention_layers.{{}}.in_proj_{part}", lambda x: x.chunk(3)[place])
        for part in ("weight", "bias")
    }


FORMATS = (
    Format(
        "SASRec.pytorch",
        (
            *("item_emb.weight", "pos_emb.weight"),
            *("attention_layers.{}.in_proj_weight", "attention_layers.{}.in_proj_bias"),
            *both(
                "last_layernorm",
                "attention_layers.{}.out_proj",
                "attention_layernorms.{}",
                "forward_layers.{}.conv1",
                "forward_layers.{}.conv2",
                "forward_layernorms.{}",
            ),
        ),
        _read,
    ),
)
