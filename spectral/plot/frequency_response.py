"""The gain of attention at each frequency."""

from matplotlib.axes import Axes

from spectral.filter_response import FrequencyResponse
from spectral.palette import layer_styles
from spectral.plot.figure import drawable, legend, styled
from spectral.plot.response import LOWEST_DB, gain_axis, layer_lines
from spectral.response import decibels


@styled()
def frequency_response(
    response: FrequencyResponse, *, label: str | None = None, ax: Axes | None = None, floor: float = LOWEST_DB
) -> Axes:
    """Draw the gain of attention in dB against angular frequency: thin lines for heads, thick ones for layer means.

    With bootstrap samples of the users, the interval that holds 95% of them is shaded. The dotted line is 3 dB below
    DC: a curve crosses it at its cutoff. label: written into the axes, such as a model's name for panels side by side.
    floor: the lower end of the axis, in dB.

    Example:
        Averaging two neighbours is a low-pass filter. The lines are the layer, and the dotted one.

        >>> import torch
        >>> from spectral import frequency_response as measure
        >>> ax = frequency_response(measure((torch.eye(8) + torch.eye(8).roll(1, dims=1)) / 2), label="sasrec")
        >>> len(ax.lines), ax.get_ylabel(), ax.lines[0].get_ydata()[:3].round(2) + 0.0
        (2, 'gain (dB)', array([ 0.  , -0.69, -3.01]))
    """
    assert ax is not None
    layers = layer_styles(response.layers)
    mean = response.head_mean
    if response.gain.shape[1] > 1:
        for row, layer in enumerate(response.layers):
            for head in response.gain_db[row]:
                ax.plot(
                    response.angular_frequency, drawable(head), color=layers[layer]["color"], linewidth=0.5, alpha=0.6
                )
    if mean.resampled is not None:
        low, high = (drawable(decibels(end)) for end in mean.band())
        for row, layer in enumerate(response.layers):
            shade = {"color": layers[layer]["color"], "alpha": 0.25, "linewidth": 0}
            ax.fill_between(response.angular_frequency, low[row, 0], high[row, 0], **shade)
    layer_lines(ax, response, mean.gain_db[:, 0])
    gain_axis(ax, response.gain_db, floor, "gain (dB)")
    legend(ax, label)
    return ax
