"""SLIME4Rec against its equations: bands cut out of the spectrum, and the contrastive loss of DuoRec."""

import pytest
import torch
from plain_models import WINDOWS, N, assert_hidden, embed, feed_forward, norm, random_model, weights
from torch import Tensor
from torch.nn import functional

from models.architectures.slime4rec import SLIME4RecConfig
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.losses import LOSSES, info_nce
from models.recommender import Recommender

# (layer's place among the dynamic bands, among the static bands), for layers 0 and 1 of two
PLACES = {"one": [(0, 1), (1, 0)], "two": [(1, 0), (0, 1)], "three": [(1, 1), (0, 0)], "four": [(0, 0), (1, 1)]}


def slime4rec_reference(model: Recommender, ids: Tensor) -> list[Tensor]:
    w, ratio = weights(model), model.config.dynamic_ratio
    bins = N // 2 + 1
    hidden = [embed(ids, w)]
    for layer, (dynamic, static) in enumerate(PLACES[model.config.slide_mode]):
        name, x = f"blocks.{layer}", hidden[-1]
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")
        total = torch.zeros_like(spectrum)
        step = bins * (1 - ratio) // 1
        for key, width, down in (("filter", ratio, dynamic * step), ("static_filter", 0.5, static * bins / 2)):
            first, stop = int(bins * (1 - width) - down), int(bins - down)
            kept = spectrum.clone()
            kept[:, :first] = kept[:, stop:] = 0
            total += kept * torch.view_as_complex(w[f"{name}.mixer.{key}"])
        mixed = torch.fft.irfft(total, n=N, dim=1, norm="ortho")
        hidden.append(feed_forward(norm(mixed + x, w, f"{name}.mixer.add_norm.norm"), w, name))
    return hidden


@pytest.mark.parametrize("mode", PLACES)
def test_slime4rec_has_the_numbers_of_its_equations(mode):
    model = random_model("slime4rec", slide_mode=mode, dynamic_ratio=0.6)
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, slime4rec_reference(model, WINDOWS))
    for layer, filters in enumerate(trace.filters):
        dynamic, static = model.config.bands(layer)
        outside = sorted(set(range(N // 2 + 1)) - set(dynamic) - set(static))
        assert not filters[outside].any() and (filters[sorted({*dynamic, *static})] != 0).all()


def test_the_objective_adds_the_contrastive_term():
    batch = Batch(WINDOWS, torch.tensor([1, 2, 3, 4]), torch.arange(4), None, WINDOWS.flip(0))
    model = random_model("slime4rec", dropout=0.0, contrastive_weight=0.3, temperature=2.0)
    own, other = (model.trace(ids).hidden[-1][:, -1] for ids in (WINDOWS, WINDOWS.flip(0)))
    expected = functional.cross_entropy(own @ model.items.weight.T, batch.targets) + 0.3 * info_nce(own, other, 2.0)
    torch.testing.assert_close(model.objective(batch, LOSSES["ce"]), expected)


@pytest.mark.parametrize("wrong", [{"dynamic_ratio": 0.0}, {"slide_mode": "five"}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SLIME4RecConfig(30, **wrong)
