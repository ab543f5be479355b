"""The response of whole layers, against closed forms of linear layers and against the Jacobian written out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from json_output import json_of
from torch import nn

import spectral
from models.errors import ConfigError
from models.layers.feed_forward import FeedForward
from models.registry import MODELS
from models.train import train
from spectral import block_response, frequency_response
from spectral.block_response.positions import PositionResponse, position_response
from spectral.report.parts import sections

EXACT = 10**6  # more probes than any layer here has outputs: all unit vectors


class Layers(nn.Module):
    """A stack of given functions on signals (B, N, D), which stand for items 0.. in a table of random vectors."""

    def __init__(self, *layers, size: int = 3):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.table = nn.Parameter(torch.randn(50, size, generator=generator, dtype=torch.float64))
        self.layers = layers

    def layer_functions(self, input_ids):
        return list(self.layers)

    def trace(self, input_ids):
        hidden = [self.table[input_ids]]
        for layer in self.layers:
            hidden.append(layer(hidden[-1]))
        return SimpleNamespace(hidden=hidden)


def random_matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def windows(users: int, length: int) -> torch.Tensor:
    return torch.randint(1, 50, (users, length), generator=torch.Generator().manual_seed(2))


def naive(layer, x: torch.Tensor, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Gain at all positions and at the last, wave by wave and dimension by dimension, from the whole Jacobian."""
    total = last = 0.0
    for signal in x:
        jacobian = torch.autograd.functional.jacobian(lambda s: layer(s[None])[0], signal)[rows][:, :, rows]
        length, size = jacobian.shape[2:]
        for dimension in range(size):
            waves = np.exp(2j * np.pi * np.outer(np.arange(length), np.arange(length // 2 + 1)) / length)
            out = np.einsum("ndm,mk->ndk", jacobian[..., dimension].numpy(), waves / np.sqrt(length))
            total += (np.abs(out) ** 2).sum((0, 1)) / size
            last += (np.abs(out[-1]) ** 2).sum(0) / size
    return np.sqrt(total / len(x)), np.sqrt(last / len(x))


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_of_attention_alone_it_is_the_response_of_attention(length, seed):
    a = random_matrix(length, length, seed=seed).softmax(-1)
    measured = block_response(Layers(lambda x: a @ x), [windows(2, length)], c=1, probes=EXACT)
    np.testing.assert_allclose(measured.gain[0], frequency_response(a, c=1).gain[0, 0], atol=1e-12)
    last_row = np.abs(np.fft.rfft(a[-1].numpy())) / np.sqrt(length)
    np.testing.assert_allclose(measured.last_gain[0], last_row, atol=1e-12)


def test_a_linear_layer_has_its_closed_form():
    kernel, values = random_matrix(8), random_matrix(3, 3, seed=1)
    circulant = torch.stack([kernel.flip(0).roll(i + 1) for i in range(8)])
    layer = block_response(Layers(lambda x: x + circulant @ x @ values), [windows(4, 8)], probes=EXACT)
    response = np.fft.fft(kernel.numpy())[:5]  # (I + h(k) W) for each frequency k, in all dimensions at once
    expected = [np.linalg.norm(np.eye(3) + h * values.numpy()) / np.sqrt(3) for h in response]
    np.testing.assert_allclose(layer.gain[0], expected, atol=1e-12)
    np.testing.assert_allclose(layer.relative_db[0], 20 * np.log10(np.array(expected) / expected[0]), atol=1e-9)


def test_an_identity_passes_every_wave_whole():
    response = block_response(Layers(lambda x: x), [windows(3, 7)], probes=EXACT)
    np.testing.assert_allclose(response.gain, 1, atol=1e-12)
    np.testing.assert_allclose(response.last_gain, 7**-0.5, atol=1e-12)
    assert np.isnan(response.cutoff).all()


@pytest.mark.parametrize("name", [name for name in MODELS if name != "caser"])
@pytest.mark.parametrize("length", [None, 4])
def test_of_every_model_it_is_that_of_the_jacobian_written_out(name, length):
    model_type = MODELS[name]
    model = model_type(model_type.config_type(num_items=49, max_len=6, hidden_size=4)).double().eval()
    model.initialise(0)
    with torch.no_grad():
        for parameter in model.parameters():  # as published they are so small that everything is nearly linear
            parameter.mul_(20 if parameter.std() < 0.1 and parameter.std() > 0 else 1)
    ids = windows(2, 6)
    rows = slice(-length if length else None, None)
    measured = block_response(model, [ids[:1], ids[1:]], length=length, probes=EXACT, c=1)
    hidden = model.trace(ids).hidden
    assert measured.positions == (length or 6) and measured.users == 2
    assert len(measured.gain) == len(hidden) - 1
    for row, layer in enumerate(model.layer_functions(ids[:1])):  # full windows have the same masks
        gain, last_gain = naive(layer, hidden[row].detach(), rows)
        np.testing.assert_allclose(measured.gain[row], gain, rtol=1e-6)
        np.testing.assert_allclose(measured.last_gain[row], last_gain, rtol=1e-6)


def test_random_probes_agree_with_all_of_them():
    a = random_matrix(10, 10).softmax(-1)
    model, ids = Layers(lambda x: torch.tanh(x + a @ x), size=8), windows(150, 10)
    estimated, exact = (block_response(model, [ids], probes=probes) for probes in (20, EXACT))
    np.testing.assert_allclose(estimated.gain, exact.gain, rtol=0.02)
    assert not np.array_equal(estimated.gain, exact.gain)
    np.testing.assert_array_equal(estimated.last_gain, exact.last_gain)
    np.testing.assert_array_equal(estimated.gain, block_response(model, [ids], probes=20).gain)  # the same seed


def test_the_model_is_left_as_it_was():
    model = MODELS["sasrec"](MODELS["sasrec"].config_type(num_items=49, max_len=6, hidden_size=4))
    model.initialise(0)
    model.train()
    model.items.requires_grad_(False)
    block_response(model, [windows(2, 6)])
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["items.weight"]


def test_the_table_has_a_row_per_layer_and_frequency():
    response = block_response(Layers(lambda x: x, lambda x: x.cumsum(1)), [windows(2, 6)], probes=EXACT)
    table = response.table()
    assert list(table["layer"]) == [1] * 4 + [2] * 4 and list(table["frequency"]) == [*range(4)] * 2
    np.testing.assert_allclose(table["gain"], response.gain.ravel())
    record = response.summary()[1]
    assert record["nyquist_relative_db"] == pytest.approx(table["relative_db"].iloc[-1])
    assert record["gain_dc_db"] == pytest.approx(20 * np.log10(response.gain[1, 0]))


def random_model(name: str) -> nn.Module:
    """A model of two layers on windows of 6, in float64, with weights so large that its layers are far from linear."""
    model = MODELS[name](MODELS[name].config_type(num_items=49, max_len=6, hidden_size=4)).double().eval()
    model.initialise(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20 if parameter.numel() > 1 and 0 < parameter.std() < 0.1 else 1)
    return model


@pytest.mark.parametrize("name", ["fearec", "tvrec", "wearec", "lowarec"])
def test_of_filters_that_depend_on_their_input_it_is_that_of_small_waves_sent_through_them(name, monkeypatch):
    model, ids = random_model(name), windows(1, 6)
    hidden = [states.detach() for states in model.trace(ids).hidden]
    measured = block_response(model, [ids], probes=EXACT, c=1)
    by_position = position_response(model, [ids], probes=EXACT)
    for row, layer in enumerate(model.layer_functions(ids)):
        for frequency in range(4):
            power = torch.zeros(6, dtype=torch.float64)
            for tangent in waves(frequency, length=6, size=4):
                with torch.no_grad():
                    step = 1e-5 * tangent
                    difference = (layer(hidden[row] + step) - layer(hidden[row] - step)) / 2e-5
                power += difference[0].square().sum(-1)
                with in_plain_operations(monkeypatch):
                    _, derivative = torch.func.jvp(layer, (hidden[row],), (tangent,))
                torch.testing.assert_close(difference, derivative, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(measured.gain[row, frequency] ** 2, power.sum() / 4, rtol=1e-4)
            np.testing.assert_allclose(by_position.gain[row, :, frequency] ** 2, power * 6 / 4, rtol=1e-4, atol=1e-8)


@contextmanager
def in_plain_operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replace what has no forward derivative in torch: the fused feed-forward network, and FEARec's linear maps."""
    linear_map = SimpleNamespace(apply=lambda x, linear, adjoint: linear(x))
    with monkeypatch.context() as patched:
        patched.setattr(FeedForward, "forward", lambda self, x: self.add_norm(self._update(x), x))
        patched.setattr("models.layers.circulant._WithAdjoint", linear_map)
        patched.setattr("models.architectures.fearec.project", torch.nn.functional.linear)
        yield


def waves(frequency: int, length: int, size: int) -> list[torch.Tensor]:
    """The real and the imaginary part of a unit wave, (1, N, D), along each dimension."""
    angles = 2 * torch.pi * frequency * torch.arange(length, dtype=torch.float64) / length
    found = []
    for dimension in range(size):
        for part in (angles.cos(), angles.sin()):
            wave = torch.zeros(1, length, size, dtype=torch.float64)
            wave[0, :, dimension] = part / length**0.5
            found.append(wave)
    return found


@pytest.mark.parametrize("length", [None, 5])
def test_the_mean_square_over_positions_is_the_response_of_the_layer(length):
    model, ids = random_model("sasrec"), windows(3, 6)
    by_position = position_response(model, [ids[:1], ids[1:]], length, probes=EXACT)
    of_layers = block_response(model, [ids], length=length, probes=EXACT, c=1)
    np.testing.assert_allclose(np.sqrt((by_position.gain**2).mean(1)), of_layers.gain, rtol=1e-9)
    np.testing.assert_allclose(by_position.gain[:, -1] / (length or 6) ** 0.5, of_layers.last_gain, rtol=1e-9)
    table = by_position.table()
    assert len(table) == by_position.gain.size and table["position"].max() == (length or 6)


def test_the_map_of_attention_has_a_row_for_each_position_and_that_of_a_circular_filter_equal_rows():
    a, kernel = random_matrix(6, 6).softmax(-1), random_matrix(6, seed=1)
    circulant = torch.stack([kernel.flip(0).roll(i + 1) for i in range(6)])
    model = Layers(lambda x: a @ x, lambda x: circulant @ x)
    found = position_response(model, [windows(2, 6)], probes=EXACT)
    np.testing.assert_allclose(found.gain[0], np.abs(np.fft.rfft(a.numpy())), atol=1e-12)
    np.testing.assert_allclose(found.gain[1], np.tile(np.abs(np.fft.rfft(kernel.numpy())), (6, 1)), atol=1e-12)
    np.testing.assert_allclose(found.variation[1], 0, atol=1e-9)
    assert found.variation[0].max() > 0.1
    estimated = position_response(model, [windows(2000, 6)], probes=1)
    np.testing.assert_allclose(estimated.gain, found.gain, rtol=0.05)
    with pytest.raises(ValueError, match="at least one probe"):
        position_response(model, [windows(2, 6)], probes=0)
    with pytest.raises(ValueError, match="no sequences"):
        position_response(model, [])


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_a_model_of_half_precision_is_measured_in_float32(narrow):
    model, ids = random_model("wearec").to(narrow), windows(2, 6)
    found = block_response(model, [ids], probes=EXACT, c=1)
    assert next(model.parameters()).dtype == narrow
    np.testing.assert_array_equal(found.gain, block_response(model.float(), [ids], probes=EXACT, c=1).gain)


def test_caser_is_not_a_stack_of_layers():
    caser = MODELS["caser"](MODELS["caser"].config_type(num_items=49, max_len=6, hidden_size=4, num_users=3))
    with pytest.raises(ConfigError, match="Caser does not offer its layers"):
        block_response(caser, [windows(2, 6)])


def test_what_cannot_be_averaged_is_refused():
    model = Layers(lambda x: x)
    with pytest.raises(ValueError, match="no sequences"):
        block_response(model, [])
    with pytest.raises(ValueError, match="at least one probe"):
        block_response(model, [windows(2, 6)], probes=0)
    with pytest.raises(ValueError, match="c must be odd"):
        block_response(model, [windows(2, 6)], c=4)
    with pytest.raises(ValueError, match="finite"):
        block_response(Layers(lambda x: x * torch.inf), [windows(2, 6)])


def test_the_package_names_it():
    assert spectral.block_response is block_response


def response_of(*layers) -> PositionResponse:
    """The map of layers on windows of 6, estimated as the command does."""
    return position_response(Layers(*layers, size=8), [windows(64, 6)])


def test_what_is_said_of_a_map_follows_from_it():
    kernel, first = random_matrix(6, seed=1), torch.ones(6, dtype=torch.float64)
    circulant = torch.stack([kernel.flip(0).roll(i + 1) for i in range(6)])
    first[0] = 2
    alike = response_of(lambda x: circulant @ x, lambda x: x + circulant @ x)
    assert alike.predicate() == "passes each frequency alike at all positions in layers 1 and 2"
    np.testing.assert_allclose(alike.last_db, 0, atol=1e-9)  # estimated, but with the same random outputs everywhere
    doubled = response_of(lambda x: first[:, None] * x, lambda x: circulant @ x)
    assert doubled.predicate() == (
        "passes each frequency alike at all positions in layer 2, and in layer 1 up to 6 dB more at position 1 than at "
        "position 2 (at frequency 0)"
    )
    one = response_of(lambda x: first[:, None] * x).predicate()
    assert one == "passes in layer 1 up to 6 dB more at position 1 than at position 2 (at frequency 0)"
    slightly = response_of(lambda x: (1 + (first[:, None] - 1) / 10) * x)  # 0.8 dB
    assert slightly.predicate() == "passes each frequency alike at all positions in layer 1"
    nothing = response_of(lambda x: (first[:, None] - 1) * x)
    assert "60 dB more at position 1 than at position 2" in nothing.predicate()


def test_the_summary_of_a_map_has_its_ends():
    first = torch.tensor([1.0, 1, 1, 1, 1, 3], dtype=torch.float64)
    found = response_of(lambda x: first[:, None] * x)
    [record] = found.summary()
    assert record["variation_dc"] == pytest.approx(first.numpy().std() / first.numpy().mean())
    assert record["last_nyquist_db"] == pytest.approx(20 * np.log10(3 / float((first**2).mean()) ** 0.5))
    assert found.table()["gain_db"].max() == pytest.approx(20 * np.log10(3))


@pytest.mark.parametrize("name", ["tvrec", "wearec", "lowarec", "fearec", "caser"])
def test_the_command_writes_the_map_and_the_report_shows_it(name, call, tmp_path):
    path = train(name, "synthetic:users=30,items=30", out=tmp_path / "a.pt", epochs=1, hidden_size=8, max_len=6).path
    options = ("--positions", "--format", "png,csv", "--out", tmp_path / "out")
    code, out, err = call("block_response", path, *options, "--json")
    if name == "caser":
        assert code == 2 and "Caser does not offer its layers one by one" in err and "Traceback" not in err
        return
    assert code == 0, err
    analysis = spectral.analyse(path)
    measured, table = analysis.position_response, pd.read_csv(tmp_path / "out" / "position_response.csv")
    printed = json_of(out)
    assert printed["positions"] == 6 and printed["layers"] == json.loads(json.dumps(measured.summary()))
    np.testing.assert_allclose(table["gain"], measured.gain.ravel())
    assert (tmp_path / "out" / "position_response.png").stat().st_size > 1000
    [section] = [part for part in sections([analysis]) if part.title == "What whole layers do at each position"]
    assert section.text.endswith(f"{analysis.title} {measured.predicate()}.") and section.figures
    assert call("block_response", path, *options)[1].startswith("layer  variation_dc")
    code, _, err = call("block_response", path, *options, "--null", "untrained")
    assert code == 2 and "--positions has no null models; drop --null" in err
