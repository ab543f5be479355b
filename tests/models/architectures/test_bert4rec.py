"""BERT4Rec: its forward pass and its two training tasks written plainly, what is masked, and what is scored."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import plain_models
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_models import ITEMS, D, assert_hidden, attention_reference, random_model
from torch import Tensor
from torch.nn import functional

import models
from models.architectures.bert4rec import BERT4Rec, BERT4RecConfig, first_true, most_masked
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.evaluation import evaluate
from models.layers.dropout import MaskSource
from models.layers.losses import LOSSES
from models.layers.sampled_softmax import loss_named
from models.train import train
from models.training import Trainer

N = 9
WINDOWS = torch.tensor([[0] * N, [0] * (N - 1) + [7], [0] * (N - 4) + [3, 9, 3, 30], list(range(5, 5 + N))])

MASK = ITEMS + 1
CPU = torch.device("cpu")
COUNTS = lambda: np.arange(ITEMS + 1)  # noqa: E731
BATCH = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.arange(4))


def make(**settings: object) -> BERT4Rec:
    """A model in float64 without dropout whose weights are large enough that every part matters."""
    given = {"num_items": ITEMS, "max_len": N, "hidden_size": D, "dropout": 0.0, **settings}
    model = BERT4Rec(BERT4RecConfig(**given))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.double()


def plain_forward(model: BERT4Rec, ids: Tensor) -> Tensor:
    """The last layer's output at every position (B, N, D), sequence by sequence and head by head."""
    w = {name: value.detach() for name, value in model.named_parameters()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    outputs = []
    for sequence in ids:
        x = norm(w["items.weight"][sequence] + w["positions.weight"], "norm")
        forbidden = -10000.0 * (sequence == 0)  # of the keys; every query may look at every other
        for layer in range(model.config.num_layers):
            block, contexts = f"blocks.{layer}", []
            query, key, value = linear(x, f"{block}.mixer.qkv").chunk(3, dim=-1)
            size = D // model.config.num_heads
            for dims in torch.arange(D).split(size):
                scores = query[:, dims] @ key[:, dims].T / math.sqrt(size) + forbidden
                contexts.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ value[:, dims])
            mixed = linear(torch.cat(contexts, dim=-1), f"{block}.mixer.output")
            x = norm(mixed + x, f"{block}.mixer.add_norm.norm")
            inner = linear(x, f"{block}.feed_forward.inner")
            inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
            x = norm(linear(inner, f"{block}.feed_forward.outer") + x, f"{block}.feed_forward.add_norm.norm")
        outputs.append(x)
    return torch.stack(outputs)


def shifted(ids: Tensor) -> Tensor:
    return torch.cat([ids[:, 1:], torch.full((len(ids), 1), MASK)], dim=1)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
def test_every_way_in_shifts_the_history_and_appends_the_mask_token_once(heads: int, layers: int):
    model = make(num_heads=heads, num_layers=layers).eval()
    expected = plain_forward(model, shifted(WINDOWS))
    trace = model.trace(WINDOWS)
    torch.testing.assert_close(trace.hidden[-1], expected)
    torch.testing.assert_close(model.encode(model.window(WINDOWS)), expected[:, -1])
    torch.testing.assert_close(model(WINDOWS), expected[:, -1] @ model.items.weight[:MASK].T)
    assert torch.equal(trace.mask, shifted(WINDOWS) > 0)  # the token's position is a real one


def test_histories_of_any_length_are_brought_to_the_window_first():
    model = make().eval()
    long = torch.randint(1, MASK, (3, N + 5))
    torch.testing.assert_close(model(long), model(long[:, -N:]))
    torch.testing.assert_close(model(long), model(long[:, 1 - N :]))  # the shift pushes the first item out
    short = torch.tensor([[4, 5]])
    torch.testing.assert_close(model(short), model(torch.tensor([[0] * (N - 2) + [4, 5]])))
    torch.testing.assert_close(model.trace(short).hidden[-1][:, -1], model.encode(model.window(short)))


def test_attention_looks_both_ways_but_never_at_padding():
    trace = make(num_heads=2).eval().trace(WINDOWS[1:])
    for attention in trace.attention:
        torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
        for weights, real in zip(attention, trace.mask, strict=True):
            assert (weights[:, real][:, :, real] > 0).all()
            assert (weights[:, real][:, :, ~real] == 0).all()


def test_the_mask_token_is_neither_scored_nor_accepted():
    model = make().eval()
    assert model(WINDOWS).shape == (len(WINDOWS), MASK)
    before = model(WINDOWS)
    with torch.no_grad():
        model.items.weight[MASK] *= 3  # changes what is asked, not which items there are
    assert not torch.allclose(model(WINDOWS), before)
    with pytest.raises(ValueError, match=rf"0\.\.{ITEMS} .* got 0\.\.{MASK}"):
        model(torch.tensor([[0, 1, MASK]]))


