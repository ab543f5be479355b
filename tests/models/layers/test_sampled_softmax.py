"""Sampled softmax against the loss written out by hand, the full softmax, and the distribution it draws from."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.datasets import load
from models.datasets.sampling import EpochSampler
from models.errors import ConfigError
from models.layers.losses import LOSSES
from models.layers.sampled_softmax import SampledSoftmax, check_name, loss_named, sampled_softmax
from models.registry import MODELS, configure
from models.training import Trainer, TrainingConfig

CPU = torch.device("cpu")


def drawn_inputs(rows: int = 9):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    items = torch.randn(rows, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    return output, items, torch.tensor([1, 8, 3, 3, 2])


def test_it_is_the_loss_written_out_by_hand():
    output, items, target = drawn_inputs()
    q = torch.arange(1, 10, dtype=torch.float64) / 45
    drawn = torch.tensor([3, 0, 3, 7])  # one item twice, and one that is the target of two samples
    total = 0.0
    for code, wanted in zip(output.tolist(), target.tolist(), strict=True):
        score = lambda item, code=code: sum(a * b for a, b in zip(code, items[item].tolist(), strict=True))  # noqa: E731
        others = [math.exp(score(j)) / (4 * (j + 1) / 45) for j in drawn.tolist() if j != wanted]
        total -= math.log(math.exp(score(wanted)) / (math.exp(score(wanted)) + sum(others)))
    assert sampled_softmax(output, items, target, drawn, q.log()).item() == pytest.approx(total / 5, rel=1e-12)


def test_with_every_item_drawn_once_it_is_the_full_softmax_and_so_are_its_gradients():
    output, items, target = drawn_inputs()
    uniform = torch.full((9,), 1 / 9, dtype=torch.float64).log()
    sampled = sampled_softmax(output, items, target, torch.randperm(9), uniform)
    full = functional.cross_entropy(output @ items.T, target)
    torch.testing.assert_close(sampled, full, rtol=1e-12, atol=0)
    for got, expected in zip(*(torch.autograd.grad(loss, (output, items)) for loss in (sampled, full)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sampling", ["frequency", "uniform"])
def test_the_corrected_sum_estimates_that_of_the_full_softmax_and_the_loss_is_biased_downwards(sampling):
    output, items, target = drawn_inputs()
    counts = np.array([0, 50, 3, 0, 9, 20, 1, 7, 2])
    loss = SampledSoftmax(20, sampling).loss(counts)
    rng = np.random.default_rng(0)
    one, wanted = output[:1].detach(), target[:1]
    own = (one @ items.detach()[wanted].T).item()
    losses = torch.stack(
        [loss.function(one, items.detach(), wanted, torch.from_numpy(loss.draw(rng))) for _ in range(4000)]
    )
    full = functional.cross_entropy(one @ items.detach().T, wanted).item()
    sums = (losses + own).exp()  # the estimates of sum exp(s)
    error = sums.std().item() / math.sqrt(len(sums))
    assert abs(sums.mean().item() - math.exp(full + own)) < 4 * error
    assert losses.mean().item() < full


def test_items_are_drawn_as_often_as_the_correction_says():
    counts = np.array([0, 5, 0, 13])
    draws = SampledSoftmax(40_000, "frequency").loss(counts).draw(np.random.default_rng(1))
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 40_000, (counts + 1) / 22, atol=0.01)
    draws = SampledSoftmax(40_000, "uniform").loss(counts).draw(np.random.default_rng(1))
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 40_000, 0.25, atol=0.01)


@pytest.mark.parametrize(
    "name",
    [
        "sampled_softmax:",
        "sampled_softmax:negatives=0",
        "sampled_softmax:negatives=1.5",
        "sampled_softmax:sampling=popular",
        "sampled_softmax:negatives=3,negatives=4",
        "sampled_softmax:temperature=2",
        "ce:negatives=3",
        "sampled",
    ],
)
def test_wrong_names_are_refused(name):
    with pytest.raises(ConfigError, match=r"sampled_softmax"):
        check_name(name)
    with pytest.raises(ConfigError):
        TrainingConfig(loss=name)


def test_the_draws_of_a_batch_are_shared_differ_and_leave_the_order_of_samples_as_it_was():
    sequences = load("synthetic:users=30,items=40")
    draw = loss_named("sampled_softmax:negatives=7", lambda: np.ones(41, dtype=np.int64)).draw
    plain = list(EpochSampler(sequences, 10, 32, False, seed=0).epoch(1, CPU))
    first, again = (list(EpochSampler(sequences, 10, 32, False, 0, shared=draw).epoch(1, CPU)) for _ in range(2))
    assert len({tuple(batch.negatives.tolist()) for batch in first}) == len(first)
    for batch, other, same in zip(first, plain, again, strict=True):
        assert torch.equal(batch.inputs, other.inputs) and torch.equal(batch.targets, other.targets)
        assert batch.negatives.shape == (7,) and torch.equal(batch.negatives, same.negatives)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_with_it(model, tmp_path):
    sequences = load("synthetic:users=40,items=50")
    config = configure(model, 50, 40, hidden_size=16, max_len=12)
    training = TrainingConfig("sampled_softmax:negatives=20", learning_rate=5e-3)
    trainer = Trainer(config, training, sequences, tmp_path / "m.pt")
    batch = next(trainer.sampler.epoch(0, CPU))
    before = trainer.batch_loss(batch).item()
    for _ in range(20):
        trainer.step(batch)
    assert trainer.batch_loss(batch).item() < before


def test_without_drawn_items_it_says_what_is_missing():
    output, items, target = drawn_inputs()
    with pytest.raises(ValueError, match="drawn items"):
        SampledSoftmax().loss(np.ones(9)).function(output, items, target, None)
    assert LOSSES["ce"].draw is None
