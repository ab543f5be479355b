"""Attention of third-party models without the causal mask."""

import pytest
import torch
from third_party_states.small import CONVERTED

import models


@pytest.mark.parametrize("name", [name for name in CONVERTED if name != "recbole-gru4rec"])
def test_without_the_causal_mask_attention_is_still_a_distribution_and_looks_ahead(tmp_path, name):
    make, settings = CONVERTED[name]
    torch.save(make(), tmp_path / "theirs.pt")
    model = models.load(tmp_path / "theirs.pt", **settings)
    full = torch.arange(model.config.max_len)[None] % 40 + 1
    with torch.inference_mode():
        causal, both = model.trace(full), model.trace(full, causal=False)
    for with_mask, without in zip(causal.attention, both.attention, strict=True):
        torch.testing.assert_close(without.sum(-1), torch.ones(without.shape[:-1]))
        assert bool((without.triu(1).sum((-1, -2)) > 1).all())
        if name not in ("rechorus-bsarec", "recbole-bert4rec"):  # those look ahead in any case
            assert not with_mask.triu(1).any()
