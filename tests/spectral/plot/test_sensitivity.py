"""Sensitivity curves as they are drawn."""

import pytest
from matplotlib.figure import Figure
from simulated_sensitivity import RUNS, curve

from models.registry import MODELS
from models.results.sensitivity import sensitivity
from spectral import plot


@pytest.mark.parametrize("band", plot.BANDS)
def test_what_is_drawn_is_the_mean_and_the_band(band: str):
    ax = plot.sensitivity(curve(), metric="HR@20", band=band)
    rows = curve().values.query("metric == 'HR@20'")
    line, star, across = ax.get_lines()
    assert line.get_ydata().tolist() == rows["mean"].tolist() and line.get_xdata().tolist() == [0.1, 0.5, 0.9]
    assert star.get_xdata().tolist() == [0.9] and star.get_ydata() == pytest.approx(rows["mean"].iloc[2])
    assert across.get_ydata()[0] == pytest.approx(curve().baselines.query("metric == 'HR@20'")["mean"].iloc[0])
    ends = ax.collections[0].get_paths()[0].vertices[:, 1]
    low = rows["mean"] - rows["std"] if band == "std" else rows.low
    high = rows["mean"] + rows["std"] if band == "std" else rows.high
    assert ends.min() == pytest.approx(low.min()) and ends.max() == pytest.approx(high.max())


def test_one_seed_one_value_and_no_baseline_are_drawn_without_a_band():
    alone = sensitivity([run for run in RUNS if run.config["alpha"] == 0.9 and run.seed == 1], "alpha", 0.9)
    ax = plot.sensitivity(alone)
    assert len(ax.get_lines()) == 2 and not ax.patches
    assert not any(len(path.vertices) for path in ax.collections[0].get_paths())
    assert plot.sensitivity(curve(seeds=(1,))).get_lines()


def test_all_models_are_drawn_and_named():
    ax = plot.sensitivity(curve(models=tuple(name for name in MODELS if name != "bsarec")))
    assert len(ax.get_legend().get_texts()) == 1 + 1 + len(MODELS) - 1


def test_datasets_are_drawn_side_by_side_with_one_legend():
    figure = plot.sensitivity_panels({"a": curve(), "b": curve(seeds=(1,))})
    assert isinstance(figure, Figure) and len(figure.axes) == 4 and len(figure.legends) == 1
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "", ""]
    assert all(ax.get_legend() is None for ax in figure.axes)
    alone = plot.sensitivity_panels({"a": curve()})
    assert [ax.get_title() for ax in alone.axes] == ["", ""] and len(alone.legends) == 1


def test_wrong_requests_to_the_picture_are_refused():
    with pytest.raises(ValueError, match="metric must be one of HR@5"):
        plot.sensitivity(curve(), metric="HR@7")
    with pytest.raises(ValueError, match="band must be one of std, interval"):
        plot.sensitivity(curve(), band="sem")
    with pytest.raises(ValueError, match="at least one dataset"):
        plot.sensitivity_panels({})
