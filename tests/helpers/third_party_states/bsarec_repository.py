"""State dicts of the repositories of BSARec and FMLP-Rec, with drawn weights."""

from third_party_reference import State, dense, draw, layers, norms

ITEMS, N, D = 40, 50, 16
TABLES = {"item_embeddings.weight": (ITEMS + 1, D), "position_embeddings.weight": (N, D)} | norms("LayerNorm", D)
BLOCK = "item_encoder.blocks.{}"


def attention_shapes(key: str) -> dict:
    parts = [dense(f"{key}.{part}", D, D) for part in ("query", "key", "value", "dense")]
    return parts[0] | parts[1] | parts[2] | parts[3] | norms(f"{key}.LayerNorm", D)


def feed_forward_shapes(key: str) -> dict:
    return dense(f"{key}.dense_1", 4 * D, D) | dense(f"{key}.dense_2", D, 4 * D) | norms(f"{key}.LayerNorm", D)


def sasrec_state(rows: int = ITEMS + 1) -> State:
    shapes = TABLES | layers(attention_shapes(f"{BLOCK}.layer") | feed_forward_shapes(f"{BLOCK}.feed_forward"))
    return draw(shapes | {"item_embeddings.weight": (rows, D)})


def fmlprec_state(filters: str, inner: str) -> State:
    weight = {f"{filters}.complex_weight": (1, N // 2 + 1, D, 2)}
    return draw(TABLES | layers(weight | norms(f"{filters}.LayerNorm", D) | feed_forward_shapes(inner)))
