"""Theorem 1: the rate of decay, exceptional start vectors, and what causal attention collapses onto."""

import math

import numpy as np
import pytest
import torch
from decaying import random_attention, start
from hypothesis import given, settings
from hypothesis import strategies as st
from json_output import json_of
from repository import ROOT

from spectral import Theorem1, decay, split, theorem1
from spectral.capture import Capture
from spectral.theorem1 import (
    Attention,
    analyse,
    exceptional,
    fit_slope,
    layer_ratios,
    left_perron_vector,
    random_attentions,
    trained_attentions,
)

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(2, 30)


def naive_log_ratio(matrix: np.ndarray, x: np.ndarray, steps: int, c: int) -> list[float]:
    """The definition: powers of A applied to x, then the split. Right until rounding takes over."""
    result = []
    for _ in range(steps + 1):
        low, high = split(torch.from_numpy(x), c)
        result.append(float((high.norm() / low.norm()).log()))
        x = matrix @ x
    return result


@given(LENGTHS, SEEDS, st.booleans(), st.booleans())
def test_first_steps_are_those_of_the_definition(length, seed, causal, one_mode):
    c = 1 if one_mode or length < 4 else 3
    matrix, x = random_attention(length, seed, causal), start(length, seed)
    expected = np.array(naive_log_ratio(matrix, x, 30, c))
    known = expected > math.log(1e-7)  # of the naive way only ratios far above rounding are right
    np.testing.assert_allclose(decay(matrix, x, 30, c)[known], expected[known], atol=1e-4)


@settings(max_examples=50)
@given(st.integers(3, 30), SEEDS, st.booleans())
def test_bidirectional_attention_decays_at_the_rate_of_the_second_eigenvalue(length, seed, sharp):
    matrix = random_attention(length, seed, sharpness=3.0 if sharp else 1.0)
    case = theorem1([Attention("random", matrix)]).cases[0]
    moduli = np.sort(np.abs(np.linalg.eigvals(matrix)))
    assert abs(case.lambda2) == pytest.approx(moduli[-2])
    assert case.predicted_slope == pytest.approx(math.log(moduli[-2]))
    if length > 3 and moduli[-4] < 0.97 * moduli[-2]:  # else the fourth eigenvalue is still to be heard
        assert case.fitted_slope == pytest.approx(case.predicted_slope, rel=0.02, abs=0.02)
    assert case.log_ratio[-1] < math.log(1e-5)


def rotation(modulus: float, angle: float) -> np.ndarray:
    """A row-stochastic 3 x 3 circulant with the complex eigenvalues modulus * exp(+-i angle)."""
    eigenvalues = np.array([1, modulus * np.exp(1j * angle), modulus * np.exp(-1j * angle)])
    kernel = np.fft.ifft(eigenvalues).real
    assert kernel.min() >= 0
    return np.stack([np.roll(kernel[::-1], i + 1) for i in range(3)])


def test_oscillating_decay_is_averaged_over_whole_periods():
    matrix = np.kron(np.eye(1), rotation(0.4, 0.6))
    mixed = np.block([[matrix * 0.9, np.full((3, 1), 0.1)], [np.full((1, 4), 0.25)]])  # not normal any more
    case = theorem1([Attention("rotating", mixed)]).cases[0]
    assert case.lambda2.imag != 0
    assert case.fitted_slope == pytest.approx(math.log(abs(case.lambda2)), abs=1e-3)


@pytest.mark.parametrize("angle", [0.1, 0.7, 1.5, math.pi - 0.2])
def test_fit_cancels_the_oscillation(angle):
    t = np.arange(601)
    log_ratio = -0.3 * t + np.log(np.sqrt(1.2 + np.cos(2 * angle * t + 0.4)))
    assert fit_slope(log_ratio, angle) == pytest.approx(-0.3, abs=2e-4)


def test_equal_diagonal_entries_are_approached_slowly_but_from_above():
    matrix = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.5, 0], [0.2, 0.2, 0.1, 0.5]])
    case = theorem1([Attention("Jordan block", matrix)]).cases[0]
    assert case.predicted_slope == pytest.approx(math.log(0.5))
    # t^2 0.5^t has the slope log 0.5 + 2 / t, so it is followed until that is small.
    assert 0 < case.fitted_slope - case.predicted_slope < 1e-3


@settings(max_examples=50)
@given(st.integers(3, 25), SEEDS, st.booleans())
def test_exceptional_start_does_not_become_dc_but_the_second_eigenvector(length, seed, causal):
    matrix = random_attention(length, seed, causal)
    spectrum = analyse(matrix)
    usual, case = theorem1([Attention("random", matrix)]).cases
    assert (usual.exceptional, usual.limit) == (False, 0.0)
    assert case.exceptional and case.name.endswith("exceptional x") and case.predicted_slope == 0
    if spectrum.lambda2.imag == 0 and spectrum.lambda3 < 0.95 * abs(spectrum.lambda2):
        low, high = split(torch.from_numpy(np.real(spectrum.vector).copy()), 1)
        expected = float(high.norm() / low.norm())
        assert case.limit == pytest.approx(expected, rel=1e-6)
        if expected < 1e6:  # an eigenvector without DC has no ratio
            assert math.exp(case.log_ratio[-1]) == pytest.approx(expected, rel=1e-3)
            assert case.fitted_slope == pytest.approx(0, abs=1e-6)


