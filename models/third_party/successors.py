"""Repositories that grew out of that of BSARec: TV-Rec, WEARec (with SLIME4Rec), and LoWARec.

They are jeongwhanchoi/TV-Rec, xhy963319431/WEARec and juexuan/LoWARec. They share BSARec's tables, its frame of blocks
and its feed-forward network; only the mixing layer differs, so its keys tell which model it is. Sizes come from the
shapes, WEARec's heads and LoWARec's projections included.
"""

import re
from typing import Any

from torch import Tensor

from models.architectures.lowarec import LoWARec, LoWARecConfig
from models.architectures.slime4rec import FALLS, SLIME4Rec, SLIME4RecConfig
from models.architectures.tvrec import TVRec, TVRecConfig
from models.architectures.wearec import WEARec, WEARecConfig
from models.errors import CheckpointError
from models.recommender import Recommender
from models.third_party import skeleton
from models.third_party.file_format import Format, Origin, Weights, both, linear
from models.third_party.settings import one_of, real, whole
from models.third_party.skeleton import BLOCK, EMBEDDED, TABLES

_LAYER = f"{BLOCK}.layer"
_POSITIONS = "position_embeddings.weight"
_FEED_FORWARD = skeleton.feed_forward_keys(f"{BLOCK}.feed_forward")
_FEED_FORWARD_ORIGINS = skeleton.feed_forward(f"{BLOCK}.feed_forward")
_NORM = linear("blocks.{}.mixer.add_norm.norm", f"{_LAYER}.LayerNorm")
_FILTER, _PROJECTED = f"{_LAYER}.filter_layer", f"{_LAYER}.projected_layer"
_CROSS_ATTENTION = {"query": "FC_Q", "key": "FC_K", "value": "FC_V", "output": "out_proj"}


def _read_tvrec(weights: Weights) -> Recommender:
    first = _LAYER.format(0)
    order = weights.columns(f"{first}.basis") - 1
    length = weights.rows(f"{first}.c_t") - order + 1
    if _POSITIONS in weights.state and weights.rows(_POSITIONS) != length:
        raise CheckpointError(
            f"{weights.settings.path}: looks like TV-Rec, but its shapes do not fit together: {_POSITIONS} has "
            f"{weights.rows(_POSITIONS)} rows, and {first}.c_t and {first}.basis are those of {length} positions"
        )
    sizes = skeleton.sizes(weights, length=length)
    skeleton.check_activation(weights)
    weights.settings.check()
    filters = weights.rows(f"{first}.basis")
    config = TVRecConfig(**sizes, num_layers=weights.layers, filters=filters, order=order)
    return weights.into(
        TVRec(config),
        {key: origin for key, origin in EMBEDDED.items() if key != "positions.weight"}
        | {"blocks.{}.mixer.basis": f"{_LAYER}.basis", "blocks.{}.mixer.coefficients": f"{_LAYER}.c_t"}
        | _NORM
        | _FEED_FORWARD_ORIGINS,
    )


def _read_wearec(weights: Weights) -> Recommender:
    sizes = skeleton.sizes(weights)
    heads = weights.columns(f"{_LAYER.format(0)}.complex_weight")
    weights.settings.shown("num_heads", whole, heads)
    alpha = weights.alpha()
    skeleton.check_activation(weights)
    weights.settings.check()
    config = WEARecConfig(**sizes, num_layers=weights.layers, num_heads=heads, alpha=alpha)
    names = {"factor": "base_filter", "shift": "base_bias", "detail": "complex_weight", "gate": "gate_param"}
    return weights.into(
        WEARec(config),
        EMBEDDED
        | {f"blocks.{{}}.mixer.{ours}": f"{_LAYER}.{theirs}" for ours, theirs in names.items()}
        | linear("blocks.{}.mixer.inner", f"{_LAYER}.adaptive_mlp.0")
        | linear("blocks.{}.mixer.outer", f"{_LAYER}.adaptive_mlp.2")
        | _NORM
        | _FEED_FORWARD_ORIGINS,
    )


