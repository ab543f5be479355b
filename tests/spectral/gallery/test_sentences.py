"""Numbers put into words."""

import numpy as np
import pytest

from spectral.gallery import listing


@pytest.mark.parametrize(
    ("numbers", "options", "expected"),
    [
        ({"sasrec": [-15.71, -13.8]}, {"unit": " dB"}, "SASRec -15.7, -13.8 dB"),
        ({"sasrec": [1.0, 2.0], "bsarec": [3.0]}, {}, "SASRec 1.0, 2.0; BSARec 3.0"),
        ({"sasrec": 1.0, "random ViT": 2.0}, {"form": ".2f"}, "SASRec 1.00, random ViT 2.00"),
        (
            {"a": np.array([0.1, 0.25]), "b": [0, 1]},
            {"form": ".2f", "between": " to "},
            "a 0.10 to 0.25, b 0.00 to 1.00",
        ),
        ({}, {}, ""),
    ],
)
def test_numbers_of_models_are_put_into_words(numbers, options, expected):
    assert listing(numbers, **options) == expected
