"""Notebooks that draw figures from the spectral summaries of runs, without a checkpoint, on runs that are simulated."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import simulated_summaries as simulated
from repository import ROOT
from simulated_results import result

from spectral import over_seeds
from spectral.summary import read_summary

SEEDS = {"sasrec": [1, 2, 3], "bsarec": [1, 2, 3], "sasrec-16": [1], "bsarec-16": [1]}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    for system, seeds in SEEDS.items():
        model = system.partition("-")[0]
        for seed in seeds:
            stem = out / "lastfm/runs/paper" / f"{system}-seed{seed}"
            summary = simulated.summary(model, seed, beta=0.3 if model == "bsarec" else None)
            summary.write(stem.with_name(f"{stem.name}.spectral.npz"))
            result(model, seed, quality=9).save(stem.with_name(f"{stem.name}.json"))
    return out


def drawn(out: Path, notebook: str, name: str, **given: object) -> tuple[pd.DataFrame, dict[str, str]]:
    """Run a notebook, and return the table and the note of a figure."""
    folders = {"out": str(out), "results": str(out), "runs": str(out / "none")}
    parameters = {"dataset": "lastfm", "profile": "paper", **folders, **given}
    papermill.execute_notebook(
        ROOT / f"notebooks/{notebook}.ipynb",
        out / f"{notebook}.ipynb",
        parameters,
        kernel_name="python3",
        cwd=ROOT,
        progress_bar=False,
    )
    return pd.read_csv(out / f"lastfm/{name}.csv"), json.loads((out / f"lastfm/{name}.json").read_text())


def runs_of(out: Path, system: str) -> list:
    return [read_summary(out / f"lastfm/runs/paper/{system}-seed{seed}.spectral.npz") for seed in SEEDS[system]]


def seeds_of(*systems: str) -> dict[str, list[int]]:
    return {system: SEEDS[system] for system in systems}


def test_figure_2b_has_bands_of_users_and_of_seeds_and_its_null(out: Path):
    given = {"models": ["sasrec", "bsarec"], "seeds": seeds_of("sasrec", "bsarec"), "null": ["uniform"]}
    table, note = drawn(out, "fig2_filter", "fig2b", **given)
    assert set(table.seeds) == {3} and set(table.users) == {simulated.USERS // 2}
    assert not table[["low", "high", "users_low", "users_high", "seeds_low", "seeds_high"]].isna().any(axis=None)
    for system, rows in table.groupby("model"):
        expected = over_seeds.gains(runs_of(out, system)).gain_db
        np.testing.assert_allclose(rows.gain_db, expected.value.ravel(), atol=1e-6)
        np.testing.assert_allclose(rows.low, expected.low.ravel(), atol=1e-6)
    n = simulated.N
    uniform = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    left = np.linalg.norm(uniform @ np.exp(2j * np.pi * np.arange(n)[:, None] * np.arange(n) / n) / n**0.5, axis=0)
    of_layer = table[(table.model == "sasrec") & (table.layer == 1)].gain_db_uniform
    np.testing.assert_allclose(of_layer, 20 * np.log10(left[: n // 2 + 1]), atol=1e-4)
    assert "Missing" not in note["caption"]
    assert "means over 3 seeds" in note["caption"] and "Grey: uniform attention" in note["caption"]
    assert note["runs"] == seeds_of("sasrec", "bsarec") and not (out / "lastfm/fig2b_transfer.csv").exists()


def test_figure_3_shows_both_depths_of_the_same_systems(out: Path):
    given = {"models": ["sasrec", "bsarec"], "seeds": SEEDS, "null": [], "depth": 16}
    table, note = drawn(out, "fig3_oversmoothing", "fig3b", **given)
    assert table.groupby("depth").seeds.unique().map(list).to_dict() == {"2 layers": [3], "16 layers": [1]}
    assert "one model, users only" in note["caption"] and "Grey" not in note["caption"]
    expected = over_seeds.similarities(runs_of(out, "sasrec")).between_users
    rows = table[(table.depth == "2 layers") & (table.model == "sasrec") & (table.kind == "between_users")]
    np.testing.assert_allclose(rows.similarity, expected.value, atol=1e-6)
    np.testing.assert_allclose(rows.high, expected.high, atol=1e-6)
    values = pd.read_csv(out / "lastfm/fig3a.csv")
    assert set(values.depth) == {"2 layers", "16 layers"} and {"low", "high", "seeds", "users"} <= set(values)


def test_figure_3_names_the_systems_that_are_missing(out: Path):
    given = {"models": ["duorec", "bsarec"], "seeds": seeds_of("bsarec"), "null": [], "depth": 16}
    table, note = drawn(out, "fig3_oversmoothing", "fig3b", **given)
    assert set(table.depth) == {"2 layers"} and set(table.model) == {"bsarec"}
    assert note["caption"].endswith("Missing: duorec; duorec-16; bsarec-16.")
    assert "16 layers" not in note["caption"] + note["see"]


def test_figure_7a_is_the_mean_of_beta_over_seeds(out: Path):
    table, note = drawn(out, "fig7_beta", "fig7a", models=["bsarec"], seeds=seeds_of("bsarec"))
    betas = np.stack([np.sort(run.beta, axis=1) for run in runs_of(out, "bsarec")])
    np.testing.assert_allclose(table.beta, betas.mean(0).ravel(), atol=1e-6)
    assert set(table.seeds) == {3} and (table.low < table.beta).all() and (table.beta < table.high).all()
    assert "below the 0.45 of initial weights in every run" in note["see"]
