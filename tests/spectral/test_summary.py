"""Spectral summaries of runs, against the measures and against plain sums over users written out."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import spectral
from models.checkpoint import load, sequences_of
from models.errors import CheckpointError, ConfigError
from models.files import OutputError
from models.registry import MODELS, build, configure
from spectral import summary as summaries
from spectral.summary import SAMPLES, SpectralSummary, measured_length, read_summary, summarise

N, USERS, ITEMS = 10, 30, 40


def windows(full: int, others: int, length: int = 4) -> torch.Tensor:
    """Users with full windows, and others with so many items."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(1, ITEMS + 1, (full + others, N), generator=rng)
    ids[full:, : N - length] = 0
    return ids


def model_of(name: str, **settings: object):
    model = build(configure(name, ITEMS, num_users=USERS, max_len=N, hidden_size=8, **settings))
    model.initialise(1)
    return model.eval()


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "ENOUGH_USERS", 5)


def summary_of(name: str, ids: torch.Tensor, **settings: object) -> SpectralSummary:
    return summarise(model_of(name, **settings), ids, {"model": name}, batch_size=7)


@pytest.mark.usefixtures("few_are_enough")
def test_sums_are_those_of_the_measures():
    ids = windows(20, 10)
    model = model_of("sasrec", num_heads=2)
    summary = summarise(model, ids, {"model": "sasrec"}, batch_size=7)
    assert (summary.users, summary.window_users, summary.positions, summary.is_full) == (USERS, 20, N, True)
    response = spectral.FrequencyResponse.from_captures(spectral.capture(model, spectral.full_windows(ids)))
    np.testing.assert_allclose(summary.response().gain, response.head_mean.gain)
    np.testing.assert_allclose(summary.response().self_gain, response.head_mean.self_gain)
    assert summary.power.shape == (2, 2, N // 2 + 1)
    similarity = spectral.CosineSimilarity.from_captures(spectral.capture(model, ids))
    np.testing.assert_allclose(summary.similarity().between_users, similarity.between_users)
    np.testing.assert_allclose(summary.similarity().within_sequence, similarity.within_sequence)
    spectra = spectral.LayerSpectra.from_captures(spectral.capture(model, ids))
    for layer, found in summary.spectra().layers.items():
        np.testing.assert_allclose(found.values, spectra.layers[layer].values, atol=1e-6)


@pytest.mark.usefixtures("few_are_enough")
def test_samples_are_the_measures_of_users_drawn_with_repetition():
    ids = windows(20, 10)
    model = model_of("sasrec")
    summary = summarise(model, ids, {"model": "sasrec"}, batch_size=7)
    counts = np.random.default_rng(summaries.SAMPLES_SEED).poisson(1.0, (USERS, SAMPLES))
    (captured,) = spectral.capture(model, ids)
    for sample in (0, 17):
        drawn = np.repeat(np.arange(USERS), counts[:, sample])
        full = drawn[drawn < 20]
        last = captured.hidden[2][drawn, -1].double()
        values = torch.linalg.svdvals(last)
        np.testing.assert_allclose(summary.output_singular_values_samples[sample], values, atol=1e-6)
        share = values / values.sum()
        assert summary.effective_rank_samples[sample, 2] == pytest.approx(float((-share * share.log()).sum().exp()))
        assert summary.stable_rank_samples[sample, 2] == pytest.approx(float(values.square().sum() / values[0] ** 2))
        unit = (last / last.norm(dim=1, keepdim=True)).numpy()
        others = drawn[:, None] != drawn
        assert summary.between_samples[sample, 2] == pytest.approx((unit @ unit.T)[others].mean(), abs=1e-6)
        each = [spectral.within_sequence_similarity(captured.hidden[1][[u]], captured.mask[[u]]) for u in drawn]
        assert summary.within_samples[sample, 1] == pytest.approx(np.mean(each))
        waves = np.fft.fft(captured.attention[0][full, 0].numpy().astype(float), axis=-1)
        power = (np.abs(waves) ** 2).sum(1).mean(0)[: N // 2 + 1] / N
        np.testing.assert_allclose(summary.power_samples[sample, 0], power, rtol=1e-5)
        energy = np.abs(np.fft.rfft(captured.hidden[1][full].numpy().astype(float), axis=1, norm="ortho")) ** 2
        np.testing.assert_allclose(summary.hidden_power_samples[sample, 1], energy.sum(2).mean(0), rtol=1e-6)


def test_all_runs_on_the_same_users_have_the_same_samples():
    ids = windows(0, USERS)
    one, other = summary_of("sasrec", ids), summary_of("fmlprec", ids)
    assert one.about["samples_seed"] == other.about["samples_seed"]
    np.testing.assert_allclose(
        summary_of("sasrec", ids).between_samples, summarise(model_of("sasrec"), ids, {}, 30).between_samples
    )


@pytest.mark.parametrize(("full", "others", "expected"), [(5, 20, N), (4, 20, 4), (0, 25, 4)])
@pytest.mark.usefixtures("few_are_enough")
def test_the_commonest_length_is_measured_where_few_windows_are_full(full: int, others: int, expected: int):
    ids = windows(full, others)
    assert measured_length(ids) == expected
    summary = summary_of("sasrec", ids)
    assert summary.positions == expected and summary.is_full == (expected == N)
    assert summary.window_users == (full if expected == N else others)
    assert summary.hidden_power.shape == (3, expected // 2 + 1)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_summary_that_is_read_as_it_was_saved(name: str, tmp_path: Path):
    summary = summary_of(name, windows(0, USERS))
    path = tmp_path / "a.spectral.npz"
    summary.save(path)
    read = read_summary(path)
    assert path.stat().st_size < 200_000
    for field, value in vars(summary).items():
        if not isinstance(value, np.ndarray):
            assert getattr(read, field) == value
        elif field.endswith("_samples"):
            np.testing.assert_allclose(getattr(read, field), value, rtol=6e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(getattr(read, field), value)
    assert (len(read.beta) > 0) == (name == "bsarec")
    if not len(read.power):
        with pytest.raises(ConfigError, match=f"{name} has no attention"):
            read.response()


def test_layers_of_other_widths_keep_their_measures():
    ids = windows(0, USERS)
    model = model_of("gru4rec")  # its recurrent layers are wider than the embeddings
    summary = summarise(model, ids, {"model": "gru4rec"})
    captures = list(spectral.capture(model, ids))
    expected = spectral.LayerSpectra.from_captures(captures).layers[0]
    found = summary.spectra().layers[0]
    np.testing.assert_allclose(found.values[: len(expected.values)], expected.values, atol=1e-6)
    assert found.values[len(expected.values) :] == pytest.approx(0, abs=1e-6)
    similarity = spectral.CosineSimilarity.from_captures(captures)
    np.testing.assert_allclose(summary.similarity().between_users, similarity.between_users)


def test_beta_is_the_square_of_the_trained_one():
    model = model_of("bsarec")
    summary = summarise(model, windows(0, USERS), {"model": "bsarec"})
    trained = [p.detach() for name, p in model.named_parameters() if name.endswith("sqrt_beta")]
    np.testing.assert_allclose(summary.beta, torch.stack(trained).flatten(1).square(), rtol=1e-5)


def test_what_is_no_summary_is_named(tmp_path: Path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"a.npz: is not the spectral summary of a run"):
        read_summary(path)
    np.savez(path, x=np.zeros(2))
    with pytest.raises(CheckpointError, match="is not the spectral summary"):
        read_summary(path)
    summary = summary_of("sasrec", windows(0, USERS))
    with pytest.raises(OutputError, match="exists and is not a spectral summary"):
        summary.save(path)
    path.unlink()
    summary.save(path)
    with np.load(path) as archive:
        content = dict(archive)
    np.savez(path, **{key: value for key, value in content.items() if key != "beta"})
    with pytest.raises(CheckpointError, match="missing, or should not be there: beta"):
        read_summary(path)
    np.savez(path, **content | {"summary": np.array('{"format": "spectral-recommender-summary", "format_version": 9}')})
    with pytest.raises(CheckpointError, match="summary format version 9, this toolkit reads 1"):
        read_summary(path)


def test_command_writes_a_summary_of_all_users(
    command: Callable[..., subprocess.CompletedProcess[str]], checkpoint: Path, tmp_path: Path
):
    done = command("spectral.summary", checkpoint, "--out", "kept/a.spectral.npz")
    assert done.returncode == 0, done.stderr
    found = read_summary(tmp_path / "kept/a.spectral.npz")
    model = load(checkpoint)
    sequences = sequences_of(model)
    assert found.users == sequences.num_users and found.about["fingerprint"] == sequences.fingerprint
    assert found.about["seed"] == 1 and found.about["random_streams"] == "1"
    ids = torch.from_numpy(sequences.windows("test", model.config.max_len).inputs)
    expected = summarise(model, ids, {})
    np.testing.assert_allclose(found.directions, expected.directions)
    assert replace(found, users=3).users == 3
