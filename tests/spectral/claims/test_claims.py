"""The ledger: every condition comes out each way on simulated runs, and verdicts follow from numbers alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulated_summaries as simulated
import torch
from repository import ROOT
from scipy.stats import spearmanr
from simulated_results import USERS, result

from models.datasets import Sequences
from models.datasets.attributes import Attributes
from models.errors import ConfigError, DataError
from models.evaluation import summarise
from models.registry import build, configure
from models.results.comparison import gains
from models.results.runs import Origin, Result, runs_folder
from models.results.significance import Difference, holm
from spectral.claims import Claim, Evidence, ledger, paper, verdict
from spectral.claims import evidence as by
from spectral.claims.paper import CLAIMS, REMEDIES
from spectral.claims.runs import Missing, Runs
from spectral.remedies import MEASURES
from spectral.theorem1 import Case, random_attentions, theorem1

SEEDS = (1, 2, 3, 4)
GOOD, BAD = 6, 2000  # how far the targets are from the first place
OTHERS = ("sasrec", "sasrec-ce", "sasrec-ce-h1", "duorec", "fearec", "fmlprec", "fmlprec-ce", "bert4rec", "gru4rec")
VARIANTS = ("bsarec-attention", "bsarec-frequency", "bsarec-scalar", "bsarec-alpha0.1", "bsarec-alpha0.5", "bsarec-c5")
REFERENCE, WATCHED = "sasrec-ce-watched", "bsarec-watched"
COMPARED = (REFERENCE, *REMEDIES, WATCHED, "bsarec-wavelet", "bsarec-residual")
NOT_ABOUT_DATA = [claim for claim in CLAIMS if not claim.datasets]
ABOUT_DATA = [claim for claim in CLAIMS if claim.datasets]
KINDS = {"reproduced": (True,) * 4, "contradicted": (False,) * 4, "undecided": (True, False, True, False)}
each_claim = pytest.mark.parametrize("claim", ABOUT_DATA, ids=lambda claim: claim.name)


def two_kinds_of_users() -> tuple[Sequences, Attributes]:
    """Histories of a quarter of users that alternate between two categories, and of others that stay in one."""
    alternating = np.tile([1, 2], 4)
    items = [alternating if user % 4 == 0 else np.r_[2, np.ones(7)] for user in range(USERS)]
    offsets = np.arange(USERS + 1) * 8
    sequences = Sequences("lastfm", np.arange(USERS), np.concatenate(items).astype(np.int32), offsets)
    return sequences, Attributes(np.array([1, 2]), np.array([0, 1, 2]))


class Simulated(Runs):
    """Runs in memory; a claim holds in those of some seeds, and the opposite in the others."""

    def __init__(self, holds: tuple[bool, ...]) -> None:
        super().__init__("nowhere", "lastfm")
        seeds = dict(zip(SEEDS, holds, strict=False))
        for name in ("bsarec", *OTHERS, "caser", *VARIANTS):
            self._results[name] = [self.run(name, seed, holds) for seed, holds in seeds.items()]
        for name in ("bsarec", "sasrec", "sasrec-ce", "bsarec-16", "sasrec-16", "sasrec-ce-16"):
            self._summaries[name] = [
                simulated.summary(name, seed, **numbers(name, holds)) for seed, holds in seeds.items()
            ]

    def run(self, name: str, seed: int, holds: bool) -> Result:
        seconds = (2.0 if holds else 4.0) if name == "bsarec" else 1.9
        dataset = {"name": "lastfm", "num_users": USERS, "num_items": 50}
        dataset["fingerprint"] = self.sequences.fingerprint
        made = result(name.partition("-")[0], seed, GOOD if (name == "bsarec") == holds else BAD)
        return replace(made, dataset=dataset, seconds_per_epoch=seconds + seed / 100)

    def untrained_similarity(self, system: str) -> np.ndarray:
        return np.array([[0.3, 0.3, 0.3], [0.4, 0.4, 0.41]])

    def varied(self, model: str, setting: str) -> list[str]:
        return [name for name in self._results if name.startswith(f"{model}-{setting}")]

    sequences, attributes = two_kinds_of_users()


def numbers(name: str, holds: bool) -> dict[str, object]:
    """The numbers of a summary in which all claims hold, or the opposite of each."""
    if name.startswith("bsarec"):
        between, rank, share = ((0.1, 0.1, 0.3), 5, 0.5) if holds else ((0.1, 0.1, 0.6), 2, 0.2)
        return {"rank": rank, "between": between, "high_share": share, "beta": 1.5 if holds else 0.1}
    between, rank, share = ((0.1, 0.1, 0.9), 2, 0.2) if holds else ((0.5, 0.3, 0.1), 5, 0.5)
    return {"damping": (20, 25) if holds else (6, 3), "between": between, "rank": rank, "high_share": share}


def only_for(users: np.ndarray, runs: list[Result]) -> list[Result]:
    """The runs with the target first for some users, and last for the others."""
    ranks = np.where(users, 1, 51).tolist()
    return [replace(run, test_ranks=ranks, test=summarise(torch.tensor(ranks))) for run in runs]


def for_claim(claim: Claim, holds: tuple[bool, ...]) -> Simulated:
    """Simulated runs; for claims about kinds of users, each run is good for one kind only."""
    runs = Simulated(holds)
    if claim.name.startswith("oversmoothing"):
        graded(runs, holds)
    if claim.name.startswith(("gain-is", "plain-remedy")):
        remedied(runs, holds, claim.name.startswith("gain-is"))
    if claim.name.startswith("high-frequency-users"):
        alternates = np.arange(USERS) % 4 == 0
        runs._results["bsarec"] = [
            only_for(alternates if kind else ~alternates, [run])[0]
            for kind, run in zip(holds, runs._results["bsarec"], strict=True)
        ]
        for name in ("sasrec", "sasrec-ce"):
            runs._results[name] = only_for(np.zeros(USERS, bool), runs._results[name])
    return runs


def graded(runs: Simulated, holds: tuple[bool, ...]) -> None:
    """Add runs of systems that smooth more and more, and rank worse and worse, or better and better."""
    for place, name in enumerate(COMPARED):
        smooth = {"between": (0.1, 0.1, 0.1 + 0.08 * place), "rank": 5 - 0.4 * place, "high_share": 0.5 - 0.04 * place}
        seeds = list(zip(SEEDS, holds, strict=False))
        runs._summaries[name] = [simulated.summary(name, seed, **smooth, noise=0.002) for seed, _ in seeds]
        runs._results[name] = [
            result(name.partition("-")[0], seed, GOOD * 1.5 ** (place if holds else len(COMPARED) - 1 - place))
            for seed, holds in seeds
        ]


def remedied(runs: Simulated, holds: tuple[bool, ...], gains: bool) -> None:
    """Add runs of SASRec, BSARec that smooths less, and remedies that smooth least; these rank well where it holds.

    gains: BSARec ranks well everywhere; otherwise only where it does not hold.
    """
    for name in (REFERENCE, *REMEDIES, WATCHED):
        level = {REFERENCE: 6, WATCHED: 3}.get(name, 0)
        smooth = {"between": (0.1, 0.1, 0.1 + 0.1 * level), "rank": 5 - 0.5 * level, "high_share": 0.5 - 0.05 * level}
        seeds = list(zip(SEEDS, holds, strict=False))
        runs._summaries[name] = [simulated.summary(name, seed, **smooth, noise=0.002) for seed, _ in seeds]
        is_good = [{REFERENCE: False, WATCHED: gains or not held}.get(name, held) for _, held in seeds]
        runs._results[name] = [
            result(name.partition("-")[0], seed, GOOD if good else BAD)
            for (seed, _), good in zip(seeds, is_good, strict=True)
        ]


def judged(claim: Claim, runs: Runs) -> str:
    found = claim.evidence(runs).found
    return verdict(found, found.p_value)[0]


@pytest.mark.parametrize("expected", KINDS)
@each_claim
def test_each_condition_comes_out_each_way(claim: Claim, expected: str):
    runs = for_claim(claim, KINDS[expected])
    assert judged(claim, runs) == expected
    evidence = claim.evidence(runs)
    assert "1, 2, 3, 4" in evidence.seeds.replace("†", "")


@each_claim
def test_one_seed_decides_nothing_and_says_what_its_users_would(claim: Claim):
    for holds, word in ((True, "reproduced"), (False, "contradicted")):
        evidence = claim.evidence(for_claim(claim, (holds,)))
        said = verdict(evidence.found, evidence.found.p_value, evidence.users)
        has_users = not claim.name.startswith(("cost", "beta", "oversmoothing"))
        assert said == ("undecided", f"one seed; by its users alone: {word}" if has_users else "one seed")


@pytest.mark.parametrize("claim", [*paper.SMOOTHING, paper.REMEDY], ids=lambda claim: claim.name)
def test_remedies_are_judged_by_the_seeds_that_all_of_them_have(claim: Claim):
    both, half_done = for_claim(claim, (True, True)), for_claim(claim, (True, True, False))
    for kept in (half_done._results, half_done._summaries):
        kept[REMEDIES[0]] = kept[REMEDIES[0]][:2]
    expected, found = claim.evidence(both), claim.evidence(half_done)
    assert found.seeds == expected.seeds
    assert found.found.estimate == pytest.approx(expected.found.estimate)


def test_seeds_in_common_have_a_result_and_a_summary():
    runs = Simulated((True,) * 4)
    runs._summaries["sasrec"], runs._results["bsarec"] = runs._summaries["sasrec"][1:], runs._results["bsarec"][:3]
    common = runs.of_seeds_in_common(["sasrec", "bsarec"])
    for name in ("sasrec", "bsarec"):
        assert [run.seed for run in common.results(name)] == [2, 3]
        assert [run.about["seed"] for run in common.summaries(name)] == [2, 3]
        np.testing.assert_array_equal(common.ndcg(name)[0], [gains(run).mean() for run in runs.results(name)[1:3]])
    assert len(runs.results("sasrec")) == 4  # as before
    runs._results["bsarec"] = runs._results["bsarec"][:1]
    with pytest.raises(Missing, match="no seed is one of all of sasrec, bsarec"):
        runs.of_seeds_in_common(["sasrec", "bsarec"])


@pytest.mark.parametrize("measure", MEASURES)
def test_without_a_gain_or_a_remedy_that_smooths_as_little_nothing_is_explained(measure: str):
    runs = Simulated((True,) * 4)
    remedied(runs, (True,) * 4, gains=True)
    explains = by.less_smoothing_explains(measure, REMEDIES, REFERENCE, WATCHED)
    assert all(name in explains(runs).seeds for name in REMEDIES)
    runs._summaries[REMEDIES[0]] = runs._summaries[REFERENCE]  # smooths more than BSARec, and is left out
    assert REMEDIES[0] not in explains(runs).seeds and REMEDIES[1] in explains(runs).seeds
    for name in REMEDIES:
        runs._summaries[name] = runs._summaries[REFERENCE]
    with pytest.raises(Missing, match="no remedy smooths as little as bsarec-watched"):
        explains(runs)
    with pytest.raises(Missing, match="sasrec-ce-watched gains nothing over bsarec-watched"):
        by.less_smoothing_explains(measure, REMEDIES, WATCHED, REFERENCE)(runs)


def test_the_gain_that_is_explained_is_half_of_it():
    runs = Simulated((True,) * 4)
    remedied(runs, (True,) * 4, gains=True)
    evidence = by.less_smoothing_explains("between_users", REMEDIES, REFERENCE, WATCHED)(runs)
    means = {name: runs.gains(name).mean() for name in (REFERENCE, WATCHED, *REMEDIES)}
    half = (means[WATCHED] - means[REFERENCE]) / 2
    expected = np.mean([means[name] for name in REMEDIES]) - means[REFERENCE] - half
    assert evidence.found.estimate == pytest.approx(expected) and evidence.null == f"half of the gain: {half:.3g}"


def test_the_remedy_that_is_compared_is_chosen_on_the_validation_split():
    runs = Simulated((True,) * 4)
    remedied(runs, (True,) * 4, gains=True)
    runs._results[REMEDIES[2]] = [
        replace(run, valid=run.valid | {"NDCG@20": 1.0}) for run in runs._results[REFERENCE]
    ]  # the best one for validation, and the worst on the test
    evidence = by.best_does_as_well(REMEDIES, WATCHED)(runs)
    assert evidence.seeds.startswith(f"{REMEDIES[2]} 1, 2, 3, 4")
    expected = runs.gains(REFERENCE).mean() - 0.95 * runs.gains(WATCHED).mean()
    assert evidence.found.estimate == pytest.approx(expected)


def test_the_relation_to_smoothing_is_the_rank_correlation_with_systems_as_units():
    runs = Simulated((True, False, True, True))
    graded(runs, (True, False, True, True))
    found = by.goes_with_better_ranking("effective_rank", COMPARED)(runs).found
    ranks = [summary.spectra().layers[2].effective_rank for name in COMPARED for summary in runs.summaries(name)]
    gained = np.concatenate([runs.gains(name).mean(axis=1) for name in COMPARED])
    assert found.estimate == pytest.approx(spearmanr(ranks, gained).statistic)
    assert found.freedom == len(COMPARED) - 1


def test_what_is_missing_is_named():
    runs = Runs("nowhere", "lastfm")
    for claim in ABOUT_DATA:
        with pytest.raises(Missing, match=r"^no (results|spectral summaries) of "):
            claim.evidence(runs)


@pytest.mark.parametrize("claim", NOT_ABOUT_DATA, ids=lambda claim: claim.name)
def test_the_theorem_comes_out_each_way(claim: Claim, monkeypatch: pytest.MonkeyPatch):
    cases = [case for seed in range(4) for case in theorem1(random_attentions([20], seed=seed)[:1]).cases]

    def changed(case: Case, k: int) -> Case:
        if claim.name.startswith("theorem-1-rate"):
            return replace(case, fitted_slope=case.fitted_slope * (1.3 + k / 50))
        return replace(case, log_ratio=case.log_ratio - 50 - k)

    of_kind = {
        "as they are": cases,
        "all changed": [changed(case, k) for k, case in enumerate(cases)],
        "half": [changed(case, k) if k % 4 < 2 else case for k, case in enumerate(cases)],
    }
    found = []
    for given in of_kind.values():
        monkeypatch.setattr(by, "random_cases", lambda causal, given=given: given)
        found.append(judged(claim, Runs("nowhere", "")))
    assert sorted(found) == ["contradicted", "reproduced", "undecided"]


def test_the_matrices_of_the_theorem_are_of_their_kind():
    for causal in (False, True):
        assert {case.causal for case in by.random_cases(causal)} == {causal}


def test_uniform_attention_damps_as_much_as_its_matrix_does():
    n = 10
    uniform = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    wave = (-1.0) ** np.arange(n) / np.sqrt(n)
    leaves = np.sum((uniform @ wave) ** 2) / np.sum((uniform @ np.ones(n) / np.sqrt(n)) ** 2)
    assert by.uniform_damping(n) == pytest.approx(-10 * np.log10(leaves))
    constant = np.ones(n) / np.sqrt(n)
    stays = (wave @ uniform @ wave) ** 2 / (constant @ uniform @ constant) ** 2
    assert by.uniform_damping(n, stays=True) == pytest.approx(-10 * np.log10(stays))


def test_initial_weights_are_those_of_the_architecture_and_the_users():
    config = {"num_items": 9, "max_len": 6, "hidden_size": 8, "num_layers": 3, "num_heads": 1}
    items = np.random.default_rng(0).integers(1, 10, USERS * 8).astype(np.int32)
    runs = Runs("nowhere", "lastfm")
    runs._loaded = Sequences("lastfm", np.arange(USERS), items, np.arange(USERS + 1) * 8)
    run = replace(result("sasrec", 1, GOOD), config=config, dataset={"fingerprint": runs.sequences.fingerprint})
    runs._results["sasrec"] = [run]
    found = runs.untrained_similarity("sasrec")
    model = build(configure("sasrec", **config))
    model.initialise(seed=1)
    model.eval()
    with torch.no_grad():
        hidden = model.trace(torch.from_numpy(runs.sequences.windows("test", 6).inputs)).hidden
    for layer, states in enumerate(hidden):
        units = states[:, -1].double() / states[:, -1].double().norm(dim=1, keepdim=True)
        cosines = units @ units.T
        assert found[1, layer] == pytest.approx(float(cosines.sum() - USERS) / (USERS * (USERS - 1)), abs=1e-6)
    runs._results["sasrec"] = [replace(run, dataset={"fingerprint": "other"})]
    with pytest.raises(Missing, match="is not the one of the runs"):
        runs.untrained_similarity("sasrec")


def test_the_slope_over_layers_is_that_of_least_squares():
    gains = np.random.default_rng(0).normal(size=(2, 5))
    assert paper.damping_per_layer(gains) == pytest.approx(-np.polyfit(np.arange(5), gains.T, 1)[0])


def test_the_initial_beta_is_a_squared_normal():
    draws = np.random.default_rng(0).normal(size=200_000) ** 2
    assert np.median(draws) == pytest.approx(by.MEDIAN_OF_SQUARED_NORMAL, abs=0.01)


def test_costs_on_different_processors_are_not_compared():
    runs = Simulated((True,) * 4)
    runs._results["sasrec"] = [replace(run, origin=Origin("a", 1, "another", 1.0)) for run in runs._results["sasrec"]]
    with pytest.raises(Missing, match="no processor that both bsarec and sasrec were trained on"):
        by.costs_about_as_much("bsarec", "sasrec")(runs)


def saved(folder: Path, systems: tuple[str, ...], seeds: int = 4) -> None:
    runs = Simulated((True,) * seeds)
    for system in systems:
        for run in runs.results(system):
            run.save(runs_folder(folder, "lastfm", "paper") / f"{system}-seed{run.seed}.json")


def test_the_ledger_corrects_over_all_rows_and_names_what_is_missing(tmp_path: Path):
    saved(tmp_path, ("bsarec", "caser", "gru4rec"))
    chosen = [
        claim for claim in CLAIMS if claim.name in ("over-caser", "over-gru4rec", "over-duorec", "low-pass-leaves")
    ]
    found = ledger(tmp_path, chosen)
    rows = found.table().query("dataset == 'lastfm'").set_index("claim")
    known = rows.p_value.dropna()
    assert list(known.index) == ["over-gru4rec", "over-caser"]
    assert rows.p_holm[known.index].tolist() == holm(known.tolist())
    assert (rows.verdict[known.index] == "reproduced").all() and rows.users["over-caser"] == USERS
    assert rows.reason["over-duorec"] == "no results of duorec"
    assert rows.reason["low-pass-leaves"] == "no spectral summaries of sasrec"
    said = "4 claims in 19 rows: 2 reproduced, 0 contradicted, 17 undecided (17 of them without runs)."
    assert found.sentence() == said
    text = found.to_markdown()
    assert said in text and "undecided: no results of duorec" in text
    assert "| beauty | undecided: no runs on beauty | HR@10" in text
    assert "- over-caser (lastfm): bsarec 1, 2, 3, 4; caser 1, 2, 3, 4" in text and str(tmp_path) not in text


def test_a_verdict_needs_a_p_value_after_correction():
    one = Difference(1.0, error=0.4, seeds=5, seed_share=0.1)
    many = [Claim(f"{k}", "", "", "", "", lambda runs: Evidence(one, 1, ""), ()) for k in range(10)]
    assert ledger("nowhere", many[:1]).table().verdict.tolist() == ["reproduced"]
    assert set(ledger("nowhere", many).table().verdict) == {"undecided"}


def test_seeds_that_learned_nothing_or_were_capped_are_marked():
    runs = Simulated((True,) * 3)
    first, second, third = runs._results["fearec"]
    runs._results["fearec"] = [replace(first, best_epoch=0, epochs=7), second, replace(third, epochs=5)]
    claim = next(claim for claim in CLAIMS if claim.name == "over-fearec")
    assert claim.evidence(runs).seeds == "bsarec 1, 2, 3; fearec 1†, 2, 3‡"


def test_a_dataset_that_is_not_here_is_named_and_looked_for_once(monkeypatch: pytest.MonkeyPatch):
    tries = []

    def load(name: str, folder: object) -> Sequences:
        tries.append(name)
        raise DataError("no network")

    monkeypatch.setattr("spectral.claims.runs.load", load)
    runs = Runs("nowhere", "lastfm")
    runs._results["sasrec"] = runs._results["bsarec"] = [result("sasrec", 1, GOOD)]
    for _ in range(2):
        with pytest.raises(Missing, match="the file of lastfm was not found"):
            runs.untrained_similarity("sasrec")
    assert tries == ["lastfm"]


def test_an_unknown_dataset_is_named():
    with pytest.raises(ConfigError, match="no claim is about nowhere; expected one of lastfm, beauty"):
        ledger("figures", CLAIMS, datasets=["nowhere"])


def test_all_claims_are_told_apart_and_say_their_conditions():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) >= 15
    for claim in CLAIMS:
        assert claim.reproduced != claim.contradicted and claim.measure and claim.text


def test_the_command_writes_the_ledger(call, tmp_path: Path):
    saved(tmp_path / "figures", ("bsarec", "caser"), seeds=2)
    status, out, err = call("claims", "figures", "--json")
    assert status == 0, err
    rows = json.loads(out)["claims"]
    table = pd.read_csv(tmp_path / "figures" / "claims.csv")
    assert [row["claim"] for row in rows] == table.claim.tolist()
    assert set(table.dataset.dropna()) == {*paper.DATASETS, *paper.REMEDIED}
    assert (tmp_path / "figures" / "claims.md").read_text().count("| lastfm |") == len(ABOUT_DATA)
    status, out, err = call("claims", "figures", "--profile", "quick", "--dataset", "lastfm", "--out", "other")
    other = pd.read_csv(tmp_path / "other.csv").query("dataset == 'lastfm'")
    assert status == 0 and set(other.reason) == {"no runs on lastfm"}


def test_the_committed_ledger_is_that_of_the_committed_runs():
    table = pd.read_csv(ROOT / "figures/claims.csv", keep_default_na=False, na_values=[""])
    named = {(claim.name, dataset) for claim in CLAIMS for dataset in claim.datasets or [""]}
    assert set(zip(table.claim, table.dataset.fillna(""), strict=True)) == named
    assert len(table) >= 12 and table.verdict.nunique() >= 2
    for claim in CLAIMS:
        (words,) = table[table.claim == claim.name].groupby(["text", "measure", "reproduced_if", "contradicted_if"])
        assert words[0] == (claim.text, claim.measure, claim.reproduced, claim.contradicted)
    known = table[table.p_value.notna()]
    assert known.p_holm.tolist() == pytest.approx(holm(known.p_value.tolist()))
    decided = np.where(known.estimate > 0, "reproduced", "contradicted")
    assert known.verdict.tolist() == np.where(known.p_holm < 0.05, decided, "undecided").tolist()
    assert set(table[table.p_value.isna()].verdict) == {"undecided"}
    names = ("low-pass-leaves", "over-duorec", "singular-values-equal-loss")
    again = ledger(ROOT / "figures", [claim for claim in CLAIMS if claim.name in names], datasets=["lastfm"]).table()
    committed = table.query("dataset == 'lastfm'").set_index("claim").loc[again.claim]
    for column in ("estimate", "low", "high", "p_value"):
        assert committed[column].tolist() == pytest.approx(again[column].tolist())
