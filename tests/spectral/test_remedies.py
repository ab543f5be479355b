"""Measures of models with a remedy are of the attention that they use, which may no longer be row-stochastic."""

from pathlib import Path

import pytest
import torch

import models
from models import checkpoint
from models.layers.remedies import KINDS
from models.train import train
from spectral import FrequencyResponse, capture, frequency_response, full_windows
from spectral.block_response import block_response
from spectral.mixing_ratio import MixingRatio
from spectral.rank_one import RankOneDistance
from spectral.summary import summarise

REMEDIES = [name for name in KINDS if name != "none"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("remedied")
    settings = {"epochs": 1, "max_len": 10, "hidden_size": 8, "learning_rate": 0.05, "show_progress": False}
    return {
        remedy: train(
            "sasrec", "synthetic:users=30,items=30", out=folder / f"{remedy}.pt", remedy=remedy, **settings
        ).path
        for remedy in REMEDIES
    }


@pytest.mark.parametrize("remedy", REMEDIES)
def test_every_measure_of_a_run_takes_a_remedy(checkpoints, remedy):
    model = models.load(checkpoints[remedy])
    windows = model.probe.input_ids
    summary = summarise(model, windows, {})
    assert len(summary.power) == 2 and len(summary.beta) == 0
    full = full_windows(windows)
    response = FrequencyResponse.from_captures(capture(model, full), c=1)
    assert torch.isfinite(torch.as_tensor(response.gain)).all()
    assert RankOneDistance.of_parts(model, [windows]).parts
    assert MixingRatio.of_model(model, [full]).layers == (1, 2)
    assert torch.isfinite(torch.as_tensor(block_response(model, [full[:2]]).gain)).all()


def test_the_gain_is_that_of_the_scaled_attention(checkpoints):
    model = models.load(checkpoints["attnscale"])
    full = model.probe.input_ids[(model.probe.input_ids > 0).all(1)]
    with torch.no_grad():
        scaled = model.trace(full).attention[0]
        offset = model.blocks[0].mixer.reweight.high_offset
        was = offset.item()
        assert abs(was) > 1e-3  # it was trained
        offset.zero_()
        plain = model.trace(full).attention[0]
    low = torch.ones(10, 10).tril() / torch.arange(1, 11)[:, None]
    torch.testing.assert_close(scaled, low + (1 + was) * (plain - low))
    offset.data.fill_(was)
    measured = FrequencyResponse.from_captures(capture(model, full), c=1).gain[0]
    torch.testing.assert_close(torch.as_tensor(measured), torch.as_tensor(frequency_response(scaled, c=1).gain[0]))


@pytest.mark.parametrize("remedy", ["attnscale", "gfsa"])
@pytest.mark.parametrize("measure", ["attention_statistics", "theorem1"])
def test_measures_of_distributions_refuse_attention_that_is_none(call, checkpoints, tmp_path, measure, remedy):
    content = checkpoint.read(checkpoints[remedy])
    for name, value in content["state_dict"].items():
        if name.endswith("_offset"):  # so far from the start that entries are negative, or rows do not sum to 1
            value.fill_(1000.0)
    checkpoint.save(content, tmp_path / "far.pt")
    code, _, err = call(measure, tmp_path / "far.pt", "--out", tmp_path)
    assert code == 2
    assert "error: attention must be row-stochastic" in err and "remedies attnscale and gfsa" in err


@pytest.mark.parametrize("remedy", ["featscale", "pre_norm"])
def test_layers_of_another_form_have_no_bounds_and_say_so(call, checkpoints, tmp_path, remedy):
    code, out, err = call("attention_statistics", checkpoints[remedy], "--out", tmp_path)
    assert code == 0 and "entropy" in out
    assert "no bounds with projections and residual" in err


def test_layers_with_a_residual_scale_have_bounds(call, checkpoints, tmp_path):
    code, out, err = call("attention_statistics", checkpoints["residual_scale"], "--out", tmp_path)
    assert code == 0 and "lower" in out and "no bounds" not in err
