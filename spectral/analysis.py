"""All measures of one model, each taken when it is first asked for and then kept.

The report, `python -m spectral.report`, is made of this.

Contents: `analyse` and its result `Analysis`; `MEASURES`, its attributes; and `COMPARED`, the measures that are
compared with null models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from models.errors import DataError, UserError
from models.files import write_atomically
from models.precision import widened
from spectral.attention_statistics import AttentionStatistics
from spectral.attention_statistics.bounds import LayerBounds
from spectral.block_response import BlockResponse, block_response
from spectral.block_response.positions import PositionResponse, position_response
from spectral.capture import in_batches
from spectral.choices import BATCH_SIZE, DRAWS
from spectral.cka import LinearCKA
from spectral.command_line import Subject
from spectral.cosine_similarity import CosineSimilarity
from spectral.filter_response import FrequencyResponse
from spectral.findings import DECIDING, MARGINS, predicate, sentences
from spectral.integrity import Integrity, integrity
from spectral.last_item import LastItemOverlap
from spectral.learned_filters import LearnedFilters, learned_filters
from spectral.mixing_ratio import MixingRatio
from spectral.nulls import check_nulls, nulls_of, under_nulls
from spectral.rank_one import RankOneDistance
from spectral.response import DEFAULT_C
from spectral.result import Result, shown
from spectral.signals import ExtremeSignals, extreme_signals
from spectral.singular_values import LayerSpectra
from spectral.smoothing import Smoothing
from spectral.strata import StratifiedSimilarity, numbers_of
from spectral.theorem1 import Theorem1, theorem1, trained_attentions
from spectral.transfer_map import TransferMap
from spectral.user_maps import UserMaps, user_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

JACOBIAN_USERS = 128  # users at which layers are differentiated, which is by far the slowest measure
JACOBIAN_NULL_USERS = 32  # the same for null models
RESAMPLES = 200  # bootstrap samples of the users, for the bands of attention responses

R = TypeVar("R", bound=Result)


def _measured(measure: "Callable[[Analysis], R]") -> "cached_property[R]":
    """Return a property that is measured once, with the name of the model as its label."""

    @wraps(measure)
    def labelled(analysis: "Analysis") -> R:
        return measure(analysis).labelled(analysis.name)

    return cached_property(labelled)


@dataclass(frozen=True, eq=False)
class Analysis:
    """All measures of one model on its users. An attribute is measured when it is first asked for, and kept.

    An attribute that the model does not have raises the ConfigError or DataError that says why.

    Attributes:
        subject: The model and its users.
        name: How tables and pictures call the model.
        file: Name of the file that the model comes from; "" if it comes from none.
        c: Number of low modes.
        null: Names of null models, some of `spectral.nulls.NULLS` or "all"; none takes those of uniform attention and
            initial weights that the model has.
        draws: Untrained models, or shuffled histories, of each null.
    """

    subject: Subject
    name: str
    file: str = ""
    c: int = DEFAULT_C
    null: Sequence[str] = ()
    draws: int = DRAWS
    _of_nulls: dict[str, dict[str, list[Any]]] = field(default_factory=dict, init=False, repr=False)

    @_measured
    def signals(self) -> ExtremeSignals:
        """The users with the most and the least low-frequency energy, as signals of their items' embeddings."""
        of, most = self.subject, self.subject.max_users
        return extreme_signals(of.model, of.windows[:most], of.names[:most], self.c, of.batch_size)

    @_measured
    def frequency_response(self) -> FrequencyResponse:
        """What attention lets pass of each frequency, over users with a full window."""
        return _frequency_response(self.subject, self.subject.full_windows(), self.c, RESAMPLES)

    @_measured
    def transfer_map(self) -> TransferMap:
        """At which frequency energy leaves attention that entered at another, over users with a full window."""
        self.subject.check_attention()
        captures = self.subject.captures(self.subject.full_windows(), hidden=False)
        return TransferMap.from_captures(captures, self.c)

    @_measured
    def block_response(self) -> BlockResponse:
        """What whole layers let pass of each frequency, at up to 128 users with a full window."""
        return _block_response(self.subject, self.subject.full_windows()[:JACOBIAN_USERS], self.c)

    @_measured
    def position_response(self) -> PositionResponse:
        """The same at each position of the output, as a map."""
        batches = _batches(self.subject, self.subject.full_windows()[:JACOBIAN_USERS])
        return position_response(self.subject.model, batches)

    @_measured
    def learned_filters(self) -> LearnedFilters:
        """The filters that the model has learned as weights."""
        return learned_filters(self.subject.model)

    @_measured
    def attention_statistics(self) -> AttentionStatistics:
        """What attention maps are like, over users with a full window."""
        self.subject.check_attention()
        captures = self.subject.captures(self.subject.full_windows(), hidden=False)
        return AttentionStatistics.from_captures(captures)

    @property
    def user_maps(self) -> Sequence[UserMaps]:
        """The attention of up to 8 users, those with the longest windows; to look at, it has no table of its own."""
        return user_maps(self.subject)

    @_measured
    def layer_bounds(self) -> LayerBounds:
        """The factor by which attention with its residual scales what is not constant, and its bounds."""
        captures = self.subject.captures(self.subject.full_windows())
        return LayerBounds.of(self.attention_statistics, widened(self.subject.model).value_output(), captures)

    @_measured
    def theorem1(self) -> Theorem1:
        """Where the attention of the first user with a full window leads when it is applied again and again."""
        self.subject.check_attention()
        return theorem1(trained_attentions(self.subject.model, self.subject.full_windows()[0]))

    @_measured
    def singular_values(self) -> LayerSpectra:
        """In how many directions users lie after each layer."""
        return _singular_values(self.subject, self.subject.users(), self.c)

    @_measured
    def cosine_similarity(self) -> CosineSimilarity:
        """How similar users, and the positions of one user, are after each layer."""
        return _cosine_similarity(self.subject, self.subject.users(at_least=2), self.c)

    @_measured
    def smoothing(self) -> Smoothing:
        """How smooth sequences are along their positions after each layer."""
        return _smoothing(self.subject, self.subject.users(), self.c)

    @_measured
    def rank_one(self) -> RankOneDistance:
        """How far sequences are from rank one after each layer."""
        return RankOneDistance.from_captures(self.subject.captures(self.subject.users(), attention=False))

    @_measured
    def rank_one_parts(self) -> RankOneDistance:
        """How far sequences are from rank one through the parts of blocks."""
        return RankOneDistance.of_parts(self.subject.model, _batches(self.subject, self.subject.users()))

    @_measured
    def mixing_ratio(self) -> MixingRatio:
        """How much of a block's output is not its residual, by frequency, over users with a full window."""
        return MixingRatio.of_model(self.subject.model, _batches(self.subject, self.subject.full_windows()))

    @_measured
    def integrity(self) -> Integrity:
        """Whether the model does what its architecture promises."""
        return integrity(self.subject)

    @_measured
    def cka(self) -> LinearCKA:
        """How alike layers are, by linear CKA at the last position."""
        captures = self.subject.captures(self.subject.users(at_least=2), attention=False)
        return LinearCKA.from_captures({self.name: captures})

    @_measured
    def last_item(self) -> LastItemOverlap:
        """What the last item alone explains of the recommendations, over users with more than one item."""
        return LastItemOverlap.of_model(self.subject.model, _batches(self.subject, _more_than_one(self.subject)))

    @_measured
    def strata_by_length(self) -> StratifiedSimilarity:
        """The similarities in groups of users with few to many items."""
        return self._strata("length")

    @_measured
    def strata_by_popularity(self) -> StratifiedSimilarity:
        """The similarities in groups of users with unpopular to popular items, which reads the training data."""
        return self._strata("popularity")

    def _strata(self, by: str) -> StratifiedSimilarity:
        windows = _more_than_one(self.subject)
        numbers = numbers_of(windows, by, self.subject.item_counts)
        return StratifiedSimilarity.of_model(
            self.subject.model, windows, numbers, by, batch_size=self.subject.batch_size
        )

    def table(self) -> "DataFrame":
        """Return one row per layer: for each measure of `COMPARED` that the model has, the number it is compared by."""
        import pandas as pd

        columns = {name: pd.Series(self.layer_values(name), dtype=float) for name in COMPARED if self.has(name)}
        return pd.DataFrame(columns).rename_axis("layer").reset_index()

    @property
    def findings(self) -> list[str]:
        """What the model does beyond its null models: sentences that the data chose, see `spectral.findings`."""
        names = [name for name in COMPARED if self.has(name)]
        comparisons = len(COMPARED) * sum(len(self.layer_values(name)) for name in names)
        return [said for name in names for said in sentences({self.title: self.against_nulls(name, comparisons)})]

    def has(self, measure: str) -> bool:
        """Return whether the model has a measure, one of `MEASURES`, which is taken for it."""
        try:
            getattr(self, measure)
        except UserError:
            return False
        return True

    def plot(self) -> "Figure":
        """Draw the measures of `COMPARED` that the model has, with their null models, a panel each."""
        from spectral import plot

        names = [name for name in COMPARED if self.has(name)]
        figure, rows = plot.grid([plot.HEIGHT] * -(-len(names) // 3), min(len(names), 3))
        axes = [ax for row in rows for ax in row]
        for name, ax in zip(names, axes, strict=False):
            getattr(self, name).plot(ax, nulls=self.of_nulls(name))
        for ax in axes[len(names) :]:
            ax.remove()
        return figure

    def save(self, folder: str | Path) -> list[Path]:
        """Write the files of each measure that the model has into a folder, and report.html; return the paths.

        Measures of `COMPARED` have their null models beside them. Raises OutputError if a file there is not one that
        this program wrote.
        """
        paths = []
        for name in MEASURES:
            if self.has(name):
                nulls = self.of_nulls(name) if name in COMPARED else None
                paths += getattr(self, name).save(Path(folder) / name, nulls=nulls)
        return [*paths, self.to_html(Path(folder) / "report.html")]

    def to_html(self, path: str | Path) -> Path:
        """Write the report, `python -m spectral.report`, and return its path."""
        from spectral.report import page

        write_atomically(Path(path), page([self]).encode())
        return Path(path)

    def _repr_html_(self) -> str:
        """Return the table with a caption, as notebooks show an analysis."""
        of = self.subject
        return shown(self.table(), f"Analysis of {of.model.title} on {of.dataset}, {len(of.users()):,} users")

    def of_nulls(self, measure: str) -> dict[str, list[Any]]:
        """Return a measure of `COMPARED` for each null model: by name, the result of each draw."""
        if measure not in self._of_nulls:
            compared, model = COMPARED[measure], self.subject.model
            self._of_nulls[measure] = under_nulls(
                lambda other, windows: compared.measure(replace(self.subject, model=other), windows, self.c),
                model,
                compared.windows(self.subject),
                list(self.null) or [null for null in nulls_of(model) if null in DECIDING],
                self.draws,
            )
        return self._of_nulls[measure]

    def layer_values(self, measure: str) -> dict[int, float]:
        """Return the number that a measure of `COMPARED` is compared by, for each layer."""
        return COMPARED[measure].values(getattr(self, measure))

    @property
    def title(self) -> str:
        """How sentences call the model: by its title, or by another name that it was given."""
        model = self.subject.model
        return str(model.title) if self.name == model.name else self.name

    def against_nulls(self, measure: str, comparisons: int) -> str:
        """Return what is said of a measure of `COMPARED` against null models, "" if none decides.

        comparisons: How many values are compared on the same page. See `spectral.findings.predicate`.
        """
        compared = COMPARED[measure]
        draws = {null: [compared.values(draw) for draw in results] for null, results in self.of_nulls(measure).items()}
        return predicate(
            self.layer_values(measure),
            draws,
            above=compared.above,
            below=compared.below,
            margin=compared.margin,
            comparisons=comparisons,
        )


MEASURES = tuple(name for name, value in vars(Analysis).items() if isinstance(value, cached_property))


def analyse(
    model: Any,
    data: Any = None,
    *,
    c: int | None = None,
    null: Sequence[str] = (),
    draws: int = DRAWS,
    split: str = "test",
    max_users: int | None = None,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    data_dir: str | Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    adapter: str | None = None,
) -> Analysis:
    """Return all measures of a model on its users; each is taken when it is first asked for.

    Args:
        model: A checkpoint's path, `example:bsarec`, or a loaded model.
        data: Whose histories: None for the users in the checkpoint, the name or the file of a dataset, or for a loaded
            model its windows (P, N) of item ids, padded on the left with 0.
        c: Number of low modes, odd; None for 3. Also the c of a third-party checkpoint that does not store it.
        null: Null models, some of "uniform", "untrained" and "shuffled", or "all"; none takes uniform attention and
            initial weights, if the model has them.
        draws: Untrained models, or shuffled histories, of each null.
        split: Whose inputs: test, valid or train.
        max_users: Use the first users only.
        device: cpu, cuda, cuda:1, mps or auto, for a checkpoint; a loaded model stays where it is.
        batch_size: Users at a time; changes memory and speed only.
        data_dir: A folder that may hold the dataset's file.
        settings: Of a third-party checkpoint.
        adapter: Of a checkpoint, as for the commands.

    Raises CheckpointError, DataError or ConfigError for what cannot be used.

    Example:
        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> model.initialise(seed=0)
        >>> windows = torch.randint(1, 21, (30, 4), generator=torch.Generator().manual_seed(0))
        >>> analysis = analyse(model.eval(), windows, draws=2)
        >>> analysis.table().columns.tolist()[:3], len(analysis.table())
        (['layer', 'frequency_response', 'block_response'], 3)
        >>> analysis.singular_values.plot().get_xlabel()
        'index of the singular value'
        >>> analysis.learned_filters
        Traceback (most recent call last):
        models.errors.ConfigError: SASRec has no learned filters; ...
    """
    names = (null,) if isinstance(null, str) else tuple(null)
    check_nulls(names)
    folder = None if data_dir is None else Path(data_dir)
    if isinstance(model, str | Path):
        given = {"data": data, "split": split, "max_users": max_users, "batch_size": batch_size, "data_dir": folder}
        subject = Subject.load(Path(model), **given, device=device, settings=settings, c=c, adapter=adapter)
    elif data is None or isinstance(data, str | Path):
        named = None if data is None else str(data)
        subject = Subject.of(model, "some", named, split, max_users, batch_size, folder)
    else:
        windows = torch.as_tensor(data)
        every = torch.ones(len(windows), dtype=torch.bool)
        subject = Subject(model, "given windows", windows, np.arange(len(windows)), every, max_users, batch_size)
    file = Path(model).name if isinstance(model, str | Path) else ""
    return Analysis(subject, subject.model.name, file, subject.modes(c), names, draws)


@dataclass(frozen=True)
class Compared:
    """A measure that is compared with null models.

    Attributes:
        measure: Takes a subject, windows (P, N) and c.
        windows: The windows that null models are measured on.
        values: The number that is compared, for each layer of a result.
        above: What it means to lie above a null, as in "passes more of the fastest wave than".
        below: What it means to lie below it.
        margin: The least difference that matters.
    """

    measure: Callable[[Subject, Tensor, int], Any]
    windows: Callable[[Subject], Tensor]
    values: Callable[[Any], dict[int, float]]
    above: str
    below: str
    margin: float


def _frequency_response(subject: Subject, windows: Tensor, c: int, resamples: int = 0) -> FrequencyResponse:
    subject.check_attention()
    return FrequencyResponse.from_captures(subject.captures(windows, hidden=False), c, resamples=resamples)


def _block_response(subject: Subject, windows: Tensor, c: int) -> BlockResponse:
    return block_response(subject.model, _batches(subject, windows), c)


def _singular_values(subject: Subject, windows: Tensor, c: int) -> LayerSpectra:
    return LayerSpectra.from_captures(subject.captures(windows, attention=False))


def _cosine_similarity(subject: Subject, windows: Tensor, c: int) -> CosineSimilarity:
    return CosineSimilarity.from_captures(subject.captures(windows, attention=False))


def _smoothing(subject: Subject, windows: Tensor, c: int) -> Smoothing:
    return Smoothing.from_captures(subject.captures(windows, attention=False), c)


def _by_layer(layers: Any, values: Any) -> dict[int, float]:
    return dict(zip(map(int, layers), map(float, values), strict=True))


COMPARED: Mapping[str, Compared] = {
    "frequency_response": Compared(
        measure=_frequency_response,
        windows=Subject.full_windows,
        values=lambda response: _by_layer(response.layers, response.head_mean.gain_db[:, 0, -1]),
        above="passes more of the fastest wave through attention than",
        below="damps the fastest wave in attention more than",
        margin=MARGINS["gain_db"],
    ),
    "block_response": Compared(
        measure=_block_response,
        windows=lambda subject: subject.full_windows()[:JACOBIAN_NULL_USERS],
        values=lambda response: _by_layer(response.layers, response.relative_db[:, -1]),
        above="passes more of the fastest wave through whole layers than",
        below="damps the fastest wave in whole layers more than",
        margin=MARGINS["gain_db"],
    ),
    "singular_values": Compared(
        measure=_singular_values,
        windows=Subject.users,
        values=lambda spectra: {layer: spectrum.effective_rank for layer, spectrum in spectra.layers.items()},
        above="spreads its users over more directions than",
        below="leaves its users in fewer directions than",
        margin=MARGINS["effective_rank"],
    ),
    "cosine_similarity": Compared(
        measure=_cosine_similarity,
        windows=Subject.users,
        values=lambda similarity: _by_layer(similarity.layers, similarity.between_users),
        above="makes users more alike than",
        below="keeps users further apart than",
        margin=MARGINS["similarity"],
    ),
    "smoothing": Compared(
        measure=_smoothing,
        windows=Subject.users,
        values=lambda smoothing: _by_layer(smoothing.layers, smoothing.dc_share),
        above="makes sequences more constant than",
        below="keeps sequences more varied than",
        margin=MARGINS["share"],
    ),
}


def _batches(subject: Subject, windows: Tensor) -> Iterator[Tensor]:
    return in_batches(windows, subject.batch_size, subject.model.name)


def _more_than_one(subject: Subject) -> Tensor:
    """Return the windows of users with more than one item. Raises DataError if there is none."""
    windows = subject.users()
    known = windows[(windows != subject.model.window(windows[:, -1:])).any(1)]
    if not len(known):
        raise DataError(f"{subject.dataset}: no user has an item before the last one")
    return known
