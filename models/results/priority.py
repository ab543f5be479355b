"""Which training runs the workflow starts first, so that no core is idle at the end."""

from collections.abc import Iterable
from typing import Any

from models.results.profile import Profile

# Milliseconds of a training step of two layers, by benchmarks/train_speed.py; only their order matters here.
STEP = {"fearec": 309, "caser": 238, "duorec": 88, "bert4rec": 71, "gru4rec": 66, "bsarec": 60, "fmlprec": 40}
STEP |= {"sasrec": 36, "lowarec": 90, "tvrec": 55, "wearec": 60, "slime4rec": 80}


def priority(profile: Profile, notebooks: Iterable[str], dataset: str, system: str) -> int:
    """Return the priority of a system's training: by the figures that wait for it, and then by its length.

    A run that many figures wait for comes first, so that they are drawn while the others are trained. Among those with
    equally many, the longest comes first: a long one that starts last runs alone while the other cores wait.

    notebooks: the names of the notebooks whose figures are drawn.
    dataset: the name of a dataset's folder.

    >>> from models.results.profile_file import read_profile
    >>> quick = read_profile({"profile": "quick"})
    >>> drawn = ["fig2_filter", "fig3_oversmoothing", "fig4_architecture"]
    >>> sorted(quick.shown("fig3"), key=lambda system: -priority(quick, drawn, "ml-100k", system))
    ['bsarec', 'sasrec', 'fmlprec']
    """
    waiting = sum(system in profile.behind(notebook) for notebook in notebooks)
    return 100_000 * waiting + _length(profile.settings_for(system, dataset))


def _length(settings: dict[str, Any]) -> int:
    return round(STEP[settings["model"]] * settings.get("num_layers", 2) / 2)
