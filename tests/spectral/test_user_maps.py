"""Maps of single users: those of the model, at the right items, and what the report's page holds of them."""

import base64

import numpy as np
import pytest
import torch

from models.errors import ConfigError, DataError
from models.recommender import Recommender
from models.registry import build, configure
from spectral.command_line import Subject
from spectral.report.explorer import STEPS, explorer_data
from spectral.user_maps import user_maps

WINDOWS = torch.tensor([[0, 0, 0, 3, 1], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0], [0, 2, 4, 6, 8], [9, 8, 7, 6, 5]])
NAMES = np.array([10, 11, 12, 13, 14])


def untrained(name: str, **settings: object) -> Recommender:
    model = build(configure(name, num_items=20, max_len=5, hidden_size=8, num_layers=2, num_heads=2, **settings))
    model.initialise(seed=0)
    return model.eval()


def subject_of(model: Recommender, windows: torch.Tensor = WINDOWS, max_users: int | None = None) -> Subject:
    return Subject(model, "five users", windows, NAMES, torch.ones(5, dtype=torch.bool), max_users, 256)


def test_users_with_the_longest_windows_come_first_without_padding():
    model = untrained("sasrec")
    found = user_maps(subject_of(model))
    assert [(maps.user, len(maps.items), maps.first) for maps in found] == [
        (11, 5, 0),
        (14, 5, 0),
        (13, 4, 1),
        (10, 2, 3),
    ]
    assert found[2].items == ["item 2", "item 4", "item 6", "item 8"]
    for layer, maps in found[2].layers.items():
        torch.testing.assert_close(maps, model.trace(WINDOWS[3:4]).attention[layer - 1][0, :, 1:, 1:])
    assert [maps.user for maps in user_maps(subject_of(model, max_users=3), users=1)] == [11]


def test_a_mask_token_has_the_last_position_and_attention_to_later_items_is_kept():
    maps = user_maps(subject_of(untrained("bert4rec")))[0]
    assert maps.items == ["item 6", "item 7", "item 8", "item 9", "mask token"] and not maps.causal
    assert maps.weights == 2 * 2 * 25


def test_padding_is_shown_where_attention_looks_at_it():
    maps = user_maps(subject_of(untrained("lowarec")))[-1]
    assert maps.user == 10 and maps.items == ["padding"] * 3 + ["item 3", "item 1"] and maps.first == 0


def test_large_maps_leave_fewer_users_and_too_large_ones_are_refused():
    subject = subject_of(untrained("sasrec"))
    assert len(user_maps(subject, weights=2 * 60)) == 2  # 15 weights of a head, four heads
    assert len(user_maps(subject, weights=2 * 60 - 1)) == 1
    with pytest.raises(DataError, match="more than 59 weights"):
        user_maps(subject, weights=59)


def test_models_without_attention_and_users_without_items_are_refused():
    gru4rec = build(configure("gru4rec", num_items=20, max_len=5, hidden_size=8)).eval()
    with pytest.raises(ConfigError, match="no attention to measure"):
        user_maps(subject_of(gru4rec))
    with pytest.raises(DataError, match="no user has an item"):
        user_maps(subject_of(untrained("sasrec"), torch.zeros(5, 5, dtype=torch.int64)))


@pytest.mark.parametrize("name, remedy", [("sasrec", "none"), ("bert4rec", "none"), ("sasrec", "attnscale")])
def test_the_page_holds_every_weight_to_half_a_step(name, remedy):
    found = user_maps(subject_of(untrained(name, remedy=remedy)))
    [of_model] = explorer_data({"a": found})
    for maps, of_user in zip(found, of_model["users"], strict=True):
        for exact, kept in zip(maps.layers.values(), of_user["layers"], strict=True):
            codes = np.frombuffer(base64.b64decode(kept["weights"]), "<u2").reshape(2, -1)
            n = len(maps.items)
            rows, columns = np.tril_indices(n) if maps.causal else np.indices((n, n)).reshape(2, -1)
            expected = exact.numpy()[:, rows, columns]
            assert np.abs(kept["low"] + kept["step"] * codes - expected).max() <= kept["step"] / 2 * 1.001
            assert kept["step"] <= (expected.max() - min(0, expected.min())) / STEPS * 1.001
