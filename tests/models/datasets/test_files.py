"""Files of named datasets: where they are taken from, and that no wrong one is ever used or kept."""

import errno
import functools
import hashlib
import http.server
import os
import socket
import threading

import pytest
from data_files import CONTENT, put

from models import datasets
from models.datasets import files, registry
from models.errors import DataError


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
