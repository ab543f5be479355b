"""What claims are judged by: signed statistics of runs, above 0 for the claim."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.choices import MONITOR
from models.registry import MODELS
from models.results.published import METRICS, Published, published, read_published
from models.results.runs import Result
from models.results.significance import SAMPLES, Array, Difference, difference, means_of_samples
from models.results.tables import CAPPED, FIRST_EPOCH
from spectral.claims import Evidence
from spectral.claims.runs import Missing, Runs
from spectral.compare import measured, users_behind
from spectral.filter_response import power_of_each
from spectral.remedies import MEASURES, rank_correlation
from spectral.theorem1 import Case, random_attentions, theorem1
from spectral.user_frequency import user_frequency

HALF_POWER = 10 ** (-3 / 20)  # a gain of -3 dB
MEDIAN_OF_SQUARED_NORMAL = 0.4549364  # median of chi^2 with one degree of freedom: beta before training
MARGIN = 0.05  # "within 5%" is what eSASRec's authors (RecSys 2025) call a replication
CLOSE = 1.25  # a cost up to a quarter higher counts as close
MATRICES = 20  # random attention matrices of Theorem 1, of each kind
VANISHED = -6.0  # log10 of a ratio that counts as 0

OverLayers = Callable[[Array], Array]  # of (..., layers) to (...)
Measured = tuple[Array, Array]  # of a system: (seeds,), and in samples of users (samples, seeds)


def last(values: Array) -> Array:
    """Return the value of the last layer."""
    return values[..., -1]


def over_layers(runs: Runs, system: str, measure: str, take: OverLayers) -> Measured:
    """Return what is taken over the layers of a spectral measure of a system."""
    values, samples = measured(runs.summaries(system), measure)
    return take(values), take(samples)


def spectral(
    measure: str, take: OverLayers, system: str, other: str | None = None, null: str = "none"
) -> Callable[[Runs], Evidence]:
    """Return the evidence of a spectral measure, taken over layers: of a system, or its difference to another.

    null: the name of the null model, if its value is 0.
    """

    def evidence(runs: Runs) -> Evidence:
        first = over_layers(runs, system, measure, take)
        second = None if other is None else over_layers(runs, other, measure, take)
        users = users_behind(runs.summaries(system)[0], measure)
        shown = [system] if other is None else [system, other]
        return Evidence(difference(first, second), users, _seeds_of_summaries(runs, *shown), null)

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


def uniform_damping(positions: int, stays: bool = False) -> float:
    """Return how much uniform causal attention damps the highest frequency, relative to DC, in dB.

    stays: of the energy that stays at the highest frequency, instead of what leaves at any frequency.

    >>> round(uniform_damping(50), 1), round(uniform_damping(50, stays=True), 1)
    (16.1, 25.7)
    """
    uniform = torch.ones(1, 1, positions, positions, dtype=torch.float64).tril()
    power = power_of_each(uniform / uniform.sum(-1, keepdim=True))[stays][0, 0]
    return float(-10 * torch.log10(power[-1] / power[0]))


def grows_beyond_initial_weights(system: str, take: OverLayers) -> Callable[[Runs], Evidence]:
    """Return the evidence that users' outputs grow alike over the layers, by more than with initial weights."""

    def evidence(runs: Runs) -> Evidence:
        trained = over_layers(runs, system, "between_users", take)
        untrained = take(runs.untrained_similarity(system))
        null = f"initial weights, {len(untrained)} seeds: {untrained.mean():.3g}"
        users = users_behind(runs.summaries(system)[0], "between_users")
        return Evidence(difference(trained, _without_users(untrained)), users, _seeds_of_summaries(runs, system), null)

    return evidence


