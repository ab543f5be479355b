"""Captions of figures of curves: sentences that the data choose, each of which could come out otherwise.

Contents: what is drawn (`drawn`: `bands` and `null_models`), and what is seen (`of_gains`, `of_transfer`, `of_blocks`,
`of_spectra`, `of_similarities`, `of_betas`). Against null models the rule is that of `spectral.findings`. Two systems
are told apart where their intervals do not overlap, which is stricter than an interval of the difference
(`spectral.compare`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from spectral.block_response import BlockResponse
from spectral.estimate import Estimate
from spectral.findings import MARGINS, finding, in_layers
from spectral.gallery.sentences import listing
from spectral.over_seeds import Betas, Gains, Similarities, Spectrum
from spectral.palette import title_of
from spectral.response import CUTOFF_DB
from spectral.singular_values import GAUSSIAN
from spectral.transfer_map import TransferMap

NULLS = {
    "uniform": "uniform attention under the same mask",
    "untrained": "initial weights",
    "shuffled": "shuffled histories",
    GAUSSIAN: "simulated Gaussian matrices of the same column variances",
}


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
        counted = listing(seeds, "d")
        return f"Lines are means over seeds, with their 95% intervals if there are several; number of seeds: {counted}."
    if not several:
        return "Bands are 95% intervals over users of one model (one model, users only)."
    numbers = sorted(set(several.values()))
    counted = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    alone = [name for name in seeds if name not in several]
    single = f"; of {_and(alone)} there is one model, users only" if alone else ""
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
        parts = [_and(having)] if len(having) < len(nulls) else []
        of = "mean of " if means and null != GAUSSIAN else ""
        parts += [f"{of}{draws} draws"] if draws > 1 else []
        said.append(NULLS[null] + (f" ({'; '.join(parts)})" if parts else ""))
    return f"Grey: {', '.join(said)}." if said else ""


def of_gains(results: Mapping[str, Gains]) -> str:
    """Return what is seen in gains of attention: whether they are low-pass, what is left, and what null models say."""
    left = {name: found.gain_db.value[:, -1] for name, found in results.items()}
    stays = {name: found.self_gain_db.value[:, -1] for name, found in results.items()}
    sentences = [
        _low_pass({name: found.gain_db for name, found in results.items()}),
        f"What leaves of the fastest wave, layer by layer: {listing(left, unit=' dB')}; what stays at its frequency: "
        f"{listing(stays, unit=' dB')}.",
        *_against(
            results,
            lambda found: found.response.layers,
            lambda found: found.gain_db,
            lambda response: response.head_mean.gain_db[:, 0, -1],
            above="passes more of the fastest wave through attention than",
            below="damps the fastest wave in attention more than",
            margin=MARGINS["gain_db"],
            by="by what leaves of the fastest wave",
            at=-1,
        ),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


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
    return f"Attention damps the fastest wave by more than 3 dB except of {_and(sides[False])}."


def of_transfer(maps: Mapping[str, TransferMap]) -> str:
    """Return where the energy of high modes goes, by layer, in percent of what enters."""
    shares = {name: {key: 100 * value[:, 0] for key, value in of.head_mean.sums.items()} for name, of in maps.items()}
    falls = {name: each["hfc_lfc"] for name, each in shares.items()}
    stays = {name: each["hfc_hfc"] for name, each in shares.items()}
    more = all((falls[name] > stays[name]).all() for name in maps)
    less = all((falls[name] < stays[name]).all() for name in maps)
    compared = "more leaves in low modes than" if more else "less leaves in low modes than" if less else ""
    sentence = f"Of the energy that enters in high modes, {compared} in high ones in every layer. " if compared else ""
    return (
        f"{sentence}Of what enters in high modes, in low ones leaves {listing(falls, '.2g', '%')}; in high ones "
        f"{listing(stays, '.2g', '%')}."
    )


def of_blocks(blocks: Mapping[str, BlockResponse], nulls: Mapping[str, Mapping[str, Sequence[BlockResponse]]]) -> str:
    """Return what is seen in gains of whole layers relative to DC: what is left, and what null models say."""
    left = {name: response.relative_db[:, -1] for name, response in blocks.items()}
    comparisons = sum(map(len, left.values()))
    sentences = [f"What whole layers leave of the fastest wave, relative to DC: {listing(left, unit=' dB')}."]
    for name, response in blocks.items():
        draws = {
            null: [_numbered(draw.layers, draw.relative_db[:, -1]) for draw in of_null]
            for null, of_null in nulls.get(name, {}).items()
        }
        sentences.append(
            finding(
                title_of(name),
                _numbered(response.layers, left[name]),
                draws,
                above="passes more of the fastest wave through whole layers than",
                below="damps the fastest wave in whole layers more than",
                margin=MARGINS["gain_db"],
                comparisons=comparisons,
                by="by what whole layers leave of the fastest wave",
            )
        )
    return " ".join(sentence for sentence in sentences if sentence)


def of_spectra(results: Mapping[str, Spectrum], reference: str = "bsarec") -> str:
    """Return the effective ranks, where the reference stands among the others, and what null models say."""
    ranks = {name: float(found.effective_rank.value) for name, found in results.items()}
    size = len(next(iter(results.values())).values.values)
    sentences = [f"Effective ranks, of at most {size}: {listing(ranks)}."]
    if reference in results and len(results) > 1:
        standing = _standing({name: found.effective_rank for name, found in results.items()}, reference)
        title = title_of(reference)
        sentences.append(
            f"In the paper {title}'s spectrum falls the most slowly; here its effective rank is {standing}."
        )
    sentences += _against(
        results,
        lambda found: (found.layer,),
        lambda found: found.effective_rank,
        lambda spectrum: [spectrum.effective_rank],
        above="spreads its users over more directions than",
        below="leaves its users in fewer directions than",
        margin=MARGINS["effective_rank"],
        by="by effective rank",
    )
    return " ".join(sentence for sentence in sentences if sentence)


def of_similarities(results: Mapping[str, Similarities]) -> str:
    """Return how users and positions change from the embedding to the last layer, and what null models say."""
    sentences = [
        _change(what, {name: getattr(found, kind) for name, found in results.items()})
        for what, kind in (("users", "between_users"), ("positions of a sequence", "within_sequence"))
    ]
    sentences += _against(
        results,
        lambda found: found.similarity.layers[-1:].tolist(),
        lambda found: found.between_users,
        lambda similarity: similarity.between_users[-1:],
        above="makes users more alike than",
        below="keeps users further apart than",
        margin=MARGINS["similarity"],
        by="by the similarity of users",
        at=-1,
    )
    return " ".join(sentence for sentence in sentences if sentence)


def of_betas(found: Betas) -> str:
    """Return the medians of beta by layer, and on which side of the initial one those of all runs lie.

    Example:
        >>> of_betas(Betas(np.array([[[0.1, 0.3, 0.9]], [[0.0, 0.1, 1.9]]])))[:87]
        'Layer 1: median beta 0.30, 0.10 by seed, below the 0.45 of initial weights in every run'
    """
    initial, sentences = stats.chi2.median(1), []  # of the square of a standard normal variable
    for row, layer in enumerate(found.layers):
        values = found.values[:, row]
        medians = np.median(values, axis=1)
        side = "below" if (medians < initial).all() else "above" if (medians > initial).all() else "around"
        where = f"{side} the {initial:.2f} of initial weights" + (" in every run" if side != "around" else "")
        sentences.append(
            f"layer {layer}: median beta {', '.join(f'{median:.2f}' for median in medians)} by seed, {where}; "
            f"{(values > 1).mean():.0%} of the dimensions emphasise high frequencies"
        )
    text = "; ".join(sentences)
    return f"{text[:1].upper()}{text[1:]}."


def _change(what: str, curves: Mapping[str, Estimate]) -> str:
    """Return in which systems a similarity surely rises or falls from the first layer to the last."""
    sides: dict[str, list[str]] = {}
    for name, found in curves.items():
        grows, falls = found.low[-1] > found.high[0], found.high[-1] < found.low[0]
        side = "become more alike" if grows else "become less alike" if falls else "show no certain change"
        ends = f"{found.value[0]:.2f} to {found.value[-1]:.2f}"
        sides.setdefault(side, []).append(f"{title_of(name)} ({ends})")
    said = "; ".join(f"{side} in {_and(names)}" for side, names in sides.items())
    return f"From the embedding to the last layer {what} {said}."


def _standing(estimates: Mapping[str, Estimate], reference: str) -> str:
    """Return where a system stands among the others, as in "above that of A, and not told apart from that of B"."""
    own = estimates[reference]
    sides: dict[str, list[str]] = {}
    for name, other in estimates.items():
        if name != reference:
            side = "above" if own.low > other.high else "below" if own.high < other.low else "not told apart from"
            sides.setdefault(f"{side} that of", []).append(title_of(name))
    return ", and ".join(f"{side} {_and(names)}" for side, names in sides.items())


def _against(
    results: Mapping[str, Any],
    layers: Callable[[Any], Sequence[int]],
    measured: Callable[[Any], Estimate],
    of_draw: Callable[[Any], Any],
    at: Any = slice(None),
    **words: Any,
) -> list[str]:
    """Return a sentence for each system whose null models decide. at: the place of the value in the estimate."""
    comparisons = sum(len(layers(found)) for found in results.values())
    sentences = []
    for name, found in results.items():
        ends = [np.ravel(np.atleast_1d(getattr(measured(found), end))[..., at]) for end in ("value", "low", "high")]
        value, low, high = (dict(zip(layers(found), map(float, end), strict=True)) for end in ends)
        draws = {null: [_numbered(layers(found), of_draw(draw)) for draw in of] for null, of in found.nulls.items()}
        errors = {layer: (high[layer] - low[layer]) / 2 for layer in value}
        title = title_of(name)
        sentences.append(finding(title, value, draws, errors=errors, comparisons=comparisons, **words))
    return sentences


def _numbered(layers: Sequence[int], values: Any) -> dict[int, float]:
    return dict(zip(layers, map(float, values), strict=True))


def _and(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
