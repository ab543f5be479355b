"""GRU4Rec: how its weights are drawn, what it sees, and how its layers compare with PyTorch's own stack."""

import math

import pytest
import torch
from plain_models import WINDOWS, D, N, assert_hidden, linear, random_model, weights
from torch import Tensor, nn

from models.architectures.gru4rec import GRU4Rec, GRU4RecConfig
from models.recommender import Recommender


def make(**settings: int) -> GRU4Rec:
    model = GRU4Rec(GRU4RecConfig(40, **settings))
    model.initialise(5)
    return model.eval()


def gru4rec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w = weights(model)
    hidden = [w["items.weight"][ids]]
    for layer in range(model.config.num_layers):
        w_in, w_state = w[f"layers.{layer}.weight_ih_l0"], w[f"layers.{layer}.weight_hh_l0"]
        state, states = torch.zeros(len(ids), model.config.gru_hidden_size, dtype=torch.float64), []
        for n in range(N):
            (r, z, c), (hr, hz, hc) = (hidden[-1][:, n] @ w_in.T).chunk(3, -1), (state @ w_state.T).chunk(3, -1)
            reset, update = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
            state = (1 - update) * torch.tanh(c + reset * hc) + update * state
            states.append(state)
        hidden.append(torch.stack(states, dim=1))
    return [*hidden[:-1], linear(hidden[-1], w, "output")]


def test_the_first_layer_alone_has_the_published_initialisation():
    model = make(num_layers=3, hidden_size=48, gru_hidden_size=64)
    for name, weight in model.named_parameters():
        if name.startswith("layers."):
            columns = 48 if name == "layers.0.weight_ih_l0" else 64
            assert weight.shape == (192, columns)
            bound = math.sqrt(6 / (192 + columns)) if name.startswith("layers.0") else 1 / 8
            assert 0.98 * bound < float(weight.detach().abs().max()) <= bound
            assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert float(model.output.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not model.output.bias.any()


def test_there_are_no_biases_but_that_of_the_linear_layer():
    assert [name for name, _ in make().named_parameters() if "bias" in name] == ["output.bias"]


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_are_a_stack_of_pytorch(layers: int):
    model = make(num_layers=layers, hidden_size=6, gru_hidden_size=5, max_len=9)
    stack = nn.GRU(6, 5, layers, bias=False, batch_first=True)
    with torch.no_grad():
        for layer, own in enumerate(model.layers):
            getattr(stack, f"weight_ih_l{layer}").copy_(own.weight_ih_l0)
            getattr(stack, f"weight_hh_l{layer}").copy_(own.weight_hh_l0)
    ids = torch.tensor([[0] * 9, [0] * 8 + [4], list(range(1, 10))])
    torch.testing.assert_close(model.trace(ids).hidden[-1], model.output(stack(model.items(ids))[0]))


def test_the_state_runs_through_padding_and_never_sees_what_comes_later():
    model = make(max_len=8, hidden_size=8, gru_hidden_size=8)
    ids = torch.tensor([[0, 0, 0, 4, 5, 6, 7, 8]])
    before = model.trace(ids).hidden[-1]
    other_end = model.trace(torch.tensor([[0, 0, 0, 4, 5, 6, 7, 9]])).hidden[-1]
    assert torch.equal(before[:, :-1], other_end[:, :-1]) and not torch.equal(before[:, -1], other_end[:, -1])
    with torch.no_grad():
        model.items.weight[0] += 1
    assert (before != model.trace(ids).hidden[-1]).any(-1).all()


def test_hidden_states_have_the_sizes_that_are_documented():
    trace = make(num_layers=3, hidden_size=6, gru_hidden_size=5, max_len=4).trace(torch.tensor([[1, 2]]))
    assert [tuple(hidden.shape) for hidden in trace.hidden] == [(1, 4, 6), (1, 4, 5), (1, 4, 5), (1, 4, 6)]
    assert trace.attention is None and trace.mask.tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("size", [D, 6])
def test_gru4rec_runs_its_cells_from_the_first_position(size: int):
    model = random_model("gru4rec", gru_hidden_size=size)
    assert_hidden(model.trace(WINDOWS).hidden, gru4rec_reference(model, WINDOWS))
