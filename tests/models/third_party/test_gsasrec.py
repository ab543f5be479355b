"""Files of gSASRec against its equations: a padding item of its own, attention that looks at no padding."""

import pytest
import torch
from third_party_reference import State, assert_same, attend, histories, linear, norm
from third_party_states.gsasrec import BLOCK, ITEMS, N, state_of

import models

HEADS, EPS = 2, 1e-5
PADDING = ITEMS + 1


def reference(state: State, activation=torch.relu):
    def run(sequences):
        results = []
        for sequence in sequences:
            ids = torch.tensor(([PADDING] * N + sequence)[-N:])
            real, n = (ids != PADDING).float()[:, None], min(len(sequence), N)
            x = (state["item_embedding.weight"][ids] + state["position_embedding.weight"]) * real
            allowed = torch.ones(N, N).tril() * real.T
            mask = torch.where(allowed > 0, 0.0, -torch.inf)
            hidden, maps = [x], []
            for layer in range(2):
                key = BLOCK.format(layer)
                query = norm(x, state, f"{key}.first_norm", EPS)
                projected = [
                    linear(source, state, f"{key}.multihead_attention.{part}_proj")
                    for source, part in ((query, "query"), (x, "key"), (x, "val"))
                ]
                output, weights = attend(*projected, HEADS, mask)
                y = norm(output.nan_to_num() + query, state, f"{key}.second_norm", EPS)
                x = (linear(activation(linear(y, state, f"{key}.dense1")), state, f"{key}.dense2") + y) * real
                hidden.append(x)
                maps.append(weights[:, -n:, -n:])
            hidden[-1] = norm(x, state, "seq_norm", EPS)
            results.append(([x[-n:] for x in hidden], maps))
        return results

    return run


@pytest.mark.parametrize(("activation", "function"), [("relu", torch.relu), ("none", lambda x: x)])
def test_gsasrec_has_the_numbers_of_its_equations(tmp_path, activation, function):
    state = state_of()
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", heads=HEADS, activation=activation)
    assert model.config.num_items == ITEMS
    assert_same(model, reference(state, function), ITEMS)


@pytest.mark.parametrize("own_output", [False, True])
def test_items_are_scored_with_the_table_that_is_for_it(tmp_path, own_output):
    state = state_of(own_output)
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", heads=HEADS)
    sequence = histories(ITEMS)[1]
    with torch.inference_mode():
        scores = model(torch.tensor([sequence]))[0]
    table = state["output_embedding.weight" if own_output else "item_embedding.weight"][: ITEMS + 1]
    torch.testing.assert_close(scores, table @ reference(state)([sequence])[0][0][-1][-1], atol=1e-5, rtol=1e-5)


def test_attention_at_padding_is_zero_not_a_softmax_over_nothing(tmp_path):
    torch.save(state_of(), tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", heads=HEADS)
    with torch.inference_mode():
        trace = model.trace(torch.tensor([[3, 9], [0, 0]]))
    for attention in trace.attention:
        assert attention[0, :, -2:, -2:].sum(-1).allclose(torch.ones(HEADS, 2))
        assert not attention[0, :, :-2].any() and not attention[1].any()
    assert all(bool(x.isfinite().all()) for x in trace.hidden)
