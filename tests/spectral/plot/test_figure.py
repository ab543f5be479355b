"""Figures of several results, and how a figure is saved with its data."""

import re

import pandas as pd
import pytest
from drawn import frequency_response

from models.errors import ConfigError
from models.files import RECORD
from spectral import plot


@pytest.mark.parametrize(("columns", "shape"), [(None, (1, 3)), (2, (2, 2)), (5, (1, 3))])
def test_results_are_drawn_side_by_side_with_one_y_axis_a_row(columns: int | None, shape: tuple[int, int]):
    results = {"sasrec": frequency_response(), "bsarec": frequency_response(), "of others": frequency_response()}
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


def test_one_legend_of_all_panels_stands_below_them():
    figure = plot.side_by_side(
        {"sasrec": frequency_response()} | {"mine": frequency_response()}, plot.frequency_response, one_legend=True
    )
    assert [ax.get_title() for ax in figure.axes] == ["SASRec", "mine"]
    assert [ax.get_legend() for ax in figure.axes] == [None, None] and len(figure.legends) == 1
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == len(set(names)) and "layer 1" in names


def test_saving_writes_the_picture_twice_and_the_data(tmp_path):
    figure = plot.frequency_response(frequency_response()).figure
    table = frequency_response().table()
    paths = plot.save(figure, tmp_path / "runs" / "fig2b", table)
    assert [path.name for path in paths] == ["fig2b.png", "fig2b.pdf", "fig2b.csv"]
    written = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert written == [RECORD, "fig2b.csv", "fig2b.pdf", "fig2b.png"]
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


def test_many_models_are_compared_in_small_panels_with_one_y_axis_one_legend_and_a_note_each():
    names = ["sasrec", "bsarec", "of others"]
    notes = {"bsarec": "a long note about what was found, which is broken into lines"}

    def draw(name, ax):
        ax.plot([0, names.index(name)], label="layer 1")
        ax.set(xlabel="frequency", ylabel="gain")

    figure = plot.small_multiples(names, draw, notes, columns=2)
    assert [ax.get_title() for ax in figure.axes] == ["SASRec", "BSARec", "of others"]
    label, *lines = figure.axes[1].get_xlabel().split("\n")
    assert label == "frequency" and " ".join(lines) == notes["bsarec"] and len(lines) > 1
    assert figure.axes[0].get_xlabel() == "frequency"
    assert [ax.get_ylabel() for ax in figure.axes] == ["gain", "", "gain"]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1 and figure.axes[0].get_ylim()[1] >= 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["layer 1"]
    without = plot.small_multiples(names, draw, columns=2)
    assert figure.get_figheight() > without.get_figheight()  # room for the note
    with pytest.raises(ValueError, match="at least one name"):
        plot.small_multiples([], draw)
