"""State dicts of RecBole, with drawn weights."""

from third_party_reference import State, dense, draw, layers, norms

ITEMS, N, D, INNER = 40, 50, 16, 24
BLOCK = "trm_encoder.layer.{}"
FORWARD = f"{BLOCK}.feed_forward"
TABLES = {"item_embedding.weight": (ITEMS + 1, D), "position_embedding.weight": (N, D)} | norms("LayerNorm", D)


def feed_forward_shapes(key: str) -> dict:
    return dense(f"{key}.dense_1", INNER, D) | dense(f"{key}.dense_2", D, INNER) | norms(f"{key}.LayerNorm", D)


def sasrec_state() -> State:
    key = f"{BLOCK}.multi_head_attention"
    shapes: dict = feed_forward_shapes(FORWARD) | norms(f"{key}.LayerNorm", D)
    for part in ("query", "key", "value", "dense"):
        shapes |= dense(f"{key}.{part}", D, D)
    return draw(TABLES | layers(shapes))


def bert4rec_state() -> State:
    ends = dense("output_ffn", D, D) | norms("output_ln", D) | {"output_bias": (ITEMS + 1,)}
    shapes = {key: tuple(value.shape) for key, value in sasrec_state().items()}
    return draw(shapes | ends | {"item_embedding.weight": (ITEMS + 2, D)})
