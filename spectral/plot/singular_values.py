"""How many directions users occupy: singular values of their representations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectral.estimate import Estimate
from spectral.over_seeds import Spectrum
from spectral.palette import styles_of
from spectral.plot.bands import FAINTEST, ONE_MODEL, USERS, band, shade
from spectral.plot.figure import HEIGHT, drawable, grid, legend, marked, shared_legend, style, styled
from spectral.plot.nulls import Nulls, null_band, null_lines
from spectral.singular_values import SingularValues


@styled()
def singular_values(
    spectra: Mapping[Any, SingularValues],
    *,
    nulls: Mapping[Any, Nulls[SingularValues]] | None = None,
    intervals: Mapping[Any, Estimate] | None = None,
    ax: Axes | None = None,
    normalised: bool = True,
    effective_rank: bool = False,
) -> Axes:
    """Draw singular value spectra on a logarithmic axis, one line per model (a name) or layer (a number).

    normalised: divide each spectrum by its largest value, which is necessary to compare different numbers of users.
    effective_rank: add the effective rank to the names in the legend. nulls: by the name of a spectrum and of the null,
    the spectra of its draws: thin grey lines, and for "gaussian" a grey band of all draws. intervals: by the name of a
    spectrum, (r,) each, to shade. Of spectra with bootstrap samples the interval over users is shaded, if they are
    normalised.

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
        if normalised and spectrum.resampled is not None:
            shade(ax, index, *spectrum.band(), styles[name]["color"], USERS, ONE_MODEL)
        if name in (intervals or {}):
            many = len(spectra) > FAINTEST
            band(ax, index, (intervals or {})[name], styles[name]["color"], outer_only=many)
        ax.plot(
            index,
            drawable(values),
            **styles[name] | {"label": f"{styles[name]['label']}{rank}"},
            markevery=marked(len(values), len(spectra), name, spectra),
        )
    ax.set_yscale("log")
    if nulls:  # LayerNorm leaves the last value of an untrained model at a rounding error
        drawn = np.concatenate([each.normalised if normalised else each.values for each in spectra.values()])
        lowest = drawn[drawn > 0].min(initial=1.0)
        ax.set_ylim(bottom=lowest / 2)
    ax.set_xlabel("index of the singular value")
    ax.set_ylabel("singular value / largest" if normalised else "singular value")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(ax)
    return ax


def singular_values_panels(columns: Mapping[str, Mapping[str, Spectrum]]) -> Figure:
    """Draw the spectra over the runs of systems, with intervals and null models, each the mean of its draws.

    columns: a panel each, such as for each depth: by title, results by system. A single panel has no title. Every panel
    has a scale of its own, and null models may leave it. One legend below serves all.

    Example:
        >>> import torch
        >>> from models.registry import build, configure
        >>> from spectral.over_seeds import spectrum
        >>> from spectral.summary import summarise
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> found = spectrum([summarise(model, torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), {"model": "sasrec"})])
        >>> columns = {"2 layers": {"sasrec": found}, "16 layers": {"sasrec": found}}
        >>> [ax.get_title() for ax in singular_values_panels(columns).axes]
        ['2 layers', '16 layers']
    """
    figure, [axes] = grid([HEIGHT], len(columns))
    for (title, results), ax in zip(columns.items(), axes, strict=True):
        singular_values(
            {name: found.values for name, found in results.items()},
            nulls={name: found.mean_nulls for name, found in results.items()},
            intervals={name: found.normalised for name, found in results.items()},
            ax=ax,
        )
        with style():
            ax.set_title(title if len(columns) > 1 else "")
    shared_legend(figure)
    return figure
