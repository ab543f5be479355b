"""The gain of attention at each frequency: what leaves at any frequency, and what stays at its own."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.estimate import Estimate
from spectral.filter_response import FrequencyResponse
from spectral.over_seeds import Gains
from spectral.palette import layer_styles, title_of
from spectral.plot.bands import ONE_MODEL, USERS, band, shade
from spectral.plot.figure import HEIGHT, drawable, grid, legend, shared_legend, style, styled
from spectral.plot.nulls import Nulls, null_lines
from spectral.plot.response import LOWEST_DB, gain_axis, layer_lines
from spectral.response import decibels

LABELS = {
    "gain": "gain (dB)\nleaves, at any frequency",
    "self_gain": "self-gain (dB)\nstays at its frequency",
}


@styled()
def frequency_response(
    response: FrequencyResponse,
    *,
    of: str = "gain",
    nulls: Nulls[FrequencyResponse] | None = None,
    interval: Estimate | None = None,
    label: str | None = None,
    ax: Axes | None = None,
    floor: float = LOWEST_DB,
) -> Axes:
    """Draw a gain of attention in dB against angular frequency: thin lines for heads, thick ones for layer means.

    of: "gain", what leaves at any frequency when a unit wave enters, or "self_gain", what stays at its frequency. With
    bootstrap samples of the users, the interval that holds 95% of their gains is shaded. The dotted line is 3 dB below
    DC: a curve crosses it at its cutoff. nulls: by name, the responses of each draw of a null model, drawn in thin
    grey. interval: (L, F), of the layers' means in dB over users and seeds, shaded instead of that of the users.
    label: written into the axes, such as a model's name for panels side by side. floor: the lower end of the axis, in
    dB. Raises ValueError for another `of`.

    Example:
        Averaging two neighbours is a low-pass filter. The lines are the layer, and the dotted one.

        >>> import torch
        >>> from spectral import frequency_response as measure
        >>> ax = frequency_response(measure((torch.eye(8) + torch.eye(8).roll(1, dims=1)) / 2), label="sasrec")
        >>> len(ax.lines), ax.get_ylabel()[:9], ax.lines[0].get_ydata()[:3].round(2) + 0.0
        (2, 'gain (dB)', array([ 0.  , -0.69, -3.01]))
    """
    assert ax is not None
    if of not in LABELS:
        raise ValueError(f"of must be one of {', '.join(LABELS)}, got {of!r}")
    gain_db = getattr(response, f"{of}_db")
    layers = layer_styles(response.layers)
    mean = response.head_mean
    if response.gain.shape[1] > 1:
        for row, layer in enumerate(response.layers):
            for head in gain_db[row]:
                ax.plot(
                    response.angular_frequency, drawable(head), color=layers[layer]["color"], linewidth=0.5, alpha=0.6
                )
    if interval is not None:
        for row, layer in enumerate(response.layers):
            band(ax, response.angular_frequency, interval, layers[layer]["color"], row)
    elif of == "gain" and mean.resampled is not None:
        low, high = (decibels(end)[:, 0] for end in mean.band())
        for row, layer in enumerate(response.layers):
            shade(ax, response.angular_frequency, low[row], high[row], layers[layer]["color"], USERS, ONE_MODEL)
    layer_lines(ax, response, getattr(mean, f"{of}_db")[:, 0])
    curves = {
        name: [curve for draw in draws for curve in getattr(draw.head_mean, f"{of}_db")[:, 0]]
        for name, draws in (nulls or {}).items()
    }
    null_lines(ax, response.angular_frequency, curves)
    gain_axis(ax, np.stack([gain_db.min((0, 1)), *chain(*curves.values())]), floor, LABELS[of])
    legend(ax, label)
    return ax


def frequency_response_panels(
    responses: Mapping[str, FrequencyResponse | Gains], nulls: Mapping[str, Nulls[FrequencyResponse]] | None = None
) -> Figure:
    """Draw what leaves attention (above) and what stays at its frequency (below), a column for each model.

    responses: by model name; or gains over runs, which bring their intervals and null models. nulls: by model name,
    what `frequency_response` takes. One legend below serves all.

    Example:
        >>> import torch
        >>> from spectral import frequency_response as measure
        >>> figure = frequency_response_panels({"sasrec": measure(torch.eye(8)), "bsarec": measure(torch.eye(8))})
        >>> [ax.get_title() for ax in figure.axes]
        ['SASRec', 'BSARec', '', '']
    """
    figure, rows = grid([HEIGHT, HEIGHT], len(responses), share_y=True)
    for of, row in zip(LABELS, rows, strict=True):
        for (name, found), ax in zip(responses.items(), row, strict=True):
            if isinstance(found, Gains):
                interval = getattr(found, f"{of}_db")
                frequency_response(found.response, of=of, nulls=found.nulls, interval=interval, ax=ax)
            else:
                frequency_response(found, of=of, nulls=(nulls or {}).get(name), ax=ax)
            if ax is not row[0]:
                ax.set_ylabel("")
            if row is rows[0]:
                with style():
                    ax.set_title(title_of(name))
    shared_legend(figure)
    return figure
