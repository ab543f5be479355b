"""Files of RecBole 1.2 against its equations, and its pickled configuration read without running it."""

import enum
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from third_party_reference import State, assert_same, attend, dense, draw, gelu, histories, layers, linear, norm, norms
from third_party_states.recbole import (
    BLOCK,
    FORWARD,
    INNER,
    ITEMS,
    TABLES,
    D,
    N,
    bert4rec_state,
    feed_forward_shapes,
    sasrec_state,
)
from torch import Tensor

import models
from models.errors import CheckpointError, ConfigError
from models.safe_load import StandIn, read_tensors

HEADS, EPS = 2, 1e-12


def feed_forward(x: Tensor, state: State, key: str, eps: float, activation) -> Tensor:
    outer = linear(activation(linear(x, state, f"{key}.dense_1")), state, f"{key}.dense_2")
    return norm(outer + x, state, f"{key}.LayerNorm", eps)


def attention_mix(state: State, eps: float = EPS):
    def mix(x, layer, mask):
        key = f"{BLOCK.format(layer)}.multi_head_attention"
        query, keys, value = (linear(x, state, f"{key}.{part}") for part in ("query", "key", "value"))
        context, weights = attend(query, keys, value, HEADS, mask)
        return norm(linear(context, state, f"{key}.dense") + x, state, f"{key}.LayerNorm", eps), weights

    return mix


def reference(state: State, mix, forward_key: str = FORWARD, eps: float = EPS, activation=gelu, causal: bool = True):
    """Items first, then zeros up to N; positions from 0; blocks of mix(x, layer, mask) and the feed-forward network."""

    def run(sequences):
        results = []
        for sequence in sequences:
            cut = sequence[-N:]
            n = len(cut)
            ids = torch.tensor(cut + [0] * (N - n))
            allowed = (ids > 0)[None].expand(N, N)
            mask = torch.where(allowed.tril() if causal else allowed, 0.0, -10000.0)
            x = norm(state["item_embedding.weight"][ids] + state["position_embedding.weight"], state, "LayerNorm", eps)
            hidden, maps = [x], []
            for layer in range(2):
                x, weights = mix(hidden[-1], layer, mask)
                hidden.append(feed_forward(x, state, forward_key.format(layer), eps, activation))
                maps += [] if weights is None else [weights[:, :n, :n]]
            results.append(([x[:n] for x in hidden], maps))
        return results

    return run


def test_sasrec_has_the_numbers_of_its_equations(tmp_path):
    state = sasrec_state()
    torch.save(state, tmp_path / "file.pth")
    model = models.load(tmp_path / "file.pth", model="sasrec", heads=HEADS)
    assert (model.config.num_items, model.config.inner_size) == (ITEMS, INNER)
    assert_same(model, reference(state, attention_mix(state)), ITEMS)


def test_its_activation_and_epsilon_come_from_its_configuration(tmp_path):
    state = sasrec_state()
    config = {"model": "SASRec", "n_heads": HEADS, "hidden_act": "swish", "layer_norm_eps": 0.01, "dataset": "ml-100k"}
    torch.save({"config": config, "state_dict": state}, tmp_path / "file.pth")
    run = reference(state, attention_mix(state, 0.01), eps=0.01, activation=torch.nn.functional.silu)
    assert_same(models.load(tmp_path / "file.pth"), run, ITEMS)


def bert4rec_run(state: State):
    run = reference(state, attention_mix(state), causal=False)

    def with_end(batch):
        # The first item goes, however short the history; the mask token comes behind the last.
        results = run([[*sequence[-N:][1:], ITEMS + 1] for sequence in batch])
        for hidden, _ in results:
            hidden[-1] = norm(gelu(linear(hidden[-1], state, "output_ffn")), state, "output_ln", EPS)
        return results

    return with_end


def test_bert4rec_has_the_numbers_of_its_equations(tmp_path):
    state = bert4rec_state()
    torch.save(state, tmp_path / "file.pth")
    model, run = models.load(tmp_path / "file.pth", heads=HEADS), bert4rec_run(state)
    assert_same(model, run, ITEMS)
    for sequence in histories(ITEMS):
        with torch.inference_mode():
            scores = model(torch.tensor([sequence]))[0]
        expected = state["item_embedding.weight"][: ITEMS + 1] @ run([sequence])[0][0][-1][-1] + state["output_bias"]
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def old_bert4rec_state() -> State:
    shapes = {key: tuple(value.shape) for key, value in sasrec_state().items()}
    return draw(shapes | {"item_embedding.weight": (ITEMS + 2, D)})


