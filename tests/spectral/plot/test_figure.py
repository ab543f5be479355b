"""Figures: what is drawn is what was measured, on the Axes given, and nothing else changes."""

import re
import subprocess
import sys
from functools import partial
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from drawn import ON_AXES, Size
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from models.errors import ConfigError
from spectral import (
    CosineSimilarity,
    LayerSpectra,
    frequency_response,
    palette,
    plot,
    singular_values,
    theorem1,
)
from spectral.theorem1 import Attention, random_attentions

MODELS = list(palette.MODEL_STYLES)


def response(layers: int = 2, heads: int = 1):
    generator = torch.Generator().manual_seed(0)
    return frequency_response(torch.randn(layers, 3, heads, 10, 10, generator=generator).softmax(-1))


def spectra(names):
    generator = np.random.default_rng(0)
    return {name: singular_values(generator.standard_normal((30, 12))) for name in names}


def similarity(layers: int = 3):
    return CosineSimilarity(np.arange(layers), np.linspace(0.1, 0.5, layers), np.linspace(0.2, 0.9, layers), 30, 20)


each_figure = pytest.mark.parametrize("draw", [partial(draw, Size()) for draw in ON_AXES.values()], ids=ON_AXES)


def data_of(ax: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_ydata(), float) for line in ax.get_lines()}


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


def test_importing_the_package_does_not_import_what_takes_long():
    slow = ("matplotlib", "torchmetrics", "pandas", "scipy")
    code = f"import sys, spectral; print([name for name in {slow} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_model_has_colour_marker_and_line_of_its_own():
    assert MODELS == ["sasrec", "bsarec", "fmlprec", "duorec", "fearec", "bert4rec", "gru4rec", "caser"]
    assert set(palette.MODEL_STYLES) == set(MODELS) <= set(palette.MODEL_NAMES)
    for one, other in combinations(palette.MODEL_STYLES.values(), 2):
        assert one["marker"] != other["marker"]  # which is what grey leaves
        distance = np.abs(np.subtract(to_rgb(one["color"]), to_rgb(other["color"]))).sum()
        assert distance > 0.2


@pytest.mark.parametrize("names", [["caser"], MODELS, [*MODELS, "mine"], ["mine", "yours"]])
def test_spectra_of_one_or_many_models_are_drawn_as_measured(names):
    measured = spectra(names)
    drawn = data_of(plot.singular_values(measured))
    assert len(drawn) == len(names)
    for name in names:
        np.testing.assert_array_equal(drawn[palette.MODEL_NAMES.get(name, name)], measured[name].normalised)
    raw = data_of(plot.singular_values(measured, normalised=False))
    np.testing.assert_array_equal(raw[palette.MODEL_NAMES.get(names[0], names[0])], measured[names[0]].values)


def test_a_model_looks_the_same_in_every_figure():
    alone = plot.singular_values(spectra(["bsarec"])).get_lines()[0]
    among = plot.cosine_similarity({name: similarity() for name in MODELS}).get_lines()[1]
    for get in ("get_color", "get_marker", "get_linestyle", "get_label"):
        assert getattr(alone, get)() == getattr(among, get)()


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


def test_layers_of_one_model_are_drawn_from_dark_to_light():
    layers = LayerSpectra(dict(enumerate(spectra(range(17)).values())))
    ax = plot.singular_values(layers.layers)
    lightness = [np.mean(to_rgb(line.get_color())) for line in ax.get_lines()]
    assert len(lightness) == 17 and lightness[0] < lightness[-1]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "layer 0" and texts[-1] == "layer 16" and len(texts) == 5


def test_similarity_is_drawn_over_whole_layers():
    measured = similarity(17)
    ax = plot.cosine_similarity({"sasrec": measured}, kind="within_sequence")
    np.testing.assert_array_equal(data_of(ax)["SASRec"], measured.within_sequence)
    assert all(tick == int(tick) for tick in ax.get_xticks())
    both = data_of(plot.cosine_similarity_kinds("mine", measured))
    np.testing.assert_array_equal(both["between users"], measured.between_users)
    np.testing.assert_array_equal(both["within a sequence"], measured.within_sequence)
    with pytest.raises(ValueError, match="between_users, within_sequence"):
        plot.cosine_similarity({"sasrec": measured}, kind="users")


def test_ring_shows_the_eigenvectors_of_the_ring():
    ax = plot.ring_graph(8, (0, 3))
    tips = np.concatenate(
        [line.get_xydata() for line in ax.get_lines() if line.get_markersize() == 3.2 and len(line.get_xydata())]
    )
    first, second = tips[tips[:, 0] < 1.6], tips[tips[:, 0] >= 1.6] - [3.2, 0]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.42)  # DC: alike everywhere
    values = (np.linalg.norm(second, axis=1) - 1) / 0.42
    np.testing.assert_allclose(np.sort(values), np.sort(np.cos(2 * np.pi * 3 * np.arange(8) / 8)), atol=1e-12)
    with pytest.raises(ValueError, match=r"frequencies must lie in 0\.\.4"):
        plot.ring_graph(8, (5,))