def _read_slime4rec(weights: Weights) -> Recommender:
    sizes = skeleton.sizes(weights)
    ratio = weights.settings.need("dynamic_ratio", real, "above 0, at most 1")
    mode: Any = weights.settings.need("slide_mode", one_of(*FALLS), ", ".join(FALLS))
    skeleton.check_activation(weights)
    weights.settings.check()
    config = SLIME4RecConfig(**sizes, num_layers=weights.layers, dynamic_ratio=ratio, slide_mode=mode)
    names = {"filter": "complex_weight_G", "static_filter": "complex_weight_L"}
    return weights.into(
        SLIME4Rec(config),
        EMBEDDED
        | {f"blocks.{{}}.mixer.{ours}": f"{_LAYER}.{theirs}" for ours, theirs in names.items()}
        | _NORM
        | _FEED_FORWARD_ORIGINS,
    )


def _read_lowarec(weights: Weights) -> Recommender:
    sizes = skeleton.sizes(weights)
    projections = weights.rows(f"{_PROJECTED.format(0)}.projector")
    weights.settings.shown("projections", whole, projections)
    heads, alpha, c = weights.heads(sizes["hidden_size"]), weights.alpha(), weights.modes(sizes["max_len"])
    skeleton.check_activation(weights)
    weights.settings.check()
    config = LoWARecConfig(
        **sizes, num_layers=weights.layers, num_heads=heads, alpha=alpha, c=c, projections=projections
    )
    ours, attention = "blocks.{}.mixer.frequency", "blocks.{}.mixer.attention"
    origins: dict[str, Origin] = {
        f"{ours}.mixing": f"{_FILTER}.alpha",
        f"{ours}.kernel": (f"{_FILTER}.wavelet_conv.weight", _taps_first),
        f"{attention}.projections": f"{_PROJECTED}.projector",
    }
    for step, theirs in (("gather", "out_attn"), ("spread", "in_attn")):
        for part, key in _CROSS_ATTENTION.items():
            origins |= linear(f"{attention}.{step}.{part}", f"{_PROJECTED}.{theirs}.{key}")
    return weights.into(
        LoWARec(config),
        EMBEDDED
        | origins
        | linear(f"{ours}.add_norm.norm", f"{_FILTER}.LayerNorm")
        | linear(f"{attention}.add_norm.norm", f"{_PROJECTED}.norm1")
        | linear(f"{attention}.feed_forward.inner", f"{_PROJECTED}.MLP.0")
        | linear(f"{attention}.feed_forward.outer", f"{_PROJECTED}.MLP.2")
        | linear(f"{attention}.feed_forward.add_norm.norm", f"{_PROJECTED}.norm2")
        | _FEED_FORWARD_ORIGINS,
    )


def _taps_first(kernel: Tensor) -> Tensor:
    """Return a convolution's kernels (D, 1, taps) as (taps, D)."""
    return kernel.flatten(1).T


FORMATS = (
    Format(
        "TV-Rec",
        (
            *("item_embeddings.weight", *both("LayerNorm")),
            *(f"{_LAYER}.basis", f"{_LAYER}.c_t", *both(f"{_LAYER}.LayerNorm")),
            *_FEED_FORWARD,
        ),
        _read_tvrec,
        optional=(re.escape(_POSITIONS),),  # never used
        own_ids=True,
    ),
    Format(
        "WEARec",
        (
            *TABLES,
            *(f"{_LAYER}.{part}" for part in ("complex_weight", "base_filter", "base_bias", "gate_param")),
            *both(f"{_LAYER}.adaptive_mlp.0", f"{_LAYER}.adaptive_mlp.2", f"{_LAYER}.LayerNorm"),
            *_FEED_FORWARD,
        ),
        _read_wearec,
        own_ids=True,
    ),
    Format(
        "SLIME4Rec of WEARec's repository",
        (
            *TABLES,
            *(f"{_LAYER}.complex_weight{part}" for part in ("", "_G", "_L")),  # the first one is never used
            *both(f"{_LAYER}.LayerNorm"),
            *_FEED_FORWARD,
        ),
        _read_slime4rec,
        own_ids=True,
    ),
    Format(
        "LoWARec",
        (
            *TABLES,
            *(f"{_FILTER}.alpha", f"{_FILTER}.wavelet_conv.weight", f"{_PROJECTED}.projector"),
            *both(
                f"{_FILTER}.LayerNorm",
                *(f"{_PROJECTED}.{part}" for part in ("norm1", "norm2", "MLP.0", "MLP.2")),
                *(
                    f"{_PROJECTED}.{step}.{key}"
                    for step in ("out_attn", "in_attn")
                    for key in _CROSS_ATTENTION.values()
                ),
            ),
            *_FEED_FORWARD,
        ),
        _read_lowarec,
        own_ids=True,
    ),
)
