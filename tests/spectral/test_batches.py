"""What people hand over as batches: it is taken, or the message says what was expected."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from models.errors import ConfigError
from models.registry import build, configure
from spectral import capture
from spectral.batches import moved

IDS = torch.randint(1, 40, (6, 7), generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(40, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (DataLoader(TensorDataset(IDS, torch.zeros(6)), batch_size=3), r"got a list of 2 tensors; take the ids out"),
        ({"input_ids": IDS.tolist()}, r"got a list of 6 under 'input_ids'; .* return_tensors='pt' and padding=True"),
        (IDS.tolist(), "got a list of 7; take the ids out"),
        (IDS[0], r"got one of shape \(7,\)"),
        ([IDS[0]], r"got one of shape \(7,\)"),
        (None, "got a NoneType"),
        ("ids", "got a str"),
        (3, "got a int"),
    ],
)
def test_other_batches_are_refused_with_what_was_expected(model, batches, message):
    with pytest.raises(ConfigError, match=r"expected tensors of ids \(B, N\), or mappings of tensors; " + message):
        list(capture(model, batches, hidden=["0"], attention=[]))


@pytest.mark.parametrize("batches", [IDS.numpy(), [IDS.numpy()], (batch for batch in IDS.split(6)), [IDS]])
def test_arrays_and_generators_are_batches(model, batches):
    [captured] = capture(model, batches, hidden=["0"], attention=[])
    torch.testing.assert_close(captured.hidden[0], model[0](IDS))


def test_one_name_is_a_list_of_one(model):
    assert len(next(capture(model, IDS, hidden="0", attention=[])).hidden) == 1
    assert len(next(capture(model, IDS, hidden="*", attention="1.self_attn")).hidden) == 2
    with pytest.raises(ConfigError, match=r"has no module '1\.nothing\*'"):
        next(capture(model, IDS, hidden="1.nothing*", attention=[]))


def test_batches_within_batches_are_moved_and_keep_their_kind():
    Pair = namedtuple("Pair", "ids scale")
    given = {"x": Pair(np.array([[1, 2]]), 0.5), "more": [torch.ones(1), ("text", None)]}
    got = moved(given, CPU, anything=True)
    assert torch.equal(got["x"].ids, torch.tensor([[1, 2]])) and got["x"].scale == 0.5 and type(got["x"]) is Pair
    assert got["more"][1] == ("text", None)


@pytest.mark.parametrize("windows", [torch.ones(2, 4), {"input_ids": torch.ones(2, 4, dtype=torch.int64)}])
def test_windows_of_a_model_with_a_trace_are_whole_numbers(windows):
    model = build(configure("sasrec", num_items=40, max_len=4, hidden_size=8, num_layers=1, num_heads=1))
    with pytest.raises(ConfigError, match=r"windows for SASRec must be whole numbers \(B, N\), got"):
        next(capture(model, windows))


@pytest.mark.parametrize("row", [[3, 7, 9, 0], [0, 3, 0, 9], [3, 0, 0, 0]])
def test_windows_with_padding_behind_an_item_are_refused(row):
    model = build(configure("sasrec", num_items=40, max_len=4, hidden_size=8, num_layers=1, num_heads=1))
    with pytest.raises(ConfigError, match=r"windows for SASRec must have their padding \(0\) on the left"):
        next(capture(model, torch.tensor([[0, 0, 1, 2], row])))
