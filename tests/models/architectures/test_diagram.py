"""The diagram of models: every parameter is in one step of it."""

import pytest
from plain_models import random_model

from models.architectures.diagram import diagram_of
from models.errors import ConfigError
from models.registry import MODELS

BLOCKS = sorted(set(MODELS) - {"gru4rec", "caser"})


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("layers", [1, 3])
def test_every_parameter_is_in_one_step(name, layers):
    model = random_model(name, num_layers=layers)
    table = diagram_of(model).table()
    assert table["parameters"].sum() == sum(parameter.numel() for parameter in model.parameters())
    assert set(table.loc[table["stage"] == "block", "times"]) == {layers}


def test_bsarec_has_two_branches_with_their_weights():
    diagram = diagram_of(random_model("bsarec", max_len=12, alpha=0.25, c=5, num_heads=2))
    frequency, attention = diagram.branches
    assert (frequency.weight, attention.weight) == ("α = 0.25", "1 − α = 0.75")
    assert frequency.parts[0].detail == "5 of 12 modes" and attention.parts[0].detail == "2 heads"
    assert len(diagram_of(random_model("sasrec")).branches) == 1


@pytest.mark.parametrize("name", ["gru4rec", "caser"])
def test_models_without_blocks_have_no_structure(name):
    with pytest.raises(ConfigError, match="not made of blocks"):
        diagram_of(random_model(name))
