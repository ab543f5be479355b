"""The diagram of models: every parameter is in one step of it, and the drawing shows what it says."""

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from models.architectures.diagram import diagram_of
from models.errors import ConfigError
from models.registry import MODELS, build, configure
from spectral import plot

BLOCKS = sorted(set(MODELS) - {"gru4rec", "caser"})


def model_of(name: str, **settings):
    return build(configure(name, 30, num_users=4, max_len=12, hidden_size=8, **settings))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("layers", [1, 3])
def test_every_parameter_is_in_one_step(name, layers):
    model = model_of(name, num_layers=layers)
    table = diagram_of(model).table()
    assert table["parameters"].sum() == sum(parameter.numel() for parameter in model.parameters())
    assert set(table.loc[table["stage"] == "block", "times"]) == {layers}


def test_bsarec_has_two_branches_with_their_weights():
    diagram = diagram_of(model_of("bsarec", alpha=0.25, c=5, num_heads=2))
    frequency, attention = diagram.branches
    assert (frequency.weight, attention.weight) == ("α = 0.25", "1 − α = 0.75")
    assert frequency.parts[0].detail == "5 of 12 modes" and attention.parts[0].detail == "2 heads"
    assert len(diagram_of(model_of("sasrec")).branches) == 1


@pytest.mark.parametrize("name", ["gru4rec", "caser"])
def test_models_without_blocks_have_no_structure(name):
    with pytest.raises(ConfigError, match="not made of blocks"):
        diagram_of(model_of(name))


@pytest.mark.parametrize("name", BLOCKS)
def test_the_drawing_has_a_box_for_each_step_and_text_inside_of_it(name):
    diagram = diagram_of(model_of(name))
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
    assert plot.diagram(diagram_of(model_of("sasrec")), ax=ax) is ax
