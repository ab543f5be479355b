"""Files of every published size, with the names that authors give them: what is read, asked for, and noticed."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from third_party_reference import State
from third_party_states.bsarec_repository import ITEMS, OURS, Sizes, bsarec_state, fmlprec_state, sasrec_state
from third_party_states.successors import lowarec_state, slime4rec_state, tvrec_state, wearec_state

import models
from models.checkpoint import sequences_of
from models.convert import convert
from models.errors import CheckpointError, ConfigError
from models.recommender import Recommender
from models.third_party.configuration_files import in_name
from models.third_party.opening import open_third_party

# Items of the published datasets.
BEAUTY, SPORTS, TOYS, YELP, LASTFM, ML1M = 12_101, 18_357, 11_924, 20_033, 3_646, 3_416
STATES = {
    **dict.fromkeys(("sasrec", "duorec", "fearec", "bert4rec"), sasrec_state),
    "bsarec": bsarec_state,
    "fmlprec": lambda sizes: fmlprec_state(sizes=sizes),
    "tvrec": tvrec_state,
    "wearec": wearec_state,
    "slime4rec": slime4rec_state,
    "lowarec": lowarec_state,
}
BANDS = {"dynamic_ratio": 0.3, "slide_mode": "one"}


def opened(name: str, state: State, **options: Any) -> Recommender:
    """The model of a file with this name, and nothing beside it."""
    return open_third_party(state, Path("nowhere") / name, options, {})


@pytest.mark.parametrize(
    ("keys", "name", "sizes", "own", "options", "expected"),
    [
        # keys, file, (items, length, hidden size, layers), settings of the shapes, options, settings of the model
        ("tvrec", "TVRec_Beauty.pt", (BEAUTY, 50, 64, 2), (50, 8), {}, {"order": 50, "filters": 8}),
        ("tvrec", "tv-rec_ml-1m_2025-05-01.pth", (ML1M, 100, 32, 4), (20, 16), {}, {"order": 20, "filters": 16}),
        ("tvrec", "TVREC-Yelp-seed42.bin", (YELP, 20, 128, 1), (100, 32), {}, {"order": 100, "filters": 32}),
        ("wearec", "WEARec_ML-1M_0.3_2.pt", (ML1M, 50, 64, 2), (2,), {"alpha": 0.3}, {"num_heads": 2, "alpha": 0.3}),
        ("wearec", "wearec_sports_alpha0.9.pt", (SPORTS, 100, 128, 1), (8,), {}, {"num_heads": 8, "alpha": 0.9}),
        ("wearec", "WEARec_Toys_h1_ALPHA0.2.pt", (TOYS, 20, 32, 3), (1,), {}, {"num_heads": 1, "alpha": 0.2}),
        ("slime4rec", "SLIME4Rec_Yelp.pt", (YELP, 50, 64, 2), (), BANDS, BANDS),
        ("slime4rec", "slime4rec_dynamic_ratio=0.4.pt", (LASTFM, 20, 32, 4), (), {"slide_mode": "two"}, {}),
        ("lowarec", "LoWARec_LastFM_h4_alpha0.7_c3.pt", (LASTFM, 50, 64, 2), (8,), {}, {"projections": 8, "c": 3}),
        ("lowarec", "lowarec.pt", (BEAUTY, 100, 32, 1), (32,), {"heads": 2, "alpha": 0.5, "c": 9}, {"projections": 32}),
        (
            *("bsarec", "bsarec_beauty_h1_alpha0.3_c7.pt", (BEAUTY, 50, 64, 2), (), {}),
            {"num_heads": 1, "alpha": 0.3, "c": 7},
        ),
        (
            *("bsarec", "BSARec_Sports_H4_Alpha0.7_C5_2024-01-31.pt", (SPORTS, 20, 128, 4), (), {}),
            {"num_heads": 4, "alpha": 0.7, "c": 5},
        ),
        (
            *("bsarec", "BSARec_c9_head2_alpha0.1", (TOYS, 100, 32, 3), (), {}),  # without a suffix
            {"num_heads": 2, "alpha": 0.1, "c": 9},
        ),
        ("bsarec", "heads=8.c=3.alpha=.5.ckpt", (ML1M, 50, 64, 1), (), {}, {"num_heads": 8, "alpha": 0.5, "c": 3}),
        ("sasrec", "SASRec_Toys.pt", (TOYS, 50, 64, 2), (), {"heads": 1}, {"num_heads": 1}),
        ("duorec", "DuoRec_LastFM_heads4.pt", (LASTFM, 20, 32, 3), (), {}, {"num_heads": 4}),
        ("fearec", "fearec-Beauty.pt", (BEAUTY, 100, 128, 1), (), {"heads": 2}, {"global_ratio": 0.6}),
        ("bert4rec", "BERT4Rec_Yelp_Nov-27-2026.pt", (YELP, 50, 64, 4), (), {"heads": 8}, {"num_heads": 8}),
        ("fmlprec", "FMLP-Rec_Sports.pt", (SPORTS, 50, 64, 2), (), {}, {}),
        ("fmlprec", "FMLPRec-Yelp.pt", (YELP, 20, 32, 4), (), {}, {}),
    ],
)
def test_sizes_come_from_shapes_and_settings_from_names(keys, name, sizes, own, options, expected):
    items, length, size, layers = sizes
    rows = items + 1 + (keys == "bert4rec")  # one for padding, and one for the mask token
    model = opened(name, STATES[keys](Sizes(rows, length, size, layers), *own), **options)
    assert model.name == keys
    found = model.config
    assert (found.num_items, found.max_len, found.hidden_size, found.num_layers) == sizes
    assert {setting: getattr(found, setting) for setting in expected} == expected


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bsarec_h1_alpha0_3_c7.pt", {"num_heads": "1", "c": "7", "model": "bsarec"}),  # 0, or 0.3?
        ("bsarec_h128_alpha0.3_c7.pt", {"alpha": "0.3", "c": "7", "model": "bsarec"}),  # a hidden size
        ("BSARec_alpha=0.3_C=7.pt", {"alpha": "0.3", "c": "7", "model": "BSARec"}),
        ("bsarec_alpha=0.3.pt", {"alpha": "0.3", "model": "bsarec"}),
        ("loss_alpha=0.3_bsarec.pt", {"model": "bsarec"}),
        ("WEARec_ML-1M_0.3_2.pt", {"model": "WEARec"}),
        ("S3-Rec_h2.pt", {"model": "S3-Rec"}),
        ("SASRec-vs-BSARec.pt", {}),
        ("best_alpha0.3.pt", {}),
        ("epoch_c3.pt", {}),
    ],
)
def test_what_a_name_says_for_certain(name, values):
    assert [source.values for source in in_name(Path(name))] == ([values] if values else [])


@pytest.mark.parametrize(
    ("keys", "name", "message"),
    [
        ("wearec", "WEARec_ML-1M_0.3_2.pt", r"is WEARec, .* give --alpha \(from 0 to 1\)$"),
        ("slime4rec", "SLIME4Rec.pt", r"--set dynamic_ratio= \(above 0, at most 1\); --set slide_mode= \(one, two"),
        ("lowarec", "LoWARec.pt", r"--heads \(one of 1, 2, 4, 8, 16\); --alpha .*; --c "),
        ("bsarec", "bsarec_h128_alpha0.3_c7.pt", r"give --heads \(one of 1, 2, 4, 8, 16\)$"),
        ("bsarec", "bsarec_h1_alpha0_3_c7.pt", r"give --alpha \(from 0 to 1\)$"),
        (
            "sasrec",
            "best.pt",
            r"--model \(one of sasrec, duorec, fearec, bert4rec, whose keys are the same: bert4rec if",
        ),
        ("sasrec", "SASRec-vs-DuoRec.pt", r"give --model .*; --heads"),
    ],
)
def test_what_neither_shapes_nor_name_determine_is_asked_for(keys, name, message):
    with pytest.raises(ConfigError, match=message):
        opened(name, STATES[keys](OURS))


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        ("wearec", {"heads": 4, "alpha": 0.3}, "--heads is 4, but the file's shapes say 2"),
        (
            "lowarec",
            {"heads": 2, "alpha": 0.3, "c": 3, "projections": 8},
            "projections is 8, but the file's shapes say 6",
        ),
        ("bsarec", {"heads": 3, "alpha": 0.3, "c": 3}, "3 heads do not divide 16"),
        ("bsarec", {"heads": 2, "alpha": 3, "c": 3}, "alpha must lie in 0..1"),
        ("bsarec", {"heads": 2, "alpha": 0.3, "c": 99}, "c must"),
        ("tvrec", {"alpha": 0.3}, "is TV-Rec, which has no --alpha"),
        ("slime4rec", BANDS | {"heads": 2}, "is SLIME4Rec of WEARec's repository, which has no --heads"),
        ("sasrec", {"model": "bsarec", "heads": 2}, "must be one of sasrec, duorec, fearec, bert4rec"),
        ("tvrec", {"model": "wearec"}, "is TV-Rec, not wearec; drop --model"),
    ],
)
def test_wrong_settings_are_noticed_where_shapes_allow(keys, options, message):
    with pytest.raises(ConfigError, match=message):
        opened("file.pt", STATES[keys](OURS), **options)


def test_a_layer_of_another_size_is_no_model():
    state = bsarec_state(Sizes(layers=3)) | {"item_encoder.blocks.2.feed_forward.dense_1.bias": torch.zeros(7)}
    with pytest.raises(CheckpointError, match=r"blocks\.2\.feed_forward\.dense_1\.bias of shape \(7,\)"):
        opened("file.pt", state, heads=2, alpha=0.3, c=3)


def test_defaults_are_said_and_kept(tmp_path, caplog):
    torch.save(sasrec_state(), tmp_path / "FEARec.pt")
    model = models.load(tmp_path / "FEARec.pt", heads=2)
    kept = model.checkpoint["training"]["settings"]
    for said in ("model fearec from the file's name", "bands sliding by default", "global_ratio 0.6 by default"):
        assert said in kept and said in caplog.text
    assert "padding zero by default (as published)" in kept
    convert(tmp_path / "FEARec.pt", tmp_path / "ours.pt", heads=2)
    assert models.load(tmp_path / "ours.pt").checkpoint["training"] == model.checkpoint["training"]


@pytest.mark.parametrize(("more", "is_said"), [(0, False), (1, True), (2, True)])
def test_a_table_that_is_longer_than_the_data_is_said(tmp_path, caplog, more, is_said):
    """The keys of BERT4Rec are those of SASRec, and its table has a row more."""
    torch.save(sasrec_state(Sizes(rows=ITEMS + 1 + more)), tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", model="sasrec", heads=2)
    caplog.set_level(logging.WARNING)
    sequences_of(model, f"synthetic:users=300,items={ITEMS}")
    assert (f"the checkpoint has {more} items more than" in caplog.text) == is_said
    assert ("or of BERT4Rec, whose table ends with a mask item" in caplog.text) == (more == 1)
