"""FEARec against its equations, written with FFTs, one roll for each delay and loops over samples."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_models import (
    ITEMS,
    WINDOWS,
    D,
    N,
    assert_hidden,
    embed,
    feed_forward,
    heads,
    key_mask,
    linear,
    norm,
    random_model,
    weights,
)
from torch import Tensor

from models.recommender import Recommender
from models.registry import configure


def fearec_reference(model: Recommender, ids: Tensor, training: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    """FEARec with FFTs, one roll for each delay, and a loop over the samples."""
    w, config = weights(model), model.config
    count, kept = config.num_heads, min(int(config.delay_factor * math.log(N)), N)
    hidden, delays = [embed(ids, w)], []
    for layer in range(config.num_layers):
        name, x = f"blocks.{layer}", hidden[-1]
        band = torch.zeros(N // 2 + 1, dtype=torch.bool)
        band[list(config.band(layer))] = True

        def banded(signal: Tensor, band: Tensor = band) -> Tensor:
            return torch.fft.irfft(torch.fft.rfft(signal, dim=1) * band[:, None], n=N, dim=1)

        (q, k), v = linear(x, w, f"{name}.mixer.query_key").chunk(2, dim=-1), linear(x, w, f"{name}.mixer.value")
        product = torch.fft.rfft(q, dim=1) * torch.fft.rfft(k, dim=1).conj() * band[:, None]
        correlation = torch.fft.irfft(product, n=N, dim=1).mean(-1)  # (B, N)
        rolled, weight = torch.zeros_like(v), torch.zeros_like(correlation)
        for row in range(len(ids)):
            ranked = correlation.mean(0) if training else correlation[row]
            chosen = ranked.argsort(descending=True)[:kept]
            weight[row, chosen] = correlation[row, chosen].softmax(-1)
            for delay in chosen.tolist():
                rolled[row] += weight[row, delay] * v[row].roll(-delay, dims=0)
        bq, bk, bv = (heads(banded(part), count) for part in (q, k, v))
        attention = (bq @ bk.mT / math.sqrt(D // count) + key_mask(ids, True)).softmax(-1)
        attended = (attention @ bv).transpose(1, 2).flatten(2)
        mixed = (1 - config.spatial_ratio) * rolled + config.spatial_ratio * attended
        out = linear(mixed, w, f"{name}.mixer.output")
        hidden.append(feed_forward(norm(out + x, w, f"{name}.mixer.add_norm.norm"), w, name))
        delays.append(weight)
    return hidden, delays


@pytest.mark.parametrize("count", [1, 2])
def test_fearec_equals_its_ffts(count: int):
    model = random_model("fearec", num_heads=count, delay_factor=2.0)
    hidden, delays = fearec_reference(model, WINDOWS)
    trace = model.trace(WINDOWS)
    assert_hidden(trace.hidden, hidden)
    for actual, expected in zip(trace.autocorrelation, delays, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
        assert ((actual > 0).sum(1) == int(2 * math.log(N))).all()
    torch.testing.assert_close(trace.attention[0].sum(-1), torch.ones_like(trace.attention[0][..., 0]))


def test_fearec_chooses_delays_for_the_whole_batch_while_training():
    model = random_model("fearec", delay_factor=1.0, dropout=0.0).train()
    expected = fearec_reference(model, WINDOWS, training=True)[0][-1][:, -1]
    torch.testing.assert_close(model.encode(WINDOWS), expected, rtol=1e-9, atol=1e-9)
    own = fearec_reference(model, WINDOWS)[0][-1][:, -1]
    assert not torch.allclose(own, expected)


@given(layers=st.integers(1, 8), length=st.integers(2, 60), ratio=st.floats(0.05, 1))
def test_fearec_bands_slide_down_within_the_spectrum(layers: int, length: int, ratio: float):
    config = configure("fearec", ITEMS, num_layers=layers, max_len=length, global_ratio=ratio)
    bands = [config.band(layer) for layer in range(layers)]
    assert bands[0].stop == length // 2 + 1
    assert all(0 <= band.start <= band.stop <= length // 2 + 1 for band in bands)
    assert [band.start for band in bands] == sorted((band.start for band in bands), reverse=True)


def test_fearec_bands_of_the_published_setting():
    config = configure("fearec", ITEMS)
    assert [config.band(layer) for layer in (0, 1)] == [range(10, 26), range(16)]
