"""Attributes of items."""

import logging
from pathlib import Path

import numpy as np
import pytest

from models.datasets import find_attributes, load_attributes
from models.datasets.attributes import read_attributes
from models.errors import DataError


def test_attributes_are_grouped_by_item(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "attributes.json"
    path.write_text('{"2": [7, 3, 7], "1": [1], "9": [2]}')
    with caplog.at_level(logging.WARNING, logger="models"):
        attributes = read_attributes(path, 3)
    assert "left out 1 items" in caplog.text
    assert [attributes.of(item).tolist() for item in (1, 2, 3)] == [[1], [3, 7], []]
    matrix = attributes.matrix(np.array([[0, 2], [1, 3]]))
    assert matrix.shape == (2, 2, 7) and matrix.sum() == 3 and matrix[0, 1, [2, 6]].all()
    assert [attributes.items_of(attribute).tolist() for attribute in (1, 2, 3, 7)] == [[1], [], [2], [2]]
    assert attributes.sparse.shape == (4, 7) and attributes.sparse.nnz == 3
    np.testing.assert_array_equal(attributes.sparse.toarray(), attributes.matrix(np.arange(4)))
    with pytest.raises(ValueError, match=r"1\.\.3, got 4"):
        attributes.of(4)


@pytest.mark.parametrize("text", ["[1]", "{", '{"x": [1]}', '{"1": 3}', '{"1": [0]}'])
def test_faulty_attributes_are_named(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a.json: expected attributes"):
        read_attributes(tmp_path / "a.json", 3)


def test_a_dataset_without_attributes_is_named():
    with pytest.raises(DataError, match=r"'synthetic'.*ml-100k.*beauty.*lastfm"):
        load_attributes("synthetic", 10)


def test_attributes_that_cannot_be_had_are_none_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert find_attributes("synthetic", 3) == (None, "attributes of the items are left out: none are published")

    def unreachable(*args: object, **options: object) -> Path:
        raise DataError("no network")

    monkeypatch.setattr("models.datasets.attributes.fetch_published", unreachable)
    assert find_attributes("lastfm", 3, tmp_path) == (
        None,
        "attributes of the items are left out: their file was not found",
    )
    assert "no network" in caplog.text
