"""Every model has a look of its own, and the same one everywhere."""

from itertools import combinations

import drawn
import numpy as np
from matplotlib.colors import to_rgb

from spectral import palette, plot

MODELS = list(palette.MODEL_STYLES)


def test_every_model_has_colour_marker_and_line_of_its_own():
    published = ["sasrec", "bsarec", "fmlprec", "duorec", "fearec", "bert4rec", "gru4rec", "caser"]
    assert [*published, "tvrec", "wearec", "slime4rec", "lowarec"] == MODELS
    assert set(palette.MODEL_STYLES) == set(MODELS) <= set(palette.MODEL_NAMES)
    for one, other in combinations(palette.MODEL_STYLES.values(), 2):
        assert one["marker"] != other["marker"]  # which is what grey leaves
        distance = np.abs(np.subtract(to_rgb(one["color"]), to_rgb(other["color"]))).sum()
        assert distance > 0.2


def test_a_model_looks_the_same_in_every_figure():
    alone = plot.singular_values({"bsarec": drawn.singular_values(0)}).get_lines()[0]
    among = plot.cosine_similarity({name: drawn.cosine_similarity(0) for name in MODELS}).get_lines()[1]
    for get in ("get_color", "get_marker", "get_linestyle", "get_label"):
        assert getattr(alone, get)() == getattr(among, get)()
