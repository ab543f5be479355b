"""What claims are judged by: signed statistics of runs, above 0 for the claim."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from models.registry import MODELS
from models.results.published import published
from models.results.runs import Result
from models.results.significance import SAMPLES, Array, difference, means_of_samples
from spectral.claims import Evidence
from spectral.claims.runs import Missing, Runs
from spectral.compare import measured, users_behind
from spectral.filter_response import power_of_each
from spectral.theorem1 import Case, random_attentions, theorem1
from spectral.user_frequency import user_frequency

HALF_POWER = 10 ** (-3 / 20)  # a gain of -3 dB
MEDIAN_OF_SQUARED_NORMAL = 0.4549364  # median of chi^2 with one degree of freedom: beta before training
MARGIN = 0.05  # "within 5%" is what eSASRec's authors (RecSys 2025) call a replication
CLOSE = 1.25  # a cost up to a quarter higher counts as close
MATRICES = 20  # random attention matrices of Theorem 1
VANISHED = -6.0  # log10 of a ratio that counts as 0

OverLayers = Callable[[Array], Array]  # of (..., layers) to (...)
Measured = tuple[Array, Array]  # of a system: (seeds,), and in samples of users (samples, seeds)


def over_layers(runs: Runs, system: str, measure: str, take: OverLayers) -> Measured:
    """Return what is taken over the layers of a spectral measure of a system."""
    values, samples = measured(runs.summaries(system), measure)
    return take(values), take(samples)


def spectral(measure: str, take: OverLayers, system: str, other: str | None = None) -> Callable[[Runs], Evidence]:
    """Return the evidence of a spectral measure, taken over layers: of a system, or its difference to another."""

    def evidence(runs: Runs) -> Evidence:
        first = over_layers(runs, system, measure, take)
        second = None if other is None else over_layers(runs, other, measure, take)
        users = users_behind(runs.summaries(system)[0], measure)
        shown = [system] if other is None else [system, other]
        return Evidence(difference(first, second), users, _seeds_of_summaries(runs, *shown))

    return evidence


def beyond(
    measure: str, take: OverLayers, system: str, null: Callable[[int], float], name: str
) -> Callable[[Runs], Evidence]:
    """Return the evidence of a spectral measure beyond its null model, a number for so many positions."""

    def evidence(runs: Runs) -> Evidence:
        value = null(runs.summaries(system)[0].positions)
        found = difference(over_layers(runs, system, measure, lambda x: take(x) - value))
        users = users_behind(runs.summaries(system)[0], measure)
        return Evidence(found, users, _seeds_of_summaries(runs, system), f"{name}: {value:.3g}")

    return evidence


def uniform_damping(positions: int) -> float:
    """Return how much uniform causal attention damps the highest frequency, relative to DC, in dB.

    >>> round(uniform_damping(50), 1)
    16.1
    """
    uniform = torch.ones(1, 1, positions, positions, dtype=torch.float64).tril()
    power = power_of_each(uniform / uniform.sum(-1, keepdim=True))[0][0, 0]
    return float(-10 * torch.log10(power[-1] / power[0]))


def ranks_better(system: str, other: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that a system has the higher NDCG@20."""

    def evidence(runs: Runs) -> Evidence:
        found = difference(runs.ndcg(system), runs.ndcg(other))
        return Evidence(found, runs.gains(system).shape[1], _seeds_of_results(runs, system, other))

    return evidence


