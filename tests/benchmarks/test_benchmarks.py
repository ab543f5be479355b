"""The benchmarks run and print what is documented; what they measure is not asserted here."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from repository import ROOT

from benchmarks.gpu import operations_of_step
from benchmarks.published import LOSSES, PrefixDataset
from benchmarks.train_speed import our_step, reference_step
from models.datasets import load
from models.registry import MODELS, build, configure
from models.training import Trainer, TrainingConfig

BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *arguments: str) -> dict:
    command = [sys.executable, BENCHMARKS / script, *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_train_speed_prints_the_documented_object():
    data = ("--dataset", "synthetic:users=60", "--rounds", "1", "--steps", "1")
    result = run("train_speed.py", "--models", "bsarec", *data)
    assert list(result) == ["bsarec", "side_by_side"]
    row = result["bsarec"]
    assert list(row) == ["reference_ms", "ours_ms", "ratio"]
    assert row["ratio"] == row["reference_ms"] / row["ours_ms"] > 0
    assert list(result["side_by_side"]) == ["ratio"]


@pytest.mark.parametrize("model", LOSSES)
def test_both_sides_start_from_the_same_loss_and_learn(model):
    torch.manual_seed(0)
    losses = {}
    for make in (our_step, reference_step):
        step = make(model, "synthetic:users=6,items=40", None)  # a single batch
        losses[make] = [step() for _ in range(6)]
        assert min(losses[make][3:]) < losses[make][0]
    assert losses[our_step][0] == pytest.approx(losses[reference_step][0], rel=0.05)


def test_the_published_loop_finds_another_input_with_the_same_target():
    inputs = [[0, 1], [0, 2], [1, 2], [0, 2], [0, 9]]
    dataset = PrefixDataset(inputs, [3, 3, 3, 4, 5], [0] * 5, [set()], 9, same_target=True)
    drawn = {tuple(dataset[0]["same_target"].tolist()) for _ in range(100)}
    assert drawn == {(0, 2), (1, 2)}
    assert dataset[4]["same_target"].tolist() == inputs[4]  # there is no other


def test_model_cost_is_of_an_epoch_of_every_model(tmp_path):
    out = tmp_path / "cost.csv"
    result = run("model_cost.py", "--dataset", "synthetic:users=60,items=40", "--steps", "1", "--out", str(out))
    rows = {row["model"]: row for row in result["rows"]}
    assert list(rows) == list(MODELS)
    steps = -(-len(load("synthetic:users=60,items=40").prefixes(50)) // 256)
    for name, row in rows.items():
        assert row["steps"] == steps
        assert row["epoch_seconds"] == pytest.approx(row["step_ms"] * steps / 1000)
        assert row["validation_seconds"] > 0
        assert row["parameters"] == sum(p.numel() for p in build(configure(name, 40, 60)).parameters())
    table = pd.read_csv(out)
    assert table.to_dict("records") == [pytest.approx(row) for row in result["rows"]]


def test_train_memory_counts_samples_and_parameters():
    size = ("--users", "50", "--interactions", "1000", "--items", "30", "--steps", "2", "--validate")
    result = run("train_memory.py", *size, "--loss", "bce", "--model", "sasrec")
    assert result["samples"] == 50 * 18 and result["interactions"] == 1000
    parameters = sum(p.numel() for p in build(configure("sasrec", 30, 50)).parameters())
    assert result["parameters_mb"] == pytest.approx(parameters * 16 / 1e6)


def test_accumulator_memory_counts_every_user():
    result = run("accumulator_memory.py", "--users", "700")
    assert result["users"] == 700
    assert result["above_imports_mb"] < 300


def test_evaluation_memory_ranks_every_user():
    result = run("evaluation_memory.py", "--dataset", "synthetic:users=700,items=50")
    assert result["users"] == 700
    assert result["above_imports_mb"] < 300


def test_watch_cost_is_a_part_of_an_epoch():
    data = ("--dataset", "synthetic:users=60,items=40", "--models", "sasrec", "--layers", "2", "--steps", "1")
    [row] = run("watch_cost.py", *data)["rows"]
    assert list(row) == ["model", "layers", "epoch_seconds", "watch_seconds", "share"]
    assert row["share"] == pytest.approx(row["watch_seconds"] / row["epoch_seconds"])


def test_loading_speed_compares_the_two_readers(checkpoint):
    result = run("loading_speed.py", str(checkpoint), "--rounds", "1")
    assert list(result) == [checkpoint.name]
    row = result[checkpoint.name]
    assert list(row) == ["ours_ms", "torch_ms", "ratio"]
    assert row["ratio"] == row["ours_ms"] / row["torch_ms"] > 0


def test_gpu_times_every_model_on_every_dataset():
    data = ("--datasets", "synthetic:users=60,items=40,synthetic:users=40,items=30", "--models", "sasrec,gru4rec")
    found = run("gpu.py", "--device", "cpu", "--steps", "1", "--epochs", "90", *data)
    assert [(row["dataset"], row["model"]) for row in found["rows"]] == [
        (name, model)
        for name in ("synthetic:users=60,items=40", "synthetic:users=40,items=30")
        for model in ("sasrec", "gru4rec")
    ]
    seconds = 0.0
    for row in found["rows"]:
        assert row["steps"] == -(-len(load(row["dataset"]).prefixes(50)) // 256)
        assert row["epoch_seconds"] == pytest.approx(row["step_ms"] * row["steps"] / 1000)
        rate = row["gflop"] / row["step_ms"]  # TFLOP/s
        assert row["share_of_peak"] == pytest.approx(rate / found["peak_tflops"])
        seconds += row["epoch_seconds"] + row["validation_seconds"]
    assert found["hours"] == pytest.approx(90 * seconds / 3600)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_benchmark_ends_with_one_sentence():
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: torch finds no GPU here, so nothing is timed; --device cpu shows what would be printed\n"
    )


def test_the_operations_of_a_step_are_those_of_its_products():
    sequences = load("synthetic:users=60,items=40")
    size, length, states = 8, 10, 16
    config = configure("gru4rec", 40, hidden_size=size, max_len=length, gru_hidden_size=states, num_layers=2)
    trainer = Trainer(config, TrainingConfig(loss="bpr", batch_size=24), sequences, Path("unused.pt"))
    batch = next(trainer.sampler.epoch(0, torch.device("cpu")))
    recurrent = length * 3 * states * (size + states + states + states)  # inputs and states of both layers
    forward = 2 * 24 * (recurrent + states * size)
    # Backward, every product has two, one for each factor; the states before the first item are no variables.
    assert operations_of_step(trainer, batch) == 3 * forward - 2 * 24 * 2 * 3 * states * states
