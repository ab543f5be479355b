"""Histories of users as they are drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from models.datasets import Attributes
from spectral import plot, user_signal


def signal(length: int, seed: int = 0, dimensions: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((length, dimensions))


def test_the_table_is_what_is_drawn():
    found = user_signal(signal(8), 3, range(1, 9), 7)
    table = found.table()
    assert set(table.part) == {"signal", "mean", "LFC", "HFC", "energy"} and set(table.user) == {7}
    parts = {name: part.value.to_numpy() for name, part in table.groupby("part")}
    np.testing.assert_allclose(parts["LFC"] + parts["HFC"], parts["signal"])
    assert parts["energy"].sum() == pytest.approx(1)
    assert (
        table[table.part == "signal"].item.tolist() == list(range(1, 9))
        and table[table.part == "energy"].item.isna().all()
    )
    lines = {line.get_label(): line.get_ydata() for line in plot.user_signal(found).get_lines()}
    for name in ("signal", "mean", "LFC", "HFC"):
        np.testing.assert_allclose(lines[name], parts[name])
    drawn = plot.user_signal_spectrum(found).get_lines()[0].get_ydata()
    np.testing.assert_allclose(drawn * [1, 2, 2, 2, 1], parts["energy"])


def attributes(names: tuple[str, ...] = ()) -> Attributes:
    return Attributes(np.array([1, 2, 2, 3]), np.array([0, 2, 3, 4, 4]), names)  # of items 1..4


@pytest.mark.parametrize(("names", "labels"), [((), "attribute {}"), (("a1", "a2", "a3"), "a{}")])
def test_attributes_are_marked_where_an_item_has_them_the_most_common_first(names: tuple[str, ...], labels: str):
    ax = plot.user_signal_items([1, 2, 3, 4, 2], attributes(names))
    assert [text.get_text() for text in ax.get_yticklabels()] == [labels.format(number) for number in (2, 1, 3)]
    cells = ax.collections[0].get_array().reshape(3, 5)
    assert cells.tolist() == [[1, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_items_without_attributes_make_an_empty_panel():
    assert not plot.user_signal_items([4, 4], attributes()).collections


def test_without_attributes_their_panel_is_left_out_and_the_figure_says_why():
    chosen = [user_signal(signal(8, seed), 3, [1] * 8, seed) for seed in range(2)]
    assert len(plot.user_signal_panels(chosen, attributes()).axes) == 6
    figure = plot.user_signal_panels(chosen, None, "left out")
    assert isinstance(figure, Figure) and len(figure.axes) == 4 and figure.get_supxlabel() == "left out"
    assert figure.axes[0].get_title().startswith(f"user 0 {chosen[0].course} (")
    with pytest.raises(ValueError, match="at least one user"):
        plot.user_signal_panels([])
