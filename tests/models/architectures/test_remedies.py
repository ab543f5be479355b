"""Models with a remedy: what they compute, that the fast path computes it too, and that files keep the setting."""

from pathlib import Path

import pytest
import torch
from plain_models import (
    ITEMS,
    USERS,
    WINDOWS,
    D,
    N,
    assert_hidden,
    embed,
    feed_forward,
    heads,
    key_mask,
    linear,
    norm,
    random_model,
    weights,
)
from torch import Tensor

import models
from models.architectures.bsarec import BSARec, BSARecConfig
from models.architectures.diagram import diagram_of
from models.architectures.encoder import Block
from models.datasets import load
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.losses import LOSSES
from models.layers.packing import all_positions, real_positions
from models.layers.remedies import KINDS
from models.recommender import Recommender
from models.registry import build, configure
from models.train import train
from models.training import Trainer, TrainingConfig

REMEDIES = [*(name for name in KINDS if name != "none"), "residual_scale:fixed=0.5", "gfsa:order=5"]
NEUTRAL = ("attnscale", "featscale", "gfsa", "residual_scale")  # at first
MODELS = ("sasrec", "bsarec", "bert4rec", "fearec")
FREQUENCY = ("wavelet", "wavelet:name=sym4,mode=periodic", "residual")


def gelu_layer(x: Tensor, w: dict[str, Tensor], block: str) -> Tensor:
    return linear(torch.nn.functional.gelu(linear(x, w, f"{block}.inner")), w, f"{block}.outer")


def uniform(ids: Tensor) -> Tensor:
    """(B, N, N): for each query 1 / count of the keys it may see; all of them if there is none."""
    allowed = key_mask(ids, causal=True)[:, 0] == 0
    allowed = allowed | ~allowed.any(-1, keepdim=True)
    return allowed / allowed.sum(-1, keepdim=True).double()


def reference(model: Recommender, ids: Tensor, remedy: str) -> list[Tensor]:
    """SASRec with a remedy, in plain float64."""
    w, count = weights(model), model.config.num_heads
    low = uniform(ids)
    hidden = [embed(ids, w)]
    for layer in range(model.config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        end = f"{name}.mixer.add_norm"
        inner = norm(x, w, f"{end}.norm") if remedy == "pre_norm" else x
        q, k, v = (heads(part, count) for part in linear(inner, w, f"{name}.mixer.qkv").chunk(3, dim=-1))
        attention = (q @ k.mT / (D // count) ** 0.5 + key_mask(ids, causal=True)).softmax(-1)
        if remedy == "attnscale":
            factor = 1 + w[f"{name}.mixer.reweight.high_offset"].view(1, count, 1, 1)
            attention = low[:, None] + factor * (attention - low[:, None])
        if remedy == "gfsa":
            w0, w1, w_power = (
                w[f"{name}.mixer.reweight.{part}_offset"].view(1, count, 1, 1)
                for part in ("identity", "first", "power")
            )
            power = attention + 2 * (attention @ attention - attention)
            attention = w0 * torch.eye(N) + (1 + w1) * attention + w_power * power
        y = linear((attention @ v).transpose(1, 2).flatten(2), w, f"{name}.mixer.output")
        if remedy == "featscale":
            part = f"{name}.mixer.rescale"
            y = (1 + w[f"{part}.low_offset"]) * (low @ y) + (1 + w[f"{part}.high_offset"]) * (y - low @ y)
        if remedy == "pre_norm":
            x = x + y
            x = x + gelu_layer(norm(x, w, f"{name}.feed_forward.add_norm.norm"), w, f"{name}.feed_forward")
        elif remedy == "residual_scale":
            x = norm(x + (1 + w[f"{end}.scale.scale_offset"]) * y, w, f"{end}.norm")
            end = f"{name}.feed_forward.add_norm"
            x = norm(
                x + (1 + w[f"{end}.scale.scale_offset"]) * gelu_layer(x, w, f"{name}.feed_forward"), w, f"{end}.norm"
            )
        else:
            x = feed_forward(norm(x + y, w, f"{end}.norm"), w, name)
        if remedy == "contranorm":
            unit = x / x.norm(dim=-1, keepdim=True)
            x = norm(
                x - 0.1 * (unit @ unit.mT + key_mask(ids, causal=True)[:, 0]).softmax(-1) @ x,
                w,
                f"{name}.contrast.norm",
            )
        hidden.append(x)
    if remedy == "pre_norm":
        hidden[-1] = norm(hidden[-1], w, f"{name}.final_norm")
    return hidden


@pytest.mark.parametrize("remedy", [name for name in KINDS if name != "none"])
@pytest.mark.parametrize("count", [1, 2])
def test_hidden_states_are_those_written_plainly(remedy, count):
    model = random_model("sasrec", remedy=remedy, num_heads=count)
    assert_hidden(model.trace(WINDOWS).hidden, reference(model, WINDOWS, remedy))


@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("name", MODELS)
def test_the_fast_path_has_the_outputs_and_gradients_of_the_whole_trace(name, remedy):
    model = random_model(name, remedy=remedy, num_heads=2)

    def outcome(codes: Tensor) -> list[Tensor]:
        model.zero_grad()
        (codes * torch.arange(1.0, D + 1, dtype=torch.float64)).sum().backward()
        return [codes, *(torch.zeros(1) if p.grad is None else p.grad.clone() for p in model.parameters())]

    whole = outcome(model.trace(WINDOWS).hidden[-1][:, -1])
    fast = outcome(model.encode(WINDOWS))
    for a, b in zip(fast, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("remedy", ["none", *REMEDIES])
def test_some_rows_and_other_positions_alone_are_those_of_all(remedy):
    model = random_model("bert4rec", remedy=remedy, num_heads=2)
    block: Block = model.blocks[-1]
    for packing in (real_positions(WINDOWS, causal=False), all_positions(WINDOWS, causal=False)):
        x = model.embed(packing)
        whole = block(x, packing)[0]
        asked = packing.items % 2 == 1
        rows = asked.flatten().nonzero()[:, 0]
        torch.testing.assert_close(block.some(x, packing, rows), whole[asked], rtol=1e-9, atol=1e-11)
    at = torch.tensor([0, N - 1, N - 2, 3])
    torch.testing.assert_close(block.last(x, packing, at), whole[range(len(at)), at], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"remedy": remedy}) for name in MODELS for remedy in REMEDIES),
        *(("bsarec", {"frequency": frequency}) for frequency in FREQUENCY),
    ],
)
def test_blocks_taken_apart_are_those_of_the_trace(name, settings):
    model = random_model(name, **settings)
    hidden = model.trace(WINDOWS).hidden
    for steps, before, after in zip(model.residual_steps(WINDOWS), hidden, hidden[1:], strict=False):
        torch.testing.assert_close(steps[0].x, before)
        torch.testing.assert_close(steps[-1].output, after)
        for step in steps:
            parts = step.through_norm(step.x) + step.through_norm(step.update)
            bias = 0.0 if step.norm is None else step.share * step.norm.bias
            torch.testing.assert_close(parts + bias, step.output)


