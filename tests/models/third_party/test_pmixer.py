"""Files of SASRec.pytorch, of each of its versions, against its equations."""

import pytest
import torch
from third_party_reference import State, assert_same, attend, histories, linear, norm
from third_party_states.pmixer import ITEMS, D, N, state_of
from torch import Tensor

import models
from models.errors import ConfigError

HEADS, EPS = 2, 1e-8


def reference(state: State, form: str, old_positions: bool, activation=torch.relu):
    def attention(query: Tensor, key: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        weight, bias = (state[f"attention_layers.{layer}.in_proj_{part}"] for part in ("weight", "bias"))
        q = query @ weight[:D].T + bias[:D]
        k, v = key @ weight[D : 2 * D].T + bias[D : 2 * D], key @ weight[2 * D :].T + bias[2 * D :]
        context, weights = attend(q, k, v, HEADS, torch.full((N, N), -torch.inf).triu(1))
        return linear(context, state, f"attention_layers.{layer}.out_proj"), weights

    def forward(x: Tensor, layer: int) -> Tensor:
        inner = activation(linear(x, state, f"forward_layers.{layer}.conv1"))
        return linear(inner, state, f"forward_layers.{layer}.conv2")

    def block(x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        first, second = f"attention_layernorms.{layer}", f"forward_layernorms.{layer}"
        if form == "query":
            query = norm(x, state, first, EPS)
            output, weights = attention(query, x, layer)
            y = norm(query + output, state, second, EPS)
            return y + forward(y, layer), weights
        if form == "pre":
            normed = norm(x, state, first, EPS)
            output, weights = attention(normed, normed, layer)
            y = x + output
            return y + forward(norm(y, state, second, EPS), layer), weights
        output, weights = attention(x, x, layer)
        y = norm(x + output, state, first, EPS)
        return norm(y + forward(y, layer), state, second, EPS), weights

    def run(sequences):
        results = []
        for sequence in sequences:
            ids = torch.tensor(([0] * N + sequence)[-N:])
            real, n = (ids > 0)[:, None], min(len(sequence), N)
            x = state["item_emb.weight"][ids] * D**0.5
            if old_positions:
                x = (x + state["pos_emb.weight"][torch.arange(N)]) * real
            else:
                x = x + state["pos_emb.weight"][torch.arange(1, N + 1) * real[:, 0]]
            hidden, maps = [x], []
            for layer in range(2):
                x, weights = block(x, layer)
                x = x * real if old_positions else x
                hidden.append(x)
                maps.append(weights[:, -n:, -n:])
            hidden[-1] = norm(x, state, "last_layernorm", EPS)
            results.append(([x[-n:] for x in hidden], maps))
        return results

    return run


@pytest.mark.parametrize("old_positions", [True, False])
@pytest.mark.parametrize("form", ["query", "pre", "post"])
def test_every_version_has_the_numbers_of_its_equations(tmp_path, form, old_positions):
    state = state_of(N if old_positions else N + 1)
    torch.save(state, tmp_path / "file.pth")
    model = models.load(tmp_path / "file.pth", heads=HEADS, norm=form)
    assert model.config.max_len == N
    assert_same(model, reference(state, form, old_positions), ITEMS)


def test_the_first_form_is_the_stated_default(tmp_path, caplog):
    state = state_of()
    torch.save(state, tmp_path / "file.pth")
    model = models.load(tmp_path / "file.pth", heads=HEADS)
    assert "norm query by default" in caplog.text and "positions all by default" in caplog.text
    assert_same(model, reference(state, "query", True), ITEMS)


def test_files_without_relu_are_read_with_a_setting(tmp_path):
    state = state_of()
    torch.save(state, tmp_path / "file.pth")
    model = models.load(tmp_path / "file.pth", heads=HEADS, activation="none")
    assert_same(model, reference(state, "query", True, activation=lambda x: x), ITEMS)


def test_args_beside_the_file_say_heads_and_form(tmp_path, caplog):
    state = state_of(N + 1)
    torch.save(state, tmp_path / "SASRec.pth")
    (tmp_path / "args.txt").write_text("batch_size,128\ndataset,ml-1m\nmaxlen,50\nnorm_first,True\nnum_heads,2\n")
    model = models.load(tmp_path / "SASRec.pth")
    assert (model.config.num_heads, model.config.norm) == (2, "pre")
    assert "num_heads 2 from args.txt" in caplog.text
    # Its ml-1m has other item ids than ours, so the name alone is no source.
    assert model.checkpoint["dataset"]["name"] == "ml-1m" and not model.checkpoint["dataset"]["source"]


def test_scores_are_products_with_the_item_rows(tmp_path):
    state = state_of()
    torch.save(state, tmp_path / "file.pth")
    model, run = models.load(tmp_path / "file.pth", heads=HEADS), reference(state, "query", True)
    sequence = histories(ITEMS)[1]
    with torch.inference_mode():
        scores = model(torch.tensor([sequence]))[0]
    expected = state["item_emb.weight"] @ run([sequence])[0][0][-1][-1]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_an_unknown_form_is_refused(tmp_path):
    torch.save(state_of(), tmp_path / "file.pth")
    with pytest.raises(ConfigError, match="--set norm: must be one of query, pre, post, got 'sandwich'"):
        models.load(tmp_path / "file.pth", heads=HEADS, norm="sandwich")
