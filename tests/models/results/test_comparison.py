"""Results of runs and their comparison, against numbers worked out by hand and by scipy."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.checkpoint import load, sequences_of
from models.errors import CheckpointError, ConfigError, DataError
from models.evaluation import summarise
from models.registry import configure
from models.results import runs
from models.results.comparison import METRICS, compare, holm, write_tables
from models.results.runs import Origin, Result, collect, read, result_of

USERS = 60
Command = Callable[..., subprocess.CompletedProcess[str]]


def result(model: str, seed: int, quality: float, **settings: object) -> Result:
    """A run whose ranks are drawn around a quality; the same seed draws the same users' luck."""
    luck = np.random.default_rng(seed).exponential(quality, USERS)
    ranks = np.minimum(1 + luck, 51).astype(int).tolist()
    training = {"loss": "ce", "epochs": 9, "batch_size": 8, "learning_rate": 0.001, "patience": 3, "seed": seed}
    return Result(
        model=model,
        config=asdict(configure(model, 50, USERS, hidden_size=8, **settings)),
        training=training,
        dataset={"name": "somewhere", "fingerprint": "f", "num_users": USERS, "num_items": 50},
        versions={},
        parameters=100,
        best_epoch=3,
        epochs=7,
        seconds_per_epoch=2.0,
        valid=summarise(torch.tensor(ranks)),
        test=summarise(torch.tensor(ranks)),
        sampled=None,
        origin=Origin("abc", 1, "a processor", 14.0),
        test_ranks=ranks,
    )


RUNS = [result(model, seed, quality) for model, quality in (("sasrec", 20), ("bsarec", 8)) for seed in (1, 2, 3)]


def test_means_spread_and_intervals_are_those_of_scipy():
    metrics = compare(RUNS).metrics.set_index(["system", "metric"])
    for model, title in (("sasrec", "SASRec"), ("bsarec", "BSARec")):
        values = [run.test["HR@10"] for run in RUNS if run.model == model]
        row = metrics.loc[title, "HR@10"]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        expected = [np.mean(values), np.std(values, ddof=1), low, high]
        assert row[["mean", "std", "low", "high"]].tolist() == pytest.approx(expected)
    assert metrics.loc[("BSARec", "NDCG@20"), "place"] == 1 and metrics.loc[("SASRec", "NDCG@20"), "place"] == 2
    a, b = metrics.loc["SASRec", "MRR"]["mean"], metrics.loc["BSARec", "MRR"]["mean"]
    assert metrics.loc[("SASRec", "MRR"), "improvement"] == pytest.approx(100 * (b - a) / a)


def test_users_are_tested_in_pairs_over_the_seeds_that_both_have():
    def gain(run: Result) -> np.ndarray:
        return np.array([1 / np.log2(rank + 1) if rank <= 20 else 0 for rank in run.test_ranks])

    more = [*RUNS, result("bsarec", 4, 8)]
    systems = compare(more).systems.set_index("system")
    means = [np.mean([gain(run) for run in RUNS if run.model == model], axis=0) for model in ("bsarec", "sasrec")]
    assert systems.loc["SASRec", "p_value"] == pytest.approx(stats.wilcoxon(*means, zero_method="pratt").pvalue)
    assert np.isnan(systems.loc["BSARec", "p_value"]) and systems.loc["BSARec", "n"] == 4


def test_equal_systems_are_not_told_apart_by_their_number_of_seeds():
    many = [result("sasrec", seed, 30) for seed in range(10, 18)]
    one = [result("bsarec", 50, 30)]
    p_values = [
        compare([*many, replace(one[0], **vars(result("bsarec", s, 30)))]).systems.p_value for s in range(50, 70)
    ]
    assert np.mean([float(p.dropna().iloc[0]) < 0.05 for p in p_values]) <= 0.2


def test_holm_by_hand():
    # 0.01 * 4, then 0.02 * 3 = 0.06, then 0.03 * 2 = 0.06, then 0.04 stays at least 0.06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_lies_between_no_and_bonferroni_correction(p_values: list[float]):
    corrected = holm(p_values)
    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_systems_are_named_by_what_sets_them_apart():
    runs = [result("bsarec", 1, 5, alpha=0.9), result("bsarec", 1, 6, alpha=0.1), result("sasrec", 1, 9)]
    assert compare(runs).systems.system.tolist() == ["BSARec (alpha 0.9)", "BSARec (alpha 0.1)", "SASRec"]


def test_runs_from_before_a_setting_existed_are_of_the_same_system(tmp_path: Path):
    old, new = result("bsarec", 1, 5), result("bsarec", 2, 5)
    old.save(tmp_path / "old.json")
    content = json.loads((tmp_path / "old.json").read_text())
    assert content["config"].pop("padding") == "zero"
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert compare([read(tmp_path / "old.json"), new]).systems.system.tolist() == ["BSARec"]


