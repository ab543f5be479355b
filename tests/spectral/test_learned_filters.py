"""Learned filters: what they say of a model is what its layers do to waves, and what is drawn of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from third_party_states.bsarec_repository import fmlprec_state

import models
from models.errors import ConfigError, DataError
from models.registry import MODELS, build, configure
from models.train import train
from spectral import learned_filters
from spectral.command_line import Subject

D = 4


def model_of(name: str, length: int = 8, **settings):
    model = build(configure(name, 20, max_len=length, hidden_size=D, **settings)).double().eval()
    model.initialise(3)
    return model


def wave_response(filtered, length: int, frequency: int) -> np.ndarray:
    """What a linear map on signals (N, D) makes of a wave in each dimension, (D,) complex."""
    wave = np.exp(2j * np.pi * frequency * np.arange(length) / length)
    signal = np.repeat(wave[:, None], D, axis=1)
    out = filtered(torch.from_numpy(signal.real)) + 1j * filtered(torch.from_numpy(signal.imag))
    return wave.conj() @ out / length


@pytest.mark.parametrize("length, frequency", [(n, k) for n in (8, 9) for k in range(5)])
def test_fmlprec_multiplies_each_wave_by_its_filter(length, frequency):
    model = model_of("fmlprec", length)
    filters = learned_filters(model)
    for row, block in enumerate(model.blocks):
        kernel = block.mixer.kernel.detach()
        circulant = torch.stack([kernel.flip(0).roll(n + 1, 0) for n in range(length)])  # (N, N, D)
        found = wave_response(lambda x, c=circulant: torch.einsum("nmd,md->nd", c, x).numpy(), length, frequency)
        np.testing.assert_allclose(filters.filters[row, frequency], found, atol=1e-12)


@pytest.mark.parametrize("beta", ["vector", "scalar"])
@pytest.mark.parametrize("length, frequency", [(n, k) for n in (8, 9) for k in range(5)])
def test_bsarec_passes_its_low_modes_and_gives_beta_to_the_rest(beta, length, frequency):
    model = model_of("bsarec", length, c=3, beta=beta)
    filters = learned_filters(model)
    for row, block in enumerate(model.blocks):
        layer = block.mixer.frequency
        low = (layer.low_pass.synthesis @ layer.low_pass.basis.T).numpy()
        gain = (layer.sqrt_beta.detach() ** 2).numpy()
        found = wave_response(
            lambda x, p=low, g=gain: p @ x.numpy() + g * (x.numpy() - p @ x.numpy()), length, frequency
        )
        np.testing.assert_allclose(filters.filters[row, frequency], found, atol=1e-12)


def test_the_table_and_the_summary_hold_the_same_numbers():
    filters = learned_filters(model_of("fmlprec"))
    table = filters.table().set_index(["layer", "frequency", "dimension"])
    assert len(table) == 2 * 5 * D
    value = table.loc[(2, 3, 1)]
    assert value["gain"] * np.exp(1j * value["phase"]) == pytest.approx(filters.filters[1, 3, 1])
    record = filters.summary()[1]
    assert record["gain_nyquist"] == pytest.approx(np.sqrt((np.abs(filters.filters[1, -1]) ** 2).mean()))
    assert record["nyquist_median"] == pytest.approx(np.median(np.abs(filters.filters[1, -1])))


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"fmlprec", "bsarec", "slime4rec"}))
def test_other_models_have_none(name):
    settings = {"num_users": 3} if name == "caser" else {}
    with pytest.raises(ConfigError, match="has no learned filters"):
        learned_filters(model_of(name, **settings))


def test_the_command_shows_them(command, tmp_path: Path):
    path = tmp_path / "model.pt"
    train("fmlprec", "synthetic:users=60,items=40", out=path, epochs=1, hidden_size=8, max_len=10)
    result = command("spectral.learned_filters", path, "--json")
    assert result.returncode == 0
    expected = learned_filters(models.load(path)).summary()
    assert json.loads(result.stdout)["layers"] == json.loads(json.dumps(expected))
    assert {"learned_filters.png", "learned_filters.pdf", "learned_filters.csv"} <= {p.name for p in tmp_path.iterdir()}


def test_a_file_of_other_people_needs_no_users_for_its_filters(command, tmp_path: Path):
    path = tmp_path / "theirs.pt"
    torch.save(fmlprec_state("item_encoder.blocks.{}.layer", "item_encoder.blocks.{}.feed_forward"), path)
    result = command("spectral.learned_filters", path, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["layers"] == json.loads(json.dumps(learned_filters(models.load(path)).summary()))
    assert len(Subject.load(path, which="none").windows) == 0
    with pytest.raises(DataError, match="holds no sequences of users"):
        Subject.load(path)


def test_the_command_refuses_a_model_without(command, sasrec_checkpoint):
    result = command("spectral.learned_filters", sasrec_checkpoint)
    assert result.returncode == 2 and "error: SASRec has no learned filters" in result.stderr
