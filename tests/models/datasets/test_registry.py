"""Names of datasets: those that are known, and what an unknown one is told."""

import pytest
from data_files import put

from models import datasets
from models.errors import DataError


@pytest.mark.parametrize("name", ["ml100k", "no/such/file.txt", "imaginary"])
def test_an_unknown_name_gets_the_known_ones(name):
    with pytest.raises(DataError, match="neither a file nor a known dataset") as raised:
        datasets.load(name)
    assert repr(name) in str(raised.value)
    assert all(known in str(raised.value) for known in datasets.names())


def test_a_near_miss_gets_a_suggestion():
    with pytest.raises(DataError, match="did you mean 'lastfm'"):
        datasets.load("LastFM")


def test_a_folder_is_not_a_dataset(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} is a folder; name a file in it"):
        datasets.load(tmp_path)


def test_a_path_object_is_never_a_name(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path, name="beauty")
    assert datasets.load(path).num_items == datasets.load("./beauty").num_items == 9


def test_the_names_are_the_documented_ones():
    assert datasets.names() == ["ml-100k", "ml-1m", "beauty", "sports", "toys", "yelp", "lastfm", "synthetic"]
