"""Distance to rank one, against a search for the nearest matrix of equal rows, the share of DC, and plain blocks."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from json_output import json_of
from plain_models import WINDOWS, D, N, feed_forward, linear, norm, random_model, weights

import models
import spectral
from models.errors import ConfigError
from models.registry import MODELS
from spectral import RankOneDistance, RankOneDistanceMetric, dc_share, plot, rank_one_distance, relative_distance
from spectral.capture import Capture

SEEDS = st.integers(0, 2**32 - 1)
BLOCKS = sorted(set(MODELS) - {"gru4rec", "caser", "lowarec"})


def signal(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size)) + 0.5


def naive(x: np.ndarray) -> float:
    """The distance from its definition: the nearest row is found by least squares, column by column."""
    ones = np.ones((len(x), 1))
    nearest = np.linalg.lstsq(ones, x, rcond=None)[0]
    return math.sqrt(((x - ones @ nearest) ** 2).sum()) / math.sqrt((x**2).sum())


@settings(max_examples=30)
@given(st.integers(2, 14), st.integers(1, 6), SEEDS)
def test_the_distance_is_that_of_its_definition_and_no_other_row_is_nearer(n, size, seed):
    x = signal(n, size, seed)
    measured = rank_one_distance(x).distance[0]
    assert measured == pytest.approx(naive(x))
    assert measured**2 == pytest.approx(1 - dc_share(torch.from_numpy(x)).item())
    other = x.mean(0) + np.random.default_rng(seed).standard_normal(size)
    assert measured <= np.linalg.norm(x - other) / np.linalg.norm(x) + 1e-12


@settings(max_examples=30)
@given(st.integers(2, 10), st.integers(1, 5), SEEDS, st.floats(1e-150, 1e150))
def test_it_knows_neither_the_scale_nor_the_order_of_positions_nor_a_rotation(n, size, seed, scale):
    x = torch.from_numpy(signal(n, size, seed))
    rotation = torch.linalg.qr(torch.from_numpy(signal(size, size, seed + 1)))[0]
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    expected = relative_distance(x).item()
    assert 0 <= expected <= 1 + 1e-12
    for other in (scale * x, x[order], x @ rotation):
        assert relative_distance(other).item() == pytest.approx(expected)


def test_row_stochastic_attention_of_equal_rows_ends_at_rank_one_and_a_sum_of_zero_is_farthest():
    x = torch.from_numpy(signal(6, 3))
    assert relative_distance(torch.full((6, 6), 1 / 6, dtype=torch.float64) @ x).item() == pytest.approx(0, abs=1e-12)
    assert relative_distance(x - x.mean(0)).item() == pytest.approx(1)


def test_noise_has_the_distance_that_is_given_for_it():
    x = torch.randn(4000, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = rank_one_distance(x)
    assert measured.noise[0] == pytest.approx(math.sqrt(0.8))
    assert measured.distance[0] == pytest.approx(measured.noise[0], abs=0.02)


def test_padding_and_lone_positions_and_zeros_are_left_out():
    lengths, n, size = [2, 3, 5, 9, 9, 1, 0, 4], 9, 4
    hidden, mask = np.full((len(lengths), n, size), 100.0), np.zeros((len(lengths), n), dtype=bool)
    singles = []
    for row, length in enumerate(lengths):
        if length:
            hidden[row, -length:], mask[row, -length:] = signal(length, size, row), True
        if length >= 2 and row < 7:
            singles.append(naive(signal(length, size, row)))
    hidden[7, -4:] = 0
    measured = rank_one_distance(hidden, mask)
    assert measured.distance[0] == pytest.approx(np.mean(singles))
    assert measured.standard_error[0] == pytest.approx(pd.Series(singles).sem())
    assert measured.noise[0] == pytest.approx(np.mean([math.sqrt(1 - 1 / n) for n in (2, 3, 5, 9, 9)]))
    assert measured.sequences.tolist() == [5]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), SEEDS)
def test_the_accumulator_equals_the_function_however_sequences_are_batched(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, sum(sizes), 6, 4, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) >= torch.randint(0, 5, (sum(sizes), 1), generator=generator)
    metric = RankOneDistanceMetric(3)
    for part, real in zip(hidden.split(sizes, dim=1), mask.split(sizes), strict=True):
        metric.update(part, real)
    pd.testing.assert_frame_equal(metric.compute().table(), rank_one_distance(hidden, mask).table())


def test_captures_are_measured_layer_by_layer():
    hidden = torch.randn(3, 7, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) >= torch.arange(7)[:, None] % 3
    captures = [Capture(tuple(hidden[:, part]), (), mask[part]) for part in (slice(0, 4), slice(4, 7))]
    measured = RankOneDistance.from_captures(captures)
    pd.testing.assert_frame_equal(measured.table(), rank_one_distance(hidden, mask).table())


def mean_of(x: torch.Tensor) -> float:
    """The mean of users with four and with all real positions, which the last two of WINDOWS have."""
    return float(np.mean([naive(each[-n:].numpy()) for each, n in zip(x, (4, N), strict=True)]))


@torch.no_grad()
def test_the_parts_of_a_block_are_those_of_a_plain_model():
    model = random_model("sasrec", num_heads=2)
    w, trace = weights(model), model.trace(WINDOWS[2:])
    parts = RankOneDistance.of_parts(model, WINDOWS[2:].split(1))
    found = dict(zip(parts.parts, parts.distance, strict=True))
    for layer, (before, attention) in enumerate(zip(trace.hidden, trace.attention, strict=False), start=1):
        block = f"blocks.{layer - 1}"
        value = linear(before, w, f"{block}.mixer.qkv")[..., 2 * D :].chunk(2, -1)
        alone = linear(
            torch.cat([attention[:, head] @ value[head] for head in range(2)], -1), w, f"{block}.mixer.output"
        )
        after = norm(alone + before, w, f"{block}.mixer.add_norm.norm")
        assert found[layer, "attention", "alone"] == pytest.approx(mean_of(alone))
        assert found[layer, "attention", "with residual"] == pytest.approx(mean_of(alone + before))
        assert found[layer, "attention", "after norm"] == pytest.approx(mean_of(after))
        assert found[layer, "feed-forward", "after norm"] == pytest.approx(mean_of(feed_forward(after, w, block)))
        assert found[layer, "layer", "output"] == pytest.approx(mean_of(trace.hidden[layer]))


@pytest.mark.parametrize("name", BLOCKS)
def test_outputs_measured_through_the_parts_are_those_of_captures(name):
    model = random_model(name)
    parts = RankOneDistance.of_parts(model, [WINDOWS])
    captured = RankOneDistance.from_captures(spectral.capture(model, WINDOWS, attention=False))
    pd.testing.assert_frame_equal(parts.outputs.table(), captured.table())
    assert not model.training


@pytest.mark.parametrize(
    "hidden, options, message",
    [
        (np.ones(3), {}, r"\(B, N, D\)"),
        (np.ones((2, 3, 0)), {}, r"\(B, N, D\)"),
        (np.full((2, 3), np.nan), {}, "finite"),
        (np.ones((4, 3)), {"mask": [[True, True, True, False]]}, "padding must be on the left"),
        ([], {}, "no hidden states"),
    ],
)
def test_what_is_no_hidden_state_is_refused(hidden, options, message):
    with pytest.raises(ValueError, match=message):
        rank_one_distance(hidden, **options)


def test_models_without_blocks_are_refused_with_a_reason():
    with pytest.raises(ConfigError, match="GRU4Rec is not made of blocks"):
        RankOneDistance.of_parts(random_model("gru4rec"), [WINDOWS])
    with pytest.raises(ConfigError, match="Linear has no method residual_steps"):
        RankOneDistance.of_parts(torch.nn.Linear(2, 2), [WINDOWS])
    with pytest.raises(ValueError, match="no sequences"):
        RankOneDistance.of_parts(random_model("sasrec"), [])


def test_the_picture_has_the_points_of_every_step_between_the_layers():
    measured = RankOneDistance.of_parts(random_model("bsarec"), [WINDOWS])
    ax = plot.rank_one_parts(measured, label="bsarec")
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["layer output"].get_ydata(), measured.outputs.distance)
    np.testing.assert_array_equal(lines["attention"].get_ydata(), measured.of_step(1, "attention").distance)
    np.testing.assert_array_equal(lines["_feed-forward"].get_ydata(), measured.of_step(2, "feed-forward").distance)
    assert all(1 < x < 2 for x in lines["_feed-forward"].get_xdata())


def test_the_command_writes_what_a_loop_over_users_gives(checkpoint, call, tmp_path):
    code, out, err = call("rank_one", checkpoint, "--out", tmp_path, "--json")
    assert code == 0, err
    model = models.load(checkpoint)
    expected: dict[int, list[float]] = {}
    for window in model.probe.input_ids[model.probe.uniform]:
        n = int((window > 0).sum())
        for layer, hidden in enumerate(next(spectral.capture(model, window[None])).hidden if n >= 2 else ()):
            expected.setdefault(layer, []).append(naive(hidden[0, -n:].double().numpy()))
    table = pd.read_csv(tmp_path / "rank_one.csv").query("step == 'layer'").set_index("layer")
    printed = json_of(out)
    shown = {part["layer"]: part["distance"] for part in printed["parts"] if part["step"] == "layer"}
    for layer, singles in expected.items():
        assert table["distance"][layer] == pytest.approx(np.mean(singles), rel=1e-4)
        assert shown[layer] == pytest.approx(np.mean(singles), rel=1e-4)
    assert printed["sequences"] == len(expected[0])
