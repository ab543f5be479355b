"""The verdicts on claims, by dataset."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from spectral.plot.figure import styled

if TYPE_CHECKING:
    from spectral.claims import Ledger

COLORS = {"reproduced": "#B8DDC9", "contradicted": "#E8A07A", "undecided": "#E3E3E3"}


@styled(height=5.0)
def claims(ledger: "Ledger", *, ax: Axes | None = None) -> Axes:
    """Draw the verdict of each claim (row) on each dataset (column), with the estimate; a dash where runs are missing.

    Example:
        >>> import pandas as pd
        >>> from spectral.claims import Ledger
        >>> rows = {"claim": ["a", "b"], "dataset": ["lastfm", ""], "estimate": [0.25, np.nan]}
        >>> ledger = Ledger(pd.DataFrame(rows | {"verdict": ["reproduced", "undecided"]}), "paper")
        >>> [text.get_text() for text in claims(ledger).texts]
        ['0.25', '-']
    """
    assert ax is not None
    names, datasets = (list(dict.fromkeys(ledger.rows[column])) for column in ("claim", "dataset"))
    for row in ledger.rows.itertuples():
        x, y = datasets.index(row.dataset), names.index(row.claim)
        ax.barh(y, 1, left=x, height=0.9, color=COLORS[row.verdict], edgecolor="white", label=f"_{row.verdict}")
        ax.text(x + 0.5, y, "-" if np.isnan(row.estimate) else f"{row.estimate:.2g}", ha="center", va="center")
    for verdict, color in COLORS.items():
        ax.bar(0, 0, color=color, label=verdict)
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xticks(np.arange(len(datasets)) + 0.5, [name or "any" for name in datasets], rotation=30, ha="right")
    ax.set_xlim(0, len(datasets))
    ax.grid(visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=3, handlelength=1, columnspacing=0.8)
    return ax
