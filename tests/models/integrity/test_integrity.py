"""Each check finds a planted fault, and passes a sound model."""

from types import SimpleNamespace

import pytest
import torch
from plain_models import WINDOWS, random_model
from plain_models import N as N_PLAIN
from third_party_reference import real_file
from torch import Tensor, nn
from toy import ITEMS, D, N, Toy, histories

import models
from models.integrity import CHECKS, Check, integrity, item_frequency, lines
from models.integrity.causality import influence_of_items
from models.integrity.examined import Examined
from models.integrity.ranking import shuffled
from models.layers.add_norm import ResidualStep
from models.registry import MODELS

VERDICTS = [check.__name__ for check in CHECKS if check.__name__ not in ("popularity", "last_item")]


def checks_of(model: nn.Module, **given: object) -> dict[str, Check]:
    return {check.name: check for check in integrity(model, **given)}


class Ahead(Toy):
    """Position 2 sees position 5."""

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        ahead = torch.zeros(N, N).to(x)
        ahead[2, 5] = 0.01
        return super().mix(layer, x, maps) + ahead @ x


class AheadOutside(Toy):
    """The leak is not in a layer, but behind the last one."""

    def trace(self, windows: Tensor) -> SimpleNamespace:
        trace = super().trace(windows)
        trace.hidden[-1] = trace.hidden[-1] + 0.1 * trace.hidden[0].roll(-1, 1)
        return trace


class OverTheBatch(Toy):
    """Transforms over the users of the batch, as one published model does."""

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        spectrum = torch.fft.fft(super().mix(layer, x, maps), dim=0)
        return torch.fft.ifft(spectrum / (1 + 0.1 * spectrum.abs()), dim=0).real


class PaddingCounts(Toy):
    def attention(self, real: Tensor) -> Tensor:
        return super().attention(torch.ones_like(real))


class PaddingIsLookedAt(PaddingCounts):
    """States of padding are 0, but take their share of attention."""

    def trace(self, windows: Tensor) -> SimpleNamespace:
        trace = super().trace(windows)
        real = trace.mask[..., None]
        hidden = [self.items(windows) * real]
        for layer in self.layer_functions(windows):
            hidden.append(layer(hidden[-1]) * real)
        return SimpleNamespace(hidden=hidden, attention=trace.attention, mask=trace.mask)


class Bag(Toy):
    def forward(self, windows: Tensor) -> Tensor:
        return self.items(windows).mean(1) @ self.items.weight.T


class Diagonals(Toy):
    """Uses only the diagonal of its matrices, as one published model does."""

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        return x + maps[:, 0] @ (x * self.values[layer].weight.diagonal())


