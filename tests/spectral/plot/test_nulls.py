"""Null models in pictures: thin, grey, named once, and where their values are."""

from collections.abc import Callable

import drawn
import numpy as np
import pytest
from drawn import nulls
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from spectral import plot
from spectral.palette import NULL_LINE

RESPONSE, BLOCK = drawn.frequency_response(2, resamples=0), drawn.block_response()
SIMILARITY, SMOOTHING = drawn.cosine_similarity(1), drawn.smoothing(1)

# A picture without nulls and with them, and the heights of the curves of one draw of a null.
PICTURES: dict[str, tuple[Callable[..., Axes], object, list[np.ndarray]]] = {
    "gain": (
        lambda given: plot.frequency_response(RESPONSE, nulls=given),
        RESPONSE,
        list(RESPONSE.head_mean.gain_db[:, 0]),
    ),
    "self-gain": (
        lambda given: plot.frequency_response(RESPONSE, of="self_gain", nulls=given),
        RESPONSE,
        list(RESPONSE.head_mean.self_gain_db[:, 0]),
    ),
    "block": (lambda given: plot.block_response(BLOCK, nulls=given), BLOCK, list(BLOCK.relative_db)),
    "last position": (
        lambda given: plot.block_response(BLOCK, at="last", nulls=given),
        BLOCK,
        list(BLOCK.last_relative_db),
    ),
    "similarity": (
        lambda given: plot.cosine_similarity({"sasrec": drawn.cosine_similarity(0)}, nulls={"sasrec": given or {}}),
        SIMILARITY,
        [SIMILARITY.between_users],
    ),
    "both similarities": (
        lambda given: plot.cosine_similarity_kinds("sasrec", drawn.cosine_similarity(0), nulls=given),
        SIMILARITY,
        [SIMILARITY.between_users, SIMILARITY.within_sequence],
    ),
    "smoothing": (
        lambda given: plot.smoothing({"sasrec": drawn.smoothing(0)}, "mad", nulls={"sasrec": given or {}}),
        SMOOTHING,
        [SMOOTHING.mad],
    ),
    "singular values": (
        lambda given: plot.singular_values({"sasrec": drawn.singular_values(0)}, nulls={"sasrec": given or {}}),
        drawn.singular_values(1),
        [drawn.singular_values(1).normalised],
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_draw_is_a_thin_grey_line_and_every_null_is_named_once(name: str):
    draw, result, curves = PICTURES[name]
    before, after = draw(None), draw(nulls(result))
    grey = [line for line in after.lines if line.get_color() == NULL_LINE["color"]]
    assert len(after.lines) - len(before.lines) == len(grey) == 5 * len(curves)  # one uniform, two of each other null
    assert all(line.get_linewidth() < 1 and len(set(to_rgb(line.get_color()))) == 1 for line in grey)
    heights = [np.asarray(line.get_ydata(), float) for line in grey]
    assert all(any(np.allclose(height, curve) for curve in curves) for height in heights)
    names = after.get_legend_handles_labels()[1]
    assert [names.count(null) for null in ("uniform", "untrained", "shuffled")] == [1, 1, 1]
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in grey}) == 3


def test_gaussian_matrices_are_a_band_of_all_draws():
    draws = [drawn.singular_values(place) for place in (1, 2, 3)]
    ax = plot.singular_values({"sasrec": drawn.singular_values(0)}, nulls={"sasrec": {"gaussian": draws}})
    [band] = ax.collections
    ends = band.get_paths()[0].vertices[:, 1]
    values = np.stack([draw.normalised for draw in draws])
    assert (ends.min(), ends.max()) == pytest.approx((values.min(), values.max()))
    assert "Gaussian" in ax.get_legend_handles_labels()[1]


def test_gain_and_self_gain_are_labelled_by_what_they_are():
    assert plot.frequency_response(RESPONSE).get_ylabel().endswith("leaves, at any frequency")
    ax = plot.frequency_response(RESPONSE, of="self_gain")
    assert ax.get_ylabel().endswith("stays at its frequency")
    np.testing.assert_allclose(ax.lines[-2].get_ydata(), RESPONSE.head_mean.self_gain_db[-1, 0])
    with pytest.raises(ValueError, match="of must be one of gain, self_gain"):
        plot.frequency_response(RESPONSE, of="phase")
    above, _, below, _ = plot.frequency_response_panels({"sasrec": RESPONSE, "bsarec": RESPONSE}).axes
    assert "leaves" in above.get_ylabel() and "stays" in below.get_ylabel()
