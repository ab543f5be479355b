"""Spectral summaries of runs, against the measures and against plain sums over users written out."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import spectral
from models.checkpoint import load, sequences_of
from models.errors import CheckpointError, ConfigError, DataError
from models.files import OutputError
from models.registry import MODELS, build, configure
from models.train import train
from spectral.summary import SAMPLES, SpectralSummary, measured_length, read_summary, summarise
from spectral.summary import measure as summaries
from spectral.summary.runs import epochs_of, read_results, read_runs, summarised, uniform_attention

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
    summary.write(path)
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
        summary.write(path)
    path.unlink()
    summary.write(path)
    with np.load(path) as archive:
        content = dict(archive)
    np.savez(path, **{key: value for key, value in content.items() if key != "beta"})
    with pytest.raises(CheckpointError, match="missing, or should not be there: beta"):
        read_summary(path)
    np.savez(path, **content | {"summary": np.array('{"format": "spectral-recommender-summary", "format_version": 9}')})
    with pytest.raises(CheckpointError, match="summary format version 9, this toolkit reads 1 to 2"):
        read_summary(path)


def test_command_writes_a_summary_of_all_users(
    command: Callable[..., subprocess.CompletedProcess[str]], checkpoint: Path, tmp_path: Path
):
    done = command("spectral.summary", checkpoint, "--out", "kept/a.spectral.npz", "--null", "uniform")
    assert done.returncode == 0, done.stderr
    found = read_summary(tmp_path / "kept/a.spectral.npz")
    model = load(checkpoint)
    sequences = sequences_of(model)
    assert list(found.nulls) == ["uniform"]
    assert found.users == sequences.num_users and found.about["fingerprint"] == sequences.fingerprint
    assert found.about["seed"] == 1 and found.about["random_streams"] == "1"
    ids = torch.from_numpy(sequences.windows("test", model.config.max_len).inputs)
    expected = summarise(model, ids, {})
    np.testing.assert_allclose(found.directions, expected.directions)
    assert replace(found, users=3).users == 3


def as_format_1(path: Path) -> None:
    """Rewrite a summary as the first format had it."""
    with np.load(path) as archive:
        content = dict(archive)
    about = json.loads(str(content.pop("summary"))) | {"format_version": 1}
    new = ("transfer", "column_means", "column_deviations")
    kept = {key: value for key, value in content.items() if key not in new and not key.startswith("null/")}
    np.savez(path, summary=np.array(json.dumps(about)), **kept)


def test_a_file_of_format_1_is_read_and_lacks_what_it_never_held(tmp_path: Path):
    path = tmp_path / "a.spectral.npz"
    summary = summarise(model_of("sasrec"), windows(0, USERS), {"model": "sasrec"}, nulls=["uniform"])
    summary.write(path)
    as_format_1(path)
    read = read_summary(path)
    np.testing.assert_allclose(read.response().gain, summary.response().gain)
    assert read.nulls == {} and not len(read.transfer)
    with pytest.raises(ConfigError, match="holds no transfer map; make it again"):
        read.transfer_map()
    with pytest.raises(ValueError, match="means and variances of the columns are not known"):
        read.spectra().layers[1].gaussian()


@pytest.mark.usefixtures("few_are_enough")
def test_null_models_and_transfer_maps_are_kept_with_it(tmp_path: Path):
    ids, model = windows(20, 10), model_of("bsarec", num_heads=2)
    summarise(model, ids, {"model": "bsarec"}, 7, nulls=["all"], draws=2).write(tmp_path / "a.npz")
    read = read_summary(tmp_path / "a.npz")
    assert {name: len(draws) for name, draws in read.nulls.items()} == {"uniform": 1, "untrained": 2, "shuffled": 2}
    others = {name: list(spectral.nulls.null_models(name, model, ids, 2)) for name in read.nulls}
    for name, draws in read.nulls.items():
        for draw, (other, inputs) in zip(draws, others[name], strict=True):
            full = spectral.FrequencyResponse.from_captures(spectral.capture(other, spectral.full_windows(inputs)))
            np.testing.assert_allclose(draw.response().gain, full.head_mean.gain, rtol=1e-4)
            np.testing.assert_allclose(draw.response().self_gain, full.head_mean.self_gain, rtol=1e-4)
            assert draw.response().resampled is None
            captures = list(spectral.capture(other, inputs))
            similarity = spectral.CosineSimilarity.from_captures(captures)
            np.testing.assert_allclose(draw.similarity().between_users, similarity.between_users, atol=1e-5)
            np.testing.assert_allclose(draw.similarity().within_sequence, similarity.within_sequence, atol=1e-5)
            last = spectral.LayerSpectra.from_captures(captures).layers[2]
            np.testing.assert_allclose(draw.spectra().layers[2].values, last.values, rtol=1e-4, atol=1e-4)
    expected = spectral.TransferMap.from_captures(spectral.capture(model, spectral.full_windows(ids)))
    np.testing.assert_allclose(read.transfer_map().power, expected.head_mean.power, rtol=1e-6, atol=1e-12)
    states = spectral.LayerSpectra.from_captures(spectral.capture(model, ids)).layers[2]
    np.testing.assert_allclose(read.column_deviations[2], states.column_deviations)


def test_a_null_that_is_not_whole_is_named(tmp_path: Path):
    path = tmp_path / "a.npz"
    summarise(model_of("sasrec"), windows(0, USERS), {"model": "sasrec"}, nulls=["uniform"]).write(path)
    with np.load(path) as archive:
        content = {key: value for key, value in archive.items() if key != "null/uniform/within"}
    np.savez(path, **content)
    with pytest.raises(CheckpointError, match="missing, or should not be there: null/uniform/within"):
        read_summary(path)


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "bsarec"])
@pytest.mark.parametrize(("full", "others"), [(20, 10), (0, USERS)])
@pytest.mark.usefixtures("few_are_enough")
def test_uniform_attention_needs_no_checkpoint(name: str, full: int, others: int):
    summary = summarise(model_of(name), windows(full, others), {"model": name}, nulls=["uniform"])
    found, expected = uniform_attention(summary), summary.nulls["uniform"][0]
    np.testing.assert_allclose(found.response().gain, expected.response().gain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.response().self_gain, expected.response().self_gain, rtol=1e-5, atol=1e-6)
    assert not len(found.singular_values)


def test_models_without_attention_to_replace_have_no_uniform_one():
    for name in ("fearec", "fmlprec", "caser"):
        assert uniform_attention(summary_of(name, windows(0, USERS))) is None


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Summaries of format 1 of two runs, with their results."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"epochs": 1, "hidden_size": 8, "max_len": 8, "show_progress": False}
    for seed in (1, 2):
        path = train(
            "sasrec", "synthetic:users=110,items=60", out=folder / f"sasrec-seed{seed}.pt", seed=seed, **options
        ).path
        model = load(path)
        sequences = sequences_of(model)
        ids = torch.from_numpy(sequences.windows("test", 8).inputs)
        about = {"model": "sasrec", "fingerprint": sequences.fingerprint, "seed": seed}
        summarise(model, ids, about).write(path.with_suffix(".spectral.npz"))
        as_format_1(path.with_suffix(".spectral.npz"))
    return folder


def test_runs_are_read_with_the_nulls_that_need_no_checkpoint(runs_folder: Path):
    for path in runs_folder.glob("*.pt"):
        path.rename(path.with_suffix(".hidden"))
    read = read_runs(runs_folder, {"sasrec": [1, 2]}, ["all"], draws=2)["sasrec"]
    assert [run.about["seed"] for run in read] == [1, 2]
    assert {name: len(draws) for name, draws in read[0].nulls.items()} == {"uniform": 1, "untrained": 2}
    model = load(runs_folder / "sasrec-seed1.hidden")
    ids = torch.from_numpy(sequences_of(model).windows("test", 8).inputs)
    expected = summarise(model, ids, {"model": "sasrec"}, nulls=["untrained"], draws=2).nulls["untrained"]
    for draw, other in zip(read[0].nulls["untrained"], expected, strict=True):
        np.testing.assert_allclose(draw.singular_values, other.singular_values, rtol=1e-5, atol=1e-5)
    assert read_runs(runs_folder, {"sasrec": [1]})["sasrec"][0].nulls == {}
    results = read_results(runs_folder, {"sasrec": [1, 2]})
    assert [result.seed for result in results["sasrec"]] == [1, 2]
    assert epochs_of(results) == "1 epoch; the limit of epochs ended 2 of 2 runs"
    assert epochs_of({"sasrec": model}) == "1 epoch; the limit of epochs ended 1 of 1 runs"


def test_nulls_of_other_data_are_refused(runs_folder: Path, tmp_path: Path):
    summary = read_summary(runs_folder / "sasrec-seed1.spectral.npz")
    replace(summary, about=summary.about | {"fingerprint": "f"}).write(tmp_path / "sasrec-seed1.spectral.npz")
    shutil.copy(runs_folder / "sasrec-seed1.json", tmp_path)
    with pytest.raises(DataError, match=r"is not the data that .* was trained on"):
        read_runs(tmp_path, {"sasrec": [1]}, ["untrained"])
    assert set(read_runs(tmp_path, {"sasrec": [1]}, ["uniform"])["sasrec"][0].nulls) == {"uniform"}


def test_a_missing_summary_is_named_with_the_commands_that_make_it(tmp_path: Path):
    message = (
        r"make figures PROFILE=paper DATASET=lastfm, or .*python -m spectral.summary CHECKPOINT --out .*bsarec-seed7"
    )
    with pytest.raises(CheckpointError, match=message):
        read_runs(tmp_path / "lastfm/runs/paper", {"bsarec": [7]})


def test_models_bring_the_nulls_that_they_have():
    models = {name: model_of(name) for name in ("sasrec", "fmlprec")}
    for model in models.values():
        model.checkpoint = {"seed": 1}
    found = summarised(models, dict.fromkeys(models, windows(0, USERS)), ["uniform", "untrained"])
    assert [set(found[name][0].nulls) for name in models] == [{"uniform", "untrained"}, {"untrained"}]
