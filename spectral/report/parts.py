"""The parts of the page: for each measure a few words, pictures, a table, and what is beyond null models.

Contents: `sections`, all parts for some models, which a notebook can show one by one; and `overview`, the table of the
models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from models.architectures.diagram import diagram_of
from models.errors import UserError
from spectral.analysis import COMPARED, JACOBIAN_NULL_USERS, JACOBIAN_USERS, Analysis
from spectral.cka import LinearCKA
from spectral.findings import sentences
from spectral.singular_values import GAUSSIAN
from spectral.strata import BY
from spectral.tables import stacked
from spectral.user_maps import UserMaps
from spectral.users_in_common import windows_in_common

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

DECAY_HEIGHT = 3.4  # inches; the legend names a matrix for every head

AT_LAST_LAYER = {  # rows of the overview, and their measures in `spectral.analysis.COMPARED`
    "attention's gain of the fastest wave [dB]": "frequency_response",
    "layer's gain of the fastest wave [dB]": "block_response",
    "effective rank of users": "singular_values",
    "cosine between users": "cosine_similarity",
    "constant share of sequences": "smoothing",
}

Analyses = Mapping[str, Analysis]


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
        explored: Attention maps of single users by model, which the page lets one read cell by cell.
    """

    title: str
    text: str
    figures: Mapping[str, "Figure | SubFigure"] = field(default_factory=dict)
    table: "DataFrame | None" = None
    missing: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    explored: Mapping[str, Sequence[UserMaps]] = field(default_factory=dict)


def sections(of: Sequence[Analysis]) -> list[Section]:
    """Measure models with different names, and return the parts of the page."""
    analyses = {analysis.name: analysis for analysis in of}
    return [
        _architecture(analyses),
        _signals(analyses),
        _attention_response(analyses),
        _transfer(analyses),
        _layer_response(analyses),
        _position_response(analyses),
        _filters(analyses),
        _attention_maps(analyses),
        _bounds(analyses),
        _theorem1(analyses),
        _singular_values(analyses),
        _similarity(analyses),
        _smoothing(analyses),
        _rank_one(analyses),
        _mixing_ratio(analyses),
        _integrity(analyses),
        _cka(analyses),
        _last_item(analyses),
        _strata(analyses),
    ]


def overview(analyses: Sequence[Analysis]) -> "DataFrame":
    """Return one column per model: its file, model, dataset, settings, test metrics, and measures at the last layer."""
    import pandas as pd

    rows = [{"file": one.file} | _described(one.subject.model) | _last_layer(one) for one in analyses]
    columns = {one.name: row for one, row in zip(analyses, rows, strict=True)}
    return pd.DataFrame(columns, dtype=object).rename_axis("quantity").reset_index()


def _last_layer(analysis: Analysis) -> dict[str, float]:
    """Return the numbers that a model is compared with its null models by, at the last layer; NaN for what it lacks."""
    numbers = {}
    for name, measure in AT_LAST_LAYER.items():
        try:
            values = analysis.layer_values(measure)
            numbers[name] = values[max(values)]
        except UserError:  # its own part of the page says why
            numbers[name] = float("nan")
    return numbers


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


