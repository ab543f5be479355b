"""The models besides SASRec and BSARec, against their equations written plainly with FFTs, loops and float64."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import models
from models.datasets import load
from models.datasets.sampling import Batch, EpochSampler, SameTargetSampler
from models.errors import ConfigError
from models.layers.circulant import circulant, wrapped_diagonal_sums
from models.layers.losses import LOSSES, info_nce
from models.recommender import Recommender
from models.registry import MODELS, build, configure
from models.train import train

ITEMS, N, D, USERS = 30, 11, 8, 5
NEW = ("fmlprec", "duorec", "fearec", "bert4rec", "gru4rec", "caser")
WINDOWS = torch.tensor(
    [
        [0] * N,
        [0] * (N - 1) + [7],
        [0] * (N - 4) + [3, 9, 3, 30],
        list(range(5, 5 + N)),
    ]
)


def make(name: str, **settings: object) -> Recommender:
    """A model in float64 with weights large enough that every part of it matters, in evaluation mode."""
    given = {"hidden_size": D, "max_len": N, **settings}
    model = build(configure(name, ITEMS, USERS, **given))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.double().eval()


def weights(model: Recommender) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-12)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def embed(ids: Tensor, w: dict[str, Tensor]) -> Tensor:
    return norm(w["items.weight"][ids] + w["positions.weight"], w, "norm")


def feed_forward(x: Tensor, w: dict[str, Tensor], block: str) -> Tensor:
    inner = linear(x, w, f"{block}.feed_forward.inner")
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    return norm(linear(inner, w, f"{block}.feed_forward.outer") + x, w, f"{block}.feed_forward.add_norm.norm")


def key_mask(ids: Tensor, causal: bool) -> Tensor:
    allowed = (ids > 0)[:, None, :].expand(-1, N, -1)
    if causal:
        allowed = allowed & torch.ones(N, N, dtype=torch.bool).tril()
    return (~allowed)[:, None] * -10000.0


def heads(x: Tensor, count: int) -> Tensor:
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def fmlprec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w = weights(model)
    hidden = [embed(ids, w)]
    for layer in range(model.config.num_layers):
        name = f"blocks.{layer}"
        filters = torch.view_as_complex(w[f"{name}.mixer.filter"])
        x = hidden[-1]
        mixed = torch.fft.irfft(torch.fft.rfft(x, dim=1, norm="ortho") * filters, n=N, dim=1, norm="ortho")
        hidden.append(feed_forward(norm(mixed + x, w, f"{name}.mixer.add_norm.norm"), w, name))
    return hidden


def attention_reference(model: Recommender, ids: Tensor, causal: bool) -> list[Tensor]:
    w, count = weights(model), model.config.num_heads
    hidden = [embed(ids, w)]
    for layer in range(model.config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        q, k, v = (heads(part, count) for part in linear(x, w, f"{name}.mixer.qkv").chunk(3, dim=-1))
        attention = (q @ k.mT / math.sqrt(D // count) + key_mask(ids, causal)).softmax(-1)
        out = linear((attention @ v).transpose(1, 2).flatten(2), w, f"{name}.mixer.output")
        hidden.append(feed_forward(norm(out + x, w, f"{name}.mixer.add_norm.norm"), w, name))
    return hidden


def fearec_reference(model: Recommender, ids: Tensor, training: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    """FEARec with FFTs, one roll for each delay, and a loop over the samples."""
    w, config = weights(model), model.config
    count, kept = config.num_heads, min(int(config.delay_factor * math.log(N)), N)
    hidden, delays = [embed(ids, w)], []
    for layer in range(config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        band = torch.zeros(N // 2 + 1, dtype=torch.bool)
        band[list(config.band(layer))] = True

        def banded(signal: Tensor, band: Tensor = band) -> Tensor:
            return torch.fft.irfft(torch.fft.rfft(signal, dim=1) * band[:, None], n=N, dim=1)

        (q, k), v = linear(x, w, f"{name}.mixer.query_key").chunk(2, dim=-1), linear(x, w, f"{name}.mixer.value")
        product = torch.fft.rfft(q, dim=1) * torch.fft.rfft(k, dim=1).conj() * band[:, None]
        correlation = torch.fft.irfft(product, n=N, dim=1).mean(-1)  # (B, N)
        rolled, weight = torch.zeros_like(v), torch.zeros_like(correlation)
        for row in range(len(ids)):
            ranked = correlation.mean(0) if training else correlation[row]
            chosen = ranked.argsort(descending=True)[:kept]
            weight[row, chosen] = correlation[row, chosen].softmax(-1)
            for delay in chosen.tolist():
                rolled[row] += weight[row, delay] * v[row].roll(-delay, dims=0)
        bq, bk, bv = (heads(banded(part), count) for part in (q, k, v))
        attention = (bq @ bk.mT / math.sqrt(D // count) + key_mask(ids, True)).softmax(-1)
        attended = (attention @ bv).transpose(1, 2).flatten(2)
        mixed = (1 - config.spatial_ratio) * rolled + config.spatial_ratio * attended
        out = linear(mixed, w, f"{name}.mixer.output")
        hidden.append(feed_forward(norm(out + x, w, f"{name}.mixer.add_norm.norm"), w, name))
        delays.append(weight)
    return hidden, delays


def gru4rec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w = weights(model)
    hidden = [w["items.weight"][ids]]
    for layer in range(model.config.num_layers):
        w_in, w_state = w[f"layers.{layer}.weight_ih_l0"], w[f"layers.{layer}.weight_hh_l0"]
        state, states = torch.zeros(len(ids), model.config.gru_hidden_size, dtype=torch.float64), []
        for n in range(N):
            (r, z, c), (hr, hz, hc) = (hidden[-1][:, n] @ w_in.T).chunk(3, -1), (state @ w_state.T).chunk(3, -1)
            reset, update = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
            state = (1 - update) * torch.tanh(c + reset * hc) + update * state
            states.append(state)
        hidden.append(torch.stack(states, dim=1))
    return [*hidden[:-1], linear(hidden[-1], w, "output")]


def caser_reference(model: Recommender, ids: Tensor, user: Tensor) -> Tensor:
    """Caser, window by window and filter by filter."""
    w, outputs = weights(model), []
    for x, taste in zip(w["items.weight"][ids], user, strict=True):
        features = [w["vertical.weight"][:, :, 0] @ x + w["vertical.bias"][:, None]]
        for height in range(1, N + 1):
            kernel, bias = w[f"horizontal.{height - 1}.weight"], w[f"horizontal.{height - 1}.bias"]
            places = [(kernel * x[start : start + height].T).sum((1, 2)) + bias for start in range(N - height + 1)]
            features.append(torch.relu(torch.stack(places)).amax(0))
        inner = torch.relu(linear(torch.cat([part.flatten() for part in features]), w, "inner"))
        outputs.append(torch.relu(linear(torch.cat([inner, taste]), w, "outer")))
    return torch.stack(outputs)


def assert_hidden(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert len(actual) == len(expected)
    for layer, (a, b) in enumerate(zip(actual, expected, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=lambda text, layer=layer: f"layer {layer}: {text}")


def test_fmlprec_multiplies_each_frequency_by_its_filter():
    model = make("fmlprec")
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, fmlprec_reference(model, WINDOWS))
    assert trace.attention is None and trace.filters is not None
    assert [tuple(part.shape) for part in trace.filters] == [(N // 2 + 1, D)] * 2


def test_fmlprec_layer_commutes_with_a_shift_of_the_ring():
    layer = make("fmlprec").blocks[0].mixer
    x = torch.randn(3, N, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x.roll(4, dims=1), None)[0], layer(x, None)[0].roll(4, dims=1))


@pytest.mark.parametrize("count", [1, 2])
def test_duorec_is_sasrec_with_another_loss(count: int):
    model = make("duorec", num_heads=count)
    assert_hidden(model.trace(WINDOWS).hidden, attention_reference(model, WINDOWS, causal=True))


@pytest.mark.parametrize("count", [1, 2])
def test_bert4rec_attends_both_ways_to_a_window_that_ends_with_the_mask_token(count: int):
    model = make("bert4rec", num_heads=count)
    shifted = torch.cat([WINDOWS[:, 1:], torch.full((len(WINDOWS), 1), ITEMS + 1)], dim=1)
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, attention_reference(model, shifted, causal=False))
    assert trace.attention[0][3, 0, 0, -1] > 0  # the first position looks at the last
    assert model(WINDOWS).shape == (len(WINDOWS), ITEMS + 1)  # the mask token is no candidate
    assert bool(trace.mask[:, -1].all())


@pytest.mark.parametrize("count", [1, 2])
def test_fearec_equals_its_ffts(count: int):
    model = make("fearec", num_heads=count, delay_factor=2.0)
    hidden, delays = fearec_reference(model, WINDOWS)
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, hidden)
    for actual, expected in zip(trace.autocorrelation, delays, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
        assert ((actual > 0).sum(1) == int(2 * math.log(N))).all()
    torch.testing.assert_close(trace.attention[0].sum(-1), torch.ones_like(trace.attention[0][..., 0]))


def test_fearec_chooses_delays_for_the_whole_batch_while_training():
    model = make("fearec", delay_factor=1.0, dropout=0.0).train()
    expected = fearec_reference(model, WINDOWS, training=True)[0][-1][:, -1]
    torch.testing.assert_close(model.encode(WINDOWS), expected, rtol=1e-9, atol=1e-9)
    own = fearec_reference(model, WINDOWS)[0][-1][:, -1]
    assert not torch.allclose(own, expected)


@given(batch=st.integers(1, 3), length=st.integers(1, 9), seed=st.integers(0, 99))
def test_circulant_matrices_and_wrapped_sums_equal_rolls_and_each_others_derivative(batch: int, length: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(batch, length, dtype=torch.float64, generator=generator, requires_grad=True)
    matrix = torch.randn(batch, length, length, dtype=torch.float64, generator=generator, requires_grad=True)
    for n in range(length):
        torch.testing.assert_close(circulant(weight)[:, n], weight.roll(n, dims=1))
    sums = [sum(matrix[:, n, (n + t) % length] for n in range(length)) for t in range(length)]
    torch.testing.assert_close(wrapped_diagonal_sums(matrix), torch.stack(sums, dim=1))
    assert torch.autograd.gradcheck(circulant, weight) and torch.autograd.gradcheck(wrapped_diagonal_sums, matrix)


@given(layers=st.integers(1, 8), length=st.integers(2, 60), ratio=st.floats(0.05, 1))
def test_fearec_bands_slide_down_within_the_spectrum(layers: int, length: int, ratio: float):
    config = configure("fearec", ITEMS, num_layers=layers, max_len=length, global_ratio=ratio)
    bands = [config.band(layer) for layer in range(layers)]
    assert bands[0].stop == length // 2 + 1
    assert all(0 <= band.start <= band.stop <= length // 2 + 1 for band in bands)
    assert [band.start for band in bands] == sorted((band.start for band in bands), reverse=True)


def test_fearec_bands_of_the_published_setting():
    config = configure("fearec", ITEMS)
    assert [config.band(layer) for layer in (0, 1)] == [range(10, 26), range(16)]


@pytest.mark.parametrize("size", [D, 6])
def test_gru4rec_runs_its_cells_from_the_first_position(size: int):
    model = make("gru4rec", gru_hidden_size=size)
    assert_hidden(model.trace(WINDOWS).hidden, gru4rec_reference(model, WINDOWS))


def test_caser_slides_every_filter_over_the_window(monkeypatch: pytest.MonkeyPatch):
    model = make("caser")
    users = torch.tensor([4, 0, 2, 2])
    expected = caser_reference(model, WINDOWS, model.users.weight[users])
    for at_once in (1, 4, 10):
        monkeypatch.setattr("models.architectures.caser.HEIGHTS_AT_ONCE", at_once)
        torch.testing.assert_close(model.encode(WINDOWS, users), expected, rtol=1e-9, atol=1e-9)
    anyone = model.users.weight.mean(0).expand(4, -1)
    torch.testing.assert_close(model.encode(WINDOWS), caser_reference(model, WINDOWS, anyone), rtol=1e-9, atol=1e-9)


def test_caser_adds_the_norms_of_its_weights():
    model = make("caser", regularisation=0.5)
    batch = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 8]))
    plain = make("caser", regularisation=0.0)
    difference = model.objective(batch, LOSSES["bce"]) - plain.objective(batch, LOSSES["bce"])
    norms = sum(math.sqrt(float((w**2).sum())) for name, w in weights(model).items() if not name.endswith("bias"))
    assert difference.item() == pytest.approx(0.5 * norms)


@pytest.mark.parametrize("name", MODELS)
def test_the_fast_path_agrees_with_the_trace(name: str):
    model = make(name)
    short = WINDOWS[2:3, -4:]
    for ids in (WINDOWS, short):
        torch.testing.assert_close(model.encode(model.window(ids)), model.trace(ids).hidden[-1][:, -1])
        torch.testing.assert_close(model(ids), model.encode(model.window(ids)) @ model.candidates.T)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name: str):
    model = make(name, dropout=0.0).train()
    batch = Batch(
        WINDOWS, torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 8]), WINDOWS.flip(0)
    )
    model.objective(batch, LOSSES[model.published_loss]).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name


@settings(max_examples=20)
@given(batch=st.integers(2, 6), seed=st.integers(0, 100), temperature=st.floats(0.2, 3))
@example(batch=3, seed=0, temperature=0.203125)
def test_info_nce_is_the_log_share_of_the_partner(batch: int, seed: int, temperature: float):
    first, second = torch.randn(2, batch, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rows, total = torch.cat([first, second]), 0.0
    for i in range(2 * batch):
        similar = [math.exp(float(rows[i] @ rows[j]) / temperature) for j in range(2 * batch)]
        others = sum(value for j, value in enumerate(similar) if j != i)
        total -= math.log(similar[(i + batch) % (2 * batch)] / others)
    assert float(info_nce(first, second, temperature)) == pytest.approx(total / (2 * batch))


def test_contrastive_objectives_add_up():
    batch = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.arange(4), None, WINDOWS.flip(0))
    for name in ("duorec", "fearec"):
        model = make(name, dropout=0.0, contrastive_weight=0.3, temperature=2.0)
        own, other = (model.trace(ids).hidden[-1] for ids in (WINDOWS, WINDOWS.flip(0)))
        expected = functional.cross_entropy(own[:, -1] @ model.items.weight.T, batch.targets)
        expected = expected + 0.3 * info_nce(own[:, -1], other[:, -1], 2.0)
        if name == "fearec":
            spectra = torch.fft.rfft(own, dim=1, norm="ortho") - torch.fft.rfft(other, dim=1, norm="ortho")
            expected = expected + 0.1 * spectra.abs().mean()
        torch.testing.assert_close(model.objective(batch, LOSSES["ce"]), expected)


def test_bert4rec_is_asked_for_the_last_item_and_for_a_share_of_the_others():
    model = make("bert4rec", mask_ratio=0.3).float().train()
    sequences = torch.randint(1, ITEMS + 1, (2000, N))
    sequences[::2, :5] = 0
    masked = model.mask_items(sequences)
    token = masked == ITEMS + 1
    assert bool(token[:, -1].all()) and not bool(token[sequences == 0].any())
    assert torch.equal(masked[~token], sequences[~token])
    others = token[:, :-1][sequences[:, :-1] > 0]
    assert float(others.float().mean()) == pytest.approx(0.3, abs=0.02)


def test_bert4rec_loss_is_the_mean_over_masked_positions(monkeypatch: pytest.MonkeyPatch):
    model = make("bert4rec", dropout=0.0)
    targets = torch.tensor([1, 2, 3, 4])
    sequences = torch.cat([WINDOWS[:, 1:], targets[:, None]], dim=1)
    masked = sequences.clone()
    masked[:, -1] = masked[2, -3] = masked[3, 2] = masked[3, 5] = ITEMS + 1
    monkeypatch.setattr(model, "mask_items", lambda given: masked if torch.equal(given, sequences) else None)
    output = attention_reference(model, masked, causal=False)[-1][masked == ITEMS + 1]
    expected = functional.cross_entropy(output @ model.items.weight[:-1].T, sequences[masked == ITEMS + 1])
    torch.testing.assert_close(model.objective(Batch(WINDOWS, targets, targets), LOSSES["ce"]), expected)


@settings(max_examples=60)
@given(targets=st.lists(st.integers(1, 6), min_size=1, max_size=40), seed=st.integers(0, 1000))
def test_another_sample_with_the_same_target_is_drawn(targets: list[int], seed: int):
    array = np.array(targets)
    drawn = SameTargetSampler(array).draw(np.random.default_rng(seed))
    assert (array[drawn] == array).all()
    alone = np.array([targets.count(target) == 1 for target in targets])
    assert ((drawn == np.arange(len(targets))) == alone).all()


def test_every_other_sample_with_the_same_target_is_drawn_as_often():
    sampler, rng = SameTargetSampler(np.array([3, 1, 3, 3, 3])), np.random.default_rng(0)
    drawn = np.array([sampler.draw(rng)[2] for _ in range(3000)])
    counts = np.bincount(drawn, minlength=5)
    assert counts[[1, 2]].sum() == 0
    assert counts[[0, 3, 4]] == pytest.approx(1000, abs=120)


def test_same_targets_leave_the_other_draws_alone():
    sequences = load("synthetic:users=40,items=30")
    plain, with_targets = (EpochSampler(sequences, 10, 16, True, 5, same_target=wanted) for wanted in (False, True))
    for a, b in zip(plain.epoch(2, torch.device("cpu")), with_targets.epoch(2, torch.device("cpu")), strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.negatives, b.negatives)
        assert a.same_target is None and b.same_target.shape == b.inputs.shape


@pytest.mark.parametrize("name", NEW)
def test_an_interrupted_run_ends_in_the_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from models.training import Trainer

    options = {"hidden_size": 8, "max_len": 9, "epochs": 2, "batch_size": 64, "seed": 3, "show_progress": False}
    whole = train(name, "synthetic:users=40,items=30", out=tmp_path / "whole.pt", **options)
    once = Trainer._run_epoch

    def stop_after_one(self: Trainer, epoch: int) -> dict[str, float]:
        if epoch == 1:
            raise KeyboardInterrupt
        return once(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_run_epoch", stop_after_one)
        train(name, "synthetic:users=40,items=30", out=tmp_path / "halves.pt", **options)
    halves = train(name, "synthetic:users=40,items=30", out=tmp_path / "halves.pt", resume=True, **options)
    assert halves.path.read_bytes() == whole.path.read_bytes()
    loaded = models.load(whole.path)
    assert loaded.name == name and loaded.probe is not None
    assert loaded.trace(loaded.probe.input_ids.long()[:3]).hidden[-1].shape[0] == 3


@pytest.mark.parametrize(
    ("name", "bad", "word"),
    [
        ("bert4rec", {"mask_ratio": 1.0}, "mask_ratio"),
        ("duorec", {"temperature": 0.0}, "temperature"),
        ("duorec", {"contrastive_weight": -1.0}, "contrastive_weight"),
        ("fearec", {"global_ratio": 1.5}, "global_ratio"),
        ("fearec", {"delay_factor": 0.0}, "delay_factor"),
        ("gru4rec", {"gru_hidden_size": 0}, "gru_hidden_size"),
        ("gru4rec", {"num_heads": 2}, "num_heads"),
        ("fmlprec", {"num_heads": 2}, "num_heads"),
        ("caser", {"horizontal": 0}, "horizontal"),
        ("caser", {"regularisation": -1.0}, "regularisation"),
    ],
)
def test_settings_out_of_range_are_named(name: str, bad: dict[str, object], word: str):
    with pytest.raises(ConfigError, match=word):
        configure(name, ITEMS, USERS, **bad)


def test_a_loss_that_makes_no_sense_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="bert4rec cannot be trained with bpr; choose ce"):
        train("bert4rec", "synthetic:users=40,items=30", out=tmp_path / "x.pt", loss="bpr", max_len=9)
