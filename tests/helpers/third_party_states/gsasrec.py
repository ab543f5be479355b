"""State dicts of gSASRec, with drawn weights."""

from third_party_reference import State, dense, draw, layers, norms

ITEMS, N, D = 40, 50, 16
BLOCK = "transformer_blocks.{}"


def state_of(own_output: bool = False) -> State:
    shapes: dict = norms(f"{BLOCK}.first_norm", D) | norms(f"{BLOCK}.second_norm", D)
    for part in ("query", "key", "val"):
        shapes |= dense(f"{BLOCK}.multihead_attention.{part}_proj", D, D)
    shapes |= dense(f"{BLOCK}.dense1", D, D) | dense(f"{BLOCK}.dense2", D, D)
    tables = {"item_embedding.weight": (ITEMS + 2, D), "position_embedding.weight": (N, D)} | norms("seq_norm", D)
    return draw(tables | layers(shapes) | ({"output_embedding.weight": (ITEMS + 2, D)} if own_output else {}))
