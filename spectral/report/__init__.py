"""Everything the toolkit measures of one or several checkpoints, side by side on one page.

`python -m spectral.report ckpt.pt [more.pt ...]` writes the page: one HTML file that holds its pictures, opens without
a network and prints. A measure that a model does not have is named with the reason.

Here live `sections`, the parts of the page one by one, which a notebook shows as well, and `page`, all of them as HTML.
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
JACOBIAN_USERS = 128  # whose layers are differentiated, the slowest measure by far
DECAY_HEIGHT = 3.4  # inches, for there is a matrix of every head to name
RESAMPLES = 200  # bootstrap samples of the users, for the bands of attention responses

Subjects = Mapping[str, Subject]
Given = TypeVar("Given")


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page.

    Attributes:
        title: In a few words.
        text: What is shown and how to read it.
        figures: Pictures by what they show, in a sentence.
        table: The numbers behind them; None if there are none.
        missing: Why something is not there, by the model's name, a sentence each.
    """

    title: str
    text: str
    figures: Mapping[str, "Figure | SubFigure"] = field(default_factory=dict)
    table: "DataFrame | None" = None
    missing: list[str] = field(default_factory=list)


def names_of(loaded: Mapping[Path, Any]) -> list[str]:
    """Return what each model is called: its name, or its title and file where two have one name."""
    names = [model.name for model in loaded.values()]
    stems = [path.stem for path in loaded]
    return [
        model.name
        if names.count(model.name) == 1
        else f"{model.title}, {path.stem if stems.count(path.stem) == 1 else path}"
        for path, model in loaded.items()
    ]


def sections(subjects: Subjects, c: int = DEFAULT_C) -> list[Section]:
    """Measure all models, by name, and return the parts of the page."""
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
    ]


def overview(subjects: Mapping[Path, Subject]) -> "DataFrame":
    """Return one row per checkpoint: what it says of itself."""
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
    """Return the page as HTML."""
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
    """Return what a measure gives for each model that has it, and the reasons of the others."""
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
        "From the items (below) to the scores (above), read from the model itself; the frame is one block, which is "
        "there as often as it says. The table counts the numbers that each step trains."
    )
    figures = {f"Architecture of {name}": plot.diagram(diagram).figure for name, diagram in found.items()}
    return Section("Of what it is made", text, figures, _tables({n: s.table() for n, s in found.items()}), missing)


def _signals(subjects: Subjects, c: int) -> Section:
    import pandas as pd

    from spectral import plot

    def measure(subject: Subject) -> Sequence[UserSignal]:
        most = subject.max_users
        return extreme_signals(subject.model, subject.windows[:most], subject.names[:most], c, subject.batch_size)

    found, missing = _each(subjects, measure)
    text = (
        "Item embeddings along the windows of two users: of all whose window is full, those with the most and the "
        f"least energy in the {c} lowest modes. Above, the signal with its low and its high frequencies, along the "
        "direction that holds most of it; below, the spectrum. White noise has equal shares of all modes."
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
        "Gain of each layer's attention against frequency, over users whose window is full; thin lines are heads, "
        "shaded the 95% bootstrap interval over users. A curve that falls is a low-pass filter. Residual connections "
        "are not in it."
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
        "The same of whole layers, residual connections, LayerNorm and feed-forward networks included, relative to a "
        f"constant signal: from the derivatives at the hidden states of up to {JACOBIAN_USERS} users with full windows."
    )
    figures = _panels("Gain of whole layers relative to DC in dB", found, plot.block_response)
    return Section("What whole layers do to frequencies", text, figures, _summaries(found), missing)


def _filters(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda subject: learned_filters(subject.model))
    figures = _panels(f"Gain of the learned filters of {', '.join(found)}", found, plot.learned_filters, share_y=False)
    text = "Gain of the filters that are weights of the model: median and middle 80% of the dimensions."
    return Section("Learned filters", text, figures, _summaries(found), missing)


def _attention_maps(subjects: Subjects) -> list[Section]:
    from spectral import plot

    def measure(subject: Subject) -> AttentionStatistics:
        subject.check_attention()
        return AttentionStatistics.from_captures(subject.captures(subject.full_windows(), hidden=False))

    found, missing = _each(subjects, measure)
    text = (
        "Entropy of rows relative to uniform ones, mean distance of what is attended to, |lambda_2|, the rate of "
        "Theorem 1, and the most that one application can scale what is not constant. Below, how much of each position "
        "reaches the last output through attention and residuals alone (rollout)."
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
        "the factor that it scales what is not constant by, measured, and between which bounds it must lie for any "
        "input (Wang et al., ICLR 2022). A lower bound of 0 allows complete smoothing; a factor of 1 is none."
    )
    return Section("Bounds of attention with its residual", text, {}, _summaries(found), missing)


def _theorem1(subjects: Subjects) -> Section:
    from spectral import plot

    def measure(subject: Subject) -> Theorem1:
        subject.check_attention()
        return theorem1(trained_attentions(subject.model, subject.full_windows()[0]))

    found, missing = _each(subjects, measure)
    text = (
        "HFC over LFC of A^t x against t for the attention of one user with a full window, as it is and without its "
        "causal mask; dotted, the rate |lambda_2|^t of the theorem. Thin dashes: an x for which the limit is not DC."
    )
    figures = _panels("Decay of high frequencies under repeated attention", found, plot.theorem1, height=DECAY_HEIGHT)
    return Section("Theorem 1", text, figures, _summaries(found), missing)


def _singular_values(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda s: LayerSpectra.from_captures(s.captures(s.users(), attention=False)))
    last = {name: spectra.layers[max(spectra.layers)] for name, spectra in found.items()}
    text = (
        "Singular values of the matrix of all users' last outputs, divided by the largest; in brackets the effective "
        "rank. Steeper is smoother: users lie in fewer directions."
    )
    figures = {"Normalised singular values": plot.singular_values(last, effective_rank=True).figure} if last else {}
    table = _summaries(found)
    ranks = None if table is None else table.drop(columns="singular_values")
    return Section("Directions that users take up", text, figures, ranks, missing)


def _similarity(subjects: Subjects) -> Section:
    from spectral import plot

    found, missing = _each(
        subjects, lambda s: CosineSimilarity.from_captures(s.captures(s.users(at_least=2), attention=False))
    )
    text = "Mean cosine after each layer of all pairs of users (left) and of the real positions of one user (right)."
    figures: dict[str, Any] = {}
    if found:
        figure, (left, right) = plot.panels(2)
        plot.cosine_similarity(found, kind="between_users", ax=left)
        plot.cosine_similarity(found, kind="within_sequence", ax=right)
        figures = {"Mean cosine similarity over layers": figure}
    tables = {name: similarity.table() for name, similarity in found.items()}
    return Section("How alike users and positions become", text, figures, _tables(tables), missing)


def _smoothing(subjects: Subjects, c: int) -> Section:
    from spectral import plot

    found, missing = _each(subjects, lambda s: Smoothing.from_captures(s.captures(s.users(), attention=False), c))
    text = (
        "Along the real positions of each user, after each layer: mean distance of directions (MAD), Dirichlet energy "
        f"relative to all energy, ranks, the share of the constant part, and energy above {c} modes over that below; "
        "bars are two standard errors."
    )
    figures = {"Measures of smoothness along positions": plot.smoothing_panels(found)} if found else {}
    return Section("How smooth sequences become", text, figures, _summaries(found), missing)
