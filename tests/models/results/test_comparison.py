"""Systems against each other, against numbers worked out by hand and by scipy."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_results import RUNS, result

from models.errors import CheckpointError, ConfigError, DataError
from models.results.comparison import METRICS, compare, write_tables
from models.results.cost import costs
from models.results.runs import Result, available, read, runs_folder
from models.results.significance import permutation_test


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
    systems = compare(more, test="wilcoxon").systems.set_index("system")
    means = [np.mean([gain(run) for run in RUNS if run.model == model], axis=0) for model in ("bsarec", "sasrec")]
    assert systems.loc["SASRec", "p_value"] == pytest.approx(stats.wilcoxon(*means, zero_method="pratt").pvalue)
    assert np.isnan(systems.loc["BSARec", "p_value"]) and systems.loc["BSARec", "n"] == 4
    systems = compare(more).systems.set_index("system")
    assert systems.loc["SASRec", "p_value"] == permutation_test(means[0] - means[1])


def test_the_difference_is_that_of_the_means_over_all_seeds_with_its_interval():
    more = [*RUNS, result("bsarec", 4, 8)]
    comparison = compare(more)
    rows = comparison.metrics.query("metric == 'NDCG@20'").set_index("system")["mean"]
    row = comparison.systems.set_index("system").loc["SASRec"]
    assert row.difference == pytest.approx(rows["SASRec"] - rows["BSARec"])
    assert row.difference_low < row.difference < row.difference_high < 0 and row.knows_seeds
    assert row.detectable > (row.difference_high - row.difference_low) / 2
    text = comparison.sentence()
    assert text.startswith("Over users SASRec (p ") and "60 users and these seeds would detect" in text
    alone = compare([RUNS[0], RUNS[3]])
    assert not alone.systems.knows_seeds[0] and "] one seed |" in alone.to_markdown()
    assert ", one seed)" in alone.sentence()
    assert re.search(r"a difference in NDCG@20 of 0\.\d{4} \(power 80%\)\.$", alone.sentence())
    alike = compare([RUNS[0], replace(RUNS[0], model="duorec", config=result("duorec", 1, 20).config)])
    assert alike.sentence().startswith("Over users none of the others can be told from")


def test_a_caption_names_the_test_that_was_made_and_none_where_none_was():
    assert compare(RUNS).tested().startswith(" p: a permutation test over users")
    assert compare(RUNS, test="wilcoxon").tested().startswith(" p: Wilcoxon")
    alone = compare(RUNS[:3])
    assert alone.tested() == alone.sentence() == ""


def test_rows_say_how_the_runs_were_trained():
    capped = [replace(run, epochs=9, best_epoch=7) for run in RUNS[:3]]
    bce = [replace(run, training=run.training | {"loss": "bce"}) for run in RUNS[3:]]
    comparison = compare([*capped, *bce, result("gru4rec", 1, 30)])
    rows = {line.split(" | ")[0]: line.split(" | ")[1:5] for line in comparison.to_markdown().splitlines()}
    assert rows["| SASRec ‡"] == ["ce", "1", "3", "9 (8)"] and rows["| GRU4Rec"][1] == "–"
    assert rows["| BSARec"] == ["bce", "1", "3", "7 (4)"]
    assert "‡ Ended by the limit of epochs: SASRec, seed 1, 2, 3." in comparison.to_markdown()
    assert r"SASRec $\ddagger$ & ce" in comparison.to_latex() and r"$\ddagger$ Ended" in comparison.to_latex()
    assert comparison.losses() == "The losses differ: ce SASRec, GRU4Rec; bce BSARec."
    assert compare(RUNS).losses() == "All are trained with the loss ce." and "‡" not in compare(RUNS).to_markdown()


def test_published_numbers_stand_beside_the_models_own_runs_with_their_source(tmp_path: Path):
    on_lastfm = [replace(run, dataset=run.dataset | {"name": "lastfm"}) for run in RUNS]
    text = compare(on_lastfm).to_markdown()
    assert "0.0526 [1]" in text and "[1] paperswithcode.com, page of arXiv 2312.10325" in text
    assert "published" not in compare(RUNS).to_markdown()
    # SASRec was published with another loss than these runs have, and a variant is another system.
    assert compare(on_lastfm).systems.set_index("system").published.isna()["SASRec"]
    replace(on_lastfm[3], source="").save(tmp_path / "bsarec-alpha0.1-seed1.json")
    assert compare([read(tmp_path / "bsarec-alpha0.1-seed1.json")]).systems.published.isna().all()
    # They are of a ranking among all items, so they stand beside no other.
    among_drawn = [replace(run, sampled=run.test) for run in on_lastfm]
    assert "published" not in compare(among_drawn, sampled=True).to_markdown()


def test_metrics_among_drawn_items_stand_beside_the_full_ranking():
    drawn = [replace(run, sampled={"NDCG@10": 0.1 * run.seed}) for run in RUNS[:2]]
    text = compare([*drawn, *RUNS[2:]]).to_markdown()
    assert "NDCG@10 of 99" in text and "| **0.1500** |" in text
    assert "of 99" not in compare(RUNS).to_markdown()


def test_equal_systems_are_not_told_apart_by_their_number_of_seeds():
    many = [result("sasrec", seed, 30) for seed in range(10, 18)]
    one = [result("bsarec", 50, 30)]
    p_values = [
        compare([*many, replace(one[0], **vars(result("bsarec", s, 30)))]).systems.p_value for s in range(50, 70)
    ]
    assert np.mean([float(p.dropna().iloc[0]) < 0.05 for p in p_values]) <= 0.2


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
    assert markdown[3].split(" | ")[5].startswith("**") and re.match(r"\*[^*]", markdown[2].split(" | ")[5])
    assert markdown[2].split("|")[-3:-1] == ["  ", "  "]  # the reference is not tested against itself
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


def test_an_unknown_test_is_named():
    with pytest.raises(ConfigError, match="unknown test 'sign'; choose one of permutation, wilcoxon"):
        compare(RUNS, test="sign")


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
