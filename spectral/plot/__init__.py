"""Figures of the measures, each drawn on the given Axes or on a new figure of one column's width.

Every function takes the result of a measure and returns the Axes. Nothing global is changed and no window opens. Text
is 8 pt at a width of 3.33 in, and there are no titles, because a caption says what is shown. Every model has its own
colour, marker and line style, so that figures agree with each other and can be read in grey.

A picture is named after the result that it draws, and lives in a module of that name: `frequency_response` draws a
`FrequencyResponse`, `user_signal` a `UserSignal`. Other pictures of the same result are called after it too
(`learned_filters_map`), figures of several panels `..._panels`. `figure` holds what all share: style, panels, files,
axes and legends; `response` what pictures of gains share.

Example:
    The measure, its picture, and the picture in a file:

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from spectral import frequency_response as measure
    >>> response = measure(torch.full((8, 8), 1 / 8))
    >>> ax = frequency_response(response, label="uniform attention")
    >>> with TemporaryDirectory() as folder:
    ...     [path.name for path in save(ax.figure, f"{folder}/uniform", response.table())]
    ['uniform.png', 'uniform.pdf', 'uniform.csv']
"""

from spectral.plot.attention_statistics import (
    attention_statistics,
    attention_statistics_panels,
    attention_statistics_rollout,
)
from spectral.plot.beta import beta
from spectral.plot.block_response import block_response, block_response_panels
from spectral.plot.cka import cka, cka_panels
from spectral.plot.claims import claims
from spectral.plot.cosine_similarity import cosine_similarity, cosine_similarity_kinds, cosine_similarity_panels
from spectral.plot.diagram import diagram
from spectral.plot.differences import differences
from spectral.plot.dynamics import dynamics, dynamics_panels, dynamics_paths, dynamics_paths_panels
from spectral.plot.figure import (
    COLUMN_WIDTH,
    FORMATS,
    HEIGHT,
    check_formats,
    grid,
    panels,
    save,
    side_by_side,
    small_multiples,
    style,
)
from spectral.plot.frequency_response import frequency_response, frequency_response_panels
from spectral.plot.integrity import integrity
from spectral.plot.last_item import last_item
from spectral.plot.layer_bounds import layer_bounds
from spectral.plot.learned_filters import (
    learned_filters,
    learned_filters_map,
    learned_filters_panels,
    learned_filters_sorted,
)
from spectral.plot.mixing_ratio import mixing_ratio
from spectral.plot.position_response import position_response, position_response_panels
from spectral.plot.rank_one import rank_one, rank_one_parts
from spectral.plot.remedies import remedies, remedies_panels
from spectral.plot.response import LOWEST_DB
from spectral.plot.ring_graph import ring_graph
from spectral.plot.sensitivity import BANDS, sensitivity, sensitivity_panels
from spectral.plot.singular_values import singular_values, singular_values_panels
from spectral.plot.smoothing import smoothing, smoothing_panels
from spectral.plot.strata import strata, strata_panels
from spectral.plot.summary import summary
from spectral.plot.theorem1 import theorem1
from spectral.plot.transfer_map import transfer_map, transfer_map_panels
from spectral.plot.user_frequency import user_frequency
from spectral.plot.user_signal import user_signal, user_signal_items, user_signal_panels, user_signal_spectrum

__all__ = [
    "BANDS",
    "COLUMN_WIDTH",
    "FORMATS",
    "HEIGHT",
    "LOWEST_DB",
    "attention_statistics",
    "attention_statistics_panels",
    "attention_statistics_rollout",
    "beta",
    "block_response",
    "block_response_panels",
    "check_formats",
    "cka",
    "cka_panels",
    "claims",
    "cosine_similarity",
    "cosine_similarity_kinds",
    "cosine_similarity_panels",
    "diagram",
    "differences",
    "dynamics",
    "dynamics_panels",
    "dynamics_paths",
    "dynamics_paths_panels",
    "frequency_response",
    "frequency_response_panels",
    "grid",
    "integrity",
    "last_item",
    "layer_bounds",
    "learned_filters",
    "learned_filters_map",
    "learned_filters_panels",
    "learned_filters_sorted",
    "mixing_ratio",
    "panels",
    "position_response",
    "position_response_panels",
    "rank_one",
    "rank_one_parts",
    "remedies",
    "remedies_panels",
    "ring_graph",
    "save",
    "sensitivity",
    "sensitivity_panels",
    "side_by_side",
    "singular_values",
    "singular_values_panels",
    "small_multiples",
    "smoothing",
    "smoothing_panels",
    "strata",
    "strata_panels",
    "style",
    "summary",
    "theorem1",
    "transfer_map",
    "transfer_map_panels",
    "user_frequency",
    "user_signal",
    "user_signal_items",
    "user_signal_panels",
    "user_signal_spectrum",
]
