"""Differences of spectral measures between systems, over users and seeds, from the spectral summaries of their runs.

All runs on a dataset have the same bootstrap samples of users (`spectral.summary`), so differences between systems have
an uncertainty, from users and from seeds: `models.results.significance.difference`.

Contents: `MEASURES`, `measured`, and `compare` with its result `Differences`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.errors import ConfigError, DataError, did_you_mean
from models.results.significance import difference, holm
from spectral.fourier import multiplicity
from spectral.response import DEFAULT_C, Array
from spectral.result import Result
from spectral.summary import SpectralSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Values = tuple[Array, Array]  # of one run: (layers,), and of each sample of users (samples, layers)


@dataclass(frozen=True)
class Measure:
    """What can be compared.

    Attributes:
        what: What it is, with its unit.
        first_layer: The layer of its first value; 0 is the embedding output.
        take: Returns it from a summary.
        users: Which field of a summary is the number of users behind it; "" for learned parameters.
    """

    what: str
    first_layer: int
    take: Callable[[SpectralSummary], Values]
    users: str = "users"


def _nyquist(power: Array, samples: Array) -> Values:
    return 10 * np.log10(power[:, -1] / power[:, 0]), 10 * np.log10(samples[..., -1] / samples[..., 0])


def _high_share(energy: Array, positions: int) -> Array:
    """Return the share of energy (..., F) above the DEFAULT_C lowest modes, in dB."""
    modes = energy * multiplicity(positions).numpy()
    return np.asarray(10 * np.log10(modes[..., DEFAULT_C // 2 + 1 :].sum(-1) / modes.sum(-1)))


def _beta(summary: SpectralSummary) -> Values:
    median = np.median(summary.beta, axis=1)
    return median, np.tile(median, (len(summary.between_samples), 1))


MEASURES: dict[str, Measure] = {
    "nyquist_gain": Measure(
        "gain of attention at the highest frequency, relative to DC, dB",
        1,
        lambda s: _nyquist(s.power.mean(1), s.power_samples),
        "window_users",
    ),
    "nyquist_self_gain": Measure(
        "what attention leaves at the highest frequency of what enters there, relative to DC, dB",
        1,
        lambda s: _nyquist(s.self_power.mean(1), s.self_power_samples),
        "window_users",
    ),
    "high_share": Measure(
        f"share of the hidden states' energy above the {DEFAULT_C} lowest modes, dB",
        0,
        lambda s: (_high_share(s.hidden_power, s.positions), _high_share(s.hidden_power_samples, s.positions)),
        "window_users",
    ),
    "effective_rank": Measure(
        "effective rank of the representations of all users",
        0,
        lambda s: (np.array([x.effective_rank for x in s.spectra().layers.values()]), s.effective_rank_samples),
    ),
    "stable_rank": Measure(
        "stable rank of the representations of all users",
        0,
        lambda s: (np.array([x.stable_rank for x in s.spectra().layers.values()]), s.stable_rank_samples),
    ),
    "between_users": Measure(
        "mean cosine similarity of two users' representations",
        0,
        lambda s: (s.similarity().between_users, s.between_samples),
    ),
    "within_sequence": Measure(
        "mean cosine similarity of two positions of a user",
        0,
        lambda s: (s.similarity().within_sequence, s.within_samples),
    ),
    "beta": Measure("median over dimensions of BSARec's beta, without an error of users", 1, _beta, users=""),
}


def measured(runs: Sequence[SpectralSummary], name: str) -> Values:
    """Return a measure of one system's runs, (seeds, layers), and in samples of users, (samples, seeds, layers).

    Raises ConfigError for an unknown measure, or one that these models do not have.
    """
    if name not in MEASURES:
        raise ConfigError(
            f"unknown measure {name!r}; choose one of {', '.join(MEASURES)}{did_you_mean(name, MEASURES)}"
        )
    found = [MEASURES[name].take(run) for run in runs]
    if not found[0][0].size:
        raise ConfigError(f"{runs[0].about['model']} has no {name}: {MEASURES[name].what}")
    return np.stack([values for values, _ in found]), np.stack([samples for _, samples in found], axis=1)


def users_behind(run: SpectralSummary, name: str) -> int:
    """Return the number of users behind a measure of a run; 0 for learned parameters."""
    return int(getattr(run, MEASURES[name].users)) if MEASURES[name].users else 0


@dataclass(frozen=True, eq=False)
class Differences(Result):
    """Differences of a measure between systems and a reference.

    Attributes:
        measure: One of `MEASURES`.
        rows: One for each system and layer. Columns: system, reference, layer, value (mean over seeds),
            reference_value, difference, low, high (its 95% interval), knows_seeds (whether both have several seeds; a
            single one adds nothing to the interval), seeds (the smaller number), users, p_value and p_holm (NaN for
            single runs; corrected for the number of rows), detectable (the smallest difference that would be detected).
    """

    measure: str
    rows: "DataFrame"

    def table(self) -> "DataFrame":
        """Return the rows."""
        return self.rows

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the differences over layers, with their intervals."""
        from spectral import plot

        return plot.differences(self, ax=ax)


