"""Eigenvectors of the ring as they are drawn."""

import numpy as np
import pytest

from spectral import plot


def test_ring_shows_the_eigenvectors_of_the_ring():
    ax = plot.ring_graph(8, (0, 3))
    tips = np.concatenate(
        [line.get_xydata() for line in ax.get_lines() if line.get_markersize() == 3.2 and len(line.get_xydata())]
    )
    first, second = tips[tips[:, 0] < 1.6], tips[tips[:, 0] >= 1.6] - [3.2, 0]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.42)  # DC: alike everywhere
    values = (np.linalg.norm(second, axis=1) - 1) / 0.42
    np.testing.assert_allclose(np.sort(values), np.sort(np.cos(2 * np.pi * 3 * np.arange(8) / 8)), atol=1e-12)
    with pytest.raises(ValueError, match=r"frequencies must lie in 0\.\.4"):
        plot.ring_graph(8, (5,))
