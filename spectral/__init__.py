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
    attention_statistics, user_maps, theorem1
                        what attention maps are like, those of single users, and where they lead when they are applied
                        again and again
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
    explore             controls for JupyterLab: the attention of one user, layer and head, as pictures that follow
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

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectral import plot
    from spectral.analysis import Analysis, analyse
    from spectral.attention_statistics import AttentionStatistics, attention_statistics
    from spectral.attention_statistics.bounds import LayerBounds, layer_bounds
    from spectral.block_response import BlockResponse, block_response
    from spectral.block_response.positions import PositionResponse, position_response
    from spectral.capture import Capture, capture, full_windows, of_length
    from spectral.cka import LinearCKA, linear_cka
    from spectral.cosine_similarity import CosineSimilarity, cosine_similarity, within_sequence_similarity
    from spectral.explore import Explorer, explore
    from spectral.filter_response import FrequencyResponse, frequency_response
    from spectral.fourier import fourier_basis, low_frequency, split
    from spectral.last_item import LastItemOverlap, last_item_overlap, top_items
    from spectral.learned_filters import LearnedFilters, learned_filters
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
    from spectral.mixing_ratio import MixingRatio, mixing_ratio
    from spectral.rank_one import RankOneDistance, rank_one_distance, relative_distance
    from spectral.signals import UserSignal, extreme_signals, low_frequency_share, user_signal
    from spectral.singular_values import LayerSpectra, SingularValues, singular_values
    from spectral.smoothing import Smoothing, dc_share, dirichlet_energy, high_low_ratio, smoothing
    from spectral.strata import StratifiedSimilarity, Stratum, strata
    from spectral.theorem1 import Theorem1, decay, theorem1
    from spectral.transfer_map import TransferMap, transfer_map
    from spectral.user_frequency import by_group, user_frequency

# Where the public names are; a module is imported when one of its names is first used.
_NAMES = {
    "spectral.analysis": ("Analysis", "analyse"),
    "spectral.attention_statistics": ("AttentionStatistics", "attention_statistics"),
    "spectral.attention_statistics.bounds": ("LayerBounds", "layer_bounds"),
    "spectral.block_response": ("BlockResponse", "block_response"),
    "spectral.block_response.positions": ("PositionResponse", "position_response"),
    "spectral.capture": ("Capture", "capture", "full_windows", "of_length"),
    "spectral.cka": ("LinearCKA", "linear_cka"),
    "spectral.cosine_similarity": ("CosineSimilarity", "cosine_similarity", "within_sequence_similarity"),
    "spectral.explore": ("Explorer", "explore"),
    "spectral.filter_response": ("FrequencyResponse", "frequency_response"),
    "spectral.fourier": ("fourier_basis", "low_frequency", "split"),
    "spectral.last_item": ("LastItemOverlap", "last_item_overlap", "top_items"),
    "spectral.learned_filters": ("LearnedFilters", "learned_filters"),
    "spectral.mixing_ratio": ("MixingRatio", "mixing_ratio"),
    "spectral.rank_one": ("RankOneDistance", "rank_one_distance", "relative_distance"),
    "spectral.signals": ("UserSignal", "extreme_signals", "low_frequency_share", "user_signal"),
    "spectral.singular_values": ("LayerSpectra", "SingularValues", "singular_values"),
    "spectral.smoothing": ("Smoothing", "dc_share", "dirichlet_energy", "high_low_ratio", "smoothing"),
    "spectral.strata": ("StratifiedSimilarity", "Stratum", "strata"),
    "spectral.theorem1": ("Theorem1", "decay", "theorem1"),
    "spectral.transfer_map": ("TransferMap", "transfer_map"),
    "spectral.user_frequency": ("by_group", "user_frequency"),
    "spectral.metrics": (
        "AttentionStatisticsMetric",
        "CosineSimilarityMetric",
        "FrequencyResponseMetric",
        "LastItemOverlapMetric",
        "LinearCKAMetric",
        "MixingRatioMetric",
        "RankOneDistanceMetric",
        "SingularValuesMetric",
        "SmoothingMetric",
        "TransferMapMetric",
        "WithinSequenceSimilarityMetric",
    ),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted([*_PLACES, "plot"])


def _check_models() -> None:
    """Refuse another package `models` than the one beside this package, such as a folder where Python was started."""
    found, own = find_spec("models"), Path(__file__).parents[1] / "models" / "__init__.py"
    place = found and (found.origin or next(iter(found.submodule_search_locations or [])))
    if place and Path(place).resolve() == own.resolve():
        return
    message = (
        f"{place or 'nothing'} stands in the place of the package models of spectral-recommenders; use the console "
        "script `spectral`, which works in every folder, as in: spectral filter-response ckpt.pt"
    )
    if sys.argv[0] == "-m":  # Python is looking for a command of this package, which it was started for
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    raise ImportError(message)


class _Package(ModuleType):
    """A package whose functions may have the names of its modules: spectral.smoothing is the function."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):  # an import of the module sets its name
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from models.installation import installed_version

        return installed_version()
    if name == "plot":
        return import_module("spectral.plot")
    if name in _PLACES:
        value = globals()[name] = getattr(import_module(_PLACES[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


_check_models()
sys.modules[__name__].__class__ = _Package
