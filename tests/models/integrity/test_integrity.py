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
from models.integrity import CHECKS, Check, integrity, item_frequency, lines, verdict
from models.integrity.causality import influence_of_items
from models.integrity.examined import WINDOWS as FULL_WINDOWS
from models.integrity.examined import Examined
from models.integrity.ranking import shuffled
from models.layers.add_norm import ResidualStep
from models.registry import MODELS, build, configure

BATCH = 2 * FULL_WINDOWS  # with and without padding
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


class AddsTheNeighbour(Toy):
    """Every row of a batch but the first takes something of the row before."""

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        mixed = super().mix(layer, x, maps)
        return mixed + 0.1 * torch.cat([torch.zeros_like(mixed[:1]), mixed[:-1]])


class PaddingCounts(Toy):
    def attention(self, real: Tensor) -> Tensor:
        return super().attention(torch.ones_like(real))


class PaddingCountsBesideLonger(Toy):
    """A batch is padded to its longest history only, and this padding counts."""

    def attention(self, real: Tensor) -> Tensor:
        return super().attention(real | real.all(1).any())


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


class NeverFires(Toy):
    """Half of the units behind a ReLU do not fire, whatever the weights."""

    limit = torch.tensor([0.0, 1e9]).repeat_interleave(D // 2)

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(D, D)

    def mix(self, layer: int, x: Tensor, maps: Tensor) -> Tensor:
        return super().mix(layer, x, maps) + (self.gate(x) - self.limit.to(x)).relu()


class MayFire(NeverFires):
    """None of the units fires for these windows, but they do with other weights."""

    limit = torch.zeros(D)

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.gate.bias, -20.0)


class NotAverages(Toy):
    def attention(self, real: Tensor) -> Tensor:
        return super().attention(real) * 1.01


class Negative(Toy):
    """Rows sum to 1, but take something away from the first position."""

    def attention(self, real: Tensor) -> Tensor:
        maps = super().attention(real)
        change = torch.zeros(N, N)
        change[-1, 0], change[-1, -1] = -0.9, 0.9
        return maps + change.to(maps)


@pytest.mark.parametrize(
    ("name", "faulty", "where"),
    [
        ("causal", Ahead, [[2, 5]]),
        ("causal", AheadOutside, [[i, i + 1] for i in range(N - 1)]),
        ("batch_independent", OverTheBatch, list(range(BATCH))),
        ("batch_independent", AddsTheNeighbour, list(range(1, BATCH))),
        ("padding_independent", PaddingCounts, []),
        ("padding_independent", PaddingCountsBesideLonger, []),
        ("padding_independent", PaddingIsLookedAt, []),
        ("order_sensitive", Bag, []),
        ("parameters_alive", Diagonals, ["values.0.weight", "values.1.weight"]),
        ("parameters_alive", Unused, ["extra"]),
        ("parameters_alive", StraightThrough, ["extra"]),
        ("parameters_alive", NeverFires, ["gate.weight", "gate.bias"]),
        ("layers_act", SecondIsIdentity, [2]),
        ("rows_stochastic", NotAverages, [[1, 1], [2, 1]]),
        ("rows_stochastic", Negative, [[1, 1], [2, 1]]),
    ],
)
def test_a_planted_fault_is_found(name: str, faulty: type[Toy], where: list):
    found = checks_of(faulty(), histories=histories())[name]
    assert found.claimed and found.passes is False and found.where == where


@pytest.mark.parametrize("sound", [Toy, MayFire])
def test_a_sound_model_passes_all_checks(sound: type[Toy]):
    found = checks_of(sound(), histories=histories())
    assert all(found[name].passes and found[name].claimed and found[name].where == [] for name in VERDICTS), found


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


