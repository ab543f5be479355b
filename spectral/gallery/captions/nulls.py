"""What null models say of a measure, by system and layer: the rule is that of `spectral.findings`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spectral.estimate import Estimate
from spectral.filter_response import FrequencyResponse
from spectral.findings import MARGINS, predicate, sentences
from spectral.palette import title_of

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

Draws = Mapping[str, Mapping[str, Sequence[Any]]]  # of null models: by system and null, the result of each draw


def against(
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
        value, low, high = (numbered(layers(found), end) for end in ends)
        values[name], errors[name] = value, {layer: (high[layer] - low[layer]) / 2 for layer in value}
        draws[name] = {
            null: [numbered(layers(found), of_draw(draw)) for draw in of] for null, of in found.nulls.items()
        }
    return beyond(values, draws, errors, **words)


def beyond(
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


def each_draw(nulls: Draws, take: Callable[[Any], dict[int, float]]) -> dict[str, dict[str, list[dict[int, float]]]]:
    """Return a number by layer of each draw of each null, by system."""
    return {
        name: {null: [take(draw) for draw in draws] for null, draws in of_system.items()}
        for name, of_system in nulls.items()
    }


def fastest(response: FrequencyResponse) -> Any:
    """Return the gain (L,) of the fastest wave in dB, as the mean over heads."""
    return response.head_mean.gain_db[:, 0, -1]


def numbered(layers: Sequence[int], values: Any) -> dict[int, float]:
    """Return a number of each layer, by layer."""
    return dict(zip(layers, map(float, values), strict=True))
