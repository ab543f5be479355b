"""RecBole 1.2 (RUCAIBox/RecBole): SASRec, BERT4Rec and GRU4Rec, and FMLP-Rec as users of RecBole added it.

Conventions: sequences are padded on the right, always to N. Positions count from the first item. The embeddings have a
LayerNorm. Masks add -10000. Blocks are post-norm with an output projection. The output is that of the last item.

BERT4Rec drops the first item of every history, however short, and appends the mask token. A dense layer, GELU and a
LayerNorm follow its last block, and every item has a bias. Before RecBole 1.1.1 it had neither of these, its table of
positions had a row for the mask token, and no item was dropped; then its keys are those of SASRec, so the configuration
or the user has to say which of the two a file is.

The configuration is pickled beside the weights; it is read without running it (models.safe_load).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.packing import MASKED
from models.recommender import Recommender, RecommenderConfig
from models.third_party.blocks import (
    ACTIVATIONS,
    FeedForward,
    FilterBlock,
    PostNormBlock,
    forbid,
    lower_triangle,
)
from models.third_party.file_format import Format, Weights, both, linear
from models.third_party.model import ThirdPartyConfig, ThirdPartyEncoder, ThirdPartyModel, attention_blocks
from models.third_party.settings import one_of, real, whole

MASK_TOKENS = 1
SHARED_KEYS = ("sasrec", "duorec", "cl4srec", "bert4rec")  # the first three have the same forward


@dataclass(frozen=True)
class RecBoleConfig(ThirdPartyConfig):
    """Configuration of RecBole's models made of blocks; the defaults are RecBole's."""

    inner_size: int = 256
    activation: str = "gelu"
    norm_eps: float = 1e-12


@dataclass(frozen=True)
class RecBoleSASRecConfig(RecBoleConfig):
    """Configuration of RecBole's SASRec; see RecBoleConfig."""


@dataclass(frozen=True)
class RecBoleBERT4RecConfig(RecBoleConfig):
    """Configuration of RecBole's BERT4Rec; see RecBoleConfig."""


@dataclass(frozen=True)
class RecBoleFMLPRecConfig(RecBoleConfig):
    """Configuration of FMLP-Rec in RecBole; see RecBoleConfig. The number of heads is not used."""


@dataclass(frozen=True)
class RecBoleGRU4RecConfig(RecommenderConfig):
    """Configuration of RecBole's GRU4Rec."""

    dropout: float = 0.0
    num_layers: int = 1
    gru_hidden_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("num_layers", "gru_hidden_size")


class _RecBole(ThirdPartyEncoder):
    right_padded = True

    def __init__(self, config: RecBoleConfig, blocks: list[nn.Module]) -> None:
        super().__init__(config, config.max_len, blocks)
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps)

    def embed(self, items: Tensor, lengths: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        return self.norm(self.items(items) + self.positions.weight)

    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """See ThirdPartyEncoder."""
        allowed = (items > 0)[:, None, None, :]
        return forbid(allowed & lower_triangle(items.shape[1], items.device) if causal else allowed, MASKED)


class RecBoleSASRec(_RecBole):
    """RecBole's SASRec; the module lists its conventions."""

    name, title = "recbole-sasrec", "SASRec (RecBole)"
    config_type = RecBoleSASRecConfig

    def __init__(self, config: RecBoleSASRecConfig) -> None:
        super().__init__(config, attention_blocks(config, PostNormBlock))


class RecBoleFMLPRec(_RecBole):
    """FMLP-Rec in RecBole; the padding after the items influences them."""

    name, title = "recbole-fmlprec", "FMLP-Rec (RecBole)"
    config_type = RecBoleFMLPRecConfig
    promises = ()

    def __init__(self, config: RecBoleFMLPRecConfig) -> None:
        networks = (
            FeedForward(config.hidden_size, config.inner_size, config.activation) for _ in range(config.num_layers)
        )
        super().__init__(config, [FilterBlock(config.max_len, network, config.norm_eps) for network in networks])


class RecBoleOldBERT4Rec(_RecBole):
    """BERT4Rec of RecBole before 1.1.1: one position more than items, for the mask token, and no output layer."""

    name, title = "recbole-old-bert4rec", "BERT4Rec (RecBole before 1.1.1)"
    config_type = RecBoleBERT4RecConfig
    promises = ("padding_independent",)
    special_items = MASK_TOKENS

    def __init__(self, config: RecBoleBERT4RecConfig) -> None:
        super().__init__(config, attention_blocks(config, PostNormBlock))

    def prepare(self, windows: Tensor) -> Tensor:
        """Append the mask token to windows (B, N); of N items the first makes room for it."""
        token = windows.new_full((len(windows), 1), self.config.num_items + 1)
        return torch.cat([windows[:, 1:], token], dim=1)

    def mask(self, items: Tensor, causal: bool) -> Tensor:
        """See ThirdPartyEncoder; attention is bidirectional."""
        return super().mask(items, causal=False)


class RecBoleBERT4Rec(RecBoleOldBERT4Rec):
    """RecBole's BERT4Rec; the biases of the items are an additional dimension, which is 1 in every output."""

    name, title = "recbole-bert4rec", "BERT4Rec (RecBole)"

    def __init__(self, config: RecBoleBERT4RecConfig) -> None:
        super().__init__(config)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.num_items + 1))

    @property
    def candidates(self) -> Tensor:
        """The rows of the item table that are scored, each with its bias, (num_items + 1, D + 1)."""
        return torch.cat([super().candidates, self.bias[:, None]], dim=1)

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """See Recommender; (B, D + 1)."""
        return functional.pad(super().encode(input_ids, users), (0, 1), value=1.0)

    def prepare(self, windows: Tensor) -> Tensor:
        """Drop the first item of each window (B, N), and append the mask token."""
        first = (windows > 0).long().cummax(dim=1).values.diff(dim=1, prepend=windows.new_zeros(len(windows), 1)) > 0
        return super().prepare(windows.masked_fill(first, 0))

    def finish(self, x: Tensor, items: Tensor) -> Tensor:
        """See ThirdPartyEncoder."""
        return self.output_norm(functional.gelu(self.output(x)))