def ranks_better(system: str, other: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that a system has the higher NDCG@20."""

    def evidence(runs: Runs) -> Evidence:
        found = difference(runs.ndcg(system), runs.ndcg(other))
        return Evidence(found, runs.gains(system).shape[1], _seeds_of_results(runs, system, other))

    return evidence


def elsewhere(system: str, other: str) -> Callable[[str], str]:
    """Return what says how two models compare in the re-run with most seeds by another group, "" if there is none.

    >>> elsewhere("bsarec", "duorec")("ml-1m")
    'NDCG@10 0.1572 against 0.178, 1 seed (github.com/Yoshi78S/seqKD)'
    """
    titles = [MODELS[name].title for name in (system, other)]

    def said(dataset: str) -> str:
        found: dict[tuple[str, str], dict[str, Published]] = {}
        for entry in read_published():
            if (entry.dataset, entry.kind, entry.negatives) == (dataset, "re-run", None) and entry.model in titles:
                found.setdefault((entry.source, entry.metric), {})[entry.model] = entry
        pairs = [[entries[title] for title in titles] for entries in found.values() if len(entries) == len(titles)]
        if not pairs:
            return ""
        ours, theirs = min(pairs, key=lambda pair: (-pair[0].seeds, METRICS.index(pair[0].metric)))
        seeds = f"{ours.seeds} seed{'s' * (ours.seeds > 1)}"
        return f"{ours.metric} {ours.value:g} against {theirs.value:g}, {seeds} ({ours.source.split(', ')[0]})"

    return said


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
    """Return the evidence that the published value of a setting ranks 5% better than the mean of the other values."""

    def evidence(runs: Runs) -> Evidence:
        others = mean_ndcg(runs, runs.varied(model, setting))
        seeds = _seeds_of_results(runs, model, *runs.varied(model, setting))
        found = difference(runs.ndcg(model), others, lambda own, other: own - (1 + MARGIN) * other)
        return Evidence(found, runs.gains(model).shape[1], seeds, f"no effect: {-MARGIN * others[0].mean():.3g}")

    return evidence


def mean_ndcg(runs: Runs, systems: Sequence[str]) -> Measured:
    """Return the mean NDCG@20 of some systems, seed by seed, for as many seeds as all of them have."""
    each = [runs.ndcg(system) for system in systems]
    count = min(len(values) for values, _ in each)
    values = np.mean([values[:count] for values, _ in each], axis=0)
    return values, np.mean([samples[:, :count] for _, samples in each], axis=0)


def goes_with_better_ranking(measure: str, systems: Sequence[str]) -> Callable[[Runs], Evidence]:
    """Return the evidence that runs of some systems rank better the less they smooth, by their rank correlation.

    measure: one of spectral.remedies.MEASURES, after the last layer. The seeds are those that all systems have. What is
    drawn for the error are the systems, so there are as many as systems, unless there is one seed.
    """
    import pandas as pd

    def evidence(runs: Runs) -> Evidence:
        runs, points = runs.of_seeds_in_common(systems), []
        for system in systems:
            smooth, _ = over_layers(runs, system, measure, last)
            pairs = zip(runs.gains(system).mean(axis=1), smooth, strict=True)  # both sorted by seed
            points += [{"system": system, MONITOR: gained, measure: value} for gained, value in pairs]
        found = rank_correlation(pd.DataFrame(points), measure)
        several = len(points) > len(systems)
        drawn = Difference(found["rho"], found["error"], len(systems) if several else 1, seed_share=1.0)
        return Evidence(drawn, 0, _seeds_of_results(runs, *systems))

    return evidence


def less_smoothing_explains(
    measure: str, remedies: Sequence[str], reference: str, other: str
) -> Callable[[Runs], Evidence]:
    """Return the evidence that remedies that smooth as little as another system have half of its gain in NDCG@20.

    measure: one of spectral.remedies.MEASURES, after the last layer, mean over the seeds that all have. reference: the
    system without a remedy, over which the other one gains. Raises Missing if there is no gain, or no remedy smooths as
    little.
    """

    def smoothing(runs: Runs, system: str) -> float:
        values, _ = over_layers(runs, system, measure, last)
        return -MEASURES[measure] * float(values.mean())

    def evidence(runs: Runs) -> Evidence:
        runs = runs.of_seeds_in_common([*remedies, reference, other])
        gain = runs.gains(other).mean() - runs.gains(reference).mean()
        if gain <= 0:
            raise Missing(f"{other} gains nothing over {reference}")
        as_little = [system for system in remedies if smoothing(runs, system) <= smoothing(runs, other)]
        if not as_little:
            raise Missing(f"no remedy smooths as little as {other}")
        found = difference(mean_ndcg(runs, as_little), mean_ndcg(runs, [reference, other]))
        seeds = _seeds_of_results(runs, *as_little, reference, other)
        return Evidence(found, runs.gains(other).shape[1], seeds, f"half of the gain: {gain / 2:.3g}")

    return evidence


def best_does_as_well(remedies: Sequence[str], other: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that the best remedy has the NDCG@20 of another system, less 5%.

    The best one has the highest validation NDCG@20, mean over the seeds that all have, so that the test split chooses
    nothing.
    """

    def evidence(runs: Runs) -> Evidence:
        runs = runs.of_seeds_in_common([*remedies, other])
        valid = {system: np.mean([run.valid[MONITOR] for run in runs.results(system)]) for system in remedies}
        chosen = max(valid, key=lambda system: valid[system])
        found = difference(runs.ndcg(chosen), runs.ndcg(other), lambda own, others: own - (1 - MARGIN) * others)
        seeds = _seeds_of_results(runs, chosen, other)
        equal = MARGIN * runs.gains(other).mean()
        return Evidence(found, runs.gains(other).shape[1], seeds, f"equal: {equal:.3g}")

    return evidence


def gains_most_at_high_frequency(system: str, other: str) -> Callable[[Runs], Evidence]:
    """Return the evidence that the quarter of users with most high frequencies gains more than the other users."""

    def evidence(runs: Runs) -> Evidence:
        seeds, first = _seeds_of_results(runs, system, other), runs.results(system)[0]
        runs.check_data(first)
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
    """Return the evidence that an epoch takes at most a quarter longer, on a processor that trained both."""

    def evidence(runs: Runs) -> Evidence:
        ours, theirs = (_seconds_by_machine(runs.results(name)) for name in (system, other))
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            raise Missing(f"no processor that both {system} and {other} were trained on is known")
        processor, threads = shared[0]
        first, second = (_without_users(np.array(seconds[shared[0]])) for seconds in (ours, theirs))
        found = difference(first, second, lambda own, others: CLOSE - own / others)
        null = f"equal cost: {CLOSE - 1:g}; {processor}, {threads} thread{'s' * (threads != 1)}"
        return Evidence(found, 0, _seeds_of_results(runs, system, other), null)

    return evidence


def theorem_rate(causal: bool) -> Callable[[Runs], Evidence]:
    """Return the evidence that HFC / LFC falls at the rate |lambda_2|, within 5%, in random attention."""

    def evidence(runs: Runs) -> Evidence:
        cases = [case for case in random_cases(causal) if not case.exceptional]
        misses = np.array([abs(case.fitted_slope / case.predicted_slope - 1) for case in cases])
        return Evidence(difference(_without_users(MARGIN - misses)), 0, f"{len(cases)} random matrices, N = 50")

    return evidence


def theorem_for_all(runs: Runs) -> Evidence:
    """Return the evidence that HFC / LFC vanishes for the x that the theorem leaves out too, pi^T x = 0."""
    cases = [case for case in random_cases(causal=False) if case.exceptional]
    last = np.array([case.log_ratio[-1] / math.log(10) for case in cases])
    return Evidence(difference(_without_users(VANISHED - last)), 0, f"{len(cases)} random matrices, N = 50")


def random_cases(causal: bool) -> list[Case]:
    """Return Theorem 1 followed for random attention matrices, bidirectional or causal, of 50 positions."""
    drawn = [random_attentions([50], causal_length=50, seed=seed)[causal] for seed in range(MATRICES)]
    return [case for seed, attention in enumerate(drawn) for case in theorem1([attention], seed=seed).cases]


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
    return _listed({system: [f"{run.seed}{_mark(run)}" for run in runs.results(system)] for system in systems})


def _mark(run: Result) -> str:
    return FIRST_EPOCH * (run.best_epoch == 0) + CAPPED * run.was_capped


def _seeds_of_summaries(runs: Runs, *systems: str) -> str:
    return _listed({system: [str(run.about["seed"]) for run in runs.summaries(system)] for system in systems})


def _listed(seeds: dict[str, list[str]]) -> str:
    return "; ".join(f"{system} {', '.join(numbers)}" for system, numbers in seeds.items())
