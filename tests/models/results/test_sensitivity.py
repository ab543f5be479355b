"""Sensitivity curves, against numbers worked out by numpy and scipy from the same results."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from simulated_results import result
from simulated_sensitivity import QUALITY, RUNS, SASREC, SEEDS, curve, store

from models.errors import CheckpointError, ConfigError, DataError
from models.results.runs import Result
from models.results.sensitivity import read_sensitivities, read_sensitivity, sensitivity
from models.results.significance import permutation_test
from spectral import plot


def test_means_spread_and_intervals_of_each_value_are_those_of_scipy():
    table = curve().values.set_index(["metric", "value"])
    for alpha in QUALITY:
        hits = [np.mean([rank <= 20 for rank in run.test_ranks]) for run in RUNS if run.config["alpha"] == alpha]
        low, high = stats.t.interval(0.95, 2, np.mean(hits), stats.sem(hits))
        row = table.loc["HR@20", alpha]
        expected = [np.mean(hits), np.std(hits, ddof=1), low, high]
        assert row[["mean", "std", "low", "high"]].tolist() == pytest.approx(expected)
        assert row.n == 3 and row.seeds == "1 2 3"


def test_users_are_tested_against_the_best_value():
    def gain(alpha: float) -> np.ndarray:
        ranks = [np.array(run.test_ranks) for run in RUNS if run.config["alpha"] == alpha]
        return np.mean([np.where(rank <= 20, 1 / np.log2(rank + 1), 0) for rank in ranks], axis=0)

    table = curve().values.query("metric == 'NDCG@20'").set_index("value")
    assert table.loc[0.1, "p_value"] == permutation_test(gain(0.9) - gain(0.1))
    assert np.isnan(table.loc[0.9, "p_value"])


def test_the_table_has_values_first_and_marks_the_best():
    table = curve().table().query("metric == 'HR@5'")
    assert table.value.tolist()[:3] == [0.1, 0.5, 0.9] and np.isnan(table.value.iloc[3])
    assert table.best.tolist() == [False, False, True, False]
    assert table.system.tolist() == ["BSARec"] * 3 + ["SASRec"]
    assert set(table.dataset) == {"somewhere"} and set(table.setting) == {"alpha"}


def test_a_baseline_may_be_a_variant_of_the_model():
    scalar = [result("bsarec", seed, 10, alpha=0.9, beta="scalar") for seed in SEEDS]
    found = sensitivity(RUNS, "alpha", 0.9, scalar)
    assert sorted(set(found.values.value)) == [0.1, 0.5, 0.9]
    assert len(set(found.baselines.system)) == 1 and "scalar" in found.baselines.system.iloc[0]


def test_the_sentence_has_the_best_the_worst_and_what_the_test_tells_apart():
    found = curve()
    rows = found.values.query("metric == 'NDCG@20'").set_index("value")
    text = found.sentence()
    best, worst = rows["mean"].idxmax(), rows["mean"].idxmin()
    spread = f"{rows['mean'][best]:.4f} ± {rows['std'][best]:.4f}"
    assert text.startswith(f"On somewhere the best alpha by NDCG@20 is {best:g} ({spread}), the worst {worst:g} (")
    assert f"the default setting, 0.9, has {rows['mean'][0.9]:.4f} ± " in text
    assert set(rows.index[rows.p_holm < 0.05]) == {0.1, 0.5} and "Over users 0.1, 0.5 can be told from it" in text
    alike = [replace(run, config=run.config | {"alpha": alpha}) for run in RUNS[:1] for alpha in (0.1, 0.9)]
    text = sensitivity(alike, "alpha", 0.9).sentence()
    assert "±" not in text and "none of the others can be told from it" in text


def test_only_the_papers_datasets_have_a_published_best():
    assert curve().best_name == "default setting"
    assert replace(curve(), dataset="lastfm").best_name == "published best"
    labels = [text.get_text() for text in plot.sensitivity(curve()).get_legend().get_texts()]
    assert labels == ["BSARec", "default setting", "SASRec"]
    stars = [plot.sensitivity(replace(curve(), dataset=name)).get_lines()[1] for name in ("lastfm", "somewhere")]
    assert [star.get_markerfacecolor() for star in stars] == [stars[0].get_markerfacecolor(), "white"]
    assert stars[0].get_markerfacecolor() != "white"


def test_the_budget_is_the_most_epochs_that_a_run_took():
    assert sensitivity([replace(RUNS[0], epochs=12), *RUNS[1:]], "alpha", 0.9).epochs == 12


def test_runs_that_differ_in_something_else_are_refused():
    with pytest.raises(DataError, match="differ in more than alpha: c 3 and 5; take runs of one profile"):
        sensitivity([*RUNS, result("bsarec", 1, 8, alpha=0.7, c=5)], "alpha", 0.9)
    with pytest.raises(DataError, match="learning_rate"):
        other = replace(RUNS[0], training=RUNS[0].training | {"learning_rate": 0.1})
        sensitivity([other, *RUNS[3:]], "alpha", 0.9)
    with pytest.raises(DataError, match="model"):
        sensitivity([*RUNS, *SASREC], "alpha", 0.9)


@pytest.mark.parametrize(
    ("runs", "setting", "error", "message"),
    [
        ([], "alpha", DataError, "no results"),
        (SASREC, "alpha", ConfigError, "sasrec has no setting 'alpha'"),
        (RUNS[:3], "alpha", DataError, "none of the runs has the best alpha, 0.9"),
        ([*RUNS, RUNS[0]], "alpha", DataError, "occurs twice"),
    ],
)
def test_unusable_runs_are_named(runs: list[Result], setting: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        sensitivity(runs, setting, 0.9)


def test_results_are_read_by_the_names_that_the_workflow_gives_them(tmp_path: Path):
    folder = store(tmp_path / "somewhere/runs/paper", [*RUNS, *SASREC])
    everything = read_sensitivity(folder, "alpha")
    assert everything.best == 0.9
    assert everything.table().drop(columns="sources").equals(curve().table().drop(columns="sources"))
    chosen = read_sensitivity(folder, "alpha", values=[0.1], seeds=[1, 2])
    assert sorted(set(chosen.values.value)) == [0.1, 0.9] and set(chosen.values.n) == {2}


def test_missing_results_are_named_with_the_command_that_makes_them(tmp_path: Path):
    folder = store(tmp_path / "lastfm/runs/paper", [*RUNS, *SASREC])
    command = "make sensitivity PROFILE=paper DATASET=lastfm"
    for options in ({"values": [0.3]}, {"seeds": [1, 7]}, {"models": ["bsarec", "caser"]}):
        with pytest.raises(CheckpointError, match=command):
            read_sensitivity(folder, "alpha", **options)
    with pytest.raises(CheckpointError, match=rf"lacks results of bsarec-c\*.*{command}"):
        read_sensitivity(folder, "c")


def test_datasets_without_results_are_left_out_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    store(tmp_path / "somewhere/runs/quick", [*RUNS, *SASREC])
    with caplog.at_level(logging.WARNING):
        profiles = {"beauty": "paper", "somewhere": "quick"}
        assert list(read_sensitivities(tmp_path, profiles, "alpha")) == ["somewhere"]
    assert "left out beauty" in caplog.text and "make sensitivity PROFILE=paper DATASET=beauty" in caplog.text
    with pytest.raises(CheckpointError, match=r"(?s)beauty: .*DATASET=beauty.*toys: .*DATASET=toys"):
        read_sensitivities(tmp_path, {"beauty": "quick", "toys": "quick"}, "alpha")
