"""Every measure of the package: what each does with an array, and with a model."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import spectral
from spectral.capture import capture
from spectral.summary import summarise
from spectral.theorem1 import Attention, layer_ratios

B, N, D = 6, 11, 8
ITEMS = 30


class Embedded(nn.Module):
    """A model that is its table of items."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.items = nn.Embedding.from_pretrained(table)
        self.config = None


def windows() -> Tensor:
    """(B, N) windows without padding."""
    return torch.randint(1, ITEMS + 1, (B, N), generator=torch.Generator().manual_seed(0))


def drawn(*shape: int) -> Tensor:
    """Normal numbers, in float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def numbers(result: Any) -> list[np.ndarray]:
    """Return all numbers in a result that are not whole, as absolute values: signs of axes are arbitrary."""
    if isinstance(result, Tensor | np.ndarray | float):
        return [np.abs(np.asarray(result)).astype(float)]
    if isinstance(result, pd.DataFrame):
        return [result.select_dtypes("float").to_numpy()]
    if is_dataclass(result):
        return [n for field in fields(result) for n in numbers(getattr(result, field.name))]
    if isinstance(result, Mapping):
        return [n for value in result.values() for n in numbers(value)]
    return [n for value in result for n in numbers(value)] if isinstance(result, list | tuple) else []


MAPS = drawn(2, B, 2, N, N).softmax(-1)
STATES = drawn(3, B, N, D)
# The functions on arrays: how each measures an array, and the array.
ON_ARRAYS: dict[str, tuple[Callable[[Tensor], Any], Tensor]] = {
    "attention_statistics": (spectral.attention_statistics, MAPS),
    "cosine_similarity": (spectral.cosine_similarity, STATES[0, :, 0]),
    "dc_share": (spectral.dc_share, STATES[0]),
    "decay": (lambda a: spectral.decay(a[0, 0, 0], drawn(N), 5), MAPS),
    "dirichlet_energy": (spectral.dirichlet_energy, STATES[0]),
    "extreme_signals": (lambda x: spectral.extreme_signals(Embedded(x), windows(), c=3), drawn(ITEMS + 1, D)),
    "frequency_response": (spectral.frequency_response, MAPS),
    "high_low_ratio": (spectral.high_low_ratio, STATES[0]),
    "layer_bounds": (lambda a: spectral.layer_bounds(a[0], drawn(2, D, D).to(a.dtype), STATES[0].to(a.dtype)), MAPS),
    "linear_cka": (lambda x: spectral.linear_cka(x[:, 0], x[:, 1]), STATES[0]),
    "low_frequency": (lambda x: spectral.low_frequency(x, 3), STATES[0]),
    "low_frequency_share": (spectral.low_frequency_share, STATES[0]),
    "mixing_ratio": (lambda x: spectral.mixing_ratio(x[None], ["a", "b", "c"]), STATES),
    "rank_one_distance": (spectral.rank_one_distance, STATES),
    "relative_distance": (spectral.relative_distance, STATES[0]),
    "singular_values": (spectral.singular_values, STATES[0, :, 0]),
    "smoothing": (spectral.smoothing, STATES),
    "split": (lambda x: spectral.split(x, 3), STATES[0]),
    "theorem1": (lambda a: spectral.theorem1([Attention("a", a[0, 0, 0])]).cases[0].log_ratio[:9], MAPS),
    "transfer_map": (spectral.transfer_map, MAPS),
    "user_frequency": (lambda x: spectral.user_frequency(windows(), x), drawn(ITEMS + 1, D)),
    "user_signal": (lambda x: spectral.user_signal(x).low, STATES[0, 0]),
    "within_sequence_similarity": (spectral.within_sequence_similarity, STATES[0]),
}


def batches() -> list[Tensor]:
    """The windows, as one batch."""
    return [windows()]


def captured(result: Any, **options: Any) -> Callable[[Any], Any]:
    """What measures a result on the captures of a model."""
    return lambda model: result.from_captures(capture(model, windows()), **options)


# The measures of models.
ON_MODELS: dict[str, Callable[[Any], Any]] = {
    "AttentionStatistics": captured(spectral.AttentionStatistics),
    "CosineSimilarity": captured(spectral.CosineSimilarity),
    "FrequencyResponse": captured(spectral.FrequencyResponse),
    "LayerSpectra": captured(spectral.LayerSpectra),
    "LinearCKA": lambda model: spectral.LinearCKA.from_captures({"a": capture(model, windows())}).cka,
    "MixingRatio": lambda model: spectral.MixingRatio.of_model(model, batches()),
    "RankOneDistance": lambda model: spectral.RankOneDistance.of_parts(model, batches()),
    "Smoothing": captured(spectral.Smoothing),
    "StratifiedSimilarity": lambda model: spectral.StratifiedSimilarity.of_model(
        model, windows(), [1, 2, 3, 4, 5, 6], "x", groups=2, k=3
    ).table(),
    "TransferMap": captured(spectral.TransferMap),
    "block_response": lambda model: spectral.block_response(model, batches()),
    "layer_ratios": lambda model: layer_ratios(capture(model, windows())),
    "learned_filters": spectral.learned_filters,
    "position_response": lambda model: spectral.position_response(model, batches()),
    "summarise": lambda model: summarise(model, windows(), {"model": "a"}, samples=0),
}