GATES = "parameters_alive at blocks.0.mixer.gate, blocks.1.mixer.gate"
STATIC = "blocks.0.mixer.static_filter, blocks.1.mixer.static_filter"
NOT_MIXING = "breaks: layers_act at 1, 2"
# With the published initial weights attention, and the filters that start near 0, add next to nothing to their input.
INITIAL = {
    "sasrec": NOT_MIXING,
    "bsarec": "keeps its promises",
    "fmlprec": NOT_MIXING,
    "duorec": NOT_MIXING,
    "fearec": NOT_MIXING,
    "bert4rec": NOT_MIXING,
    "gru4rec": "keeps its promises",
    "caser": "keeps its promises",
    "tvrec": "breaks: causal at [0, 5], layers_act at 1, 2",
    "wearec": f"breaks: {GATES}",
    "slime4rec": f"breaks: parameters_alive at {STATIC}, layers_act at 1, 2",
    "lowarec": "keeps its promises",
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_found_in_architectures_with_initial_weights(name: str):
    own = {"order": 5} if name == "tvrec" else {}  # as many taps as positions, as published
    model = build(configure(name, 50, 4, hidden_size=16, max_len=6, **own))
    model.initialise(seed=0)
    found = checks_of(model)
    assert verdict(list(found.values())) == INITIAL[name]
    assert found["padding_independent"].passes == found["padding_independent"].claimed
    assert found["causal"].passes == (found["causal"].claimed and name != "tvrec")


@pytest.mark.parametrize(
    ("name", "settings", "idle", "reason"),
    [
        ("tvrec", {"order": 50}, ["coefficients"], "of the N + K - 1 rows of coefficients only the first N"),
        ("wearec", {"num_heads": 2}, ["gate"], "alpha mixes the filters, and the gate is not used"),
        (
            "wearec",
            {"num_heads": 1},
            ["shift", "gate", "outer.weight", "outer.bias"],
            "alpha mixes the filters, and the gate is not used; what a single head adds is the same in all dimensions",
        ),
        ("slime4rec", {}, ["static_filter"], "a filter acts in its band of frequencies only"),
    ],
)
def test_parameters_that_the_published_model_does_not_use_are_found_with_the_reason(name, settings, idle, reason):
    found = checks_of(random_model(name, **settings))["parameters_alive"]
    assert found.where == [f"blocks.{layer}.mixer.{each}" for layer in range(2) for each in idle]
    assert f"; as published: {reason}" in found.meaning


@pytest.mark.parametrize("seed", [0, 42])
def test_the_other_padding_is_none_that_a_seed_draws(seed: int):
    model = build(configure("wearec", 50, hidden_size=16, max_len=6))
    model.initialise(seed)
    assert checks_of(model)["padding_independent"].value > 1e-5


def test_layers_that_change_the_size_of_the_states_have_no_value():
    model = build(configure("gru4rec", 50, hidden_size=16, max_len=6, num_layers=2, gru_hidden_size=12))
    model.initialise(seed=0)
    found = checks_of(model)["layers_act"]
    assert found.passes and found.value is None and "another size" in found.meaning


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


# Scores of all items for windows (B, N), and the values of popularity and last_item. Item i occurs i times. The windows
# are all pairs of a first item and a last one among PAIRED items.
PAIRED = 6
COUNTS = torch.arange(1.0, ITEMS + 1)
MIDDLE = (COUNTS - COUNTS.mean()).abs()  # the same for items as far above the middle as below: uncorrelated with counts


def one_hot(items: Tensor, count: int = ITEMS) -> Tensor:
    return (items[:, None] == torch.arange(1, count + 1)).float()


def first_and_last(windows: Tensor) -> Tensor:
    """Half of the items are scored by the first item, half by the last one, and both alike."""
    return torch.cat([one_hot(windows[:, place], ITEMS // 2) for place in (0, -1)], dim=1)


def popular_after_odd_items(windows: Tensor) -> Tensor:
    return torch.where(windows[:, -1:] % 2 == 1, COUNTS, MIDDLE)


@pytest.mark.parametrize(
    ("scores", "by_popularity", "by_last_item"),
    [
        (lambda windows: COUNTS.sqrt().expand(len(windows), -1), 1, 0),  # no user differs from another
        (lambda windows: -COUNTS.expand(len(windows), -1), 1, 0),  # rare items first: as much follows from counts
        (lambda windows: MIDDLE.expand(len(windows), -1), 0, 0),
        (lambda windows: one_hot(windows[:, -1]), None, 1),
        (lambda windows: one_hot(windows[:, 0]), None, 0),
        (first_and_last, None, 1 / 2),
        (popular_after_odd_items, 1 / 2, 1),
    ],
)
def test_popularity_and_last_item_have_their_closed_forms(scores, by_popularity: float | None, by_last_item: float):
    class Known(Toy):
        def forward(self, windows: Tensor) -> Tensor:
            with_padding = nn.functional.pad(scores(windows), (1, 0))
            return with_padding.to(self.items.weight) + 0 * self.items.weight.sum()

    ends = torch.cartesian_prod(torch.arange(1, PAIRED + 1), torch.arange(1, PAIRED + 1))
    windows = torch.full((len(ends), N), ITEMS)
    windows[:, 0], windows[:, -1] = ends.T
    found = checks_of(Known(), histories=windows, frequency=torch.cat([torch.zeros(1), COUNTS]))
    assert found["last_item"].value == pytest.approx(by_last_item, abs=1e-12)
    if by_popularity is not None:
        assert found["popularity"].value == pytest.approx(by_popularity, abs=1e-12)
    for name in ("popularity", "last_item"):
        assert found[name].passes is None and not found[name].claimed and found[name].where == []


def test_popularity_is_not_known_without_data():
    assert "without data" in checks_of(Toy(), histories=histories())["popularity"].meaning


def test_how_often_items_occur_is_counted_without_padding():
    assert item_frequency(torch.tensor([[0, 3, 3], [0, 0, 1]]), 4).tolist() == [0, 1, 0, 2, 0]


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
