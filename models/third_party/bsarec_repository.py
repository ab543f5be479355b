"""The repository published with BSARec (yehjin-shin/BSARec), FMLP-Rec (Woeee/FMLP-Rec) and S3-Rec.

Our models follow the conventions of these repositories: padding on the left, N positions, post-norm. So their tensors
go into our models under other names. Differences: the item table of S3-Rec ends with a mask item, which no user has.
S3-Rec is pre-trained with bidirectional attention and ranks with causal attention (setting `attention`). An earlier
FEARec had all layers on the highest band of frequencies (setting `bands`). All models can be trained with another
activation than GELU; such files are refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.architectures.bert4rec import BERT4Rec, BERT4RecConfig
from models.architectures.bsarec import BSARec, BSARecConfig
from models.architectures.caser import Caser, CaserConfig
from models.architectures.duorec import DuoRec, DuoRecConfig
from models.architectures.fearec import FEARec, FEARecConfig
from models.architectures.fmlprec import FMLPRec, FMLPRecConfig
from models.architectures.gru4rec import GRU4Rec, GRU4RecConfig
from models.architectures.sasrec import SASRec, SASRecConfig
from models.recommender import Recommender
from models.third_party import skeleton
from models.third_party.file_format import Format, Origin, Weights, both, linear, stacked
from models.third_party.settings import one_of, real
from models.third_party.skeleton import BLOCK, EMBEDDED, TABLES

SHARED_KEYS = ("sasrec", "duorec", "fearec", "bert4rec")  # models whose files have the same keys


@dataclass(frozen=True)
class BidirectionalSASRecConfig(SASRecConfig):
    """Configuration of a SASRec with bidirectional attention; see AttentionConfig."""


class BidirectionalSASRec(SASRec):
    """SASRec without the causal mask, as in the pre-training of S3-Rec."""

    name, title = "s3rec-pretraining", "S3-Rec (pre-training)"
    config_type = BidirectionalSASRecConfig
    promises = ("padding_independent",)
    causal = False


@dataclass(frozen=True)
class OneBandFEARecConfig(FEARecConfig):
    """Configuration of a FEARec as first published with BSARec."""

    def band(self, layer: int) -> range:
        """Return the bins of the first layer's band, whatever the layer."""
        return super().band(0)


class OneBandFEARec(FEARec):
    """FEARec with all layers on the band of the first, as first published with BSARec."""

    name, title = "fearec-one-band", "FEARec (one band)"
    config_type = OneBandFEARecConfig


def _attention(name: str, key: str) -> dict[str, Origin]:
    return (
        stacked(f"{name}.qkv", f"{key}.query", f"{key}.key", f"{key}.value")
        | linear(f"{name}.output", f"{key}.dense")
        | linear(f"{name}.add_norm.norm", f"{key}.LayerNorm")
    )


def _band_attention(name: str, key: str) -> dict[str, Origin]:
    return (
        stacked(f"{name}.query_key", f"{key}.query", f"{key}.key")
        | linear(f"{name}.value", f"{key}.value")
        | linear(f"{name}.output", f"{key}.dense")
        | linear(f"{name}.add_norm.norm", f"{key}.LayerNorm")
    )


def _filter(key: str) -> dict[str, Origin]:
    return {"blocks.{}.mixer.filter": f"{key}.complex_weight"} | linear(
        "blocks.{}.mixer.add_norm.norm", f"{key}.LayerNorm"
    )


def _read_bsarec(weights: Weights) -> Recommender:
    sizes = skeleton.sizes(weights)
    heads, alpha, c = weights.heads(sizes["hidden_size"]), weights.alpha(), weights.modes(sizes["max_len"])
    skeleton.check_activation(weights)
    weights.settings.check()
    scalar = weights.state["item_encoder.blocks.0.layer.filter_layer.sqrt_beta"].numel() == 1
    config = BSARecConfig(
        **sizes,
        num_layers=weights.layers,
        num_heads=heads,
        alpha=alpha,
        c=c,
        beta="scalar" if scalar else "vector",
    )
    filters = f"{BLOCK}.layer.filter_layer"
    return weights.into(
        BSARec(config),
        EMBEDDED
        | {"blocks.{}.mixer.frequency.sqrt_beta": f"{filters}.sqrt_beta"}
        | linear("blocks.{}.mixer.frequency.add_norm.norm", f"{filters}.LayerNorm")
        | _attention("blocks.{}.mixer.attention", f"{BLOCK}.layer.attention_layer")
        | skeleton.feed_forward(f"{BLOCK}.feed_forward"),
    )


