"""The decay of Theorem 1 as it is drawn."""

import numpy as np
import pytest
from drawn import ON_AXES, Size

from spectral import plot, theorem1
from spectral.theorem1 import Attention, random_attentions


def test_decay_is_drawn_with_its_prediction_over_it():
    checked = theorem1(random_attentions([6], causal_length=5))
    ax = plot.theorem1(checked, steps=40)
    lines = {line.get_label(): line for line in ax.get_lines()}
    ratio = lines["random, N = 6"].get_ydata()
    np.testing.assert_allclose(ratio, checked.cases[0].log_ratio[:41] / np.log(10))
    predicted = [line for line in ax.get_lines() if line.get_label() == "_predicted"]
    assert len(predicted) == 2  # not for the exceptional ones
    np.testing.assert_allclose(np.diff(predicted[0].get_ydata()) * np.log(10), checked.cases[0].predicted_slope)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        "random, N = 6",
        "random, causal, N = 5",
        r"predicted, $|\lambda_2|^t$",
        r"$x$ with $\pi^\top x = 0$",
    ]


def test_many_matrices_are_told_apart_by_kind_only():
    checked = theorem1(random_attentions([5, 6, 7, 8, 9, 10, 11, 12, 13], causal_length=5))
    ax = plot.theorem1(checked.cases)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[:2] == ["bidirectional", "causal"] and len(texts) == 4


def test_constant_decay_can_be_drawn():
    identity = theorem1([Attention("identity", np.eye(4)), Attention("uniform", np.full((4, 4), 0.25))])
    assert plot.theorem1(identity).get_xlim()[1] >= 20


@pytest.mark.parametrize("layers", [1, 8, 16])
def test_the_matrices_of_theorem_1_are_named_under_the_axis_and_its_label(layers: int):
    ax = ON_AXES["theorem1"](Size(layers=layers))
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().y1 <= ax.xaxis.label.get_window_extent().y0
    assert ax.yaxis.label.get_window_extent().y1 <= ax.figure.bbox.y1
