"""Files of ReChorus against its equations: right padding, positions from the end, a mask of ones and zeros."""

import pytest
import torch
from third_party_reference import State, assert_same, attend, gelu, histories, linear, low_pass, norm, real_file
from third_party_states.rechorus import BLOCK, ITEMS, N, bsarec_state, sasrec_state
from torch import Tensor

import models
from models.errors import ConfigError
from models.third_party.right_padding import RightPadded

HEADS = 2


def reference(state: State, block):
    """Every sequence on its own, but padded to the longest of its batch; block(x, layer) -> (x, attention)."""

    def run(sequences):
        cut = [sequence[-N:] for sequence in sequences]
        longest = max(len(sequence) for sequence in cut)
        results = []
        for sequence in cut:
            n = len(sequence)
            ids = torch.tensor(sequence + [0] * (longest - n))
            positions = torch.tensor([max(n - place, 0) for place in range(longest)])
            hidden = [state["i_embeddings.weight"][ids] + state["p_embeddings.weight"][positions]]
            attention = []
            for layer in range(2):
                x, weights = block(hidden[-1], layer)
                hidden.append(x)
                attention.append(weights[:, :n, :n])
            results.append(([x[:n] for x in hidden], attention))
        return results

    return run


def project(x: Tensor, state: State, key: str) -> list[Tensor]:
    return [linear(x, state, f"{key}.{part}_linear") for part in "qkv"]


def sasrec_block(state: State, heads: int):
    def block(x, layer):
        key = BLOCK.format(layer)
        future = torch.full((len(x), len(x)), -torch.inf).triu(1)
        context, weights = attend(*project(x, state, f"{key}.masked_attn_head"), heads, future)
        context = norm(context + x, state, f"{key}.layer_norm1", 1e-5)
        inner = linear(context, state, f"{key}.linear1").relu()
        return norm(linear(inner, state, f"{key}.linear2") + context, state, f"{key}.layer_norm2", 1e-5), weights

    return block


def bsarec_block(state: State, heads: int, alpha: float, c: int):
    def block(x, layer):
        key = BLOCK.format(layer)
        filters, attention = f"{key}.layer.filter_layer", f"{key}.layer.attention_layer"
        low = low_pass(x, c)
        filtered = low + state[f"{filters}.sqrt_beta"][0, 0] ** 2 * (x - low)
        context, weights = attend(*project(x, state, attention), heads, torch.ones(len(x), len(x)).tril())
        attended = norm(linear(context, state, f"{attention}.out_linear") + x, state, f"{attention}.layer_norm", 1e-12)
        mixed = alpha * norm(filtered + x, state, f"{filters}.LayerNorm", 1e-12) + (1 - alpha) * attended
        inner = gelu(linear(mixed, state, f"{key}.feed_forward.w_1"))
        outer = linear(inner, state, f"{key}.feed_forward.w_2")
        return norm(mixed + outer, state, f"{key}.LayerNorm2", 1e-12), weights

    return block


def test_sasrec_has_the_numbers_of_its_equations(tmp_path):
    state = sasrec_state()
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", heads=HEADS)
    assert (model.config.num_items, model.config.max_len, model.config.inner_size) == (ITEMS, N, 24)
    assert_same(model, reference(state, sasrec_block(state, HEADS)), ITEMS)


def test_bsarec_has_the_numbers_of_its_equations_alone_and_in_a_padded_batch(tmp_path):
    state = bsarec_state()
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", heads=HEADS, alpha=0.3, c=9)
    assert_same(model, reference(state, bsarec_block(state, HEADS, 0.3, 9)), ITEMS)


def test_the_real_files_have_the_numbers_of_their_equations():
    path = real_file("rechorus_sasrec_ml1m_h1.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert_same(models.load(path, heads=1), reference(state, sasrec_block(state, 1)), 3125)
    path = real_file("rechorus_bsarec_ml1m_h4_alpha0.3_c9.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = models.load(path, heads=4, alpha=0.3, c=9)
    assert_same(model, reference(state, bsarec_block(state, 4, 0.3, 9)), 3125)


def test_scores_are_those_of_the_last_item(tmp_path):
    state = sasrec_state()
    torch.save(state, tmp_path / "file.pt")
    run = reference(state, sasrec_block(state, HEADS))
    model = models.load(tmp_path / "file.pt", heads=HEADS)
    for sequence in histories(ITEMS):
        [(hidden, _)] = run([sequence])
        with torch.inference_mode():
            scores = model(torch.tensor([sequence]))[0]
        torch.testing.assert_close(scores, state["i_embeddings.weight"] @ hidden[-1][-1], atol=1e-5, rtol=1e-5)


def test_bsarecs_oddity_is_said_and_its_settings_are_asked_for(tmp_path, caplog):
    torch.save(bsarec_state(), tmp_path / "file.pt")
    with pytest.raises(ConfigError, match=r"--heads .*--alpha .*--c "):
        models.load(tmp_path / "file.pt")
    for wrong, said in (({"alpha": 7}, r"alpha must lie in 0\.\.1"), ({"c": 99}, r"c must be odd and lie in 1\.\.50")):
        with pytest.raises(ConfigError, match=said):
            models.load(tmp_path / "file.pt", **{"heads": 1, "alpha": 0, "c": 1} | wrong)
    assert models.load(tmp_path / "file.pt", heads=1, alpha=0, c=1).config.alpha == 0
    assert "not causal and its numbers depend on how far a batch is padded" in caplog.text


def test_turning_windows_to_the_right_and_back_changes_nothing_but_the_places():
    windows = torch.tensor([[0, 0, 0, 5, 7], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [0, 0, 0, 0, 9]])
    turned = RightPadded.of(windows)
    assert turned.items.tolist() == [[5, 7, 0, 0, 0], [1, 2, 3, 4, 5], [0] * 5, [9, 0, 0, 0, 0]]
    assert turned.lengths.tolist() == [2, 5, 0, 1]
    states = turned.states(turned.items[:, :, None].float())
    assert torch.equal(states[:, :, 0].long(), windows)
    pairs = (10 * turned.items[:, :, None] + turned.items[:, None, :])[:, None].float()
    assert torch.equal(turned.weights(pairs)[:, 0].long(), 10 * windows[:, :, None] + windows[:, None, :])
    short = RightPadded.of(windows[2:], to_longest=True)
    assert short.items.tolist() == [[0], [9]]
    assert short.states(short.items[:, :, None].float())[:, :, 0].tolist() == [[0] * 5, [0, 0, 0, 0, 9]]
