"""Statistics of attention maps as they are drawn."""

import numpy as np
import pytest
from attention_maps import attention

from spectral import attention_statistics, plot


@pytest.mark.parametrize("heads, layers", [(1, 1), (3, 16)])
def test_figures_draw_heads_and_their_mean(heads, layers):
    results = {"sasrec": attention_statistics(attention(layers, 2, heads, 5, causal=True))}
    ax = plot.attention_statistics(results, "distance")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), results["sasrec"].distance.mean(1))
    assert len(ax.lines) == (1 if heads == 1 else 1 + heads)
    assert len(plot.attention_statistics_panels(results).axes) == 4
    np.testing.assert_allclose(
        plot.attention_statistics_rollout(results).lines[0].get_ydata(), results["sasrec"].rollout
    )
    with pytest.raises(ValueError, match="measure must be one of entropy"):
        plot.attention_statistics(results, "focus")
