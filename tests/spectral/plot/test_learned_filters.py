"""Learned filters as they are drawn."""

import drawn
import numpy as np
import pytest
from drawn import ON_AXES, Size
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral import plot
from spectral.learned_filters import LearnedFilters
from spectral.plot.figure import MOST_INSIDE


def test_figures_draw_what_was_learned():
    filters = drawn.learned_filters(3)
    ax = plot.learned_filters(filters)
    for row, line in enumerate(ax.get_lines()):
        np.testing.assert_allclose(line.get_ydata(), np.median(filters.gain[row], axis=-1))
    ax = plot.learned_filters_sorted(filters, label="beta", ax=Figure().add_subplot())
    np.testing.assert_allclose(ax.get_lines()[2].get_ydata(), np.sort(filters.gain[2, -1]))
    assert ax.get_ylabel() == "beta"
    maps = [plot.learned_filters_map(filters, 2, part).collections[0].get_array() for part in ("magnitude", "phase")]
    np.testing.assert_allclose(np.sort(maps[0], axis=0), np.sort(filters.gain_db[1].T, axis=0))
    both = 10 ** (maps[0] / 20) * np.exp(1j * maps[1])  # the same order in both parts
    assert all(np.isclose(both, row).all(1).any() for row in filters.filters[1].T)
    with pytest.raises(ValueError, match="magnitude or phase"):
        plot.learned_filters_map(filters, 1, "colour")


@pytest.mark.parametrize(("lowest", "shown"), [(0.0, (-40, 0)), (0.001, (-40, 0)), (0.1, (-20, 0))])
def test_one_gain_of_zero_leaves_the_colours_to_the_others(lowest: float, shown: tuple[float, float]):
    gains = np.array([[[1.0, 0.5], [0.5, lowest], [0.5, 0.5]]], dtype=complex)
    ax = plot.learned_filters_map(LearnedFilters(gains, positions=4))
    assert ax.collections[0].get_clim() == pytest.approx(shown)
    assert ax.collections[0].colorbar.extend == ("min" if lowest < 0.01 else "neither")
    assert plot.learned_filters_map(LearnedFilters(0 * gains, positions=4)).collections[0].get_clim()[1] == -400


@pytest.mark.parametrize("layers", [1, 4, 5, 16])
def test_bands_of_learned_filters_are_drawn_while_they_can_be_told_apart(layers: int):
    ax: Axes = ON_AXES["learned_filters"](Size(layers=layers))
    assert len(ax.get_lines()) == layers
    assert len(ax.collections) == (layers if layers <= MOST_INSIDE else 0)
