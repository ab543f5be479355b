"""Capturing models that know nothing of this toolkit: by what they return, and by hooks on their modules."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from models.errors import ConfigError
from spectral import (
    AttentionStatistics,
    CosineSimilarity,
    FrequencyResponse,
    LayerSpectra,
    Smoothing,
    attention_statistics,
    capture,
)
from spectral.capture import Capture
from spectral.theorem1 import layer_ratios

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
        ({"hidden": None}, "hidden should be True, False, or names of modules as text; got None"),
        ({"attention": ["encoder", 1]}, r"attention should be .*got \['encoder', 1\]"),
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


@pytest.fixture(params=["GPT-2", "BERT"])
def hugging_face(request):
    transformers = pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    torch.manual_seed(0)
    common = {"vocab_size": 40, "attn_implementation": "eager"}
    if request.param == "GPT-2":
        sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
        return transformers.GPT2Model(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, **common))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers.BertModel(transformers.BertConfig(**sizes, **common), add_pooling_layer=False)


@pytest.mark.parametrize("by_name", [False, True])
def test_padding_on_the_left_shifts_no_positions(hugging_face, by_name):
    layers = "h.*" if hasattr(hugging_face, "h") else "encoder.layer.*"
    names = {"hidden": [layers], "attention": False} if by_name else {}
    ids = torch.randint(1, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(9) >= torch.tensor([4, 0, 7])[:, None]).long()
    [padded] = capture(hugging_face, {"input_ids": ids * mask, "attention_mask": mask}, **names)
    for row, n in enumerate([5, 9, 2]):
        [alone] = capture(hugging_face, {"input_ids": ids[row : row + 1, -n:]}, **names)
        assert padded.mask[row].sum() == n and padded.mask[row, -n:].all()
        for mine, theirs in zip(padded.last(n).hidden, alone.hidden, strict=True):
            torch.testing.assert_close(mine[row], theirs[0], atol=1e-5, rtol=0)


def test_given_positions_are_left_alone(hugging_face):
    ids, mask = torch.tensor([[0, 7, 8]]), torch.tensor([[0, 1, 1]])
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": torch.tensor([[0, 5, 9]])}
    [captured] = capture(hugging_face, given, attention=False)
    direct = hugging_face.eval()(**given, output_hidden_states=True).hidden_states
    torch.testing.assert_close(captured.hidden[-1], direct[-1])


def test_an_encoder_and_a_decoder_are_captured_one_by_one():
    transformers = pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    sizes = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = transformers.BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, attn_implementation="eager", **sizes
    )
    t5 = transformers.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    t5._attn_implementation = "eager"
    batch = {"input_ids": torch.randint(3, 40, (3, 9))}
    for model, part in (
        (transformers.BartModel(config), "model.encoder"),
        (transformers.BartForConditionalGeneration(config), r"model.get_encoder\(\)"),
        (transformers.T5Model(t5), "model.encoder"),
    ):
        for attention in (True, False):
            with pytest.raises(ConfigError, match=rf"{type(model).__name__} is an encoder and a decoder.* {part}$"):
                next(capture(model, batch, attention=attention))
        [captured] = capture(model.get_encoder(), batch)
        assert captured.attention[0].shape == (3, 2, 9, 9) and len(captured.hidden) == 2


@dataclass
class Intermediates:
    before: torch.Tensor
    after: torch.Tensor


@dataclass(frozen=True, slots=True)
class Slotted:
    before: torch.Tensor
    after: torch.Tensor


Named = namedtuple("Named", "before after")


class Attend(nn.Module):
    """Attention that puts out its scores and its map inside something else."""

    def __init__(self, wrap) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        scores = x @ x.mT
        return scores.softmax(-1) @ x, self.wrap(scores, scores.softmax(-1))


class InContainers(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.emb = nn.Embedding(40, D)
        self.layers = nn.ModuleList(nn.ModuleList([nn.LayerNorm(D), Attend(wrap), nn.Identity()]) for _ in range(2))

    def forward(self, ids):
        x = self.emb(ids)
        for norm, attend, residual in self.layers:
            x = residual(x + attend(norm(x))[0])
        return x


@pytest.mark.parametrize(
    "wrap", [Intermediates, Slotted, Named, lambda a, b: {"a": a, "b": b}, lambda a, b: [a, (Named(a, b),)]]
)
def test_maps_are_found_inside_other_things(wrap, ids):
    model = InContainers(wrap).eval()
    [captured] = capture(model, ids, attention=["layers.*.1"])
    x = model.layers[0][0](model.emb(ids))
    torch.testing.assert_close(captured.attention[0][:, 0], (x @ x.mT).softmax(-1))


def test_a_container_is_said_to_be_one_with_its_members_that_ran(ids):
    with pytest.raises(
        ConfigError, match=r"layers.0 is a container \(ModuleList\).* that ran: layers.0.0, layers.0.1, "
    ):
        next(capture(InContainers(Named), ids, hidden=["emb", "layers.*"], attention=False))


class TakesMore(nn.Module):
    """Takes its ids in a dictionary, and something that is not in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(40, D)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(D, HEADS, 16, batch_first=True) for _ in range(2))

    def encode(self, batch, table):
        x = table[batch["x"]]
        for block in self.blocks:
            x = block(x, src_key_padding_mask=batch["x"] == 0)
        return x

    def forward(self, batch, candidates=None):
        return self.encode(batch, self.items.weight) @ self.items.weight.T


