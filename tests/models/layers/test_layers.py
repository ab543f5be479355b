"""Layers, dropout masks and packing against closed forms and plain implementations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.architectures.bsarec import BSARec, BSARecConfig
from models.errors import ConfigError
from models.layers import fused
from models.layers.attention import SelfAttention
from models.layers.dropout import Dropout, MaskSource
from models.layers.frequency import low_pass_basis
from models.layers.packing import all_positions, attention_mask, real_positions
from models.registry import build, configure

CPU = torch.device("cpu")


@given(length=st.integers(1, 64), data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_low_pass_basis_keeps_the_first_bins_of_the_real_fft(length, data):
    c = data.draw(st.integers(0, (length - 1) // 2)) * 2 + 1
    x = np.random.default_rng(length).normal(size=(length, 3))
    spectrum = np.fft.rfft(x, axis=0, norm="ortho")
    spectrum[c // 2 + 1 :] = 0
    low = np.fft.irfft(spectrum, n=length, axis=0, norm="ortho")
    basis = low_pass_basis(length, c).numpy()
    np.testing.assert_allclose(basis @ (basis.T @ x), low, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(c), atol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_masks_are_bernoulli_and_scaled_to_mean_one(p):
    mask = MaskSource(seed=7).mask(torch.Size((400, 1000)), p, CPU)
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
    standard_error = (p * (1 - p) / mask.numel()) ** 0.5
    assert abs((mask == 0).double().mean().item() - p) < 4 * standard_error


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_masks_are_independent_across_elements_calls_and_seeds(p):
    source = MaskSource(seed=3)
    size = 31 * 4000  # the elements that share random words at p = 0.5 lie this far apart, divided by 31
    drawn = [source.mask(torch.Size((size,)), p, CPU).double() for _ in range(2)]
    other = MaskSource(seed=4).mask(torch.Size((size,)), p, CPU).double()
    first = drawn[0] - drawn[0].mean()
    lagged = [first.roll(lag) for lag in (1, 2, 31, 4000, 8000, 64)]
    for partner in [drawn[1], other, *lagged]:
        correlation = (first * (partner - partner.mean())).mean() / (first.std() * partner.std())
        assert abs(correlation) < 4.5 / size**0.5


def test_the_seed_alone_decides_the_masks():
    shape = torch.Size((50, 7))
    a, b = MaskSource(1), MaskSource(2)
    b.seed(1)
    assert torch.equal(a.mask(shape, 0.5, CPU), b.mask(shape, 0.5, CPU))
    a.seed(1, 5)
    b.seed(1, 6)
    assert not torch.equal(a.mask(shape, 0.5, CPU), b.mask(shape, 0.5, CPU))


def test_dropout_only_acts_while_training():
    layer = Dropout(0.5, MaskSource())
    x = torch.ones(100)
    assert set(layer(x).tolist()) == {0.0, 2.0}
    assert layer.eval()(x) is x


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def end_of(x, total):
    """Return an end with its dropout mask, and what it makes of dropout(y) + x."""
    end = fused.End(random(x.shape[-1]), random(x.shape[-1]), 1e-12, torch.randint(0, 2, x.shape) * 2.0)
    return end, functional.layer_norm(x + end.dropout_mask * total, x.shape[-1:], end.weight, end.bias, end.eps)


def test_fused_feed_forward_is_the_plain_one_with_numerical_gradients(monkeypatch):
    monkeypatch.setattr("models.layers.fused.CACHED_ROWS", 4)  # several blocks
    torch.manual_seed(0)
    x, weights = random(3, 5, 4), [random(16, 4), random(16), random(4, 16), random(4)]
    inner = functional.gelu(functional.linear(x, *weights[:2]))
    end, expected = end_of(x, functional.linear(inner, *weights[2:]))
    torch.testing.assert_close(fused.feed_forward(x, *weights, end), expected)

    def run(x, w1, b1, w2, b2, weight, bias):
        return fused.feed_forward(x, w1, b1, w2, b2, fused.End(weight, bias, end.eps, end.dropout_mask))

    assert torch.autograd.gradcheck(run, (x, *weights, end.weight, end.bias))


@pytest.mark.parametrize("packing", [all_positions, real_positions])
@pytest.mark.parametrize("dropped", [False, True])
def test_fused_attention_has_numerical_gradients(monkeypatch, packing, dropped):
    monkeypatch.setattr("models.layers.packing.CACHED_ROWS", 8)  # several groups
    torch.manual_seed(0)
    made = packing(torch.tensor([[0, 0, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 9]]))
    assert len(made.groups) > 1
    x = random(*made.items.shape, 4)
    weights = [random(8, 4), random(8), random(4)]
    end, _ = end_of(x, x)
    masks = [torch.randint(0, 2, (len(g.mask), 1, *g.mask.shape[2:])) * 2.0 for g in made.groups]

    def run(x, w, b, b_out, weight, bias):
        ending = fused.End(weight, bias, end.eps, end.dropout_mask if dropped else None)
        return fused.single_head(x, w, b, b_out, ending, made.groups, masks if dropped else None, 0.3)[0]

    assert torch.autograd.gradcheck(run, (x, *weights, end.weight, end.bias))


@pytest.mark.parametrize("packing", [all_positions, real_positions])
@pytest.mark.parametrize("training", [False, True])
def test_merged_projections_compute_what_separate_ones_do(packing, training):
    torch.manual_seed(0)
    made = packing(torch.tensor([[0, 0, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0]]))
    layer = SelfAttention(4, 1, 0.3, MaskSource()).double().train(training)
    x = random(*made.items.shape, 4)
    layer.add_norm.dropout.source.seed(1)
    merged, merged_attention = layer(x, made)
    layer.add_norm.dropout.source.seed(1)  # the same masks are drawn in the same order
    masks = layer.attention_dropout.masks([layer._shape(group) for group in made.groups], CPU)
    context, attention = layer._attend(layer.qkv(x).flatten(end_dim=-2), made.groups, masks)
    torch.testing.assert_close(merged, layer.add_norm(layer.output(context).view(x.shape), x))
    torch.testing.assert_close(merged_attention, attention)


def test_one_query_attends_as_it_does_among_all():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    mask = attention_mask(torch.tensor([[0, 0, 1, 2, 3], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5]]))[:, :, -1]
    drop = torch.randint(0, 2, (3, 2, 5)) * 2.0
    expected = (torch.einsum("bhd,bnd->bhn", query, x) * 0.3 + mask).softmax(-1) * drop
    mixed, weight = fused.attend_one(x, query, mask, drop, 0.3)
    torch.testing.assert_close(mixed, expected @ x)
    torch.testing.assert_close(weight, expected.sum(-1, keepdim=True))
    assert torch.autograd.gradcheck(lambda x, q: fused.attend_one(x, q, mask, drop, 0.3), (x, query))


@pytest.mark.parametrize("beta_size", [1, 4])
@pytest.mark.parametrize("last_only", [False, True])
def test_the_frequency_filter_is_low_plus_beta_high(beta_size, last_only):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    beta = torch.rand(beta_size, dtype=torch.float64, requires_grad=True)
    basis = low_pass_basis(6, 3)
    rows = slice(-1, None) if last_only else slice(None)
    drop = torch.randint(0, 2, (2, 1 if last_only else 6, 4)) * 2.0
    run = lambda x, beta: fused.frequency_filter(x, x[:, rows], basis, basis[rows], beta, drop)  # noqa: E731
    low = basis @ (basis.T @ x)
    torch.testing.assert_close(run(x, beta), (x + 0)[:, rows] + drop * (low + beta * (x - low))[:, rows])
    assert torch.autograd.gradcheck(run, (x, beta))


@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=30), cached=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_a_packing_of_real_positions_holds_each_of_them_once(lengths, cached):
    length = 12
    ids = torch.arange(1, len(lengths) * length + 1).view(-1, length)
    ids = ids * (torch.arange(length) >= length - torch.tensor(lengths)[:, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.layers.packing.CACHED_ROWS", cached)
        packing = real_positions(ids)
    computed = [n or length for n in lengths]  # an input that is all padding keeps its positions
    assert len(packing.items) == sum(computed)
    rows = torch.stack([packing.items, packing.positions], dim=1).double()
    torch.testing.assert_close(packing.to_grid(rows)[..., 0], ids.double())
    covered = [index for group in packing.groups for index in range(group.rows.start, group.rows.stop)]
    assert covered == list(range(sum(computed)))
    for group in packing.groups:
        grid = group.to_grid(rows[group.rows])
        assert torch.equal(group.to_rows(grid), rows[group.rows])
        items = grid[..., 0].long()
        real = items > 0
        assert torch.equal(attention_mask(items)[real.any(1)], group.mask[real.any(1)])


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


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_switches_a_branch_off(alpha):
    model = BSARec(BSARecConfig(30, max_len=8, alpha=alpha, num_layers=1))
    model.initialise(0)
    ids = torch.randint(1, 31, (2, 8))
    before = model.eval()(ids)
    branch = model.blocks[0].mixer.attention if alpha == 1 else model.blocks[0].mixer.frequency
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(1)
    assert torch.equal(before, model(ids))


def test_a_scalar_beta_is_the_vector_of_equal_numbers():
    ids = torch.randint(1, 31, (2, 8))
    vector, scalar = (BSARec(BSARecConfig(30, max_len=8, beta=beta)).eval() for beta in ("vector", "scalar"))
    scalar.initialise(0)
    weights = {
        key: value.expand(64) if key.endswith("sqrt_beta") else value for key, value in scalar.state_dict().items()
    }
    vector.load_state_dict(weights)
    torch.testing.assert_close(vector(ids), scalar(ids))


@pytest.mark.parametrize(
    ("model", "wrong", "message"),
    [
        ("bsarec", {"c": 4}, "c must be odd"),
        ("bsarec", {"c": 51}, r"1\.\.50"),
        ("bsarec", {"c": 0}, "c must be odd"),
        ("bsarec", {"alpha": 1.5}, "alpha must lie in 0..1, got 1.5"),
        ("bsarec", {"beta": "matrix"}, "vector or scalar"),
        ("sasrec", {"num_heads": 3}, "3 heads do not divide 64"),
        ("sasrec", {"dropout": 1.0}, "dropout"),
        ("sasrec", {"num_layers": 0}, "num_layers"),
        ("sasrec", {"alpha": 0.5}, "sasrec has no setting alpha"),
        ("gru", {}, "unknown model 'gru'; choose one of sasrec, bsarec"),
    ],
)
def test_wrong_settings_are_refused_with_the_allowed_ones(model, wrong, message):
    with pytest.raises(ConfigError, match=message):
        configure(model, 100, **wrong)


def test_weights_are_drawn_as_published_from_the_seed_alone():
    models = [build(configure("bsarec", 2000)) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        model.initialise(seed)
    first, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["items.weight"], other["items.weight"])
    assert first["items.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert first["items.weight"][0].abs().min() > 0  # the padding row is drawn as well
    assert first["blocks.0.mixer.frequency.sqrt_beta"].std() == pytest.approx(1, rel=0.3)
    assert (first["blocks.1.feed_forward.inner.bias"] == 0).all()
    assert (first["norm.weight"] == 1).all()
    assert sum(parameter.numel() for parameter in build(configure("bsarec", 3646)).parameters()) == 337_088
