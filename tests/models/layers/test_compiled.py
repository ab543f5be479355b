"""The compiled layers against the plain ones in float64, for every kind of processor that this one can stand in for."""

import math

import pytest
import torch

from models.layers import compiled, fused, losses
from models.layers.dropout import Dropout, MaskSource, dense
from models.layers.frequency import LowPass
from models.layers.packing import all_positions, real_positions
from models.registry import build, configure

D = 64
KINDS = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",)}.get(torch.backends.cpu.get_cpu_capability(), ())
WINDOWS = torch.tensor([[0, 0, 0, 3, 4], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [0, 0, 0, 0, 9], [0, 5, 6, 7, 8]])


@pytest.fixture(params=["avx512", "avx2"])
def kind(request, monkeypatch):
    library = compiled.load(request.param) if request.param in KINDS else None
    if library is None:
        pytest.skip(f"no layers compiled for {request.param} here, or a processor without it")
    monkeypatch.setattr(compiled, "_library", lambda: (request.param, library))
    return request.param


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def numbers(*shape, scale=1.0):
    return (torch.randn(shape) * scale).requires_grad_()


def mask_of(*shape, dropped):
    if dropped == "coins":
        return MaskSource(seed=1).coins(torch.Size(shape))
    return torch.randint(0, 2, shape) * 2.0 if dropped else None


def end_of(*shape, dropped="numbers"):
    return fused.End(numbers(D), numbers(D), 1e-12, mask_of(*shape, D, dropped=dropped))


def same(function, tensors, fixed=(), tolerance=1e-5):
    """Assert that outputs and gradients of float32 tensors are those of float64 ones; return the output."""

    def run(dtype):
        given = [None if t is None else t.detach().to(dtype).requires_grad_() for t in tensors]
        output = function(*given, *[as_type(value, dtype) for value in fixed])
        outward = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        return output, torch.autograd.grad(output, [t for t in given if t is not None], outward)

    (output, grads), (expected, expected_grads) = run(torch.float32), run(torch.float64)
    assert output.dtype == torch.float32
    for found, plain in zip((output, *grads), (expected, *expected_grads), strict=True):
        error = (found - plain).norm() / plain.norm().clamp(min=1e-3)
        assert error < tolerance, error
    return output


def as_type(value, dtype):
    if isinstance(value, list):
        return [as_type(part, dtype) for part in value]
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def spied(monkeypatch):
    """Return the names of the compiled functions that are called."""
    called, call = [], compiled._call
    monkeypatch.setattr(compiled, "_call", lambda name, *rest: (called.append(name), call(name, *rest)))
    return called


