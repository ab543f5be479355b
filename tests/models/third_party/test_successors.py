"""Files of TV-Rec, WEARec, SLIME4Rec and LoWARec: their logs' metrics, their sizes from shapes, their settings."""

import re

import pytest
import torch
from third_party_reference import real_file
from third_party_states.bsarec_repository import ITEMS, LAYER, D, N
from third_party_states.successors import lowarec_state, slime4rec_state, tvrec_state, wearec_state

import models
from models.datasets import load
from models.errors import CheckpointError, ConfigError
from models.evaluation import evaluate

LOGS = {  # what the programs that wrote the files printed: HR@5, NDCG@5, HR@10, NDCG@10, HR@20, NDCG@20
    "tvrec": ({}, ".0596 .0402 .0853 .0484 .1202 .0572"),
    "wearec": ({"alpha": 0.3}, ".0505 .0341 .0899 .0465 .1202 .0543"),
    "lowarec": ({"heads": 4, "alpha": 0.7, "c": 3, "projections": 8}, ".0560 .0362 .0881 .0465 .1229 .0552"),
}


BANDS = {"slide_mode": "two", "dynamic_ratio": 0.3}  # of SLIME4Rec, which no shape shows


@pytest.mark.paper_data
@pytest.mark.parametrize("name", LOGS)
def test_published_files_have_the_metrics_of_their_logs(name):
    settings, expected = LOGS[name]
    model = models.load(real_file(f"{name}_lastfm.pt"), **settings)
    metrics = evaluate(model, load("lastfm"), "test")
    assert [f"{value:.4f}"[1:] for key, value in metrics.items() if key != "MRR"] == expected.split()


@pytest.mark.parametrize(
    ("make", "settings", "name", "config"),
    [
        (tvrec_state, {"padding": "cyclic"}, "tvrec", {"max_len": 30, "order": 12, "filters": 5, "padding": "cyclic"}),
        (wearec_state, {"alpha": 0.2}, "wearec", {"max_len": N, "num_heads": 2, "alpha": 0.2}),
        (slime4rec_state, BANDS, "slime4rec", {"slide_mode": "two", "dynamic_ratio": 0.3}),
        (slime4rec_state, BANDS | {"padding": "mirror"}, "slime4rec", {"slide_mode": "two", "padding": "symmetric"}),
        (lowarec_state, {"heads": 2, "alpha": 0.2, "c": 9}, "lowarec", {"projections": 6, "c": 9, "num_heads": 2}),
    ],
)
def test_files_of_any_size_are_recognised_and_sized_by_their_shapes(tmp_path, make, settings, name, config):
    state = make()
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", **settings)
    assert model.name == name and (model.config.num_items, model.config.hidden_size) == (ITEMS, D)
    assert {key: getattr(model.config, key) for key in config} == config
    ours = model.state_dict()
    for own, theirs in (("items.weight", "item_embeddings.weight"), ("norm.bias", "LayerNorm.bias")):
        assert torch.equal(ours[own], state[theirs])
    assert torch.isfinite(model(torch.tensor([[3, 1, 4]]))).all()


def test_a_filter_of_tvrec_has_the_basis_of_the_file(tmp_path):
    state = tvrec_state()
    torch.save(state, tmp_path / "file.pt")
    basis = torch.view_as_complex(state[f"{LAYER.format(1)}.basis"])
    taps = state[f"{LAYER.format(1)}.c_t"] @ (basis / basis.norm(dim=1, keepdim=True)).real
    matrix = models.load(tmp_path / "file.pt").blocks[1].mixer.matrix
    for n, m in ((0, 0), (5, 3), (29, 17)):
        torch.testing.assert_close(matrix[n, m], taps[n, n - m])
    assert matrix[20, 7] == 0  # beyond the order of 12


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (wearec_state, {}, r"is WEARec, .*; give --alpha \(from 0 to 1\)"),
        (wearec_state, {"alpha": 0.3, "heads": 4}, "--heads is 4, but the file's shapes say 2"),
        (lowarec_state, {}, "give --heads .* --alpha .* --c "),
        (
            lowarec_state,
            {"alpha": 0.3, "heads": 4, "c": 3, "projections": 8},
            "--set projections is 8, but the file's shapes say 6",
        ),
        (tvrec_state, {"heads": 4}, "is TV-Rec, which has no --heads"),
        (slime4rec_state, BANDS | {"slide_mode": "five"}, "must be one of one, two, three, four"),
        (
            slime4rec_state,
            {},
            r"give --set dynamic_ratio= \(above 0, at most 1\); --set slide_mode= \(one, two, three, four\)",
        ),
    ],
)
def test_settings_that_are_missing_or_wrong_are_named(tmp_path, make, given, message):
    torch.save(make(), tmp_path / "file.pt")
    with pytest.raises(ConfigError, match=message):
        models.load(tmp_path / "file.pt", **given)


def test_a_log_beside_the_file_has_the_settings(tmp_path):
    torch.save(lowarec_state(), tmp_path / "run.pt")
    (tmp_path / "run.log").write_text(
        "2025 - Namespace(data_name='LastFM', num_attention_heads=4, proj_n_heads=2, c=5, alpha=0.7, dim_proj=6)\n"
    )
    model = models.load(tmp_path / "run.pt")
    assert (model.config.num_heads, model.config.c, model.config.alpha) == (2, 5, 0.7)  # the heads of the projections
    assert model.checkpoint["dataset"]["source"] == "lastfm"


def test_a_log_of_another_run_is_noticed(tmp_path, caplog):
    torch.save(lowarec_state(), tmp_path / "run.pt")
    log = "Namespace(proj_n_heads=2, c=5, alpha=0.7, dim_proj=8, hidden_size=64, model_type='wearec')\n"
    (tmp_path / "run.log").write_text(log)
    models.load(tmp_path / "run.pt")
    assert "projections 6 by the shapes, although run.log says 8" in caplog.text
    assert "run.log says hidden_size 64, but the shapes of the file say 16" in caplog.text
    assert "the keys are those of LoWARec, but run.log says model wearec" in caplog.text


def test_the_position_table_of_tvrec_may_be_there_and_has_to_fit(tmp_path):
    table = "position_embeddings.weight"
    torch.save(tvrec_state() | {table: torch.zeros(30, D)}, tmp_path / "file.pt")
    assert models.load(tmp_path / "file.pt").config.max_len == 30
    torch.save(tvrec_state() | {table: torch.zeros(29, D)}, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=r"position_embeddings\.weight has 29 rows, and .* of 30 positions"):
        models.load(tmp_path / "file.pt")


def test_shapes_that_do_not_fit_together_are_named(tmp_path):
    state = tvrec_state() | {f"{LAYER.format(1)}.c_t": torch.zeros(17, 5)}
    torch.save(state, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=re.escape("blocks.1.layer.c_t of shape (17, 5) instead of (41, 5)")):
        models.load(tmp_path / "file.pt")
