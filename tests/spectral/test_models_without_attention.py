"""What the commands of the measures say about models without attention, and that the others measure them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.train import train

TITLES = {"fmlprec": "FMLP-Rec", "gru4rec": "GRU4Rec", "caser": "Caser"}
LAYERS = {"fmlprec": 3, "gru4rec": 3, "caser": 2}  # with the item embeddings
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("no_attention")
    options = {"epochs": 1, "hidden_size": 16, "max_len": 12, "show_progress": False}
    return {
        name: train(name, "synthetic:users=120,items=60", out=folder / f"{name}.pt", **options).path for name in TITLES
    }


@pytest.mark.parametrize("name", TITLES)
@pytest.mark.parametrize("measure", ["attention_statistics", "filter_response", "theorem1"])
def test_measures_of_attention_name_those_that_do_without(
    call: Call, checkpoints: dict[str, Path], name: str, measure: str, tmp_path: Path
):
    code, out, err = call(measure, checkpoints[name], "--out", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {TITLES[name]} has no attention to measure;") and err.count("\n") == 1
    assert "spectral.singular_values" in err and "spectral.cosine_similarity" in err
    assert ("spectral.learned_filters" in err) == (name == "fmlprec")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TITLES)
def test_singular_values_are_of_every_layer(call: Call, checkpoints: dict[str, Path], name: str, tmp_path: Path):
    code, out, _ = call("singular_values", checkpoints[name], "--out", tmp_path, "--format", "csv", "--json")
    layers = json.loads(out)["layers"]
    assert code == 0 and (tmp_path / "singular_values.csv").exists()
    assert [row["layer"] for row in layers] == list(range(LAYERS[name]))
    assert all(1 <= row["effective_rank"] <= len(row["singular_values"]) == 16 for row in layers if row["layer"] != 1)
    assert all(None not in row["singular_values"] for row in layers)


@pytest.mark.parametrize("name", TITLES)
def test_cosine_similarities_are_of_every_layer(call: Call, checkpoints: dict[str, Path], name: str, tmp_path: Path):
    code, out, _ = call("cosine_similarity", checkpoints[name], "--out", tmp_path, "--format", "csv", "--json")
    layers = json.loads(out)["layers"]
    assert code == 0 and (tmp_path / "cosine_similarity.csv").exists()
    assert [row["layer"] for row in layers] == list(range(LAYERS[name]))
    assert all(-1 <= row[kind] <= 1 for row in layers for kind in ("between_users", "within_sequence"))
    assert layers[-1]["within_sequence"] < 1  # positions differ: an output is not one number repeated
