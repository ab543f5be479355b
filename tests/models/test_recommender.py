"""What holds for every model: the fast path is the trace, gradients reach all weights, histories become windows."""

import pytest
import torch
from plain_models import WINDOWS, random_model

from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.losses import LOSSES
from models.registry import MODELS, build, configure


@pytest.mark.parametrize("name", MODELS)
def test_the_fast_path_agrees_with_the_trace(name: str):
    model = random_model(name)
    short = WINDOWS[2:3, -4:]
    for ids in (WINDOWS, short):
        torch.testing.assert_close(model.encode(model.window(ids)), model.trace(ids).hidden[-1][:, -1])
        torch.testing.assert_close(model(ids), model.encode(model.window(ids)) @ model.candidates.T)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name: str):
    ids = WINDOWS[:, 1:]  # an even number of positions: WEARec's wavelets leave out the last one of an odd number
    model = random_model(name, dropout=0.0, max_len=ids.shape[1]).train()
    batch = Batch(ids, torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 8]), ids.flip(0))
    model.objective(batch, LOSSES[model.published_loss]).backward()
    for parameter_name, parameter in model.named_parameters():
        if name == "wearec" and parameter_name.endswith("gate"):
            continue  # published, but nothing depends on it
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"gru4rec", "caser", "lowarec"}))
def test_blocks_taken_apart_are_those_of_the_trace(name: str, causal: bool):
    model = random_model(name)
    hidden = model.trace(WINDOWS, causal).hidden
    layers = list(model.residual_steps(WINDOWS, causal))
    assert len(layers) == len(hidden) - 1
    for steps, before, after in zip(layers, hidden, hidden[1:], strict=False):
        *mixing, feed_forward = steps
        assert all(torch.equal(step.x, mixing[0].x) for step in mixing)
        real = WINDOWS > 0  # TV-Rec sets the states of padding to 0
        torch.testing.assert_close(mixing[0].x[real], before[real])
        torch.testing.assert_close(feed_forward.x, torch.stack([step.output for step in mixing]).sum(0))
        torch.testing.assert_close(feed_forward.output, after)
        for step in steps:
            parts = step.through_norm(step.x) + step.through_norm(step.update) + step.share * step.norm.bias
            torch.testing.assert_close(parts, step.output)


@pytest.mark.parametrize("name", ["gru4rec", "caser"])
def test_models_without_blocks_say_that_they_cannot_be_taken_apart(name: str):
    with pytest.raises(ConfigError, match="not made of blocks with residual connections"):
        random_model(name).residual_steps(WINDOWS)


def test_a_layer_whose_branches_are_more_than_a_residual_connection_cannot_be_taken_apart():
    with pytest.raises(ConfigError, match="LoWARecMixer does not say what it adds"):
        list(random_model("lowarec").residual_steps(WINDOWS))


def test_shorter_and_longer_sequences_become_windows():
    built = build(configure("sasrec", 50, max_len=4))
    built.initialise(0)
    built.eval()
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    assert torch.equal(built(ids), built(ids[:, -4:]))
    assert torch.equal(built(ids[:, -2:]), built(torch.tensor([[0, 0, 5, 6]])))
    assert torch.equal(built.trace(ids[:, -2:]).mask, torch.tensor([[False, False, True, True]]))
    with pytest.raises(ValueError, match=r"0\.\.50 .* got 1\.\.51"):
        built(torch.tensor([[1, 51]]))
    with pytest.raises(ValueError, match="shape"):
        built(torch.tensor([1, 2]))
