"""Which axis is of sequences and which of positions: found by sizes, by what modules say, or by one sequence."""

import pytest
import torch
from torch import Tensor, nn

from models.errors import ConfigError
from spectral import CosineSimilarity, capture

D, HEADS = 8, 2
NAMES = {"hidden": ["items", "layers.*"], "attention": ["layers.*.self_attn"]}


class Model(nn.Module):
    """Two layers of PyTorch, which work on (N, B, D) unless batch_first; the ids are (B, N), or (N, B) if `swapped`."""

    def __init__(self, batch_first: bool = False, swapped: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.items = nn.Embedding(40, D)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(D, HEADS, 16, batch_first=batch_first) for _ in range(2))
        self.turn = not batch_first and not swapped

    def forward(self, ids: Tensor) -> Tensor:
        x = self.items(ids)
        x = x.transpose(0, 1) if self.turn else x
        for layer in self.layers:
            x = layer(x)
        return x


def windows(users: int, positions: int) -> Tensor:
    return torch.randint(1, 40, (users, positions), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize(("users", "positions"), [(5, 7), (7, 5), (6, 6), (2, 2), (2, 7), (1, 4)])
def test_states_of_layers_that_put_sequences_second_are_turned(users, positions, swapped, attention):
    ids = windows(users, positions)
    names = NAMES if attention else NAMES | {"attention": False}
    [expected] = capture(Model(batch_first=True), ids, **names)
    [captured] = capture(Model(swapped=swapped), [ids.T if swapped else ids], **names)
    for mine, theirs in zip(captured.hidden + captured.attention, expected.hidden + expected.attention, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    assert captured.mask.shape == (users, positions)


def test_the_measure_of_users_is_of_users():
    ids, model = windows(5, 7), Model().eval()
    got = CosineSimilarity.from_captures(capture(model, ids, **NAMES))
    with torch.no_grad():
        last = nn.functional.normalize(model(ids)[-1].double(), dim=-1)
    assert got.users == 5
    assert got.between_users[-1] == pytest.approx(float(((last @ last.T).sum() - 5) / 20), abs=1e-5)


@pytest.mark.parametrize("users", [6, 4])
def test_a_mask_has_the_layout_of_the_ids(users):
    ids = windows(users, 6)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 5, 2, 4])[:users, None]
    [expected] = capture(Model(batch_first=True), ids, mask=lambda batch: mask, **NAMES)
    [captured] = capture(Model(swapped=True), [ids.T], mask=lambda batch: mask.T, **NAMES)
    assert torch.equal(captured.mask, expected.mask)
    torch.testing.assert_close(captured.hidden[2], expected.hidden[2], atol=1e-5, rtol=0)


class HeadsFirst(nn.Module):
    """Attention whose maps have another order of axes."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.items, self.maps = nn.Embedding(40, 3), nn.Identity()
        self.order = order

    def forward(self, ids: Tensor) -> Tensor:
        x = self.items(ids)
        maps = torch.stack([(scale * x @ x.mT).softmax(-1) for scale in range(4)])  # (H, B, N, N)
        return self.maps({"hbnn": maps, "bhnn": maps.transpose(0, 1), "stacked": maps.flatten(0, 1)}[self.order])


@pytest.mark.parametrize("users", [4, 5])
def test_maps_with_the_heads_first_are_turned(users):
    ids, model = windows(users, 7), HeadsFirst("hbnn")
    [captured] = capture(model, ids, hidden=False, attention=["maps"])
    model.order = "bhnn"
    [expected] = capture(model, ids, hidden=False, attention=["maps"])
    torch.testing.assert_close(captured.attention[0], expected.attention[0])
    assert captured.attention[0].shape == (users, 4, 7, 7)


def test_sizes_that_do_not_fit_the_batch_are_refused():
    ids = windows(5, 7)
    with pytest.raises(ConfigError, match=r"5 sequences, but attention of maps is of shape \(20, 1, 7, 7\)"):
        next(capture(HeadsFirst("stacked"), ids, hidden=False, attention=["maps"]))
    rows = nn.Sequential(nn.Embedding(40, D), nn.Flatten(0, 1), nn.Unflatten(0, (35, 1)))
    with pytest.raises(ConfigError, match=r"5 sequences, but 2 is of shape \(35, 1, 8\)"):
        next(capture(rows, ids, hidden=["2"], attention=[]))
    with pytest.raises(ConfigError, match=r"attention_mask should be \(B, N\) = \(5, 7\), got \(5, 6\)"):
        next(capture(Model(), ids, mask=lambda batch: batch[:, 1:] > 0, **NAMES))


def test_equal_sizes_of_a_model_that_does_not_run_on_one_sequence_are_asked_about():
    def call(model, ids):
        return model.layers[0](model.items(ids).transpose(0, 1) + torch.ones(6, D))  # puts out six sequences

    options = {"hidden": ["layers.0"], "attention": [], "call": call}
    assert next(capture(Model(), windows(6, 5), **options)).hidden[0].shape == (6, 5, D)
    with pytest.raises(ConfigError, match=r"shape \(6, 6\) does not tell .* capture batches with another number"):
        next(capture(Model(), windows(6, 6), **options))
