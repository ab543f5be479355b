"""State dicts of the repositories of BSARec and FMLP-Rec, with drawn weights."""

from dataclasses import dataclass

from third_party_reference import State, dense, draw, layers, norms

ITEMS, N, D = 40, 50, 16
BLOCK = "item_encoder.blocks.{}"
LAYER = f"{BLOCK}.layer"


@dataclass(frozen=True)
class Sizes:
    rows: int = ITEMS + 1  # of the item table
    length: int = N
    size: int = D
    layers: int = 2

    @property
    def bins(self) -> int:
        return self.length // 2 + 1


OURS = Sizes()


def tables(sizes: Sizes = OURS) -> dict:
    items = {"item_embeddings.weight": (sizes.rows, sizes.size)}
    return items | {"position_embeddings.weight": (sizes.length, sizes.size)} | norms("LayerNorm", sizes.size)


TABLES = tables()


def attention_shapes(key: str, size: int = D) -> dict:
    parts = [dense(f"{key}.{part}", size, size) for part in ("query", "key", "value", "dense")]
    return parts[0] | parts[1] | parts[2] | parts[3] | norms(f"{key}.LayerNorm", size)


def feed_forward_shapes(key: str, size: int = D) -> dict:
    inner, outer = dense(f"{key}.dense_1", 4 * size, size), dense(f"{key}.dense_2", size, 4 * size)
    return inner | outer | norms(f"{key}.LayerNorm", size)


def in_frame(layer: dict, sizes: Sizes = OURS, positions: bool = True) -> State:
    """The state dict of a model whose blocks have a layer of these shapes, and the feed-forward network."""
    around = {key: shape for key, shape in tables(sizes).items() if positions or not key.startswith("position")}
    return draw(around | layers(layer | feed_forward_shapes(f"{BLOCK}.feed_forward", sizes.size), sizes.layers))


def bsarec_state(sizes: Sizes = OURS, beta: str = "sqrt_beta") -> State:
    own = {f"{LAYER}.filter_layer.{beta}": (1, 1, sizes.size)} | norms(f"{LAYER}.filter_layer.LayerNorm", sizes.size)
    return in_frame(own | attention_shapes(f"{LAYER}.attention_layer", sizes.size), sizes)


def sasrec_state(sizes: Sizes = OURS) -> State:
    return in_frame(attention_shapes(LAYER, sizes.size), sizes)


def fmlprec_state(filters: str = LAYER, inner: str = f"{BLOCK}.feed_forward", sizes: Sizes = OURS) -> State:
    weight = {f"{filters}.complex_weight": (1, sizes.bins, sizes.size, 2)} | norms(f"{filters}.LayerNorm", sizes.size)
    return draw(tables(sizes) | layers(weight | feed_forward_shapes(inner, sizes.size), sizes.layers))
