from repository import ROOT

from models.registry import MODELS
from models.results.priority import STEP, priority
from models.results.profile_file import read_profile

DRAWN = ["fig2_filter", "fig3_oversmoothing", "fig7_filters"]


def test_every_model_has_a_length():
    assert STEP.keys() == MODELS.keys()


def test_runs_that_figures_wait_for_come_before_long_runs():
    profile = read_profile({"profile": "paper"}, ROOT)
    systems = ["sasrec", "caser", "bsarec-16", "bsarec"]
    order = sorted(systems, key=lambda system: -priority(profile, DRAWN, "lastfm", system))
    assert order == ["bsarec", "sasrec", "bsarec-16", "caser"]


def test_among_runs_that_nothing_waits_for_the_longest_comes_first():
    profile = read_profile({"profile": "paper"}, ROOT)
    systems = ["sasrec", "sasrec-16", "duorec", "duorec-16", "caser"]
    order = sorted(systems, key=lambda system: -priority(profile, [], "lastfm", system))
    assert order == ["duorec-16", "sasrec-16", "caser", "duorec", "sasrec"]