@pytest.mark.parametrize(("rows", "inner"), [(1, 4 * D), (5, 4 * D), (6, 4 * D), (97, 3 * D), (200, 4 * D)])
@pytest.mark.parametrize("dropped", ["", "numbers", "coins"])
def test_the_feed_forward_network(kind, monkeypatch, rows, inner, dropped):
    torch.manual_seed(rows)
    called, end = spied(monkeypatch), end_of(rows, dropped=dropped)
    weights = [numbers(inner, D, scale=0.3), numbers(inner), numbers(D, inner, scale=0.1), numbers(D)]

    def run(x, w1, b1, w2, b2, weight, bias, mask):
        return fused.feed_forward(x, w1, b1, w2, b2, fused.End(weight, bias, end.eps, mask))

    same(run, [numbers(rows, D), *weights, end.weight, end.bias], [end.dropout_mask])
    assert [name for name in called if name != "coins"] == ["feed_forward", "feed_forward_backward"]


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("dropped", ["", "numbers", "coins"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("packing", [all_positions, real_positions])
def test_attention(kind, monkeypatch, packing, causal, dropped, heads):
    monkeypatch.setattr("models.layers.packing.CACHED_ROWS", 8)  # several groups
    # A key that is forbidden is one beside which others count: where all are, the plain form rounds scores of -10000.
    monkeypatch.setattr("models.layers.packing.MASKED", -200.0)
    torch.manual_seed(heads)
    made = packing(WINDOWS, causal)
    assert len(made.groups) > 1 and fused.takes_heads(torch.ones(1, D), heads, made.groups)
    end = end_of(*made.items.shape, dropped=dropped)
    dropout = Dropout(0.5, MaskSource(seed=2))
    shapes = [(len(group.mask), heads, *group.mask.shape[2:]) for group in made.groups]
    drawn = {"": lambda *_: None, "numbers": dropout.masks, "coins": dropout.coins_for}
    masks = drawn[dropped](shapes, torch.device("cpu"))
    called = spied(monkeypatch)

    def run(x, w, b, b_out, weight, bias, mask, masks):
        ending = fused.End(weight, bias, end.eps, mask)
        if x.dtype == torch.float32:
            return fused.attention(x, w, b, b_out, ending, made.groups, masks, 0.3)[0]
        return plain_attention(x, w.view(heads, 2, D, D), b.view(heads, 2, D), b_out, ending, made.groups, masks)

    weights = [numbers(heads * 2 * D, D, scale=0.1), numbers(heads * 2 * D), numbers(D)]
    same(run, [numbers(*made.items.shape, D), *weights, end.weight, end.bias], [end.dropout_mask, masks])
    assert called.count("attention") == called.count("attention_backward") == len(made.groups)


def plain_attention(x, w, b, b_out, end, groups, masks, scale=0.3):
    rows, updates = x.flatten(end_dim=-2), []
    for index, group in enumerate(groups):
        key, update = group.to_grid(rows[group.rows]), b_out
        for head in range(len(w)):
            query, value = (group.to_grid(rows[group.rows] @ w[head, part].T + b[head, part]) for part in (0, 1))
            probability = (query @ key.mT * scale + group.mask[:, 0]).softmax(-1)
            update = update + (probability if masks is None else probability * dense(masks[index])[:, head]) @ value
        updates.append(group.to_rows(update))
    update = torch.cat(updates).view(x.shape)
    total = x + (update if end.dropout_mask is None else update * dense(end.dropout_mask))
    return torch.nn.functional.layer_norm(total, [D], end.weight, end.bias, end.eps)


def test_masks_may_have_been_made_in_another_type(kind):
    x, end = torch.randn(*WINDOWS.shape, D), fused.End(torch.ones(D), torch.zeros(D), 1e-12, None)
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        groups = all_positions(WINDOWS).groups
        torch.set_default_dtype(torch.float32)
        w, b = torch.ones(2 * D, D) / D, torch.zeros(2 * D)
        found.append(fused.attention(x, w, b, torch.zeros(D), end, groups, None, 1.0)[0])
    assert torch.equal(*found)


def test_forbidden_keys_have_the_weight_0_exactly(kind):
    torch.manual_seed(0)
    made = all_positions(WINDOWS)
    x = torch.randn(*WINDOWS.shape, D)
    parameters = torch.randn(2 * D, D), torch.randn(2 * D), torch.randn(D)
    _, (probability,) = fused.attention(x, *parameters, end_of(*WINDOWS.shape, dropped=""), made.groups, None, 0.3)
    real = (WINDOWS > 0)[:, None, :, None].expand_as(probability)
    forbidden = made.groups[0].mask.expand_as(probability) < 0
    assert bool((probability[real & forbidden] == 0).all()) and bool((probability[real & ~forbidden] > 0).all())
    torch.testing.assert_close(probability.sum(-1), torch.ones(probability.shape[:-1]))


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("dropped", ["", "numbers", "coins"])
def test_one_query_attends(kind, monkeypatch, heads, dropped):
    torch.manual_seed(heads)
    called = spied(monkeypatch)
    some = WINDOWS[WINDOWS.any(1)]  # the plain form rounds the scores of padding alone, which are -10000
    mask, drop = all_positions(some).last_mask, mask_of(4, heads, 5, dropped=dropped)
    run = lambda x, query, drop: torch.cat(fused.attend_one(x, query, mask, drop, 0.3), dim=-1)  # noqa: E731
    same(run, [numbers(4, 5, D), numbers(4, heads, D)], [drop])
    assert called.count("attend_one") == called.count("attend_one_backward") == 1


@pytest.mark.parametrize("low_pass", [LowPass.fourier(9, 1), LowPass.fourier(9, 5), LowPass.wavelet(9, "sym4")])
@pytest.mark.parametrize("beta_size", [1, D])
@pytest.mark.parametrize("dropped", ["", "numbers", "coins"])
@pytest.mark.parametrize("last", [9, 1])
def test_the_frequency_layer(kind, monkeypatch, low_pass, beta_size, dropped, last):
    torch.manual_seed(0)
    called, end = spied(monkeypatch), end_of(3, last, dropped=dropped)

    def run(x, beta, weight, bias, plus, basis, synthesis, mask):
        ending = fused.End(weight, bias, end.eps, mask)
        return fused.frequency_layer(x, x[:, -last:], basis, synthesis[-last:], beta, ending, plus)

    given = [numbers(3, 9, D), numbers(beta_size), end.weight, end.bias, numbers(3, last, D)]
    # The gradient of a single beta is a sum over all dimensions, most of which cancels.
    same(run, given, [low_pass.basis, low_pass.synthesis, end.dropout_mask], 1e-5 if beta_size > 1 else 1e-4)
    assert called.count("frequency") == called.count("frequency_backward") == 1


@pytest.mark.parametrize("positions", [None, 5])
@pytest.mark.parametrize("dropped", ["", "numbers", "coins"])
@pytest.mark.parametrize("kind_of_ids", [torch.int32, torch.int64])
def test_the_embedding(kind, monkeypatch, positions, dropped, kind_of_ids):
    torch.manual_seed(0)
    called, end, item = spied(monkeypatch), end_of(5, 5, dropped=dropped), WINDOWS.to(kind_of_ids)

    def run(items, table, weight, bias, mask):
        return fused.embed(items, table, fused.End(weight, bias, end.eps, mask), item, torch.arange(5))

    table = None if positions is None else numbers(positions, D)
    same(run, [numbers(10, D), table, end.weight, end.bias], [end.dropout_mask])
    assert called.count("embed") == called.count("embed_backward") == 1
    with pytest.raises(IndexError, match=r"0\.\.9 of a table of 9 rows"):
        run(numbers(9, D), table, end.weight, end.bias, None)


@pytest.mark.parametrize("batch", [32, 47, 100])
@pytest.mark.parametrize("items", [3, 130])
def test_the_cross_entropy(kind, monkeypatch, batch, items):
    torch.manual_seed(0)
    called, target = spied(monkeypatch), torch.randint(0, items, (batch,), generator=torch.Generator().manual_seed(0))
    run = lambda output, table: 3 * losses.cross_entropy(output, table, target)  # noqa: E731
    same(run, [numbers(batch, D), numbers(items, D)])
    assert called == ["cross_entropy"]
    with pytest.raises(IndexError, match="index out of range"):
        losses.cross_entropy(torch.ones(32, D), torch.ones(items, D), torch.full((32,), items))
    assert called == ["cross_entropy"]
    losses.cross_entropy(torch.ones(31, D), torch.ones(items, D), torch.zeros(31, dtype=torch.int64))
    assert called == ["cross_entropy"]


def test_scores_and_activations_of_any_size(kind):
    far = torch.tensor([-1e4, -90.0, -12.0, -1e-30, 0.0, 1e-30, 12.0, 90.0, 1e4] + [0.5] * (D - 9))
    end = fused.End(torch.ones(D), torch.zeros(D), 1e-12, None)
    x, identity, nothing = far.expand(4, D).clone(), torch.eye(D), torch.zeros(D)
    output = fused.feed_forward(x, identity, nothing, identity, nothing, end)
    expected = torch.nn.functional.layer_norm(far + torch.nn.functional.gelu(far), [D])
    torch.testing.assert_close(output, expected.expand(4, D))
    items = torch.linspace(-1, 1, 5)[:, None].expand(5, D)
    loss = losses.cross_entropy(torch.full((32, D), 100.0), items, torch.tensor([4, 0] * 16))
    assert math.isclose(loss.item(), 6400, rel_tol=1e-5)  # half of the targets are 12,800 below the best


def test_what_is_no_number_stays_none(kind):
    made = all_positions(WINDOWS)
    x = torch.randn(*WINDOWS.shape, D)
    x[1, 2, 3] = torch.nan
    end = fused.End(torch.ones(D), torch.zeros(D), 1e-12, None)
    attended, _ = fused.attention(
        x, torch.randn(2 * D, D), torch.zeros(2 * D), torch.zeros(D), end, made.groups, None, 1.0
    )
    assert bool(attended[1, 2:].isnan().all()) and bool(attended[[0, 2, 3, 4]].isfinite().all())
    mixed, _ = fused.attend_one(x, torch.ones(5, 1, D), made.last_mask, None, 1.0)
    assert mixed.isnan().flatten(1).any(1).tolist() == [False, True, False, False, False]
    w1, w2 = torch.randn(2 * D, D), torch.randn(D, 2 * D)
    output = fused.feed_forward(x, w1, torch.zeros(2 * D), w2, torch.zeros(D), end)
    assert bool(output[1, 2].isnan().all()) and int(output.isnan().sum()) == D
    assert losses.cross_entropy(x[:, 2].repeat(7, 1), torch.ones(3, D), torch.zeros(35, dtype=torch.int64)).isnan()


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_masks_are_the_same_in_every_form(kind, monkeypatch, p):
    called, shapes = spied(monkeypatch), [(7, 33), (2, 5), (1,)]
    drawn = lambda name, *given: getattr(Dropout(p, MaskSource(seed=3)), name)(*given, torch.device("cpu"))  # noqa: E731
    forms = drawn("masks", shapes), [dense(mask) for mask in drawn("coins_for", shapes)]
    alone = drawn("mask", (7 * 33 + 11,)), dense(drawn("coins", (7 * 33 + 11,)))
    assert called.count("coins") == (6 if p == 0.5 else 0)
    monkeypatch.setattr(compiled, "_library", lambda: None)
    plain = drawn("masks", shapes)
    assert isinstance(drawn("coins", (5,)), torch.Tensor)  # only compiled layers take words
    for form in forms:
        assert all(torch.equal(mask, expected) for mask, expected in zip(form, plain, strict=True))
    for mask in alone:
        assert torch.equal(mask, torch.cat([part.flatten() for part in plain]))


@pytest.mark.parametrize("model", ["sasrec", "bsarec", "bert4rec", "duorec", "tvrec"])
def test_a_model_trains_and_scores_as_without(kind, monkeypatch, model):
    windows = torch.tensor([[0, 0, 1, 2, 3], [4, 5, 6, 7, 8], [0, 0, 0, 0, 9], [0, 2, 4, 6, 8]])
    windows = windows.repeat(8, 1)
    network = build(configure(model, 9, max_len=5, dropout=0.5, num_layers=3))
    network.initialise(seed=0)
    called = spied(monkeypatch)

    def run():
        network.train().masks.seed(0)
        network.zero_grad()
        losses.cross_entropy(network.encode(windows), network.items.weight, windows[:, -1]).backward()
        grads = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
        return grads, network.eval().encode(windows)

    grads, output = run()
    assert {"feed_forward", "cross_entropy", "embed"} <= set(called)
    monkeypatch.setattr(compiled, "_library", lambda: None)
    expected, plain = run()
    torch.testing.assert_close(output, plain, rtol=1e-4, atol=1e-5)
    assert grads.keys() == expected.keys()
    for name, grad in grads.items():
        assert (grad - expected[name]).norm() < 1e-4 * expected[name].norm() + 1e-7, name


def test_frozen_weights_leave_the_derivative_by_the_input_as_it_is(kind):
    torch.manual_seed(0)
    x, end = numbers(7, D), end_of(7)
    weights = [numbers(4 * D, D), numbers(4 * D), numbers(D, 4 * D), numbers(D)]
    (expected,) = torch.autograd.grad(fused.feed_forward(x, *weights, end).square().sum(), x)
    for parameter in (*weights, end.weight, end.bias):
        parameter.requires_grad_(False)
    (found,) = torch.autograd.grad(fused.feed_forward(x, *weights, end).square().sum(), x)
    assert torch.equal(found, expected)


def test_gradients_rows_and_masks_may_lie_anyhow(kind):
    torch.manual_seed(0)
    weights, end = [numbers(4 * D, D), numbers(4 * D), numbers(D, 4 * D), numbers(D)], end_of(5)
    lying_end = fused.End(end.weight, end.bias, end.eps, end.dropout_mask.T.contiguous().T)
    x, outward = torch.randn(D, 5), torch.randn(D, 5)
    lying = x.T.requires_grad_()
    standing = x.T.contiguous().requires_grad_()
    fused.feed_forward(lying, *weights, lying_end).backward(outward.T)
    fused.feed_forward(standing, *weights, end).backward(outward.T.contiguous())
    assert torch.equal(lying.grad, standing.grad)


def test_what_they_do_not_take(kind, monkeypatch):
    tile = {"avx512": 64, "avx2": 16}[kind]
    rows = torch.ones(2, tile)
    assert compiled.takes(rows) and compiled.takes(rows, 2 * tile)
    assert not compiled.takes(rows, tile + 8)
    assert not compiled.takes(rows.double()) and not compiled.takes(rows.half()) and not compiled.takes(rows[:, 1:])
    assert not compiled.takes(rows.to("meta"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert not compiled.takes(rows)


def test_what_does_not_fit_is_refused_and_not_read(kind):
    """C++ would read what lies behind a tensor that is too small."""
    x, row, end = torch.ones(3, 5, D), torch.ones(D), end_of(3, 5)
    one, table, target = torch.zeros(3, 1, 5), torch.ones(9, D), torch.zeros(32, dtype=torch.int64)
    w1, b1, w2 = torch.ones(2 * D, D), torch.ones(2 * D), torch.ones(D, 2 * D)
    less = fused.End(end.weight, end.bias, end.eps, end.dropout_mask[:, 1:])
    basis, long = torch.ones(5, 3), all_positions(WINDOWS[:3])
    wrong = [
        lambda: fused.feed_forward(x, w1, b1[1:], w2, row, end),
        lambda: fused.feed_forward(x, w1, b1, w2.double(), row, end),
        lambda: fused.feed_forward(x, w1, b1, w2, row, less),
        lambda: fused.attention(x, w1[1:], b1[1:], row, end, long.groups, None, 1.0),
        lambda: fused.attention(x, w1, b1, row, end, long.groups, [torch.ones(3, 1, 5, 4)], 1.0),
        lambda: fused.frequency_layer(x, x, basis[1:], basis, row, end, x),
        lambda: fused.frequency_layer(x, x, torch.ones(6, 3), torch.ones(6, 3), row, end, torch.ones(3, 6, D)),
        lambda: fused.attend_one(x, torch.ones(2, 1, D), one, None, 1.0),
        lambda: fused.attend_one(x, torch.ones(3, 1, D), one[..., 1:], None, 1.0),
        lambda: fused.embed(table, torch.ones(5, 2 * D), end, WINDOWS[:3] * 0, torch.arange(5)),
        lambda: losses.cross_entropy(torch.ones(32, D), torch.ones(9, 2 * D), target),
        lambda: losses.cross_entropy(torch.ones(32, D), table, target[1:]),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="expected"):
            call()


@pytest.mark.parametrize(("model", "window"), [("sasrec", 7), ("bsarec", 7), ("bsarec", 4)])
def test_windows_of_another_length_are_refused_as_without(kind, monkeypatch, model, window):
    network = build(configure(model, 9, max_len=5)).eval()
    items = torch.ones(2, window, dtype=torch.int64)
    with pytest.raises((IndexError, ValueError), match=r"index out of range|expected float32 of shape"):
        network.encode(items)
    monkeypatch.setattr(compiled, "_library", lambda: None)
    with pytest.raises((IndexError, RuntimeError)):
        network.encode(items)


def test_rows_that_are_not_the_last_of_their_window_are_for_the_plain_form():
    with_hole = real_positions(torch.tensor([[1, 0, 2], [0, 0, 3]]))
    assert all(group.lengths is None for group in with_hole.groups)
    assert not fused.takes_heads(torch.ones(1, D), 2, with_hole.groups)


def test_without_a_compiler_there_are_none(monkeypatch):
    monkeypatch.setattr(compiled, "load", lambda name: None)
    compiled._library.cache_clear()
    try:
        assert compiled.variant() == "none" and not compiled.takes(torch.ones(1, D))
    finally:
        compiled._library.cache_clear()
