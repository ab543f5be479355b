"""Sentences about a measure against its null models. The data choose them, and each could come out otherwise.

A value is *beyond* a null if it differs from it by more than a margin that matters, and from a null of several draws
also by more than one more draw would (99%, Bonferroni's correction for the number of comparisons). So a model with
initial weights, which is one more draw of the untrained null, gives no sentence that claims anything beyond it. A
single draw of a random null says nothing of its spread, so it decides nothing.

The two nulls that decide answer different questions, so a sentence names each: beyond *uniform attention* is what the
choice of positions does, beyond *initial weights* what training does. Shuffled histories answer a third one, whether
the order of the items matters.

Contents: `beyond` for one value, `predicate` for what is said of the layers of a model, and `sentences`, which join
models of which the same is said. The captions of figures are made of them in `spectral.gallery.captions`.

Source: the prediction interval of a further draw of a normal variable, for example Hahn and Meeker, Statistical
Intervals, 1991, chapter 4.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

LEVEL = 0.01  # chance that one more draw of a null would be called beyond it, over all comparisons of a page
DECIDING = {"uniform": "uniform attention", "untrained": "its initial weights"}  # and how a sentence calls them
# Differences that matter, by what is measured.
MARGINS = {"gain_db": 0.5, "effective_rank": 1.0, "similarity": 0.05, "share": 0.05}


def beyond(value: float, draws: Sequence[float], margin: float, comparisons: int = 1, error: float = 0.0) -> int:
    """Return 1 if a value lies above a null, -1 if below, and 0 if it is not beyond it.

    draws: the value of each draw of the null. margin: the least difference that matters. comparisons: how many values
    are compared on the same page. error: how far the interval of the value itself reaches on either side; all of it
    must be beyond the null.

    Example:
        Half a dB above uniform attention matters, a tenth does not. Draws that vary widen what is not beyond:

        >>> beyond(-15.0, [-16.1], margin=0.5), beyond(-16.0, [-16.1], margin=0.5), beyond(9.0, [2.0, 5.0, 8.0], 0.5)
        (1, 0, 0)
    """
    from scipy.stats import t as student  # slow to import

    values = np.asarray(draws, float)
    difference, reach = value - values.mean(), margin
    if (n := len(values)) > 1:
        quantile = student.ppf(1 - LEVEL / comparisons / 2, n - 1)
        reach = max(margin, quantile * values.std(ddof=1) * math.sqrt(1 + 1 / n))
    return int(math.copysign(1, difference)) if abs(difference) - error > reach else 0


def predicate(
    values: Mapping[int, float],
    nulls: Mapping[str, Sequence[Mapping[int, float]]],
    *,
    above: str,
    below: str,
    margin: float,
    comparisons: int | None = None,
    errors: Mapping[int, float] | None = None,
    by: str = "",
) -> str:
    """Return what is said of a model's layers against each of its nulls; "" if no null decides.

    Args:
        values: By layer.
        nulls: By name, for each draw the values by layer.
        above: What it means to lie above a null, as in "passes more of the fastest wave than".
        below: What it means to lie below it.
        margin: The least difference that matters.
        comparisons: How many values are compared on the same page; None for the layers alone.
        errors: By layer, how far the interval of the value reaches on either side; None for values without one.
        by: What was compared, for a model that is beyond no null, as in "by its effective rank".

    Example:
        >>> predicate(
        ...     {1: -13.8, 2: -16.2},
        ...     {"uniform": [{1: -16.1, 2: -16.1}]},
        ...     above="passes more of the fastest wave than",
        ...     below="damps the fastest wave more than",
        ...     margin=0.5,
        ... )
        'passes more of the fastest wave than uniform attention in layer 1'
    """
    clauses = []
    for name, reference in DECIDING.items():
        draws = nulls.get(name, ())
        if len(draws) < (1 if name == "uniform" else 2):
            continue
        sides: dict[int, list[int]] = {1: [], -1: []}
        for layer, value in values.items():
            error = (errors or {}).get(layer, 0.0)
            side = beyond(value, [draw[layer] for draw in draws], margin, comparisons or len(values), error)
            sides.setdefault(side, []).append(layer)
        said = [
            f"{words} {reference} {in_layers(sides[side])}" for side, words in ((1, above), (-1, below)) if sides[side]
        ]
        where = "in any layer" if len(values) > 1 else in_layers(list(values))
        clauses.append(" and ".join(said) or " ".join(f"cannot be told apart from {reference} {where} {by}".split()))
    return "; it ".join(clauses)


def sentences(predicates: Mapping[str, str]) -> list[str]:
    """Return a sentence for each different predicate, on all models that it is said of. "" says nothing.

    predicates: by the titles of models.

    Example:
        >>> sentences({"SASRec": "is flat", "GRU4Rec": "", "FMLP-Rec": "is steep", "BSARec": "is flat"})
        ['Each of SASRec and BSARec is flat.', 'FMLP-Rec is steep.']
    """
    titles: dict[str, list[str]] = {}
    for title, said in predicates.items():
        titles.setdefault(said, []).append(title)
    return [f"{'Each of ' if len(of) > 1 else ''}{in_words(of)} {said}." for said, of in titles.items() if said]


def in_layers(layers: Sequence[int]) -> str:
    """Return layers as words.

    Example:
        >>> in_layers([1, 2, 4]), in_layers([3])
        ('in layers 1, 2 and 4', 'in layer 3')
    """
    return f"in layer{'s' if len(layers) > 1 else ''} {in_words(list(map(str, layers)))}"


def in_words(names: Sequence[str]) -> str:
    """Return names as words.

    Example:
        >>> in_words(["A", "B", "C"]), in_words(["A"])
        ('A, B and C', 'A')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
