"""Capturing attention and hidden states batch by batch, and choosing users by the length of their history."""

import weakref
from types import SimpleNamespace

import pytest
import torch

from models.errors import ConfigError, DataError, UserError
from spectral import capture, full_windows, of_length
from spectral.capture import in_batches

WINDOWS = torch.tensor([[1, 2, 3, 4], [0, 0, 5, 6], [0, 7, 8, 9], [2, 2, 2, 2], [0, 0, 3, 1]])


class Uniform(torch.nn.Module):
    """Two layers of attention that look at every real position alike; layer l is the embedding plus l."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[tuple] = []

    def trace(self, input_ids, causal=True):
        self.seen.append((len(input_ids), self.training, torch.is_inference_mode_enabled(), causal))
        mask = input_ids > 0
        allowed = mask[:, None, None, :].expand(-1, 2, input_ids.shape[1], -1).float()
        if causal:
            allowed = allowed.tril()
        attention = allowed / allowed.sum(-1, keepdim=True).clamp(min=1)
        x = input_ids[..., None] * self.weight
        return SimpleNamespace(hidden=[x, x + 1, x + 2], attention=[attention, None], mask=mask)


def test_captures_come_in_the_batches_that_were_asked_for():
    model = Uniform().eval()
    batches = list(capture(model, WINDOWS.split(2)))
    assert [len(batch.mask) for batch in batches] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([b.hidden[2] for b in batches]), WINDOWS[..., None] + 2.0)
    assert all(batch.attention[0].shape[1:] == (2, 4, 4) and batch.attention[1] is None for batch in batches)


def test_nothing_is_computed_before_it_is_asked_for():
    model = Uniform()
    captures = capture(model, WINDOWS.split(1))
    assert model.seen == []
    next(captures)
    assert len(model.seen) == 1


def test_one_tensor_of_windows_is_batches_too():
    assert torch.equal(next(capture(Uniform(), WINDOWS)).mask, WINDOWS > 0)
    assert list(capture(Uniform(), WINDOWS[:0])) == []


def test_only_what_was_asked_for_is_kept():
    only_hidden = next(capture(Uniform(), WINDOWS, attention=False))
    assert only_hidden.attention == (None, None) and all(x is not None for x in only_hidden.hidden)
    only_attention = next(capture(Uniform(), WINDOWS, hidden=False))
    assert only_attention.hidden == (None, None, None) and only_attention.attention[0] is not None
    last = next(capture(Uniform(), WINDOWS, layers=[2]))
    assert [x is None for x in last.hidden] == [True, True, False] and last.attention == (None, None)
    first = next(capture(Uniform(), WINDOWS, layers={1}))
    assert first.attention[0] is not None and first.hidden[0] is None


def test_what_was_not_asked_for_is_gone_while_the_caller_measures():
    hidden = []

    class Watched(Uniform):
        def trace(self, input_ids, causal=True):
            trace = super().trace(input_ids, causal)
            hidden.append(weakref.ref(trace.hidden[1]))
            return trace

    captures = capture(Watched(), WINDOWS, hidden=False)
    assert next(captures).attention[0] is not None and hidden[0]() is None


def test_model_is_in_evaluation_mode_without_gradients_and_gets_its_mode_back():
    model = Uniform().train()
    for batch in capture(model, WINDOWS):
        assert not torch.is_inference_mode_enabled()  # the caller's own computations are not affected
        assert model.training
        assert not batch.hidden[1].requires_grad
    assert model.seen == [(5, False, True, True)]


def test_training_mode_comes_back_after_an_error_too():
    model = Uniform().train()
    model.trace = lambda ids: (_ for _ in ()).throw(RuntimeError("no"))
    with pytest.raises(RuntimeError, match="no"):
        next(capture(model, WINDOWS))
    assert model.training


def test_causal_is_passed_on_only_when_it_is_dropped():
    model = Uniform()
    attention = next(capture(model, WINDOWS, causal=False)).attention[0]
    assert model.seen[0][3] is False and attention[0, 0, 0, 3] == 0.25
    plain = SimpleNamespace(trace=lambda ids: SimpleNamespace(hidden=[ids], attention=None, mask=ids > 0))
    assert next(capture(plain, WINDOWS)).attention == ()  # neither an nn.Module nor with attention


def test_last_positions_of_users_with_padding_are_row_stochastic():
    captured = next(capture(Uniform(), of_length(WINDOWS, 2))).last(2)
    torch.testing.assert_close(captured.attention[0].sum(-1), torch.ones(2, 2, 2))
    assert captured.hidden[0].shape == (2, 2, 1) and bool(captured.mask.all())
    with pytest.raises(ValueError, match=r"n must lie in 1\.\.2"):
        captured.last(3)


def test_windows_are_chosen_by_their_exact_number_of_real_items():
    assert torch.equal(full_windows(WINDOWS), WINDOWS[[0, 3]])
    assert torch.equal(of_length(WINDOWS, 2), WINDOWS[[1, 4]])
    assert torch.equal(of_length(WINDOWS, 3), WINDOWS[[2]])


def test_a_missing_length_is_answered_with_those_there_are():
    with pytest.raises(DataError, match=r"full window of 4 items; .* 2 \(2 users\), 3 \(1 users\).*--length") as raised:
        full_windows(WINDOWS[[1, 2, 4]])
    assert isinstance(raised.value, UserError)
    with pytest.raises(DataError, match="none of the 5 users has exactly 1 items"):
        of_length(WINDOWS, 1)
    with pytest.raises(DataError, match="lengths are none"):
        full_windows(torch.zeros(2, 4, dtype=torch.int64))


@pytest.mark.parametrize("n", [0, 5, -1])
def test_a_length_that_no_window_can_have_is_a_setting_out_of_range(n):
    with pytest.raises(ConfigError, match=r"1\.\.4"):
        of_length(WINDOWS, n)


def test_batches_need_a_size():
    with pytest.raises(ValueError, match="batch_size"):
        next(in_batches(WINDOWS, 0))


def test_progress_is_silent_where_standard_error_is_no_terminal(capsys):
    assert sum(len(batch) for batch in in_batches(WINDOWS, 2, "sasrec")) == 5
    assert capsys.readouterr() == ("", "")
