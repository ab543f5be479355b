"""Frequency responses as they are drawn."""

import numpy as np
import pytest
import torch

from spectral import frequency_response, plot


def response(layers: int = 2, heads: int = 1):
    generator = torch.Generator().manual_seed(0)
    return frequency_response(torch.randn(layers, 3, heads, 10, 10, generator=generator).softmax(-1))


@pytest.mark.parametrize("layers", [1, 2, 16])
@pytest.mark.parametrize("heads", [1, 4])
def test_response_is_drawn_for_every_layer_head_and_mean(layers, heads):
    measured = response(layers, heads)
    ax = plot.frequency_response(measured, label="sasrec")
    thick = [line for line in ax.get_lines() if line.get_linewidth() == 1.6]
    thin = [line for line in ax.get_lines() if line.get_linewidth() == 0.5]
    assert len(thick) == layers and len(thin) == (layers * heads if heads > 1 else 0)
    for line, gain in zip(thick, measured.head_mean.gain_db[:, 0], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), gain)
        np.testing.assert_array_equal(line.get_xdata(), measured.angular_frequency)
    legend = ax.get_legend()
    assert legend.get_title().get_text() == "SASRec" and len(legend.get_texts()) <= 8
    assert ax.get_xlim() == (0, np.pi) and "gain (dB)" in ax.get_ylabel()


def test_gains_of_minus_infinity_are_left_out_and_do_not_stretch_the_axis():
    ax = plot.frequency_response(frequency_response(torch.full((8, 8), 1 / 8, dtype=torch.float64)))
    assert -61 <= ax.get_ylim()[0] < 0
