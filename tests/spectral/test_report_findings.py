"""What the report says beyond null models: nothing of weights that were never trained, and what is there otherwise."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.recommender import Recommender
from models.registry import build, configure
from spectral.analysis import Analysis
from spectral.command_line import Subject
from spectral.report.parts import sections

N, ITEMS, USERS = 12, 40, 60


def untrained(name: str, seed: int) -> Recommender:
    model = build(configure(name, num_items=ITEMS, max_len=N, hidden_size=32))
    model.initialise(seed)
    return model.eval()


def subject_of(model: Recommender) -> Subject:
    windows = torch.randint(1, ITEMS + 1, (USERS, N), generator=torch.Generator().manual_seed(5))
    windows[::3, : N // 2] = 0
    return Subject(model, "drawn", windows, np.arange(USERS), torch.ones(USERS, dtype=torch.bool), None, 64)


def findings(model: Recommender) -> dict[str, list[str]]:
    return {section.title: section.findings for section in sections([Analysis(subject_of(model), model.name)])}


@pytest.mark.parametrize("name", ["sasrec", "bsarec"])
@pytest.mark.parametrize("seed", [101, 102])
def test_random_weights_yield_no_sentence_that_claims_anything_beyond_the_nulls(name: str, seed: int):
    found = [sentence for of_section in findings(untrained(name, seed)).values() for sentence in of_section]
    assert len(found) == 5
    for sentence in found:
        for null in ("uniform attention", "its initial weights"):
            assert f"cannot be told apart from {null} in any layer" in sentence


def all_items_alike(model: Recommender) -> None:
    model.items.weight[:] = model.items.weight[1] + 0.001 * model.items.weight


def attend_to_oneself(model: Recommender) -> None:
    """Large equal queries and keys in random directions: a position attends to what is like itself."""
    for block in model.blocks:
        weight = block.mixer.qkv.weight
        weight[:64] = 6 * torch.eye(32).repeat(2, 1)


@pytest.mark.parametrize(
    ("change", "title", "said"),
    [
        (all_items_alike, "How similar users and positions become", "makes users more alike than its initial"),
        (
            all_items_alike,
            "Directions that users occupy",
            "leaves its users in fewer directions than its initial",
        ),
        (all_items_alike, "How smooth sequences become", "makes sequences more constant than its initial"),
        (attend_to_oneself, "What attention does to frequencies", "passes more of the fastest wave through attention"),
    ],
)
def test_what_is_beyond_the_nulls_is_said(change: Callable[[Recommender], None], title: str, said: str):
    model = untrained("sasrec", 101)
    with torch.no_grad():
        change(model)
    [sentence] = findings(model)[title]
    assert said in sentence
