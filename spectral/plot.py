"""Figures of the measures, each drawn on the Axes that are given or on a new figure of one column's width.

Every function takes what a measure returned and returns the Axes; nothing global is changed and no window
opens. Text is 8 pt at 3.33 in, there are no titles (a caption says what is shown), and every model has a
colour, a marker and a line style of its own, so that figures agree with each other and can be read in grey.
"""

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, MultipleLocator, NullLocator

from models.errors import ConfigError
from models.files import write_atomically
from spectral.cosine_similarity import LayerSimilarity
from spectral.filter_response import CUTOFF_DB, FilterResponse
from spectral.palette import MODEL_NAMES, MODEL_STYLES, MOST_LABELS, layer_styles, styles_of
from spectral.singular_values import SingularValues
from spectral.theorem1 import EXCEPTIONAL, Case, Theorem1

if TYPE_CHECKING:
    from pandas import DataFrame

STYLE = Path(__file__).with_name("spectral.mplstyle")
FORMATS = ("png", "pdf", "csv")
COLUMN_WIDTH, HEIGHT = 3.33, 2.3  # inches
LOWEST_DB, LOWEST_LOG10 = -60.0, -16.0  # axes do not go on below, where only rounding is left to see

VIOLET = "#7F3C8D"  # where black is taken by predictions
PREDICTED: dict[str, Any] = {
    "color": "black",
    "linestyle": ":",
    "linewidth": 1.0,
    "zorder": 3,
    "label": "_predicted",
}

P = ParamSpec("P")


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of this package within the block, and put the caller's back after it."""
    with mpl.style.context(STYLE):
        yield


def panels(columns: int = 1, height: float = HEIGHT, width: float = COLUMN_WIDTH) -> tuple[Figure, list[Axes]]:
    """Return a figure outside of pyplot, and its Axes side by side with a shared y axis; sizes in inches."""
    with style():
        figure = Figure(figsize=(columns * width, height))
        FigureCanvasAgg(figure)
        return figure, list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])


def save(
    figure: Figure | SubFigure,
    stem: str | Path,
    table: "DataFrame | None" = None,
    formats: Iterable[str] = FORMATS,
) -> list[Path]:
    """Write a figure and the data behind it: `stem`.png (200 dpi), `stem`.pdf, and the table as `stem`.csv.

    Each file is written whole or not at all; equal figures give equal files. Returns the paths. Raises
    ConfigError for an unknown format, OSError if the folder cannot be written.
    """
    formats = list(formats)
    check_formats(formats)
    paths = []
    for kind in formats:
        if kind == "csv" and table is None:
            continue
        path = Path(f"{stem}.{kind}")
        content = table.to_csv(index=False).encode() if kind == "csv" and table is not None else _render(figure, kind)
        write_atomically(path, content)
        paths.append(path)
    return paths


def check_formats(formats: Iterable[str]) -> None:
    """Raise ConfigError if `save` does not know one of the formats, or there is none."""
    formats = list(formats)
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown or not formats:
        given = ", ".join(map(repr, unknown)) if unknown else "nothing"
        raise ConfigError(f"unknown format {given}; choose from {', '.join(FORMATS)}, separated by commas")


