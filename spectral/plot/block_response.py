"""The gain of whole layers at each frequency."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.block_response import BlockResponse
from spectral.palette import layer_styles
from spectral.plot.bands import ONE_MODEL, USERS, shade
from spectral.plot.figure import legend, panels, styled
from spectral.plot.nulls import Nulls, null_lines
from spectral.plot.response import LOWEST_DB, gain_axis, layer_lines


@styled()
def block_response(
    response: BlockResponse,
    *,
    label: str | None = None,
    at: str = "all",
    nulls: Nulls[BlockResponse] | None = None,
    ax: Axes | None = None,
    floor: float = LOWEST_DB,
) -> Axes:
    """Draw the gain of whole layers relative to that of a constant signal, in dB, against angular frequency.

    at: "all" positions of the output, or only the "last". nulls: by name, the responses of each draw of a null model,
    drawn in thin grey. With bootstrap samples of the users their 95% interval is shaded, at all positions. `label`, the
    dotted line and `floor` are as in `frequency_response`. Raises ValueError for another `at`.

    Example:
        >>> import numpy as np
        >>> gain = np.array([[1.0, 0.5, 0.1]])
        >>> response = BlockResponse(gain=gain, last_gain=gain, positions=4, users=1, layers=(1,), probes=8)
        >>> ax = block_response(response, label="sasrec")
        >>> ax.lines[0].get_ydata().round(2)  # dB
        array([  0.  ,  -6.02, -20.  ])
    """
    assert ax is not None
    if at not in ("all", "last"):
        raise ValueError(f"at must be all or last, got {at!r}")
    name = "relative_db" if at == "all" else "last_relative_db"
    gain_db = getattr(response, name)
    if at == "all" and response.resampled is not None:
        low, high = response.band()
        for row, style in enumerate(layer_styles(response.layers).values()):
            shade(ax, response.angular_frequency, low[row], high[row], style["color"], USERS, ONE_MODEL)
    layer_lines(ax, response, gain_db)
    curves = {null: np.concatenate([getattr(draw, name) for draw in draws]) for null, draws in (nulls or {}).items()}
    null_lines(ax, response.angular_frequency, curves)
    gain_axis(ax, np.concatenate([gain_db, *curves.values()]), floor, "gain relative to DC (dB)")
    legend(ax, label)
    return ax


def block_response_panels(response: BlockResponse, nulls: Nulls[BlockResponse] | None = None) -> Figure:
    """Draw the gain at all positions of the output, and at the last one. nulls: as in `block_response`.

    Example:
        >>> gain = np.array([[1.0, 0.5, 0.1]])
        >>> response = BlockResponse(gain=gain, last_gain=gain, positions=4, users=1, layers=(1,), probes=8)
        >>> [ax.get_legend().get_title().get_text() for ax in block_response_panels(response).axes]
        ['all positions', 'last position']
    """
    figure, axes = panels(2)
    for ax, at in zip(axes, ("all", "last"), strict=True):
        block_response(response, at=at, nulls=nulls, label=f"{at} position{'s' * (at == 'all')}", ax=ax)
        ax.label_outer()
    return figure