@pytest.mark.parametrize("remedy", NEUTRAL)
@pytest.mark.parametrize("name", [*MODELS, "duorec"])
def test_a_remedy_that_starts_neutral_changes_nothing_at_first(name, remedy):
    plain, remedied = (build(configure(name, ITEMS, max_len=N, hidden_size=D, remedy=r)) for r in ("none", remedy))
    for model in (plain, remedied):
        model.initialise(seed=1)
    before = plain.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in remedied.state_dict().items() if key in before)
    assert len(remedied.state_dict()) > len(before)
    torch.testing.assert_close(remedied.eval()(WINDOWS), plain.eval()(WINDOWS))


@pytest.mark.parametrize("remedy", REMEDIES)
def test_no_remedy_lets_a_causal_model_see_the_future_or_padding(remedy):
    model = random_model("sasrec", remedy=remedy)
    later = WINDOWS.clone()
    later[:, -1] = 1
    before, after = (model.trace(ids).hidden[-1][3, :-1] for ids in (WINDOWS, later))
    torch.testing.assert_close(before, after)
    scores = model(WINDOWS)[1:, 1:]
    with torch.no_grad():
        model.items.weight[0] += 1
    torch.testing.assert_close(model(WINDOWS)[1:, 1:], scores)


@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("name", MODELS)
def test_the_diagram_counts_every_parameter(name, remedy):
    model = build(configure(name, ITEMS, max_len=N, hidden_size=D, remedy=remedy))
    assert diagram_of(model).table().parameters.sum() == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("remedy", ["gfsa", "featscale", "contranorm", "pre_norm"])
def test_a_run_with_a_remedy_is_kept_loaded_and_resumed(tmp_path: Path, remedy: str):
    sequences = load("synthetic:users=20,items=30")
    config = configure("sasrec", sequences.num_items, max_len=N, hidden_size=D, remedy=remedy)
    paths = [tmp_path / "whole.pt", tmp_path / "resumed.pt"]
    Trainer(config, TrainingConfig(loss="ce", epochs=2), sequences, paths[0]).fit(show_progress=False)
    first = Trainer(config, TrainingConfig(loss="ce", epochs=2), sequences, paths[1])
    first._run_epoch(0)
    again = Trainer(config, TrainingConfig(loss="ce", epochs=2), sequences, paths[1])
    again.resume()
    again.fit(show_progress=False)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert models.load(paths[0]).config.remedy == remedy


