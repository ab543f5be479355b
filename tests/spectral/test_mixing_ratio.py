"""Shares of a block's parts, against loops in plain float64, and that the parts are the whole output."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from json_output import json_of
from plain_models import WINDOWS, N, random_model

import models
from models.errors import ConfigError
from models.registry import MODELS
from spectral import MixingRatio, MixingRatioMetric, mixing_ratio
from spectral.capture import full_windows
from spectral.mixing_ratio import parts_of_block
from spectral.steps import residual_steps

SEEDS = st.integers(0, 2**32 - 1)
BLOCKS = sorted(set(MODELS) - {"gru4rec", "caser", "lowarec"})
NAMES = ["residual", "attention", "feed-forward"]


def naive(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of parts (P, N, D) of one user by explicit waves: (P, F) at frequencies, (P,) overall, (P,) at the end."""
    count, n, _ = parts.shape
    at = np.zeros((count, n // 2 + 1))
    for p in range(count):
        for k in range(n // 2 + 1):
            wave = np.exp(-2j * np.pi * k * np.arange(n) / n) / np.sqrt(n)
            at[p, k] = np.sqrt(sum(abs(wave @ parts[p, :, d]) ** 2 for d in range(parts.shape[2])))
    whole = np.array([np.sqrt((part**2).sum()) for part in parts])
    last = np.array([np.sqrt((part[-1] ** 2).sum()) for part in parts])
    return at / at.sum(0), whole / whole.sum(), last / last.sum()


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=20)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(2, 9), SEEDS)
def test_shares_are_those_of_their_definition(layers, users, n, seed):
    parts = drawn(layers, 3, users, n, 2, seed=seed)
    measured = mixing_ratio(parts, NAMES)
    for layer in range(layers):
        singles = [naive(parts[layer, :, user]) for user in range(users)]
        for name, values in zip(("share", "overall", "last"), zip(*singles, strict=True), strict=True):
            np.testing.assert_allclose(getattr(measured, name)[layer], np.mean(values, axis=0), atol=1e-10)
        np.testing.assert_allclose(
            measured.standard_error[layer],
            np.std([at for at, _, _ in singles], axis=0, ddof=1) / np.sqrt(users) if users > 1 else np.nan,
            atol=1e-7,
        )
    np.testing.assert_allclose(measured.share.sum(1), 1)
    assert measured.users == users and measured.positions == n


@settings(max_examples=20)
@given(SEEDS, st.floats(1e-3, 1e3))
def test_shares_know_neither_scale_nor_sign_and_an_update_of_zero_mixes_nothing(seed, scale):
    parts = drawn(1, 2, 3, 6, 4, seed=seed)
    flipped = parts * np.array([scale, -scale])[:, None, None, None]
    one, other = (mixing_ratio(x, NAMES[:2]) for x in (parts, flipped))
    np.testing.assert_allclose(one.share, other.share)
    assert ((one.mixing_ratio >= 0) & (one.mixing_ratio <= 1)).all()
    np.testing.assert_allclose(mixing_ratio(parts * np.array([1, 0])[:, None, None, None], NAMES[:2]).mixing_ratio, 0)
    np.testing.assert_allclose(mixing_ratio(parts * np.array([0, 1])[:, None, None, None], NAMES[:2]).mixing_ratio, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_frequencies_that_nothing_has_there_is_no_share(dtype):
    constant = (torch.full((1, 3, 2, 7, 1), 0.1) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)).to(dtype)
    measured = mixing_ratio(constant, NAMES)
    assert np.isnan(measured.share[..., 1:]).all()
    np.testing.assert_allclose(measured.share[0, :, 0], [1 / 6, 1 / 3, 1 / 2], rtol=1e-6)
    assert measured.users == 2


@pytest.mark.parametrize("name", BLOCKS)
def test_the_parts_and_the_biases_are_the_whole_output(name):
    model = random_model(name)
    [(_, layers)] = residual_steps(model, [WINDOWS[3:]])
    for steps in layers:
        *mixing, last = steps
        constant = last.through_norm(torch.stack([step.share * step.norm.bias for step in mixing]).sum(0))
        whole = torch.stack(list(parts_of_block(steps).values())).sum(0) + constant + last.norm.bias
        torch.testing.assert_close(whole, last.output)


def test_a_block_whose_layers_add_nothing_passes_its_residual_only():
    model = random_model("sasrec")
    with torch.no_grad():
        for block in model.blocks:
            for layer in (block.mixer.output, block.feed_forward.outer):
                layer.weight.zero_()
                layer.bias.zero_()
    measured = MixingRatio.of_model(model, [WINDOWS[3:]])
    np.testing.assert_allclose(measured.mixing_ratio, 0)
    np.testing.assert_allclose(measured.overall[:, 0], 1)


def test_a_model_is_measured_batch_by_batch_and_on_its_last_positions():
    model = random_model("bsarec")
    windows = torch.cat([WINDOWS[3:], WINDOWS[3:].flip(1)])
    together, one_by_one = (MixingRatio.of_model(model, windows.split(size)) for size in (2, 1))
    pd.testing.assert_frame_equal(together.table(), one_by_one.table())
    assert together.names == ("residual", "attention", "frequency filter", "feed-forward") and together.users == 2
    short = MixingRatio.of_model(model, [WINDOWS[2:3]], length=4)
    assert short.positions == 4 and short.share.shape == (2, 4, 3)
    [(_, layers)] = residual_steps(model, [WINDOWS[2:3]])
    parts = torch.stack([torch.stack(list(parts_of_block(steps).values())) for steps in layers])[..., -4:, :]
    pd.testing.assert_frame_equal(short.table(), mixing_ratio(parts, short.names).table())


@settings(max_examples=15)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any), SEEDS)
def test_the_accumulator_equals_the_function_however_users_are_batched(sizes, seed):
    parts = torch.from_numpy(drawn(2, 3, sum(sizes), 6, 4, seed=seed))
    metric = MixingRatioMetric(2, NAMES, 6)
    for part in parts.split(sizes, dim=2):
        metric.update(part)
    pd.testing.assert_frame_equal(metric.compute().table(), mixing_ratio(parts, NAMES).table())


