"""The benchmarks run and print what is documented; what they measure is not asserted here."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from repository import ROOT

from benchmarks.gpu import operations_of_step
from benchmarks.published import LOSSES, PrefixDataset
from benchmarks.train_speed import our_step, reference_step
from models.datasets import load
from models.errors import DataError
from models.registry import MODELS, build, configure
from models.training import Trainer, TrainingConfig

BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *arguments: str) -> dict:
    command = [sys.executable, BENCHMARKS / script, *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_train_speed_prints_the_documented_object():
    data = ("--dataset", "synthetic:users=60", "--rounds", "1", "--steps", "1")
    result = run("train_speed.py", "--models", "bsarec", *data)
    assert list(result) == ["machine", "bsarec", "side_by_side"]
    assert result["machine"]["threads"] == 1  # of each process
    row = result["bsarec"]
    assert list(row) == ["reference_ms", "ours_ms", "ratio"]
    assert row["ratio"] == row["reference_ms"] / row["ours_ms"] > 0
    assert list(result["side_by_side"]) == ["reference_ms", "ours_ms", "ratio"]


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


def test_train_memory_measures_the_cross_entropy_beside_that_of_torch():
    size = ("--users", "50", "--interactions", "1000", "--items", "200000", "--steps", "1")
    result = run("train_memory.py", *size, "--beside-torch")
    table, scores = 200_001 * 64 * 4 / 1e6, 256 * 200_001 * 4 / 1e6
    assert table < result["cross_entropy_ours_mb"] < table + scores / 2  # the table's gradient, and some blocks
    assert result["cross_entropy_torch_mb"] > table + 2 * scores


def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it():
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])
    asked = [sys.executable, "-c", "from peak_memory import peak_mb; print(peak_mb())"]
    assert float(subprocess.check_output(asked, cwd=BENCHMARKS, text=True)) < 100


def test_scaling_measures_every_size_and_fits_the_growth(tmp_path):
    few = ("--dimensions", "users", "--users", "20,40,80", "--models", "sasrec", "--rounds", "1", "--steps", "1")
    found = run("scaling.py", *few, "--out", str(tmp_path / "scaling"))
    assert [(row["dimension"], row["size"]) for row in found["rows"]] == [("users", size) for size in (20, 40, 80)]
    for row in found["rows"]:
        assert row["steps"] == -(-row["size"] * 50 // 256)
        assert row["epoch_seconds"] == pytest.approx(row["step_ms"] * row["steps"] / 1000)
        assert row["memory_mb"] > 10
    assert [fit["cost"] for fit in found["exponents"]] == ["epoch_seconds", "memory_mb"]
    written = json.loads((tmp_path / "scaling.json").read_text())
    assert written["rows"] == found["rows"] and written["machine"]["threads"] == 1
    assert len(pd.read_csv(tmp_path / "scaling.csv")) == 3


def test_a_scaling_that_was_measured_is_drawn_again(tmp_path):
    sizes = {"users": (20, 40, 80), "num_layers": (2, 4, 8)}
    rows = [
        {"dimension": name, "size": size, "model": model, "epoch_seconds": size**0.5, "memory_mb": 100 + size}
        for name in sizes
        for model in ("sasrec", "bsarec")
        for size in sizes[name]
    ]
    earlier = {"machine": {"processor": "Mill"}, "rows": rows, "exponents": []}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    again = ["--again", tmp_path / "earlier.json", "--out", tmp_path / "new"]
    subprocess.run([sys.executable, BENCHMARKS / "scaling.py", *again], check=True)
    assert json.loads((tmp_path / "new.json").read_text()) == earlier
    assert len(pd.read_csv(tmp_path / "new.csv")) == 12
    assert {(tmp_path / f"new.{kind}").read_bytes()[:4] for kind in ("png", "pdf")} == {b"\x89PNG", b"%PDF"}


def test_only_one_dimension_of_a_scaling_varies_and_the_samples_stay_with_n(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from benchmarks.scaling import LABELS, Size

    for name in LABELS.keys() - {"max_len"}:
        assert Size().with_one(name, 7) == dataclasses.replace(Size(), **{name: 7})
    longer = Size().with_one("max_len", 200)
    assert longer.users * longer.max_len == Size().users * Size().max_len
    for size in (Size(users=6, max_len=20), Size(users=30, max_len=20)):
        assert size.steps == -(-len(size.sequences().prefixes(size.max_len)) // 256)


def test_an_exponent_is_that_of_the_power_and_its_error_tells_what_is_none(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from benchmarks.scaling import exponent

    sizes = np.array([1.0, 4.0, 16.0, 64.0])
    assert exponent(sizes, 3 * sizes**1.5) == pytest.approx((1.5, 0), abs=1e-6)
    power, error = exponent(sizes, 20 + sizes)  # a cost that does not grow at first
    residual = np.log(20 + sizes) - np.polyval(np.polyfit(np.log(sizes), np.log(20 + sizes), 1), np.log(sizes))
    spread = np.sqrt((residual**2).sum() / 2 / ((np.log(sizes) - np.log(sizes).mean()) ** 2).sum())
    assert 0 < power < 1 and error == pytest.approx(spread)


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
    assert list(result) == ["machine", checkpoint.name]
    row = result[checkpoint.name]
    assert list(row) == ["ours_ms", "torch_ms", "ratio"]
    assert row["ratio"] == row["ours_ms"] / row["torch_ms"] > 0


def test_the_tables_of_the_documentation_are_those_of_the_committed_results():
    from benchmarks.speed_table import BLOCKS, rewritten

    for page in {page for page, _, _ in BLOCKS.values()}:
        text = (ROOT / page).read_text()
        assert rewritten(page, text) == text, f"{page} is not what `python benchmarks/speed_table.py` writes"


def test_tables_say_what_was_measured_and_where(tmp_path):
    from benchmarks.speed_table import rewritten

    machine = {"processor": "Mill", "cores": 2, "threads": 1, "python": "3.13", "torch": "2.13", "numpy": "2"}
    row = {"reference_ms": 90.4, "ours_ms": 30.2, "ratio": 2.99}
    fit = {"dimension": "items", "model": "sasrec", "cost": "memory_mb", "exponent": 0.5, "error": 0.1}
    for name, found in {
        "train_speed": {"bsarec": row, "side_by_side": row},
        "train_speed.old": {"sasrec": row},
        "scaling": {"exponents": [fit]},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"machine": machine, **found}))
    step = {"eager_ms": 9.0, "step_ms": 3.0, "share_of_peak": 0.04, "epoch_seconds": 0.5}
    gpu = {
        "machine": machine,
        "device": "Card",
        "peak_tflops": 51.6,
        "epochs": 50,
        "hours": 3.02,
        "rows": [step | {"dataset": dataset, "model": "gru4rec"} for dataset in ("beauty", "toys")],
    }
    (tmp_path / "gpu.json").write_text(json.dumps(gpu))
    speed = rewritten("docs/speed.md", "a\n<!-- speed -->\nold\n<!-- end -->\nb<!-- gpu -->\n<!-- end -->\n", tmp_path)
    assert "On Card, with Mill" in speed and "51.6 TFLOP/s" not in speed and "at 52 TFLOP/s" in speed
    assert "\n| GRU4Rec | 9.0 | 3.0 | 3.0x | 4.0% | 1.0 |\n" in speed and "one after another: 3.0 hours" in speed
    assert "On Mill, cores: 2, threads of each process: 1, compiled layers: none, Python 3.13, PyTorch 2.13" in speed
    assert speed.index("| BSARec | 90 | 30 | 3.0x |") < speed.index("| two BSARec runs") < speed.index("| SASRec |")
    assert speed.startswith("a\n<!-- speed -->\n\nOn") and "|\n\n<!-- end -->\nb<!-- gpu -->" in speed
    marks = "<!-- memory -->\n<!-- end -->\n<!-- scaling -->\n<!-- end -->\n"
    scaling = rewritten("docs/scaling.md", marks, tmp_path)
    assert "Not measured yet" in scaling and "| items | 0.50 ± 0.10 |" in scaling
    assert rewritten("docs/scaling.md", scaling, tmp_path) == scaling
    with pytest.raises(DataError, match="expected `<!-- scaling -->` once"):
        rewritten("docs/scaling.md", marks[:33], tmp_path)


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
        assert row["gain"] == pytest.approx(row["eager_ms"] / row["step_ms"])
        rate = row["gflop"] / row["step_ms"]  # TFLOP/s
        assert row["share_of_peak"] == pytest.approx(rate / found["peak_tflops"])
        seconds += row["epoch_seconds"] + row["validation_seconds"]
    assert found["hours"] == pytest.approx(90 * seconds / 3600)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train_speed.py", "--dataset", "no-such-data"),
        ("model_cost.py", "--dataset", "beauty", "--data-dir", "no-such-folder"),
        ("watch_cost.py", "--dataset", "no-such-data"),
        ("evaluation_memory.py", "--data-dir", "no-such-folder"),
        ("loading_speed.py", "no-such-file.pt"),
        ("gpu.py", "--device", "cpu", "--datasets", "no-such-data"),
        ("scaling.py", "--again", "no-such-file.json"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_benchmark_without_its_data_ends_with_one_sentence(arguments):
    done = subprocess.run([sys.executable, BENCHMARKS / arguments[0], *arguments[1:]], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "no-such" in done.stderr and done.stderr.count("\n") == 1


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
