"""What the drawing functions are given by the tests of them: small fixed results in closed form, and every function."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import simulated_summaries as simulated
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.architectures.diagram import diagram_of
from models.integrity import Check
from models.registry import MODELS, build, configure
from models.results.sensitivity import Sensitivity
from spectral import CosineSimilarity, over_seeds, plot
from spectral.attention_statistics import MEASURES as STATISTICS
from spectral.attention_statistics import AttentionStatistics
from spectral.attention_statistics.bounds import LayerBounds
from spectral.block_response import BlockResponse
from spectral.block_response.positions import PositionResponse
from spectral.cka import LinearCKA
from spectral.claims import Ledger
from spectral.compare import Differences
from spectral.dynamics import Dynamics
from spectral.filter_response import FrequencyResponse
from spectral.integrity import Integrity
from spectral.last_item import LastItemOverlap
from spectral.learned_filters import LearnedFilters
from spectral.mixing_ratio import MixingRatio
from spectral.over_seeds import Betas, Similarities, Spectrum
from spectral.rank_one import RankOneDistance
from spectral.remedies import MEASURES as LESS_SMOOTH
from spectral.remedies import Comparison as Remedies
from spectral.signals import UserSignal
from spectral.singular_values import SingularValues
from spectral.smoothing import MEASURES as SMOOTHNESS
from spectral.smoothing import Smoothing
from spectral.strata import StratifiedSimilarity, Stratum
from spectral.summary import SpectralSummary
from spectral.theorem1 import EXCEPTIONAL, Case
from spectral.transfer_map import TransferMap
from spectral.user_frequency import RankingByGroup

N, D = 12, 6
OMEGA = 2 * np.pi * np.arange(N // 2 + 1) / N


def lowpass(layers: int, heads: int = 1) -> np.ndarray:
    """(L, H, F), first-order low-pass filters: each layer damps less than the one before it, each head more."""
    strength = 4 / (1 + np.arange(layers))[:, None] * (1 + 0.3 * np.arange(heads))
    return 1 / np.sqrt(1 + (strength[..., None] * OMEGA) ** 2)


def frequency_response(layers: int = 2, heads: int = 2, resamples: int = 5) -> FrequencyResponse:
    gain = lowpass(layers, heads)
    spread = 1 + 0.1 * np.linspace(-1, 1, resamples)[:, None, None, None] * np.sin(OMEGA / 2)
    resampled = gain * spread if resamples else None
    numbers = tuple(range(1, layers + 1))
    return FrequencyResponse(gain=gain, positions=N, users=9, layers=numbers, self_gain=0.9 * gain, resampled=resampled)


def nulls(of: Any) -> dict[str, list[Any]]:
    """One uniform null, and two draws of each of the others."""
    return {"uniform": [of], "untrained": [of, of], "shuffled": [of, of]}


def transfer_map(layers: int = 2) -> TransferMap:
    place = np.arange(N // 2 + 1)
    near = np.exp(-np.abs(np.subtract.outer(place, place)) / (1 + np.arange(layers))[:, None, None] / 2)
    power = near * lowpass(layers)[:, 0, None, :] ** 2
    return TransferMap(power=power[:, None], positions=N, users=9, layers=tuple(range(1, layers + 1)))


def summaries(place: int, seeds: int) -> list[SpectralSummary]:
    """Runs of a system with a null model of each kind."""
    runs = [simulated.summary(list(MODELS)[place], seed, rank=2 + place) for seed in range(seeds)]
    return [replace(run, nulls={"untrained": [run, run], "uniform": [run]}) for run in runs]


def similarities(place: int, seeds: int = 2) -> Similarities:
    return over_seeds.similarities(summaries(place, seeds))


def spectrum(place: int, seeds: int = 2) -> Spectrum:
    return over_seeds.spectrum(summaries(place, seeds))


def betas(layers: int = 2, seeds: int = 2) -> Betas:
    values = np.random.default_rng(0).normal(size=(seeds, layers, 64)) ** 2
    return Betas(values / (1 + np.arange(layers))[:, None])


def block_response(layers: int = 2) -> BlockResponse:
    gain = 0.8 + 0.2 * lowpass(layers)[:, 0]
    numbers = tuple(range(1, layers + 1))
    return BlockResponse(gain=gain, positions=N, users=9, layers=numbers, last_gain=gain**2, probes=8)


def learned_filters(layers: int = 2) -> LearnedFilters:
    slope = np.linspace(-0.2, 0.4, D) * (1 + np.arange(layers))[:, None]
    gain = 1 + slope[:, None, :] * OMEGA[:, None]
    return LearnedFilters(gain * np.exp(-1j * OMEGA[:, None] * np.linspace(0, 1, D)), N)


def singular_values(place: int) -> SingularValues:
    return SingularValues(8 * np.exp(-np.arange(D) * (place + 1) / 6), 30)


def cosine_similarity(place: int, layers: int = 2) -> CosineSimilarity:
    depth = np.arange(layers + 1)
    users = 1 - np.exp(-(place + 1) * (depth + 1) / 20)
    return CosineSimilarity(depth, users, np.sqrt(users), 30, 20)


def smoothing(place: int, layers: int = 2, sequences: int = 9) -> Smoothing:
    depth = np.arange(layers + 1)
    values = {name: (number + 1) * np.exp(-(place + 1) * depth / 12) for number, name in enumerate(SMOOTHNESS)}
    error = {name: values[name] * (0.05 if sequences > 1 else np.nan) for name in SMOOTHNESS}
    return Smoothing(depth, **values, standard_error=error, sequences=sequences, long_sequences=sequences, c=3)


def rank_one(place: int, layers: int = 2, sequences: int = 9) -> RankOneDistance:
    """Of every layer and of the parts of every block: attention brings positions together, the residual apart."""
    parts = [(0, "layer", "output")]
    for layer in range(1, layers + 1):
        for step in ("attention", "frequency filter", "feed-forward"):
            parts += [(layer, step, stage) for stage in ("alone", "with residual", "after norm")]
        parts.append((layer, "layer", "output"))
    number = np.arange(len(parts))
    distance = (0.8 - 0.3 * np.sin(number) ** 2) * np.exp(-(place + 1) * number / 400)
    error = np.full(len(parts), 0.01 if sequences > 1 else np.nan)
    return RankOneDistance(tuple(parts), distance, error, np.full(len(parts), 0.95), np.full(len(parts), sequences))


def mixing_ratio(layers: int = 2) -> MixingRatio:
    residual = 0.2 + 0.1 * np.arange(layers)[:, None] / layers + 0.5 * (OMEGA / np.pi) ** 2
    attention = (1 - residual) * np.cos(OMEGA / 4)
    share = np.stack([residual, attention, 1 - residual - attention], axis=1)
    names = ("residual", "attention", "feed-forward")
    return MixingRatio(names, share, 0.02 * share, share[..., 1], share[..., 2], N, 9)


def cka(models: list[str], layers: int = 2) -> LinearCKA:
    """Layers are the less alike the farther apart they are; the embedding output of the first model has none."""
    names = tuple((model, layer) for model in models for layer in range(layers + 1))
    depth = np.array([layer + 3.0 * models.index(model) for model, layer in names])
    values = np.exp(-np.abs(depth[:, None] - depth) / 3)
    values[0] = values[:, 0] = np.nan
    return LinearCKA(names, values, 0.1 * values, 30)


def last_item(place: int, k: int = 10, users: int = 9) -> LastItemOverlap:
    overlap = 0.3 + 0.4 * np.arange(1, k + 1) / k - 0.02 * place
    errors = dict.fromkeys(("overlap", "same", "same_order"), np.full(k, 0.03 if users > 1 else np.nan))
    return LastItemOverlap(overlap, overlap**2, overlap**3, overlap / 4, errors, users)


def strata(groups: int = 3, layers: int = 2) -> StratifiedSimilarity:
    cut = tuple(Stratum(10.0 * g, 10.0 * g + 9, torch.arange(20 + g)) for g in range(1, groups + 1))
    cosine = tuple(cosine_similarity(3 * g, layers) for g in range(groups))
    overlap = tuple(last_item(3 * g) for g in range(groups))
    return StratifiedSimilarity("length", cut, cosine, tuple(cka(["mine"], layers) for _ in cut), overlap)


def attention_statistics(place: int, layers: int = 2, heads: int = 2) -> AttentionStatistics:
    numbers = tuple(range(1, layers + 1))
    grown = np.exp(-(place + 1) * np.arange(layers) / 12)[:, None] * (1 - 0.1 * np.arange(heads))
    values = {name: grown * (number + 1) for number, name in enumerate(STATISTICS)}
    rollout = np.exp((place + 1) * np.arange(N) / 20)
    return AttentionStatistics(
        numbers,
        **values,
        standard_error={name: 0.1 * grown for name in STATISTICS},
        perron=np.full((layers, heads, N), 1 / N),
        rollout=rollout / rollout.sum(),
        rollout_lambda2=0.5,
        residual=0.5,
        sequences=9,
    )


def user_signal(user: int = 7) -> UserSignal:
    """A sum of waves, each with another share in every dimension; the users differ in the fast ones."""
    position = np.arange(N)
    waves = np.stack([np.cos(2 * np.pi * k * position / N - k) for k in range(N // 2 + 1)], axis=1)
    height = np.array([1, 1, 0.6, 0.3, 0.3, user / 20, user / 20])
    signal = waves * height @ np.cos(np.outer(np.arange(N // 2 + 1), np.arange(D)) / 6)
    spectrum = np.fft.rfft(signal, axis=0)
    modes = np.array([1, *[2] * (N // 2 - 1), 1])
    energy = (np.abs(spectrum) ** 2).sum(1) * modes / N
    spectrum[2:] = 0
    return UserSignal(signal, np.fft.irfft(spectrum, N, axis=0), energy, 3, position + 1, user)


class Attributes:
    """Of every item its divisors up to five."""

    names = ("every", "second", "third", "fourth", "fifth")

    def of(self, item: int) -> np.ndarray:
        return np.array([number for number in range(1, 6) if item % number == 0])


def sensitivity(baselines: int = 1, seeds: int = 3, values: int = 3) -> Sensitivity:
    def rows(name: str, means: list[float], **columns: Any) -> pd.DataFrame:
        mean = np.array(means)
        std = mean * (0.05 if seeds > 1 else np.nan)
        ends = {"low": mean - 2 * std, "high": mean + 2 * std}
        return pd.DataFrame({**columns, "metric": name, "mean": mean, "std": std, **ends, "n": seeds})

    alpha = np.linspace(0.1, 0.9, values)
    names = [name for name in MODELS if name != "bsarec"][:baselines]
    heights = [0.05 + 0.01 * place for place in range(len(names))]
    titles = {"system": [MODELS[name].title for name in names], "model": names}
    scales = {"HR@20": 2.0, "NDCG@20": 1.0}
    return Sensitivity(
        "lastfm",
        "bsarec",
        "alpha",
        float(alpha[-1]),
        9,
        pd.concat(
            [rows(metric, list(s * (0.1 - (alpha - 0.6) ** 2 / 5)), value=alpha) for metric, s in scales.items()]
        ),
        pd.concat([rows(metric, [s * height for height in heights], **titles) for metric, s in scales.items()]),
    )


def decay(matrices: int = 3) -> list[Case]:
    """Of every matrix the decay of a generic x, then of an exceptional one."""
    cases = []
    for place in range(matrices):
        slope = -0.3 * (place + 1)
        name, causal = f"matrix {place + 1}", place % 2 == 1
        t = np.arange(101)
        common = {"n": N, "causal": causal, "lambda2": complex(np.exp(slope)), "collapses_onto": 0}
        common |= {"collapse_weight": 0.5, "fitted_slope": slope}
        ratio = slope * t + np.cos(t) / (1 + t)
        cases.append(Case(name=name, exceptional=False, predicted_slope=slope, limit=0, log_ratio=ratio, **common))
        flat = 1 + 0.5 / (1 + t)
        flat_case = {"name": name + EXCEPTIONAL, "exceptional": True, "predicted_slope": 0.0, "limit": float(np.e)}
        cases.append(Case(**flat_case, log_ratio=flat, **common))
    return cases


def user_frequency(models: list[str], groups: int = 4) -> RankingByGroup:
    tables = []
    for place, model in enumerate(models):
        number = np.arange(1, groups + 1)
        mean = 0.1 / number + 0.01 * place
        ends = {"from": number / 10, "to": (number + 1) / 10, "low": 0.8 * mean, "high": 1.2 * mean}
        tables.append(pd.DataFrame({"model": model, "group": number, "mean": mean, **ends}))
    return RankingByGroup("dc_share", "NDCG@20", pd.concat(tables))


def watched(names: list[str], seeds: int = 3, epochs: int = 6) -> Dynamics:
    """Shares that fall and a metric that rises and falls, both a little other for every seed."""
    rows = []
    for place, name in enumerate(names):
        for seed in range(seeds):
            for epoch in range(epochs + seed):
                share = (0.5 + 0.02 * seed) / (1 + 0.2 * epoch * (1 + place))
                ranked = 0.05 + 0.01 * place - 0.001 * (epoch - 3 - seed) ** 2
                rows.append((name, str(seed), epoch, 1, "hfc_share", share))
                rows.append((name, str(seed), epoch, pd.NA, "NDCG@20", ranked))
    return Dynamics(pd.DataFrame(rows, columns=["system", "seed", "epoch", "layer", "measure", "value"]))


def remedies(names: list[str], seeds: int = 3) -> Remedies:
    """A point for each run; the more similar its users, the worse it ranks."""
    points, depth = [], 2
    for place, name in enumerate(names):
        for seed in range(seeds):
            metric = 0.05 + 0.004 * place + 0.001 * seed
            point = {"system": name, "depth": depth, "seed": seed, "NDCG@20": metric}
            point |= {"metric_low": metric - 0.005, "metric_high": metric + 0.005}
            for measure in LESS_SMOOTH:
                value = 0.6 - 0.05 * place + 0.01 * seed
                point |= {measure: value, f"{measure}_low": value - 0.02, f"{measure}_high": value + 0.02}
            points.append(point)
    found = {"depth": depth, "rho": 0.5, "low": -0.1, "high": 0.9, "runs": len(points), "systems": len(names)}
    correlations = pd.DataFrame([found | {"measure": measure} for measure in LESS_SMOOTH])
    return Remedies(pd.DataFrame(points), correlations, pd.DataFrame())


def diagram(layers: int = 2) -> Any:
    return diagram_of(build(configure("bsarec", 30, max_len=N, hidden_size=8, num_layers=layers, alpha=0.7, c=3)))


def layer_bounds(place: int, layers: int = 2) -> LayerBounds:
    growth = 0.4 + 0.1 * place + 0.2 * np.arange(layers) / layers
    numbers = tuple(range(1, layers + 1))
    return LayerBounds(numbers, growth[:, None], 1 - growth, 1 + growth, 1 + growth / 2)


def position_response(layers: int = 2) -> PositionResponse:
    gain = lowpass(layers) * (1 + np.arange(N))[:, None] / N
    return PositionResponse(gain=gain, users=9, layers=tuple(range(1, layers + 1)))


def integrity() -> Integrity:
    """A promise that is kept, one that is broken, a property that was not promised, and a value."""
    verdicts = {"finite": (True, True), "causal": (True, False), "order_sensitive": (False, False)}
    checks = [Check(name, *verdict, 0.1, [], "a sentence") for name, verdict in verdicts.items()]
    return Integrity((*checks, Check("popularity", False, None, 0.4, [], "of the scores")))


def claims() -> Ledger:
    rows = [("one", "lastfm", 0.2, "reproduced"), ("one", "beauty", -0.1, "contradicted")]
    rows += [("two", "lastfm", np.nan, "undecided")]
    return Ledger(pd.DataFrame(rows, columns=["claim", "dataset", "estimate", "verdict"]), "paper")


def differences(names: list[str], layers: int = 2) -> Differences:
    rows = [
        {"system": name, "reference": "mine", "layer": layer, "difference": 1.0 + place - layer / layers}
        for place, name in enumerate(names)
        for layer in range(layers + 1)
    ]
    table = pd.DataFrame(rows)
    return Differences("effective_rank", table.assign(low=table.difference - 0.4, high=table.difference + 0.4))


@dataclass(frozen=True)
class Size:
    """How much a picture has to show."""

    models: int = 2
    layers: int = 2
    heads: int = 2
    resamples: int = 5  # 0: no bootstrap band
    seeds: int = 3

    @property
    def names(self) -> list[str]:
        return list(MODELS)[: self.models]

    def of_each(self, measure: Callable[..., Any], *sizes: int) -> dict[str, Any]:
        return {name: measure(place, *sizes) for place, name in enumerate(self.names)}


# Every function that draws on one Axes, of a size.
ON_AXES: dict[str, Callable[..., Axes]] = {
    "diagram": lambda size, **ax: plot.diagram(diagram(size.layers), **ax),
    "attention_statistics": lambda size, **ax: plot.attention_statistics(
        size.of_each(attention_statistics, size.layers, size.heads), **ax
    ),
    "dynamics": lambda size, **ax: plot.dynamics(watched(size.names, size.seeds), "hfc_share", **ax),
    "dynamics_paths": lambda size, **ax: plot.dynamics_paths(watched(size.names, size.seeds), "hfc_share", **ax),
    "remedies": lambda size, **ax: plot.remedies(
        remedies(size.names, size.seeds), nulls={2: {"between_users": 0.2}}, **ax
    ),
    "block_response": lambda size, **ax: plot.block_response(block_response(size.layers), label="bsarec", **ax),
    "claims": lambda size, **ax: plot.claims(claims(), **ax),
    "differences": lambda size, **ax: plot.differences(differences(size.names, size.layers), **ax),
    "integrity": lambda size, **ax: plot.integrity(integrity(), **ax),
    "layer_bounds": lambda size, **ax: plot.layer_bounds(size.of_each(layer_bounds, size.layers), **ax),
    "position_response": lambda size, **ax: plot.position_response(position_response(size.layers), **ax),
    "cosine_similarity": lambda size, **ax: plot.cosine_similarity(size.of_each(cosine_similarity, size.layers), **ax),
    "cka": lambda size, **ax: plot.cka(cka(["sasrec"], size.layers), "sasrec", **ax),
    "last_item": lambda size, **ax: plot.last_item(size.of_each(last_item, 10, size.seeds), **ax),
    "strata": lambda size, **ax: plot.strata(strata(size.heads, size.layers), "cka_with_last", **ax),
    "mixing_ratio": lambda size, **ax: plot.mixing_ratio(mixing_ratio(size.layers), label="sasrec", **ax),
    "rank_one": lambda size, **ax: plot.rank_one(size.of_each(rank_one, size.layers, size.seeds), **ax),
    "rank_one_parts": lambda size, **ax: plot.rank_one_parts(rank_one(0, size.layers), label="bsarec", **ax),
    "learned_filters": lambda size, **ax: plot.learned_filters(learned_filters(size.layers), **ax),
    "learned_filters_map": lambda size, **ax: plot.learned_filters_map(
        learned_filters(size.layers), size.layers, "phase", **ax
    ),
    "frequency_response": lambda size, **ax: plot.frequency_response(
        frequency_response(size.layers, size.heads, size.resamples),
        nulls=nulls(frequency_response(1, resamples=0)),
        label="sasrec",
        **ax,
    ),
    "transfer_map": lambda size, **ax: plot.transfer_map(transfer_map(size.layers), size.layers, **ax),
    "user_signal_items": lambda size, **ax: plot.user_signal_items(user_signal().items, Attributes(), **ax),
    "ring_graph": lambda size, **ax: plot.ring_graph(8, (0, 1, 4), **ax),
    "attention_statistics_rollout": lambda size, **ax: plot.attention_statistics_rollout(
        size.of_each(attention_statistics, size.layers, size.heads), **ax
    ),
    "sensitivity": lambda size, **ax: plot.sensitivity(sensitivity(size.models - 1, size.seeds), **ax),
    "cosine_similarity_kinds": lambda size, **ax: plot.cosine_similarity_kinds(
        "sasrec", cosine_similarity(0, size.layers), **ax
    ),
    "beta": lambda size, **ax: plot.beta(betas(size.layers, size.seeds), label="bsarec", **ax),
    "singular_values": lambda size, **ax: plot.singular_values(
        size.of_each(singular_values), effective_rank=True, **ax
    ),
    "smoothing": lambda size, **ax: plot.smoothing(size.of_each(smoothing, size.layers, size.seeds), **ax),
    "learned_filters_sorted": lambda size, **ax: plot.learned_filters_sorted(learned_filters(size.layers), **ax),
    "theorem1": lambda size, **ax: plot.theorem1(decay(size.layers), **ax),
    "user_frequency": lambda size, **ax: plot.user_frequency(user_frequency(size.names), **ax),
    "user_signal": lambda size, **ax: plot.user_signal(user_signal(), **ax),
    "user_signal_spectrum": lambda size, **ax: plot.user_signal_spectrum(user_signal(), **ax),
}
# And those that make a figure of several.
FIGURES: dict[str, Callable[[Size], Figure]] = {
    "attention_statistics_panels": lambda size: plot.attention_statistics_panels(
        size.of_each(attention_statistics, size.layers, size.heads)
    ),
    "block_response_panels": lambda size: plot.block_response_panels(block_response(size.layers)),
    "learned_filters_panels": lambda size: plot.learned_filters_panels(learned_filters(size.layers), "bsarec"),
    "position_response_panels": lambda size: plot.position_response_panels(
        {name: position_response(min(size.layers, 5)) for name in size.names[:3]}
    ),
    "summary": lambda size: plot.summary(summaries(1, 1)[0]),
    "dynamics_panels": lambda size: plot.dynamics_panels(watched(size.names, size.seeds), ["hfc_share", "NDCG@20"]),
    "dynamics_paths_panels": lambda size: plot.dynamics_paths_panels(watched(size.names, size.seeds), ["hfc_share"]),
    "remedies_panels": lambda size: plot.remedies_panels(remedies(size.names, size.seeds)),
    "frequency_response_panels": lambda size: plot.frequency_response_panels(
        {name: frequency_response(size.layers, 1, resamples=0) for name in size.names},
        {name: {"uniform": [frequency_response(1, resamples=0)]} for name in size.names},
    ),
    "transfer_map_panels": lambda size: plot.transfer_map_panels(  # a panel is slow to lay out, and all are alike
        {name: transfer_map(min(size.layers, 5)) for name in size.names[:3]}
    ),
    "cosine_similarity_panels": lambda size: plot.cosine_similarity_panels(
        {"shallow": size.of_each(similarities, size.seeds), "deep": size.of_each(similarities, 1)}
    ),
    "singular_values_panels": lambda size: plot.singular_values_panels(
        {"shallow": size.of_each(spectrum, size.seeds), "deep": size.of_each(spectrum, 1)}
    ),
    "sensitivity_panels": lambda size: plot.sensitivity_panels(
        {"here": sensitivity(size.models - 1, size.seeds), "there": sensitivity(size.models - 1, size.seeds, 5)}
    ),
    "user_signal_panels": lambda size: plot.user_signal_panels([user_signal(7), user_signal(30)], Attributes()),
    "smoothing_panels": lambda size: plot.smoothing_panels(size.of_each(smoothing, size.layers, size.seeds)),
    "cka_panels": lambda size: plot.cka_panels(cka(size.names[:3], size.layers)),
    "strata_panels": lambda size: plot.strata_panels(strata(size.heads, size.layers)),
}


def data_of(ax: Axes) -> dict[str, np.ndarray]:
    """The heights of every line, by its label."""
    return {line.get_label(): np.asarray(line.get_ydata(), float) for line in ax.get_lines()}
