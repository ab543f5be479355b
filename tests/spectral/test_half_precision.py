"""Every measure of models and arrays in bfloat16 and float16: finite, and as near as that precision allows."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_measure import ON_ARRAYS, ON_MODELS, batches, numbers, windows
from plain_models import random_model
from torch import nn

import models
import spectral
from models.datasets import load
from models.evaluation import evaluate, rank_targets
from models.integrity import integrity
from models.precision import HALF, widened
from models.registry import MODELS, build, configure
from models.train import train
from spectral.capture import capture
from spectral.watch import Watch

RELATIVE = {torch.bfloat16: 0.1, torch.float16: 0.02}  # of a result; a weight is off by 0.004 and 0.0005

each_dtype = pytest.mark.parametrize("dtype", HALF, ids=["bfloat16", "float16"])


def assert_near(found: Any, exact: Any, dtype: torch.dtype) -> None:
    found, exact = numbers(found), numbers(exact)
    assert len(found) == len(exact) and found
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == np.float64 and (np.isfinite(one) == np.isfinite(other)).all()
        scale = np.nanmax(np.abs(other), initial=1e-3)
        np.testing.assert_allclose(one, other, rtol=0, atol=RELATIVE[dtype] * scale, equal_nan=True)


# What takes no floating numbers, or is no measure.
OTHERS = {"by_group", "capture", "fourier_basis", "full_windows", "last_item_overlap", "of_length", "plot", "strata"}
OTHERS |= {"analyse", "explore"}  # made of the measures here


def test_every_measure_of_the_package_is_tested_here():
    functions = {name for name in spectral.__all__ if name[0].islower()} - OTHERS - {"top_items"}
    assert functions == ON_ARRAYS.keys() | {
        name for name in ON_MODELS if name in spectral.__all__ and name[0].islower()
    }
    assert {name for name in ON_MODELS if name[0].isupper()} <= set(spectral.__all__)


@each_dtype
@pytest.mark.parametrize("name", ON_ARRAYS)
def test_arrays_in_half_precision_are_measured_in_more(name: str, dtype: torch.dtype):
    measure, array = ON_ARRAYS[name]
    assert_near(measure(array.to(dtype)), measure(array), dtype)


@pytest.fixture(scope="module")
def bsarec() -> Any:
    return random_model("bsarec", num_heads=2).float()


@each_dtype
@pytest.mark.parametrize("name", ON_MODELS)
def test_models_in_half_precision_are_measured_in_more(name: str, dtype: torch.dtype, bsarec: Any):
    half = copy.deepcopy(bsarec).to(dtype)
    found = ON_MODELS[name](half)
    assert_near(found, ON_MODELS[name](bsarec), dtype)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}  # it was not changed


@each_dtype
def test_watching_a_run_in_half_precision(dtype: torch.dtype, bsarec: Any, tmp_path: Path):
    rows, exact = (
        [row.value for row in Watch(windows=windows(), path=tmp_path / f"{name}.csv")(model, 0)]
        for name, model in (("half", copy.deepcopy(bsarec).to(dtype)), ("single", bsarec))
    )
    np.testing.assert_allclose(rows, exact, rtol=RELATIVE[dtype], atol=RELATIVE[dtype])


@each_dtype
@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_captured_and_ranks_in_half_precision(name: str, dtype: torch.dtype):
    model = random_model(name).float()
    half = copy.deepcopy(model).to(dtype)
    [found], [exact] = (list(capture(each, windows())) for each in (half, model))
    assert_near(found.hidden, exact.hidden, dtype)
    overlap = spectral.LastItemOverlap.of_model(half, batches(), k=3)
    assert 0 <= overlap.overlap[-1] <= 1
    checks = {check.name: check for check in integrity(half)}
    assert checks["batch_independent"].passes and checks["finite"].passes


@each_dtype
def test_ranks_are_not_those_of_equal_scores(dtype: torch.dtype, tmp_path: Path):
    """In bfloat16 many of the scores near 100 are equal, and ties count against the target."""
    sequences = load("synthetic:users=60,items=300")
    model = build(configure("sasrec", 300, max_len=10, hidden_size=8))
    model.initialise(seed=0)
    model.items.weight.data[:, 0] = 10
    model.to(dtype)
    expected = rank_targets(widened(model), sequences, "test")
    assert torch.equal(rank_targets(model, sequences, "test"), expected)
    assert evaluate(model, sequences, "test") == evaluate(widened(model), sequences, "test")


@each_dtype
def test_checkpoints_in_half_precision_load_and_evaluate(dtype: torch.dtype, tmp_path: Path):
    run = train("bsarec", "synthetic:users=60,items=40", out=tmp_path / "a.pt", epochs=1, hidden_size=8, max_len=10)
    content = torch.load(run.path, weights_only=True)
    content["state_dict"] = {name: value.to(dtype) for name, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "half.pt")
    model, exact = models.load(tmp_path / "half.pt"), models.load(run.path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    for name, value in exact.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value.to(dtype).float())
    found = evaluate(model, load("synthetic:users=60,items=40"), "test")
    assert 0 <= found["HR@20"] <= 1


@each_dtype
def test_what_is_not_in_half_precision_stays(dtype: torch.dtype):
    model = nn.Sequential(nn.Linear(2, 2).double(), nn.Linear(2, 2).to(dtype))
    assert [layer.weight.dtype for layer in widened(model)] == [torch.float64, torch.float32]
    assert widened(model[0]) is model[0]
