"""How models change while they are trained: measures over epochs, and against the validation metric."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectral.dynamics import MONITOR, Dynamics
from spectral.palette import LINE_STYLES, styles_of
from spectral.plot.figure import COLUMN_WIDTH, grid, legend, marked, shared_legend, style, styled

LABELS = {
    "gain_nyquist": "gain at Nyquist (dB)",
    "gain_dc": "gain at DC (dB)",
    "hfc_share": "HFC / total energy",
    "effective_rank": "effective rank",
    "k95": "k95",
    "between_users": "cosine between users",
    "within_sequence": "cosine within sequences",
    "beta_50": r"median $\beta$",
    "loss": "training loss",
    MONITOR: f"validation {MONITOR}",
}
_STAR: dict[str, Any] = {"marker": "*", "markersize": 8, "linestyle": "", "zorder": 4}
_COLUMNS = 3


@styled()
def dynamics(
    dynamics: Dynamics, measure: str = "between_users", layer: int | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw a measure over epochs: the mean over a system's seeds, a band from the smallest to the largest seed.

    A star marks each run's best epoch, at the run's own value. layer: None for each system's last. Raises ConfigError
    for a measure or a layer that no run has.

    Example:
        >>> import pandas as pd
        >>> rows = [("sasrec", "42", epoch, 1, "hfc_share", 0.5 / (1 + epoch)) for epoch in range(3)]
        >>> rows += [("sasrec", "42", epoch, pd.NA, "NDCG@20", value) for epoch, value in enumerate([0.01, 0.03, 0.02])]
        >>> columns = ["system", "seed", "epoch", "layer", "measure", "value"]
        >>> ax = dynamics(Dynamics(pd.DataFrame(rows, columns=columns)), "hfc_share")
        >>> ax.get_ylabel(), ax.lines[1].get_xdata()  # the star
        ('HFC / total energy', array([1]))
    """
    assert ax is not None
    curves, single = dynamics.curves(measure, layer), dynamics.of(measure, layer)
    best = dynamics.best()
    for name, (line, star) in _looks(dynamics.systems).items():
        curve = curves[curves.system == name]
        if curve.empty:
            continue
        every = marked(len(curve), len(dynamics.systems), name, dynamics.systems)
        if curve.seeds.max() > 1:
            ax.fill_between(curve.epoch, curve.low, curve.high, color=line["color"], alpha=0.15, linewidth=0)
        ax.plot(curve.epoch, curve["mean"], **line, markevery=every)
        stars = single[single.system == name].merge(best, on=["system", "seed", "epoch"])
        ax.plot(stars.epoch, stars["value"], **star)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel(LABELS.get(measure, measure))
    legend(ax)
    return ax


@styled()
def dynamics_paths(
    dynamics: Dynamics,
    measure: str = "between_users",
    against: str = MONITOR,
    layer: int | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the path of each run from epoch to epoch: a measure on the x axis, a metric on the y axis.

    A star marks the best epoch. The arguments and errors are those of `dynamics`.

    Example:
        >>> import pandas as pd
        >>> rows = [("sasrec", "42", epoch, 1, "hfc_share", 0.5 / (1 + epoch)) for epoch in range(3)]
        >>> rows += [("sasrec", "42", epoch, pd.NA, "NDCG@20", value) for epoch, value in enumerate([0.01, 0.03, 0.02])]
        >>> columns = ["system", "seed", "epoch", "layer", "measure", "value"]
        >>> ax = dynamics_paths(Dynamics(pd.DataFrame(rows, columns=columns)), "hfc_share")
        >>> ax.lines[0].get_ydata()
        array([0.01, 0.03, 0.02])
    """
    assert ax is not None
    paths, best = dynamics.paths(measure, against, layer), dynamics.best()
    for name, (line, star) in _looks(dynamics.systems).items():
        runs = paths[paths.system == name].groupby("seed", sort=False)
        for place, (_, path) in enumerate(runs):
            shown = line if place == 0 else line | {"label": None}
            every = marked(len(path), len(dynamics.systems), name, dynamics.systems)
            ax.plot(path[measure], path[against], **shown, alpha=0.8, markersize=3, markevery=every)
            stars = path.merge(best, on=["system", "seed", "epoch"])
            ax.plot(stars[measure], stars[against], **star)
    ax.set_xlabel(LABELS.get(measure, measure))
    ax.set_ylabel(LABELS.get(against, against))
    legend(ax)
    return ax


def dynamics_panels(dynamics_: Dynamics, measures: Sequence[str], layer: int | None = None) -> Figure:
    """Return a figure with a panel for each measure over epochs, and one legend below.

    Example:
        >>> import pandas as pd
        >>> row = ("sasrec", "42", 0, pd.NA, "NDCG@20", 0.01)
        >>> columns = ["system", "seed", "epoch", "layer", "measure", "value"]
        >>> len(dynamics_panels(Dynamics(pd.DataFrame([row], columns=columns)), ["NDCG@20"]).axes)
        1
    """
    return _panels(measures, lambda measure, ax: dynamics(dynamics_, measure, layer, ax=ax))


def dynamics_paths_panels(
    dynamics_: Dynamics, measures: Sequence[str], against: str = MONITOR, layer: int | None = None
) -> Figure:
    """Return a figure with a panel for each measure against a metric, and one legend below.

    Example:
        >>> import pandas as pd
        >>> rows = [("sasrec", "42", 0, pd.NA, "NDCG@20", 0.01), ("sasrec", "42", 0, 1, "hfc_share", 0.5)]
        >>> columns = ["system", "seed", "epoch", "layer", "measure", "value"]
        >>> len(dynamics_paths_panels(Dynamics(pd.DataFrame(rows, columns=columns)), ["hfc_share"]).axes)
        1
    """
    return _panels(measures, lambda measure, ax: dynamics_paths(dynamics_, measure, against, layer, ax=ax))


def _panels(measures: Sequence[str], draw: Callable[[str, Axes], Axes]) -> Figure:
    columns = min(_COLUMNS, len(measures))
    count = -(-len(measures) // columns)
    height = 1.8 if count > 1 else 2.8  # the legend below takes as much of one row as of several
    figure, rows = grid([height] * count, columns, 2.3 if columns > 1 else COLUMN_WIDTH)
    axes = list(chain(*rows))
    with style():
        for measure, ax in zip(measures, axes, strict=False):
            draw(measure, ax)
        for ax in axes[len(measures) :]:
            ax.remove()
        shared_legend(figure)
    return figure


def _looks(systems: Iterable[str]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return how the line and the stars of each system look; those of neighbours differ without colour too."""
    looks = {}
    for place, (name, line) in enumerate(styles_of(systems).items()):
        filled = {"markerfacecolor": line["color"], "markeredgecolor": "black", "markeredgewidth": 0.5}
        open_ = {"markerfacecolor": "white", "markeredgecolor": line["color"], "markeredgewidth": 1.0}
        looks[name] = (
            line | {"linestyle": LINE_STYLES[place % len(LINE_STYLES)]},
            _STAR | (open_ if place % 2 else filled),
        )
    return looks
