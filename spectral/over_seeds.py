"""The curves of a system over its runs: the mean, its intervals over users and over seeds, and its null models.

Each result is of one system, from its `spectral.summary` for each seed. Null models are means over the runs too, draw
by draw: a uniform one has the weights of a run, an untrained one is the same for all.

Contents: `gains`, `transfer`, `spectrum`, `similarities` and `betas` for a list of summaries; results `Gains`,
`Spectrum`, `Similarities` and `Betas`. The first three of these have the mean as the measure's own result, so it is
drawn in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy

from models.errors import ConfigError
from spectral.cosine_similarity import Convention, CosineSimilarity, check_convention
from spectral.estimate import Estimate, estimate
from spectral.filter_response import FrequencyResponse
from spectral.nulls import tables_of_draws, with_null_columns
from spectral.response import Array
from spectral.result import Result
from spectral.singular_values import GAUSSIAN, SingularValues
from spectral.summary import SpectralSummary
from spectral.transfer_map import TransferMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

R = TypeVar("R")

_POWERS = {"gain": "power", "self_gain": "self_power"}  # of the response, in a summary
_KINDS = {"between_users": "between_samples", "within_sequence": "within_samples"}


@dataclass(frozen=True, eq=False)
class Gains(Result):
    """What attention does to each frequency, over the runs of a system.

    Attributes:
        response: The mean over runs of the gains in dB, as the mean over heads; of a single run with its heads.
        gain_db, self_gain_db: (L, F), the same with intervals.
        nulls: By the null's name, the response of each draw.
    """

    response: FrequencyResponse
    gain_db: Estimate
    self_gain_db: Estimate
    nulls: dict[str, list[FrequencyResponse]]

    @property
    def interval(self) -> Estimate:
        """The estimate whose runs a caption counts."""
        return self.gain_db

    def table(self) -> "DataFrame":
        """Return the table of the response. Rows of the head "mean" have intervals of gains in dB, and null models.

        Several runs have no other rows: the first head of one is not that of another.
        """
        import pandas as pd

        table = self.response.table()
        mean = table[table["head"] == "mean"].assign(
            **self.gain_db.columns(), **self.self_gain_db.columns("self_"), seeds=self.gain_db.seeds
        )
        keys, values = ["layer", "head", "frequency"], ["gain_db", "self_gain_db"]
        heads = table[table["head"] != "mean"] if self.gain_db.seeds == 1 else None
        return pd.concat([heads, with_null_columns(mean, tables_of_draws(self.nulls), keys, values)])

    def plot(self, ax: "Axes | None" = None, *, of: str | None = None) -> "Axes | Figure":
        """Draw gain and self-gain against frequency, or one of them: of "gain" (on a given `ax`) or "self_gain"."""
        from spectral import plot

        if ax is None and of is None:
            return plot.frequency_response_panels(self._by_label(self))
        of = of or "gain"
        interval, label = getattr(self, f"{of}_db"), self.label or None
        return plot.frequency_response(self.response, of=of, nulls=self.nulls, interval=interval, label=label, ax=ax)


@dataclass(frozen=True, eq=False)
class Spectrum(Result):
    """The singular values of the users' representations after the last layer, over the runs of a system.

    Attributes:
        layer: The number of the last layer.
        values: The mean over runs of their logarithms, each divided by the largest.
        normalised: (r,), the same with intervals.
        effective_rank: (), mean over runs, with intervals.
        nulls: By the null's name, the spectrum of each draw.
    """

    layer: int
    values: SingularValues
    normalised: Estimate
    effective_rank: Estimate
    nulls: dict[str, list[SingularValues]]

    @property
    def interval(self) -> Estimate:
        """The estimate whose runs a caption counts."""
        return self.normalised

    @property
    def mean_nulls(self) -> dict[str, list[SingularValues]]:
        """The mean over the draws of each null model, for pictures of several systems; all Gaussian matrices."""
        return {name: draws if name == GAUSSIAN else [_mean_spectrum(draws)] for name, draws in self.nulls.items()}

    def table(self) -> "DataFrame":
        """Return the values, divided by the largest, with their intervals and null models."""
        table = self.values.table().drop(columns="singular_value")
        table = table.assign(**self.normalised.columns(), seeds=self.normalised.seeds)
        return with_null_columns(table, tables_of_draws(self.nulls), ["index"], ["normalised"])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the values, divided by the largest one, on a logarithmic axis."""
        from spectral import plot

        nulls, intervals = self._by_label(self.mean_nulls), self._by_label(self.normalised)
        return plot.singular_values(self._by_label(self.values), nulls=nulls, intervals=intervals, ax=ax)