def compare(systems: Mapping[str, Sequence[SpectralSummary]], name: str, reference: str | None = None) -> Differences:
    """Return the difference of each system to the reference, layer by layer.

    Args:
        systems: The summaries of the runs of each system.
        name: One of MEASURES.
        reference: The system that the others are compared with, by default the first.

    Layers that only one of the two has are left out.

    Raises:
        ConfigError: For an unknown measure or reference, one system, or models without the measure.
        DataError: If the runs are not of the same data, or not of the same number of positions.

    Example:
        >>> from models.registry import build, configure
        >>> import torch
        >>> from spectral.summary import summarise
        >>> def run(name, seed):
        ...     model = build(configure(name, num_items=20, max_len=6, hidden_size=8))
        ...     model.initialise(seed)
        ...     windows = torch.randint(1, 21, (40, 6), generator=torch.Generator().manual_seed(0))
        ...     return summarise(model, windows, {"model": name, "fingerprint": "f", "seed": seed})
        >>> systems = {name: [run(name, seed) for seed in (1, 2)] for name in ("sasrec", "bsarec")}
        >>> differences = compare(systems, "effective_rank")
        >>> print(differences.table()[["system", "reference", "layer", "seeds", "users"]].to_string(index=False))
        system reference  layer  seeds  users
        bsarec    sasrec      0      2     40
        bsarec    sasrec      1      2     40
        bsarec    sasrec      2      2     40
        >>> differences.plot().get_xlabel()
        'layer'
    """
    import pandas as pd

    _check(systems)
    reference = reference or next(iter(systems))
    if reference not in systems:
        raise ConfigError(f"no system {reference!r} among these summaries; there are {', '.join(systems)}")
    if name in MEASURES and not MEASURES[name].users and min(map(len, systems.values())) < 2:
        raise ConfigError(f"{name} has no error over users; give several seeds of each system")
    rows = []
    theirs = measured(systems[reference], name)
    for system in (given for given in systems if given != reference):
        ours = measured(systems[system], name)
        for layer in range(min(ours[0].shape[1], theirs[0].shape[1])):
            own, other = ((values[:, layer], samples[:, :, layer]) for values, samples in (ours, theirs))
            found = difference(own, other)
            low, high = found.interval()
            rows.append(
                {
                    "system": system,
                    "reference": reference,
                    "layer": layer + MEASURES[name].first_layer,
                    "value": own[0].mean(),
                    "reference_value": other[0].mean(),
                    "difference": found.estimate,
                    "low": low,
                    "high": high,
                    "knows_seeds": found.knows_seeds,
                    "seeds": found.seeds,
                    "users": users_behind(systems[system][0], name),
                    "p_value": found.p_value,
                    "detectable": found.detectable,
                }
            )
    table = pd.DataFrame(rows)
    known = table.p_value.notna()
    table.insert(table.columns.get_loc("p_value") + 1, "p_holm", np.nan)
    table.loc[known, "p_holm"] = holm(list(table.p_value[known]))
    return Differences(name, table)


def by_system(summaries: Mapping[Path, SpectralSummary]) -> dict[str, list[SpectralSummary]]:
    """Return summaries by the system that their files are named after, <system>-seed<seed>.spectral.npz.

    Raises DataError for two runs of a system with the same seed.
    """
    systems: dict[str, list[SpectralSummary]] = {}
    for path, summary in summaries.items():
        name = path.name.removesuffix(".npz").removesuffix(".spectral")
        runs = systems.setdefault(name.rpartition("-seed")[0] or name, [])
        if summary.about.get("seed") in [run.about.get("seed") for run in runs]:
            raise DataError(f"{path}: seed {summary.about.get('seed')} of this system is there already; leave one out")
        runs.append(summary)
    return systems


def _check(systems: Mapping[str, Sequence[SpectralSummary]]) -> None:
    if len(systems) < 2:
        raise ConfigError(f"needs summaries of at least two systems, got {', '.join(systems) or 'none'}")
    (name, first), *others = [(name, run) for name, runs in systems.items() for run in runs]
    for other_name, run in others:
        if run.about.get("fingerprint") != first.about.get("fingerprint"):
            raise DataError(f"{other_name} was measured on other data than {name}; compare runs on the same dataset")
        if (run.positions, run.users) != (first.positions, first.users):
            raise DataError(
                f"{other_name} was measured on {run.users} users and {run.positions} positions, {name} on "
                f"{first.users} and {first.positions}; compare runs with the same max_len"
            )