@pytest.mark.parametrize("where", ["config", "option"])
def test_an_old_bert4rec_has_the_numbers_of_its_equations(tmp_path, where):
    """RecBole before 1.1.1: N - 1 items and the mask token at N positions, both ways, and no output layer."""
    state = old_bert4rec_state()
    config = {"n_heads": HEADS} | ({"model": "BERT4Rec"} if where == "config" else {})
    torch.save({"config": config, "state_dict": state}, tmp_path / "file.pth")
    model = models.load(tmp_path / "file.pth", model="bert4rec" if where == "option" else None)
    run = reference(state, attention_mix(state), causal=False)
    for sequence in histories(ITEMS):
        with torch.inference_mode():
            scores = model(torch.tensor([sequence]))[0]
        hidden = run([[*sequence[1 - N :], ITEMS + 1]])[0][0]
        expected = state["item_embedding.weight"][: ITEMS + 1] @ hidden[-1][-1]
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_without_a_configuration_sasrec_and_an_old_bert4rec_are_asked_about(tmp_path):
    torch.save(old_bert4rec_state(), tmp_path / "file.pth")
    with pytest.raises(ConfigError, match=r"give --model .one of sasrec, duorec, cl4srec, bert4rec, whose keys are"):
        models.load(tmp_path / "file.pth", heads=HEADS)


@pytest.mark.parametrize("name", ["DuoRec", "CL4SRec"])
def test_models_with_the_forward_of_sasrec_open_as_before(tmp_path, name):
    state = sasrec_state()
    torch.save({"config": {"model": name, "n_heads": HEADS}, "state_dict": state}, tmp_path / "file.pth")
    assert_same(models.load(tmp_path / "file.pth"), reference(state, attention_mix(state)), ITEMS)


@pytest.mark.parametrize("name", ["FEARec", "LightSANs", "NARM"])
def test_a_model_that_is_not_opened_is_refused_by_its_name_with_its_own_keys(tmp_path, name):
    state = sasrec_state()
    if name == "FEARec":
        state = {
            key.replace("trm_encoder", "item_encoder").replace("multi_head_attention", "hybrid_attention"): value
            for key, value in state.items()
        }
    elif name == "LightSANs":
        state[f"{BLOCK.format(0)}.multi_head_attention.attpooling_key.theta"] = torch.zeros(D, 4)
    torch.save({"config": {"model": name, "n_heads": HEADS}, "state_dict": state}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=name) as error:
        models.load(tmp_path / "file.pth")
    if name == "NARM":  # another model of RecBole with SASRec's keys is nothing that is known
        assert "model in the file's own config: must be one of sasrec" in str(error.value)
        return
    assert f"is {name} of RecBole, which is not among those that are opened" in str(error.value)
    shown = str(error.value).partition("keys such as ")[2].partition(")")[0]
    assert all(key in state for key in shown.partition(" and ")[0].split(", "))


def test_gru4rec_has_the_numbers_of_its_equations(tmp_path):
    hidden = 12
    shapes = {"item_embedding.weight": (ITEMS + 1, D)} | dense("dense", D, hidden)
    shapes |= {"gru_layers.weight_ih_l0": (3 * hidden, D), "gru_layers.weight_hh_l0": (3 * hidden, hidden)}
    state = draw(shapes)
    torch.save(state, tmp_path / "file.pth")

    def run(sequences):
        results = []
        for sequence in sequences:
            x = state["item_embedding.weight"][torch.tensor(sequence[-N:])]
            h, states = torch.zeros(hidden), []
            for row in x:
                inputs = (state["gru_layers.weight_ih_l0"] @ row).chunk(3)
                before = (state["gru_layers.weight_hh_l0"] @ h).chunk(3)
                reset, update = (torch.sigmoid(inputs[gate] + before[gate]) for gate in (0, 1))
                h = (1 - update) * torch.tanh(inputs[2] + reset * before[2]) + update * h
                states.append(h)
            results.append(([x, linear(torch.stack(states), state, "dense")], []))
        return results

    assert_same(models.load(tmp_path / "file.pth"), run, ITEMS)


