"""What a trained recommender does to a sequence: measures of attention and hidden states, and figures.

Each measure is a function on arrays, an accumulator over batches (a torchmetrics Metric), a figure, and a command
line `python -m spectral.<measure> ckpt.pt`. Layer 0 is the embedding output, and layer l is the output of block l.
Heads count from 1, positions from 0.

What is where:

    capture, sources, batches, layout
                        what a model computes on its users, batch by batch, for models of any origin
    filter_response, transfer_map, block_response, learned_filters
                        what attention, whole layers and learned filters do to each frequency
    singular_values, cosine_similarity, smoothing
                        how far users, and the positions of one user, are smoothed into one point
    rank_one, mixing_ratio
                        the same through the parts of blocks, and how much of a block's output is its residual
    cka, last_item, strata
                        how alike layers and models are, what the last item alone explains, and all of this by groups
                        of users
    attention_statistics, theorem1
                        what attention maps are like, and where they lead when they are applied again and again
    signals, user_frequency
                        the histories themselves as signals, and for whom models rank well
    watch, dynamics     the cheap measures after every epoch of a training run, and what becomes of them
    remedies            whether less smoothing goes with better ranking, over runs
    sums, accumulator, metrics
                        the sums that measures follow from, and the same as metrics of torchmetrics
    arrays, blocks, fourier, moments, pooling, resampling, response, steps, tables, users_in_common
                        what the measures have in common: numbers, masks, modes, means, and the shape of results
    plot, palette       a picture of every measure
    integrity           whether a model does what its architecture promises
    report, gallery     a page of everything about some checkpoints, and the notes and pages of a folder of figures
    command_line        options, checkpoints, users and files of all commands

Example:
    The frequency response of a small SASRec with random weights, on one full window of four items. A trained model
    comes from `models.load("ckpt.pt")`, and its file holds windows, `model.probe.input_ids`.

    >>> import torch
    >>> import spectral
    >>> from models.registry import build, configure
    >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=2, num_heads=2))
    >>> model.initialise(seed=0)
    >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]])
    >>> captures = spectral.capture(model, spectral.full_windows(windows))
    >>> response = spectral.FrequencyResponse.from_captures(captures)
    >>> response.gain.shape  # layers, heads, frequencies 0..N // 2
    (2, 2, 3)
    >>> response.gain[:, :, 0].round(3)  # rows of attention sum to 1, so a constant signal passes unchanged
    array([[1., 1.],
           [1., 1.]])
    >>> figure = spectral.plot.frequency_response(response).figure
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectral.attention_statistics import AttentionStatistics, attention_statistics
from spectral.attention_statistics.bounds import LayerBounds, layer_bounds
from spectral.block_response import BlockResponse, block_response
from spectral.block_response.positions import PositionResponse, position_response
from spectral.capture import Capture, capture, full_windows, of_length
from spectral.cka import LinearCKA, linear_cka
from spectral.cosine_similarity import CosineSimilarity, cosine_similarity, within_sequence_similarity
from spectral.filter_response import FrequencyResponse, frequency_response
from spectral.fourier import fourier_basis, low_frequency, split
from spectral.last_item import LastItemOverlap, last_item_overlap, top_items
from spectral.learned_filters import LearnedFilters, learned_filters
from spectral.mixing_ratio import MixingRatio, mixing_ratio
from spectral.rank_one import RankOneDistance, rank_one_distance, relative_distance
from spectral.signals import UserSignal, extreme_signals, low_frequency_share, user_signal
from spectral.singular_values import LayerSpectra, SingularValues, singular_values
from spectral.smoothing import Smoothing, dc_share, dirichlet_energy, high_low_ratio, smoothing
from spectral.strata import StratifiedSimilarity, Stratum, strata
from spectral.theorem1 import Theorem1, decay, theorem1
from spectral.transfer_map import TransferMap, transfer_map
from spectral.user_frequency import by_group, user_frequency

if TYPE_CHECKING:
    from spectral import plot as plot
    from spectral.metrics import (
        AttentionStatisticsMetric,
        CosineSimilarityMetric,
        FrequencyResponseMetric,
        LastItemOverlapMetric,
        LinearCKAMetric,
        MixingRatioMetric,
        RankOneDistanceMetric,
        SingularValuesMetric,
        SmoothingMetric,
        TransferMapMetric,
        WithinSequenceSimilarityMetric,
    )

__all__ = [
    "AttentionStatistics",
    "AttentionStatisticsMetric",
    "BlockResponse",
    "Capture",
    "CosineSimilarity",
    "CosineSimilarityMetric",
    "FrequencyResponse",
    "FrequencyResponseMetric",
    "LastItemOverlap",
    "LastItemOverlapMetric",
    "LayerBounds",
    "LayerSpectra",
    "LearnedFilters",
    "LinearCKA",
    "LinearCKAMetric",
    "MixingRatio",
    "MixingRatioMetric",
    "PositionResponse",
    "RankOneDistance",
    "RankOneDistanceMetric",
    "SingularValues",
    "SingularValuesMetric",
    "Smoothing",
    "SmoothingMetric",
    "StratifiedSimilarity",
    "Stratum",
    "Theorem1",
    "TransferMap",
    "TransferMapMetric",
    "UserSignal",
    "WithinSequenceSimilarityMetric",
    "attention_statistics",
    "block_response",
    "by_group",
    "capture",
    "cosine_similarity",
    "dc_share",
    "decay",
    "dirichlet_energy",
    "extreme_signals",
    "fourier_basis",
    "frequency_response",
    "full_windows",
    "high_low_ratio",
    "last_item_overlap",
    "layer_bounds",
    "learned_filters",
    "linear_cka",
    "low_frequency",
    "low_frequency_share",
    "mixing_ratio",
    "of_length",
    "plot",
    "position_response",
    "rank_one_distance",
    "relative_distance",
    "singular_values",
    "smoothing",
    "split",
    "strata",
    "theorem1",
    "top_items",
    "transfer_map",
    "user_frequency",
    "user_signal",
    "within_sequence_similarity",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: matplotlib and torchmetrics take longer to import than most measures to compute.
    if name == "plot":
        return import_module("spectral.plot")
    if name.endswith("Metric") and name in __all__:
        return getattr(import_module("spectral.metrics"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
