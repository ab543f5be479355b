"""The workflow over the notebooks makes everything once, only what is missing again, and survives kill -9."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import torch
import yaml
from repository import ROOT
from workflow import command, run

from models.checkpoint import load, sequences_of
from spectral.gallery import collect

FIGURES = [
    f"{name}.{kind}"
    for name in [
        "fig1",
        "fig2a",
        "fig2b",
        "fig2b_transfer",
        "fig2c",
        "fig2d",
        "fig3a",
        "fig3b",
        "fig4",
        "fig7a",
        "fig7b",
        "fig7c",
        "theorem1",
    ]
    for kind in ("png", "pdf", "csv", "json")
]

pytestmark = pytest.mark.timeout(600)  # several notebooks, each with a kernel to start


def written(folder: Path) -> dict[str, int]:
    """When each result was written."""
    kinds = {".pt", ".ipynb", ".png", ".pdf", ".csv", ".json"}
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.suffix in kinds}


def test_a_cluster_executor_makes_all_targets_and_keeps_the_executed_notebooks(finished: Path):
    runs = finished / "runs/smoke/synthetic"
    assert {path.name for path in runs.glob("*.pt")} == {f"{m}-seed42.pt" for m in ("sasrec", "fmlprec", "bsarec")}
    assert {path.name for path in (finished / "figures/synthetic").iterdir()} >= set(FIGURES)
    executed = sorted((runs / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in executed] == [
        "fig1_signals",
        "fig2_filter",
        "fig2_layers",
        "fig3_oversmoothing",
        "fig4_architecture",
        "fig7_beta",
        "fig7_filters",
        "theorem1",
        "train-bsarec-seed42",
        "train-fmlprec-seed42",
        "train-sasrec-seed42",
    ]
    for path in executed:
        outputs = [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert any(outputs), f"{path} shows nothing"
    assert all(
        f"synthetic/{name}" in (finished / "figures/README.md").read_text() for name in FIGURES if "json" not in name
    )
    assert (finished / "figures/index.html").stat().st_size > 0


@pytest.mark.parametrize(
    "name, asked",
    [("slurm", ["runtime=30, cpus_per_task=1", "mem_mb=4000"]), ("kubernetes", ["mem_mb=4000", "gpu=0"])],
)
def test_a_cluster_profile_plans_the_same_jobs_and_asks_for_gpus_to_train(name: str, asked: list[str], tmp_path: Path):
    planned = []
    for options in ([], ["--printshellcmds", "--profile", f"config/{name}"]):
        done = subprocess.run(command(tmp_path, "--dry-run", *options), capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        planned.append(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert planned[0] == planned[1] and planned[0][-1] == ("total", "13")
    assert all(text in done.stdout for text in asked)
    on_a_gpu = [job for job in done.stdout.split("\n\n") if '"device": "cuda"' in job]
    assert len(on_a_gpu) == 3 and all("Training" in job for job in on_a_gpu)
    of_rules = yaml.safe_load((ROOT / f"config/{name}/config.yaml").read_text())["set-resources"]
    assert of_rules.keys() == {"train"} and of_rules["train"]["gpu"] == 1


KUBECTL = """#!{python}
# Runs a job where it is created, and says of every job that it is complete.
import subprocess, sys, yaml
if sys.argv[1] == "create":
    manifest = sys.stdin.read()
    open("manifest.yaml", "w").write(manifest)
    [container] = yaml.safe_load(manifest)["spec"]["template"]["spec"]["containers"]
    subprocess.run(container["command"], check=True, stdout=sys.stderr)
    print("job.batch/recommender-1")
elif sys.argv[1:3] == ["get", "job.batch/recommender-1"]:
    print("SuccessCriteriaMet Complete")
else:
    sys.exit(1)
