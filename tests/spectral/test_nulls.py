"""Null models: what each of them is, and the known numbers of uniform attention."""

import numpy as np
import pandas as pd
import pytest
import torch
from json_output import json_of

from models.adapter import Adapted
from models.architectures.sasrec import SASRec
from models.errors import ConfigError
from models.registry import MODELS, build, configure
from spectral import FrequencyResponse, capture, frequency_response, full_windows
from spectral.adapted import CapturedModel
from spectral.nulls import NULLS, null_models, nulls_of, shuffled, under_nulls, with_null_columns

N = 50


def causal_uniform(length: int) -> torch.Tensor:
    rows = torch.ones(length, length, dtype=torch.float64).tril()
    return rows / rows.sum(1, keepdim=True)


def small(name: str, **settings: object):
    model = build(configure(name, num_items=30, num_users=4, max_len=10, hidden_size=8, **settings))
    model.initialise(seed=3)
    return model.eval()


WINDOWS = torch.tensor([[0] * 6 + [4, 9, 2, 7], list(range(1, 11)), list(range(20, 10, -1))])


def test_causal_uniform_attention_over_fifty_positions_has_the_known_gain():
    response = frequency_response(causal_uniform(N))
    assert response.gain_db[0, 0, -1] == pytest.approx(-16.1, abs=0.05)
    assert response.self_gain_db[0, 0, -1] == pytest.approx(-25.7, abs=0.05)


def test_a_model_with_uniform_attention_has_that_gain_in_every_layer():
    model = build(configure("sasrec", num_items=80, max_len=N, hidden_size=8, num_heads=2)).eval()
    model.initialise(seed=0)
    windows = torch.arange(1, N + 1)[None]
    captures = capture(model.with_uniform_attention(), windows, hidden=False)
    response, expected = FrequencyResponse.from_captures(captures), frequency_response(causal_uniform(N))
    np.testing.assert_allclose(
        response.gain_db[..., 1:], np.broadcast_to(expected.gain_db[..., 1:], (2, 2, 25)), atol=1e-4
    )


@pytest.mark.parametrize("name", ["sasrec", "bsarec", "duorec", "bert4rec"])
@pytest.mark.parametrize("heads", [1, 2])
def test_uniform_maps_have_the_same_mask_and_the_rest_is_as_it_was(name, heads):
    model = small(name, num_heads=heads)
    other = model.with_uniform_attention()
    with torch.inference_mode():
        trace, uniform = model.trace(WINDOWS), other.trace(WINDOWS)
        scores = other(WINDOWS)
        expected = uniform.hidden[-1][:, -1] @ other.candidates.T
    for theirs, ours in zip(trace.attention, uniform.attention, strict=True):
        allowed = (theirs > 0).double()
        torch.testing.assert_close(ours.double(), allowed / allowed.sum(-1, keepdim=True), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(uniform.hidden[0], trace.hidden[0])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, other.state_dict()[key])}
    assert changed and all("qkv" in key for key in changed)


@pytest.mark.parametrize("name", ["fearec", "fmlprec", "gru4rec", "caser"])
def test_models_whose_attention_cannot_be_replaced_have_no_uniform_null(name):
    model = small(name)
    assert nulls_of(model) == ("untrained", "shuffled")
    with pytest.raises(ConfigError, match=f"{MODELS[name].title} has no attention that could be replaced"):
        next(null_models("uniform", model, WINDOWS))
    assert set(under_nulls(lambda other, windows: len(windows), model, WINDOWS, ["all"])) == set(nulls_of(model))


def test_untrained_models_have_the_weights_that_training_begins_with():
    model = small("bsarec", alpha=0.7)
    first, second = (other for other, _ in null_models("untrained", model, WINDOWS, draws=2, seed=3))
    assert all(torch.equal(value, first.state_dict()[key]) for key, value in model.state_dict().items())
    assert not torch.equal(first.items.weight, second.items.weight)
    assert second.config == model.config and not second.training


def test_the_initial_weights_of_another_model_with_the_name_of_ours_are_not_known():
    class Mine(SASRec): ...

    foreign = type("SASRec", (torch.nn.Embedding,), {})(9, 2)
    adapted = CapturedModel(Adapted(foreign, [[1, 2]], hidden=["0"], attention=[]), "mine.py:load")
    for model in (adapted, Mine(SASRec.config_type(num_items=9, max_len=2))):
        assert model.name == "sasrec" and "untrained" not in nulls_of(model)
        with pytest.raises(ConfigError, match="SASRec is not made here, so its initial weights are not known"):
            next(null_models("untrained", model, torch.ones(1, 2).long()))