@dataclass(frozen=True, eq=False)
class Similarities(Result):
    """How similar users and positions are after each layer, over the runs of a system.

    Attributes:
        similarity: The means over runs.
        between_users, within_sequence: (L + 1,), the same with intervals.
        nulls: By the null's name, the similarities of each draw.
    """

    similarity: CosineSimilarity
    between_users: Estimate
    within_sequence: Estimate
    nulls: dict[str, list[CosineSimilarity]]

    @property
    def interval(self) -> Estimate:
        """The estimate whose runs a caption counts."""
        return self.between_users

    @property
    def mean_nulls(self) -> dict[str, list[CosineSimilarity]]:
        """The mean over the draws of each null model, for pictures of several systems."""
        return {name: [_mean_similarity(draws)] for name, draws in self.nulls.items()}

    def table(self) -> "DataFrame":
        """Return a row for each layer and kind, with the intervals, and the null models."""
        import pandas as pd

        rows = []
        for kind in _KINDS:
            found: Estimate = getattr(self, kind)
            columns = {"layer": self.similarity.layers, "kind": kind, "similarity": found.value}
            counts = {"seeds": found.seeds, "users": found.users, "convention": self.similarity.convention}
            nulls = {
                name: [pd.DataFrame({"layer": draw.layers, "similarity": getattr(draw, kind)}) for draw in draws]
                for name, draws in self.nulls.items()
            }
            table = pd.DataFrame(columns | found.columns() | counts)
            rows.append(with_null_columns(table, nulls, ["layer"], ["similarity"]))
        return pd.concat(rows)

    def plot(self, ax: "Axes | None" = None, *, kind: str | None = None) -> "Axes | Figure":
        """Draw both similarities over layers, or one: "between_users" (on a given `ax`) or "within_sequence"."""
        from spectral import plot

        if ax is None and kind is None:
            return plot.cosine_similarity_panels({"": self._by_label(self)})
        kind = kind or "between_users"
        nulls, intervals = self._by_label(self.mean_nulls), self._by_label(getattr(self, kind))
        return plot.cosine_similarity(
            self._by_label(self.similarity), kind=kind, nulls=nulls, intervals=intervals, ax=ax
        )


@dataclass(frozen=True, eq=False)
class Betas(Result):
    """The gain of high frequencies in BSARec's frequency branch, over the runs of a system.

    Attributes:
        values: (seeds, L, D), of each dimension.

    Example:
        >>> found = Betas(np.array([[[0.3, 0.1]], [[0.5, 0.3]]]))  # two runs, a layer, two dimensions
        >>> found.beta.value, found.share, found.initial.round(2)
        (array([[0.2, 0.4]]), array([0.25, 0.75]), array([0.1 , 1.32]))
    """

    values: Array

    @classmethod
    def of_model(cls, model: Any) -> "Betas":
        """Return beta of a single model. Raises ConfigError for a model without it."""
        betas = [beta.detach().double().cpu().numpy() for beta in model.betas()]
        if not betas:
            raise ConfigError(f"{model.title} has no beta, which only BSARec's frequency branch has")
        return cls(np.stack(betas)[None])

    @property
    def layers(self) -> tuple[int, ...]:
        """The number of each layer, from 1."""
        return tuple(range(1, self.values.shape[1] + 1))

    @property
    def share(self) -> Array:
        """(D,) the share of dimensions below each place in ascending order, counting its own as half."""
        size = self.values.shape[2]
        return (np.arange(size) + 0.5) / size

    @property
    def initial(self) -> Array:
        """(D,) beta at these places before training: quantiles of the square of a standard normal variable."""
        return np.asarray(scipy.stats.chi2.ppf(self.share, 1))

    @property
    def beta(self) -> Estimate:
        """(L, D) the mean over runs of beta in ascending order, over seeds; a parameter has no users (0)."""
        ascending = np.sort(self.values, axis=2)
        return estimate(ascending, ascending[None], users=0)

    def table(self) -> "DataFrame":
        """Return a row for each layer and place: the mean, its interval, each run, and what training begins with."""
        import pandas as pd

        index = pd.MultiIndex.from_product([self.layers, self.share], names=["layer", "share"])
        found = self.beta
        columns = {"beta": found.value.ravel()} | found.columns() | {"seeds": found.seeds, "users": found.users}
        runs = {f"run_{place}": run.ravel() for place, run in enumerate(np.sort(self.values, axis=2), 1)}
        columns |= runs | {"untrained": np.tile(self.initial, len(self.layers))}
        return pd.DataFrame(columns, index=index).reset_index()

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw beta over the dimensions, in ascending order."""
        from spectral import plot

        return plot.beta(self, label=self.label or None, ax=ax)


def gains(runs: Sequence[SpectralSummary]) -> Gains:
    """Return the gains of attention over the runs of a system. Raises ConfigError for a model without attention.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> from spectral.summary import summarise
        >>> def run(seed):
        ...     model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=1))
        ...     model.initialise(seed)
        ...     windows = torch.randint(1, 21, (40, 4), generator=torch.Generator().manual_seed(0))
        ...     return summarise(model, windows, {"model": "sasrec"}, nulls=["uniform"])
        >>> found = gains([run(1), run(2)])
        >>> found.gain_db.seeds, found.gain_db.users, found.response.gain.shape
        (2, 40, (1, 1, 3))
        >>> found.nulls["uniform"][0].gain_db[0, 0].round(1) + 0.0
        array([ 0. , -3.9, -5.6])
    """
    responses = [run.response() for run in runs]
    users = runs[0].window_users

    def in_db(name: str) -> Estimate:
        values = np.stack([getattr(response, f"{name}_db")[:, 0] for response in responses])
        with np.errstate(divide="ignore"):
            samples = 10 * np.log10(np.stack([getattr(run, f"{_POWERS[name]}_samples") for run in runs], axis=1))
        return estimate(values, samples, users)

    found = {name: in_db(name) for name in _POWERS}
    mean = _mean_response(responses)
    if len(runs) == 1:
        of_heads = {name: np.sqrt(getattr(runs[0], power) / users) for name, power in _POWERS.items()}
        mean = replace(mean, **of_heads)
    nulls = _nulls(runs, lambda draw: draw.response(), _mean_response, "power")
    return Gains(mean, found["gain"], found["self_gain"], nulls)


def transfer(runs: Sequence[SpectralSummary]) -> TransferMap:
    """Return the mean of the runs' transfer maps. Raises ConfigError for a model without one, or files of format 1."""
    maps = [run.transfer_map() for run in runs]
    return replace(maps[0], power=np.mean([each.power for each in maps], axis=0))


