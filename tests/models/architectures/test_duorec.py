"""DuoRec: SASRec with a contrastive objective, which FEARec shares."""

import pytest
import torch
from plain_models import WINDOWS, assert_hidden, attention_reference, random_model
from torch.nn import functional

from models.datasets.sampling import Batch
from models.layers.losses import LOSSES, info_nce


@pytest.mark.parametrize("count", [1, 2])
def test_duorec_is_sasrec_with_another_loss(count: int):
    model = random_model("duorec", num_heads=count)
    assert_hidden(model.trace(WINDOWS).hidden, attention_reference(model, WINDOWS, causal=True))


def test_contrastive_objectives_add_up():
    batch = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.arange(4), None, WINDOWS.flip(0))
    for name in ("duorec", "fearec"):
        model = random_model(name, dropout=0.0, contrastive_weight=0.3, temperature=2.0)
        own, other = (model.trace(ids).hidden[-1] for ids in (WINDOWS, WINDOWS.flip(0)))
        expected = functional.cross_entropy(own[:, -1] @ model.items.weight.T, batch.targets)
        expected = expected + 0.3 * info_nce(own[:, -1], other[:, -1], 2.0)
        if name == "fearec":
            spectra = torch.fft.rfft(own, dim=1, norm="ortho") - torch.fft.rfft(other, dim=1, norm="ortho")
            expected = expected + 0.1 * spectra.abs().mean()
        torch.testing.assert_close(model.objective(batch, LOSSES["ce"]), expected)