def _read_shared(weights: Weights) -> Recommender:
    """Read SASRec, DuoRec, FEARec or BERT4Rec; their keys are the same, so only --model tells which."""
    settings = weights.settings
    rows = weights.rows("item_embeddings.weight")
    name = settings.need(
        "model",
        one_of(*SHARED_KEYS),
        f"one of {', '.join(SHARED_KEYS)}, whose keys are the same: bert4rec if the data has {rows - 2} items, one of "
        f"the others if it has {rows - 1}",
    )
    sizes = skeleton.sizes(weights, BERT4Rec.special_items if name == "bert4rec" else 0)
    config: dict[str, Any] = sizes | {"num_layers": weights.layers, "num_heads": weights.heads(sizes["hidden_size"])}
    skeleton.check_activation(weights)
    model: Callable[[], Recommender]
    attention = _attention("blocks.{}.mixer", f"{BLOCK}.layer")
    if name == "fearec":
        bands = settings.default(
            "bands", one_of("sliding", "first"), "sliding", "first: all layers on the first band, as in older code"
        )
        for ratio, default in (("global_ratio", 0.6), ("spatial_ratio", 0.1)):
            config[ratio] = settings.default(ratio, real, default, "as published")
        attention = _band_attention("blocks.{}.mixer", f"{BLOCK}.layer")
        model = {
            "sliding": lambda: FEARec(FEARecConfig(**config)),
            "first": lambda: OneBandFEARec(OneBandFEARecConfig(**config)),
        }[bands]
    else:
        model = {
            "bert4rec": lambda: BERT4Rec(BERT4RecConfig(**config)),
            "duorec": lambda: DuoRec(DuoRecConfig(**config)),
        }.get(name, lambda: SASRec(SASRecConfig(**config)))
    settings.check()
    return weights.into(model(), EMBEDDED | attention | skeleton.feed_forward(f"{BLOCK}.feed_forward"))


def _read_fmlprec(block: str, filters: str, feed_forward: str) -> Callable[[Weights], Recommender]:
    def read(weights: Weights) -> Recommender:
        sizes = skeleton.sizes(weights)
        skeleton.check_activation(weights)
        weights.settings.check()
        model = FMLPRec(FMLPRecConfig(**sizes, num_layers=weights.layers))
        return weights.into(
            model, EMBEDDED | _filter(f"{block}.{filters}") | skeleton.feed_forward(f"{block}.{feed_forward}")
        )

    return read


def _read_s3rec(weights: Weights) -> Recommender:
    return _read_first_sasrec(weights, mask_items=1)


def _read_first_sasrec(weights: Weights, mask_items: int = 0) -> Recommender:
    sizes = skeleton.sizes(weights, mask_items)
    heads = weights.heads(sizes["hidden_size"])
    skeleton.check_activation(weights)
    causal = True
    if mask_items:
        why = "as S3-Rec ranks; bidirectional: as it is pre-trained"
        causal = weights.settings.default("attention", one_of("causal", "bidirectional"), "causal", why) == "causal"
    weights.settings.check()
    config = {**sizes, "num_layers": weights.layers, "num_heads": heads}
    model = SASRec(SASRecConfig(**config)) if causal else BidirectionalSASRec(BidirectionalSASRecConfig(**config))
    items: dict[str, Origin] = {
        "items.weight": ("item_embeddings.weight", lambda table: table[: len(table) - mask_items])
    }
    block = "item_encoder.layer.{}"
    return weights.into(
        model,
        EMBEDDED
        | items
        | _attention("blocks.{}.mixer", f"{block}.attention")
        | skeleton.feed_forward(f"{block}.intermediate"),
    )


def _read_gru4rec(weights: Weights) -> Recommender:
    sizes = skeleton.sizes(weights)
    weights.settings.check()
    size = weights.columns("gru_layers.weight_hh_l0")
    config = GRU4RecConfig(**sizes, num_layers=weights.layers, gru_hidden_size=size)
    gru: dict[str, Origin] = {
        f"layers.{{}}.weight_{part}_l0": f"gru_layers.weight_{part}_l{{}}" for part in ("ih", "hh")
    }
    return weights.into(GRU4Rec(config), {"items.weight": "item_embeddings.weight"} | gru | linear("output", "dense"))


