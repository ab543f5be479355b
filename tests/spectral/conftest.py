"""What tests of the commands share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

import models
from models.recommender import Recommender
from spectral.capture import real_items

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(call: Call) -> Call:
    """Run the command of a measure in this process: (exit code, standard output, standard error)."""
    return lambda measure, *arguments: call(f"spectral.{measure}", *arguments)


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Recommender:
    """The model of `checkpoint`, with its probe."""
    return models.load(checkpoint)


@pytest.fixture
def lengths(model: Recommender) -> Tensor:
    """How many real items each window of the probe has."""
    return real_items(model.probe.input_ids)
