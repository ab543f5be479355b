"""Captions of figures of curves: sentences that the data choose, each of which could come out otherwise.

Contents: what is drawn (`drawn`: `bands` and `null_models`), and what is seen, over seeds (`of_gains`, `of_spectra`,
`of_similarities`, `of_betas`) and in single models (`of_responses`, `of_transfer`, `of_blocks`, `of_layer_spectra`,
`of_layer_similarities`, `of_filters`, `of_decay`). Against null models the rule is that of `spectral.findings`. Two
systems are told apart where their intervals do not overlap, which is stricter than an interval of the difference
(`spectral.compare`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from spectral.block_response import BlockResponse
from spectral.cosine_similarity import CosineSimilarity
from spectral.estimate import Estimate
from spectral.filter_response import FrequencyResponse
from spectral.findings import MARGINS, in_layers, in_words, predicate, sentences
from spectral.gallery.sentences import listing
from spectral.learned_filters import LearnedFilters
from spectral.over_seeds import Betas, Gains, Similarities, Spectrum
from spectral.palette import title_of
from spectral.response import CUTOFF_DB
from spectral.singular_values import GAUSSIAN, LayerSpectra
from spectral.transfer_map import TransferMap

if TYPE_CHECKING:
    from pandas import DataFrame

NULLS = {
    "uniform": "uniform attention under the same mask",
    "untrained": "initial weights",
    "shuffled": "shuffled histories",
    GAUSSIAN: "simulated Gaussian matrices of the same column variances",
}
# What it means to lie beyond a null, by what is compared: arguments of `predicate`.
OF_ATTENTION: dict[str, Any] = {
    "above": "passes more of the fastest wave through attention than",
    "below": "damps the fastest wave in attention more than",
    "margin": MARGINS["gain_db"],
    "by": "by what leaves of the fastest wave",
}
OF_LAYERS: dict[str, Any] = {
    "above": "passes more of the fastest wave through whole layers than",
    "below": "damps the fastest wave in whole layers more than",
    "margin": MARGINS["gain_db"],
    "by": "by what whole layers leave of the fastest wave",
}
OF_RANKS: dict[str, Any] = {
    "above": "spreads its users over more directions than",
    "below": "leaves its users in fewer directions than",
    "margin": MARGINS["effective_rank"],
    "by": "by effective rank",
}
OF_USERS: dict[str, Any] = {
    "above": "makes users more alike than",
    "below": "keeps users further apart than",
    "margin": MARGINS["similarity"],
    "by": "by the similarity of users",
}
CLOSE = 0.05  # relative error of a fitted slope that is called the predicted one, as in `spectral.claims`
CONSTANT = 1e-3  # the most that a logarithm changes per step that does not fall
ALL_WEIGHT = 0.99  # of pi on one position that everything collapses onto

Draws = Mapping[str, Mapping[str, Sequence[Any]]]  # of null models: by system and null, the result of each draw
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


def of_gains(results: Mapping[str, Gains]) -> str:
    """Return what is seen in gains of attention: whether they are low-pass, what is left, and what null models say."""
    left = {name: found.gain_db.value[:, -1] for name, found in results.items()}
    stays = {name: found.self_gain_db.value[:, -1] for name, found in results.items()}
    said = [
        _low_pass({name: found.gain_db for name, found in results.items()}),
        f"What leaves of the fastest wave, layer by layer: {listing(left, unit=' dB')}; what stays at its frequency: "
        f"{listing(stays, unit=' dB')}.",
        *_against(
            results,
            lambda found: found.response.layers,
            lambda found: found.gain_db,
            _fastest,
            at=-1,
            **OF_ATTENTION,
        ),
    ]
    return " ".join(said)


def of_responses(responses: Mapping[str, FrequencyResponse], nulls: Draws) -> str:
    """Return what attention leaves of the fastest wave in single models, and what null models say."""
    left = {name: _numbered(found.layers, _fastest(found)) for name, found in responses.items()}
    draws = _each_draw(nulls, lambda draw: _numbered(draw.layers, _fastest(draw)))
    numbers = listing({name: of.values() for name, of in left.items()}, unit=" dB")
    return " ".join(
        [f"What leaves of the fastest wave, layer by layer: {numbers}.", *_beyond(left, draws, **OF_ATTENTION)]
    )


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


def of_blocks(blocks: Mapping[str, BlockResponse], nulls: Draws) -> str:
    """Return what is seen in gains of whole layers relative to DC: what is left, and what null models say."""
    left = {name: _numbered(found.layers, found.relative_db[:, -1]) for name, found in blocks.items()}
    draws = _each_draw(nulls, lambda draw: _numbered(draw.layers, draw.relative_db[:, -1]))
    numbers = listing({name: of.values() for name, of in left.items()}, unit=" dB")
    return " ".join(
        [f"What whole layers leave of the fastest wave, relative to DC: {numbers}.", *_beyond(left, draws, **OF_LAYERS)]
    )


def of_spectra(results: Mapping[str, Spectrum], reference: str = "bsarec") -> str:
    """Return the effective ranks, where the reference stands among the others, and what null models say."""
    ranks = {name: float(found.effective_rank.value) for name, found in results.items()}
    size = len(next(iter(results.values())).values.values)
    said = [f"Effective ranks, of at most {size}: {listing(ranks)}."]
    if reference in results and len(results) > 1:
        standing = _standing({name: found.effective_rank for name, found in results.items()}, reference)
        title = title_of(reference)
        said.append(f"In the paper {title}'s spectrum falls the most slowly; here its effective rank is {standing}.")
    said += _against(
        results,
        lambda found: (found.layer,),
        lambda found: found.effective_rank,
        lambda spectrum: [spectrum.effective_rank],
        **OF_RANKS,
    )
    return " ".join(said)


def of_layer_spectra(results: Mapping[str, LayerSpectra], nulls: Draws) -> str:
    """Return the effective ranks of single models after their last layers, and what null models say."""
    ranks = {name: {max(found.layers): found.last.effective_rank} for name, found in results.items()}
    draws = _each_draw(nulls, lambda draw: {max(draw.layers): draw.last.effective_rank})
    numbers = listing({name: found.last.effective_rank for name, found in results.items()})
    return " ".join([f"Effective ranks after the last layer: {numbers}.", *_beyond(ranks, draws, **OF_RANKS)])


def of_similarities(results: Mapping[str, Similarities]) -> str:
    """Return how users and positions change from the embedding to the last layer, and what null models say."""
    said = [
        _change(what, {name: getattr(found, kind) for name, found in results.items()})
        for what, kind in (("users", "between_users"), ("positions of a sequence", "within_sequence"))
    ]
    said += _against(
        results,
        lambda found: found.similarity.layers[-1:].tolist(),
        lambda found: found.between_users,
        lambda similarity: similarity.between_users[-1:],
        at=-1,
        **OF_USERS,
    )
    return " ".join(said)


def of_layer_similarities(results: Mapping[str, CosineSimilarity], nulls: Draws) -> str:
    """Return how similar users and positions of single models are before the first layer and after the last."""

    def last(found: CosineSimilarity) -> dict[int, float]:
        return _numbered(found.layers[-1:].tolist(), found.between_users[-1:])

    ends = {
        kind: listing({name: getattr(found, kind)[[0, -1]] for name, found in results.items()}, ".2f", between=" to ")
        for kind in ("between_users", "within_sequence")
    }
    compared = _beyond({name: last(found) for name, found in results.items()}, _each_draw(nulls, last), **OF_USERS)
    return " ".join(
        [
            f"From the embedding output to the last layer users come to a similarity of {ends['between_users']}; "
            f"positions to {ends['within_sequence']}.",
            *compared,
        ]
    )


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


def of_filters(filters: LearnedFilters) -> str:
    """Return what learned filters do, layer by layer: what they pass better, and how they shift the slowest wave.

    Example:
        A filter that halves the fastest wave and delays the slowest one by a position:

        >>> filters = LearnedFilters(np.array([[[1], [np.exp(-1j * np.pi / 2)], [0.5]]]), positions=4)
        >>> print(of_filters(filters).replace(" and ", chr(10)))
        Layer 1 passes a constant signal 6.0 dB better than the fastest wave
        delays the slowest wave by 1.0 positions (median).
    """
    said = []
    for layer, gain, phase in zip(filters.layers, filters.power_gain, filters.phase, strict=True):
        better = float(20 * np.log10(gain[0] / gain[-1]))
        delay = float(np.median(-phase[1] / filters.angular_frequency[1]))
        side = "better" if better > 0 else "worse"
        passes = (
            f"passes a constant signal {abs(better):.1f} dB {side} than the fastest wave"
            if abs(better) > MARGINS["gain_db"]
            else "passes a constant signal and the fastest wave alike"
        )
        shift = "delays" if delay > 0 else "advances"
        said.append(f"layer {layer} {passes} and {shift} the slowest wave by {abs(delay):.1f} positions (median)")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def of_integrity(verdicts: Mapping[str, str]) -> str:
    """Return which models do what their architectures promise. verdicts: by name, of `models.integrity.verdict`.

    Example:
        >>> of_integrity({"sasrec": "keeps its promises", "tvrec": "breaks: causal", "bsarec": "keeps its promises"})
        'Each of SASRec and BSARec keeps its promises. TV-Rec breaks: causal.'
    """
    return " ".join(sentences({title_of(name): said for name, said in verdicts.items()}))


def of_decay(table: "DataFrame") -> str:
    """Return where Theorem 1 holds: at the predicted rate, for exceptional x, and onto what causal attention collapses.

    table: of `spectral.theorem1.Theorem1`, of one or more results.

    Example:
        >>> from spectral.theorem1 import Attention, theorem1
        >>> matrices = [[[0.75, 0.25], [0.25, 0.75]], [[0.5, 0.5], [0.4, 0.6]]]
        >>> checked = theorem1([Attention(f"mixing {place}", matrix) for place, matrix in enumerate(matrices)])
        >>> print(of_decay(checked.table()).replace(". ", chr(10)))
        The ratio falls at the predicted rate for each of 2 matrices, to within 0.0% of log |lambda_2|
        It does not fall for exceptional x, although the paper says for all x.
    """
    generic, exceptional = table[~table["exceptional"]], table[table["exceptional"]]
    fitted, predicted = generic["fitted_slope"], generic["predicted_slope"]
    error = (fitted / predicted - 1).abs().where(fitted != predicted, 0.0)  # both are infinite if lambda_2 is 0
    falls = (error <= CLOSE) & (fitted < 0)
    rate = f", to within {error.max():.1%} of log |lambda_2|" if falls.all() else ""
    said = [f"The ratio falls at the predicted rate for {_share(falls)} matrices{rate}."]
    if len(exceptional):
        stays = exceptional["fitted_slope"].abs() < CONSTANT
        of = "" if stays.all() else f" of {_share(stays)} matrices"
        said.append(
            f"It does not fall for exceptional x{of}, although the paper says for all x."
            if stays.any()
            else "It falls for exceptional x too."
        )
    if len(causal := generic[generic["causal"]]):
        onto_first = (causal["collapses_onto"] == 0) & (causal["collapse_weight"] > ALL_WEIGHT)
        said.append(f"Causal attention collapses onto the first position for {_share(onto_first)} matrices.")
    return " ".join(said)


def _share(holds: Any) -> str:
    """Return for how many of some cases something holds, as in "each of 3", "2 of 3" or "none of 3"."""
    number = "each" if holds.all() else int(holds.sum()) or "none"
    return f"{number} of {len(holds)}"


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


def _standing(estimates: Mapping[str, Estimate], reference: str) -> str:
    """Return where a system stands among the others, as in "above that of A, and not told apart from that of B"."""
    own = estimates[reference]
    sides: dict[str, list[str]] = {}
    for name, other in estimates.items():
        if name != reference:
            side = "above" if own.low > other.high else "below" if own.high < other.low else "not told apart from"
            sides.setdefault(f"{side} that of", []).append(title_of(name))
    return ", and ".join(f"{side} {in_words(names)}" for side, names in sides.items())


def _against(
    results: Mapping[str, Any],
    layers: Callable[[Any], Sequence[int]],
    measured: Callable[[Any], Estimate],
    of_draw: Callable[[Any], Any],
    at: Any = slice(None),
    **words: Any,
) -> list[str]:
    """Return what null models say of results over seeds. at: the place of the value in the estimate."""
    values: dict[str, dict[int, float]] = {}
    errors: dict[str, dict[int, float]] = {}
    draws: dict[str, dict[str, list[dict[int, float]]]] = {}
    for name, found in results.items():
        ends = [np.ravel(np.atleast_1d(getattr(measured(found), end))[..., at]) for end in ("value", "low", "high")]
        value, low, high = (_numbered(layers(found), end) for end in ends)
        values[name], errors[name] = value, {layer: (high[layer] - low[layer]) / 2 for layer in value}
        draws[name] = {
            null: [_numbered(layers(found), of_draw(draw)) for draw in of] for null, of in found.nulls.items()
        }
    return _beyond(values, draws, errors, **words)


def _beyond(
    values: Mapping[str, Mapping[int, float]],
    draws: Draws,
    errors: Mapping[str, Mapping[int, float]] | None = None,
    **words: Any,
) -> list[str]:
    """Return what null models say of values by system and layer; the other arguments are those of `predicate`."""
    comparisons = sum(map(len, values.values()))
    return sentences(
        {
            title_of(name): predicate(
                of, draws.get(name, {}), errors=(errors or {}).get(name), comparisons=comparisons, **words
            )
            for name, of in values.items()
        }
    )


def _each_draw(nulls: Draws, take: Callable[[Any], dict[int, float]]) -> dict[str, dict[str, list[dict[int, float]]]]:
    """Return a number by layer of each draw of each null, by system."""
    return {
        name: {null: [take(draw) for draw in draws] for null, draws in of_system.items()}
        for name, of_system in nulls.items()
    }


def _fastest(response: FrequencyResponse) -> Any:
    """Return the gain (L,) of the fastest wave in dB, as the mean over heads."""
    return response.head_mean.gain_db[:, 0, -1]


def _numbered(layers: Sequence[int], values: Any) -> dict[int, float]:
    return dict(zip(layers, map(float, values), strict=True))
