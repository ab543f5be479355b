"""The diagram as it is drawn: a box for each step."""

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from plain_models import random_model

from models.architectures.diagram import diagram_of
from models.registry import MODELS
from spectral import plot

BLOCKS = sorted(set(MODELS) - {"gru4rec", "caser"})


@pytest.mark.parametrize("name", BLOCKS)
def test_the_drawing_has_a_box_for_each_step_and_text_inside_of_it(name):
    diagram = diagram_of(random_model(name))
    ax = plot.diagram(diagram)
    ax.figure.canvas.draw()
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    table = diagram.table()
    assert len(boxes) == len(table)
    texts = {text.get_text(): text for text in ax.texts}
    assert set(table["step"]) <= set(texts) and f"× {diagram.num_layers}" in texts
    widest = boxes[0].get_window_extent().width
    assert all(
        texts[step].get_window_extent().width < widest for step in [*table["step"], *filter(None, table["detail"])]
    )


def test_it_is_drawn_on_the_axes_that_are_given():
    ax = Figure().add_subplot()
    assert plot.diagram(diagram_of(random_model("sasrec")), ax=ax) is ax