def spectrum(runs: Sequence[SpectralSummary], gaussian: bool = False) -> Spectrum:
    """Return the singular values after the last layer over the runs of a system.

    gaussian: whether to add simulated matrices of the first run's column variances as a null, if its summary has them.
    """

    def last(run: SpectralSummary) -> SingularValues:
        layers = run.spectra().layers
        return layers[max(layers)]

    spectra = [last(run) for run in runs]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(np.stack([each.normalised for each in spectra]))
        drawn = np.stack([run.output_singular_values_samples for run in runs], axis=1)
        samples = np.log(drawn / drawn[..., :1])
    ranks = np.array([each.effective_rank for each in spectra])
    rank_samples = np.stack([run.effective_rank_samples[:, -1] for run in runs], axis=1)
    nulls = _nulls(runs, last, _mean_spectrum, "singular_values")
    if gaussian and spectra[0].column_means is not None:
        nulls[GAUSSIAN] = spectra[0].gaussian()
    return Spectrum(
        runs[0].layers,
        _mean_spectrum(spectra),
        estimate(values, samples, runs[0].users).transformed(np.exp),
        estimate(ranks, rank_samples, runs[0].users),
        nulls,
    )


def similarities(runs: Sequence[SpectralSummary], convention: Convention = "pairs") -> Similarities:
    """Return the cosine similarities after each layer over the runs of a system.

    convention: of the mean over users, as in `spectral.cosine_similarity`. Raises ConfigError for an unknown one.
    """
    check_convention(convention)
    users = runs[0].users
    scale = 1.0 if convention == "pairs" else (users - 1) / users

    def take(run: SpectralSummary) -> CosineSimilarity:
        found = run.similarity()
        return replace(found, between_users=found.between_users * scale, convention=convention)

    found = [take(run) for run in runs]
    between, within = (np.stack([getattr(run, name) for run in runs], axis=1) for name in _KINDS.values())
    return Similarities(
        _mean_similarity(found),
        estimate(np.stack([each.between_users for each in found]), between * scale, users),
        estimate(np.stack([each.within_sequence for each in found]), within, runs[0].sequences),
        _nulls(runs, take, _mean_similarity, "directions"),
    )


def betas(runs: Sequence[SpectralSummary]) -> Betas:
    """Return beta of the runs of BSARec. Raises ConfigError for another model."""
    if not len(runs[0].beta):
        raise ConfigError(f"{runs[0].about['model']} has no beta, which only BSARec's frequency branch has")
    return Betas(np.stack([run.beta for run in runs]))


def _nulls(
    runs: Sequence[SpectralSummary],
    take: Callable[[SpectralSummary], R],
    mean: Callable[[Sequence[R]], R],
    held: str,
) -> dict[str, list[R]]:
    """Return a measure of each draw of the nulls that hold it, as the mean over the runs that have the null.

    held: the field of a summary that the measure is taken from; it is empty if it needed a checkpoint.
    """
    names = dict.fromkeys(name for run in runs for name in run.nulls)
    return {
        name: [mean([take(draw) for draw in draws]) for draws in of_name]
        for name in names
        if len(of_name := [*zip(*(run.nulls[name] for run in runs if name in run.nulls), strict=False)])
        and len(getattr(of_name[0][0], held))
    }


def _mean_response(responses: Sequence[FrequencyResponse]) -> FrequencyResponse:
    def mean(name: str) -> Any:
        return 10 ** (np.mean([getattr(response, f"{name}_db") for response in responses], axis=0) / 20)

    return replace(responses[0], gain=mean("gain"), self_gain=mean("self_gain"), resampled=None)


def _mean_spectrum(spectra: Sequence[SingularValues]) -> SingularValues:
    with np.errstate(divide="ignore"):
        values = np.exp(np.mean([np.log(each.normalised) for each in spectra], axis=0))
    return SingularValues(values, spectra[0].users)


def _mean_similarity(found: Sequence[CosineSimilarity]) -> CosineSimilarity:
    return replace(found[0], **{kind: np.mean([getattr(each, kind) for each in found], axis=0) for kind in _KINDS})
