"""What is drawn in a figure of curves: what its bands are of, and which null models its grey lines are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spectral.estimate import Estimate
from spectral.findings import in_words
from spectral.gallery.sentences import listing
from spectral.over_seeds import Gains, Similarities, Spectrum
from spectral.palette import title_of
from spectral.singular_values import GAUSSIAN

NULLS = {
    "uniform": "uniform attention under the same mask",
    "untrained": "initial weights",
    "shuffled": "shuffled histories",
    GAUSSIAN: "simulated Gaussian matrices of the same column variances",
}
ONE_MODEL = "Bands are 95% intervals over users of one model (one model, users only)."


def drawn(results: Mapping[str, Gains | Spectrum | Similarities]) -> str:
    """Return what the bands and the grey lines of results are, by system."""
    intervals = {name: found.interval for name, found in results.items()}
    means = not all(isinstance(found, Gains) for found in results.values())
    nulls = null_models({name: found.nulls for name, found in results.items()}, means)
    return f"{bands(intervals)} {nulls}".strip()


def each(results: Mapping[str, Any], say: Callable[[Any], str]) -> str:
    """Return what is said of each panel, after its title; without titles for a single panel.

    Example:
        >>> each({"2 layers": 2, "16 layers": 16}, str), each({"2 layers": 2}, str)
        ('2 layers: 2 16 layers: 16', '2')
    """
    return " ".join(f"{title}: {say(of)}" if len(results) > 1 else say(of) for title, of in results.items())


def bands(estimates: Mapping[str, Estimate]) -> str:
    """Return what the bands are of: users alone for a single model, or users and seeds.

    Example:
        >>> import numpy as np
        >>> from spectral.estimate import estimate
        >>> one, five = (estimate(np.zeros((n, 1)), np.zeros((9, n, 1)), users=80) for n in (1, 5))
        >>> bands({"sasrec": one})
        'Bands are 95% intervals over users of one model (one model, users only).'
        >>> bands({"sasrec": five})
        'Lines are means over 5 seeds; bands are 95% intervals over users (dark), and over users and seeds (light).'
    """
    seeds = {title_of(name): found.seeds for name, found in estimates.items()}
    several = {name: number for name, number in seeds.items() if number > 1}
    if not any(found.users for found in estimates.values()):  # of learned parameters
        if not several:
            return "Lines are of one model each."
        counted = listing(seeds, "d")
        return f"Lines are means over seeds, with their 95% intervals if there are several; number of seeds: {counted}."
    if not several:
        return ONE_MODEL
    numbers = sorted(set(several.values()))
    counted = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    alone = [name for name in seeds if name not in several]
    single = f"; of {in_words(alone)} there is one model, users only" if alone else ""
    return (
        f"Lines are means over {counted} seeds; bands are 95% intervals over users (dark), and over users and seeds "
        f"(light){single}."
    )


def null_models(nulls: Mapping[str, Mapping[str, Sequence[Any]]], means: bool = False) -> str:
    """Return which null models are drawn, of which systems if not of all; "" for none.

    nulls: the draws, by system and null. means: whether the mean of the draws is drawn, except of Gaussian matrices.

    Example:
        >>> null_models({"sasrec": {"uniform": [0], "untrained": [0, 0]}, "fmlprec": {"untrained": [0, 0]}})
        'Grey: uniform attention under the same mask (SASRec), initial weights (2 draws).'
    """
    said = []
    for null in dict.fromkeys(name for of_system in nulls.values() for name in of_system):
        having = [title_of(name) for name, of_system in nulls.items() if null in of_system]
        draws = max(len(of_system.get(null, ())) for of_system in nulls.values())
        parts = [in_words(having)] if len(having) < len(nulls) else []
        of = "mean of " if means and null != GAUSSIAN else ""
        parts += [f"{of}{draws} draws"] if draws > 1 else []
        said.append(NULLS[null] + (f" ({'; '.join(parts)})" if parts else ""))
    return f"Grey: {', '.join(said)}." if said else ""
