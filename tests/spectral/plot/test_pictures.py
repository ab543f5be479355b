"""Every drawing function against its picture in tests/baseline.

What is compared is the ink, not the fonts: without text, at fixed places, two builds of matplotlib and FreeType draw
the same, while a curve that moves by a twentieth of its axis is beyond the tolerance. What the text says is tested in
the other files of this folder. After a change that is meant, draw the pictures anew, and look at them before they are
committed:

    pytest tests/spectral/plot/test_pictures.py -n0 --mpl-generate-path=tests/baseline
"""

import numpy as np
import pytest
from drawn import FIGURES, ON_AXES, Size
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.testing.compare import calculate_rms
from matplotlib.text import Text
from repository import ROOT

from spectral import plot

NO_PICTURE = {"check_formats", "grid", "panels", "save", "side_by_side", "small_multiples", "style"}
BASELINE = ROOT / "tests/baseline"
DPI, TOLERANCE = 60, 2


def without_text(figure: Figure) -> Figure:
    """The figure without what depends on the size of letters: text, legends, and a layout that makes room for them."""
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.tick_params(which="both", labelbottom=False, labelleft=False, labelright=False)
    words = [text for text in figure.findobj(Text) if text.get_text()]  # an arrow is a text that says nothing
    for artist in (*words, *figure.findobj(Legend)):
        artist.set_visible(False)
    return figure


def drawing_of(name: str) -> Figure:
    return without_text(FIGURES[name](Size()) if name in FIGURES else ON_AXES[name](Size()).figure)


@pytest.mark.mpl_image_compare(style="default", savefig_kwargs={"dpi": DPI}, tolerance=TOLERANCE)
@pytest.mark.parametrize("name", [*ON_AXES, *FIGURES])
def test_picture(name: str) -> Figure:
    return drawing_of(name)


@pytest.mark.parametrize("name", ["frequency_response", "user_signal", "user_signal_panels", "smoothing_panels"])
def test_a_curve_that_moves_by_a_twentieth_of_its_axis_is_noticed(name: str):
    before, after = drawing_of(name), drawing_of(name)
    ax = after.axes[0]
    low, high = ax.get_ylim()
    line = max(ax.get_lines(), key=lambda line: line.get_linewidth())
    line.set_ydata(np.asarray(line.get_ydata(), float) + (high - low) / 20)
    ax.set_ylim(low, high)
    before.axes[0].set_ylim(low, high)
    assert calculate_rms(pixels(before), pixels(after)) > TOLERANCE


def pixels(figure: Figure) -> np.ndarray:
    figure.set_dpi(DPI)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(float)


def test_every_public_function_has_a_small_picture():
    drawing = {name for name in plot.__all__ if callable(getattr(plot, name))} - NO_PICTURE
    assert drawing == {*ON_AXES, *FIGURES}
    pictures = {path.stem.removeprefix("test_picture_"): path.stat().st_size for path in BASELINE.iterdir()}
    assert pictures.keys() == drawing
    assert max(pictures.values()) < 30_000
