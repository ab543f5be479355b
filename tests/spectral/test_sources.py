"""Capturing models that know nothing of this toolkit: by what they return, and by hooks on their modules."""

import pytest
import torch
from torch import nn

from models.errors import ConfigError
from spectral import CosineSimilarity, FrequencyResponse, LayerSpectra, Smoothing, capture

N, D, HEADS = 6, 8, 2


class Plain(nn.Module):
    """Two encoder layers of PyTorch on embedded ids."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(20, D)
        layer = nn.TransformerEncoderLayer(D, HEADS, 16, dropout=0.5, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(D, 3)

    def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        padding = None if attention_mask is None else attention_mask == 0
        return self.head(self.encoder(self.embeddings(ids), src_key_padding_mask=padding))


class Returning(nn.Module):
    """Returns its hidden states and attention under the names that Hugging Face uses."""

    def __init__(self, returned) -> None:
        super().__init__()
        self.returned = returned

    def forward(self, input_ids, attention_mask=None):
        return self.returned


@pytest.fixture
def model() -> Plain:
    return Plain()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 20, (5, N), generator=torch.Generator().manual_seed(1))


NAMES = {
    "hidden": ["embeddings", "encoder.layers.*"],
    "attention": ["encoder.layers.*.self_attn"],
}


def test_hooks_give_what_the_modules_compute_by_hand(model, ids):
    [captured] = capture(model, ids, **NAMES)
    model.eval()
    x = model.embeddings(ids)
    torch.testing.assert_close(captured.hidden[0], x)
    for number, layer in enumerate(model.encoder.layers):
        weights = layer.self_attn(x, x, x, need_weights=True, average_attn_weights=False)[1]
        torch.testing.assert_close(captured.attention[number], weights)
        x = layer(x)
        torch.testing.assert_close(captured.hidden[number + 1], x)
    assert captured.mask.all() and captured.mask.shape == (5, N)


def test_hooks_leave_the_model_as_it_was(model, ids):
    model.train()
    before = torch.backends.mha.get_fastpath_enabled()
    batches = capture(model, [ids, ids], **NAMES)
    next(batches)
    batches.close()
    with pytest.raises(ConfigError):
        list(capture(model, ids, hidden=["embeddings"], attention=["head"]))
    assert model.training and torch.backends.mha.get_fastpath_enabled() == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_real_positions_come_last_and_keep_their_values(model, ids):
    lengths = torch.tensor([6, 3, 1, 5, 2])
    mask = (torch.arange(N) < lengths[:, None]).long()  # padded on the right
    [captured] = capture(model, {"ids": ids, "attention_mask": mask}, **NAMES)
    for row, n in enumerate(lengths.tolist()):
        [alone] = capture(model, ids[row : row + 1, :n], **NAMES)
        assert captured.mask[row].tolist() == [False] * (N - n) + [True] * n
        last = captured.last(n)
        for layer in range(3):
            torch.testing.assert_close(last.hidden[layer][row], alone.hidden[layer][0], atol=1e-5, rtol=0)
        for layer in range(2):
            torch.testing.assert_close(last.attention[layer][row], alone.attention[layer][0], atol=1e-5, rtol=0)


def test_the_measures_take_such_captures(model, ids):
    response = FrequencyResponse.from_captures(capture(model, ids, **NAMES))
    assert response.gain.shape == (2, HEADS, N // 2 + 1)
    torch.testing.assert_close(torch.from_numpy(response.gain[..., 0]), torch.ones(2, HEADS).double())
    for measure in (LayerSpectra, CosineSimilarity, Smoothing):
        assert set(measure.from_captures(capture(model, ids, **NAMES)).table()["layer"]) == {0, 1, 2}


def test_hidden_states_or_attention_alone_and_single_layers(model, ids):
    [captured] = capture(model, ids, hidden=NAMES["hidden"], attention=False, layers=[2])
    assert [x is None for x in captured.hidden] == [True, True, False] and captured.attention == ()
    [captured] = capture(model, ids, hidden=False, attention=NAMES["attention"])
    assert captured.hidden == () and captured.attention[1].shape == (5, HEADS, N, N)


@pytest.mark.parametrize("kind", ["mapping", "object"])
def test_what_a_callable_returns_is_taken_by_name(kind):
    hidden = tuple(torch.randn(3, 5, N, D))
    attention = tuple(torch.randn(2, 5, HEADS, N, N).softmax(-1))
    returned = {"hidden_states": hidden, "attentions": attention}
    if kind == "object":
        returned = type("Output", (), returned)()
    [captured] = capture(Returning(returned), torch.ones(5, N, dtype=torch.int64))
    assert all(a is b for a, b in zip(captured.hidden + captured.attention, hidden + attention, strict=True))
    [captured] = capture(lambda batch: returned, [torch.ones(5, N)], attention=False)
    assert captured.attention == (None, None) and captured.hidden[2] is hidden[2]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hidden": ["embedding"], "attention": False}, "no module 'embedding'; similar ones: embeddings"),
        ({"hidden": ["encoder.layers.9"]}, "no module 'encoder.layers.9'"),
        ({"hidden": ["embeddings"], "attention": ["head"]}, r"head should output attention maps.*\(5, 6, 3\)"),
        ({"hidden": ["encoder.layers.0.self_attn.out_proj"]}, "out_proj did not run"),
        ({}, r"Plain has no `trace`.*name its modules instead"),
    ],
)
def test_what_cannot_be_captured_is_said(model, ids, options, message):
    with pytest.raises(ConfigError, match=message):
        list(capture(model, ids, **options))


def test_an_attention_mask_of_another_shape_is_refused():
    returned = {"hidden_states": (torch.zeros(2, 4, 3),)}
    with pytest.raises(ConfigError, match=r"attention_mask should be \(B, N\) = \(2, 4\), got \(2, 5\)"):
        list(capture(Returning(returned), {"input_ids": torch.ones(2, 4), "attention_mask": torch.ones(2, 5)}))


def test_a_hugging_face_model_gives_what_it_returns_when_called():
    transformers = pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    model = transformers.BertModel(config, add_pooling_layer=False)
    model.set_attn_implementation("eager")
    ids = torch.randint(1, 30, (4, 7))
    mask = (torch.arange(7) < torch.tensor([7, 2, 4, 6])[:, None]).long()
    [captured] = capture(model, {"input_ids": ids, "attention_mask": mask})
    with torch.inference_mode():
        direct = model.eval()(input_ids=ids, attention_mask=mask, output_hidden_states=True, output_attentions=True)
    for row, n in enumerate([7, 2, 4, 6]):
        for mine, theirs in zip(captured.hidden, direct.hidden_states, strict=True):
            torch.testing.assert_close(mine[row, -n:], theirs[row, :n])
        for mine, theirs in zip(captured.attention, direct.attentions, strict=True):
            torch.testing.assert_close(mine[row, :, -n:, -n:], theirs[row, :, :n, :n])
    model.set_attn_implementation("sdpa")
    with pytest.raises(ConfigError, match="attn_implementation='eager'"):
        list(capture(model, {"input_ids": ids}))
    [captured] = capture(model, {"input_ids": ids}, attention=False)
    assert len(captured.hidden) == 4 and captured.attention == ()
