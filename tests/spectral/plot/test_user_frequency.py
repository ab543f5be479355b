"""Metrics of groups of users as they are drawn."""

import numpy as np
import pandas as pd

from spectral import by_group, plot


def test_the_figure_has_a_marker_and_an_interval_for_each_model_and_group():
    measure = pd.Series(np.linspace(0, 1, 12), name="dc_share")
    values = np.random.default_rng(0).random(12)
    found = by_group(measure, {"bsarec": values, "sasrec": values / 2}, groups=3, called="NDCG@20")
    ax = plot.user_frequency(found)
    assert [container.get_label() for container in ax.containers] == ["BSARec", "SASRec"]
    np.testing.assert_allclose(ax.containers[1].lines[0].get_ydata(), found.table()["mean"][3:])
    assert ax.get_xlabel().startswith("dc share") and ax.get_ylabel() == "NDCG@20"
