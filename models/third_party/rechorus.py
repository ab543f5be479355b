"""ReChorus: SASRec as in its repository (THUwangcy/ReChorus), and BSARec as a reproduction added it.

Conventions: sequences are padded on the right, to the longest of the batch. The position of an item is its distance
from the end, 1 for the last item; padding has position 0, so there are N + 1 position rows. The embeddings have no
LayerNorm. The output is that of the last item.

SASRec: attention is causal and has no output projection, LayerNorms have PyTorch's eps, and the feed-forward network
is D -> D -> D with ReLU.

BSARec: attention adds a matrix of ones and zeros to the scores, with 1 for keys that are not later. So it is not
causal, it attends to padding, and its numbers depend on how far a batch is padded; so do those of the filter. This is
kept, because these are the numbers that its authors had.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.architectures.bsarec import check_alpha_and_c
from models.recommender import Recommender
from models.third_party.blocks import BSARecBlock, PostNormBlock, forbid, lower_triangle
from models.third_party.file_format import Format, Weights, both, linear
from models.third_party.model import ThirdPartyConfig, ThirdPartyEncoder, attention_blocks


@dataclass(frozen=True)
class ReChorusSASRecConfig(ThirdPartyConfig):
    """Configuration of SASRec in ReChorus; see ThirdPartyConfig."""


@dataclass(frozen=True)
class ReChorusBSARecConfig(ThirdPartyConfig):
    """Configuration of BSARec in ReChorus."""

    inner_size: int = 256
    activation: str = "gelu"
    norm_eps: float = 1e-12
    alpha: float = 0.5
    c: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha_and_c(self.alpha, self.c, self.max_len)


class _ReChorus(ThirdPartyEncoder):
    right_padded = True
    to_longest = True

    def embed(self, items: Tensor, lengths: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        distance = (lengths[:, None] - torch.arange(items.shape[1], device=items.device)).clamp(min=0) * (items > 0)
        return self.items(items) + self.positions(distance)

    def finish(self, x: Tensor, items: Tensor) -> Tensor:
        """See ThirdPartyEncoder; padding is set to 0."""
        return x * (items > 0)[:, :, None]


class ReChorusSASRec(_ReChorus):
    """SASRec in ReChorus; the module lists its conventions."""

    name, title = "rechorus-sasrec", "SASRec (ReChorus)"
    config_type = ReChorusSASRecConfig

    def __init__(self, config: ReChorusSASRecConfig) -> None:
        super().__init__(config, config.max_len + 1, attention_blocks(config, PostNormBlock, projected=False))

    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """See ThirdPartyEncoder; padding comes after the items, so the causal mask also masks padding."""
        allowed = lower_triangle(items.shape[1], items.device)
        return forbid(allowed if causal else torch.ones_like(allowed))


class ReChorusBSARec(_ReChorus):
    """BSARec in ReChorus; the module lists its conventions."""

    name, title = "rechorus-bsarec", "BSARec (ReChorus)"
    config_type = ReChorusBSARecConfig
    promises = ()

    def __init__(self, config: ReChorusBSARecConfig) -> None:
        block = partial(BSARecBlock, alpha=config.alpha, c=config.c)
        super().__init__(config, config.max_len + 1, attention_blocks(config, block))

    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """See ThirdPartyEncoder; with `causal=False` nothing is added to the scores."""
        return lower_triangle(items.shape[1], items.device) * float(causal)


_EMBEDDINGS = ("i_embeddings.weight", "p_embeddings.weight")
_BLOCK = "transformer_block.{}"
_EMBEDDED = {"items.weight": "i_embeddings.weight", "positions.weight": "p_embeddings.weight"}


def _read_sasrec(weights: Weights) -> Recommender:
    size = weights.columns("i_embeddings.weight")
    heads = weights.heads(size)
    weights.settings.check()
    config = ReChorusSASRecConfig(
        num_items=weights.rows("i_embeddings.weight") - 1,
        max_len=weights.rows("p_embeddings.weight") - 1,
        hidden_size=size,
        num_layers=weights.layers,
        num_heads=heads,
        inner_size=weights.rows("transformer_block.0.linear1.weight"),
    )
    attention = f"{_BLOCK}.masked_attn_head"
    return weights.into(
        ReChorusSASRec(config),
        _EMBEDDED
        | linear("blocks.{}.attention.query", f"{attention}.q_linear")
        | linear("blocks.{}.attention.key", f"{attention}.k_linear")
        | linear("blocks.{}.attention.value", f"{attention}.v_linear")
        | linear("blocks.{}.attention_norm", f"{_BLOCK}.layer_norm1")
        | linear("blocks.{}.feed_forward.inner", f"{_BLOCK}.linear1")
        | linear("blocks.{}.feed_forward.outer", f"{_BLOCK}.linear2")
        | linear("blocks.{}.feed_forward_norm", f"{_BLOCK}.layer_norm2"),
    )


def _read_bsarec(weights: Weights) -> Recommender:
    size, length = weights.columns("i_embeddings.weight"), weights.rows("p_embeddings.weight") - 1
    heads, alpha, c = weights.heads(size), weights.alpha(), weights.modes(length)
    weights.settings.note(
        "its attention is not causal and its numbers depend on how far a batch is padded, as published"
    )
    weights.settings.check()
    config = ReChorusBSARecConfig(
        num_items=weights.rows("i_embeddings.weight") - 1,
        max_len=length,
        hidden_size=size,
        num_layers=weights.layers,
        num_heads=heads,
        inner_size=weights.rows("transformer_block.0.feed_forward.w_1.weight"),
        alpha=alpha,
        c=c,
    )
    attention, filters = f"{_BLOCK}.layer.attention_layer", f"{_BLOCK}.layer.filter_layer"
    return weights.into(
        ReChorusBSARec(config),
        _EMBEDDED
        | {"blocks.{}.sqrt_beta": f"{filters}.sqrt_beta"}
        | linear("blocks.{}.filter_norm", f"{filters}.LayerNorm")
        | linear("blocks.{}.attention.query", f"{attention}.q_linear")
        | linear("blocks.{}.attention.key", f"{attention}.k_linear")
        | linear("blocks.{}.attention.value", f"{attention}.v_linear")
        | linear("blocks.{}.attention.output", f"{attention}.out_linear")
        | linear("blocks.{}.attention_norm", f"{attention}.layer_norm")
        | linear("blocks.{}.feed_forward.inner", f"{_BLOCK}.feed_forward.w_1")
        | linear("blocks.{}.feed_forward.outer", f"{_BLOCK}.feed_forward.w_2")
        | linear("blocks.{}.feed_forward_norm", f"{_BLOCK}.LayerNorm2"),
    )


FORMATS = (
    Format(
        "SASRec of ReChorus",
        _EMBEDDINGS
        + both(
            *(f"{_BLOCK}.masked_attn_head.{part}_linear" for part in "qkv"),
            *(f"{_BLOCK}.{part}" for part in ("layer_norm1", "linear1", "linear2", "layer_norm2")),
        ),
        _read_sasrec,
    ),
    Format(
        "BSARec in ReChorus",
        (
            *_EMBEDDINGS,
            f"{_BLOCK}.layer.filter_layer.sqrt_beta",
            *both(
                f"{_BLOCK}.layer.filter_layer.LayerNorm",
                *(f"{_BLOCK}.layer.attention_layer.{part}_linear" for part in ("q", "k", "v", "out")),
                f"{_BLOCK}.layer.attention_layer.layer_norm",
                *(f"{_BLOCK}.feed_forward.{part}" for part in ("w_1", "w_2")),
                f"{_BLOCK}.LayerNorm2",
            ),
        ),
        _read_bsarec,
    ),
)