class RecBoleGRU4Rec(ThirdPartyModel):
    """RecBole's GRU4Rec; `hidden` holds the item embeddings, then the states of each GRU layer, the last projected."""

    name, title = "recbole-gru4rec", "GRU4Rec (RecBole)"
    config_type = RecBoleGRU4RecConfig
    right_padded = True

    def __init__(self, config: RecBoleGRU4RecConfig) -> None:
        super().__init__(config)
        sizes = [config.hidden_size, *[config.gru_hidden_size] * (config.num_layers - 1)]
        self.layers = nn.ModuleList(
            nn.GRU(size, config.gru_hidden_size, bias=False, batch_first=True) for size in sizes
        )
        self.output = nn.Linear(config.gru_hidden_size, config.hidden_size)

    def run(self, items: Tensor, lengths: Tensor, causal: bool) -> tuple[list[Tensor], list[Tensor]]:
        """See ThirdPartyModel; a recurrent network is always causal."""
        hidden = [self.items(items)]
        for layer in self.layers:
            hidden.append(layer(hidden[-1])[0])
        return [*hidden[:-1], self.output(hidden[-1])], []


_BLOCK = "trm_encoder.layer.{}"
_EMBEDDED = {"items.weight": "item_embedding.weight", "positions.weight": "position_embedding.weight"} | linear(
    "norm", "LayerNorm"
)
_FEED_FORWARD = (
    linear("blocks.{}.feed_forward.inner", f"{_BLOCK}.feed_forward.dense_1")
    | linear("blocks.{}.feed_forward.outer", f"{_BLOCK}.feed_forward.dense_2")
    | linear("blocks.{}.feed_forward_norm", f"{_BLOCK}.feed_forward.LayerNorm")
)
_ATTENTION = (
    linear("blocks.{}.attention.query", f"{_BLOCK}.multi_head_attention.query")
    | linear("blocks.{}.attention.key", f"{_BLOCK}.multi_head_attention.key")
    | linear("blocks.{}.attention.value", f"{_BLOCK}.multi_head_attention.value")
    | linear("blocks.{}.attention.output", f"{_BLOCK}.multi_head_attention.dense")
    | linear("blocks.{}.attention_norm", f"{_BLOCK}.multi_head_attention.LayerNorm")
)


def _common(weights: Weights, special_items: int = 0) -> dict[str, Any]:
    default = "RecBole's own"
    return {
        "num_items": weights.rows("item_embedding.weight") - 1 - special_items,
        "max_len": weights.rows("position_embedding.weight"),
        "hidden_size": weights.columns("item_embedding.weight"),
        "num_layers": weights.layers,
        "inner_size": weights.rows("trm_encoder.layer.0.feed_forward.dense_1.weight"),
        "activation": weights.settings.default("activation", one_of(*ACTIVATIONS), "gelu", default),
        "norm_eps": weights.settings.default("norm_eps", real, 1e-12, default),
    }


