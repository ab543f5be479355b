"""What all figures share: the style, panels, files, and axes of frequencies and layers."""

import io
import logging
import textwrap
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
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from models.errors import ConfigError
from models.files import write_together
from spectral.choices import FORMATS
from spectral.palette import title_of

if TYPE_CHECKING:
    from pandas import DataFrame

STYLE = Path(__file__).parent.with_name("spectral.mplstyle")
COLUMN_WIDTH, HEIGHT = 3.33, 2.3  # inches
SMALL = 1.75, 1.6  # inches, width and height of one of many panels
NOTE_SIZE, NOTE_HEIGHT, CHARACTERS = 6.5, 0.11, 18  # of a note: points, inches of a line, characters in an inch
NAME_WIDTH = 1.65  # inches, of a name in a legend below several panels
MOST_INSIDE = 4  # the most names in a legend inside the axes; more would hide the lines

P = ParamSpec("P")


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of this package within the block. The caller's style is restored after it.

    Example:
        >>> before = mpl.rcParams["font.size"]
        >>> with style():
        ...     print(mpl.rcParams["font.size"])
        8.0
        >>> mpl.rcParams["font.size"] == before
        True
    """
    with mpl.style.context(STYLE):
        yield


def panels(columns: int = 1, height: float = HEIGHT, width: float = COLUMN_WIDTH) -> tuple[Figure, list[Axes]]:
    """Return a figure outside pyplot, and its Axes side by side with a shared y axis. Sizes are in inches.

    Example:
        >>> figure, axes = panels(2)
        >>> len(axes), figure.get_size_inches().round(2).tolist()
        (2, [6.66, 2.3])
    """
    figure, rows = grid([height], columns, width, share_y=True)
    return figure, rows[0]


def grid(
    heights: Sequence[float], columns: int = 1, width: float = COLUMN_WIDTH, share_y: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure outside pyplot, and its Axes row by row.

    heights: of the rows, in inches. width: of each column, in inches. share_y: the Axes of a row share their y axis.

    Example:
        >>> figure, rows = grid([1.0, 2.0], columns=3)
        >>> [len(row) for row in rows], figure.get_size_inches().round(2).tolist()
        ([3, 3], [9.99, 3.0])
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
    one_legend: bool = False,
) -> Figure:
    """Return a figure with one panel per result, drawn by `draw(result, label=name, ax=ax)`.

    results: by name. height: of a panel, in inches. columns: panels in a row, None for all. share_y: the panels of a
    row share their y axis. one_legend: the names are titles, and one legend below serves all panels, where it covers
    nothing. Raises ValueError if there are no results.

    Example:
        >>> import torch
        >>> import spectral
        >>> uniform = spectral.frequency_response(torch.full((4, 4), 1 / 4))
        >>> figure = side_by_side({"sasrec": uniform, "bsarec": uniform}, spectral.plot.frequency_response)
        >>> [ax.get_legend().get_title().get_text() for ax in figure.axes]
        ['SASRec', 'BSARec']
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
        if one_legend:
            with style():
                axes[place].set_title(title_of(name))
    for ax in axes[len(results) :]:
        ax.remove()
    if one_legend:
        shared_legend(figure)
    return figure


def small_multiples(
    names: Iterable[str], draw: Callable[[str, Axes], Any], notes: Mapping[str, str] | None = None, columns: int = 4
) -> Figure:
    """Return a figure with a small panel for each name, drawn by `draw(name, ax)`, to compare many models.

    The name stands above a panel and its note below it. All panels share their y axis and one legend.
    columns: panels in a row. Raises ValueError if there are no names.

    Example:
        >>> figure = small_multiples(["sasrec", "mine"], lambda name, ax: ax.plot([0, 1], label="x"), {"mine": "odd"})
        >>> [(ax.get_title(), ax.get_xlabel()) for ax in figure.axes]
        [('SASRec', ''), ('mine', 'odd')]
    """
    names = list(names)
    if not names:
        raise ValueError("expected at least one name to draw, got none")
    width, height = SMALL
    below = {name: textwrap.wrap((notes or {}).get(name, ""), int(width * CHARACTERS)) for name in names}
    rows_of_names = [names[first : first + columns] for first in range(0, len(names), columns)]
    heights = [height + NOTE_HEIGHT * max(len(below[name]) for name in row) for row in rows_of_names]
    figure, rows = grid(heights, min(columns, len(names)), width)
    axes = list(chain(*rows))
    for name, ax in zip(names, axes, strict=False):
        if ax is not axes[0]:
            ax.sharey(axes[0])
        draw(name, ax)
        with style():
            ax.set_title(title_of(name))
            ax.set_xlabel("\n".join(filter(None, [ax.get_xlabel(), *below[name]])), fontsize=NOTE_SIZE)
    for ax in axes[len(names) :]:
        ax.remove()
    for ax in chain(*(row[1:] for row in rows)):
        ax.set_ylabel("")
    shared_legend(figure)
    return figure


