"""How many directions users occupy: singular values of their representations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from spectral.palette import styles_of
from spectral.plot.figure import drawable, legend, marked, styled
from spectral.plot.nulls import Nulls, null_band, null_lines
from spectral.singular_values import SingularValues


@styled()
def singular_values(
    spectra: Mapping[Any, SingularValues],
    *,
    nulls: Mapping[Any, Nulls[SingularValues]] | None = None,
    ax: Axes | None = None,
    normalised: bool = True,
    effective_rank: bool = False,
) -> Axes:
    """Draw singular value spectra on a logarithmic axis, one line per model (a name) or layer (a number).

    normalised: divide each spectrum by its largest value, which is necessary to compare different numbers of users.
    effective_rank: add the effective rank to the names in the legend. nulls: by the name of a spectrum and of the null,
    the spectra of its draws: thin grey lines, and for "gaussian" a grey band of all draws.

    Example:
        >>> from spectral import singular_values as measure
        >>> ax = singular_values({"sasrec": measure([[4.0, 0.0], [0.0, 1.0]])}, effective_rank=True)
        >>> ax.lines[0].get_ydata(), ax.lines[0].get_label()
        (array([1.  , 0.25]), 'SASRec (1.6)')
    """
    assert ax is not None
    styles = styles_of(spectra)
    for of_spectrum in (nulls or {}).values():
        curves = {
            null: np.stack([draw.normalised if normalised else draw.values for draw in draws])
            for null, draws in of_spectrum.items()
        }
        for null, values in curves.items():
            draw_null = null_band if null == "gaussian" else null_lines
            draw_null(ax, np.arange(1, values.shape[1] + 1), {null: values})
    for name, spectrum in spectra.items():
        values = spectrum.normalised if normalised else spectrum.values
        index = np.arange(1, len(values) + 1)
        rank = f" ({spectrum.effective_rank:.1f})" if effective_rank else ""
        ax.plot(
            index,
            drawable(values),
            **styles[name] | {"label": f"{styles[name]['label']}{rank}"},
            markevery=marked(len(values), len(spectra), name, spectra),
        )
    ax.set_yscale("log")
    ax.set_xlabel("index of the singular value")
    ax.set_ylabel("singular value / largest" if normalised else "singular value")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(ax)
    return ax