"""


def test_the_kubernetes_profile_runs_the_jobs_that_kubectl_creates(tmp_path: Path):
    kubectl = tmp_path / "bin/kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(0o755)
    (tmp_path / "config").symlink_to(ROOT / "config")
    checkpoint = tmp_path / "runs/smoke/synthetic/sasrec-seed42.pt"
    on_the_processor = [*command(tmp_path, str(checkpoint), "--profile", "config/kubernetes"), "training={device: cpu}"]
    environment = os.environ | {"PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    done = subprocess.run(on_the_processor, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert checkpoint.exists()
    [container] = yaml.safe_load((tmp_path / "manifest.yaml").read_text())["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "4000M", "nvidia.com/gpu": 1}


def test_the_gpu_profile_trains_a_few_runs_at_a_time_on_the_card(tmp_path: Path):
    options = ("--dry-run", "--printshellcmds", "--profile", "config/gpu")
    done = subprocess.run(command(tmp_path, *options), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    on_the_card = [job for job in done.stdout.split("\n\n") if '"device": "cuda"' in job]
    assert len(on_the_card) == 3 and all("Training" in job for job in on_the_card)
    profile = yaml.safe_load((ROOT / "config/gpu/config.yaml").read_text())
    assert profile["resources"] == ["gpu=4"] and profile["set-resources"] == {"train": {"gpu": 1}}


def test_a_second_run_does_nothing(finished: Path):
    before = written(finished)
    assert "Nothing to be done" in run(finished)
    assert written(finished) == before


def test_only_the_notebook_of_a_deleted_figure_runs_again(finished: Path):
    before = written(finished)
    (finished / "figures/synthetic/fig2c.png").unlink()
    run(finished)
    after = written(finished)
    assert after.keys() == before.keys()
    changed = {Path(path).name for path in after if after[path] != before[path]}
    assert changed == {name for name in FIGURES if name.startswith(("fig2c", "fig2d"))} | {"fig2_layers.ipynb"}


def test_redrawing_forces_the_rule_of_every_figure_of_a_dataset(finished: Path):
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # tests may run in make
    make = ["make", "-n", "redraw"]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True, env=alone).stdout
    forced = printed.partition("--forcerun")[2].replace("\\", " ").split()
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem.startswith(("fig", "theorem"))}
    of_results = {"fig5_alpha", "fig6_c"}
    assert set(forced) == {name for name in notebooks if not name.startswith(("fig5", "fig8"))} | of_results
    planned = subprocess.run(command(finished, "--dry-run", "--forcerun", *forced), capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    jobs = set(re.findall(r"^(\w+) +\d+$", planned.stdout, re.MULTILINE)) - {"all", "gallery", "total"}
    assert jobs == set(forced) - of_results  # which are not there


def test_shell_and_notebook_write_the_same_checkpoint(finished: Path, tmp_path: Path):
    settings = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    options = settings["training"] | settings["model_settings"]["bsarec"] | {"seed": settings["seed"]}
    names = {"num_layers": "layers", "num_heads": "heads", "learning_rate": "lr"}
    flags = [f"--{names.get(key, key).replace('_', '-')}={value}" for key, value in options.items()]
    train = [
        sys.executable,
        "-m",
        "models.train",
        "--model=bsarec",
        "--dataset=synthetic",
        f"--out={tmp_path}/a.pt",
    ]
    subprocess.run([*train, *flags], check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    notebook_wrote = finished / "runs/smoke/synthetic/bsarec-seed42.pt"
    assert (tmp_path / "a.pt").read_bytes() == notebook_wrote.read_bytes()


def test_a_notebook_runs_from_its_own_folder_with_paths_relative_to_the_repository(finished: Path, tmp_path: Path):
    parameters = {
        "profile": "smoke",
        "dataset": "synthetic",
        "runs": os.path.relpath(finished / "runs", ROOT),
        "out": str(tmp_path / "figures"),
    }
    papermill.execute_notebook(
        ROOT / "notebooks/fig2_filter.ipynb",
        tmp_path / "executed.ipynb",
        parameters,
        kernel_name="python3",
        cwd=ROOT / "notebooks",
        progress_bar=False,
    )
    assert (tmp_path / "figures/synthetic/fig2b.png").stat().st_size > 0


def test_a_killed_training_run_goes_on_where_it_was_and_is_evaluated(tmp_path: Path):
    checkpoint = tmp_path / "runs/smoke/synthetic/sasrec-seed42.pt"
    summary = tmp_path / "figures/synthetic/runs/smoke/sasrec-seed42.spectral.npz"
    log = checkpoint.with_suffix(".log.csv")
    endless = [*command(tmp_path, str(summary)), "training={epochs: 100000, patience: 100000}"]
    first = subprocess.Popen(endless, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 5):
        assert first.poll() is None and time.monotonic() < deadline, "the run ended or never began"
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(3)  # the notebook's kernel is no child of ours; it sees that its parent is gone, and ends
    before = list(csv.DictReader(log.open()))
    few_more = [
        *command(tmp_path, str(summary)),
        f"training={{epochs: {len(before) + 2}, patience: 100000}}",
    ]
    subprocess.run(few_more, check=True, capture_output=True)
    after = list(csv.DictReader(log.open()))
    assert after[: len(before)] == before, "epochs were run again"
    assert [int(row["epoch"]) for row in after] == list(range(len(before) + 2))
    assert not checkpoint.with_name(f"{checkpoint.name}.state").exists()
    assert summary.exists() and (summary.parent / "sasrec-seed42.json").exists()


def test_a_mistake_in_the_configuration_is_named_without_a_traceback(tmp_path: Path):
    given = [*command(tmp_path, "--dry-run", profile="quick"), "models=[bsarek]"]
    done = subprocess.run(given, capture_output=True, text=True)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "config/quick.yaml or --config, models: unknown 'bsarek'; expected one of bert4rec" in said
    assert "Traceback" not in said


def test_the_run_list_is_worked_through_block_by_block(tmp_path: Path):
    blocks = "run_list=[{datasets: [synthetic], systems: [sasrec, gru4rec], seeds: [1]}, "
    blocks += "{datasets: [synthetic], systems: [sasrec], seeds: [1, 2]}]"
    made = subprocess.run([*command(tmp_path, "runs"), blocks, "block=2"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "figures/synthetic/runs/smoke"
    names = {f"sasrec-seed{seed}{kind}" for seed in (1, 2) for kind in (".json", ".spectral.npz")}
    assert {path.name for path in folder.iterdir()} == names
    planned = subprocess.run([*command(tmp_path, "--dry-run", "runs"), blocks], capture_output=True, text=True)
    assert re.findall(r"Training (\S+) on", planned.stdout) == ["gru4rec"]


def test_tables_are_made_of_results_and_again_without_checkpoints(tmp_path: Path):
    both = "[sasrec, gru4rec]"
    config = [f"tables={{table_main: {both}, table_cost: {both}}}", "seeds={default: [1, 2]}"]
    made = subprocess.run([*command(tmp_path, "tables"), *config], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "figures/synthetic"
    results = sorted(path.name for path in (folder / "runs/smoke").glob("*.json"))
    assert results == [f"{model}-seed{seed}.json" for model in ("gru4rec", "sasrec") for seed in (1, 2)]
    table = folder / "table_main.md"
    before = table.read_text()
    assert "GRU4Rec" in before and "±" in before
    cost = pd.read_csv(folder / "table_cost.csv").set_index("system")
    logs = [pd.read_csv(tmp_path / f"runs/smoke/synthetic/sasrec-seed{seed}.log.csv") for seed in (1, 2)]
    assert cost.loc["SASRec", "seconds_per_epoch"] == pytest.approx(np.mean([log.seconds.median() for log in logs]))
    weights = torch.load(tmp_path / "runs/smoke/synthetic/sasrec-seed1.pt", weights_only=True)["state_dict"]
    assert cost.loc["SASRec", "parameters"] == sum(tensor.numel() for tensor in weights.values())
    # A fresh clone: the results are there, checkpoints and the workflow's own notes are not.
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / ".snakemake")
    table.unlink()
    again = subprocess.run([*command(tmp_path, "tables"), *config], capture_output=True, text=True)
    assert again.returncode == 0 and "rule train" not in again.stderr, again.stderr
    assert table.read_text() == before
    assert not list((tmp_path / "runs").rglob("*.pt"))


def test_the_figure_of_successors_needs_its_systems_and_the_files_that_are_named(tmp_path: Path):
    theirs = tmp_path / "theirs.pt"
    given = [*command(tmp_path, "--dry-run", "successors"), f"checkpoints={{{theirs}: {{heads: 4}}}}"]
    missing = subprocess.run(given, capture_output=True, text=True)
    assert missing.returncode != 0 and str(theirs) in missing.stdout + missing.stderr
    theirs.touch()
    planned = subprocess.run(given, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned.stdout, re.MULTILINE))
    assert jobs == {"successors": "1", "successors_notebook": "1", "train": "2", "total": "4"}
    assert sorted(re.findall(r"Training (\S+) on", planned.stdout)) == ["sasrec", "tvrec"]


def test_the_ledger_of_claims_trains_nothing(tmp_path: Path):
    folder = tmp_path / "figures/synthetic/runs/smoke"
    folder.mkdir(parents=True)
    (folder / "sasrec-seed1.json").write_text("{}")
    planned = subprocess.run(command(tmp_path, "--dry-run", "claims"), capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned.stdout, re.MULTILINE))
    assert jobs == {"claims": "1", "total": "1"}


def test_figures_of_runs_that_are_there_are_drawn_without_training(tmp_path: Path):
    given = ["--dry-run", "all"]
    config = ["dataset=synthetic", "missing=name", "from_summaries=true"]
    nothing = subprocess.run([*command(tmp_path, *given), *config], capture_output=True, text=True)
    assert nothing.returncode != 0 and "figures/synthetic/runs/smoke has none" in nothing.stdout + nothing.stderr
    folder = tmp_path / "figures/synthetic/runs/smoke"
    folder.mkdir(parents=True)
    for name in ("bsarec-seed1.spectral.npz", "bsarec-seed1.json"):
        (folder / name).touch()
    planned = subprocess.run([*command(tmp_path, *given), *config], capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned.stdout, re.MULTILINE))
    drawn = ("fig2_filter", "fig3_oversmoothing", "fig4_architecture", "fig7_beta")
    assert jobs == {**dict.fromkeys(drawn, "1"), "gallery": "1", "all": "1", "total": "6"}


def test_the_table_of_datasets_is_made(tmp_path: Path):
    given = {"datasets": ["synthetic:users=30,items=20", "synthetic"], "out": str(tmp_path)}
    notebook = ROOT / "notebooks/table_datasets.ipynb"
    papermill.execute_notebook(
        notebook, tmp_path / "executed.ipynb", given, kernel_name="python3", cwd=ROOT, progress_bar=False
    )
    lines = (tmp_path / "table_datasets.md").read_text().splitlines()
    assert len(lines) == 4 and "| 30 |" in lines[2]
    assert len((tmp_path / "table_datasets.csv").read_text().splitlines()) == 3
    (note,) = collect(tmp_path)
    assert (note.name, note.dataset, note.runs) == ("table_datasets", "", {})
    assert "positions of test inputs" in note.see and "synthetic:users=30,items=20 (" in note.see


def test_a_figure_named_by_its_file_is_made_with_all_it_needs_and_is_that_of_the_checkpoints(tmp_path: Path):
    dataset = "synthetic:users=60,items=300"
    folder = tmp_path / "figures" / dataset.replace(":", "-")
    config = [f"dataset={dataset}", "sensitivity={alpha: [0.1, 0.5]}", "seeds={default: [1, 2]}"]
    targets = [str(folder / "fig5.pdf"), str(tmp_path / "figures/fig8.png"), "--keep-going"]
    made = subprocess.run([*command(tmp_path, *targets), *config], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    runs = tmp_path / "runs/smoke" / folder.name
    trained = {path.stem for path in runs.glob("*.pt")}  # 0.5 is the model's own alpha in this profile
    assert trained == {f"{name}-seed{seed}" for name in ("bsarec", "bsarec-alpha0.1", "sasrec") for seed in (1, 2)}
    table = pd.read_csv(folder / "fig5.csv").query("metric == 'HR@20'")
    assert table.value.tolist()[:2] == [0.1, 0.5] and np.isnan(table.value.iloc[2])
    assert table.best.tolist() == [False, True, False]
    for row, name in zip(table.itertuples(), ("bsarec-alpha0.1", "bsarec", "sasrec"), strict=True):
        models = [load(runs / f"{name}-seed{seed}.pt") for seed in (1, 2)]
        assert [getattr(model.config, "alpha", row.value) for model in models] == pytest.approx(
            [row.value] * 2, nan_ok=True
        )
        hits = [hit_rate(model) for model in models]
        assert [row.mean, row.std] == pytest.approx([np.mean(hits), np.std(hits, ddof=1)])
    assert (folder / "fig5.csv").read_text() == (tmp_path / "figures/fig8.csv").read_text()
    assert "Nothing to be done" in run_with(tmp_path, config, *targets)


def hit_rate(model: torch.nn.Module) -> float:
    """HR@20 on the test split, user by user."""
    sequences = sequences_of(model)
    hits = []
    for user in range(sequences.num_users):
        *history, target = sequences.items[sequences.offsets[user] : sequences.offsets[user + 1]].tolist()
        window = ([0] * model.config.max_len + history)[-model.config.max_len :]
        scores = model(torch.tensor([window]))[0].detach()
        scores[history] = 0
        hits.append(int((scores >= scores[target]).sum()) <= 20)  # ties count against the target
    return float(np.mean(hits))


def run_with(folder: Path, config: list[str], *arguments: str) -> str:
    done = subprocess.run([*command(folder, *arguments), *config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_figures_of_results_are_drawn_with_the_others_once_their_results_are_there(tmp_path: Path):
    def planned(*config: str) -> set[str]:
        arguments = [*command(tmp_path, "--dry-run", profile="paper"), "dataset=lastfm", *config]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"^(fig[5689]\w+) +1$", done.stdout, re.MULTILINE))

    def results(dataset: str, *systems: str, profile: str = "paper") -> None:
        for system in systems:
            path = tmp_path / f"figures/{dataset}/runs/{profile}/{system}-seed1.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    config = ("seeds={default: [1], sensitivity: [1]}", "sensitivity={alpha: [0.1], c: [1]}", "run_list=[]")
    assert planned(*config) == set()
    results("lastfm", "bsarec", "sasrec", "bsarec-alpha0.1")
    assert planned(*config) == {"fig5_alpha"}
    results("ml-100k", "bsarec", "sasrec", "bsarec-alpha0.1", "bsarec-c1", profile="quick")
    assert planned(*config) == {"fig5_alpha", "fig8_alpha_datasets"}
    results("lastfm", "bsarec-c1")
    assert planned(*config) == {"fig5_alpha", "fig6_c", "fig8_alpha_datasets", "fig9_c_datasets"}


def test_best_settings_of_a_dataset_are_not_trained_twice(tmp_path: Path):
    targets = ["--dry-run", "sensitivity"]
    for dataset, own in (("lastfm", {"alpha": 0.9, "c": 3}), ("ml-1m", {"alpha": 0.3, "c": 9})):
        planned = subprocess.run(
            [*command(tmp_path, *targets, profile="paper"), f"dataset={dataset}"], capture_output=True, text=True
        ).stdout
        trained = set(re.findall(r"Training (\S+) on", planned))
        grid = {f"bsarec-alpha{value}" for value in (0.1, 0.3, 0.5, 0.7, 0.9)} | {
            f"bsarec-c{c}" for c in (1, 3, 5, 7, 9)
        }
        left_out = {f"bsarec-{name}{value}" for name, value in own.items()}
        assert trained == grid - left_out | {"bsarec", "sasrec"}
        assert planned.count("Training ") == 3 * len(trained)
