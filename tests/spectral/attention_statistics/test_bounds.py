"""Bounds of layers of attention with projections and residual: from their definition, attained, and kept by models."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import spectral
from models.errors import ConfigError
from models.layers.attention import SelfAttention
from models.registry import MODELS, build, configure
from models.third_party.gsasrec import GSASRec, GSASRecConfig
from models.third_party.pmixer import PmixerSASRec, PmixerSASRecConfig
from models.third_party.rechorus import ReChorusBSARec, ReChorusBSARecConfig, ReChorusSASRec, ReChorusSASRecConfig
from models.train import train
from spectral import AttentionStatistics, LayerBounds, layer_bounds


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40)
@given(
    st.integers(2, 7), st.integers(1, 3), st.integers(1, 4), st.booleans(), st.floats(0, 2), st.integers(0, 2**31 - 9)
)
def test_the_bounds_are_those_of_their_definition_and_no_layer_leaves_them(n, heads, size, causal, scale, seed):
    scores = 3 * drawn(seed, heads, n, n)
    blocked = torch.ones(n, n).triu(1) > 0
    maps = (scores.masked_fill(blocked, -torch.inf) if causal else scores).softmax(-1)
    matrices, x = scale * drawn(seed + 1, heads, size, size), drawn(seed + 2, n, size)
    found = layer_bounds(maps[None], matrices, x[None])
    p = np.eye(n) - np.ones((n, n)) / n
    growth, y = 0.0, x.numpy().copy()
    for a, m in zip(maps.numpy(), matrices.numpy(), strict=True):
        growth += np.linalg.norm(p @ a @ p, 2) * np.linalg.norm(m, 2)
        y += a @ x.numpy() @ m
    ratio = np.linalg.norm(p @ y) / np.linalg.norm(p @ x.numpy())
    assert found.upper.item() == pytest.approx(1 + growth)
    assert found.lower.item() == pytest.approx(max(0, 1 - growth), abs=1e-9)
    assert found.measured.item() == pytest.approx(ratio, rel=1e-9)
    assert found.lower.item() - 1e-9 <= ratio <= found.upper.item() + 1e-9


@pytest.mark.parametrize("factor, attained", [(0.5, "upper"), (-0.25, "lower")])
def test_both_bounds_are_attained(factor, attained):
    """Two heads that leave every position where it is, and multiply it by one number."""
    found = layer_bounds(torch.eye(5).expand(1, 2, 5, 5), factor * torch.eye(3).expand(2, 3, 3), drawn(0, 1, 5, 3))
    assert found.measured.item() == pytest.approx(1 + 2 * factor)
    assert getattr(found, attained).item() == pytest.approx(1 + 2 * factor)


def test_uniform_attention_leaves_all_that_is_not_dc_to_the_residual():
    found = layer_bounds(torch.full((4, 4), 1 / 4), 10 * drawn(0, 1, 3, 3), drawn(1, 1, 4, 3))
    assert (found.lower.item(), found.measured.item(), found.upper.item()) == pytest.approx((1, 1, 1))


def captured_with_sums(model, windows, causal):
    """Captures, and what each layer of attention normalises: its output, and what that is added to."""
    sums = []
    modules = [module for module in model.modules() if isinstance(module, SelfAttention)]
    hooks = [m.add_norm.register_forward_pre_hook(lambda module, inputs: sums.append(inputs)) for m in modules]
    captures = list(spectral.capture(model, windows, causal=causal))
    for hook in hooks:
        hook.remove()
    return captures, sums


@pytest.mark.parametrize("causal", [True, False])
def test_layers_of_trained_models_stay_within_their_bounds(checkpoint, sasrec_checkpoint, causal):
    for path in (checkpoint, sasrec_checkpoint):
        model = models.load(path)
        windows = spectral.full_windows(model.probe.input_ids)
        captures, sums = captured_with_sums(model, windows, causal)
        found = LayerBounds.of(AttentionStatistics.from_captures(captures), model.value_output(), captures)
        assert found.layers == (1, 2) and len(sums) == 2
        for layer, (output, x, *_) in enumerate(sums):
            before, after = (
                (z.double() - z.double().mean(1, keepdim=True)).flatten(1).norm(dim=1)
                for z in (part.reshape(len(windows), -1, model.config.hidden_size) for part in (x, x + output))
            )
            ratios = after / before
            assert found.measured[layer] == pytest.approx(ratios.mean().item(), rel=1e-4)
            assert found.lower[layer] < found.measured[layer] < found.upper[layer]


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("name", ["sasrec", "bsarec", "duorec", "bert4rec"])
def test_matrices_are_the_products_of_the_projections_of_each_head(name, heads):
    model = build(configure(name, 9, num_heads=heads, hidden_size=8, max_len=6))
    model.initialise(0)
    found = model.value_output()
    modules = [module for module in model.modules() if isinstance(module, SelfAttention)]
    for matrices, module in zip(found, modules, strict=True):
        w_value, w_output = module.qkv.weight[16:].T, module.output.weight.T  # rows are multiplied from the right
        for head, rows in enumerate(torch.arange(8).chunk(heads)):
            torch.testing.assert_close(matrices[head], w_value[:, rows] @ w_output[rows])


@pytest.mark.parametrize("remedy", ["residual_scale", "residual_scale:fixed=0.5"])
def test_a_residual_scale_is_in_the_matrices(remedy: str):
    plain, scaled = (build(configure("bsarec", 9, hidden_size=8, remedy=chosen)) for chosen in ("none", remedy))
    scaled.load_state_dict(plain.state_dict(), strict=False)
    scales = [block.mixer.attention.add_norm.scale for block in scaled.blocks]
    for scale in scales:
        if scale.fixed is None:
            torch.nn.init.constant_(scale.scale_offset, -0.5)
    for expected, found in zip(plain.value_output(), scaled.value_output(), strict=True):
        torch.testing.assert_close(found, 0.5 * expected)


THIRD_PARTY = {"num_items": 9, "max_len": 6, "hidden_size": 8, "num_heads": 2}


@pytest.mark.parametrize(
    "model",
    [
        PmixerSASRec(PmixerSASRecConfig(**THIRD_PARTY, norm="post")),
        ReChorusSASRec(ReChorusSASRecConfig(**THIRD_PARTY)),
        ReChorusBSARec(ReChorusBSARecConfig(**THIRD_PARTY)),
    ],
    ids=lambda model: model.name,
)
def test_third_party_models_have_them_where_attention_is_added_to_what_it_reads(model):
    for matrices, block in zip(model.value_output(), model.blocks, strict=True):
        x, maps = torch.randn(1, 6, 8), torch.randn(1, 2, 6, 6).softmax(-1)
        values = block.attention.value(x).unflatten(-1, (2, -1)).transpose(1, 2)
        output = block.attention.output((maps @ values).transpose(1, 2).flatten(2))
        without_biases = (maps @ (x[:, None] @ matrices)).sum(1)
        difference = output - without_biases
        torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        *(build(configure(name, 9)) for name in MODELS if name in ("fmlprec", "fearec", "gru4rec", "caser")),
        *(build(configure("sasrec", 9, remedy=remedy)) for remedy in ("featscale", "pre_norm")),
        *(PmixerSASRec(PmixerSASRecConfig(**THIRD_PARTY, norm=norm)) for norm in ("pre", "query")),
        GSASRec(GSASRecConfig(**THIRD_PARTY)),
    ],
    ids=lambda model: model.name,
)
def test_models_of_other_layers_say_that_there_are_none(model):
    with pytest.raises(ConfigError, match=r"has no layers that add multi-head attention to their input"):
        model.value_output()


@pytest.mark.parametrize(
    "matrices, hidden, message",
    [
        (torch.ones(3, 4, 4), None, r"layer 1 with 2 heads needs W_v W_o of shape \(2, D, D\), got \(3, 4, 4\)"),
        (torch.ones(2, 4, 3), None, r"got \(2, 4, 3\)"),
        (torch.ones(2, 4, 4), torch.ones(1, 5, 3), "hidden states of 3 dimensions do not fit W_v W_o of 4"),
    ],
)
def test_what_does_not_fit_together_is_refused(matrices, hidden, message):
    with pytest.raises(ValueError, match=message):
        layer_bounds(torch.eye(5).expand(1, 2, 5, 5), matrices, hidden)


def test_several_layers_and_a_missing_capture():
    maps, matrices = torch.rand(2, 3, 2, 5, 5).softmax(-1), drawn(0, 2, 2, 4, 4)
    hidden = drawn(1, 2, 3, 5, 4)
    found = layer_bounds(maps, matrices, hidden)
    for layer in range(2):
        alone = layer_bounds(maps[layer], matrices[layer], hidden[layer])
        assert [found.upper[layer], found.measured[layer]] == pytest.approx([alone.upper.item(), alone.measured.item()])
    assert np.isnan(layer_bounds(maps, matrices).measured).all()
    captures = [spectral.Capture((None, None), tuple(maps), torch.ones(3, 5))]
    with pytest.raises(ValueError, match="layer 1 was captured without its input"):
        LayerBounds.of(spectral.attention_statistics(maps), matrices, captures)


def test_the_command_writes_bounds_beside_the_maps(checkpoint, command, tmp_path):
    done = command("spectral.attention_statistics", checkpoint, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)["bounds"]
    model = models.load(checkpoint)
    captures = list(spectral.capture(model, spectral.full_windows(model.probe.input_ids)))
    expected = LayerBounds.of(AttentionStatistics.from_captures(captures), model.value_output(), captures)
    table = pd.read_csv(tmp_path / "attention_statistics.csv")
    pd.testing.assert_frame_equal(table[expected.table().columns], expected.table(), rtol=1e-4)
    for row, record in zip(printed, expected.summary(), strict=True):
        assert row == pytest.approx(record, rel=1e-4)
    shown = command("spectral.attention_statistics", checkpoint, "--out", tmp_path, "--format", "csv")
    assert shown.stdout.count("measured") == 1


def test_the_command_says_for_which_models_there_are_no_bounds(command, tmp_path):
    options = {"hidden_size": 16, "max_len": 20, "epochs": 1, "seed": 1}
    path = train("fearec", "synthetic:users=120,items=60", out=tmp_path / "fearec.pt", **options).path
    done = command("spectral.attention_statistics", path, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bounds"] == []
    assert "note: FEARec has no layers that add multi-head attention" in done.stderr
    assert "layer_upper" not in pd.read_csv(tmp_path / "attention_statistics.csv")