def _read_caser(weights: Weights) -> Recommender:
    sizes = skeleton.sizes(weights)
    weights.settings.note("the mean user is used if users are not given")
    weights.settings.check()
    config = CaserConfig(
        **sizes,
        num_users=weights.rows("user_embeddings.weight"),
        vertical=weights.rows("conv_v.weight"),
        horizontal=weights.rows("conv_h.0.weight"),
    )
    origins: dict[str, Origin] = {
        "items.weight": "item_embeddings.weight",
        "users.weight": "user_embeddings.weight",
        "horizontal.{}.weight": ("conv_h.{}.weight", lambda weight: weight[:, 0].mT),
        "horizontal.{}.bias": "conv_h.{}.bias",
    }
    return weights.into(
        Caser(config), origins | linear("vertical", "conv_v") | linear("inner", "fc1") | linear("outer", "fc2")
    )


_ATTENTION_PARTS = ("query", "key", "value", "dense", "LayerNorm")
_FEED_FORWARD = skeleton.feed_forward_keys(f"{BLOCK}.feed_forward")
_LAYER = "item_encoder.layer.{}"
_INTERMEDIATE = skeleton.feed_forward_keys(f"{_LAYER}.intermediate")
_FIRST_ATTENTION = both(*(f"{_LAYER}.attention.{part}" for part in _ATTENTION_PARTS))
_PRETRAINING = tuple(f"{task}_norm" for task in ("aap", "mip", "map", "sp"))

FORMATS = (
    Format(
        "BSARec of BSARec's repository",
        (
            *TABLES,
            f"{BLOCK}.layer.filter_layer.sqrt_beta",
            *both(
                f"{BLOCK}.layer.filter_layer.LayerNorm",
                *(f"{BLOCK}.layer.attention_layer.{part}" for part in _ATTENTION_PARTS),
            ),
            *_FEED_FORWARD,
        ),
        _read_bsarec,
        renamed=((r"\.filter_layer\.beta$", ".filter_layer.sqrt_beta"),),  # older files; their beta is squared too
        own_ids=True,
    ),
    Format(
        f"{' or '.join(SHARED_KEYS)} of BSARec's repository",
        TABLES + both(*(f"{BLOCK}.layer.{part}" for part in _ATTENTION_PARTS)) + _FEED_FORWARD,
        _read_shared,
        own_ids=True,
    ),
    Format(
        "FMLP-Rec of BSARec's repository",
        (*TABLES, f"{BLOCK}.layer.complex_weight", *both(f"{BLOCK}.layer.LayerNorm"), *_FEED_FORWARD),
        _read_fmlprec(BLOCK, "layer", "feed_forward"),
        own_ids=True,
    ),
    Format(
        "FMLP-Rec of its own repository",
        (*TABLES, f"{_LAYER}.filterlayer.complex_weight", *both(f"{_LAYER}.filterlayer.LayerNorm"), *_INTERMEDIATE),
        _read_fmlprec(_LAYER, "filterlayer", "intermediate"),
        own_ids=True,
    ),
    Format(
        "SASRec of FMLP-Rec's repository", TABLES + _FIRST_ATTENTION + _INTERMEDIATE, _read_first_sasrec, own_ids=True
    ),
    Format(
        "S3-Rec",
        (*TABLES, "attribute_embeddings.weight", *_FIRST_ATTENTION, *_INTERMEDIATE),
        _read_s3rec,
        optional=tuple(rf"{task}\.(weight|bias)" for task in _PRETRAINING),
        own_ids=True,
    ),
    Format(
        "GRU4Rec of BSARec's repository",
        (
            *("item_embeddings.weight", "position_embeddings.weight"),
            *("gru_layers.weight_ih_l{}", "gru_layers.weight_hh_l{}"),
            *both("dense"),
        ),
        _read_gru4rec,
        own_ids=True,
    ),
    Format(
        "Caser of BSARec's repository",
        (
            *("item_embeddings.weight", "position_embeddings.weight", "user_embeddings.weight"),
            *both("conv_v", "conv_h.{}", "fc1", "fc2"),
        ),
        _read_caser,
        own_ids=True,
    ),
)
