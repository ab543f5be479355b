"""Sequences from a text file with one user per line: `user item item item ...`, in time order.

Ids are integers from 1 (item ids fit 32 bits), separated by spaces or tabs. Empty lines, Windows line ends, a UTF-8
byte-order mark and a missing last newline are allowed. Users with fewer than 3 items cannot be split into training,
validation and test; they are left out, counted and reported in one warning.

A file of pairs, `user item`, one interaction a line with the lines of a user together and in time order, is recognised
and said to be one: SASRec's own data come so (Kang and McAuley, ICDM 2018).
"""

import codecs
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.sequences import MIN_ITEMS, Sequences
from models.errors import DataError

logger = logging.getLogger("models")

FORMAT = "expected one user per line, 'user item item ...', with integer ids from 1 separated by spaces"
MAX_ITEM = np.iinfo(np.int32).max
MAX_DIGITS = 18  # every number of 18 digits fits 64 bits
SHOWN = 40  # characters of a wrong token that a message repeats


def read_sequences(path: Path, name: str | None = None, source: str | None = None) -> Sequences:
    r"""Read a text file of sequences; the module describes the format.

    Args:
        path: The file.
        name: Name of the dataset, by default the file's name without its ending.
        source: What to give `load` to get the sequences again, by default the absolute path.

    Raises:
        DataError: If the file is not text, holds a token that is not an id (the message names its line), has a user
            twice, or no user with at least 3 items.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tiny.txt")
    ...     _ = path.write_text("1 5 3 9 2\n2 4 1 6\n")
    ...     sequences = read_sequences(path)
    >>> sequences.name, sequences.users.tolist(), sequences.items.tolist()
    ('tiny', [1, 2], [5, 3, 9, 2, 4, 1, 6])
    """
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data.translate(None, b"0123456789 \t\n"):
        raise _first_fault(path, data)
    values, line = _tokens(path, data)
    if len(values) == 0:
        raise DataError(f"{path} is empty; {FORMAT}")
    user_at = np.flatnonzero(np.diff(line, prepend=0))  # the first token of each line that has any
    is_item = np.ones(len(values), dtype=bool)
    is_item[user_at] = False
    if values.min() < 1 or (values[is_item] > MAX_ITEM).any():
        raise _first_fault(path, data)
    users, counts = _users(path, values[user_at], line[user_at], np.diff(user_at, append=len(values)) - 1)
    kept = counts >= MIN_ITEMS
    skipped = int(np.count_nonzero(~kept))
    if skipped == len(kept):
        raise DataError(f"{path} has no user with at least {MIN_ITEMS} items ({skipped} with fewer); {FORMAT}")
    if skipped:
        logger.warning(
            "%s: skipped %d of %d users, those with fewer than %d items "
            "(a user needs one item each for training, validation and test)",
            *(path, skipped, len(kept), MIN_ITEMS),
        )
    return Sequences(
        name=path.stem if name is None else name,
        users=users[kept],
        items=values[is_item][np.repeat(kept, counts)].astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts[kept])]),
        skipped=skipped,
        source=str(path.absolute()) if source is None else source,
    )


def times_path(path: Path) -> Path:
    """Return where the times of a file of sequences are: in the same layout, with a time in place of each item.

    >>> str(times_path(Path("shop.txt")))
    'shop.times.txt'
    """
    return path.with_suffix(".times.txt")


def read_with_times(path: Path) -> Sequences:
    """Return the sequences in a file, with their times if these are beside it.

    Raises DataError as `read_sequences` does, and if the times are not of the same users and lengths.
    """
    sequences, beside = read_sequences(path), times_path(path)
    if not beside.is_file():
        return sequences
    times = read_sequences(beside)
    if not (np.array_equal(times.users, sequences.users) and np.array_equal(times.offsets, sequences.offsets)):
        raise DataError(
            f"{beside} must have a time for each item in {path}, user by user; import the table again, or remove it"
        )
    return replace(sequences, times=times.items.astype(np.int64))


def _tokens(path: Path, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers in the text, and the line (from 1) of each; data has only digits and blanks."""
    characters = np.frombuffer(b"\n" + data + b"\n", dtype=np.uint8)
    is_digit = characters > ord(" ")
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])  # starts and stops of tokens alternate
    starts, stops = edges[::2], edges[1::2]
    if len(starts) and (stops - starts).max() > MAX_DIGITS:
        raise _first_fault(path, data)
    newlines = np.flatnonzero(characters[1:] == ord("\n"))
    values = np.fromstring(data, dtype=np.int64, sep=" ") if len(starts) else np.zeros(0, np.int64)
    return values, np.searchsorted(newlines, starts) + 1


def _users(
    path: Path, users: NDArray[np.int64], line: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the users and how many items each has. Lines with one item each are joined where the user is the same.

    users, line, counts: the user, the number and the number of items of every line. Raises DataError for a user who
    comes again after others.
    """
    pairs = bool((counts == 1).all())
    if pairs and (users[1:] == users[:-1]).any():
        logger.info("%s: every line is a pair 'user item', so it is read as one interaction a line", path)
        starts = np.flatnonzero(np.diff(users, prepend=0))
        users, line, counts = users[starts], line[starts], np.diff(starts, append=len(users))
    order = np.argsort(users, kind="stable")
    again = np.flatnonzero(users[order][1:] == users[order][:-1])
    if len(again):
        first, second = order[again[0]], order[again[0] + 1]
        advice = "join the two in time order, or give one of them another id"
        if pairs:
            advice = f"put pairs of one user together, or run python -m models.datasets import {path} --user 1 --item 2"
        raise DataError(
            f"{path}: user {users[first]} is on line {line[first]} and again on line {line[second]}; {advice}"
        )
    return users, counts


def _first_fault(path: Path, data: bytes) -> DataError:
    """Return the error for the first fault of a file that is known to have one."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if re.search(r"[\x00-\x08\x0e-\x1f]", text):
        return DataError(f"{path} is not a text file in UTF-8; {FORMAT}")
    for number, line in enumerate(text.split("\n"), start=1):
        for place, token in enumerate(re.findall(r"[^ \t]+", line)):
            if reason := _why_not_an_id(token, is_user=place == 0):
                shown = token if len(token) <= SHOWN else token[:SHOWN] + "..."
                return DataError(f"{path}, line {number}: {shown!r} {reason}; {FORMAT}")
    raise AssertionError(f"no fault found in {path}")


def _why_not_an_id(token: str, *, is_user: bool) -> str | None:
    if not re.fullmatch(r"-?[0-9]+", token):
        return "is not an integer"
    if token.startswith("-") or not token.strip("0"):
        return "is not an id, ids are 1 or more"
    if len(token) > MAX_DIGITS or (not is_user and int(token) > MAX_ITEM):
        limit = f"{MAX_DIGITS} digits" if is_user else f"{MAX_ITEM}"
        return f"is too large, {'user' if is_user else 'item'} ids go up to {limit}"
    return None