@pytest.mark.parametrize(
    ("block", "filters", "weight", "inner"),
    [
        ("item_encoder.layer.{}", "filterlayer", "complex_weight", "intermediate"),
        ("trm_encoder.layer.{}", "filter_layer", "complex_weight", "feed_forward"),
        ("item_encoder.blocks.{}", "layer", "complex_weight", "feed_forward"),
    ],
)
def test_fmlprec_has_the_numbers_of_its_equations_under_the_names_people_gave_it(
    tmp_path, block, filters, weight, inner
):
    key = f"{block}.{filters}"
    shapes = {f"{key}.{weight}": (1, N // 2 + 1, D, 2)} | norms(f"{key}.LayerNorm", D)
    state = draw(TABLES | layers(shapes | feed_forward_shapes(f"{block}.{inner}")))
    torch.save(state, tmp_path / "file.pth")

    def mix(x, layer, mask):
        name = key.format(layer)
        kernel = torch.view_as_complex(state[f"{name}.{weight}"])[0]
        mixed = torch.fft.irfft(torch.fft.rfft(x, dim=0, norm="ortho") * kernel, n=N, dim=0, norm="ortho")
        return norm(mixed + x, state, f"{name}.LayerNorm", EPS), None

    model = models.load(tmp_path / "file.pth")
    assert model.name == "recbole-fmlprec"
    assert_same(model, reference(state, mix, f"{block}.{inner}"), ITEMS)


class Config:
    """As RecBole pickles it: an object with dictionaries, classes and members of enumerations in it."""


class ModelType(enum.Enum):
    SEQUENTIAL = 2


@pytest.fixture
def recbole(monkeypatch: pytest.MonkeyPatch) -> type:
    """A module that is there while a file is written, as RecBole is on the machine that trains."""
    for name, kind in (("recbole.config.configurator", Config), ("recbole.utils.enum_type", ModelType)):
        module = types.ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setattr(kind, "__module__", name)
        for part in ("recbole", name.rpartition(".")[0]):
            monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
        monkeypatch.setitem(sys.modules, name, module)
    return Config


def save_as_recbole(path: Path, config: object, state: State) -> None:
    content = {"config": config, "epoch": 3, "best_valid_score": 0.1, "state_dict": state, "optimizer": {"state": {}}}
    torch.save(content, path, pickle_protocol=4)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickled_configuration_is_read_without_its_classes(tmp_path, recbole, monkeypatch, protocol):
    config, state = recbole(), sasrec_state()
    config.final_config_dict = {"n_heads": HEADS, "hidden_act": "gelu", "MODEL_TYPE": ModelType.SEQUENTIAL}
    config.model_class = recbole
    config.dataset = "ml-100k"
    content = {"config": config, "state_dict": state, "best_valid_score": 0.1}
    torch.save(content, tmp_path / "SASRec.pth", pickle_protocol=protocol)
    for name in [name for name in sys.modules if name.startswith("recbole")]:
        monkeypatch.delitem(sys.modules, name)  # not on this machine
    assert isinstance(read_tensors(tmp_path / "SASRec.pth")["config"], StandIn)
    model = models.load(tmp_path / "SASRec.pth")
    assert model.config.num_heads == HEADS and model.checkpoint["dataset"]["name"] == "ml-100k"
    assert_same(model, reference(state, attention_mix(state)), ITEMS)


def test_an_option_comes_before_the_configuration(tmp_path, recbole):
    config = recbole()
    config.final_config_dict = {"model": "SASRec", "n_heads": 4}
    save_as_recbole(tmp_path / "file.pth", config, sasrec_state())
    assert models.load(tmp_path / "file.pth").config.num_heads == 4
    assert models.load(tmp_path / "file.pth", heads=HEADS).config.num_heads == HEADS


class Attack:
    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_beside_the_configuration_is_refused_and_not_run(tmp_path, recbole):
    attack, config = Attack(), recbole()
    attack.folder = tmp_path / "ran"
    config.final_config_dict = {"n_heads": 2, "trick": attack}
    save_as_recbole(tmp_path / "evil.pth", config, sasrec_state())
    with pytest.raises(CheckpointError, match=r"would run code when read; it was not executed \((posix|nt)\.mkdir\)"):
        models.load(tmp_path / "evil.pth")
    assert not attack.folder.exists()


def test_without_a_configuration_the_heads_are_asked_for(tmp_path):
    torch.save({"state_dict": bert4rec_state()}, tmp_path / "file.pth")
    with pytest.raises(ConfigError, match=r"is BERT4Rec of RecBole.*give --heads \(one of 1, 2, 4, 8, 16\)"):
        models.load(tmp_path / "file.pth")
