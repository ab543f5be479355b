"""Files of the repository published with BSARec, of FMLP-Rec and of S3-Rec, against their equations."""

import math

import pytest
import torch
from third_party_reference import (
    State,
    assert_same,
    attend,
    dense,
    draw,
    gelu,
    histories,
    layers,
    linear,
    low_pass,
    norm,
    real_file,
)
from third_party_states.bsarec_repository import (
    BLOCK,
    ITEMS,
    TABLES,
    D,
    N,
    Sizes,
    attention_shapes,
    bsarec_state,
    feed_forward_shapes,
    fmlprec_state,
    sasrec_state,
)
from torch import Tensor

import models
from models.errors import CheckpointError, ConfigError

HEADS = 2


def windowed(sequences: list[list[int]]) -> Tensor:
    """Padded with 0 on the left to N, or the last N items."""
    return torch.tensor([([0] * N + sequence)[-N:] for sequence in sequences])


def embed(state: State, window: Tensor) -> Tensor:
    total = state["item_embeddings.weight"][window] + state["position_embeddings.weight"]
    return norm(total, state, "LayerNorm", 1e-12)


def self_attention(x: Tensor, state: State, key: str, heads: int, mask: Tensor) -> tuple[Tensor, Tensor]:
    query, keys, value = (linear(x, state, f"{key}.{part}") for part in ("query", "key", "value"))
    context, weights = attend(query, keys, value, heads, mask)
    return norm(linear(context, state, f"{key}.dense") + x, state, f"{key}.LayerNorm", 1e-12), weights


def feed_forward(x: Tensor, state: State, key: str) -> Tensor:
    outer = linear(gelu(linear(x, state, f"{key}.dense_1")), state, f"{key}.dense_2")
    return norm(outer + x, state, f"{key}.LayerNorm", 1e-12)


def key_mask(window: Tensor, causal: bool = True) -> Tensor:
    allowed = (window > 0)[None, :].expand(len(window), -1)
    return (1 - (allowed.tril() if causal else allowed).float()) * -10000.0


def reference(state: State, mix, feed_forward_key: str, causal: bool = True):
    """Blocks of mix(x, layer, mask) -> (x, attention or None) and the feed-forward network."""

    def run(sequences):
        results = []
        for window in windowed(sequences):
            n = int((window > 0).sum())
            hidden, attention = [embed(state, window)], []
            for layer in range(2):
                x, weights = mix(hidden[-1], layer, key_mask(window, causal))
                hidden.append(feed_forward(x, state, feed_forward_key.format(layer)))
                attention += [] if weights is None else [weights[:, -n:, -n:]]
            results.append(([x[-n:] for x in hidden], attention))
        return results

    return run


@pytest.mark.parametrize(("beta", "heads"), [("sqrt_beta", 1), ("beta", 4)])
def test_bsarec_has_the_numbers_of_its_equations(tmp_path, beta, heads):
    state = bsarec_state(beta=beta)
    torch.save(state, tmp_path / "anything.bin")
    model = models.load(tmp_path / "anything.bin", heads=heads, alpha=0.3, c=9)
    assert model.name == "bsarec" and (model.config.alpha, model.config.c) == (0.3, 9)

    def mix(x, layer, mask):
        key = BLOCK.format(layer) + ".layer"
        low = low_pass(x, 9)
        filtered = low + state[f"{key}.filter_layer.{beta}"][0, 0] ** 2 * (x - low)
        attended, weights = self_attention(x, state, f"{key}.attention_layer", heads, mask)
        frequency = norm(filtered + x, state, f"{key}.filter_layer.LayerNorm", 1e-12)
        return 0.3 * frequency + 0.7 * attended, weights

    assert_same(model, reference(state, mix, BLOCK + ".feed_forward"), ITEMS)


def sasrec_mix(state: State, heads: int, block: str):
    return lambda x, layer, mask: self_attention(x, state, block.format(layer), heads, mask)


@pytest.mark.parametrize("name", ["sasrec", "duorec"])
def test_sasrec_and_duorec_are_told_apart_by_the_option_alone(tmp_path, name):
    state = sasrec_state()
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", model=name, heads=HEADS)
    assert model.name == name
    assert_same(model, reference(state, sasrec_mix(state, HEADS, BLOCK + ".layer"), BLOCK + ".feed_forward"), ITEMS)


def test_bert4rec_has_a_mask_row_and_looks_both_ways(tmp_path):
    state = sasrec_state(Sizes(rows=ITEMS + 2))
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", model="BERT4Rec", heads=HEADS)
    mix = sasrec_mix(state, HEADS, BLOCK + ".layer")
    run = reference(state, mix, BLOCK + ".feed_forward", causal=False)
    # At test time the mask token comes behind the history, which moves to the left.
    assert_same(model, lambda batch: run([[*sequence, ITEMS + 1] for sequence in batch]), ITEMS)