@pytest.mark.parametrize(
    "parts, message",
    [
        (np.ones((2, 3, 4)), r"\(L, P, B, N, D\)"),
        (np.ones((1, 3, 2, 0, 2)), r"\(L, P, B, N, D\)"),
        (np.ones((1, 3, 0, 4, 2)), "no sequences"),
        (np.ones((1, 2, 2, 4, 2)), "a name for each of 2 parts, got 3"),
        (np.full((1, 3, 2, 4, 2), np.inf), "finite"),
    ],
)
def test_what_is_no_part_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        mixing_ratio(parts, NAMES)


def test_models_without_blocks_and_no_users_are_refused():
    with pytest.raises(ConfigError, match="Caser is not made of blocks"):
        MixingRatio.of_model(random_model("caser"), [WINDOWS])
    with pytest.raises(ValueError, match="no sequences"):
        MixingRatio.of_model(random_model("sasrec"), [])


def test_the_command_writes_what_the_measure_gives(checkpoint, call, tmp_path):
    code, out, err = call("mixing_ratio", checkpoint, "--out", tmp_path, "--json")
    assert code == 0, err
    model = models.load(checkpoint)
    windows = full_windows(model.probe.input_ids)
    measured = MixingRatio.of_model(model, [windows])
    table = pd.read_csv(tmp_path / "mixing_ratio.csv")
    np.testing.assert_allclose(table["share"], measured.share.ravel(), rtol=1e-5)
    printed = json_of(out)
    assert printed["users"] == len(windows) and printed["positions"] == windows.shape[1] != N
    residual = [row["overall"] for row in printed["layers"] if row["part"] == "residual"]
    np.testing.assert_allclose(residual, measured.overall[:, 0], rtol=1e-5)
