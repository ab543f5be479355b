"""Whether less smoothing goes with better ranking: the verdict can come out each way."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from simulated_results import result
from simulated_summaries import summary

from models.errors import ConfigError, DataError
from spectral import plot
from spectral.remedies import MEASURES, Comparison, compare, rank_correlation

REMEDIES = ("none", "attnscale", "featscale", "gfsa", "contranorm", "pre_norm")


def runs(relation: float, systems=REMEDIES, seeds=(1, 2, 3), depth: int = 2):
    """Results and summaries of systems that rank better and better; with relation 1 their users grow less alike."""
    results, summaries = [], {}
    for place, remedy in enumerate(systems):
        between = 0.5 - 0.06 * relation * place
        for seed in seeds:
            run = result("sasrec", seed, 30 - 4 * place, remedy=remedy, num_layers=depth)
            run = replace(run, source=f"runs/sasrec-{remedy}{depth}-seed{seed}.json")
            own = summary("sasrec", seed, between=(0.1, 0.2, between), rank=4.0 + relation * place)
            results.append(run)
            summaries[run.source] = own
    return results, summaries


def compared(relation: float, **given) -> Comparison:
    results, summaries = runs(relation, **given)
    return compare(results, summaries, ["sasrec-none2"])


@pytest.mark.parametrize(("relation", "verdict"), [(1, "better"), (-0.5, "worse"), (0, "none")])
def test_the_verdict_follows_the_interval_of_the_correlation(relation, verdict):
    found = compared(relation)
    assert found.verdict(2, "between_users") == verdict
    words = {
        "better": "less smoothing goes with better",
        "worse": "less smoothing goes with worse",
        "none": "no relation",
    }
    said = {
        word: part for part in found.sentence().split(": ", 1)[1].split("; ") for word in words.values() if word in part
    }
    assert "between_users" in said.pop(words[verdict])
    assert not any("between_users" in part for part in said.values())  # what does not hold is not said
    assert "2 layers, 18 runs of 6 systems" in found.sentence()


def test_few_systems_are_undecided():
    found = compared(1, systems=REMEDIES[:3])
    assert found.verdict(2, "between_users") == "undecided"
    assert "too few systems to say for" in found.sentence()
    assert "goes with" not in found.sentence() and "no relation" not in found.sentence()
    assert found.correlations.low.isna().all() and found.correlations.rho.notna().any()


def test_the_correlation_is_spearmans_with_the_sign_of_less_smoothing():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"system": [f"s{n // 3}" for n in range(24)], "NDCG@20": rng.normal(size=24).round(1)})
    for measure, sign in MEASURES.items():
        table[measure] = rng.normal(size=24).round(1)  # with ties
        found = rank_correlation(table, measure)
        expected = spearmanr(table["NDCG@20"], sign * table[measure]).statistic
        assert found["rho"] == pytest.approx(expected)
        assert found["low"] <= found["rho"] <= found["high"]
        assert (found["runs"], found["systems"]) == (24, 8)


def test_the_interval_is_of_spearmans_correlations_of_drawn_systems_with_all_their_seeds():
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"system": list("aabbbcddeeeef"), "NDCG@20": rng.integers(0, 6, 13) / 7})
    table["effective_rank"] = rng.integers(0, 5, 13) * 0.3  # both with ties
    systems = [rows for _, rows in table.groupby("system")]
    drawn = [
        pd.concat([systems[place] for place in places]) for places in np.random.default_rng(3).integers(0, 6, (50, 6))
    ]
    expected = [spearmanr(rows["NDCG@20"], rows["effective_rank"]).statistic for rows in drawn]
    found = rank_correlation(table, "effective_rank", draws=50, seed=3)
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))
    assert found["error"] == pytest.approx(np.std(expected, ddof=1))


def test_seeds_of_a_system_stay_together_so_copies_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"system": list("abcdef"), "NDCG@20": rng.normal(size=6), "between_users": rng.normal(size=6)})
    once, often = (rank_correlation(pd.concat([table] * copies), "between_users") for copies in (1, 5))
    assert [once[end] for end in ("low", "high")] == pytest.approx([often[end] for end in ("low", "high")], abs=0.1)


def test_points_and_tests_are_those_of_the_results_and_summaries():
    results, summaries = runs(1)
    found = compare(results, summaries, ["sasrec-none2"])
    point, run = found.points.iloc[4], results[4]
    own = summaries[run.source]
    assert (point.system, point.seed, point.depth) == ("sasrec-attnscale2", 2, 2)
    assert point["NDCG@20"] == pytest.approx(run.test["NDCG@20"])
    assert point.metric_low < point["NDCG@20"] < point.metric_high
    assert point.effective_rank == pytest.approx(own.spectra().layers[2].effective_rank)
    assert point.between_users == pytest.approx(own.similarity().between_users[-1])
    tests = found.tests.set_index("system")
    assert tests.loc["sasrec-none2", "is_reference"] and np.isnan(tests.loc["sasrec-none2", "p_value"])
    assert tests.loc["sasrec-pre_norm2", "difference"] > 0
    assert "sasrec-pre_norm2" in found.tested() and "can be told from sasrec-none2" in found.tested()


def test_without_a_difference_no_system_is_told_from_the_reference():
    results, summaries = runs(0, systems=REMEDIES[:2])
    equal = [replace(run, test_ranks=results[0].test_ranks, test=results[0].test) for run in results]
    assert compare(equal, summaries, ["sasrec-none2"]).tested() == "2 layers: none can be told from sasrec-none2."


def test_depths_are_compared_by_themselves():
    shallow, deep = runs(1), runs(-0.5, depth=8, seeds=(1,))
    found = compare([*shallow[0], *deep[0]], shallow[1] | deep[1], ["sasrec-none2", "sasrec-none8"])
    assert found.verdict(2, "between_users") == "better" and found.verdict(8, "between_users") == "worse"
    assert len(found.tests) == 12
    shallow_said, deep_said = found.tested().split("; ")
    assert "another seed" not in shallow_said
    assert deep_said.startswith("8 layers, one run each, so that another seed may say otherwise: ")
    figure = plot.remedies_panels(found, {2: {"between_users": 0.9}})
    assert len(figure.axes) == 8
    assert len(figure.axes[0].containers) == 6
    with pytest.raises(ConfigError, match="no runs with 5 layers"):
        plot.remedies(found, depth=5)


def test_a_depth_is_compared_by_the_seeds_that_all_of_its_systems_have():
    (results, summaries), deep = runs(1), runs(1, depth=8, seeds=(7,))
    half_done = [run for run in results if run.seed < 3 or "gfsa" in run.source or "none" in run.source]
    references = ["sasrec-none2", "sasrec-none8"]
    found = compare([*half_done, *deep[0]], summaries | deep[1], references)
    both = [run for run in results if run.seed < 3]
    alone = compare([*both, *deep[0]], summaries | deep[1], references)
    for part in ("points", "correlations", "tests"):
        pd.testing.assert_frame_equal(getattr(found, part), getattr(alone, part))
    assert found.left_out == {"sasrec-none2": [3], "sasrec-gfsa2": [3]} and not alone.left_out
    said = "Left out, because not all systems of their depth have them: sasrec-none2, seed 3; sasrec-gfsa2, seed 3."
    assert found.sentence() == f"{alone.sentence()} {said}"


def test_systems_without_a_common_seed_are_not_compared():
    results, summaries = runs(1, seeds=(1, 2))
    apart = [run for run in results if (run.seed == 1) == ("gfsa" in run.source)]
    with pytest.raises(
        DataError, match=r"2 layers: no seed is one of all systems, so .* there are: sasrec-none2, seed 2; "
    ):
        compare(apart, summaries)


@pytest.mark.parametrize(("value", "inside"), [(0.4, True), (0.9, False), (-0.9, False)])
def test_an_untrained_model_far_from_the_runs_is_named_at_the_edge_and_does_not_squeeze_them(value, inside):
    found = compared(1)
    alone = plot.remedies(found)
    beside = plot.remedies(found, nulls={2: {"between_users": value}})
    assert [text.get_text() for text in beside.texts] == ([] if inside else [f"untrained {value:g}"])
    assert len(beside.lines) - len(alone.lines) == inside
    np.testing.assert_allclose(beside.get_xlim(), alone.get_xlim(), rtol=0.3)


def test_what_does_not_fit_is_refused():
    results, summaries = runs(1)
    with pytest.raises(DataError, match="no runs to compare"):
        compare([], {}, [])
    with pytest.raises(DataError, match="2 layers: needs one reference among the runs, got none"):
        compare(results, summaries, ["sasrec-ce"])
    with pytest.raises(DataError, match="has no summary; make it with"):
        compare(results, {}, ["sasrec-none2"])
    other = {path: replace(own, about=own.about | {"fingerprint": "g"}) for path, own in summaries.items()}
    with pytest.raises(DataError, match="its summary is of other data"):
        compare(results, other, ["sasrec-none2"])
