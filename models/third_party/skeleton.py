"""What files of BSARec's repository, and of those that grew out of it, have in common.

These are the tables of items and positions, the frame of blocks, and the feed-forward network. FMLP-Rec's repository
and S3-Rec's, from which it grew itself, have the same tables and networks.
"""

from typing import Any

from models.choices import PADDINGS
from models.errors import ConfigError
from models.third_party.file_format import Origin, Weights, both, linear
from models.third_party.settings import one_of

ACTIVATION = "gelu"
# mirror is the word of the reproduction (Janhutter/BSARec)
PADDING_NAMES = {mode: mode for mode in PADDINGS} | {"mirror": "symmetric"}
FACTS = "its repository trains with it unless told otherwise"

TABLES = ("item_embeddings.weight", "position_embeddings.weight", *both("LayerNorm"))
EMBEDDED = {"items.weight": "item_embeddings.weight", "positions.weight": "position_embeddings.weight"} | linear(
    "norm", "LayerNorm"
)
BLOCK = "item_encoder.blocks.{}"


def feed_forward_keys(key: str) -> tuple[str, ...]:
    """Return the keys of a feed-forward network.

    >>> feed_forward_keys("net")[:2]
    ('net.dense_1.weight', 'net.dense_1.bias')
    """
    return both(*(f"{key}.{part}" for part in ("dense_1", "dense_2", "LayerNorm")))


def feed_forward(key: str) -> dict[str, Origin]:
    """Return where the feed-forward network of every block comes from."""
    return (
        linear("blocks.{}.feed_forward.inner", f"{key}.dense_1")
        | linear("blocks.{}.feed_forward.outer", f"{key}.dense_2")
        | linear("blocks.{}.feed_forward.add_norm.norm", f"{key}.LayerNorm")
    )


def sizes(weights: Weights, special_items: int = 0, length: int | None = None) -> dict[str, Any]:
    """Return what the tables show (items, positions and D), and the padding that a configuration or an option names.

    length: the number of positions of a file that needs no table of them.
    """
    given = weights.settings.default("padding", one_of(*PADDING_NAMES), "zero", "as published")
    return {
        "padding": PADDING_NAMES[given],
        "num_items": weights.rows("item_embeddings.weight") - 1 - special_items,
        "max_len": weights.rows("position_embeddings.weight") if length is None else length,
        "hidden_size": weights.columns("item_embeddings.weight"),
    }


def check_activation(weights: Weights) -> None:
    """Raise ConfigError if a configuration or an option names another activation than GELU."""
    found = weights.settings.default("activation", str, ACTIVATION, FACTS)
    if found != ACTIVATION:
        raise ConfigError(
            f"{weights.settings.path}: is {weights.settings.title} with activation {found!r}; only {ACTIVATION} is "
            "supported for these files"
        )
