"""State dicts of SASRec.pytorch, with drawn weights."""

from third_party_reference import State, dense, draw, layers, norms

ITEMS, N, D = 40, 50, 16


def state_of(rows: int = N) -> State:
    shapes: dict = {
        "attention_layers.{}.in_proj_weight": (3 * D, D),
        "attention_layers.{}.in_proj_bias": (3 * D,),
        "forward_layers.{}.conv1.weight": (D, D, 1),
        "forward_layers.{}.conv1.bias": (D,),
        "forward_layers.{}.conv2.weight": (D, D, 1),
        "forward_layers.{}.conv2.bias": (D,),
    }
    shapes |= dense("attention_layers.{}.out_proj", D, D)
    shapes |= norms("attention_layernorms.{}", D) | norms("forward_layernorms.{}", D)
    state = draw(
        {"item_emb.weight": (ITEMS + 1, D), "pos_emb.weight": (rows, D)} | layers(shapes) | norms("last_layernorm", D)
    )
    if rows == N + 1:
        state["pos_emb.weight"][0] = 0
    return state