def _read_shared(weights: Weights) -> Recommender:
    """Read SASRec, a model with its forward, or an old BERT4Rec; their keys are the same."""
    name = weights.settings.need(
        "model",
        one_of(*SHARED_KEYS),
        f"one of {', '.join(SHARED_KEYS)}, whose keys are the same; the last is of RecBole before 1.1.1",
    )
    old = name == "bert4rec"
    heads = weights.heads(weights.columns("item_embedding.weight"))
    common = _common(weights, MASK_TOKENS if old else 0)
    weights.settings.check()
    model = (
        RecBoleOldBERT4Rec(RecBoleBERT4RecConfig(num_heads=heads, **common))
        if old
        else RecBoleSASRec(RecBoleSASRecConfig(num_heads=heads, **common))
    )
    return weights.into(model, _EMBEDDED | _ATTENTION | _FEED_FORWARD)


def _read_bert4rec(weights: Weights) -> Recommender:
    heads, common = weights.heads(weights.columns("item_embedding.weight")), _common(weights, MASK_TOKENS)
    weights.settings.check()
    model = RecBoleBERT4Rec(RecBoleBERT4RecConfig(num_heads=heads, **common))
    ends = linear("output", "output_ffn") | linear("output_norm", "output_ln") | {"bias": "output_bias"}
    return weights.into(model, _EMBEDDED | _ATTENTION | _FEED_FORWARD | ends)


def _read_fmlprec(weights: Weights) -> Recommender:
    common = _common(weights)
    weights.settings.check()
    filters = {"blocks.{}.filter": f"{_BLOCK}.filter.weight"} | linear(
        "blocks.{}.filter_norm", f"{_BLOCK}.filter.LayerNorm"
    )
    return weights.into(RecBoleFMLPRec(RecBoleFMLPRecConfig(**common)), _EMBEDDED | filters | _FEED_FORWARD)


def _read_gru4rec(weights: Weights) -> Recommender:
    length = weights.settings.default("max_len", whole, 50, "RecBole's MAX_ITEM_LIST_LENGTH; longer histories are cut")
    weights.settings.check()
    config = RecBoleGRU4RecConfig(
        num_items=weights.rows("item_embedding.weight") - 1,
        max_len=length,
        hidden_size=weights.columns("item_embedding.weight"),
        num_layers=weights.layers,
        gru_hidden_size=weights.columns("gru_layers.weight_hh_l0"),
    )
    gru = {f"layers.{{}}.weight_{part}_l0": f"gru_layers.weight_{part}_l{{}}" for part in ("ih", "hh")}
    return weights.into(
        RecBoleGRU4Rec(config), {"items.weight": "item_embedding.weight"} | gru | linear("output", "dense")
    )


_TABLES = ("item_embedding.weight", "position_embedding.weight", *both("LayerNorm"))
_FEED_FORWARD_KEYS = both(*(f"{_BLOCK}.feed_forward.{part}" for part in ("dense_1", "dense_2", "LayerNorm")))
_ATTENTION_KEYS = both(
    *(f"{_BLOCK}.multi_head_attention.{part}" for part in ("query", "key", "value", "dense", "LayerNorm"))
)

FORMATS = (
    Format(f"{' or '.join(SHARED_KEYS)} of RecBole", _TABLES + _ATTENTION_KEYS + _FEED_FORWARD_KEYS, _read_shared),
    Format(
        "BERT4Rec of RecBole",
        (*_TABLES, *_ATTENTION_KEYS, *_FEED_FORWARD_KEYS, *both("output_ffn", "output_ln"), "output_bias"),
        _read_bert4rec,
    ),
    Format(
        "GRU4Rec of RecBole",
        ("item_embedding.weight", "gru_layers.weight_ih_l{}", "gru_layers.weight_hh_l{}", *both("dense")),
        _read_gru4rec,
    ),
    Format(
        "FMLP-Rec in RecBole",
        (*_TABLES, f"{_BLOCK}.filter.weight", *both(f"{_BLOCK}.filter.LayerNorm"), *_FEED_FORWARD_KEYS),
        _read_fmlprec,
        # RecBole itself has no FMLP-Rec, so its users chose the names.
        renamed=(
            (r"^(item_encoder|trm_encoder|fmlp_encoder|encoder)\.(layer|layers|blocks)\.", "trm_encoder.layer."),
            (r"\.(filterlayer|filter_layer|filter|layer)\.(complex_weight|freq_weight)$", ".filter.weight"),
            (r"\.(filterlayer|filter_layer|layer)\.LayerNorm\.", ".filter.LayerNorm."),
            (r"\.intermediate\.", ".feed_forward."),
        ),
    ),
)