@given(lengths=st.lists(st.integers(1, N), min_size=1, max_size=8), ratio=st.floats(0, 0.99), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_last_item_is_masked_and_padding_never(lengths: list[int], ratio: float, seed: int):
    model = make(mask_ratio=ratio)
    model.masks.seed(seed)
    sequences = torch.randint(1, MASK, (len(lengths), N), generator=torch.Generator().manual_seed(seed))
    sequences *= torch.arange(N) >= N - torch.tensor(lengths)[:, None]
    masked = model.mask_items(sequences)
    token = masked == MASK
    assert token[:, -1].all()
    assert torch.equal(masked[~token], sequences[~token])
    assert (sequences[token] > 0).all()
    model.masks.seed(seed)
    assert torch.equal(model.mask_items(sequences), masked)


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 0.75])
def test_the_ratio_is_that_of_masked_items_before_the_last(ratio: float):
    sequences = torch.randint(1, MASK, (4000, N))
    token = make(mask_ratio=ratio).mask_items(sequences)[:, :-1] == MASK
    assert abs(token.double().mean() - ratio) <= 4 * math.sqrt(ratio * (1 - ratio) / token.numel())
    both = (token[:, 1:] & token[:, :-1]).double().mean()  # neighbours are masked independently
    assert abs(both - ratio**2) < 0.015


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_cloze_loss_is_the_mean_over_masked_items(heads: int, layers: int):
    model = make(num_heads=heads, num_layers=layers, mask_ratio=0.4)
    sequences = torch.cat([WINDOWS[:, 1:], BATCH.targets[:, None]], dim=1)
    model.masks.seed(5)
    masked = model.mask_items(sequences)
    hidden, items = plain_forward(model, masked), model.items.weight[:MASK].detach()
    total, count = 0.0, 0
    for row, column in (masked == MASK).nonzero().tolist():
        log_share = (items @ hidden[row, column]).log_softmax(0)
        total, count = total - float(log_share[sequences[row, column]]), count + 1
    assert count > len(WINDOWS)  # more than the targets
    model.masks.seed(5)
    assert model.objective(BATCH, LOSSES["ce"]).item() == pytest.approx(total / count, rel=1e-10)


@pytest.mark.parametrize("loss", ["ce", "sampled_softmax:negatives=5"])
def test_a_fixed_number_of_rows_has_the_loss_and_the_gradients_of_the_masked_ones(loss: str, monkeypatch):
    model = make(mask_ratio=0.4)
    found = []
    for asked in (BERT4Rec._asked, lambda self, is_masked, sequences: first_true(is_masked, 2 * N)):  # as on a GPU
        monkeypatch.setattr(BERT4Rec, "_asked", asked)
        model.masks.seed(5)
        model.zero_grad()
        value = model.objective(replace(BATCH, negatives=torch.tensor([1, 5, 7, 7, 2])), loss_named(loss, COUNTS))
        value.backward()
        found.append([value, *(p.grad for p in model.parameters() if p.grad is not None)])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 12))
def test_the_first_that_are_true_share_one_and_too_many_are_no_number(mask: list[bool], count: int):
    numbers, share = first_true(torch.tensor(mask), count)
    true = [number for number, value in enumerate(mask) if value]
    if len(true) > count:
        assert share.isnan().all()
    elif true:
        assert numbers[: len(true)].tolist() == true
        assert share.tolist() == pytest.approx([1 / len(true)] * len(true) + [0] * (len(share) - len(true)))


@pytest.mark.parametrize("ratio", [0, 0.01, 0.2, 0.9, 0.99])
@pytest.mark.parametrize("sequences", [1, 4, 256])
def test_more_items_than_the_bound_are_practically_never_masked(ratio: float, sequences: int):
    bound, others = most_masked(sequences, 50, ratio), sequences * 49
    assert sequences <= bound <= sequences * 50
    assert scipy.stats.binom.sf(bound - sequences, others, ratio) <= 1e-14  # P(more)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_next_task_asks_a_masked_position_of_the_input_for_the_target(heads: int, layers: int):
    model = make(num_heads=heads, num_layers=layers, task="next", mask_ratio=0.4)
    model.masks.seed(5)
    places = model.masks.uniform(WINDOWS.shape, CPU).argsort(dim=1)[:, :3]  # int(0.4 * 9)
    masked = WINDOWS.scatter(1, places, MASK)
    output = plain_forward(model, masked)[torch.arange(4), places[:, 0]]
    expected = functional.cross_entropy(output @ model.items.weight[:MASK].T, BATCH.targets)
    model.masks.seed(5)
    torch.testing.assert_close(model.objective(BATCH, LOSSES["ce"]), expected)


