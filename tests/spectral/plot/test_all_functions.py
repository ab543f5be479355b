"""Drawing functions of one and of many models and layers: on any Axes, without traces, with nothing covered."""

import sys
from functools import partial
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn import FIGURES, ON_AXES, Size
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from spectral import plot
from spectral.plot.figure import MOST_INSIDE

SIZES = {
    "one of everything": Size(models=1, layers=1, heads=1, resamples=0, seeds=1),
    "no bands": Size(resamples=0, seeds=1),
    "eight models": Size(models=8),
    "eight layers": Size(layers=8),
    "sixteen layers": Size(layers=16, heads=4),
    "many of both": Size(models=8, layers=16),
}

each_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
each_function = pytest.mark.parametrize("name", ON_AXES)
each_picture = pytest.mark.parametrize("name", [*ON_AXES, *FIGURES])


def figure_of(name: str, size: Size) -> Figure:
    return FIGURES[name](size) if name in FIGURES else ON_AXES[name](size).figure


each_figure = pytest.mark.parametrize("draw", [partial(draw, Size()) for draw in ON_AXES.values()], ids=ON_AXES)


@each_size
@each_function
def test_the_axes_of_a_caller_are_drawn_on_and_nothing_else_changes(name: str, size: Size):
    with mpl.rc_context({"font.size": 13, "axes.grid": False}):
        figure, axes = plt.subplots(1, 2)
        try:
            before, open_before = dict(mpl.rcParams), plt.get_fignums()
            assert ON_AXES[name](size, ax=axes[1]) is axes[1]
            assert axes[1].has_data() and not axes[0].has_data()
            assert dict(mpl.rcParams) == before and plt.get_fignums() == open_before
            assert plt.gcf() is figure
        finally:
            plt.close(figure)


@each_size
@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_several_axes_leave_nothing_behind(name: str, size: Size):
    before, open_before = dict(mpl.rcParams), plt.get_fignums()
    figure = FIGURES[name](size)
    figure.canvas.draw()
    assert dict(mpl.rcParams) == before and plt.get_fignums() == open_before
    assert all(ax.has_data() for ax in figure.axes)


@each_size
@each_picture
def test_nothing_is_cut_off_or_covered(name: str, size: Size):
    figure = figure_of(name, size)
    figure.canvas.draw()
    for ax in figure.axes:
        assert not ax.axison or (ax.get_xlabel() or ax.get_ylabel() or ax.get_yticklabels())
        box = ax.get_tightbbox()
        assert box.x0 >= -1 and box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        if ax.get_legend() is not None and len(ax.get_legend().get_texts()) > MOST_INSIDE:
            assert not ax.bbox.shrunk(0.99, 0.99).overlaps(ax.get_legend().get_window_extent())
    for one, other in combinations([ax for ax in figure.axes if ax.axison], 2):
        assert not one.bbox.overlaps(other.bbox)


@pytest.mark.parametrize(
    "name", ["singular_values", "cosine_similarity", "smoothing", "attention_statistics_rollout", "user_frequency"]
)
def test_eight_models_are_named_and_told_apart_in_colour_and_in_grey(name: str):
    ax = ON_AXES[name](Size(models=8))
    assert len({text.get_text() for text in ax.get_legend().get_texts()}) == 8
    lines = [line for line in ax.get_lines() if line.get_marker() not in ("None", "")]
    assert len(lines) == len({line.get_marker() for line in lines}) == 8
    for one, other in combinations(lines, 2):
        assert np.abs(np.subtract(to_rgb(one.get_color()), to_rgb(other.get_color()))).sum() > 0.2


@pytest.mark.parametrize("name", ["attention_statistics_panels", "sensitivity_panels", "smoothing_panels"])
@pytest.mark.parametrize("models", [1, 4, 5, 8])
def test_panels_of_the_same_models_name_them_once(name: str, models: int):
    figure = FIGURES[name](Size(models=models))
    assert [ax for ax in figure.axes if ax.get_legend() is not None] == []
    (legend,) = figure.legends
    assert len(legend.get_texts()) == models + (name == "sensitivity_panels")  # whose star is named as well


@pytest.mark.parametrize(
    "name", ["attention_statistics", "user_frequency", "learned_filters_sorted", "learned_filters"]
)
def test_axes_from_zero_have_room_above_what_hardly_varies(name: str):
    ax = ON_AXES[name](Size(models=1, layers=1, heads=1))
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] >= 1.03 * ax.dataLim.y1


@pytest.mark.parametrize("name", [*ON_AXES, *FIGURES])
def test_a_picture_is_named_after_the_module_that_it_is_in(name: str):
    module = getattr(plot, name).__module__.removeprefix("spectral.plot.")
    assert name == module or name.startswith(f"{module}_")


@each_figure
def test_axes_that_are_given_are_drawn_on_and_returned(draw):
    ax = Figure().add_subplot()
    assert draw(ax=ax) is ax and ax.has_data()


@each_figure
def test_without_axes_a_new_figure_of_one_column_is_made_outside_of_pyplot(draw):
    ax = draw()
    assert isinstance(ax, Axes) and ax.get_title() == ""
    assert ax.figure.get_figwidth() == 3.33
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@each_figure
def test_nothing_global_changes(draw, tmp_path):
    before = dict(mpl.rcParams)
    plot.save(draw().figure, tmp_path / "figure")
    assert dict(mpl.rcParams) == before
