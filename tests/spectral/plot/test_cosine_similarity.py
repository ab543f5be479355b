"""Cosine similarities as they are drawn."""

import numpy as np
import pytest
from drawn import data_of

from spectral import CosineSimilarity, plot


def similarity(layers: int = 3):
    return CosineSimilarity(np.arange(layers), np.linspace(0.1, 0.5, layers), np.linspace(0.2, 0.9, layers), 30, 20)


def test_similarity_is_drawn_over_whole_layers():
    measured = similarity(17)
    ax = plot.cosine_similarity({"sasrec": measured}, kind="within_sequence")
    np.testing.assert_array_equal(data_of(ax)["SASRec"], measured.within_sequence)
    assert all(tick == int(tick) for tick in ax.get_xticks())
    both = data_of(plot.cosine_similarity_kinds("mine", measured))
    np.testing.assert_array_equal(both["between users"], measured.between_users)
    np.testing.assert_array_equal(both["within a sequence"], measured.within_sequence)
    with pytest.raises(ValueError, match="between_users, within_sequence"):
        plot.cosine_similarity({"sasrec": measured}, kind="users")