def test_shuffling_keeps_the_items_of_each_window_and_its_padding():
    draws = [inputs for _, inputs in null_models("shuffled", small("sasrec"), WINDOWS, draws=3)]
    for drawn in draws:
        assert torch.equal(drawn.sort(1).values, WINDOWS.sort(1).values)
        assert torch.equal(drawn == 0, WINDOWS == 0)
    assert not torch.equal(draws[0], draws[1]) and torch.equal(draws[0], shuffled(WINDOWS, 0))


def test_every_order_of_a_short_history_is_as_likely():
    windows = torch.tensor([[0, 1, 2, 3]]).expand(6000, -1)
    _, counts = shuffled(windows).unique(dim=0, return_counts=True)
    assert len(counts) == 6 and counts.min() > 900 and counts.max() < 1100  # 1000 each, standard deviation 29


def test_columns_of_several_draws_are_their_mean_and_ends():
    table = pd.DataFrame({"layer": [1, 2], "rank": [5.0, 6.0]})
    draws = [pd.DataFrame({"layer": [2, 1], "rank": [high, low]}) for low, high in ((1.0, 4.0), (3.0, 8.0))]
    found = with_null_columns(table, {"shuffled": draws}, ["layer"], ["rank"])
    assert found.to_dict("list") == {
        "layer": [1, 2],
        "rank": [5.0, 6.0],
        "rank_shuffled": [2.0, 6.0],
        "rank_shuffled_low": [1.0, 4.0],
        "rank_shuffled_high": [3.0, 8.0],
    }


@pytest.mark.parametrize("names, message", [(["permuted"], "unknown null model 'permuted'; choose from")])
def test_unknown_nulls_are_named(names, message):
    with pytest.raises(ConfigError, match=message):
        under_nulls(lambda model, windows: 0, small("sasrec"), WINDOWS, names)
    with pytest.raises(ConfigError, match="at least one draw"):
        next(null_models("shuffled", small("sasrec"), WINDOWS, draws=0))


def test_filter_response_prints_and_saves_its_nulls(call, checkpoint, model, tmp_path):
    code, out, _ = call("filter_response", checkpoint, "--null", "all", "--draws", 2, "--json", "--out", tmp_path)
    printed = json_of(out)
    assert code == 0 and {name: len(draws) for name, draws in printed["nulls"].items()} == dict(
        zip(NULLS, (1, 2, 2), strict=True)
    )
    windows = full_windows(model.probe.input_ids)
    expected = FrequencyResponse.from_captures(capture(model.with_uniform_attention(), windows)).summary()
    for record, other in zip(printed["nulls"]["uniform"][0], expected, strict=True):
        assert record["gain_nyquist_db"] == pytest.approx(other["gain_nyquist_db"])
    table = pd.read_csv(tmp_path / "filter_response.csv")
    last = table[table["frequency"] == table["frequency"].max()]
    assert list(last["gain_db_uniform"]) == pytest.approx([record["gain_nyquist_db"] for record in expected])
    assert (table["self_gain_db_shuffled_low"] <= table["self_gain_db_shuffled_high"]).all()


def test_a_null_that_there_is_not_is_named_before_anything_is_computed(call, checkpoint, tmp_path):
    code, out, err = call("filter_response", checkpoint, "--null", "gaussian", "--out", tmp_path)
    assert code == 2 and out == "" and "unknown null model 'gaussian'" in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("measure", "column", "options"),
    [
        ("cosine_similarity", "between_users", []),
        ("smoothing", "dc_share", []),
        ("singular_values", "normalised", []),
        ("block_response", "relative_db", ["--max-users", 4, "--probes", 1]),
    ],
)
def test_every_measure_has_its_nulls_in_csv_and_json(call, checkpoint, tmp_path, measure, column, options):
    nulls = ["--null", "uniform", "--null", "untrained", "--draws", 2]
    code, out, _ = call(measure, checkpoint, *nulls, *options, "--json", "--out", tmp_path)
    printed = json_of(out)["nulls"]
    assert code == 0 and [len(printed[name]) for name in ("uniform", "untrained")] == [1, 2]
    table = pd.read_csv(tmp_path / f"{measure}.csv")
    first = table[table["layer"] == table["layer"].max()].iloc[-1]
    assert first[f"{column}_untrained_low"] <= first[f"{column}_untrained"] <= first[f"{column}_untrained_high"]
    assert not table[[f"{column}_uniform", f"{column}_untrained"]].isna().any(axis=None)
    code, out, _ = call(measure, checkpoint, "--null", "uniform", *options, "--out", tmp_path)
    assert code == 0 and "uniform" in out


def test_layer_0_does_not_know_of_attention(call, checkpoint, tmp_path):
    call("cosine_similarity", checkpoint, "--null", "uniform", "--out", tmp_path)
    table = pd.read_csv(tmp_path / "cosine_similarity.csv")
    assert table["between_users_uniform"][0] == pytest.approx(table["between_users"][0])
    assert table["between_users_uniform"][2] != pytest.approx(table["between_users"][2], rel=1e-9)
