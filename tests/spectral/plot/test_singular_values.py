"""Singular values as they are drawn."""

import numpy as np
import pytest
from drawn import data_of
from matplotlib.colors import to_rgb

from spectral import LayerSpectra, palette, plot, singular_values

MODELS = list(palette.MODEL_STYLES)


def spectra(names):
    generator = np.random.default_rng(0)
    return {name: singular_values(generator.standard_normal((30, 12))) for name in names}


@pytest.mark.parametrize("names", [["caser"], MODELS, [*MODELS, "mine"], ["mine", "yours"]])
def test_spectra_of_one_or_many_models_are_drawn_as_measured(names):
    measured = spectra(names)
    drawn = data_of(plot.singular_values(measured))
    assert len(drawn) == len(names)
    for name in names:
        np.testing.assert_array_equal(drawn[palette.MODEL_NAMES.get(name, name)], measured[name].normalised)
    raw = data_of(plot.singular_values(measured, normalised=False))
    np.testing.assert_array_equal(raw[palette.MODEL_NAMES.get(names[0], names[0])], measured[names[0]].values)


def test_layers_of_one_model_are_drawn_from_dark_to_light():
    layers = LayerSpectra(dict(enumerate(spectra(range(17)).values())))
    ax = plot.singular_values(layers.layers)
    lightness = [np.mean(to_rgb(line.get_color())) for line in ax.get_lines()]
    assert len(lightness) == 17 and lightness[0] < lightness[-1]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "layer 0" and texts[-1] == "layer 16" and len(texts) == 5
