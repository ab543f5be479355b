"""What every figure shares: the style, panels, files, and axes of frequencies and layers."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, NullLocator

from models.errors import ConfigError
from models.files import write_atomically
from spectral.palette import MODEL_NAMES

if TYPE_CHECKING:
    from pandas import DataFrame

STYLE = Path(__file__).parent.with_name("spectral.mplstyle")
FORMATS = ("png", "pdf", "csv")
COLUMN_WIDTH, HEIGHT = 3.33, 2.3  # inches
MOST_INSIDE = 4  # names in a legend that stands within the axes; more would hide what is drawn

P = ParamSpec("P")


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of this package within the block, and put the caller's back after it."""
    with mpl.style.context(STYLE):
        yield


def panels(columns: int = 1, height: float = HEIGHT, width: float = COLUMN_WIDTH) -> tuple[Figure, list[Axes]]:
    """Return a figure outside of pyplot, and its Axes side by side with a shared y axis; sizes in inches."""
    figure, rows = grid([height], columns, width, share_y=True)
    return figure, rows[0]


def grid(
    heights: Sequence[float], columns: int = 1, width: float = COLUMN_WIDTH, share_y: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure outside of pyplot, and its Axes row by row, of these heights and one width, in inches.

    `share_y`: the Axes of a row have one y axis.
    """
    with style():
        figure = Figure(figsize=(columns * width, sum(heights)))
        FigureCanvasAgg(figure)
        sharing: Any = "row" if share_y else "none"
        ratios = {"height_ratios": list(heights)}
        axes = figure.subplots(len(heights), columns, sharey=sharing, squeeze=False, gridspec_kw=ratios)
        return figure, [list(row) for row in axes]


def side_by_side(
    results: Mapping[str, Any],
    draw: Callable[..., Any],
    height: float = HEIGHT,
    columns: int | None = None,
    share_y: bool = True,
) -> Figure:
    """Return a figure with a panel for each result, drawn by `draw(result, label=name, ax=ax)`.

    Panels are `height` inches high, in rows of `columns` (None: all in one); `share_y`: those of a row have one y axis.
    Raises ValueError if there are no results.
    """
    if not results:
        raise ValueError("expected at least one result to draw, got none")
    columns = min(columns or len(results), len(results))
    figure, rows = grid([height] * -(-len(results) // columns), columns, share_y=share_y)
    axes = [ax for row in rows for ax in row]
    for place, (name, result) in enumerate(results.items()):
        draw(result, label=name, ax=axes[place])
        if share_y and place % columns:
            axes[place].set_ylabel("")
    for ax in axes[len(results) :]:
        ax.remove()
    return figure


def panels_of_measures(
    results: Mapping[str, Any],
    measures: Sequence[str],
    draw: Callable[..., Any],
    columns: int,
    width: float = COLUMN_WIDTH,
) -> Figure:
    """Return a figure with a panel for each measure of the same results, drawn by `draw(results, measure, ax=ax)`.

    Panels are `width` inches wide, in full rows of `columns`. The x axis is labelled in the last row, and one legend
    below serves all.
    """
    figure, rows = grid([1.7] * (len(measures) // columns), columns, width)
    for measure, ax in zip(measures, chain(*rows), strict=True):
        draw(results, measure, ax=ax)
    for ax in chain(*rows[:-1]):
        ax.set_xlabel("")
    shared_legend(figure)
    return figure


def shared_legend(figure: Figure) -> None:
    """Put one legend of all lines below the panels, where it covers none of them, in place of their own."""
    entries: dict[str, Any] = {}
    for ax in figure.axes:
        entries |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        if legend := ax.get_legend():
            legend.remove()
    with style():
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=min(len(entries), 4))


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
        content = table.to_csv(index=False).encode() if kind == "csv" and table is not None else render(figure, kind)
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


def render(figure: Figure | SubFigure, kind: str) -> bytes:
    """Return a figure as the bytes of a png or pdf file."""
    buffer = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    with style():
        figure.get_figure(root=True).savefig(buffer, format=kind, metadata=metadata)
        return _with_a_palette(buffer) if kind == "png" else buffer.getvalue()


def _with_a_palette(png: io.BytesIO) -> bytes:
    """Return a picture in 256 colours, which no eye misses in plots: a third of the bytes."""
    from PIL import Image

    smaller = io.BytesIO()
    dpi = mpl.rcParams["savefig.dpi"]
    Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        smaller, format="png", dpi=(dpi, dpi), optimize=True
    )
    return smaller.getvalue()


def styled(height: float = HEIGHT) -> Callable[[Callable[P, Axes]], Callable[P, Axes]]:
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


def marked(length: int, lines: int, name: Any, names: Iterable[Any]) -> tuple[int, int]:
    """Put some eight markers on a line, at places where other lines have none."""
    step = max(1, length // 8)
    return (list(names).index(name) * step // max(1, lines), step)


def drawable(values: Any) -> Any:
    """Replace infinities by gaps."""
    return np.where(np.isfinite(values), values, np.nan)


def angular_axis(ax: Axes) -> None:
    """Label the x axis with angular frequencies from 0 to pi."""
    ax.set_xlim(0, np.pi)
    ax.set_xticks(np.linspace(0, np.pi, 5), ["0", r"$\pi/4$", r"$\pi/2$", r"$3\pi/4$", r"$\pi$"])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("angular frequency (rad/position)")


def from_zero(ax: Axes) -> None:
    """Let the y axis begin at 0, and leave some room above what is drawn, also if that hardly varies."""
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.03 * ax.dataLim.y1))


def legend(ax: Axes, of: str | None = None, **options: Any) -> None:
    """Name what is drawn: within the axes, where there is room, or above them if there is much to name.

    of: whose it is, a model, as a title.
    """
    if len(ax.get_legend_handles_labels()[1]) > MOST_INSIDE:
        options |= {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3, "handlelength": 1.8}
        options |= {"columnspacing": 0.8, "handletextpad": 0.5}
    ax.legend(title=of and MODEL_NAMES.get(of, of), title_fontsize=8, **options)


def layer_axis(ax: Axes, label: str) -> None:
    """Label the x axis with whole layers, and y with `label`."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("layer")
    ax.set_ylabel(label)