def test_what_is_exceptional_is_the_left_perron_vector_and_not_the_mean():
    matrix = np.array([[0.8, 0.2], [0.4, 0.6]])  # pi = (2/3, 1/3), and the second eigenvalue is 0.4
    without_mean, orthogonal_to_pi = np.array([1.0, -1.0]), np.array([1.0, -2.0])
    assert np.diff(decay(matrix, without_mean, steps=40))[-1] == pytest.approx(math.log(0.4))
    assert decay(matrix, orthogonal_to_pi, steps=40)[-1] == pytest.approx(math.log(3))  # HFC (3, -3)/2, LFC (1, 1)/2
    np.testing.assert_allclose(exceptional(without_mean, left_perron_vector(matrix)) @ [2, 1], 0, atol=1e-12)
    notebook = (ROOT / "notebooks/theorem1.ipynb").read_text()
    assert "pi^T x = 0" in notebook and "without a mean" not in notebook


def test_exceptional_ratio_of_a_complex_pair_is_its_mean_over_the_phase():
    case = next(case for case in theorem1(random_attentions(lengths=[50])).cases if case.exceptional)
    assert case.lambda2.imag != 0
    observed = math.exp(case.log_ratio[len(case.log_ratio) // 2 :].mean())
    assert case.limit == pytest.approx(observed, rel=0.02)


def test_uniform_attention_is_dc_after_one_step():
    log_ratio = decay(np.full((6, 6), 1 / 6), start(6), steps=5)
    assert np.isfinite(log_ratio[0]) and np.isneginf(log_ratio[1:]).all()
    case, exceptional_case = theorem1([Attention("uniform", torch.full((6, 6), 1 / 6))]).cases
    assert case.lambda2 == 0 and case.predicted_slope == case.fitted_slope == -math.inf
    assert math.isnan(exceptional_case.limit)  # A x is 0, which is neither low nor high
    assert np.isnan(case.predicted).all()


def test_identity_keeps_every_frequency_because_positions_never_mix():
    case = theorem1([Attention("identity", np.eye(5))]).cases[0]
    assert case.lambda2 == 1 and case.predicted_slope == 0
    np.testing.assert_allclose(case.log_ratio, case.log_ratio[0], atol=1e-12)


def test_constant_signal_stays_dc():
    assert np.isneginf(decay(random_attention(7), np.ones(7), steps=3)).all()


def test_decay_can_be_followed_for_thousands_of_steps():
    matrix = random_attention(50)
    log_ratio = decay(matrix, start(50), steps=3000)
    assert log_ratio[-1] < -3000 and np.isfinite(log_ratio).all()
    assert np.diff(log_ratio[1000:]).mean() == pytest.approx(analyse(matrix).slope, rel=1e-3)


@pytest.mark.parametrize("c", [1, 3, 9])
def test_rate_is_the_same_for_every_number_of_low_modes(c):
    case = theorem1([Attention("random", random_attention(12, seed=4, causal=True))], c=c).cases[0]
    assert case.fitted_slope == pytest.approx(case.predicted_slope, rel=1e-4)


class Trained:
    """Attention that depends on the items; padding rows look everywhere, as in the published code."""

    def trace(self, input_ids, causal=True):
        size = input_ids.shape[1]
        scores = (input_ids[:, :, None] * 7 + input_ids[:, None, :] * 3).double().sin()[:, None]
        allowed = (input_ids > 0)[:, None, None, :].expand(-1, 1, size, size)
        if causal:
            allowed = allowed & torch.ones(size, size).tril().bool()
        attention = torch.where(allowed, scores, scores - 10000).softmax(-1).float()
        self.mask = input_ids > 0
        return Capture(hidden=(), attention=(attention, attention), mask=self.mask)


def test_trained_attention_is_checked_bidirectional_and_causal_for_every_layer_and_head():
    cases = theorem1(trained_attentions(Trained(), torch.tensor([3, 1, 4, 1, 5, 9]))).cases
    assert [case.name for case in cases if not case.exceptional] == [
        "layer 1, head 1",
        "layer 2, head 1",
        "layer 1, head 1, causal",
        "layer 2, head 1, causal",
    ]
    assert [case.causal for case in cases] == [False] * 4 + [True] * 4
    assert all(case.n == 6 for case in cases)


def test_with_padding_everything_collapses_onto_the_first_real_item():
    checked = theorem1(trained_attentions(Trained(), torch.tensor([0, 0, 0, 4, 1, 5, 9])))
    padded = [case for case in checked.cases if "3 of padding" in case.name]
    assert len(padded) == 4 and all(case.n == 7 for case in padded)
    for case in padded:
        assert case.causal and case.collapses_onto == 3 and case.collapse_weight == pytest.approx(1)
    real = [case for case in checked.cases if "padding" not in case.name]
    assert all(case.n == 4 for case in real)
    assert [case.collapses_onto for case in real if case.causal] == [0] * 4
    lasting = padded[1]
    assert lasting.exceptional and math.exp(lasting.log_ratio[-1]) == pytest.approx(lasting.limit, rel=0.05)


def test_random_attention_is_that_of_the_theorem():
    attentions = random_attentions(lengths=[5, 8], causal_length=6, seed=3)
    assert [len(attention.matrix) for attention in attentions] == [5, 8, 6]
    for attention in attentions[:2]:
        assert attention.matrix.min() > 0
        np.testing.assert_allclose(attention.matrix.sum(1), 1)
    np.testing.assert_array_equal(np.triu(attentions[2].matrix, 1), 0)
    again = random_attentions(lengths=[5, 8], causal_length=6, seed=3)
    assert all((a.matrix == b.matrix).all() for a, b in zip(attentions, again, strict=True))


def test_blocks_are_measured_on_their_hidden_states():
    hidden = torch.randn(2, 3, 8, 4, dtype=torch.float64)
    hidden[1] = hidden[1].mean(1, keepdim=True)
    captures = [Capture(tuple(hidden[:, part]), (), torch.ones(1, 8)) for part in (slice(1), slice(1, 3))]
    ratios = layer_ratios(captures, c=3)
    low, high = split(hidden[0], 3)
    assert ratios[0] == pytest.approx(float(high.norm() / low.norm())) and ratios[1] < 1e-12
    cut = layer_ratios(captures, c=3, length=5)
    low, high = split(hidden[0, :, -5:], 3)
    assert cut[0] == pytest.approx(float(high.norm() / low.norm()))
    with pytest.raises(ValueError, match="no hidden states"):
        layer_ratios([])


def test_other_mistakes_are_named():
    matrix = random_attention(5)
    with pytest.raises(ValueError, match=r"x must be \(5,\)"):
        decay(matrix, np.ones(4))
    with pytest.raises(ValueError, match="c must be odd"):
        decay(matrix, np.ones(5), c=2)
    with pytest.raises(ValueError, match="c must be below N = 5"):
        decay(matrix, np.ones(5), c=5)


def test_tables_hold_every_case_and_step():
    checked = theorem1(random_attentions(lengths=[6], causal_length=5))
    assert isinstance(checked, Theorem1)
    table = checked.table()
    assert len(table) == 4 and {"lambda2", "lambda2_angle", "collapses_onto", "c"} <= set(table.columns)
    assert list(checked.summary()[0]) == [
        "name",
        "n",
        "causal",
        "lambda2",
        "predicted_slope",
        "fitted_slope",
        "limit",
    ]
    curves = checked.decay_table(steps=100)
    assert len(curves) == 4 * 101
    assert list(curves.columns) == ["name", "t", "log10_ratio", "predicted_log10_ratio"]
    first = curves[curves["name"] == "random, N = 6"]
    np.testing.assert_allclose(first["log10_ratio"] * math.log(10), checked.cases[0].log_ratio[:101])
    slopes = np.diff(first["predicted_log10_ratio"]) * math.log(10)
    np.testing.assert_allclose(slopes, checked.cases[0].predicted_slope)
    assert len(checked.decay_table()) == sum(len(case.log_ratio) for case in checked.cases)


def test_theorem1_prints_its_documented_json(call, checkpoint, model, tmp_path):
    code, out, err = call("theorem1", checkpoint, "--json", "--out", tmp_path)
    assert code == 0 and "1 user with a full window" in err
    result = json_of(out)
    assert list(result) == ["cases"]
    names = [case["name"] for case in result["cases"]]
    heads = model.config.num_layers * model.config.num_heads
    assert len(names) == len(set(names)) == 2 * (4 + 2 * heads)
    for case in result["cases"]:
        assert list(case) == [
            "name",
            "n",
            "causal",
            "lambda2",
            "predicted_slope",
            "fitted_slope",
            "limit",
        ]
        assert case["causal"] == ("causal" in case["name"])
        if "exceptional" in case["name"]:
            assert case["predicted_slope"] == 0 and case["limit"] != 0
        else:
            assert case["limit"] == 0
            assert case["predicted_slope"] == pytest.approx(math.log(case["lambda2"]))
            assert case["fitted_slope"] == pytest.approx(case["predicted_slope"], rel=0.05)


def test_theorem1_of_a_short_user_shows_what_padding_does(call, checkpoint, model, lengths, tmp_path):
    n = int(lengths[(lengths < model.config.max_len) & (lengths > 2)].mode().values)
    code, out, _ = call("theorem1", checkpoint, "--length", n, "--out", tmp_path)
    assert code == 0
    padding = model.config.max_len - n
    rows = [line for line in out.splitlines() if f"causal, {padding} of padding" in line]
    assert rows and all(line.split()[-2] == str(padding) for line in rows)  # the first real position
