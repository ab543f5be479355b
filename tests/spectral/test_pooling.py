"""One vector per sequence: against loops in float64 over the real positions alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError
from spectral import CosineSimilarity, LayerSpectra
from spectral.capture import Capture
from spectral.pooling import pooled

POOLINGS = ("last", "mean", "first")


def padded(lengths: list[int], n: int, layers: int = 2, seed: int = 0) -> Capture:
    """Hidden states whose padding, on the left, holds numbers that must not count."""
    generator = torch.Generator().manual_seed(seed)
    hidden = tuple(torch.randn(len(lengths), n, 4, generator=generator) for _ in range(layers))
    mask = torch.arange(n) >= n - torch.tensor(lengths)[:, None]
    return Capture(tuple(x.masked_fill(~mask[..., None], torch.nan) for x in hidden), (), mask)


def by_hand(hidden: torch.Tensor, lengths: list[int], pooling: str) -> np.ndarray:
    real = [x[-n:] for x, n in zip(hidden.double().numpy(), lengths, strict=True)]
    return np.stack([{"last": x[-1], "mean": np.mean(x, axis=0), "first": x[0]}[pooling] for x in real])


@settings(max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=8), st.sampled_from(POOLINGS), st.integers(0, 1000))
def test_only_real_positions_are_pooled(lengths, pooling, seed):
    captured = padded(lengths, 6, seed=seed)
    for hidden in captured.hidden:
        found = pooled(hidden, captured.mask, pooling)
        np.testing.assert_allclose(found.double(), by_hand(hidden, lengths, pooling), rtol=1e-12)
    full = torch.randn(3, 5, 4)
    np.testing.assert_array_equal(pooled(full, None, pooling), pooled(full, torch.ones(3, 5), pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_measures_of_captures_compare_what_is_pooled(pooling):
    lengths = [3, 6, 1, 2, 5]
    captures = [padded(lengths[:3], 6, seed=1), padded(lengths[3:], 6, seed=2)]
    # The measure within sequences looks at all numbers, so its padding has to be finite.
    captures = [Capture(tuple(x.nan_to_num(nan=9.0) for x in c.hidden), (), c.mask) for c in captures]
    similarity = CosineSimilarity.from_captures(captures, pooling=pooling)
    spectra = LayerSpectra.from_captures(captures, pooling=pooling)
    for layer in range(2):
        parts = zip(captures, (lengths[:3], lengths[3:]), strict=True)
        rows = np.concatenate([by_hand(c.hidden[layer], n, pooling) for c, n in parts])
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[~np.eye(5, dtype=bool)]
        assert similarity.between_users[layer] == pytest.approx(cosines.mean(), abs=1e-12)
        np.testing.assert_allclose(spectra.layers[layer].values, np.linalg.svd(rows, compute_uv=False), atol=1e-7)


def test_what_cannot_be_pooled_is_refused():
    captured = padded([2, 0, 3], 4)
    for pooling in ("mean", "first"):
        with pytest.raises(ValueError, match="1 of 3 sequences have no real position"):
            pooled(captured.hidden[0], captured.mask, pooling)
    with pytest.raises(ConfigError, match="unknown pooling 'max'; choose one of last, mean, first"):
        LayerSpectra.from_captures([captured], pooling="max")
    with pytest.raises(ValueError, match=r"mask must be \(B, N\) = \(3, 4\)"):
        pooled(captured.hidden[0], captured.mask[:, 1:], "mean")
