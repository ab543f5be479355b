"""Third-party state dicts with short windows, and what every one of them is converted with."""

import torch
from third_party_reference import State, dense, draw, layers, norms
from third_party_states.bsarec_repository import sasrec_state
from third_party_states.gsasrec import state_of as gsasrec_state
from third_party_states.pmixer import state_of as pmixer_state
from third_party_states.recbole import bert4rec_state
from third_party_states.recbole import sasrec_state as recbole_sasrec_state
from third_party_states.rechorus import bsarec_state as rechorus_bsarec_state
from third_party_states.rechorus import sasrec_state as rechorus_sasrec_state

from models.recommender import Recommender

ITEMS, N, D = 60, 12, 16
GIVEN = {"heads": 2, "alpha": 0.3, "c": 9}
DATA = "synthetic:users=120,items=60"
WINDOWS = torch.tensor([[0] * 9 + [5, 9, 60], list(range(1, N + 1)), [0] * (N - 1) + [7]])


def bsarec_state() -> State:
    block, layer = "item_encoder.blocks.{}", "item_encoder.blocks.{}.layer"
    shapes: dict = {f"{layer}.filter_layer.sqrt_beta": (1, 1, D)} | norms(f"{layer}.filter_layer.LayerNorm", D)
    for part in ("query", "key", "value", "dense"):
        shapes |= dense(f"{layer}.attention_layer.{part}", D, D)
    shapes |= norms(f"{layer}.attention_layer.LayerNorm", D) | norms(f"{block}.feed_forward.LayerNorm", D)
    shapes |= dense(f"{block}.feed_forward.dense_1", 4 * D, D) | dense(f"{block}.feed_forward.dense_2", D, 4 * D)
    tables = {"item_embeddings.weight": (ITEMS + 1, D), "position_embeddings.weight": (N, D)} | norms("LayerNorm", D)
    return draw(tables | layers(shapes))


def gru_state() -> State:
    return draw(
        {
            "item_embedding.weight": (ITEMS + 1, D),
            "gru_layers.weight_ih_l0": (36, D),
            "gru_layers.weight_hh_l0": (36, 12),
        }
        | dense("dense", D, 12)
    )


def scores(model: Recommender) -> torch.Tensor:
    with torch.inference_mode():
        return model(WINDOWS)


CONVERTED = {
    "one-band-fearec": (sasrec_state, {"model": "fearec", "heads": 2, "bands": "first"}),
    "rechorus-sasrec": (rechorus_sasrec_state, {"heads": 2}),
    "rechorus-bsarec": (rechorus_bsarec_state, {"heads": 2, "alpha": 0.3, "c": 9}),
    "recbole-sasrec": (recbole_sasrec_state, {"model": "sasrec", "heads": 2}),
    "recbole-bert4rec": (bert4rec_state, {"heads": 2}),
    "recbole-gru4rec": (gru_state, {}),
    "pmixer": (pmixer_state, {"heads": 2, "norm": "pre"}),
    "gsasrec": (lambda: gsasrec_state(own_output=True), {"heads": 2}),
}