@pytest.mark.parametrize(("columns", "shape"), [(None, (1, 3)), (2, (2, 2)), (5, (1, 3))])
def test_results_are_drawn_side_by_side_with_one_y_axis_a_row(columns: int | None, shape: tuple[int, int]):
    results = {"sasrec": response(), "bsarec": response(), "of others": response()}
    figure = plot.side_by_side(results, plot.frequency_response, height=2.0, columns=columns)
    rows, across = shape
    assert figure.get_size_inches() == pytest.approx([across * plot.COLUMN_WIDTH, rows * 2.0])
    assert [ax.get_legend().get_title().get_text() for ax in figure.axes] == ["SASRec", "BSARec", "of others"]
    assert [bool(ax.get_ylabel()) for ax in figure.axes] == [place % across == 0 for place in range(3)]
    assert figure.axes[0].get_shared_y_axes().joined(*figure.axes[:2])
    assert all(ax.get_xlabel() for ax in figure.axes)
    apart = plot.side_by_side(results, plot.frequency_response, columns=columns, share_y=False).axes
    assert not apart[0].get_shared_y_axes().joined(*apart[:2]) and all(ax.get_ylabel() for ax in apart)
    with pytest.raises(ValueError, match="at least one result"):
        plot.side_by_side({}, plot.frequency_response)


def test_decay_is_drawn_with_its_prediction_over_it():
    checked = theorem1(random_attentions([6], causal_length=5))
    ax = plot.theorem1(checked, steps=40)
    lines = {line.get_label(): line for line in ax.get_lines()}
    ratio = lines["random, N = 6"].get_ydata()
    np.testing.assert_allclose(ratio, checked.cases[0].log_ratio[:41] / np.log(10))
    predicted = [line for line in ax.get_lines() if line.get_label() == "_predicted"]
    assert len(predicted) == 2  # not for the exceptional ones
    np.testing.assert_allclose(np.diff(predicted[0].get_ydata()) * np.log(10), checked.cases[0].predicted_slope)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["random, N = 6", "random, causal, N = 5", r"predicted, $|\lambda_2|^t$", "exceptional $x$"]


def test_many_matrices_are_told_apart_by_kind_only():
    checked = theorem1(random_attentions([5, 6, 7, 8, 9, 10, 11, 12, 13], causal_length=5))
    ax = plot.theorem1(checked.cases)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[:2] == ["bidirectional", "causal"] and len(texts) == 4


def test_constant_decay_can_be_drawn():
    identity = theorem1([Attention("identity", np.eye(4)), Attention("uniform", np.full((4, 4), 0.25))])
    assert plot.theorem1(identity).get_xlim()[1] >= 20


def test_saving_writes_the_picture_twice_and_the_data(tmp_path):
    figure = plot.frequency_response(response()).figure
    table = response().table()
    paths = plot.save(figure, tmp_path / "runs" / "fig2b", table)
    assert [path.name for path in paths] == ["fig2b.png", "fig2b.pdf", "fig2b.csv"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["fig2b.csv", "fig2b.pdf", "fig2b.png"]
    pd.testing.assert_frame_equal(
        pd.read_csv(paths[2]).drop(columns="head"), table.drop(columns="head").reset_index(drop=True)
    )
    width = int.from_bytes(paths[0].read_bytes()[16:20], "big")  # of the PNG header
    assert width == pytest.approx(3.33 * 200, abs=1)
    pdf = paths[1].read_bytes()
    assert re.search(rb"/Subtype\s*/CIDFontType2|/Subtype\s*/TrueType|/Subtype\s*/Type0", pdf)
    assert not re.search(rb"/Subtype\s*/Type3", pdf)


def test_saving_twice_gives_the_same_bytes_and_only_the_formats_asked_for(tmp_path):
    for folder in ("a", "b"):
        plot.save(plot.ring_graph().figure, tmp_path / folder / "fig2a", formats=["pdf", "png"])
    for kind in ("pdf", "png"):
        assert (tmp_path / "a" / f"fig2a.{kind}").read_bytes() == (tmp_path / "b" / f"fig2a.{kind}").read_bytes()
    assert not (tmp_path / "a" / "fig2a.csv").exists()


def test_names_with_dots_are_kept(tmp_path):
    (path,) = plot.save(plot.ring_graph().figure, tmp_path / "alpha0.9", formats=["png"])
    assert path.name == "alpha0.9.png"


@pytest.mark.parametrize("formats", [["gif"], [], ["png", "svg"]])
def test_unknown_formats_are_refused_before_anything_is_written(tmp_path, formats):
    with pytest.raises(ConfigError, match="choose from png, pdf, csv"):
        plot.save(plot.ring_graph().figure, tmp_path / "figure", formats=formats)
    assert list(tmp_path.iterdir()) == []


def test_panels_share_their_axis_and_style():
    figure, axes = plot.panels(2)
    assert figure.get_figwidth() == pytest.approx(6.66) and len(axes) == 2
    assert axes[0].get_shared_y_axes().joined(*axes)
    assert not axes[0].spines["top"].get_visible()