def test_files_of_models_without_a_remedy_do_not_name_it():
    assert "remedy" not in configure("sasrec", 30).saved()
    assert configure("sasrec", 30, remedy="gfsa").saved()["remedy"] == "gfsa"
    assert {"remedy", "frequency"} & configure("bsarec", 30).saved().keys() == set()


def test_models_without_attention_have_no_remedy():
    with pytest.raises(ConfigError, match="fmlprec has no setting remedy; it has"):
        configure("fmlprec", 30, remedy="gfsa")


@pytest.mark.parametrize("frequency", ["fourier", "wavelet:name=haar,mode=zero", "wavelet:name=sym4,mode=symmetric"])
@pytest.mark.parametrize("length", [12, 11])
def test_the_frequency_branch_is_low_plus_beta_high_as_pywavelets_has_it(frequency, length):
    pywt = pytest.importorskip("pywt")
    model = BSARec(BSARecConfig(ITEMS, max_len=length, hidden_size=D, c=5, frequency=frequency)).double()
    model.initialise(seed=0)
    layer = model.blocks[0].mixer.frequency
    x = torch.randn(3, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if frequency == "fourier":
        spectrum = torch.fft.rfft(x, dim=1)
        low = torch.fft.irfft(torch.cat([spectrum[:, :3], 0 * spectrum[:, 3:]], 1), n=length, dim=1)
        high = x - low
    else:
        name, mode = (option.partition("=")[2] for option in frequency.partition(":")[2].split(","))
        approximation, detail = pywt.dwt(x.numpy(), name, mode, axis=1)
        low, high = (
            torch.from_numpy(pywt.idwt(*coefficients, name, mode, axis=1)[:, :length])
            for coefficients in ((approximation, None), (None, detail))
        )
    torch.testing.assert_close(low + high, x)
    filtered = low + layer.beta * high
    expected = torch.nn.functional.layer_norm(x + filtered, [D], eps=1e-12)
    torch.testing.assert_close(layer.eval()(x, 1.0, plus=x), expected + x)
    torch.testing.assert_close(layer.last(x, x[:, -1], 1.0, plus=x[:, 0]), (expected + x[:, :1])[:, -1])


def test_the_residual_variant_adds_the_input_to_the_attention_branch():
    model = random_model("bsarec", frequency="residual", num_layers=1)
    w, x = weights(model), embed(WINDOWS, weights(model))
    q, k, v = linear(x, w, "blocks.0.mixer.attention.qkv").chunk(3, dim=-1)
    attention = (q @ k.mT / D**0.5 + key_mask(WINDOWS, causal=True)[:, 0]).softmax(-1)
    attended = norm(
        linear(attention @ v, w, "blocks.0.mixer.attention.output") + x, w, "blocks.0.mixer.attention.add_norm.norm"
    )
    assert_hidden(model.trace(WINDOWS).hidden, [x, feed_forward(attended + x, w, "blocks.0")])
    assert model.betas() == []


@pytest.mark.parametrize("frequency", FREQUENCY)
def test_variants_of_the_frequency_branch_train_and_load(tmp_path: Path, frequency: str):
    run = train(
        "bsarec",
        "synthetic:users=20,items=30",
        out=tmp_path / "a.pt",
        epochs=1,
        max_len=10,
        frequency=frequency,
        show_progress=False,
    )
    model = models.load(run.path)
    assert model.config.frequency == frequency
    ids = torch.randint(1, 31, (4, 10))
    torch.testing.assert_close(model.encode(ids), model.trace(ids).hidden[-1][:, -1])


@pytest.mark.parametrize(
    ("frequency", "message"),
    [
        ("cosine", "frequency must be one of fourier, wavelet, residual, got 'cosine'"),
        ("wavelet:name=best", "frequency wavelet: name must be one of .*haar.*, got 'best'"),
        ("wavelet:name=morl", "frequency wavelet: name must be one of"),
        ("wavelet:mode=cyclic", "frequency wavelet: mode must be one of .*periodic.*, got 'cyclic'"),
    ],
)
def test_a_wrong_frequency_branch_is_named_with_what_there_is(frequency, message):
    with pytest.raises(ConfigError, match=message):
        configure("bsarec", 30, frequency=frequency)


@pytest.mark.parametrize("remedy", ["gfsa", "contranorm", "pre_norm"])
@pytest.mark.parametrize("name", [*MODELS, "duorec"])
def test_every_model_with_attention_trains_with_a_remedy(name, remedy):
    model = build(configure(name, ITEMS, USERS, max_len=N, hidden_size=D, remedy=remedy)).train()
    model.initialise(seed=0)
    target = torch.tensor([1, 2, 3, 4])
    batch = Batch(WINDOWS, target, torch.arange(4), target + 1, WINDOWS.flip(0))
    model.objective(batch, LOSSES["ce"]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
