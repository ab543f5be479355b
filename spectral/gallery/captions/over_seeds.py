"""What is seen in curves over seeds, with their intervals and null models.

Two systems are told apart where their intervals do not overlap, which is stricter than an interval of the difference
(`spectral.compare`).
"""

from collections.abc import Mapping

import numpy as np
import scipy

from spectral.estimate import Estimate
from spectral.findings import in_layers, in_words
from spectral.gallery.captions.nulls import OF_ATTENTION, OF_RANKS, OF_USERS, against, fastest
from spectral.gallery.sentences import listing
from spectral.over_seeds import Betas, Gains, Similarities, Spectrum
from spectral.palette import title_of
from spectral.response import CUTOFF_DB


def of_gains(results: Mapping[str, Gains]) -> str:
    """Return what is seen in gains of attention: whether they are low-pass, what is left, and what null models say."""
    left = {name: found.gain_db.value[:, -1] for name, found in results.items()}
    stays = {name: found.self_gain_db.value[:, -1] for name, found in results.items()}
    said = [
        _low_pass({name: found.gain_db for name, found in results.items()}),
        f"What leaves of the fastest wave, layer by layer: {listing(left, unit=' dB')}; what stays at its frequency: "
        f"{listing(stays, unit=' dB')}.",
        *against(
            results,
            lambda found: found.response.layers,
            lambda found: found.gain_db,
            fastest,
            at=-1,
            **OF_ATTENTION,
        ),
    ]
    return " ".join(said)


def _low_pass(gain_db: Mapping[str, Estimate]) -> str:
    """Return in which layers the fastest wave surely leaves 3 dB weaker than a constant signal."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for name, found in gain_db.items():
        damped = found.high[:, -1] < CUTOFF_DB
        for side in (True, False):
            if layers := [int(place) + 1 for place in np.flatnonzero(damped == side)]:
                sides[side].append(f"{title_of(name)} {in_layers(layers)}")
    if not sides[False]:
        return "Attention is a low-pass filter in every layer: the fastest wave leaves more than 3 dB weaker."
    if not sides[True]:
        return "In no layer is it certain that attention damps the fastest wave by more than 3 dB."
    return f"Attention damps the fastest wave by more than 3 dB except of {in_words(sides[False])}."


def of_spectra(results: Mapping[str, Spectrum], reference: str = "bsarec") -> str:
    """Return the effective ranks, where the reference stands among the others, and what null models say."""
    ranks = {name: float(found.effective_rank.value) for name, found in results.items()}
    size = len(next(iter(results.values())).values.values)
    said = [f"Effective ranks, of at most {size}: {listing(ranks)}."]
    if reference in results and len(results) > 1:
        standing = _standing({name: found.effective_rank for name, found in results.items()}, reference)
        title = title_of(reference)
        said.append(f"In the paper {title}'s spectrum falls the most slowly; here its effective rank is {standing}.")
    said += against(
        results,
        lambda found: (found.layer,),
        lambda found: found.effective_rank,
        lambda spectrum: [spectrum.effective_rank],
        **OF_RANKS,
    )
    return " ".join(said)


def _standing(estimates: Mapping[str, Estimate], reference: str) -> str:
    """Return where a system stands among the others, as in "above that of A, and not told apart from that of B"."""
    own = estimates[reference]
    sides: dict[str, list[str]] = {}
    for name, other in estimates.items():
        if name != reference:
            side = "above" if own.low > other.high else "below" if own.high < other.low else "not told apart from"
            sides.setdefault(f"{side} that of", []).append(title_of(name))
    return ", and ".join(f"{side} {in_words(names)}" for side, names in sides.items())


def of_similarities(results: Mapping[str, Similarities]) -> str:
    """Return how users and positions change from the embedding to the last layer, and what null models say."""
    said = [
        _change(what, {name: getattr(found, kind) for name, found in results.items()})
        for what, kind in (("users", "between_users"), ("positions of a sequence", "within_sequence"))
    ]
    said += against(
        results,
        lambda found: found.similarity.layers[-1:].tolist(),
        lambda found: found.between_users,
        lambda similarity: similarity.between_users[-1:],
        at=-1,
        **OF_USERS,
    )
    return " ".join(said)


def _change(what: str, curves: Mapping[str, Estimate]) -> str:
    """Return in which systems a similarity surely rises or falls from the first layer to the last."""
    sides: dict[str, list[str]] = {}
    for name, found in curves.items():
        grows, falls = found.low[-1] > found.high[0], found.high[-1] < found.low[0]
        side = "become more alike" if grows else "become less alike" if falls else "show no certain change"
        ends = f"{found.value[0]:.2f} to {found.value[-1]:.2f}"
        sides.setdefault(side, []).append(f"{title_of(name)} ({ends})")
    said = "; ".join(f"{side} in {in_words(names)}" for side, names in sides.items())
    return f"From the embedding to the last layer {what} {said}."


def of_betas(found: Betas) -> str:
    """Return the medians of beta by layer, and on which side of the initial one those of all runs lie.

    Example:
        >>> of_betas(Betas(np.array([[[0.1, 0.3, 0.9]], [[0.0, 0.1, 1.9]]])))[:87]
        'Layer 1: median beta 0.30, 0.10 by seed, below the 0.45 of initial weights in every run'
    """
    initial, sentences = scipy.stats.chi2.median(1), []  # of the square of a standard normal variable
    for row, layer in enumerate(found.layers):
        values = found.values[:, row]
        medians = np.median(values, axis=1)
        side = "below" if (medians < initial).all() else "above" if (medians > initial).all() else "around"
        in_each = " in every run" if side != "around" and len(medians) > 1 else ""
        where = f"{side} the {initial:.2f} of initial weights{in_each}"
        sentences.append(
            f"layer {layer}: median beta {', '.join(f'{median:.2f}' for median in medians)} by seed, {where}; "
            f"{(values > 1).mean():.0%} of the dimensions emphasise high frequencies"
        )
    text = "; ".join(sentences)
    return f"{text[:1].upper()}{text[1:]}."
