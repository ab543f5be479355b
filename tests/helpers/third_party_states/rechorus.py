"""State dicts of ReChorus, with drawn weights."""

from third_party_reference import State, dense, draw, layers, norms

ITEMS, N, D = 40, 50, 16
TABLES = {"i_embeddings.weight": (ITEMS + 1, D), "p_embeddings.weight": (N + 1, D)}
BLOCK = "transformer_block.{}"


def sasrec_state() -> State:
    parts = [dense(f"{BLOCK}.masked_attn_head.{part}_linear", D, D) for part in "qkv"]
    rest = dense(f"{BLOCK}.linear1", 24, D) | dense(f"{BLOCK}.linear2", D, 24)
    both_norms = norms(f"{BLOCK}.layer_norm1", D) | norms(f"{BLOCK}.layer_norm2", D)
    return draw(TABLES | layers(parts[0] | parts[1] | parts[2] | rest | both_norms))


def bsarec_state() -> State:
    layer = f"{BLOCK}.layer"
    shapes: dict = {f"{layer}.filter_layer.sqrt_beta": (1, 1, D)} | norms(f"{layer}.filter_layer.LayerNorm", D)
    for part in ("q", "k", "v", "out"):
        shapes |= dense(f"{layer}.attention_layer.{part}_linear", D, D)
    shapes |= norms(f"{layer}.attention_layer.layer_norm", D) | norms(f"{BLOCK}.LayerNorm2", D)
    shapes |= dense(f"{BLOCK}.feed_forward.w_1", 4 * D, D) | dense(f"{BLOCK}.feed_forward.w_2", D, 4 * D)
    return draw(TABLES | layers(shapes))
