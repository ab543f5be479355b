"""The ledger: every condition comes out each way on simulated runs, and verdicts follow from numbers alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulated_summaries as simulated
import torch
from simulated_results import USERS, result

from models.datasets import Sequences
from models.datasets.attributes import Attributes
from models.evaluation import summarise
from models.results.runs import Origin, Result, runs_folder
from models.results.significance import Difference, holm
from spectral.claims import Claim, Evidence, ledger, verdict
from spectral.claims import evidence as by
from spectral.claims.paper import CLAIMS
from spectral.claims.runs import Missing, Runs
from spectral.theorem1 import random_attentions, theorem1

SEEDS = (1, 2, 3, 4)
GOOD, BAD = 6, 2000  # how far the targets are from the first place
OTHERS = ("sasrec", "sasrec-ce", "sasrec-ce-h1", "duorec", "fearec", "fmlprec", "bert4rec", "gru4rec", "caser")
VARIANTS = ("bsarec-attention", "bsarec-frequency", "bsarec-scalar", "bsarec-alpha0.1", "bsarec-alpha0.5", "bsarec-c5")
NOT_ABOUT_DATA = [claim for claim in CLAIMS if not claim.datasets]
ABOUT_DATA = [claim for claim in CLAIMS if claim.datasets]


def two_kinds_of_users() -> tuple[Sequences, Attributes]:
    """Histories of a quarter of users that alternate between two categories, and of others that stay in one."""
    alternating = np.tile([1, 2], 4)
    items = [alternating if user % 4 == 0 else np.r_[2, np.ones(7)] for user in range(USERS)]
    offsets = np.arange(USERS + 1) * 8
    sequences = Sequences("lastfm", np.arange(USERS), np.concatenate(items).astype(np.int32), offsets)
    return sequences, Attributes(np.array([1, 2]), np.array([0, 1, 2]))


class Simulated(Runs):
    """Runs in memory in which all claims hold, or the opposite of each."""

    def __init__(self, holds: bool, seeds: tuple[int, ...] = SEEDS) -> None:
        super().__init__("nowhere", "lastfm")
        own, other = (GOOD, BAD) if holds else (BAD, GOOD)
        for name in ("bsarec", *OTHERS, *VARIANTS):
            quality = own if name == "bsarec" else other
            self._results[name] = [self.run(name, seed, quality, holds) for seed in seeds]
        sasrec = {"damping": (20, 25) if holds else (-3, -6), "rank": 2 if holds else 5}
        sasrec |= {"between": (0.1, 0.1, 0.7) if holds else (0.1, 0.7, 0.1), "high_share": 0.2 if holds else 0.5}
        bsarec = {"rank": 5 if holds else 2, "between": (0.1, 0.1, 0.3), "high_share": 0.5 if holds else 0.2}
        bsarec["beta"] = 1.5 if holds else 0.1
        for name, numbers in (("sasrec", sasrec), ("sasrec-ce", sasrec), ("bsarec", bsarec)):
            self._summaries[name] = [simulated.summary(name, seed, **numbers) for seed in seeds]

    def run(self, name: str, seed: int, quality: float, holds: bool) -> Result:
        seconds = (2.0 if holds else 4.0) if name == "bsarec" else 1.9
        dataset = {"name": "lastfm", "num_users": USERS, "num_items": 50}
        dataset["fingerprint"] = self.sequences.fingerprint
        made = result(name.partition("-")[0], seed, quality)
        return replace(made, dataset=dataset, seconds_per_epoch=seconds + seed / 100)

    def varied(self, model: str, setting: str) -> list[str]:
        return [name for name in self._results if name.startswith(f"{model}-{setting}")]

    sequences, attributes = two_kinds_of_users()


def only_for(users: np.ndarray, runs: list[Result]) -> list[Result]:
    """The runs with the target first for some users, and last for the others."""
    ranks = np.where(users, 1, 51).tolist()
    return [replace(run, test_ranks=ranks, test=summarise(torch.tensor(ranks))) for run in runs]


def judged(claim: Claim, runs: Runs) -> str:
    found = claim.evidence(runs).found
    return verdict(found, found.p_value)[0]


@pytest.mark.parametrize("claim", ABOUT_DATA, ids=lambda claim: claim.name)
def test_each_condition_comes_out_each_way(claim: Claim):
    for holds, expected in ((True, "reproduced"), (False, "contradicted")):
        runs = Simulated(holds)
        if claim.name == "high-frequency-users":
            alternates = np.arange(USERS) % 4 == 0
            runs._results["bsarec"] = only_for(alternates if holds else ~alternates, runs._results["bsarec"])
            runs._results["sasrec"] = only_for(np.zeros(USERS, bool), runs._results["sasrec"])
        assert judged(claim, runs) == expected
        evidence = claim.evidence(runs)
        assert "bsarec 1, 2, 3, 4" in evidence.seeds or "sasrec 1, 2, 3, 4" in evidence.seeds


@pytest.mark.parametrize("claim", ABOUT_DATA, ids=lambda claim: claim.name)
def test_one_seed_decides_nothing(claim: Claim):
    found = claim.evidence(Simulated(True, seeds=(1,))).found
    assert verdict(found, found.p_value) == ("undecided", "a system has one seed")


def test_equal_systems_decide_nothing():
    runs = Simulated(True)
    runs._results = dict.fromkeys(runs._results, runs._results["sasrec"])
    alike = [claim for claim in ABOUT_DATA if claim.name.startswith(("over-", "needs-", "alpha", "c-", "high-freq"))]
    assert len(alike) >= 14
    for claim in alike:
        assert judged(claim, runs) == "undecided"


def test_what_is_missing_is_named():
    runs = Runs("nowhere", "lastfm")
    for claim in ABOUT_DATA:
        with pytest.raises(Missing, match="no (results|spectral summaries) of "):
            claim.evidence(runs)


@pytest.mark.parametrize("claim", NOT_ABOUT_DATA, ids=lambda claim: claim.name)
def test_the_theorem_comes_out_each_way(claim: Claim, monkeypatch: pytest.MonkeyPatch):
    cases = [case for seed in range(3) for case in theorem1(random_attentions([20], seed=seed)[:1]).cases]
    if claim.name == "theorem-1-rate":
        other = [replace(case, fitted_slope=case.fitted_slope * (1.3 + k / 50)) for k, case in enumerate(cases)]
    else:
        other = [replace(case, log_ratio=case.log_ratio - 50 - k) for k, case in enumerate(cases)]
    found = []
    for given in (cases, other):
        monkeypatch.setattr(by, "_random_cases", lambda given=given: given)
        found.append(judged(claim, Runs("nowhere", "")))
    assert sorted(found) == ["contradicted", "reproduced"]


def test_uniform_attention_damps_as_much_as_its_matrix_does():
    n = 10
    uniform = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    wave = (-1.0) ** np.arange(n)
    energy = np.sum((uniform @ wave) ** 2) / np.sum((uniform @ np.ones(n)) ** 2)
    assert by.uniform_damping(n) == pytest.approx(-10 * np.log10(energy))


def test_the_initial_beta_is_a_squared_normal():
    draws = np.random.default_rng(0).normal(size=200_000) ** 2
    assert np.median(draws) == pytest.approx(by.MEDIAN_OF_SQUARED_NORMAL, abs=0.01)


def test_costs_on_different_processors_are_not_compared():
    runs = Simulated(True)
    runs._results["sasrec"] = [replace(run, origin=Origin("a", 1, "another", 1.0)) for run in runs._results["sasrec"]]
    with pytest.raises(Missing, match="no processor that both bsarec and sasrec were trained on"):
        by.costs_about_as_much("bsarec", "sasrec")(runs)


def saved(folder: Path, systems: tuple[str, ...], seeds: tuple[int, ...] = SEEDS) -> None:
    runs = Simulated(True, seeds)
    for system in systems:
        for run in runs.results(system):
            run.save(runs_folder(folder, "lastfm", "paper") / f"{system}-seed{run.seed}.json")


def test_the_ledger_corrects_over_all_rows_and_names_what_is_missing(tmp_path: Path):
    saved(tmp_path, ("bsarec", "caser", "gru4rec"))
    chosen = [claim for claim in CLAIMS if claim.name in ("over-caser", "over-gru4rec", "over-duorec", "low-pass")]
    found = ledger(tmp_path, chosen)
    rows = found.table().set_index("claim")
    known = rows.p_value.dropna()
    assert list(known.index) == ["over-gru4rec", "over-caser"]
    assert rows.p_holm[known.index].tolist() == holm(known.tolist())
    assert (rows.verdict[known.index] == "reproduced").all() and rows.users["over-caser"] == USERS
    assert rows.reason["over-duorec"] == "no results of duorec"
    assert rows.reason["low-pass"] == "no spectral summaries of sasrec"
    assert found.without == ["beauty", "toys", "sports", "yelp", "ml-1m"]
    assert found.sentence() == "4 claims: 2 reproduced, 0 contradicted, 2 undecided."
    text = found.to_markdown()
    assert "No runs at all: beauty, toys" in text and "undecided: no results of duorec" in text
    assert "- over-caser, lastfm: bsarec 1, 2, 3, 4; caser 1, 2, 3, 4" in text and str(tmp_path) not in text


def test_a_verdict_needs_a_p_value_after_correction():
    one = Difference(1.0, error=0.4, seeds=5, seed_share=0.1)
    many = [Claim(f"{k}", "", "", "", "", lambda runs: Evidence(one, 1, ""), ()) for k in range(10)]
    assert ledger("nowhere", many[:1]).table().verdict.tolist() == ["reproduced"]
    assert set(ledger("nowhere", many).table().verdict) == {"undecided"}


def test_all_claims_are_told_apart_and_say_their_conditions():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) >= 15
    for claim in CLAIMS:
        assert claim.reproduced != claim.contradicted and claim.measure and claim.text


def test_the_command_writes_the_ledger(call, tmp_path: Path):
    saved(tmp_path / "figures", ("bsarec", "caser"), seeds=(1, 2))
    status, out, err = call("claims", "figures", "--json")
    assert status == 0, err
    rows = json.loads(out)["claims"]
    table = pd.read_csv(tmp_path / "figures" / "claims.csv")
    assert [row["claim"] for row in rows] == table.claim.tolist() and set(table.dataset.dropna()) == {"lastfm"}
    assert (tmp_path / "figures" / "claims.md").read_text().count("| lastfm |") == len(ABOUT_DATA)
    status, out, err = call("claims", "figures", "--profile", "quick", "--dataset", "lastfm", "--out", "other")
    assert status == 0 and {"over-caser"}.isdisjoint(pd.read_csv(tmp_path / "other.csv").claim)
