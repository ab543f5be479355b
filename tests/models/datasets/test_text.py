"""The one-user-a-line format: what reads, and what each wrong file gets told."""

import gzip
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets import load
from models.errors import DataError

GOOD = [(1, [5, 6, 7]), (2, [8, 9, 8, 9])]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def users_and_items(sequences):
    return [
        (int(user), sequences.items[start:stop].tolist())
        for user, start, stop in zip(sequences.users, sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]


@pytest.mark.parametrize(
    "content",
    [
        "1 5 6 7\n2 8 9 8 9\n",
        "1 5 6 7\n2 8 9 8 9",  # no trailing newline
        "1 5 6 7\r\n2 8 9 8 9\r\n",
        "1 5 6 7\r2 8 9 8 9\r",
        "\ufeff1 5 6 7\n2 8 9 8 9\n",  # byte-order mark
        "\n1 5 6 7\n\n   \n2 8 9 8 9\n\n\n",
        "1\t5\t6\t7\n2  8 9\t 8 9  \n",
        "  1 5 6 7\n2 8 9 8 9\n",
        "001 05 6 7\n2 8 9 8 9\n",
    ],
)
def test_line_ends_blanks_and_marks_do_not_matter(write, content):
    sequences = load(write(content))
    assert users_and_items(sequences) == GOOD
    assert sequences.skipped == 0


@given(
    histories=st.dictionaries(
        st.integers(1, 10**18 - 1),
        st.lists(st.integers(1, 2**31 - 1), max_size=6),
        min_size=1,
        max_size=6,
    ).filter(lambda histories: any(len(items) >= 3 for items in histories.values())),
    newline=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_what_is_written_is_what_is_read(tmp_path_factory, histories, newline):
    path = tmp_path_factory.getbasetemp() / "written.txt"
    lines = [" ".join(map(str, [user, *items])) for user, items in histories.items()]
    path.write_bytes(newline.join(lines).encode())
    sequences = load(path)
    assert users_and_items(sequences) == [pair for pair in histories.items() if len(pair[1]) >= 3]
    assert sequences.skipped == sum(len(items) < 3 for items in histories.values())
    assert (sequences.users.dtype, sequences.items.dtype, sequences.offsets.dtype) == (
        np.int64,
        np.int32,
        np.int64,
    )


def test_short_users_are_skipped_counted_and_reported_once(write, caplog):
    path = write("1 5 6 7\n2\n3 1\n4 1 2\n5 1 2 3\n")
    with caplog.at_level(logging.WARNING, logger="models"):
        sequences = load(path)
    assert sequences.users.tolist() == [1, 5]
    assert sequences.skipped == 3
    assert sequences.num_items == 7
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"{path}: skipped 3 of 5 users, those with fewer than 3 items" in record.getMessage()


def test_a_clean_file_warns_of_nothing(write, caplog):
    load(write("1 5 6 7\n"))
    assert caplog.records == []


def test_the_name_is_the_stem_and_the_source_loads_again(write, monkeypatch):
    path = write("1 5 6 7\n")
    monkeypatch.chdir(path.parent)
    sequences = load("mine.txt")
    assert sequences.name == "mine"
    monkeypatch.chdir("/")
    assert load(sequences.source).fingerprint == sequences.fingerprint


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("1 5 6 7\n2 8 x 9\n", 2, "'x' is not an integer"),
        ("1 5 6 7\n\n\n2 8 9.0 9\n", 4, "'9.0' is not an integer"),
        ("1 5 6 7\r\n\r\n2 8 9 1e3\r\n", 3, "'1e3' is not an integer"),
        ("user items\n1 5 6 7\n", 1, "'user' is not an integer"),
        ("1,5,6,7\n", 1, "'1,5,6,7' is not an integer"),
        ("1 5 6 7\n2 8 +9 9\n", 2, "'+9' is not an integer"),
        ("1 5 6 7\n2 8 ٣ 9\n", 2, "'٣' is not an integer"),
        ("1 5 6\u00a07 8\n", 1, "is not an integer"),
        ("1 5 - 7\n", 1, "'-' is not an integer"),
        ("1 5 6 7\n2 8 0 9\n", 2, "'0' is not an id"),
        ("1 5 6 7\n2 8 -9 9\n", 2, "'-9' is not an id"),
        ("1 5 6 7\n0 8 9 9\n", 2, "'0' is not an id"),
        ("-1 5 6 7\n", 1, "'-1' is not an id"),
        ("1 5 6 7\n2 0\n", 2, "'0' is not an id"),  # also in the line of a user who is too short
        ("1 5 0 7\n2 8 x 9\n", 1, "'0' is not an id"),  # the first fault is the one named
        ("1 5 6 2147483648\n", 1, "'2147483648' is too large"),
        ("1 5 6 99999999999999999999\n", 1, "'99999999999999999999' is too large"),
        ("9999999999999999999 5 6 7\n", 1, "'9999999999999999999' is too large"),
        ("1 5 6 " + "7" * 5000 + "\n", 1, "7...' is too large"),
    ],
)
def test_a_wrong_token_is_named_with_file_and_line(write, content, line, said):
    path = write(content)
    with pytest.raises(DataError) as raised:
        load(path)
    message = str(raised.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert said in message
    assert "one user per line" in message
    assert len(message) < 400


def test_the_largest_ids_are_read(write):
    sequences = load(write(f"{10**18 - 1} 1 2 {2**31 - 1}\n"))
    assert sequences.num_items == 2**31 - 1
    assert sequences.users.tolist() == [10**18 - 1]


def test_a_user_on_two_lines_is_refused_with_both(write):
    path = write("7 1 2 3\n\n8 1 2 3\n7 4 5 6\n")
    with pytest.raises(DataError, match="user 7 is on line 1 and again on line 4") as raised:
        load(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \r\n\t", b"\xef\xbb\xbf"])
def test_a_file_without_content_is_called_empty(write, content):
    path = write(content)
    with pytest.raises(DataError, match="is empty") as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_a_file_of_short_users_only_is_refused(write):
    with pytest.raises(DataError, match=r"no user with at least 3 items \(2 with fewer\)"):
        load(write("1 2\n2 3 4\n"))


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)),
        gzip.compress(b"1 2 3 4\n", mtime=0),
        "1 2 3 4\n".encode("utf-16"),
        b"1 2 3 4\n\x00",
        b"PK\x03\x04" + bytes(50),
        b"1 2 3 caf\xe9\n",
    ],
)
def test_a_file_that_is_not_text_is_called_so(write, content):
    with pytest.raises(DataError, match=r"mine\.txt is not a text file in UTF-8"):
        load(write(content))


def test_pairs_of_user_and_item_are_recognised_and_said(write, caplog):
    with caplog.at_level(logging.INFO, logger="models"):
        sequences = load(write("7 5\n7 6\n7 5\n\n2 8\n3 1\n3 2\n3 9\n3 2\n"))
    assert users_and_items(sequences) == [(7, [5, 6, 5]), (3, [1, 2, 9, 2])] and sequences.skipped == 1
    assert "every line is a pair 'user item'" in caplog.records[0].getMessage()


def test_pairs_of_a_user_that_are_apart_are_refused_with_the_way_out(write):
    for content in ("1 5\n1 6\n2 5\n1 7\n", "1 5\n2 6\n1 5\n2 7\n"):
        with pytest.raises(DataError, match=r"put pairs of one user together, or run .* import .* --user 1 --item 2"):
            load(write(content))
    with pytest.raises(DataError, match="no user with at least 3 items"):
        load(write("1 5\n2 6\n"))
    with pytest.raises(DataError, match="again on line 2; join the two"):
        load(write("1 5 6\n1 6\n"))
