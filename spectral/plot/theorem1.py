"""The decay of Theorem 1, measured and predicted."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from matplotlib.transforms import ScaledTranslation

from spectral.palette import MODEL_NAMES, MODEL_STYLES, MOST_LABELS
from spectral.plot.figure import drawable, styled
from spectral.theorem1 import EXCEPTIONAL, Case, Theorem1

LOWEST_LOG10 = -16.0  # the lower end of the axis; below it there is only rounding
VIOLET = "#7F3C8D"  # in place of black, which predictions have
PREDICTED: dict[str, Any] = {
    "color": "black",
    "linestyle": ":",
    "linewidth": 1.0,
    "zorder": 3,
    "label": "_predicted",
}


@styled(height=3.2)
def theorem1(
    result: Theorem1 | Iterable[Case],
    *,
    label: str | None = None,
    steps: int | None = None,
    ax: Axes | None = None,
    floor: float = LOWEST_LOG10,
) -> Axes:
    """Draw HFC/LFC of A^t x against t, and over it the predicted decay |lambda_2|^t as a dotted line.

    Each matrix has its own colour and marker. Its exceptional x, with pi^T x = 0, which does not decay, is thin and
    dashed. More than
    eight matrices are only distinguished as causal or bidirectional. steps: the end of the x axis; by default where the
    slowest decay reaches 1e`floor`. label: the title, such as a model's name for panels side by side.

    Example:
        The ratio of this matrix halves at every step, so its log10 falls by 0.301:

        >>> from spectral.theorem1 import Attention
        >>> from spectral.theorem1 import theorem1 as check
        >>> ax = theorem1(check([Attention("mixing", [[0.75, 0.25], [0.25, 0.75]])]), steps=20)
        >>> round(float(np.diff(ax.lines[0].get_ydata())[-1]), 3)
        -0.301
    """
    assert ax is not None
    cases = list(result.cases if isinstance(result, Theorem1) else result)
    steps = steps or _steps_to_draw(cases, floor)
    lines = _matrix_styles(cases)
    for case in cases:
        ratio = drawable(case.log_ratio[: steps + 1] / math.log(10))
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
        ax.plot([], [], color="0.4", linestyle="--", linewidth=0.6, label=r"$x$ with $\pi^\top x = 0$")
    ax.set_ylim(floor, 4)
    ax.set_xlim(0, steps)
    ax.yaxis.set_major_locator(MultipleLocator(4))
    ax.set_xlabel("$t$")
    ax.set_ylabel(r"$\log_{10}\,\|\mathrm{HFC}[A^tx]\|/\|\mathrm{LFC}[A^tx]\|$")
    below = ax.transAxes + ScaledTranslation(0, -0.36, ax.figure.dpi_scale_trans)  # in inches: below the axis label
    if label:
        ax.set_title(MODEL_NAMES.get(label, label), fontsize=9)
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, 0), bbox_transform=below, ncols=2)
    return ax


def _matrix_name(case: Case) -> str:
    return case.name.removesuffix(EXCEPTIONAL)


def _matrix_styles(cases: list[Case]) -> dict[str, dict[str, Any]]:
    """Return how to draw the cases of each matrix: each in its own style if there are few, else one style per kind."""
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


def _steps_to_draw(cases: list[Case], floor: float) -> int:
    slopes = [case.predicted_slope for case in cases if not case.exceptional and case.predicted_slope < 0]
    slowest = max(slopes, default=-1.0)
    return int(min(max(floor * math.log(10) / slowest, 20), 200))
