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
from models.datasets.padding import MODES
from models.errors import ConfigError
from models.recommender import Recommender
from models.third_party.file_format import Format, Origin, Weights, both, linear, stacked
from models.third_party.settings import one_of, real

ACTIVATION = "gelu"
SHARED_KEYS = ("sasrec", "duorec", "fearec", "bert4rec")  # models whose files have the same keys
PADDINGS = {mode: mode for mode in MODES} | {"mirror": "symmetric"}  # the reproduction's word (Janhutter/BSARec)
FACTS = "BSARec's repository and FMLP-Rec train with it unless told otherwise"


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


_EMBEDDED = {"items.weight": "item_embeddings.weight", "positions.weight": "position_embeddings.weight"} | linear(
    "norm", "LayerNorm"
)
_TABLES = ("item_embeddings.weight", "position_embeddings.weight", *both("LayerNorm"))
_BLOCK = "item_encoder.blocks.{}"


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


def _feed_forward(key: str) -> dict[str, Origin]:
    return (
        linear("blocks.{}.feed_forward.inner", f"{key}.dense_1")
        | linear("blocks.{}.feed_forward.outer", f"{key}.dense_2")
        | linear("blocks.{}.feed_forward.add_norm.norm", f"{key}.LayerNorm")
    )


def _sizes(weights: Weights, special_items: int = 0) -> dict[str, Any]:
    given = weights.settings.default("padding", one_of(*PADDINGS), "zero", "as published")
    return {
        "padding": PADDINGS[given],
        "num_items": weights.rows("item_embeddings.weight") - 1 - special_items,
        "max_len": weights.rows("position_embeddings.weight"),
        "hidden_size": weights.columns("item_embeddings.weight"),
    }


def _check_activation(weights: Weights) -> None:
    found = weights.settings.default("activation", str, ACTIVATION, FACTS)
    if found != ACTIVATION:
        raise ConfigError(
            f"{weights.settings.path}: is {weights.settings.title} with activation {found!r}; only {ACTIVATION} is "
            "supported for these files"
        )


def _read_bsarec(weights: Weights) -> Recommender:
    sizes = _sizes(weights)
    heads, alpha, c = weights.heads(sizes["hidden_size"]), weights.alpha(), weights.modes(sizes["max_len"])
    _check_activation(weights)
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
    filters = f"{_BLOCK}.layer.filter_layer"
    return weights.into(
        BSARec(config),
        _EMBEDDED
        | {"blocks.{}.mixer.frequency.sqrt_beta": f"{filters}.sqrt_beta"}
        | linear("blocks.{}.mixer.frequency.add_norm.norm", f"{filters}.LayerNorm")
        | _attention("blocks.{}.mixer.attention", f"{_BLOCK}.layer.attention_layer")
        | _feed_forward(f"{_BLOCK}.feed_forward"),
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
    sizes = _sizes(weights, BERT4Rec.special_items if name == "bert4rec" else 0)
    config: dict[str, Any] = sizes | {"num_layers": weights.layers, "num_heads": weights.heads(sizes["hidden_size"])}
    _check_activation(weights)
    model: Callable[[], Recommender]
    attention = _attention("blocks.{}.mixer", f"{_BLOCK}.layer")
    if name == "fearec":
        bands = settings.default(
            "bands", one_of("sliding", "first"), "sliding", "first: all layers on the first band, as in older code"
        )
        for ratio, default in (("global_ratio", 0.6), ("spatial_ratio", 0.1)):
            config[ratio] = settings.default(ratio, real, default, "as published")
        attention = _band_attention("blocks.{}.mixer", f"{_BLOCK}.layer")
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
    return weights.into(model(), _EMBEDDED | attention | _feed_forward(f"{_BLOCK}.feed_forward"))


def _read_fmlprec(block: str, filters: str, feed_forward: str) -> Callable[[Weights], Recommender]:
    def read(weights: Weights) -> Recommender:
        _check_activation(weights)
        weights.settings.check()
        model = FMLPRec(FMLPRecConfig(**_sizes(weights), num_layers=weights.layers))
        return weights.into(model, _EMBEDDED | _filter(f"{block}.{filters}") | _feed_forward(f"{block}.{feed_forward}"))

    return read


def _read_s3rec(weights: Weights) -> Recommender:
    return _read_first_sasrec(weights, mask_items=1)


def _read_first_sasrec(weights: Weights, mask_items: int = 0) -> Recommender:
    sizes = _sizes(weights, mask_items)
    heads = weights.heads(sizes["hidden_size"])
    _check_activation(weights)
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
        _EMBEDDED
        | items
        | _attention("blocks.{}.mixer", f"{block}.attention")
        | _feed_forward(f"{block}.intermediate"),
    )