def test_uniform_numbers_are_spread_evenly_and_follow_the_seed():
    source = MaskSource(seed=2)
    numbers = source.uniform(torch.Size((300, 401)), CPU)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    expected = numbers.numel() / 20
    assert ((counts - expected) ** 2 / expected).sum() < 50  # chi squared, 19 degrees of freedom: p = 1e-4
    source.seed(2)
    assert torch.equal(source.uniform(torch.Size((300, 401)), CPU), numbers)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("task", ["cloze", "next"])
def test_a_resumed_run_and_its_checkpoint_equal_an_uninterrupted_one(
    heads: int, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = "synthetic:users=60,items=30"
    options = {"hidden_size": 8, "max_len": 9, "num_heads": heads, "task": task, "batch_size": 64, "seed": 3}
    whole = train("bert4rec", data, out=tmp_path / "whole.pt", epochs=3, show_progress=False, **options)
    step, calls = Trainer.step, 0

    def interrupt(self: Trainer, batch: Batch) -> float:
        nonlocal calls
        calls += 1
        if calls == len(self.sampler) + 3:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", interrupt)
        train("bert4rec", data, out=tmp_path / "part.pt", epochs=3, show_progress=False, **options)
    part = train("bert4rec", data, out=tmp_path / "part.pt", epochs=3, resume=True, show_progress=False, **options)
    assert part.path.read_bytes() == whole.path.read_bytes()
    loaded = models.load(whole.path)
    assert loaded.config.task == task and loaded.items.weight.shape == (32, 8)
    sequences = models.checkpoint.sequences_of(loaded)
    assert evaluate(loaded, sequences, "test") == whole.metrics


@pytest.mark.parametrize("task", ["cloze", "next"])
def test_training_learns_what_comes_next(task: str, tmp_path: Path):
    run = train(
        "bert4rec", "synthetic:users=200,items=40", out=tmp_path / "m.pt", epochs=4, learning_rate=0.01, dropout=0.1,
        hidden_size=16, max_len=10, num_layers=1, batch_size=64, task=task, show_progress=False,
    )  # fmt: skip
    assert run.history[-1]["loss"] < 0.9 * run.history[0]["loss"]
    assert run.history[-1]["HR@5"] > run.history[0]["HR@5"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mask_ratio": -0.1}, "mask_ratio must be at least 0 and below 1, got -0.1"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"task": "cloth"}, "task must be cloze or next, got 'cloth'"),
        ({"task": "next", "mask_ratio": 0.1}, "choose at least 0.111"),
        ({"num_heads": 3}, "3 heads do not divide 8"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        make(**wrong)


@pytest.mark.parametrize("count", [1, 2])
def test_bert4rec_attends_both_ways_to_a_window_that_ends_with_the_mask_token(count: int):
    model = random_model("bert4rec", num_heads=count)
    shifted = torch.cat([plain_models.WINDOWS[:, 1:], torch.full((len(plain_models.WINDOWS), 1), ITEMS + 1)], dim=1)
    trace = model.trace(plain_models.WINDOWS)
    assert_hidden(trace.hidden, attention_reference(model, shifted, causal=False))
    assert trace.attention[0][3, 0, 0, -1] > 0  # the first position looks at the last
    assert model(plain_models.WINDOWS).shape == (len(plain_models.WINDOWS), ITEMS + 1)  # the mask token is no candidate
    assert bool(trace.mask[:, -1].all())


def test_bert4rec_is_asked_for_the_last_item_and_for_a_share_of_the_others():
    model = random_model("bert4rec", mask_ratio=0.3).float().train()
    sequences = torch.randint(1, ITEMS + 1, (2000, plain_models.N))
    sequences[::2, :5] = 0
    masked = model.mask_items(sequences)
    token = masked == ITEMS + 1
    assert bool(token[:, -1].all()) and not bool(token[sequences == 0].any())
    assert torch.equal(masked[~token], sequences[~token])
    others = token[:, :-1][sequences[:, :-1] > 0]
    assert float(others.float().mean()) == pytest.approx(0.3, abs=0.02)


def test_bert4rec_loss_is_the_mean_over_masked_positions(monkeypatch: pytest.MonkeyPatch):
    model = random_model("bert4rec", dropout=0.0)
    targets = torch.tensor([1, 2, 3, 4])
    sequences = torch.cat([plain_models.WINDOWS[:, 1:], targets[:, None]], dim=1)
    masked = sequences.clone()
    masked[:, -1] = masked[2, -3] = masked[3, 2] = masked[3, 5] = ITEMS + 1
    monkeypatch.setattr(model, "mask_items", lambda given: masked if torch.equal(given, sequences) else None)
    output = attention_reference(model, masked, causal=False)[-1][masked == ITEMS + 1]
    expected = functional.cross_entropy(output @ model.items.weight[:-1].T, sequences[masked == ITEMS + 1])
    torch.testing.assert_close(model.objective(Batch(plain_models.WINDOWS, targets, targets), LOSSES["ce"]), expected)
