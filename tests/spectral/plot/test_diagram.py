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


@pytest.mark.parametrize("name", BLOCKS)
def test_every_residual_connection_leads_from_below_its_branch_to_the_box_that_adds(name):
    diagram = diagram_of(random_model(name))
    ax = plot.diagram(diagram)
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    names = {text.get_position(): text.get_text() for text in ax.texts}
    middle = {(box.get_x() + box.get_width() / 2, box.get_y() + 0.5): box for box in boxes}
    adding = [box for at, box in middle.items() if names.get(at) == "add, LayerNorm"]
    lines = [line for line in ax.lines if line.get_label() == "_residual"]
    parts = [part for branch in diagram.branches for part in branch.parts] + list(diagram.feed_forward)
    assert len(lines) == len(adding) == sum(part.adds_input for part in parts)
    reached = set()
    for line in lines:
        (x, beside, _), (start, _, end) = line.get_xdata(), line.get_ydata()
        (box,) = [box for at, box in middle.items() if at == (x, end)]
        reached.add(box)
        passed = [other for (at, y), other in middle.items() if at == x and start < y < end]
        assert passed and not set(passed) & set(adding)  # what the branch computes, and no other sum
        assert start < min(other.get_y() for other in passed)
        crossed = [other for (_, y), other in middle.items() if start < y <= end]
        assert all(not other.get_x() < beside < other.get_x() + other.get_width() for other in crossed)
    assert reached == set(adding)


def test_it_is_drawn_on_the_axes_that_are_given():
    ax = Figure().add_subplot()
    assert plot.diagram(diagram_of(random_model("sasrec")), ax=ax) is ax
