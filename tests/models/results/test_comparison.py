"""Systems against each other, against numbers worked out by hand and by scipy."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_results import RUNS, result

from models.errors import CheckpointError, ConfigError, DataError
from models.results.comparison import METRICS, compare, holm, write_tables
from models.results.cost import costs
from models.results.runs import Result, available, read, runs_folder


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
        ([RUNS[0], RUNS[0]], DataError, "seed 1 occurs twice"),
        ([RUNS[0], replace(RUNS[3], dataset={"name": "elsewhere", "fingerprint": "g"})], DataError, "elsewhere"),
    ],
)
def test_what_cannot_be_compared_is_named(runs: list[Result], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        compare(runs)


def test_an_unknown_reference_is_named():
    with pytest.raises(ConfigError, match="SASRec, BSARec"):
        compare(RUNS, "GPT")


def test_missing_runs_and_those_that_have_not_learned_are_named_below_the_table(tmp_path: Path):
    folder = runs_folder(tmp_path, "somewhere", "paper")
    for run in RUNS:
        replace(run, best_epoch=0 if run.seed == 2 else 3).save(folder / f"{run.model}-seed{run.seed}.json")
    seeds = {"sasrec": [1], "bsarec": [1, 2, 9], "caser": [4]}
    found, missing = available(folder, list(seeds), seeds)
    assert [(run.model, run.seed) for run in found] == [("sasrec", 1), ("bsarec", 1), ("bsarec", 2)]
    assert missing == {"bsarec": [9], "caser": [4]}
    assert available(folder, ["sasrec", "caser"], None)[1] == {"caser": []}
    for made in (compare(found, missing=missing), costs(found, missing)):
        text = made.to_markdown()
        assert "| BSARec † |" in text and "| SASRec |" in text
        notes = ["† The first epoch is the best of: BSARec, seed 2.", "Missing: bsarec, seed 9; caser, seed 4."]
        assert text.splitlines()[-3:] == [notes[0], "", notes[1]]
        assert r"BSARec $\dagger$ &" in made.to_latex()
    assert "Missing" not in compare(found).to_markdown() and "†" not in compare([found[0]]).to_markdown()
    with pytest.raises(CheckpointError, match=r"lacks results of caser.*make tables PROFILE=paper DATASET=somewhere"):
        available(folder, ["caser"], [1])


def test_the_table_among_99_items_takes_their_metrics_and_makes_no_test():
    sampled = [replace(run, sampled={name: value / 2 for name, value in run.test.items()}) for run in RUNS[:5]]
    comparison = compare([*sampled, RUNS[5]], sampled=True)
    table = comparison.metrics.set_index(["system", "metric"])
    expected = np.mean([run.test["HR@10"] / 2 for run in RUNS[:3]])
    assert table.loc[("SASRec", "HR@10"), "mean"] == pytest.approx(expected)
    assert comparison.systems.n.tolist() == [3, 2] and comparison.systems.p_value.isna().all()
    assert comparison.missing == {"bsarec": [3]}
    with pytest.raises(DataError, match="no results to compare"):
        compare(RUNS, sampled=True)