def panels_of_measures(
    results: Any,
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


def maps_of_layers(results: Mapping[str, Any], draw: Callable[..., Axes], side: float, scale: str) -> Figure:
    """Return a figure with a row for each result, by the model's name, a map for each layer, and one scale for all.

    Maps are drawn by `draw(result, layer, ax=ax, bar=False)` and `side` inches wide and high. scale: its label. Raises
    ValueError if there are no results.
    """
    if not results:
        raise ValueError("expected at least one map to draw, got none")
    columns = max(len(result.layers) for result in results.values())
    figure, rows = grid([side] * len(results), columns, width=side)
    figure.set_figwidth(columns * side + 0.6)
    drawn = []
    for (name, result), row in zip(results.items(), rows, strict=True):
        for layer, ax in zip(result.layers, row, strict=False):
            drawn.append(draw(result, layer, ax=ax, bar=False))
            with style():
                ax.set_title(f"{title_of(name)}, layer {layer}", fontsize=8)
            if ax is not row[0]:
                ax.set_ylabel("")
        for ax in row[len(result.layers) :]:
            ax.remove()
    with style():
        figure.colorbar(drawn[0].images[0], ax=drawn, label=scale, aspect=30)
    return figure


def shared_legend(figure: Figure) -> None:
    """Replace the legends of the panels by one legend below them, where it covers nothing: lines, then bands.

    Example:
        >>> figure, (left, right) = panels(2)
        >>> for ax in (left, right):
        ...     _ = ax.plot([0, 1], label="SASRec")
        >>> shared_legend(figure)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['SASRec']
    """
    entries: dict[str, Any] = {}
    for ax in figure.axes:
        entries |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        if legend := ax.get_legend():
            legend.remove()
    entries = dict(sorted(entries.items(), key=lambda entry: isinstance(entry[1], Patch)))
    with style():
        columns = min(len(entries), int(figure.get_figwidth() / NAME_WIDTH), 4)
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=columns)


def save(
    figure: Figure | SubFigure,
    stem: str | Path,
    table: "DataFrame | None" = None,
    formats: Iterable[str] = FORMATS,
) -> list[Path]:
    """Write a figure and the data behind it: `stem`.png (200 dpi), `stem`.pdf, and the table as `stem`.csv.

    Each file is written whole or not at all, and equal figures give equal files. Without a table no CSV is written.
    Returns the paths. Raises ConfigError for an unknown format, and OSError if the folder cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> figure, [ax] = panels()
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in save(figure, f"{folder}/empty", formats=["png"])]
        ['empty.png']
    """
    formats = list(formats)
    check_formats(formats)
    contents = {Path(f"{stem}.{kind}"): render(figure, kind) for kind in formats if kind != "csv"}
    if table is not None and "csv" in formats:
        contents[Path(f"{stem}.csv")] = table.to_csv(index=False).encode()
    write_together(contents)
    return list(contents)


def check_formats(formats: Iterable[str]) -> None:
    """Raise ConfigError if `save` does not know one of the formats, or if there are none.

    Example:
        >>> check_formats(["png", "svg"])
        Traceback (most recent call last):
        models.errors.ConfigError: unknown format 'svg'; choose from png, pdf, csv, separated by commas
    """
    formats = list(formats)
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown or not formats:
        given = ", ".join(map(repr, unknown)) if unknown else "nothing"
        raise ConfigError(f"unknown format {given}; choose from {', '.join(FORMATS)}, separated by commas")


