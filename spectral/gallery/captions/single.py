"""What is seen in figures of single models, with their null models, and in those of matrices and datasets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from spectral.block_response import BlockResponse
from spectral.cosine_similarity import CosineSimilarity
from spectral.filter_response import FrequencyResponse
from spectral.findings import MARGINS, in_words, sentences
from spectral.gallery.captions.nulls import (
    OF_ATTENTION,
    OF_LAYERS,
    OF_RANKS,
    OF_USERS,
    Draws,
    beyond,
    each_draw,
    fastest,
    numbered,
)
from spectral.gallery.sentences import listing
from spectral.learned_filters import LearnedFilters
from spectral.palette import title_of
from spectral.singular_values import LayerSpectra
from spectral.transfer_map import TransferMap

if TYPE_CHECKING:
    from pandas import DataFrame

CLOSE = 0.05  # relative error of a fitted slope that is called the predicted one, as in `spectral.claims`
CONSTANT = 1e-3  # the most that a logarithm changes per step that does not fall
ALL_WEIGHT = 0.99  # of pi on one position that everything collapses onto


def of_responses(responses: Mapping[str, FrequencyResponse], nulls: Draws) -> str:
    """Return what attention leaves of the fastest wave in single models, and what null models say."""
    left = {name: numbered(found.layers, fastest(found)) for name, found in responses.items()}
    draws = each_draw(nulls, lambda draw: numbered(draw.layers, fastest(draw)))
    numbers = listing({name: of.values() for name, of in left.items()}, unit=" dB")
    return " ".join(
        [f"What leaves of the fastest wave, layer by layer: {numbers}.", *beyond(left, draws, **OF_ATTENTION)]
    )


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
    left = {name: numbered(found.layers, found.relative_db[:, -1]) for name, found in blocks.items()}
    draws = each_draw(nulls, lambda draw: numbered(draw.layers, draw.relative_db[:, -1]))
    numbers = listing({name: of.values() for name, of in left.items()}, unit=" dB")
    return " ".join(
        [f"What whole layers leave of the fastest wave, relative to DC: {numbers}.", *beyond(left, draws, **OF_LAYERS)]
    )


def of_layer_spectra(results: Mapping[str, LayerSpectra], nulls: Draws) -> str:
    """Return the effective ranks of single models after their last layers, and what null models say."""
    ranks = {name: {max(found.layers): found.last.effective_rank} for name, found in results.items()}
    draws = each_draw(nulls, lambda draw: {max(draw.layers): draw.last.effective_rank})
    numbers = listing({name: found.last.effective_rank for name, found in results.items()})
    return " ".join([f"Effective ranks after the last layer: {numbers}.", *beyond(ranks, draws, **OF_RANKS)])


def of_layer_similarities(results: Mapping[str, CosineSimilarity], nulls: Draws) -> str:
    """Return how similar users and positions of single models are before the first layer and after the last."""

    def last(found: CosineSimilarity) -> dict[int, float]:
        return numbered(found.layers[-1:].tolist(), found.between_users[-1:])

    ends = {
        kind: listing({name: getattr(found, kind)[[0, -1]] for name, found in results.items()}, ".2f", between=" to ")
        for kind in ("between_users", "within_sequence")
    }
    compared = beyond({name: last(found) for name, found in results.items()}, each_draw(nulls, last), **OF_USERS)
    return " ".join(
        [
            f"From the embedding output to the last layer users come to a similarity of {ends['between_users']}; "
            f"positions to {ends['within_sequence']}.",
            *compared,
        ]
    )


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


def of_datasets(table: "DataFrame") -> str:
    """Return where most positions of the test inputs are padding. table: of `models.datasets.statistics_table`.

    Example:
        >>> import pandas as pd
        >>> of_datasets(pd.DataFrame({"name": ["beauty", "ml-1m"], "padding": [0.863, 0.117]}))
        'Most positions of test inputs are padding on beauty (86%), not on ml-1m (12%).'
    """
    most: dict[bool, list[str]] = {True: [], False: []}
    for name, share in zip(table["name"], table["padding"], strict=True):
        most[share > 0.5].append(f"{name} ({share:.0%})")
    if not most[True]:
        return f"On no dataset are most positions of test inputs padding: {in_words(most[False])}."
    others = f", not on {in_words(most[False])}" if most[False] else ""
    return f"Most positions of test inputs are padding on {in_words(most[True])}{others}."


def _share(holds: Any) -> str:
    """Return for how many of some cases something holds, as in "each of 3", "2 of 3" or "none of 3"."""
    number = "each" if holds.all() else int(holds.sum()) or "none"
    return f"{number} of {len(holds)}"
