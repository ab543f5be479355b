"""The architecture of a model, drawn from the steps that the model itself reports."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from models.architectures.diagram import Diagram
from models.layers.parts import Branch, Part
from spectral.plot.figure import styled

WIDTH, GAP = 3.3, 0.55  # of a box, and between two boxes, in units of a box's height
BEFORE, BESIDE = 0.2, 0.16  # how far before and beside the boxes a residual connection runs
FILLS = {"embedding": "#E8EEF4", "frequency": "#FBE6D4", "other": "#D9ECF7", "feed-forward": "#EEEEEE"}


@styled(height=3.9)
def diagram(diagram: Diagram, *, ax: Axes | None = None) -> Axes:
    """Draw a model from its input (at the bottom) to its scores, with the sizes of its steps.

    The frame is one block, which is repeated `num_layers` times. Lines beside the boxes are residual connections: they
    carry the input of a branch to the step that adds it.

    Source: Shin et al., AAAI 2024, Figure 4.

    Example:
        >>> from models.architectures.diagram import diagram_of
        >>> from models.registry import build, configure
        >>> ax = diagram(diagram_of(build(configure("bsarec", num_items=20, num_layers=2))))
        >>> "× 2" in [text.get_text() for text in ax.texts]
        True
    """
    assert ax is not None
    top = _chain(ax, diagram.embedding, 0.0, 0.0, "embedding")
    bottom = top - GAP / 2 + 0.15
    heights = [_branch(ax, branch, _column(index, diagram), top + 0.5) for index, branch in _numbered(diagram)]
    _line(ax, (0.0, bottom - 0.15), (0.0, top + 0.5 - BEFORE))
    join = max(heights) + 0.25
    for (index, branch), height in zip(_numbered(diagram), heights, strict=True):
        x = _column(index, diagram)
        ax.plot([0.0, x, x], [top + 0.5 - BEFORE, top + 0.5 - BEFORE, top + 0.5], color="0.3", linewidth=0.8, zorder=1)
        ax.plot([x, x, 0.0], [height - GAP, join, join], color="0.3", linewidth=0.8, zorder=1)
        if branch.weight:
            ax.text(x + 0.12, join - 0.32, branch.weight, va="center", ha="left", fontsize=7)
    if len(diagram.branches) > 1:
        ax.text(
            0.0, join, "+", ha="center", va="center", bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "lw": 0.8}
        )
    _line(ax, (0.0, join), (0.0, join + GAP))
    top = _chain(ax, diagram.feed_forward, 0.0, join + GAP, "feed-forward")
    half = max(abs(_column(index, diagram)) for index, _ in _numbered(diagram)) + WIDTH / 2 + 0.3
    ax.add_patch(
        Rectangle((-half, bottom), 2 * half, top - GAP / 2 - 0.15 - bottom, fill=False, linestyle="--", color="0.5")
    )
    ax.text(half + 0.12, (bottom + top) / 2, f"× {diagram.num_layers}", va="center", ha="left")
    top = _chain(ax, (diagram.output,), 0.0, top, "embedding", arrow=False)
    ax.set_xlim(-half - 0.1, half + 0.8)
    ax.set_ylim(-0.1, top - GAP + 0.1)
    ax.set_axis_off()
    return ax


def _numbered(diagram: Diagram) -> list[tuple[int, Branch]]:
    return list(enumerate(diagram.branches))


def _column(index: int, diagram: Diagram) -> float:
    """Return the x coordinate of the middle of a branch."""
    return (index - (len(diagram.branches) - 1) / 2) * (WIDTH + 0.5)


def _branch(ax: Axes, branch: Branch, x: float, y: float) -> float:
    fill = "frequency" if any("pass" in part.name or "filter" in part.name for part in branch.parts) else "other"
    return _chain(ax, branch.parts, x, y, fill)


def _chain(ax: Axes, parts: tuple[Part, ...], x: float, y: float, fill: str, arrow: bool = True) -> float:
    """Draw boxes upwards from y, with arrows between them and after the last, and residual connections beside them.

    Returns where the next box begins.
    """
    start = y - BEFORE
    for index, part in enumerate(parts):
        box = FancyBboxPatch(
            (x - WIDTH / 2, y),
            WIDTH,
            1,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=FILLS[fill],
            linewidth=0.8,
        )
        ax.add_patch(box)
        if part.adds_input:
            _residual(ax, x, start, y + 0.5)
            start = y + 1 + GAP - BEFORE
        if part.detail:
            ax.text(x, y + 0.68, part.name, ha="center", va="center", fontsize=7.5)
            ax.text(x, y + 0.27, part.detail, ha="center", va="center", fontsize=6.5, color="0.25")
        else:
            ax.text(x, y + 0.5, part.name, ha="center", va="center", fontsize=7.5)
        y += 1 + GAP
        if arrow or index + 1 < len(parts):
            _line(ax, (x, y - GAP), (x, y), arrow=True)
    return y


def _residual(ax: Axes, x: float, start: float, end: float) -> None:
    """Draw a residual connection from below a branch at x, around its boxes, to the side of the box that adds it."""
    outside = -1 if x < 0 else 1
    beside = x + outside * (WIDTH / 2 + BESIDE)
    ax.plot([x, beside, beside], [start, start, end], color="0.3", linewidth=0.8, zorder=1, label="_residual")
    _line(ax, (beside, end), (x + outside * WIDTH / 2, end), arrow=True)


def _line(ax: Axes, start: tuple[float, float], end: tuple[float, float], arrow: bool = False) -> None:
    style = {"arrowstyle": "-|>" if arrow else "-", "color": "0.3", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=end, xytext=start, arrowprops=style | {"mutation_scale": 6}, zorder=1)