def _render(figure: Figure | SubFigure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    with style():
        figure.get_figure(root=True).savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _styled(height: float = HEIGHT) -> Callable[[Callable[P, Axes]], Callable[P, Axes]]:
    """Run a drawing function in this package's style, by default on a new figure of this height."""

    def decorate(draw: Callable[P, Axes]) -> Callable[P, Axes]:
        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> Axes:
            with style():
                if kwargs.get("ax") is None:
                    kwargs["ax"] = panels(height=height)[1][0]
                return draw(*args, **kwargs)

        return drawn

    return decorate


@_styled(height=1.05)
def ring_graph(num_nodes: int = 16, frequencies: Iterable[int] = (0, 1, 2, 8), *, ax: Axes | None = None) -> Axes:
    """Draw a sequence as a ring graph, and on it the cosine eigenvectors of some frequencies (Figure 2a).

    A dot's distance outside or inside of the ring is the eigenvector's value at that position (position 0 on
    top, then clockwise); positive values are filled. Raises ValueError for a frequency outside of
    0..num_nodes // 2, or fewer than 3 nodes.
    """
    assert ax is not None
    chosen = list(frequencies)
    if num_nodes < 3 or not chosen or not all(0 <= k <= num_nodes // 2 for k in chosen):
        raise ValueError(f"frequencies must lie in 0..{num_nodes // 2} and a ring has 3 nodes or more, got {chosen}")
    for column, k in enumerate(chosen):
        _ring(ax, num_nodes, k, center=3.2 * column)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_xlim(-1.6, 3.2 * (len(chosen) - 1) + 1.6)
    ax.set_ylim(-2.25, 1.6)
    return ax


def _ring(ax: Axes, num_nodes: int, k: int, center: float) -> None:
    position = np.arange(num_nodes)
    angle = np.pi / 2 - 2 * np.pi * position / num_nodes  # position 0 on top, clockwise
    value = np.cos(2 * np.pi * k * position / num_nodes).round(12)  # a zero is positive, not what rounding makes of it
    unit = np.stack([np.cos(angle), np.sin(angle)])
    offset = np.array([[center], [0.0]])
    nodes, tips = unit + offset, unit * (1 + 0.42 * value) + offset
    ring = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(ring) + center, np.sin(ring), color="0.6", linewidth=0.8, zorder=1)
    ax.plot(*nodes, linestyle="", marker="o", markersize=1.8, color="0.4", zorder=2)
    ax.plot(*np.stack([nodes, tips], axis=1), color="0.35", linewidth=0.7, zorder=2)
    for chosen, fill in ((value >= 0, MODEL_STYLES["sasrec"]["color"]), (value < 0, "white")):
        ax.plot(
            *tips[:, chosen],
            linestyle="",
            marker="o",
            markersize=3.2,
            markerfacecolor=fill,
            markeredgecolor=MODEL_STYLES["sasrec"]["color"],
            zorder=3,
        )
    ax.text(center, -1.68, f"$k={k}$", ha="center", va="top")


@_styled()
def frequency_response(
    response: FilterResponse, *, label: str | None = None, ax: Axes | None = None, floor: float = LOWEST_DB
) -> Axes:
    """Draw gain in dB against angular frequency: heads as thin lines, the head mean of each layer thick.

    `label` is written into the axes (a model's name, for panels side by side). The dashed line is 3 dB under
    DC, where the cutoff is read off. The axis ends at `floor` dB.
    """
    assert ax is not None
    layers = layer_styles(response.layers)
    mean, omega = response.head_mean, response.angular_frequency
    for row, layer in enumerate(response.layers):
        if response.gain.shape[1] > 1:
            for head in response.gain_db[row]:
                ax.plot(omega, _drawable(head), color=layers[layer]["color"], linewidth=0.5, alpha=0.6)
        ax.plot(
            omega,
            _drawable(mean.gain_db[row, 0]),
            **layers[layer] | {"marker": ""},
            linewidth=1.6,
        )
    ax.axhline(CUTOFF_DB, color="0.3", linestyle=(0, (1, 1.5)), linewidth=0.7, zorder=1)
    _angular_axis(ax)
    drawn = response.gain_db[np.isfinite(response.gain_db)]
    lowest, highest = ax.get_ylim()  # of panels that share this axis, too
    lowest = min(lowest, math.floor(drawn.min(initial=-6.0) - 1))
    ax.set_ylim(max(floor, lowest), max(highest, drawn.max(initial=0.0) + 0.5))
    ax.set_ylabel("gain (dB)")
    ax.legend(title=label and MODEL_NAMES.get(label, label), title_fontsize=8)
    return ax


@_styled()
def singular_values(spectra: Mapping[Any, SingularValues], *, ax: Axes | None = None, normalised: bool = True) -> Axes:
    """Draw singular value spectra on a logarithmic axis, a line per model (a name) or layer (a number).

    `normalised` divides each by its largest value, which is needed to compare different numbers of users.
    """
    assert ax is not None
    styles = styles_of(spectra)
    for name, spectrum in spectra.items():
        values = spectrum.normalised if normalised else spectrum.values
        index = np.arange(1, len(values) + 1)
        ax.plot(
            index,
            _drawable(values),
            **styles[name],
            markevery=_marked(len(values), len(spectra), name, spectra),
        )
    ax.set_yscale("log")
    ax.set_xlabel("index of the singular value")
    ax.set_ylabel("singular value / largest" if normalised else "singular value")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


@_styled()
def cosine_similarity(
    similarities: Mapping[str, LayerSimilarity],
    *,
    kind: str = "between_users",
    ax: Axes | None = None,
) -> Axes:
    """Draw mean cosine similarity over layers, a line per model; between_users or within_sequence."""
    assert ax is not None
    labels = {
        "between_users": "cosine similarity of users",
        "within_sequence": "cosine similarity of positions",
    }
    if kind not in labels:
        raise ValueError(f"kind must be one of {', '.join(labels)}, got {kind!r}")
    styles = styles_of(similarities)
    for name, similarity in similarities.items():
        ax.plot(similarity.layers, getattr(similarity, kind), **styles[name])
    _layer_axis(ax, labels[kind])
    ax.legend()
    return ax


@_styled()
def similarities_of(name: str, similarity: LayerSimilarity, *, ax: Axes | None = None) -> Axes:
    """Draw both similarities of one model over layers: between users, and within a sequence."""
    assert ax is not None
    color = styles_of([name])[name]["color"]
    ax.plot(similarity.layers, similarity.between_users, color=color, marker="o", label="between users")
    ax.plot(
        similarity.layers,
        similarity.within_sequence,
        color=color,
        marker="s",
        markerfacecolor="white",
        linestyle="--",
        label="within a sequence",
    )
    _layer_axis(ax, "mean cosine similarity")
    ax.legend()
    return ax


@_styled(height=3.2)
def theorem1(
    result: Theorem1 | Iterable[Case],
    *,
    steps: int | None = None,
    ax: Axes | None = None,
    floor: float = LOWEST_LOG10,
) -> Axes:
    """Draw HFC/LFC of A^t x against t, and dotted over it the predicted decay |lambda_2|^t.

    One colour and marker per matrix, thin and dashed for its exceptional x, which stays where it is; more
    than eight matrices are told apart as causal or not only. Up to `steps`, by default until the slowest
    decay reaches 1e`floor`.
    """
    assert ax is not None
    cases = list(result.cases if isinstance(result, Theorem1) else result)
    steps = steps or _steps_to_draw(cases, floor)
    lines = _matrix_styles(cases)
    for case in cases:
        ratio = _drawable(case.log_ratio[: steps + 1] / math.log(10))
        line = lines[_matrix_name(case)]
        visible = int((ratio >= floor).sum())
        line = line | {"markevery": (min(list(lines).index(_matrix_name(case)), visible), max(1, visible // 4))}
        if case.exceptional:
            line = line | {"linestyle": "--", "marker": "", "linewidth": 0.6, "label": "_exceptional"}
        ax.plot(np.arange(len(ratio)), ratio, **line)
        if not case.exceptional:
            predicted = case.predicted[: steps + 1] / math.log(10)
            ax.plot(np.arange(len(predicted)), predicted, **PREDICTED)
    ax.plot([], [], **PREDICTED | {"label": r"predicted, $|\lambda_2|^t$"})
    if any(case.exceptional for case in cases):
        ax.plot([], [], color="0.4", linestyle="--", linewidth=0.6, label=r"exceptional $x$")
    ax.set_ylim(floor, 4)
    ax.set_xlim(0, steps)
    ax.yaxis.set_major_locator(MultipleLocator(4))
    ax.set_xlabel("$t$")
    ax.set_ylabel(r"$\log_{10}\,\|\mathrm{HFC}[A^tx]\|/\|\mathrm{LFC}[A^tx]\|$")
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.17), ncols=2)
    return ax


def _matrix_name(case: Case) -> str:
    return case.name.removesuffix(EXCEPTIONAL)


def _matrix_styles(cases: list[Case]) -> dict[str, dict[str, Any]]:
    """How to draw the cases of each matrix: told apart if there are few, else by kind."""
    matrices = {_matrix_name(case): case.causal for case in cases}
    models = [line | {"color": VIOLET} if line["color"] == "#000000" else line for line in MODEL_STYLES.values()]
    if len(matrices) <= MOST_LABELS:
        return {
            name: models[index] | {"linestyle": "-", "linewidth": 1.0, "markersize": 3.0, "label": name}
            for index, name in enumerate(matrices)
        }
    first = {causal: next(name for name in matrices if matrices[name] == causal) for causal in set(matrices.values())}
    return {
        name: {
            "color": models[int(causal)]["color"],
            "linewidth": 0.8,
            "alpha": 0.7,
            "label": ("causal" if causal else "bidirectional") if first[causal] == name else f"_{name}",
        }
        for name, causal in matrices.items()
    }


def _marked(length: int, lines: int, name: Any, names: Iterable[Any]) -> tuple[int, int]:
    """Put some eight markers on a line, at places where other lines have none."""
    step = max(1, length // 8)
    return (list(names).index(name) * step // max(1, lines), step)


def _drawable(values: Any) -> Any:
    """Replace infinities by gaps."""
    return np.where(np.isfinite(values), values, np.nan)


def _angular_axis(ax: Axes) -> None:
    ax.set_xlim(0, np.pi)
    ax.set_xticks(np.linspace(0, np.pi, 5), ["0", r"$\pi/4$", r"$\pi/2$", r"$3\pi/4$", r"$\pi$"])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("angular frequency (rad/position)")


def _layer_axis(ax: Axes, label: str) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("layer")
    ax.set_ylabel(label)


def _steps_to_draw(cases: list[Case], floor: float) -> int:
    slopes = [case.predicted_slope for case in cases if not case.exceptional and case.predicted_slope < 0]
    slowest = max(slopes, default=-1.0)
    return int(min(max(floor * math.log(10) / slowest, 20), 200))