def _read_gru4rec(weights: Weights) -> Recommender:
    weights.settings.check()
    size = weights.columns("gru_layers.weight_hh_l0")
    config = GRU4RecConfig(**_sizes(weights), num_layers=weights.layers, gru_hidden_size=size)
    gru: dict[str, Origin] = {
        f"layers.{{}}.weight_{part}_l0": f"gru_layers.weight_{part}_l{{}}" for part in ("ih", "hh")
    }
    return weights.into(GRU4Rec(config), {"items.weight": "item_embeddings.weight"} | gru | linear("output", "dense"))


def _read_caser(weights: Weights) -> Recommender:
    weights.settings.note("the mean user is used if users are not given")
    weights.settings.check()
    config = CaserConfig(
        **_sizes(weights),
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
_DENSE_PARTS = ("dense_1", "dense_2", "LayerNorm")
_FEED_FORWARD = both(*(f"{_BLOCK}.feed_forward.{part}" for part in _DENSE_PARTS))
_LAYER = "item_encoder.layer.{}"
_INTERMEDIATE = both(*(f"{_LAYER}.intermediate.{part}" for part in _DENSE_PARTS))
_FIRST_ATTENTION = both(*(f"{_LAYER}.attention.{part}" for part in _ATTENTION_PARTS))
_PRETRAINING = tuple(f"{task}_norm" for task in ("aap", "mip", "map", "sp"))

FORMATS = (
    Format(
        "BSARec of BSARec's repository",
        (
            *_TABLES,
            f"{_BLOCK}.layer.filter_layer.sqrt_beta",
            *both(
                f"{_BLOCK}.layer.filter_layer.LayerNorm",
                *(f"{_BLOCK}.layer.attention_layer.{part}" for part in _ATTENTION_PARTS),
            ),
            *_FEED_FORWARD,
        ),
        _read_bsarec,
        renamed=((r"\.filter_layer\.beta$", ".filter_layer.sqrt_beta"),),  # older files; their beta is squared too
        own_ids=True,
    ),
    Format(
        f"{' or '.join(SHARED_KEYS)} of BSARec's repository",
        _TABLES + both(*(f"{_BLOCK}.layer.{part}" for part in _ATTENTION_PARTS)) + _FEED_FORWARD,
        _read_shared,
        own_ids=True,
    ),
    Format(
        "FMLP-Rec of BSARec's repository",
        (*_TABLES, f"{_BLOCK}.layer.complex_weight", *both(f"{_BLOCK}.layer.LayerNorm"), *_FEED_FORWARD),
        _read_fmlprec(_BLOCK, "layer", "feed_forward"),
        own_ids=True,
    ),
    Format(
        "FMLP-Rec of its own repository",
        (*_TABLES, f"{_LAYER}.filterlayer.complex_weight", *both(f"{_LAYER}.filterlayer.LayerNorm"), *_INTERMEDIATE),
        _read_fmlprec(_LAYER, "filterlayer", "intermediate"),
        own_ids=True,
    ),
    Format(
        "SASRec of FMLP-Rec's repository", _TABLES + _FIRST_ATTENTION + _INTERMEDIATE, _read_first_sasrec, own_ids=True
    ),
    Format(
        "S3-Rec",
        (*_TABLES, "attribute_embeddings.weight", *_FIRST_ATTENTION, *_INTERMEDIATE),
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
