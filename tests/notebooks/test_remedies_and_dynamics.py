"""The figures of remedies and of dynamics on results that are given: their sentences follow from conditions."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import papermill
import pytest
from repository import ROOT
from simulated_results import result
from simulated_summaries import summary

from spectral.gallery import Note, collect
from spectral.watch import HEADER

DATASET = "synthetic:users=120,items=50"
REMEDIES = ("none", "attnscale", "featscale", "gfsa", "pre_norm")


def execute(name: str, folder: Path, **parameters) -> dict[str, Note]:
    """Run a notebook on the results in a folder, and return the notes of its figures."""
    given = {"dataset": "given", "profile": "smoke", "results": str(folder), "out": str(folder), **parameters}
    path = ROOT / "notebooks" / f"{name}.ipynb"
    papermill.execute_notebook(
        path, folder / "executed.ipynb", given, kernel_name="python3", cwd=ROOT, progress_bar=False
    )
    return {note.name: note for note in collect(folder)}


def store(folder: Path, relation: float, seeds=(1, 2)) -> list[str]:
    """Leave the files of systems; with relation 1, the better a system ranks, the less it smooths."""
    runs = folder / "given/runs/smoke"
    for place, remedy in enumerate(REMEDIES):
        for seed in seeds:
            run = result("sasrec", seed, 30 - 4 * place, remedy=remedy, num_layers=2)
            run = replace(run, dataset=run.dataset | {"name": DATASET})
            run.save(runs / f"sasrec-{remedy}-seed{seed}.json")
            own = summary("sasrec", seed, between=(0.1, 0.2, 0.6 - 0.1 * relation * place), rank=4 + relation * place)
            own.write(runs / f"sasrec-{remedy}-seed{seed}.spectral.npz")
            lines = [HEADER]
            for epoch in range(4):
                lines.append(f"{epoch},,NDCG@20,{0.1 - 0.01 * (epoch - 2) ** 2}")
                for measure in ("gain_nyquist", "hfc_share", "effective_rank", "between_users", "within_sequence"):
                    lines.append(f"{epoch},2,{measure},{0.5 + 0.1 * relation * epoch + 0.01 * seed}")
            (runs / f"sasrec-{remedy}-seed{seed}.watch.csv").write_text("\n".join(lines) + "\n")
    return [f"sasrec-{remedy}" for remedy in REMEDIES]


@pytest.mark.parametrize(
    ("relation", "said"),
    [
        (1, "less smoothing goes with better ranking by between_users"),
        (-0.5, "less smoothing goes with worse ranking by"),
    ],
)
def test_the_caption_of_remedies_says_what_the_runs_show(tmp_path: Path, relation: float, said: str):
    models = store(tmp_path, relation)
    note = execute("remedies", tmp_path, models=models)["remedies"]
    assert said in note.see.replace("Less", "less") and "2 layers, 10 runs of 5 systems" in note.see
    assert "can be told from sasrec-none" in note.see and "Missing" not in note.caption
    table = pd.read_csv(tmp_path / "given/remedies.csv")
    assert len(table) == 10 and table.between_users_untrained.nunique() == 1
    tests = pd.read_csv(tmp_path / "given/remedies_tests.csv")
    assert tests.system.tolist() == models and tests.is_reference.tolist() == [True, *[False] * 4]
    correlations = pd.read_csv(tmp_path / "given/remedies_correlations.csv").set_index("measure")
    assert (correlations.rho["between_users"] > 0) == (relation > 0)


def test_runs_that_are_missing_are_named_and_dynamics_follow_the_signs(tmp_path: Path):
    models = store(tmp_path, 1)
    notes = execute("dynamics", tmp_path, models=[models[0], "sasrec-unknown"], seeds=[1, 2])
    assert set(notes) == {"dynamics", "dynamics_paths"}
    assert (
        "Similarity between users, from the first to the best epoch: sasrec-none: rises from" in notes["dynamics"].see
    )
    assert "half of it by epoch 1 of 2" in notes["dynamics"].see
    assert "Missing: sasrec-unknown" in notes["dynamics"].caption
    for name in ("dynamics", "dynamics_paths"):
        for kind in ("png", "pdf", "csv"):
            assert (tmp_path / f"given/{name}.{kind}").stat().st_size > 0