def _each(analyses: Analyses, measure: str | Callable[[Analysis], Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the result of a measure for each model that has it, and the reasons why the others do not.

    measure: an attribute of `Analysis`, or a function of one.
    """
    result_of = attrgetter(measure) if isinstance(measure, str) else measure
    found, missing = {}, []
    for name, analysis in analyses.items():
        try:
            found[name] = result_of(analysis)
        except UserError as error:
            missing.append(f"{name}: {error}")
    return found, missing


def _of_nulls(analyses: Analyses, found: Mapping[str, Any], measure: str) -> dict[str, dict[str, list[Any]]]:
    """Return a measure of the null models of each model that has it."""
    return {name: analyses[name].of_nulls(measure) for name in found}


def _findings(analyses: Analyses, found: Mapping[str, Any], measure: str) -> list[str]:
    """Return what is said of the models that have a measure and whose null models decide; see `spectral.findings`."""
    comparisons = len(COMPARED) * sum(len(analyses[name].layer_values(measure)) for name in found)
    return sentences({analyses[name].title: analyses[name].against_nulls(measure, comparisons) for name in found})


def _tables(tables: "Mapping[str, DataFrame]") -> "DataFrame | None":
    return stacked(tables) if tables else None


def _summaries(found: Mapping[str, Any]) -> "DataFrame | None":
    """Return what results by model's name say in short, one below the other."""
    import pandas as pd

    return _tables({name: pd.DataFrame(result.summary()) for name, result in found.items()})


def _panels(caption: str, found: Mapping[str, Any], draw: Callable[..., Any], **options: Any) -> "dict[str, Figure]":
    from spectral import plot

    return {caption: plot.side_by_side(found, draw, columns=2, **options)} if found else {}


def _low_modes(analyses: Analyses) -> int:
    """Return the number of low modes, the same for all models of a page."""
    return next(iter(analyses.values())).c


def _architecture(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, lambda analysis: diagram_of(analysis.subject.model))
    text = (
        "From the items (at the bottom) to the scores (at the top), as the model itself reports its steps. The frame "
        "is one block, and the number beside it says how often it is repeated. The table counts the trained parameters "
        "of each step."
    )
    figures = {f"Architecture of {name}": plot.diagram(diagram).figure for name, diagram in found.items()}
    return Section("Architecture", text, figures, _tables({n: s.table() for n, s in found.items()}), missing)


def _signals(analyses: Analyses) -> Section:

    found, missing = _each(analyses, "signals")
    text = (
        "Item embeddings along the windows of two users: among all users with a full window, the one with the largest "
        f"and the one with the smallest share of energy in the {_low_modes(analyses)} lowest modes. At the top, the "
        "signal with its mean, its low and its high frequencies, on the axis where the larger of both stands out most; "
        "at the bottom, the spectrum. White noise has the same share in every mode."
    )
    figures = {f"Two histories in the item embeddings of {name}": pair.plot() for name, pair in found.items()}
    return Section("Histories as signals", text, figures, _summaries(found), missing)


def _attention_response(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "frequency_response")
    of_nulls = _of_nulls(analyses, found, "frequency_response")
    text = (
        "What leaves each layer's attention, at any frequency, of a wave that enters (gain, above), and what stays "
        "at its frequency (self-gain, below), over users with a full window. Thin lines are heads, the shaded band is "
        "the 95% bootstrap interval over users of one model, and grey lines are null models. Residual connections are "
        "not included."
    )
    findings = _findings(analyses, found, "frequency_response")
    figures = {"Gain and self-gain of attention": plot.frequency_response_panels(found, of_nulls)} if found else {}
    title = "What attention does to frequencies"
    return Section(title, text, figures, _summaries(found), missing, findings)


def _transfer(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "transfer_map")
    text = (
        "At which frequency energy leaves attention that entered at another. On the diagonal it stays at its "
        f"frequency; the dashed lines separate the {_low_modes(analyses)} lowest modes. In the table, lfc are low and "
        "hfc high modes: hfc_lfc is how much of the energy of a high mode leaves in the low ones, on average."
    )
    figures = {"Energy by where it enters and leaves": plot.transfer_map_panels(found)} if found else {}
    return Section("Where energy goes", text, figures, _summaries(found), missing)


def _layer_response(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "block_response")
    of_nulls = _of_nulls(analyses, found, "block_response")
    text = (
        "Gain of whole layers relative to a constant signal, including residual connections, LayerNorm and "
        "feed-forward networks. It is computed from the layers' derivatives at the hidden states of up to "
        f"{JACOBIAN_USERS} users with full windows, and for null models, in grey, of up to {JACOBIAN_NULL_USERS}."
    )
    findings = _findings(analyses, found, "block_response")
    figures = _panels(
        "Gain of whole layers relative to DC in dB",
        found,
        lambda result, label, ax: plot.block_response(result, nulls=of_nulls[label], label=label, ax=ax),
    )
    return Section("What whole layers do to frequencies", text, figures, _summaries(found), missing, findings)


def _position_response(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "position_response")
    said = sentences({analyses[name].title: response.predicate() for name, response in found.items()})
    text = (
        "The gain of whole layers at each position of the output, as a map: all rows are equal where a layer does the "
        "same at every position. In the table, variation is the standard deviation over positions divided by the mean, "
        "and last is the gain at the last position relative to the root mean square of all."
    )
    figures = {"Gain of whole layers by output position": plot.position_response_panels(found)} if found else {}
    title = "What whole layers do at each position"
    return Section(title, " ".join([text, *said]), figures, _summaries(found), missing)


def _filters(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "learned_filters")
    figures = _panels(f"Gain of the learned filters of {', '.join(found)}", found, plot.learned_filters, share_y=False)
    text = "Gain of the filters that the model learned as weights: median and middle 80% of the dimensions."
    return Section("Learned filters", text, figures, _summaries(found), missing)


def _attention_maps(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "attention_statistics")
    explored, without = _each(analyses, "user_maps")
    missing += [reason for reason in without if reason not in missing]
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
    return Section("Attention maps", text, figures, _summaries(found), missing, explored=explored)


def _bounds(analyses: Analyses) -> Section:
    has_attention, _ = _each(analyses, "attention_statistics")
    found, missing = _each({name: analyses[name] for name in has_attention}, "layer_bounds")
    text = (
        "Attention with its value and output projections and its residual, without LayerNorm and feed-forward network: "
        "the measured factor by which it scales what is not constant, and the bounds of this factor for any input "
        "(Wang et al., ICLR 2022). A lower bound of 0 allows complete smoothing; a factor of 1 means no smoothing."
    )
    return Section("Bounds of attention with its residual", text, {}, _summaries(found), missing)


def _theorem1(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "theorem1")
    text = (
        "HFC over LFC of A^t x against t for the attention of one user with a full window, with and without its causal "
        "mask. Dotted lines are the rate |lambda_2|^t of the theorem. Thin dashed lines are an x "
        "with pi^T x = 0, where pi is the left Perron vector (pi^T A = pi^T)."
    )
    figures = _panels("Decay of high frequencies under repeated attention", found, plot.theorem1, height=DECAY_HEIGHT)
    return Section("Theorem 1", text, figures, _summaries(found), missing)


def _singular_values(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "singular_values")
    of_nulls = _of_nulls(analyses, found, "singular_values")
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
    findings = _findings(analyses, found, "singular_values")
    figure = plot.singular_values(last, effective_rank=True, nulls=drawn).figure if last else None
    summaries = _summaries(found)
    ranks = None if summaries is None else summaries.drop(columns="singular_values")
    figures = {"Normalised singular values": figure} if figure else {}
    return Section("Directions that users occupy", text, figures, ranks, missing, findings)


def _similarity(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "cosine_similarity")
    of_nulls = _of_nulls(analyses, found, "cosine_similarity")
    text = (
        "Mean cosine of all pairs of users at the last position (left), and of all pairs of positions of one sequence "
        "(right), after each layer; null models in grey. 1 means complete oversmoothing."
    )
    findings = _findings(analyses, found, "cosine_similarity")
    figures = {}
    if found:
        figure, axes = plot.panels(2)
        for ax, kind in zip(axes, ("between_users", "within_sequence"), strict=True):
            plot.cosine_similarity(found, kind=kind, nulls=of_nulls, ax=ax)
        figures = {"Cosine similarity over layers": figure}
    tables = {name: similarity.table() for name, similarity in found.items()}
    title = "How similar users and positions become"
    return Section(title, text, figures, _tables(tables), missing, findings)


def _smoothing(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "smoothing")
    of_nulls = _of_nulls(analyses, found, "smoothing")
    text = (
        "Along the real positions of each user, after each layer: mean distance of directions (MAD), Dirichlet energy "
        "relative to the total energy, ranks, the share of the constant part, and the energy above the "
        f"{_low_modes(analyses)} lowest modes divided by the energy in them. Bars are two standard errors; null models "
        "are grey."
    )
    findings = _findings(analyses, found, "smoothing")
    figures = {"Measures of smoothness along positions": plot.smoothing_panels(found, of_nulls)} if found else {}
    return Section("How smooth sequences become", text, figures, _summaries(found), missing, findings)


def _rank_one(analyses: Analyses) -> Section:
    from spectral import plot

    found, _ = _each(analyses, "rank_one")
    parts, missing = _each(analyses, "rank_one_parts")
    text = (
        "||X - 1 x^T|| / ||X|| of the real positions of each user, x their mean: 0 if all positions are equal. The "
        "dotted line is white noise of the same lengths. Through the parts of a block, a hollow marker is what a "
        "sub-layer adds, the next point the sum with the residual, and the third the LayerNorm of the sum."
    )
    figures: dict[str, Any] = {"Distance to rank one over layers": plot.rank_one(found).figure} if found else {}
    figures |= _panels("Distance to rank one through the parts of blocks", parts, plot.rank_one_parts, height=2.8)
    return Section("Distance to rank one", text, figures, _summaries(found | parts), missing)


def _mixing_ratio(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "mixing_ratio")
    text = (
        "How much of a block's output is not its residual, by frequency, over users with a full window: at 0 the "
        "output is what entered the block, at 1 nothing of it is left. The table has the shares of all parts of the "
        "output."
    )
    figures = _panels("Mixing ratio of blocks", found, plot.mixing_ratio)
    return Section("What blocks keep of their input", text, figures, _summaries(found), missing)


def _integrity(analyses: Analyses) -> Section:
    found, missing = _each(analyses, "integrity")
    text = (
        "Whether each model does what its architecture promises (claimed), checked on its users in float64; places are "
        "pairs of positions, layers, or names of parameters. popularity and last_item are values without a verdict."
    )
    return Section("Integrity", text, {}, _tables({n: one.table() for n, one in found.items()}), missing)


def _cka(analyses: Analyses) -> Section:
    import pandas as pd

    from spectral import plot

    text = (
        "Linear CKA of the users' states at the last position, between layers of one model and of two: 1 if they are a "
        "rotation of each other. The table has the CKA of users matched at random as well."
    )
    subjects = {name: analysis.subject for name, analysis in analyses.items()}

    def measure(windows: Mapping[str, Tensor]) -> LinearCKA:
        return LinearCKA.from_captures(
            {name: subjects[name].captures(inputs, attention=False) for name, inputs in windows.items()}
        )

    try:
        missing: list[str] = []
        found = {"all": measure(windows_in_common(subjects))}
    except UserError as error:
        found, missing = _each(analyses, "cka")
        missing.insert(0, f"Models are not compared with each other: {error}")
    figures = {f"Linear CKA between layers of {_models_of(cka)}": plot.cka_panels(cka) for cka in found.values()}
    tables = [cka.table() for cka in found.values()]
    return Section("How alike layers are", text, figures, pd.concat(tables) if tables else None, missing)


def _models_of(cka: LinearCKA) -> str:
    return ", ".join(dict.fromkeys(name for name, _ in cka.layers))


def _last_item(analyses: Analyses) -> Section:
    from spectral import plot

    found, missing = _each(analyses, "last_item")
    text = (
        "The top k of each user's history and of a history of its last item alone: the share of items that both have, "
        "over users with more than one item. Dotted, what the lists of different users have in common. In the table, "
        "same is the share of users with the same items."
    )
    figures = {"Overlap with the recommendations of the last item alone": plot.last_item(found).figure} if found else {}
    return Section("What the last item alone explains", text, figures, _summaries(found), missing)


def _strata(analyses: Analyses) -> Section:
    import pandas as pd

    from spectral import plot

    figures: dict[str, Any] = {}
    tables, reasons = {}, []
    for by in BY:
        found, missing = _each(analyses, f"strata_by_{by}")
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
