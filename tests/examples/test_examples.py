"""The examples run as their first lines say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from json_output import json_of
from repository import ROOT

from models import registry
from models.adapter import import_file

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module", params=["transformer_encoder", "hugging_face"])
def example(request, tmp_path_factory) -> tuple[Path, str]:
    """A checkpoint that an example wrote, and its adapter."""
    file = EXAMPLES / f"{request.param}.py"
    made = tmp_path_factory.mktemp(request.param) / ("mine.pt" if "encoder" in request.param else "mine")
    subprocess.run([sys.executable, file, made], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""})
    return made, f"{file}:load"


@pytest.mark.parametrize(
    "measure",
    [
        *("filter_response", "transfer_map", "attention_statistics", "singular_values", "cosine_similarity"),
        *("smoothing", "rank_one", "signals"),
    ],
)
def test_measures_take_the_model(call, example, measure: str, tmp_path: Path):
    checkpoint, adapter = example
    code, out, err = call(f"spectral.{measure}", checkpoint, "--adapter", adapter, "--json", "--out", tmp_path)
    if measure == "rank_one":  # it asks for the parts of blocks as well
        assert code == 0 or "not made of blocks" in err
        return
    assert code == 0, err
    assert json_of(out) and (tmp_path / f"{measure}.csv").exists()


@pytest.mark.parametrize(
    ("measure", "sentence"),
    [
        ("block_response", "does not offer its layers one by one"),
        ("learned_filters", "has no learned filters"),
        ("theorem1", "cannot be asked to drop its causal mask"),
        ("mixing_ratio", "is not made of blocks with residual connections"),
    ],
)
def test_what_the_model_cannot_do_is_said(call, example, measure: str, sentence: str, tmp_path: Path):
    checkpoint, adapter = example
    code, out, err = call(f"spectral.{measure}", checkpoint, "--adapter", adapter, "--out", tmp_path)
    assert code == 2 and out == "" and sentence in err and "Traceback" not in err


def test_the_model_is_evaluated_and_checked(call, example):
    checkpoint, adapter = example
    options = ("--adapter", adapter, "--data", "synthetic:items=60", "--json")
    code, out, err = call("models.evaluate", checkpoint, *options, "--integrity")
    assert code == 0, err
    printed = json.loads(out)
    assert 0 < printed["MRR"] < 1
    assert {check["name"]: check["passes"] for check in printed["checks"]}["batch_independent"]
    code, out, err = call("spectral.integrity", checkpoint, "--adapter", adapter, "--json")
    found = {check["name"]: check for check in json_of(out)["checks"]}
    assert code == 0, err
    for name in ("causal", "batch_independent", "order_sensitive", "parameters_alive", "rows_stochastic", "finite"):
        assert found[name]["passes"], found[name]
    assert found["causal"]["claimed"] == ("encoder" in adapter)
    assert call("models.evaluate", checkpoint, *options[:2])[2].count("give --data") == 1


def test_metrics_are_those_of_the_scores(call, example):
    """Against a ranking of the whole matrix of scores."""
    from models.adapter import open_adapted
    from models.datasets import load

    checkpoint, adapter = example
    data = "synthetic:items=60"
    code, out, err = call("models.evaluate", checkpoint, "--adapter", adapter, "--data", data, "--json")
    assert code == 0, err
    made = open_adapted(adapter, checkpoint)
    model = (made.model if hasattr(made, "model") else made[0]).eval()
    sequences = load(data)
    samples = sequences.windows("test", 20)
    with torch.no_grad():
        scores = model.scores(torch.from_numpy(samples.inputs).long())
    items, offsets = sequences.history("test")
    ranks = []
    for user, target in enumerate(samples.targets):
        scores[user, items[offsets[user] : offsets[user + 1]].astype(int)] = 0
        ranks.append(int((scores[user] >= scores[user, target]).sum()))
    expected = sum(1 / rank for rank in ranks) / len(ranks)
    assert json.loads(out)["MRR"] == pytest.approx(expected, rel=1e-6)


def test_the_report_takes_the_model(call, tmp_path: Path):
    file = EXAMPLES / "transformer_encoder.py"
    encoder = import_file(file)
    windows = torch.randint(1, 20, (12, 6), generator=torch.Generator().manual_seed(0))
    encoder.save(encoder.TransformerRecommender(20, 6, size=8, layers=1), windows, tmp_path / "mine.pt")
    code, _, err = call("spectral.report", tmp_path / "mine.pt", "--adapter", f"{file}:load")
    assert code == 0, err
    text = (tmp_path / "report.html").read_text()
    assert "TransformerRecommender" in text and "does not offer its layers one by one" in text


def test_an_architecture_of_ones_own_is_trained_resumed_and_loaded(call):
    adapter, data = EXAMPLES / "own_architecture.py", "synthetic:users=60,items=40"
    options = ("--model", "mean-rec", "--dataset", data, "--hidden-size", 8, "--max-len", 10, "--set", "recency=0.5")
    options = (*options, "--epochs", 3, "--out", "whole.pt", "--resume", "--adapter", adapter)
    try:
        code, first, err = call("models.train", *options)
        assert code == 0, err
        assert call("models.train", *options)[1] == first  # it was finished
        code, out, err = call("models.evaluate", "whole.pt", "--adapter", adapter, "--json")
        assert code == 0 and 0 < json.loads(out)["MRR"] < 1, err
        code, out, err = call("spectral.smoothing", "whole.pt", "--adapter", adapter, "--json")
        assert code == 0 and len(json_of(out)["layers"]) == 2, err
    finally:
        for known in (registry.MODELS, registry.KNOWN):
            known.pop("mean-rec", None)
    code, _, err = call("models.evaluate", "whole.pt")
    assert code == 2 and "unknown model 'mean-rec'" in err and "--adapter FILE.py" in err
    code, _, err = call("models.train", *options[:4])
    assert code == 2 and "--adapter FILE.py" in err
