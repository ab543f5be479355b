"""What the checks of a model found."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from spectral.integrity import Integrity
from spectral.plot.figure import styled

# By what the architecture promises and whether it holds: the word of the command, and the colour of its cell.
VERDICTS: dict[tuple[bool, bool | None], tuple[str, str]] = {
    (True, True): ("yes", "#B8DDC9"),
    (True, False): ("NO", "#E8A07A"),
    (False, True): ("yes", "#E3E3E3"),
    (False, False): ("no", "#E3E3E3"),
}
UNKNOWN = ("-", "white")  # a value without a verdict, or a check that could not be made


@styled(height=2.6)
def integrity(result: Integrity, *, ax: Axes | None = None) -> Axes:
    """Draw the verdict of each check: green for a promise that is kept, orange for one that is broken, grey for others.

    Example:
        >>> from models.integrity import Check
        >>> kept = Check("finite", True, True, 0.0, [], "all are finite")
        >>> ax = integrity(Integrity((kept, Check("popularity", False, None, 0.4, [], "of the scores"))))
        >>> [text.get_text() for text in ax.texts]
        ['yes', '0.4']
    """
    assert ax is not None
    names = [check.name for check in result]
    for row, check in enumerate(result):
        word, color = UNKNOWN if check.passes is None else VERDICTS[check.claimed, check.passes]
        if check.passes is None and check.value is not None:
            word = f"{check.value:.2g}"
        look: dict[str, Any] = {"color": color, "edgecolor": "white", "height": 0.9}
        ax.barh(row, 1, **look)
        ax.text(0.5, row, word, ha="center", va="center")
    ax.set_yticks(np.arange(len(names)), [name.replace("_", " ") for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xticks([])
    ax.grid(visible=False)
    return ax