def reaches_published(model: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that a model reaches its published number, less 5%."""

    def evidence(runs: Runs) -> Evidence:
        entry = published(runs.dataset, MODELS[model].title)
        if entry is None:
            raise Missing(f"no published number of {model}")
        name, cutoff = entry.metric.split("@")
        ranks = np.array([run.test_ranks for run in runs.results(model)])
        gained = (ranks <= int(cutoff)) * (1 / np.log2(ranks + 1) if name == "NDCG" else 1.0)
        goal = (1 - MARGIN) * entry.value
        found = difference((gained.mean(axis=1) - goal, means_of_samples(gained) - goal))
        null = f"published {entry.metric} {entry.value} ({entry.kind}), less 5%: {goal:.4f}"
        return Evidence(found, ranks.shape[1], _seeds_of_results(runs, model), null)

    return evidence


def own_is_best(model: str, setting: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that the published value of a setting ranks better than the mean of the other values."""

    def evidence(runs: Runs) -> Evidence:
        others = [runs.ndcg(system) for system in runs.varied(model, setting)]
        count = min(len(values) for values, _ in others)
        values = np.mean([values[:count] for values, _ in others], axis=0)
        samples = np.mean([samples[:, :count] for _, samples in others], axis=0)
        seeds = _seeds_of_results(runs, model, *runs.varied(model, setting))
        return Evidence(difference(runs.ndcg(model), (values, samples)), runs.gains(model).shape[1], seeds)

    return evidence


def gains_most_at_high_frequency(system: str, other: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that the quarter of users with most high frequencies gains more than the other users."""

    def evidence(runs: Runs) -> Evidence:
        seeds, first = _seeds_of_results(runs, system, other), runs.results(system)[0]
        if first.dataset["fingerprint"] != runs.sequences.fingerprint:
            raise Missing(f"the file of {runs.dataset} is not the one of the runs")
        windows = torch.from_numpy(runs.sequences.windows("test", first.config["max_len"]).inputs)
        none = np.zeros((runs.sequences.num_items + 1, 1))  # the measure of categories needs no embeddings
        excess = user_frequency(windows, none, attributes=runs.attributes)["category_dc_excess"].to_numpy()
        known = ~np.isnan(excess)
        is_high = excess[known] <= np.quantile(excess[known], 0.25)
        ours, theirs = (_advantage(runs.gains(name)[:, known], is_high) for name in (system, other))
        return Evidence(difference(ours, theirs), int(known.sum()), seeds)

    return evidence


def _advantage(gained: Array, is_high: NDArray[np.bool_]) -> Measured:
    """Return how much more users of high frequency have than the others, (seeds,), and in samples of users."""

    def of(means: Array, shares: Array) -> Array:
        seeds = means.shape[-1] // 2
        return np.asarray(means[..., :seeds] / shares[..., :1] - means[..., seeds:] / shares[..., 1:])

    groups = np.stack([is_high, ~is_high])
    rows = np.concatenate([gained * groups[0], gained * groups[1], groups])
    samples = means_of_samples(rows)
    whole = rows.mean(axis=1)
    return of(whole[:-2], whole[-2:]), of(samples[:, :-2], samples[:, -2:])


def costs_about_as_much(system: str, other: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that an epoch takes at most a quarter longer, as log of ratios of time."""

    def evidence(runs: Runs) -> Evidence:
        seconds = [_seconds_by_machine(runs.results(name)) for name in (system, other)]
        shared = sorted(seconds[0].keys() & seconds[1].keys())
        if not shared:
            raise Missing(f"no processor that both {system} and {other} were trained on is known")
        logs = [np.log(of_system[shared[0]]) for of_system in seconds]
        first = _without_users(math.log(CLOSE) - logs[0])
        null = f"{shared[0][0]}, {shared[0][1]} thread{'s' * (shared[0][1] != 1)}"
        return Evidence(difference(first, _without_users(-logs[1])), 0, _seeds_of_results(runs, system, other), null)

    return evidence


def theorem_rate(runs: Runs) -> Evidence:
    """Return the evidence that HFC / LFC falls at the rate |lambda_2|, within 5%, in random attention."""
    cases = [case for case in _random_cases() if not case.exceptional]
    misses = np.array([abs(case.fitted_slope / case.predicted_slope - 1) for case in cases])
    return Evidence(difference(_without_users(MARGIN - misses)), 0, f"{len(cases)} random matrices, N = 50")


def theorem_for_all(runs: Runs) -> Evidence:
    """Return the evidence that HFC / LFC vanishes for the x that the theorem leaves out too, pi^T x = 0."""
    cases = [case for case in _random_cases() if case.exceptional]
    last = np.array([case.log_ratio[-1] / math.log(10) for case in cases])
    return Evidence(difference(_without_users(VANISHED - last)), 0, f"{len(cases)} random matrices, N = 50")


def _random_cases() -> list[Case]:
    return [
        case for seed in range(MATRICES) for case in theorem1(random_attentions([50], seed=seed)[:1], seed=seed).cases
    ]


def _without_users(values: Array) -> Measured:
    """Return a measure that has a value for each seed, and no users to draw."""
    return values, np.tile(values, (SAMPLES, 1))


def _seconds_by_machine(results: list[Result]) -> dict[tuple[str, int], list[float]]:
    """Return the seconds per epoch of the runs, by processor and number of threads, where all three are known."""
    found: dict[tuple[str, int], list[float]] = {}
    for run in results:
        if run.origin and run.origin.processor and run.origin.threads and run.seconds_per_epoch:
            found.setdefault((run.origin.processor, run.origin.threads), []).append(run.seconds_per_epoch)
    return found


def _seeds_of_results(runs: Runs, *systems: str) -> str:
    return _listed({system: [str(run.seed) for run in runs.results(system)] for system in systems})


def _seeds_of_summaries(runs: Runs, *systems: str) -> str:
    return _listed({system: [str(run.about["seed"]) for run in runs.summaries(system)] for system in systems})


def _listed(seeds: dict[str, list[str]]) -> str:
    return "; ".join(f"{system} {', '.join(numbers)}" for system, numbers in seeds.items())