@pytest.mark.parametrize("bands", ["sliding", "first"])
def test_fearec_has_sliding_bands_or_all_layers_on_the_first(tmp_path, bands):
    state = sasrec_state()
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", model="fearec", heads=HEADS, bands=bands)

    def mix(x, layer, mask):
        key = BLOCK.format(layer) + ".layer"
        bins, ratio, which = N // 2 + 1, 0.6, layer if bands == "sliding" else 0
        step = bins * (1 - ratio) // 1
        kept = torch.zeros(bins, 1)
        kept[int(bins * (1 - ratio) - which * step) : int(bins - which * step)] = 1
        query, keys, value = (linear(x, state, f"{key}.{part}") for part in ("query", "key", "value"))

        def band(signal):
            return torch.fft.irfft(torch.fft.rfft(signal, dim=0) * kept, n=N, dim=0)

        spectrum = torch.fft.rfft(query, dim=0) * torch.fft.rfft(keys, dim=0).conj() * kept
        best = torch.fft.irfft(spectrum, n=N, dim=0).mean(1).topk(int(10 * math.log(N)))
        shares = torch.softmax(best.values, dim=0)
        delayed = sum(share * value.roll(-int(delay), 0) for share, delay in zip(shares, best.indices, strict=True))
        spatial, weights = attend(band(query), band(keys), band(value), HEADS, mask)
        mixed = linear(0.9 * delayed + 0.1 * spatial, state, f"{key}.dense")
        return norm(mixed + x, state, f"{key}.LayerNorm", 1e-12), weights

    assert_same(model, reference(state, mix, BLOCK + ".feed_forward"), ITEMS)


def filter_mix(state: State, key: str):
    def mix(x, layer, mask):
        name = key.format(layer)
        weight = torch.view_as_complex(state[f"{name}.complex_weight"])[0]
        mixed = torch.fft.irfft(torch.fft.rfft(x, dim=0, norm="ortho") * weight, n=N, dim=0, norm="ortho")
        return norm(mixed + x, state, f"{name}.LayerNorm", 1e-12), None

    return mix


@pytest.mark.parametrize(
    ("filters", "inner"),
    [
        (f"{BLOCK}.layer", f"{BLOCK}.feed_forward"),
        ("item_encoder.layer.{}.filterlayer", "item_encoder.layer.{}.intermediate"),
    ],
)
def test_fmlprec_of_both_repositories_has_the_numbers_of_its_equations(tmp_path, filters, inner):
    state = fmlprec_state(filters, inner)
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt")
    assert model.name == "fmlprec"
    assert_same(model, reference(state, filter_mix(state, filters), inner), ITEMS)


def test_gru4rec_has_the_numbers_of_its_equations(tmp_path):
    hidden = 12
    shapes = {"item_embeddings.weight": (ITEMS + 1, D), "position_embeddings.weight": (N, D)} | dense(
        "dense", D, hidden
    )
    for layer, inputs in enumerate((D, hidden)):
        shapes |= {f"gru_layers.weight_ih_l{layer}": (3 * hidden, inputs)}
        shapes |= {f"gru_layers.weight_hh_l{layer}": (3 * hidden, hidden)}
    state = draw(shapes)
    torch.save(state, tmp_path / "file.pt")

    def gru(x, layer):
        h, states = torch.zeros(hidden), []
        for row in x:
            inputs = (state[f"gru_layers.weight_ih_l{layer}"] @ row).chunk(3)
            before = (state[f"gru_layers.weight_hh_l{layer}"] @ h).chunk(3)
            reset, update = (torch.sigmoid(inputs[gate] + before[gate]) for gate in (0, 1))
            h = (1 - update) * torch.tanh(inputs[2] + reset * before[2]) + update * h
            states.append(h)
        return torch.stack(states)

    def run(sequences):
        results = []
        for window in windowed(sequences):
            n = int((window > 0).sum())
            first = gru(state["item_embeddings.weight"][window], 0)
            hidden = [state["item_embeddings.weight"][window], first, linear(gru(first, 1), state, "dense")]
            results.append(([x[-n:] for x in hidden], []))
        return results

    assert_same(models.load(tmp_path / "file.pt"), run, ITEMS)


def test_caser_scores_as_its_equations_say(tmp_path):
    users, vertical, horizontal = 5, 4, 8
    shapes = {"item_embeddings.weight": (ITEMS + 1, D), "position_embeddings.weight": (N, D)}
    shapes |= {"user_embeddings.weight": (users, D), "conv_v.weight": (vertical, 1, N, 1), "conv_v.bias": (vertical,)}
    for height in range(N):
        shapes |= {f"conv_h.{height}.weight": (horizontal, 1, height + 1, D), f"conv_h.{height}.bias": (horizontal,)}
    shapes |= dense("fc1", D, vertical * D + horizontal * N) | dense("fc2", D, 2 * D)
    state = draw(shapes)
    torch.save(state, tmp_path / "file.pt")
    windows = windowed(histories(ITEMS))
    rows = torch.arange(len(windows))
    image = state["item_embeddings.weight"][windows][:, None]
    features = [torch.conv2d(image, state["conv_v.weight"], state["conv_v.bias"]).flatten(1)]
    for height in range(N):
        found = torch.conv2d(image, state[f"conv_h.{height}.weight"], state[f"conv_h.{height}.bias"]).relu()
        features.append(found.flatten(2).amax(2))
    inner = linear(torch.cat(features, 1), state, "fc1").relu()
    output = linear(torch.cat([inner, state["user_embeddings.weight"][rows]], 1), state, "fc2").relu()
    model = models.load(tmp_path / "file.pt")
    with torch.inference_mode():
        torch.testing.assert_close(
            model(windows, rows), output @ state["item_embeddings.weight"].T, atol=1e-5, rtol=1e-5
        )


