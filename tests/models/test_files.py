"""Files are written whole or not at all, and what is not ours stays."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import ROOT

from models.files import Kind, OutputError, remove_partial, write_atomically

# Stops in the middle of writing, with the temporary file on the disk.
WRITER = """
import os, sys, time
from pathlib import Path
from models.files import write_atomically
os.fsync = lambda handle: time.sleep(60)
write_atomically(Path(sys.argv[1]), b"new")
"""


def test_a_temporary_file_is_removed_after_its_writer_was_killed_and_not_before(tmp_path):
    path = tmp_path / "a [1].pt"
    path.write_bytes(b"old")
    others = [tmp_path / name for name in ("a [1].pt.mine.partial", "b.pt.abcdefgh.partial", "a [1].pt.abcdefgh.part")]
    for other in others:
        other.touch()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(found := set(tmp_path.glob("a*.partial")) - set(others)) == 0 or not next(iter(found)).stat().st_size:
        assert writer.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    remove_partial(path)
    assert next(iter(found)).exists(), "its writer is at work"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newest")
    assert path.read_bytes() == b"newest"
    assert set(tmp_path.iterdir()) == {path, *others}


@pytest.mark.parametrize("content", [b"", b"mark" + bytes(9000), bytes(9000) + b"mark"])
def test_a_file_of_the_same_kind_is_replaced(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    write_atomically(tmp_path / "a", b"mark 2", Kind("a thing", b"mark"))
    assert (tmp_path / "a").read_bytes() == b"mark 2"


def test_another_file_and_a_device_are_not_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"notes")
    with pytest.raises(OutputError, match="exists and is not a thing of this program"):
        write_atomically(tmp_path / "a", b"mark", Kind("a thing", b"mark"))
    with pytest.raises(OutputError, match="/dev/null: is not a regular file"):
        write_atomically(Path("/dev/null"), b"x")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"notes"]