def test_a_reference_goes_by_system_or_model():
    assert compare(RUNS, "sasrec").reference == compare(RUNS, "SASRec").reference == "SASRec"
    variants = [result("bsarec", 1, 5, alpha=0.9), result("bsarec", 1, 6, alpha=0.1), result("sasrec", 1, 9)]
    assert compare(variants, "bsarec (Alpha 0.1)").reference == "BSARec (alpha 0.1)"
    with pytest.raises(ConfigError, match=r"several systems; choose one of BSARec \(alpha 0.9\), BSARec \(alpha 0.1\)"):
        compare(variants, "bsarec")


def test_names_of_systems_are_escaped_in_latex():
    other = replace(RUNS[1], training=RUNS[1].training | {"learning_rate": 0.01})
    comparison = compare([RUNS[0], other])
    assert r"SASRec (learning\_rate 0.01) &" in comparison.to_latex()
    assert "SASRec (learning_rate 0.01) |" in comparison.to_markdown()


def test_one_seed_has_no_interval_and_says_so():
    comparison = compare([result("sasrec", 1, 9), result("bsarec", 1, 5)])
    assert comparison.metrics[["std", "low", "high"]].isna().all().all()
    assert "±" not in comparison.to_markdown()


def test_tables_mark_the_best_two(tmp_path: Path):
    comparison = compare([*RUNS, result("caser", 1, 40)], reference="SASRec")
    write_tables(comparison, tmp_path / "table_main", ["HR@20", "NDCG@20"])
    markdown = (tmp_path / "table_main.md").read_text().splitlines()
    assert markdown[3].startswith("| BSARec | **") and markdown[2].startswith("| SASRec | *")
    assert markdown[2].split("|")[4:6] == ["  ", "  "]  # the reference is not tested against itself
    latex = (tmp_path / "table_main.tex").read_text()
    assert r"\textbf{" in latex and r"\underline{" in latex and latex.count(r"\\") == 4
    csv = pd.read_csv(tmp_path / "table_main.csv")
    assert len(csv) == 3 * len(METRICS) and set(csv.n) == {1, 3}


@pytest.mark.parametrize(
    ("runs", "error", "message"),
    [
        ([], DataError, "no results"),
        ([RUNS[0], RUNS[0]], DataError, "seed 1 is there twice"),
        ([RUNS[0], replace(RUNS[3], dataset={"name": "elsewhere", "fingerprint": "g"})], DataError, "elsewhere"),
    ],
)
def test_what_cannot_be_compared_is_named(runs: list[Result], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        compare(runs)


def test_an_unknown_reference_is_named():
    with pytest.raises(ConfigError, match="SASRec, BSARec"):
        compare(RUNS, "GPT")


def test_results_are_read_as_they_were_saved(tmp_path: Path):
    for run in RUNS:
        run.save(tmp_path / "deep" / f"{run.model}-{run.seed}.json")
    (tmp_path / "other.json").write_text("{}")  # is passed over in a folder
    found = collect([tmp_path])
    assert [replace(run, source="") for run in found] == [*RUNS[3:], *RUNS[:3]]
    assert all(run.source.endswith(".json") for run in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "not the result of a run"),
        ({"format_version": 99}, "version 99"),
        ({"extra": 1}, "extra"),
        ({"model": "gpt"}, "'gpt'"),
        ({"model": ["sasrec"], "epochs": "9", "seconds_per_epoch": "2"}, "model, epochs, seconds_per_epoch"),
        ({"config": {"num_items": 50, "alpha": [1]}}, "its configuration does not describe a model"),
        ({"training": {"loss": "ce"}}, "training needs a seed"),
        ({"dataset": {"name": "x", "num_users": USERS}}, "fingerprint, num_items"),
        ({"test_ranks": [1, 2]}, "one rank in 1..51 for each of 60 users"),
        ({"test_ranks": [0] * USERS}, "one rank in 1..51"),
        ({"test_ranks": [1.5] * USERS}, "one rank in 1..51"),
        ({"test_ranks": [52] * USERS}, "one rank in 1..51"),
        ({"test_ranks": [1] * USERS}, "not those of its test_ranks"),
        ({"test": {}}, "not those of its test_ranks"),
        ({"origin": {"commit": "abc"}}, "origin needs commit, threads, processor, wall_seconds"),
    ],
)
def test_a_damaged_result_is_named(tmp_path: Path, change: dict[str, object], message: str):
    path = tmp_path / "run.json"
    RUNS[0].save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_missing_and_unreadable_results_are_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"models.evaluate .*run.pt --result .*run.json"):
        collect([tmp_path / "run.pt"])
    with pytest.raises(CheckpointError, match="no result of a run"):
        collect([tmp_path])
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        read(tmp_path / "a.json")


