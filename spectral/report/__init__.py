"""All measures of one or several checkpoints, side by side on one page.

`python -m spectral.report ckpt.pt [more.pt ...]` writes the page. It is one HTML file that contains its pictures, opens
without a network, and can be printed. If a model does not have a measure, the page says why.

Contents: `sections`, the parts of the page, which a notebook can show one by one, and `page`, all of them as HTML.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from models.architectures.diagram import diagram_of
from models.errors import DataError, UserError
from models.precision import widened
from spectral.attention_statistics import AttentionStatistics
from spectral.attention_statistics.bounds import LayerBounds
from spectral.block_response import BlockResponse, block_response
from spectral.capture import in_batches
from spectral.cka import LinearCKA
from spectral.command_line import Nulls, Subject
from spectral.cosine_similarity import CosineSimilarity
from spectral.filter_response import FrequencyResponse
from spectral.findings import DECIDING, MARGINS, finding
from spectral.integrity import integrity, table
from spectral.last_item import LastItemOverlap
from spectral.learned_filters import learned_filters
from spectral.mixing_ratio import MixingRatio
from spectral.nulls import nulls_of
from spectral.rank_one import RankOneDistance
from spectral.response import DEFAULT_C
from spectral.signals import UserSignal, extreme_signals
from spectral.singular_values import GAUSSIAN, LayerSpectra
from spectral.smoothing import Smoothing
from spectral.strata import BY, StratifiedSimilarity, numbers_of
from spectral.tables import stacked
from spectral.theorem1 import Theorem1, theorem1, trained_attentions
from spectral.transfer_map import TransferMap
from spectral.users_in_common import windows_in_common

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

CSS_PIXELS_PER_INCH = 120  # two figures of one column fit side by side
JACOBIAN_USERS = 128  # users at which layers are differentiated, which is by far the slowest measure
JACOBIAN_NULL_USERS = 32  # the same for null models
COMPARED_MEASURES = 5  # measures whose values are compared with null models
DEFAULT_NULLS = Nulls()
DECAY_HEIGHT = 3.4  # inches; the legend names a matrix for every head
RESAMPLES = 200  # bootstrap samples of the users, for the bands of attention responses

Subjects = Mapping[str, Subject]
Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page.

    Attributes:
        title: A few words.
        text: What is shown and how to read it.
        figures: Pictures by caption.
        table: The numbers behind the pictures; None if there are none.
        missing: For each model without the measure, its name and the reason.
        findings: What a model does beyond its null models: sentences that the data chose.
    """

    title: str
    text: str
    figures: Mapping[str, "Figure | SubFigure"] = field(default_factory=dict)
    table: "DataFrame | None" = None
    missing: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def names_of(loaded: Mapping[Path, Any]) -> list[str]:
    """Return a name for each model: its own, or its title and file if several models have the same name.

    Example:
        >>> from types import SimpleNamespace
        >>> sasrec = SimpleNamespace(name="sasrec", title="SASRec")
        >>> bsarec = SimpleNamespace(name="bsarec", title="BSARec")
        >>> names_of({Path("a.pt"): sasrec, Path("b.pt"): sasrec, Path("c.pt"): bsarec})
        ['SASRec, a', 'SASRec, b', 'bsarec']
    """
    names = [model.name for model in loaded.values()]
    stems = [path.stem for path in loaded]
    return [
        model.name
        if names.count(model.name) == 1
        else f"{model.title}, {path.stem if stems.count(path.stem) == 1 else path}"
        for path, model in loaded.items()
    ]


def sections(subjects: Subjects, c: int = DEFAULT_C, nulls: Nulls = DEFAULT_NULLS) -> list[Section]:
    """Measure the models, given by name, and return the parts of the page.

    c: number of low modes. nulls: the null models; by default uniform attention and initial weights.
    """
    return [
        _architecture(subjects),
        _signals(subjects, c),
        _attention_response(subjects, c, nulls),
        _transfer(subjects, c),
        _layer_response(subjects, c, nulls),
        _filters(subjects),
        *_attention_maps(subjects),
        _theorem1(subjects),
        _singular_values(subjects, nulls),
        _similarity(subjects, nulls),
        _smoothing(subjects, c, nulls),
        _rank_one(subjects),
        _mixing_ratio(subjects),
        _integrity(subjects),
        _cka(subjects),
        _last_item(subjects),
        _strata(subjects),
    ]