class Unused(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Parameter(torch.ones(3))


class StraightThrough(Toy):
    """A parameter with a gradient that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Parameter(torch.ones(D))

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        return super().mix(layer, x, maps) + self.extra - self.extra.detach()


class SecondIsIdentity(Toy):
    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        return super().mix(layer, x, maps) if layer == 0 else 1.005 * x


class NotAverages(Toy):
    def attention(self, real: Tensor) -> Tensor:
        return super().attention(real) * 1.01


@pytest.mark.parametrize(
    ("name", "faulty", "where"),
    [
        ("causal", Ahead, [[2, 5]]),
        ("causal", AheadOutside, [[i, i + 1] for i in range(N - 1)]),
        ("batch_independent", OverTheBatch, None),
        ("padding_independent", PaddingCounts, []),
        ("padding_independent", PaddingIsLookedAt, []),
        ("order_sensitive", Bag, []),
        ("parameters_alive", Diagonals, ["values.0.weight", "values.1.weight"]),
        ("parameters_alive", Unused, ["extra"]),
        ("parameters_alive", StraightThrough, ["extra"]),
        ("layers_act", SecondIsIdentity, [2]),
        ("rows_stochastic", NotAverages, [[1, 1], [2, 1]]),
    ],
)
def test_a_planted_fault_is_found(name: str, faulty: type[Toy], where: list | None):
    found = checks_of(faulty(), histories=histories())[name]
    assert found.claimed and found.passes is False
    assert found.where == where if where is not None else found.where


def test_a_sound_model_passes_all_checks():
    sound = checks_of(Toy(), histories=histories())
    assert all(sound[name].passes and sound[name].claimed and sound[name].where == [] for name in VERDICTS), sound


@pytest.mark.parametrize("place", ["weight", "state"])
def test_numbers_that_are_not_finite_are_found_and_nothing_else_is_checked(place: str):
    model = Toy()
    if place == "weight":
        model.values[1].weight.data[0, 0] = torch.nan
        where = ["values.1.weight"]
    else:
        model.items.weight.data[1:] = 3e38  # finite, but not what is made of it
        where = ["layer 1", "layer 2", "scores"]
    found = checks_of(model)
    assert found["finite"].passes is False and found["finite"].where == where
    assert all(found[name].passes is None for name in found if name != "finite")


@pytest.mark.parametrize("layer", [1, 2])
def test_a_mixing_layer_that_adds_almost_nothing_is_found(layer: int):
    model = random_model("sasrec")
    assert checks_of(model)["layers_act"].passes
    mixer = model.blocks[layer - 1].mixer
    mixer.output.weight.data *= 1e-3
    mixer.output.bias.data.zero_()
    found = checks_of(model)["layers_act"]
    assert found.passes is False and found.where == [layer] and found.value < 0.1


def test_a_shift_is_no_identity_although_it_damps_nothing():
    class Shift(Toy):
        def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
            return x.roll(1, 1)

        def residual_steps(self, windows: Tensor) -> list:
            x = self.trace(windows).hidden[0]
            step = ResidualStep("shift", x, x.roll(1, 1) - x, nn.LayerNorm(D))
            return [[step, step], [step, step]]  # mixing and feed-forward network

    assert checks_of(Shift())["layers_act"].passes


PROMISED = {
    "bsarec": (),
    "fmlprec": (),
    "fearec": (),
    "bert4rec": ("padding_independent",),
    "gru4rec": ("causal",),
    "caser": ("causal",),
    "sasrec": ("causal", "padding_independent"),
    "duorec": ("causal", "padding_independent"),
    "slime4rec": (),
    "lowarec": (),
    "wearec": (),
}


# Parameters that the published models have and do not use: whole, or outside of a band.
UNUSED = {"wearec": ["blocks.0.mixer.gate", "blocks.1.mixer.gate"], "slime4rec": None}


@pytest.mark.parametrize("name", PROMISED)
def test_our_architectures_keep_their_promises_and_have_no_more(name: str):
    model = random_model(name)
    found = checks_of(model)
    for check in ("causal", "padding_independent"):
        assert found[check].claimed == found[check].passes == (check in PROMISED[name])
    kept = [check for check in VERDICTS if found[check].claimed and check != "parameters_alive"]
    assert all(found[check].passes for check in kept), [found[check] for check in kept]
    if (unused := UNUSED.get(name, [])) is not None:
        assert found["parameters_alive"].where == unused
    assert found["rows_stochastic"].claimed == (model.trace(WINDOWS).attention is not None)


def test_tvrec_looks_ahead_in_one_entry():
    model = random_model("tvrec", order=N_PLAIN)
    found = checks_of(model)
    assert found["causal"].claimed and found["causal"].where == [[0, N_PLAIN - 1]]
    assert all(found[check].passes for check in VERDICTS if found[check].claimed and check != "causal")


def test_the_published_tvrec_looks_ahead_and_its_second_layer_does_nothing():
    found = checks_of(models.load(real_file("tvrec_lastfm.pt")))
    assert found["causal"].passes is False and found["causal"].where == [[0, 49]]
    assert found["layers_act"].passes is False and found["layers_act"].where == [2]
    others = [name for name in VERDICTS if name not in ("causal", "layers_act", "rows_stochastic")]
    assert all(found[name].passes for name in others)


def test_what_bsarec_sees_ahead_is_everything():
    found = checks_of(random_model("bsarec"))["causal"]
    n = random_model("bsarec").config.max_len
    assert found.where == [[i, j] for i in range(n) for j in range(i + 1, n)]


def test_influence_is_that_of_the_jacobian():
    """Of a model that is linear in its embeddings, the derivative says which positions it depends on."""
    examined = Examined.of(Toy())
    window = examined.windows[0]
    maps = examined.model.attention(window[None] > 0)

    def last(x: Tensor) -> Tensor:
        return examined.model.mix(1, examined.model.mix(0, x, maps), maps)

    jacobian = torch.autograd.functional.jacobian(last, examined.model.items(window[None]).detach())
    size = jacobian.norm(dim=(2, 5))[0, :, 0]
    assert torch.equal(influence_of_items(examined, window) > 1e-7, size > 1e-7)


def test_popularity_and_last_item_are_values():
    frequency = item_frequency(torch.arange(1, ITEMS + 1).repeat_interleave(torch.arange(ITEMS, 0, -1)), ITEMS)

    class Popular(Toy):
        def forward(self, windows: Tensor) -> Tensor:
            return frequency.to(windows.device).expand(len(windows), -1) ** 0.5 + 0 * self.items.weight.sum()

    class Markov(Toy):
        def forward(self, windows: Tensor) -> Tensor:
            return self.items(windows[:, -1]) @ self.items.weight.T

    popular, markov, toy = (checks_of(m(), histories=histories(), frequency=frequency) for m in (Popular, Markov, Toy))
    assert popular["popularity"].value == pytest.approx(1)
    assert popular["last_item"].value == 0  # no user differs from another
    assert markov["last_item"].value == pytest.approx(1)
    assert toy["popularity"].value < 0.3 and toy["last_item"].value < 0.99
    for found in (popular, markov, toy):
        assert found["popularity"].passes is None and not found["popularity"].claimed
    assert "without data" in checks_of(Toy())["popularity"].meaning


def test_a_model_without_scores_says_so_and_is_checked_on_its_states():
    from models.errors import ConfigError

    class Silent(Toy):
        def forward(self, windows: Tensor) -> Tensor:
            raise ConfigError("this model gives no scores")

    found = checks_of(Silent(), histories=histories())
    assert all(found[name].passes for name in VERDICTS)
    assert found["last_item"].value is None and "gives no scores" in found["last_item"].meaning


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_checked_in_double(dtype: torch.dtype):
    model = random_model("sasrec").to(dtype)
    found = checks_of(model)
    assert found["causal"].passes and found["batch_independent"].value < 1e-12
    assert next(model.parameters()).dtype == dtype


def test_the_model_is_left_as_it_was():
    model = Toy().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    integrity(model, histories())
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) and not value.requires_grad


def test_shuffling_moves_only_items():
    windows = histories()
    moved = shuffled(windows)
    assert torch.equal(moved > 0, windows > 0) and not torch.equal(moved, windows)
    assert torch.equal(moved.sort().values, windows.sort().values)


def test_the_table_has_a_line_for_each_check():
    head, *rows = lines(integrity(Ahead(), histories()))
    assert head.split() == ["check", "claimed", "passes", "value", "where", "meaning"]
    assert [row.split()[0] for row in rows] == [check.__name__ for check in CHECKS]
    assert rows[0].split()[1:3] == ["yes", "NO"]


def test_every_architecture_says_what_it_promises():
    for model in MODELS.values():
        assert set(model.promises) <= {"causal", "padding_independent"}
