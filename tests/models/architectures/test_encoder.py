"""Blocks of attention: rows are distributions, causal, and know padding where a model says so."""

import pytest
import torch

from models.registry import build, configure


@pytest.mark.parametrize("model", ["sasrec", "bsarec"])
def test_attention_rows_are_distributions_and_causal(model):
    built = build(configure(model, 50, max_len=10, num_heads=2))
    built.initialise(0)
    ids = torch.randint(1, 51, (4, 10))
    ids[0, :7] = 0
    trace = built.eval().trace(ids)
    for attention in trace.attention:
        torch.testing.assert_close(attention.sum(-1), torch.ones(4, 2, 10))
        assert (attention[1:].triu(1) == 0).all()
        assert (attention[0, :, 7:, :7] == 0).all()  # real queries see no padding
        torch.testing.assert_close(attention[0, :, :7], torch.full((2, 7, 10), 0.1), atol=0.02, rtol=0)
    both_ways = built.trace(ids, causal=False)
    assert (both_ways.attention[0][1:] > 0).all()
    assert torch.equal(trace.mask, ids > 0)


def test_padding_is_inert_exactly_where_a_model_says_so():
    ids = torch.randint(1, 51, (3, 10))
    ids[:, :6] = 0
    for model in ("sasrec", "bsarec"):
        built = build(configure(model, 50, max_len=10))
        built.initialise(0)
        before = built.eval()(ids)
        with torch.no_grad():
            built.items.weight[0] += 1
            built.positions.weight[:6] += torch.randn(6, 64)
        same = torch.allclose(before[:, 1:], built(ids)[:, 1:], atol=1e-6)
        assert same == built.inert_padding