def overview(subjects: Mapping[Path, Subject]) -> "DataFrame":
    """Return one row per checkpoint: its file, model, dataset, settings and test metrics."""
    import pandas as pd

    return pd.DataFrame([{"file": path.name} | _described(subject.model) for path, subject in subjects.items()])


def _described(model: Any) -> dict[str, Any]:
    checkpoint = model.checkpoint or {}
    metrics = checkpoint.get("metrics", {})
    config = {name: getattr(model.config, name, None) for name in ("num_layers", "num_heads", "alpha", "c", "max_len")}
    return {
        "model": model.title,
        "dataset": checkpoint.get("dataset", {}).get("name", ""),
        **{name: "" if value is None else value for name, value in config.items()},
        "loss": checkpoint.get("training", {}).get("loss", ""),
        "seed": checkpoint.get("training", {}).get("seed", ""),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **{f"test {name}": metrics.get("test", {}).get(name, float("nan")) for name in ("HR@20", "NDCG@20")},
    }


def page(subjects: Mapping[Path, Subject], c: int = DEFAULT_C, nulls: Nulls = DEFAULT_NULLS) -> str:
    """Return the page as HTML. The arguments are those of `sections`."""
    import base64

    from jinja2 import Environment, PackageLoader, StrictUndefined

    from spectral.plot.figure import render

    environment = Environment(
        loader=PackageLoader("spectral.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["html_table"] = lambda table: table.to_html(
        index=False, border=0, float_format="{:.4g}".format, na_rep="-", classes="numbers"
    )
    environment.filters["data_uri"] = lambda figure: (
        "data:image/png;base64," + base64.b64encode(render(figure, "png")).decode()
    )
    environment.filters["css_width"] = lambda figure: round(
        CSS_PIXELS_PER_INCH * figure.get_figure(root=True).get_figwidth()
    )
    names = names_of({path: subject.model for path, subject in subjects.items()})
    parts = sections(dict(zip(names, subjects.values(), strict=True)), c, nulls)
    users = sorted({f"{subject.dataset}: {len(subject.users()):,} users" for subject in subjects.values()})
    return environment.get_template("report.html.j2").render(
        overview=overview(subjects), sections=parts, users="; ".join(users)
    )


def _each(subjects: Mapping[str, Given], measure: Callable[[Given], Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the result of a measure for each model that has it, and the reasons why the others do not."""
    found, missing = {}, []
    for name, subject in subjects.items():
        try:
            found[name] = measure(subject)
        except UserError as error:
            missing.append(f"{name}: {error}")
    return found, missing


def _tables(tables: "Mapping[str, DataFrame]") -> "DataFrame | None":
    return stacked(tables) if tables else None


def _summaries(found: Mapping[str, Any]) -> "DataFrame | None":
    """Return what results by model's name say in short, one below the other."""
    import pandas as pd

    return _tables({name: pd.DataFrame(result.summary()) for name, result in found.items()})


def _panels(caption: str, found: Mapping[str, Any], draw: Callable[..., Any], **options: Any) -> "dict[str, Figure]":
    from spectral import plot

    return {caption: plot.side_by_side(found, draw, columns=2, **options)} if found else {}


def _architecture(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda subject: diagram_of(subject.model))
    text = (
        "From the items (at the bottom) to the scores (at the top), as the model itself reports its steps. The frame "
        "is one block, and the number beside it says how often it is repeated. The table counts the trained parameters "
        "of each step."
    )
    figures = {f"Architecture of {name}": plot.diagram(diagram).figure for name, diagram in found.items()}
    return Section("Architecture", text, figures, _tables({n: s.table() for n, s in found.items()}), missing)


def _signals(subjects: Subjects, c: int) -> Section:
    import pandas as pd

    from spectral import plot

    def measure(subject: Subject) -> Sequence[UserSignal]:
        most = subject.max_users
        return extreme_signals(subject.model, subject.windows[:most], subject.names[:most], c, subject.batch_size)

    found, missing = _each(subjects, measure)
    text = (
        "Item embeddings along the windows of two users: among all users with a full window, the one with the largest "
        f"and the one with the smallest share of energy in the {c} lowest modes. At the top, the signal with its mean, "
        "its low and its high frequencies, on the axis where the larger of both stands out most; at the bottom, the "
        "spectrum. "
        "White noise has the same share in every mode."
    )
    figures = {
        f"Two histories in the item embeddings of {name}": plot.user_signal_panels(pair) for name, pair in found.items()
    }
    tables = {name: pd.DataFrame([signal.summary() for signal in pair]) for name, pair in found.items()}
    return Section("Histories as signals", text, figures, _tables(tables), missing)


def _attention_response(subjects: Subjects, c: int, nulls: Nulls) -> Section:
    from spectral import plot

    def measure(subject: Subject, windows: Tensor, resamples: int = 0) -> FrequencyResponse:
        subject.check_attention()
        return FrequencyResponse.from_captures(subject.captures(windows, hidden=False), c, resamples=resamples)

    found, missing = _each(subjects, lambda s: measure(s, s.full_windows(), RESAMPLES))
    of_nulls = _under_nulls({name: subjects[name] for name in found}, nulls, Subject.full_windows, measure)
    text = (
        "What leaves each layer's attention, at any frequency, of a wave that enters (gain, above), and what stays "
        "at its frequency (self-gain, below), over users with a full window. Thin lines are heads, the shaded band is "
        "the 95% bootstrap interval over users of one model, and grey lines are null models. Residual connections are "
        "not included."
    )
    findings = _findings(
        subjects,
        found,
        of_nulls,
        lambda response: _by_layer(response, response.head_mean.gain_db[:, 0, -1]),
        above="passes more of the fastest wave through attention than",
        below="damps the fastest wave in attention more than",
        margin=MARGINS["gain_db"],
    )
    figures = {"Gain and self-gain of attention": plot.frequency_response_panels(found, of_nulls)} if found else {}
    title = "What attention does to frequencies"
    return Section(title, text, figures, _summaries(found), missing, findings)


def _transfer(subjects: Subjects, c: int) -> Section:
    from spectral import plot

    def measure(subject: Subject) -> TransferMap:
        subject.check_attention()
        return TransferMap.from_captures(subject.captures(subject.full_windows(), hidden=False), c)

    found, missing = _each(subjects, measure)
    text = (
        "At which frequency energy leaves attention that entered at another. On the diagonal it stays at its "
        f"frequency; the dashed lines separate the {c} lowest modes. In the table, lfc are low and hfc high modes: "
        "hfc_lfc is how much of the energy of a high mode leaves in the low ones, on average."
    )
    figures = {"Energy by where it enters and leaves": plot.transfer_map_panels(found)} if found else {}
    return Section("Where energy goes", text, figures, _summaries(found), missing)


def _layer_response(subjects: Subjects, c: int, nulls: Nulls) -> Section:
    from spectral import plot

    def measure(subject: Subject, windows: Tensor) -> BlockResponse:
        return block_response(subject.model, _batches(subject, windows), c)

    found, missing = _each(subjects, lambda s: measure(s, s.full_windows()[:JACOBIAN_USERS]))
    of_nulls = _under_nulls(
        {name: subjects[name] for name in found}, nulls, lambda s: s.full_windows()[:JACOBIAN_NULL_USERS], measure
    )
    text = (
        "Gain of whole layers relative to a constant signal, including residual connections, LayerNorm and "
        "feed-forward networks. It is computed from the layers' derivatives at the hidden states of up to "
        f"{JACOBIAN_USERS} users with full windows, and for null models, in grey, of up to {JACOBIAN_NULL_USERS}."
    )
    findings = _findings(
        subjects,
        found,
        of_nulls,
        lambda response: _by_layer(response, response.relative_db[:, -1]),
        above="passes more of the fastest wave through whole layers than",
        below="damps the fastest wave in whole layers more than",
        margin=MARGINS["gain_db"],
    )
    figures = {}
    if found:
        drawn = plot.side_by_side(
            found,
            lambda result, label, ax: plot.block_response(result, nulls=of_nulls.get(label), label=label, ax=ax),
            columns=2,
        )
        figures = {"Gain of whole layers relative to DC in dB": drawn}
    return Section("What whole layers do to frequencies", text, figures, _summaries(found), missing, findings)


def _filters(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda subject: learned_filters(subject.model))
    figures = _panels(f"Gain of the learned filters of {', '.join(found)}", found, plot.learned_filters, share_y=False)
    text = "Gain of the filters that the model learned as weights: median and middle 80% of the dimensions."
    return Section("Learned filters", text, figures, _summaries(found), missing)


def _attention_maps(subjects: Subjects) -> list[Section]:
    from spectral import plot

    def measure(subject: Subject) -> AttentionStatistics:
        subject.check_attention()
        return AttentionStatistics.from_captures(subject.captures(subject.full_windows(), hidden=False))

    found, missing = _each(subjects, measure)
    text = (
        "Entropy of rows relative to uniform rows, mean distance to the attended positions, |lambda_2| (the rate of "
        "Theorem 1), and the largest factor by which one application can scale what is not constant. The second "
        "picture shows how much of each position reaches the last output through attention and residuals only "
        "(rollout)."
    )
    figures: dict[str, Any] = {}
    if found:
        figures = {"Statistics of attention maps over layers": plot.attention_statistics_panels(found)}
        figures["Rollout of attention over all layers"] = plot.attention_statistics_rollout(found).figure
    maps = Section("Attention maps", text, figures, _summaries(found), missing)
    return [maps, _bounds({name: subjects[name] for name in found}, found)]


def _bounds(subjects: Subjects, statistics: Mapping[str, AttentionStatistics]) -> Section:
    def measure(name: str) -> LayerBounds:
        subject = subjects[name]
        captures = subject.captures(subject.full_windows())
        return LayerBounds.of(statistics[name], widened(subject.model).value_output(), captures)

    found, missing = _each({name: name for name in subjects}, measure)
    text = (
        "Attention with its value and output projections and its residual, without LayerNorm and feed-forward network: "
        "the measured factor by which it scales what is not constant, and the bounds of this factor for any input "
        "(Wang et al., ICLR 2022). A lower bound of 0 allows complete smoothing; a factor of 1 means no smoothing."
    )
    return Section("Bounds of attention with its residual", text, {}, _summaries(found), missing)


def _theorem1(subjects: Subjects) -> Section:
    from spectral import plot

    def measure(subject: Subject) -> Theorem1:
        subject.check_attention()
        return theorem1(trained_attentions(subject.model, subject.full_windows()[0]))

    found, missing = _each(subjects, measure)
    text = (
        "HFC over LFC of A^t x against t for the attention of one user with a full window, with and without its causal "
        "mask. Dotted lines are the rate |lambda_2|^t of the theorem. Thin dashed lines are an x "
        "with pi^T x = 0, pi the left Perron vector (pi^T A = pi^T): it does not become constant."
    )
    figures = _panels("Decay of high frequencies under repeated attention", found, plot.theorem1, height=DECAY_HEIGHT)
    return Section("Theorem 1", text, figures, _summaries(found), missing)


def _singular_values(subjects: Subjects, nulls: Nulls) -> Section:
    from spectral import plot

    def measure(subject: Subject, windows: Tensor) -> LayerSpectra:
        return LayerSpectra.from_captures(subject.captures(windows, attention=False))

    found, missing = _each(subjects, lambda s: measure(s, s.users()))
    of_nulls = _under_nulls({name: subjects[name] for name in found}, nulls, Subject.users, measure)
    last = {name: spectra.layers[max(spectra.layers)] for name, spectra in found.items()}
    drawn = {
        name: {null: [draw.layers[max(draw.layers)] for draw in draws] for null, draws in of_nulls[name].items()}
        | {GAUSSIAN: spectrum.gaussian()}
        for name, spectrum in last.items()
    }
    text = (
        "Singular values of the matrix of all users' last outputs, divided by the largest one. The effective rank is "
        "in brackets. A steeper curve than that of the null models, in grey, means that users lie in fewer directions. "
        "The grey band is of simulated Gaussian matrices of the same size and column variances."
    )
    findings = _findings(
        subjects,
        found,
        of_nulls,
        lambda spectra: {layer: of.effective_rank for layer, of in spectra.layers.items()},
        above="spreads its users over more directions than",
        below="leaves its users in fewer directions than",
        margin=MARGINS["effective_rank"],
    )
    figure = plot.singular_values(last, effective_rank=True, nulls=drawn).figure if last else None
    table = _summaries(found)
    ranks = None if table is None else table.drop(columns="singular_values")
    figures = {"Normalised singular values": figure} if figure else {}
    return Section("Directions that users occupy", text, figures, ranks, missing, findings)


def _similarity(subjects: Subjects, nulls: Nulls) -> Section:
    from spectral import plot

    def measure(subject: Subject, windows: Tensor) -> CosineSimilarity:
        return CosineSimilarity.from_captures(subject.captures(windows, attention=False))

    found, missing = _each(subjects, lambda s: measure(s, s.users(at_least=2)))
    of_nulls = _under_nulls({name: subjects[name] for name in found}, nulls, Subject.users, measure)
    text = (
        "Mean cosine of all pairs of users at the last position (left), and of all pairs of positions of one sequence "
        "(right), after each layer; null models in grey. 1 means complete oversmoothing."
    )
    findings = _findings(
        subjects,
        found,
        of_nulls,
        lambda similarity: dict(zip(similarity.layers.tolist(), similarity.between_users.tolist(), strict=True)),
        above="makes users more alike than",
        below="keeps users further apart than",
        margin=MARGINS["similarity"],
    )
    figures = {}
    if found:
        figure, axes = plot.panels(2)
        for ax, kind in zip(axes, ("between_users", "within_sequence"), strict=True):
            plot.cosine_similarity(found, kind=kind, nulls=of_nulls, ax=ax)
        figures = {"Cosine similarity over layers": figure}
    tables = {name: similarity.table() for name, similarity in found.items()}
    title = "How similar users and positions become"
    return Section(title, text, figures, _tables(tables), missing, findings)


def _smoothing(subjects: Subjects, c: int, nulls: Nulls) -> Section:
    from spectral import plot

    def measure(subject: Subject, windows: Tensor) -> Smoothing:
        return Smoothing.from_captures(subject.captures(windows, attention=False), c)

    found, missing = _each(subjects, lambda s: measure(s, s.users()))
    of_nulls = _under_nulls({name: subjects[name] for name in found}, nulls, Subject.users, measure)
    text = (
        "Along the real positions of each user, after each layer: mean distance of directions (MAD), Dirichlet energy "
        "relative to the total energy, ranks, the share of the constant part, and the energy above the "
        f"{c} lowest modes divided by the energy in them. Bars are two standard errors; null models are grey."
    )
    findings = _findings(
        subjects,
        found,
        of_nulls,
        lambda smoothing: dict(zip(smoothing.layers.tolist(), smoothing.dc_share.tolist(), strict=True)),
        above="makes sequences more constant than",
        below="keeps sequences more varied than",
        margin=MARGINS["share"],
    )
    figures = {"Measures of smoothness along positions": plot.smoothing_panels(found, of_nulls)} if found else {}
    return Section("How smooth sequences become", text, figures, _summaries(found), missing, findings)


def _rank_one(subjects: Subjects) -> Section:
    from spectral import plot

    def of_parts(subject: Subject) -> RankOneDistance:
        return RankOneDistance.of_parts(subject.model, _batches(subject, subject.users()))

    found, _ = _each(subjects, lambda s: RankOneDistance.from_captures(s.captures(s.users(), attention=False)))
    parts, missing = _each(subjects, of_parts)
    text = (
        "||X - 1 x^T|| / ||X|| of the real positions of each user, x their mean: 0 if all positions are equal. The "
        "dotted line is white noise of the same lengths. Through the parts of a block, a hollow marker is what a "
        "sub-layer adds, the next point the sum with the residual, and the third the LayerNorm of the sum."
    )
    figures: dict[str, Any] = {"Distance to rank one over layers": plot.rank_one(found).figure} if found else {}
    figures |= _panels("Distance to rank one through the parts of blocks", parts, plot.rank_one_parts, height=2.8)
    return Section("Distance to rank one", text, figures, _summaries(found | parts), missing)


def _mixing_ratio(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda s: MixingRatio.of_model(s.model, _batches(s, s.full_windows())))
    text = (
        "How much of a block's output is not its residual, by frequency, over users with a full window: at 0 the "
        "output is what entered the block, at 1 nothing of it is left. The table has the shares of all parts of the "
        "output."
    )
    figures = _panels("Mixing ratio of blocks", found, plot.mixing_ratio)
    return Section("What blocks keep of their input", text, figures, _summaries(found), missing)


def _cka(subjects: Subjects) -> Section:
    import pandas as pd

    from spectral import plot

    def measure(windows: Mapping[str, Tensor]) -> LinearCKA:
        captures = {name: subjects[name].captures(inputs, attention=False) for name, inputs in windows.items()}
        return LinearCKA.from_captures(captures)

    text = (
        "Linear CKA of the users' states at the last position, between layers of one model and of two: 1 if they are a "
        "rotation of each other. The table has the CKA of users matched at random as well."
    )
    try:
        missing: list[str] = []
        found = {"all": measure(windows_in_common(subjects))}
    except UserError as error:
        names = {name: name for name in subjects}
        found, missing = _each(names, lambda name: measure({name: subjects[name].users(at_least=2)}))
        missing.insert(0, f"Models are not compared with each other: {error}")
    figures = {f"Linear CKA between layers of {_models_of(cka)}": plot.cka_panels(cka) for cka in found.values()}
    tables = [cka.table() for cka in found.values()]
    return Section("How alike layers are", text, figures, pd.concat(tables) if tables else None, missing)


def _models_of(cka: LinearCKA) -> str:
    return ", ".join(dict.fromkeys(name for name, _ in cka.layers))


def _last_item(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda s: LastItemOverlap.of_model(s.model, _batches(s, _more_than_one(s))))
    text = (
        "The top k of each user's history and of a history of its last item alone: the share of items that both have, "
        "over users with more than one item. Dotted, what the lists of different users have in common. In the table, "
        "same is the share of users with the same items."
    )
    figures = {"Overlap with the recommendations of the last item alone": plot.last_item(found).figure} if found else {}
    return Section("What the last item alone explains", text, figures, _summaries(found), missing)


def _strata(subjects: Subjects) -> Section:
    import pandas as pd

    from spectral import plot

    figures: dict[str, Any] = {}
    tables, reasons = {}, []
    for by in BY:

        def measure(subject: Subject, by: str = by) -> StratifiedSimilarity:
            windows = _more_than_one(subject)
            numbers = numbers_of(windows, by, subject.item_counts)
            return StratifiedSimilarity.of_model(subject.model, windows, numbers, by, batch_size=subject.batch_size)

        found, missing = _each(subjects, measure)
        for name, measured in found.items():
            figures[f"Similarities of {name} by {by}"] = plot.strata_panels(measured)
            tables[f"{name}, {by}"] = pd.DataFrame(measured.summary())
        reasons += [f"By {by}: {reason}" for reason in missing]
    text = (
        "The similarities in groups of users with few to many items, and with unpopular to popular ones (by the mean "
        "count of their items in the training data). Dotted, CKA and overlap by chance, which depend on the number of "
        "users."
    )
    return Section("Similarities by length and popularity", text, figures, _tables(tables), reasons)


def _more_than_one(subject: Subject) -> Tensor:
    """Return the windows of users with more than one item. Raises DataError if there is none."""
    windows = subject.users()
    known = windows[(windows != subject.model.window(windows[:, -1:])).any(1)]
    if not len(known):
        raise DataError(f"{subject.dataset}: no user has an item before the last one")
    return known


def _batches(subject: Subject, windows: Tensor) -> Iterator[Tensor]:
    return in_batches(windows, subject.batch_size, subject.model.name)


def _under_nulls(
    subjects: Subjects,
    nulls: Nulls,
    windows_of: Callable[[Subject], Tensor],
    measure: Callable[[Subject, Tensor], Result],
) -> dict[str, dict[str, list[Result]]]:
    """Return a measure of the null models of each model: those that were asked for, or those of `DECIDING` it has."""
    return {
        name: replace(nulls, null=nulls.null or [null for null in nulls_of(subject.model) if null in DECIDING]).of(
            subject, windows_of(subject), measure
        )
        for name, subject in subjects.items()
    }


def _by_layer(response: Any, values: Any) -> dict[int, float]:
    return dict(zip(response.layers, map(float, values), strict=True))


def _findings(
    subjects: Subjects,
    found: Mapping[str, Result],
    nulls: Mapping[str, Mapping[str, Sequence[Result]]],
    values: Callable[[Result], dict[int, float]],
    **words: Any,
) -> list[str]:
    """Return a sentence for each model whose null models decide; see `spectral.findings`."""
    measured = {name: values(result) for name, result in found.items()}
    comparisons = COMPARED_MEASURES * sum(map(len, measured.values()))
    sentences = []
    for name, of_model in measured.items():
        draws = {null: [values(draw) for draw in results] for null, results in nulls[name].items()}
        title = subjects[name].model.title if name == subjects[name].model.name else name
        sentences.append(finding(title, of_model, draws, comparisons=comparisons, **words))
    return [sentence for sentence in sentences if sentence]


def _integrity(subjects: Subjects) -> Section:
    found, missing = _each(subjects, integrity)
    text = (
        "Whether each model does what its architecture promises (claimed), checked on its users in float64; places are "
        "pairs of positions, layers, or names of parameters. popularity and last_item are values without a verdict."
    )
    return Section("Integrity", text, {}, _tables({name: table(checks) for name, checks in found.items()}), missing)