def test_checkpoints_without_a_result_are_left_out_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    RUNS[0].save(tmp_path / "a.json")
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    assert len(collect([tmp_path, tmp_path / "a.pt", tmp_path / "." / "a.json"])) == 1
    assert "b.pt" in caplog.text and "a.pt" not in caplog.text


def test_results_of_format_1_are_read(tmp_path: Path):
    path = tmp_path / "run.json"
    RUNS[0].save(path)
    content = json.loads(path.read_text()) | {"format_version": 1}
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in ("sampled", "origin")}))
    assert read(path) == replace(RUNS[0], sampled=None, origin=None, source=str(path))


def test_results_are_made_of_finished_runs_with_whole_logs(checkpoint: Path, tmp_path: Path):
    ranks = torch.ones(120, dtype=torch.int64)
    model = load(checkpoint)
    sequences = sequences_of(model)
    copy = tmp_path / "model.pt"
    assert result_of(model, sequences, ranks, copy).seconds_per_epoch is None
    copy.with_suffix(".log.csv").write_text("epoch,seconds\n0,1.5\n1,4\n2,2\n")
    found = result_of(model, sequences, ranks, copy, trained_here=True)
    assert found.seconds_per_epoch == 2
    assert found.origin is not None and found.origin.wall_seconds == 7.5
    assert found.origin.threads == torch.get_num_threads() and found.origin.processor
    copy.with_suffix(".log.csv").write_text("epoch,sec")
    with pytest.raises(CheckpointError, match=r"model\.log\.csv"):
        result_of(model, sequences, ranks, copy)
    assert model.checkpoint is not None
    del model.checkpoint["metrics"]["test"]
    with pytest.raises(CheckpointError, match="unfinished run"):
        result_of(model, sequences, ranks, copy)


def test_the_commit_is_that_of_the_code_with_a_mark_where_it_was_changed(tmp_path: Path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setattr(runs, "__file__", str(tmp_path / "models" / "results" / "runs.py"))
    code = tmp_path / "models" / "code.py"
    (tmp_path / "models" / "results").mkdir(parents=True)
    (tmp_path / "models" / "results" / "runs.py").touch()
    code.write_text("a = 1\n")
    here = torch.device("cpu")
    assert Origin.here(here, None).commit is None  # no checkout
    git("init", "-q")
    git("commit", "-qm", "another project", "--allow-empty")
    assert Origin.here(here, None).commit is None
    git("add", ".")
    git("commit", "-qm", "code")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40 and Origin.here(here, None).commit == commit
    code.write_text("a = 2\n")
    assert Origin.here(here, None).commit == f"{commit}+"
    git("checkout", "-q", ".")
    (tmp_path / "figures.csv").write_text("no code")
    assert Origin.here(here, None).commit == commit


def test_a_result_has_the_metrics_among_99_items_and_where_it_was_trained(tmp_path: Path, command: Command):
    train = ["--model", "sasrec", "--dataset", "synthetic:users=40,items=200", "--epochs", 1, "--hidden-size", 8]
    done = command("models.train", *train, "--out", "a.pt")
    assert done.returncode == 0, done.stderr
    trained = read(tmp_path / "a.json")
    assert trained.origin is not None and trained.origin.wall_seconds is not None
    again = command("models.evaluate", "a.pt", "--result", "b.json")
    assert again.returncode == 0, again.stderr
    assert replace(read(tmp_path / "b.json"), source="") == replace(trained, source="")
    printed = json.loads(command("models.evaluate", "a.pt", "--negatives", 99, "--json").stdout)
    assert trained.sampled == printed and printed["HR@20"] > trained.test["HR@20"]
    (tmp_path / "a.json").unlink()
    command("models.evaluate", "a.pt", "--result", "c.json")
    assert read(tmp_path / "c.json").origin is None  # nobody knows any more
    few = [*train[:3], "synthetic:users=40,items=60", *train[4:]]
    assert command("models.train", *few, "--out", "few.pt").returncode == 0
    assert read(tmp_path / "few.json").sampled is None


def test_command_compares_trained_runs(command: Command, checkpoint: Path, sasrec_checkpoint: Path, tmp_path: Path):
    done = command("models.compare", checkpoint, sasrec_checkpoint, "--out", "table", "--metrics", "HR@20,NDCG@20")
    assert done.returncode == 0, done.stderr
    assert "BSARec" in done.stdout and "SASRec" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"table.csv", "table.md", "table.tex"}
    printed = json.loads(command("models.compare", checkpoint, "--json").stdout)
    assert {row["metric"] for row in printed["rows"]} == set(METRICS) and printed["reference"] == "BSARec"
    wrong = command("models.compare", checkpoint, "--metrics", "HR@7")
    assert wrong.returncode == 2 and "HR@7" in wrong.stderr