def render(figure: Figure | SubFigure, kind: str) -> bytes:
    """Return a figure as the bytes of a file, kind "png" or "pdf".

    Example:
        >>> render(panels()[0], "png")[1:4]
        b'PNG'
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every glyph of a PDF
    buffer = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    with style():
        figure.get_figure(root=True).savefig(buffer, format=kind, metadata=metadata)
        return _with_a_palette(buffer) if kind == "png" else buffer.getvalue()


def _with_a_palette(png: io.BytesIO) -> bytes:
    """Return a picture with 256 colours. Plots look the same, and the file has a third of the size."""
    from PIL import Image

    smaller = io.BytesIO()
    dpi = mpl.rcParams["savefig.dpi"]
    Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        smaller, format="png", dpi=(dpi, dpi), optimize=True
    )
    return smaller.getvalue()


def styled(height: float = HEIGHT) -> Callable[[Callable[P, Axes]], Callable[P, Axes]]:
    """Return a decorator: the function draws in this package's style, by default on a new figure of this height.

    Example:
        >>> @styled(height=1.0)
        ... def square(*, ax=None):
        ...     ax.plot([0, 1], [0, 1])
        ...     return ax
        >>> square().figure.get_size_inches().round(2).tolist()
        [3.33, 1.0]
    """

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
    """Return `markevery` for about eight markers on a line, at places where the other lines have none.

    length: points of the line. lines: number of lines. name: of the line, one of `names`.

    Example:
        >>> marked(80, 2, "b", ["a", "b"])  # from point 5, every tenth
        (5, 10)
    """
    step = max(1, length // 8)
    return (list(names).index(name) * step // max(1, lines), step)


def drawable(values: Any) -> Any:
    """Return values with NaN, which is drawn as a gap, in place of infinities.

    Example:
        >>> drawable([1.0, np.inf])
        array([ 1., nan])
    """
    return np.where(np.isfinite(values), values, np.nan)


def angular_axis(ax: Axes) -> None:
    """Label the x axis with angular frequencies from 0 to pi, in rad per position.

    Example:
        >>> _, [ax] = panels()
        >>> angular_axis(ax)
        >>> ax.get_xlabel()
        'angular frequency (rad/position)'
    """
    ax.set_xlim(0, np.pi)
    ax.set_xticks(np.linspace(0, np.pi, 5), ["0", r"$\pi/4$", r"$\pi/2$", r"$3\pi/4$", r"$\pi$"])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("angular frequency (rad/position)")


def from_zero(ax: Axes) -> None:
    """Let the y axis begin at 0, and leave some room above the lines even if they hardly vary.

    Example:
        >>> _, [ax] = panels()
        >>> _ = ax.plot([5.0, 5.0])
        >>> from_zero(ax)
        >>> [round(float(end), 2) for end in ax.get_ylim()]
        [0.0, 5.28]
    """
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.03 * ax.dataLim.y1))


def legend(ax: Axes, of: str | None = None, **options: Any) -> None:
    """Draw a legend: inside the axes, or above them if it has more than four names.

    of: the name of a model, for the legend's title.

    Example:
        >>> _, [ax] = panels()
        >>> _ = ax.plot([0, 1], label="layer 1")
        >>> legend(ax, of="sasrec")
        >>> ax.get_legend().get_title().get_text()
        'SASRec'
    """
    if len(ax.get_legend_handles_labels()[1]) > MOST_INSIDE:
        options |= {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3, "handlelength": 1.8}
        options |= {"columnspacing": 0.8, "handletextpad": 0.5}
    ax.legend(title=of and title_of(of), title_fontsize=8, **options)


def layer_axis(ax: Axes, label: str) -> None:
    """Label the x axis with whole layers, and the y axis with `label`.

    Example:
        >>> _, [ax] = panels()
        >>> layer_axis(ax, "effective rank")
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('layer', 'effective rank')
    """
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("layer")
    ax.set_ylabel(label)
