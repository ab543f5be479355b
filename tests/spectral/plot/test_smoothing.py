"""Smoothness along positions as it is drawn."""

import numpy as np
import pytest
import torch

from spectral import plot, smoothing


@pytest.mark.parametrize("layers", [1, 2, 17])
def test_figures_draw_what_was_measured_of_every_layer(layers):
    results = {name: smoothing(torch.randn(layers, 3, 6, 4)) for name in ("bsarec", "sasrec")}
    drawn = {container.get_label(): container for container in plot.smoothing(results, "dc_share").containers}
    for name, label in (("bsarec", "BSARec"), ("sasrec", "SASRec")):
        np.testing.assert_allclose(drawn[label].lines[0].get_ydata(), results[name].dc_share)
    panels = plot.smoothing_panels(results).axes
    assert len(panels) == 6 and len({ax.get_ylabel() for ax in panels}) == 6