@pytest.mark.parametrize("batch", [{"batch": {"x": None}}, {"x": None}])
def test_a_model_that_takes_more_is_called_as_the_user_says(batch, ids):
    model = TakesMore().eval()
    ids = ids + 1  # none is padding
    ids[0, :4] = 0
    nested = {"batch": {"x": ids}} if "batch" in batch else {"x": ids}
    inner = (lambda given: given["batch"]) if "batch" in batch else (lambda given: given)
    [captured] = capture(
        model,
        nested,
        hidden=["blocks.*"],
        attention=["blocks.*.self_attn"],
        call=lambda model, given: model.encode(inner(given), model.items.weight),
        mask=lambda given: inner(given)["x"] > 0,
    )
    assert captured.mask.sum(1).tolist() == [2, 6, 6, 6, 6]
    torch.testing.assert_close(captured.hidden[-1][1:], model.encode({"x": ids}, model.items.weight)[1:])
    assert captured.attention[0].shape == (5, HEADS, N, N)


@pytest.mark.parametrize("batch", [{"x": torch.ones(2, 3, dtype=torch.int64)}, torch.ones(2, 3, dtype=torch.int64)])
def test_a_batch_that_a_model_does_not_take_is_said_with_the_way_out(batch):
    with pytest.raises(
        ConfigError, match=r"TakesMore does not take the batch \(.*\); say how .* call=lambda model, batch"
    ):
        next(capture(TakesMore(), [batch], hidden=["blocks.*"], attention=False))


def test_rows_of_padding_that_attend_to_nothing_are_no_fault(ids):
    """Causal attention over padding on the left: nothing is left for the first rows, which are NaN."""
    mask = torch.arange(N) >= torch.tensor([2, 0, 1, 0, 0])[:, None]

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.maps = nn.Embedding(40, D), nn.Softmax(-1)

        def forward(self, ids):
            allowed = mask[:, None, :] & torch.ones(N, N, dtype=torch.bool).tril()
            x = self.emb(ids)
            return self.maps((x @ x.mT).masked_fill(~allowed, -torch.inf))

    [captured] = capture(Causal(), ids, hidden=False, attention=["maps"], mask=lambda batch: mask)
    assert captured.attention[0][0, 0, 0].isnan().all()
    shorter = Capture((), (captured.attention[0][:1],), captured.mask[:1])
    assert FrequencyResponse.from_captures([shorter], length=4).gain[0, 0, 0] == pytest.approx(1)


def test_attention_measures_want_real_positions_or_a_length(ids):
    mask = (torch.arange(N) < 4).expand(5, N).long()
    batch = {"ids": ids, "attention_mask": mask}
    for measure in (FrequencyResponse, AttentionStatistics):
        with pytest.raises(ConfigError, match=r"5 of 5 captured sequences have padding .* length=n"):
            measure.from_captures(capture(Plain(), batch, **NAMES))
    with pytest.raises(ConfigError, match="length=n"):
        layer_ratios(capture(Plain(), batch, **NAMES))
    alone = FrequencyResponse.from_captures(capture(Plain(), ids[:, :4], **NAMES))
    last = FrequencyResponse.from_captures(capture(Plain(), batch, **NAMES), length=4)
    torch.testing.assert_close(torch.from_numpy(last.gain), torch.from_numpy(alone.gain), atol=1e-5, rtol=0)
    assert FrequencyResponse.from_captures(capture(Plain(), batch, **NAMES), padded=True).positions == N


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_half_precision_is_measured(dtype):
    many = torch.randint(0, 20, (64, 7), generator=torch.Generator().manual_seed(1))
    exact = AttentionStatistics.from_captures(capture(Plain(), many, **NAMES))
    half = AttentionStatistics.from_captures(capture(Plain().to(dtype), many, **NAMES))
    assert abs(half.distance - exact.distance).max() < 0.02


def test_maps_that_are_further_from_row_stochastic_than_rounding_are_not(ids):
    maps = torch.full((5, 1, N, N), 1 / N)
    for dtype, off in ((torch.bfloat16, 0.03), (torch.float16, 0.005), (torch.float32, 0.003)):
        with pytest.raises(ValueError, match="row-stochastic"):
            attention_statistics((maps * (1 + off)).to(dtype))


def test_x_transformers_is_captured_by_the_names_of_its_layers(ids):
    library = pytest.importorskip("x_transformers", reason="x-transformers is not installed")
    torch.manual_seed(0)
    layers = library.Decoder(dim=16, depth=2, heads=2)
    model = library.TransformerWrapper(num_tokens=40, max_seq_len=16, attn_layers=layers).eval()
    names = {"hidden": ["token_emb", "attn_layers.layers.*.2"], "attention": ["attn_layers.layers.*.1.attend"]}
    [captured] = capture(model, ids, **names)
    with torch.no_grad():
        _, maps = model(ids, return_attn=True)
    for mine, theirs in zip(captured.attention, maps, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert [x.shape for x in captured.hidden] == [(5, N, 16)] * 5
