"""All measures of one or several checkpoints, side by side on one page.

`python -m spectral.report ckpt.pt [more.pt ...]` writes the page. It is one HTML file that contains its pictures, opens
without a network, and can be printed. If a model does not have a measure, the page says why.

Contents: `sections`, the parts of the page, which a notebook can show one by one, and `page`, all of them as HTML.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from models.architectures.diagram import diagram_of
from models.errors import UserError
from spectral.attention_statistics import AttentionStatistics
from spectral.attention_statistics.bounds import LayerBounds
from spectral.block_response import block_response
from spectral.capture import in_batches
from spectral.command_line import Subject
from spectral.cosine_similarity import CosineSimilarity
from spectral.filter_response import FrequencyResponse
from spectral.integrity import integrity, table
from spectral.learned_filters import learned_filters
from spectral.response import DEFAULT_C
from spectral.signals import UserSignal, extreme_signals
from spectral.singular_values import LayerSpectra
from spectral.smoothing import Smoothing
from spectral.tables import stacked
from spectral.theorem1 import Theorem1, theorem1, trained_attentions

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

CSS_PIXELS_PER_INCH = 120  # two figures of one column fit side by side
JACOBIAN_USERS = 128  # users at which layers are differentiated, which is by far the slowest measure
DECAY_HEIGHT = 3.4  # inches; the legend names a matrix for every head
RESAMPLES = 200  # bootstrap samples of the users, for the bands of attention responses

Subjects = Mapping[str, Subject]
Given = TypeVar("Given")


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page.

    Attributes:
        title: A few words.
        text: What is shown and how to read it.
        figures: Pictures by caption.
        table: The numbers behind the pictures; None if there are none.
        missing: For each model without the measure, its name and the reason.
    """

    title: str
    text: str
    figures: Mapping[str, "Figure | SubFigure"] = field(default_factory=dict)
    table: "DataFrame | None" = None
    missing: list[str] = field(default_factory=list)


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


def sections(subjects: Subjects, c: int = DEFAULT_C) -> list[Section]:
    """Measure the models, given by name, and return the parts of the page. c: number of low modes."""
    return [
        _architecture(subjects),
        _signals(subjects, c),
        _attention_response(subjects, c),
        _layer_response(subjects, c),
        _filters(subjects),
        *_attention_maps(subjects),
        _theorem1(subjects),
        _singular_values(subjects),
        _similarity(subjects),
        _smoothing(subjects, c),
        _integrity(subjects),
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


def page(subjects: Mapping[Path, Subject], c: int = DEFAULT_C) -> str:
    """Return the page as HTML. c: number of low modes."""
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
    parts = sections(dict(zip(names, subjects.values(), strict=True)), c)
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
        f"and the one with the smallest share of energy in the {c} lowest modes. At the top, the signal with its low "
        "and its high frequencies, along the direction that holds most of the energy; at the bottom, the spectrum. "
        "White noise has the same share in every mode."
    )
    figures = {
        f"Two histories in the item embeddings of {name}": plot.user_signal_panels(pair) for name, pair in found.items()
    }
    tables = {name: pd.DataFrame([signal.summary() for signal in pair]) for name, pair in found.items()}
    return Section("Histories as signals", text, figures, _tables(tables), missing)


def _attention_response(subjects: Subjects, c: int) -> Section:
    from spectral import plot

    def measure(subject: Subject) -> FrequencyResponse:
        subject.check_attention()
        captures = subject.captures(subject.full_windows(), hidden=False)
        return FrequencyResponse.from_captures(captures, c, resamples=RESAMPLES)

    found, missing = _each(subjects, measure)
    text = (
        "Gain of each layer's attention against frequency, over users with a full window. Thin lines are heads, and "
        "the shaded band is the 95% bootstrap interval over users. A falling curve is a low-pass filter. Residual "
        "connections are not included."
    )
    figures = _panels("Gain of attention in dB", found, plot.frequency_response)
    return Section("What attention does to frequencies", text, figures, _summaries(found), missing)


def _layer_response(subjects: Subjects, c: int) -> Section:
    from spectral import plot

    def measure(subject: Subject) -> Any:
        windows = subject.full_windows()[:JACOBIAN_USERS]
        return block_response(subject.model, in_batches(windows, subject.batch_size, subject.model.name), c)

    found, missing = _each(subjects, measure)
    text = (
        "Gain of whole layers relative to a constant signal, including residual connections, LayerNorm and "
        "feed-forward networks. It is computed from the layers' derivatives at the hidden states of up to "
        f"{JACOBIAN_USERS} users with full windows."
    )
    figures = _panels("Gain of whole layers relative to DC in dB", found, plot.block_response)
    return Section("What whole layers do to frequencies", text, figures, _summaries(found), missing)


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
        return LayerBounds.of(statistics[name], subject.model.value_output(), captures)

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
        "mask. Dotted lines are the rate |lambda_2|^t of the theorem. Thin dashed lines are an x whose limit is not DC."
    )
    figures = _panels("Decay of high frequencies under repeated attention", found, plot.theorem1, height=DECAY_HEIGHT)
    return Section("Theorem 1", text, figures, _summaries(found), missing)


def _singular_values(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda s: LayerSpectra.from_captures(s.captures(s.users(), attention=False)))
    last = {name: spectra.layers[max(spectra.layers)] for name, spectra in found.items()}
    text = (
        "Singular values of the matrix of all users' last outputs, divided by the largest one. The effective rank is "
        "in brackets. A steeper curve means more smoothing: users lie in fewer directions."
    )
    figures = {"Normalised singular values": plot.singular_values(last, effective_rank=True).figure} if last else {}
    table = _summaries(found)
    ranks = None if table is None else table.drop(columns="singular_values")
    return Section("Directions that users occupy", text, figures, ranks, missing)


def _similarity(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(
        subjects, lambda s: CosineSimilarity.from_captures(s.captures(s.users(at_least=2), attention=False))
    )
    text = "Mean cosine after each layer, over all pairs of users (left) and of the real positions of one user (right)."
    figures: dict[str, Any] = {}
    if found:
        figure, (left, right) = plot.panels(2)
        plot.cosine_similarity(found, kind="between_users", ax=left)
        plot.cosine_similarity(found, kind="within_sequence", ax=right)
        figures = {"Mean cosine similarity over layers": figure}
    tables = {name: similarity.table() for name, similarity in found.items()}
    return Section("How similar users and positions become", text, figures, _tables(tables), missing)


def _smoothing(subjects: Subjects, c: int) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda s: Smoothing.from_captures(s.captures(s.users(), attention=False), c))
    text = (
        "Along the real positions of each user, after each layer: mean distance of directions (MAD), Dirichlet energy "
        "relative to the total energy, ranks, the share of the constant part, and the energy above the "
        f"{c} lowest modes divided by the energy in them. Bars are two standard errors."
    )
    figures = {"Measures of smoothness along positions": plot.smoothing_panels(found)} if found else {}
    return Section("How smooth sequences become", text, figures, _summaries(found), missing)


def _integrity(subjects: Subjects) -> Section:
    found, missing = _each(subjects, integrity)
    text = (
        "Whether each model does what its architecture promises (claimed), checked on its users in float64; places are "
        "pairs of positions, layers, or names of parameters. popularity and last_item are values without a verdict."
    )
    return Section("Integrity", text, {}, _tables({name: table(checks) for name, checks in found.items()}), missing)
