"""Sums add up where they are of the same, layer by layer."""

import pytest
import torch
from waits import Waits, waits

from spectral.sums import sum_by_layer


def test_only_sums_of_the_same_add_up():
    one = waits(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="only waits in one unit add up, got unit of s and min"):
        one + waits(torch.tensor([1.0]), "min")
    with pytest.raises(ValueError, match=r"got longest_first of \(1,\) and \(2,\)"):
        one + Waits("s", torch.zeros(2), 0.0, 0)


def test_layers_add_up_apart_from_each_other():
    batches = [{0: torch.tensor(1), 2: torch.tensor(5)}, {0: torch.tensor(3)}, {1: torch.tensor(7)}]
    assert {layer: int(total) for layer, total in sum_by_layer(batches).items()} == {0: 4, 2: 5, 1: 7}