def test_the_published_fmlprec_of_beauty_has_the_numbers_of_its_equations():
    path = real_file("fmlprec_beauty.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)
    run = reference(state, filter_mix(state, "item_encoder.layer.{}.filterlayer"), "item_encoder.layer.{}.intermediate")
    assert_same(models.load(path), run, 12_101)


@pytest.mark.parametrize("attributes", [True, False])
def test_s3rec_has_a_mask_row_and_sasrec_of_fmlprecs_repository_has_none(tmp_path, attributes):
    block = "item_encoder.layer.{}"
    shapes = TABLES | layers(attention_shapes(f"{block}.attention") | feed_forward_shapes(f"{block}.intermediate"))
    if attributes:
        shapes |= {"attribute_embeddings.weight": (7, D)} | dense("aap_norm", D, D) | dense("sp_norm", D, D)
    state = draw(shapes)
    torch.save(state, tmp_path / "file.pt")
    model = models.load(tmp_path / "file.pt", heads=HEADS)
    run = reference(state, sasrec_mix(state, HEADS, f"{block}.attention"), f"{block}.intermediate")
    assert_same(model, run, ITEMS - attributes)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_the_published_s3rec_of_lastfm_has_the_numbers_of_its_equations(attention):
    path = real_file("s3rec_lastfm.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)
    mix = sasrec_mix(state, 2, "item_encoder.layer.{}.attention")
    run = reference(state, mix, "item_encoder.layer.{}.intermediate", causal=attention == "causal")
    model = models.load(path, heads=2, attention=attention)
    assert model.config.num_items == 3646  # of 3,648 rows: the padding item and the mask item are none
    assert_same(model, run, 3646)


def test_what_is_missing_is_said_at_once_with_the_values_that_the_shapes_allow(tmp_path):
    torch.save(bsarec_state(), tmp_path / "file.pt")
    with pytest.raises(ConfigError) as error:
        models.load(tmp_path / "file.pt", alpha=0.5)
    message = str(error.value)
    assert "BSARec of BSARec's repository" in message and "--alpha" not in message
    assert "--heads (one of 1, 2, 4, 8, 16)" in message and "--c (from 1 to 49" in message
    torch.save(sasrec_state(), tmp_path / "file.pt")
    with pytest.raises(ConfigError, match=r"--model \(one of sasrec, duorec, fearec, bert4rec.*39 items.*40.*--heads"):
        models.load(tmp_path / "file.pt")


def test_settings_that_mean_nothing_for_a_file_or_are_outside_their_range_are_refused(tmp_path):
    torch.save(bsarec_state(), tmp_path / "file.pt")
    good = {"heads": 2, "alpha": 0.3, "c": 9}
    with pytest.raises(ConfigError, match="which has no --set bands"):
        models.load(tmp_path / "file.pt", **good, bands="first")
    with pytest.raises(ConfigError, match="there is no setting gamma"):
        models.load(tmp_path / "file.pt", **good, gamma=1)
    with pytest.raises(ConfigError, match="num_heads must divide"):
        models.load(tmp_path / "file.pt", **good | {"heads": 3})
    with pytest.raises(ConfigError, match=r"--alpha: must be a number, got 'much'"):
        models.load(tmp_path / "file.pt", **good | {"alpha": "much"})
    with pytest.raises(ConfigError, match="activation 'relu'; only gelu"):
        models.load(tmp_path / "file.pt", **good, activation="relu")


def test_an_even_c_is_the_next_odd_one(tmp_path, caplog):
    torch.save(bsarec_state(), tmp_path / "file.pt")
    assert models.load(tmp_path / "file.pt", heads=2, alpha=0.3, c=4).config.c == 5
    assert "c 4 keeps the same 3 bins as 5" in caplog.text


def test_shapes_that_do_not_fit_together_are_named_by_the_keys_of_the_file(tmp_path):
    key = "item_encoder.blocks.1.feed_forward.dense_1.bias"
    torch.save(bsarec_state() | {key: torch.zeros(3)}, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=rf"{key} of shape \(3,\) instead of \(64,\)"):
        models.load(tmp_path / "file.pt", heads=2, alpha=0.3, c=9)


def test_the_padding_of_fmlprec_can_be_named(tmp_path):
    torch.save(
        fmlprec_state("item_encoder.blocks.{}.layer", "item_encoder.blocks.{}.feed_forward"), tmp_path / "file.pt"
    )
    assert models.load(tmp_path / "file.pt", padding="mirror").config.padding == "symmetric"
