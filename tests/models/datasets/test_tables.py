"""Tables as people have them: every kind becomes the same sequences, and what cannot be read is named."""

import bz2
import gzip
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.datasets.importing import import_table, read_interactions
from models.errors import ConfigError, DataError

# user, item, time; a row of the same user above is later, and users have other items in other orders
ROWS = [("u1", "i3", 30), ("u0", "i1", 12), ("u1", "i1", 10), ("u0", "i2", 11), ("u0", "i3", 13), ("u1", "i2", 20)]
RIGHT = {"u1": ["i1", "i2", "i3"], "u0": ["i2", "i1", "i3"]}
NAMES = ("user", "item", "time")


def sequences(path: Path, *columns: str, **how: object) -> dict[str, list[str]]:
    imported = import_table(path, *(columns or NAMES), k=1, **how)
    offsets = imported.sequences.offsets
    return {
        str(user): [str(imported.items[item - 1]) for item in imported.sequences.items[a:b]]
        for user, a, b in zip(imported.users, offsets, offsets[1:], strict=False)
    }


def lines(rows: Iterable[Iterable[object]], between: str = ",", names: Iterable[str] | None = NAMES) -> str:
    return "".join(between.join(map(str, row)) + "\n" for row in [*([] if names is None else [names]), *rows])


def objects(rows: Iterable[Iterable[object]] = ROWS) -> list[dict[str, object]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


TEXTS: dict[str, tuple[str, dict[str, object]]] = {
    "table.csv": (lines(ROWS), {}),
    "table.tsv": (lines(ROWS, "\t"), {}),
    "tabs.txt": (lines(ROWS, "\t"), {}),
    "blanks.txt": (lines(ROWS, "  "), {}),
    "colons.dat": (lines(ROWS, "::"), {"separator": "::"}),
    "bars.csv": (lines(ROWS, "|"), {"separator": "|"}),
    "UPPER.CSV": (lines(ROWS), {}),
    "windows.csv": (lines(ROWS).replace("\n", "\r\n"), {}),
    "marked.csv": ("\ufeff" + lines(ROWS), {}),
    "quoted.csv": (lines((f'"{u}"', f'"{i}"', t) for u, i, t in ROWS), {}),
    "lines.jsonl": ("\n\n".join(map(json.dumps, objects())), {}),
    "lines.json": ("\n".join(map(json.dumps, objects())), {}),
    "array.json": (json.dumps(objects(), indent=1), {}),
    "lines.txt": ("\n".join(map(json.dumps, objects())), {}),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    ("ending", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)]
)
def test_every_text_gives_the_same_sequences(tmp_path: Path, name: str, ending: str, compress: Callable):
    content, how = TEXTS[name]
    path = tmp_path / f"{name}{ending}"
    path.write_bytes(compress(content.encode()))
    assert sequences(path, **how) == RIGHT
    assert import_table(path, *NAMES, k=1, **how).sequences.name == name.split(".")[0]


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_compressed_files_in_several_pieces_are_read_to_the_end(tmp_path: Path, compress: Callable):
    path = tmp_path / "table.csv"  # known by its content, not by its ending
    content = lines(ROWS).encode()
    path.write_bytes(compress(content[:20]) + compress(content[20:]))
    assert sequences(path) == RIGHT


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
def test_a_file_that_is_cut_off_or_damaged_is_refused(tmp_path: Path, ending: str):
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}[ending]
    data = compress(lines([(f"u{n % 7}", f"i{n * 7919}", n) for n in range(3000)]).encode())
    path = tmp_path / f"table.csv{ending}"
    for content in (data[: len(data) // 2], data[:-3], data[:20] + bytes(50) + data[70:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"table.csv{ending} is damaged or cut off"):
            import_table(path, *NAMES, k=1)
    path.write_text(lines(ROWS))
    with pytest.raises(DataError, match=r"is not compressed with \w+, as its ending says"):
        import_table(path, *NAMES, k=1)


@pytest.mark.parametrize("name", ["table.csv", "table.tsv.gz", "table.json", "table.inter", "table.txt"])
def test_an_empty_file_is_said_to_be_one(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    with pytest.raises(DataError, match="is empty"):
        import_table(path, *NAMES)


def test_archives_are_refused_by_name(tmp_path: Path):
    for start, what in ((b"PK\x03\x04", "a zip archive or an Excel workbook"), (b"\xfd7zXZ\x00", "compressed with xz")):
        (tmp_path / "table.csv").write_bytes(start + bytes(20))
        with pytest.raises(DataError, match=f"is {what}; unpack it"):
            import_table(tmp_path / "table.csv", *NAMES)


# --- encodings ---

ACCENTS = [(user.replace("u", "Ren\u00e9 "), item, time) for user, item, time in ROWS]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8", "utf-32"])
@pytest.mark.parametrize("name", ["table.csv", "table.json"])
def test_a_text_is_read_in_its_encoding(tmp_path: Path, name: str, encoding: str):
    path = tmp_path / name
    content = (
        lines(ACCENTS)
        if name.endswith("csv")
        else "\n".join(json.dumps(o, ensure_ascii=False) for o in objects(ACCENTS))
    )
    path.write_text(content, encoding=encoding)
    expected = {user.replace("u", "Ren\u00e9 "): items for user, items in RIGHT.items()}
    assert sequences(path, encoding=encoding) == expected
    if encoding in ("utf-8", "utf-16", "utf-32"):
        assert sequences(path) == expected  # by the marks at its beginning
    else:
        with pytest.raises(DataError, match=r"--encoding"):
            sequences(path)


def test_a_wrong_encoding_is_named_with_its_line(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text(lines([*ROWS, *ACCENTS]), encoding="latin-1")
    with pytest.raises(DataError, match=r"table.csv, line 8: the byte 0xe9 is not UTF-8; .* --encoding latin-1"):
        sequences(path)
    with pytest.raises(DataError, match=r"line 8: the byte 0xe9 is not ascii"):
        sequences(path, encoding="ascii")
    for wrong in ("latin1000", "hex"):
        with pytest.raises(ConfigError, match=f"there is no encoding '{wrong}'"):
            sequences(path, encoding=wrong)
    with pytest.raises(DataError, match=r"is not text in utf-16 .*--encoding"):
        sequences(path, encoding="utf-16")


# --- quoting ---

TITLED = [(*row, title) for row, title in zip(ROWS, ["A", '"Unfinished', "B", "C", 'Reprise"', "D"], strict=True)]


@pytest.mark.parametrize("name", ["table.tsv", "table.inter", "table.txt"])
def test_quotation_marks_in_columns_between_tabs_are_characters(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text(lines(TITLED, "\t", (*NAMES, "title")))
    assert sequences(path) == RIGHT
    path.write_text(lines(TITLED[:4], "\t", (*NAMES, "title")))  # a quotation that never ends
    assert read_interactions(path, *NAMES).rows == 4


def test_quoting_of_a_csv_can_be_turned_off_and_rows_within_quotes_are_said(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text(lines(TITLED, names=(*NAMES, "title")))
    assert sequences(path, quoting="none") == RIGHT
    read = read_interactions(path, *NAMES)
    assert read.rows == 3 and "3 lines belong to values in quotation marks" in read.reading.notes[0]
    path.write_text(lines(TITLED[:3], names=(*NAMES, "title")))
    with pytest.raises(DataError, match=r"cannot be read as a table.*--quoting none"):
        sequences(path)
    with pytest.raises(ConfigError, match="quoting must be double or none, got 'both'"):
        sequences(path, quoting="both")


def test_quoting_of_a_tsv_can_be_turned_on(tmp_path: Path):
    path = tmp_path / "table.tsv"
    rows = [(f'"{user}"', f'"a\tb {item}"', time) for user, item, time in ROWS]
    path.write_text(lines(rows, "\t"))
    assert sequences(path, quoting="double")["u0"] == ["a\tb i2", "a\tb i1", "a\tb i3"]


def test_rows_of_long_tables_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.datasets.tables.text._CHUNK", 2)
    path = tmp_path / "table.csv"
    path.write_text(lines(ROWS))
    assert sequences(path) == RIGHT
    path.write_text(lines([*ROWS, ("u1", "i1", "soon")]))
    with pytest.raises(DataError, match="line 8, column 'time': 'soon'"):
        sequences(path)
    path.write_text(lines([*ROWS[:4], ("u0", "i1", 5, "more"), *ROWS[4:]]))  # rows that are longer than others
    with pytest.raises(DataError, match="line 6"):
        sequences(path)
    path.write_text(f'user,item,time\nu1,"{200000 * "i"}",1\nu1,i2,soon\n')
    with pytest.raises(DataError, match="row 3, column 'time': 'soon'"):
        sequences(path)


# --- names and numbers of columns ---


@pytest.mark.parametrize(("name", "between"), [("a.csv", ","), ("a.dat", "::"), ("a.tsv", "\t"), ("a.txt", " ")])
def test_columns_without_names_are_taken_by_number(tmp_path: Path, name: str, between: str):
    path = tmp_path / name
    path.write_text(lines([(u, i, "5.0", t) for u, i, t in ROWS], between, names=None))
    how = {"separator": between} if name == "a.dat" else {}
    assert sequences(path, "1", "2", "4", **how) == RIGHT
    with pytest.raises(DataError, match="has the columns 1 to 4, not 5"):
        sequences(path, "1", "2", "5", **how)
    with pytest.raises(DataError, match="has the columns 1 to 4, not 0"):
        sequences(path, "1", "0", "4", **how)
    with pytest.raises(DataError, match=r"no column 'user'.* if its first line is data .* --user 1 --item 2 --time 4"):
        sequences(path, **how)


def test_a_first_line_with_names_is_left_out_and_said(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text(lines(ROWS))
    read = read_interactions(path, "1", "2", "3")
    assert read.rows == 6 and read.reading.notes == (f"{path}: line 1 has names (user, item, time), so it is left out",)
    assert sequences(path, "1", "2", "3") == RIGHT
    path.write_text(lines(ROWS, names=("2", "1", "3")))  # numbers that are names
    assert sequences(path, "2", "1", "3") == RIGHT


def test_a_missing_column_is_answered_with_the_most_similar_one(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text(lines(ROWS, names=("user_id", "Item", "time")))
    for wanted, said in (("userid", "user_id"), ("item", "Item"), ("times", "time")):
        columns = [wanted if near == said else near for near in ("user_id", "Item", "time")]
        with pytest.raises(DataError, match=rf"no column '{wanted}'; did you mean '{said}'\? It has 'user_id', 'Item'"):
            import_table(path, *columns)
    path.write_text(lines(ROWS, "|"))
    with pytest.raises(DataError, match=r"are its columns separated by commas\? If not, give --separator"):
        import_table(path, *NAMES)
    path.write_text(lines(ROWS, names=("user", "item", "user")))
    with pytest.raises(DataError, match="has 2 columns 'user'"):
        import_table(path, "user", "item")
    json_path = tmp_path / "table.jsonl"
    json_path.write_text('{"reviewerID": "a", "asin": "b"}\n')
    with pytest.raises(DataError, match=r"no column 'reviewerId'; did you mean 'reviewerID'\?"):
        import_table(json_path, "reviewerId", "asin")


def test_an_unknown_ending_is_answered_with_what_could_separate(tmp_path: Path):
    path = tmp_path / "ratings.dat"
    path.write_text(lines(ROWS, "::", names=None))
    with pytest.raises(ConfigError, match="give --separator, such as --separator '::'"):
        sequences(path, "1", "2", "3")


def test_columns_of_recbole_have_types_behind_their_names(tmp_path: Path):
    path = tmp_path / "shop.inter"
    path.write_text(lines(ROWS, "\t", names=("user:token", "item:token", "time:float")))
    assert sequences(path) == RIGHT == sequences(path, "user:token", "item:token", "time:float")
    path.write_text(
        lines([("u1", "i1 i2 i3", "10 20 30"), ("u0", "i2 i1", "11 12"), ("u0", "i3", "13")], "\t")
        .replace("user", "user:token", 1)
        .replace("item", "item:token_seq", 1)
        .replace("time", "time:float_seq", 1)
    )
    assert sequences(path) == RIGHT


# --- order ---


def test_without_times_rows_are_in_order_and_repetitions_are_kept(tmp_path: Path):
    path = tmp_path / "pairs.txt"
    path.write_text("1 5\n2 7\n1 5\n1 4\n2 8\n2 7\n")
    assert sequences(path, "1", "2") == {"1": ["5", "5", "4"], "2": ["7", "8", "7"]}
    read = read_interactions(path, "1", "2")
    assert (read.duplicates, read.reading.order, read.reading.first[0]) == (0, "the order of the rows", ("1", "5"))


def times(path: Path, values: list[str], **how: object) -> list[int]:
    """Return the places of rows in the order of their times."""
    path.write_text("user,item,time\n" + "".join(f'u,i{n},"{value}"\n' for n, value in enumerate(values)))
    found = sequences(path, **how)["u"]
    return [int(item[1:]) for item in found]


@pytest.mark.parametrize(
    "values",
    [
        ["1700000000123456791", "1700000000123456789", "1700000000123456790"],  # nanoseconds
        ["1700000000.123456791", "1700000000.123456789", "1700000000.12345679"],
        ["100000000000000000002", "100000000000000000000", "100000000000000000001"],  # more than 64 bits
        ["0.30000000000000000001", "-5", "3e-1"],
        ["2024-01-05T10:00:00.000000003Z", "2024-01-05T10:00:00.000000001Z", "2024-01-05T10:00:00.000000002Z"],
        ["2024-01-05T09:00:00+01:00", "2024-01-05T09:30:00+02:00", "2024-01-05 07:59:00Z"],
        ["2024-01-05 10:00:00.5 UTC", "2024-01-05 10:00:00 UTC", "2024-01-05 10:00:00.25 UTC"],
        ["2024/10/05", "2024/9/30", "2024/10/4"],
        ["29/01/2024", "05/01/2024", "07/01/2024"],
        ["1/29/2024", "1/5/2024", "1/7/2024"],
        ["29.01.2024 10:00", "05.01.2024 10:00", "07.01.2024 10:00"],
        ["Feb 4, 2024", "Jan 5, 2024", "Jan 31, 2024"],
        ["4 February 2024", "5 January 2024", "31 January 2024"],
        ["04-Feb-24", "05-Jan-24", "31-Jan-24"],
        ["Sun Feb 04 10:00:00 +0000 2024", "Fri Jan 05 10:00:00 +0000 2024", "Sun Feb 04 11:00:00 +0200 2024"],
        ["Sun, 04 Feb 2024 10:00:00 GMT", "Fri, 05 Jan 2024 10:00:00 GMT", "Sun, 04 Feb 2024 09:00:00 GMT"],
        ["04/Feb/2024:10:00:00 +0000", "05/Jan/2024:10:00:00 +0000", "04/Feb/2024:09:00:00 +0000"],
        ["01/13/2024 1:05 PM", "01/13/2024 11:05 AM", "01/13/2024 12:30 PM"],
    ],
)
def test_times_are_in_order_to_the_last_digit(tmp_path: Path, values: list[str]):
    assert times(tmp_path / "t.csv", values) == [1, 2, 0]
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"u": 1, "i": n, "t": v}) + "\n" for n, v in enumerate(values))
    )
    assert sequences(tmp_path / "t.jsonl", "u", "i", "t") == {"1": ["1", "2", "0"]}
    parquet.write_table(pa.table({"u": [1] * 3, "i": range(3), "t": values}), tmp_path / "t.parquet")
    assert sequences(tmp_path / "t.parquet", "u", "i", "t") == {"1": ["1", "2", "0"]}


def test_numbers_of_json_keep_their_digits(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f'{{"u": 1.50, "i": {n}, "t": 1700000000.12345679{n}}}\n' for n in (2, 0, 1)))
    assert sequences(path, "u", "i", "t") == {"1.50": ["0", "1", "2"]}


AMBIGUOUS = ["05/01/2024", "04/02/2024", "06/01/2024"]  # the day first: 0, 2, 1; the month first: 1, 0, 2


def test_dates_that_may_have_the_day_or_the_month_first_are_asked_about(tmp_path: Path):
    path = tmp_path / "t.csv"
    for mark in "/.-":
        values = [value.replace("/", mark) for value in AMBIGUOUS]
        with pytest.raises(DataError, match=rf"line 2, column 'time': '{values[0]}' can be read as .*--day-first"):
            times(path, values)
        assert times(path, values, day_first=True) == [0, 2, 1]
        assert times(path, values, day_first=False) == [1, 0, 2]
        assert times(path, values, date_format=f"%d{mark}%m{mark}%Y") == [0, 2, 1]
        assert times(path, [*values, f"13{mark}01{mark}2024"]) == [0, 2, 3, 1]  # a value tells it
        assert times(path, [*values, f"01{mark}13{mark}2024"]) == [3, 1, 0, 2]
    with pytest.raises(DataError, match="'29/01/2024' is neither a number nor a date of the form %m/%d/%Y"):
        times(path, ["05/01/2024", "29/01/2024", "01/02/2024"], day_first=False)
    with pytest.raises(ConfigError, match="not both"):
        times(path, AMBIGUOUS, day_first=True, date_format="%d/%m/%Y")


def test_two_digits_of_a_year_may_be_first_or_last(tmp_path: Path):
    path, values = tmp_path / "t.csv", ["05-01-24", "04-02-24", "29-01-24"]
    with pytest.raises(
        DataError, match=r"'05-01-24' can be read as %d-%m-%y or %y-%m-%d, .*--day-first.*--date-format"
    ):
        times(path, values)
    assert times(path, values, day_first=True) == [0, 2, 1]
    assert times(path, values, date_format="%y-%m-%d") == [1, 0, 2]


def test_dates_that_have_one_order_whatever_is_first_are_no_question(tmp_path: Path):
    read = times(tmp_path / "t.csv", ["02/02/2024", "01/01/2024", "03/03/2024"])
    assert read == [1, 0, 2]
    order = read_interactions(tmp_path / "t.csv", *NAMES).reading.order
    assert "dates of the form %d/%m/%Y or %m/%d/%Y" in order


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["29/01/2024", "01/29/2024", "05/01/2024"],
            r"line 3.*'01/29/2024' .* form %d/%m/%Y.* but of %m/%d/%Y; one column",
        ),
        (
            ["2024-01-05", "2024-01-06", "05/01/2024"],
            r"line 4.*'05/01/2024' is neither a number nor a date of the form",
        ),
        (["05/13/2024", "2024-01-05", "2024-01-06"], r"line 2.*'05/13/2024' is neither"),
        (
            ["1704412800", "2024-01-06", "1704412801"],
            r"line 3.*'2024-01-06' is neither a number nor a date, or the column",
        ),
        (
            ["2024-01-05 10:00Z", "2024-01-05 11:00", "2024-01-05 10:00Z"],
            r"line 3.*has no time zone and others have one",
        ),
        (["13/01/2024", "13/01/2024 10:00", "14/01/2024"], r"line 3.*'13/01/2024 10:00'"),
        (["soon", "13/01/2024", "14/01/2024"], r"line 2.*'soon' is neither"),
        (["soon", "later", "never"], r"line 2.*'soon' is neither a number nor a date; say how with --date-format"),
        (["2024-02-30", "2024-01-06", "2024-01-06"], r"line 2.*'2024-02-30'"),
        (["1", "inf", "3"], r"line 3.*'inf' is infinite, which is no time"),
        (["1", "2", "-Infinity"], r"line 4.*'-Infinity' is infinite"),
        (["1", "2", "1e400000"], r"line 4.*'1e400000'"),
        (["10:00", "11:00", "12:00"], r"line 2.*'10:00'"),
        (["2024-01-05T10:00:00.0000000001"] * 3, r"line 2.*finer than nanoseconds"),
        (["1,5", "2,5", "3,5"], r"line 2.*'1,5'"),
    ],
)
def test_values_that_are_no_times_of_one_form_are_named_with_their_line(tmp_path: Path, values: list, message: str):
    with pytest.raises(DataError, match=message):
        times(tmp_path / "t.csv", values)


def test_a_date_format_that_does_not_fit_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"line 3.*'soon' is no date of the form %Y%m%d"):
        times(tmp_path / "t.csv", ["20240105", "soon", "20240106"], date_format="%Y%m%d")
    assert times(tmp_path / "t.csv", ["05012024", "04022024", "06012024"], date_format="%d%m%Y") == [0, 2, 1]


def test_seconds_beside_milliseconds_are_noted(tmp_path: Path):
    path = tmp_path / "t.csv"
    times(path, ["1700000000", "1600000000000", "1700000001"])
    assert "some are seconds and others milliseconds" in read_interactions(path, *NAMES).reading.notes[0]
    times(path, ["1700000000", "1600000000", "1700000001"])
    read = read_interactions(path, *NAMES).reading
    assert not read.notes and "as seconds since 1970 they go from 2020-09-13 to 2023-11-14" in read.order


# --- JSON and Parquet ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"user": 1, "item": 2, "time": 3}\n{"user": 1\n', r"line 2 is not JSON"),
        ('{"user": 1, "item": 2, "time": 3}\n[1]\n', r"line 2 is not an object of JSON"),
        ('{"user": {"$oid": 1}, "item": 2, "time": 3}\n', r"line 1, 'user' is an object"),
        ('{"user": 1, "item": 2, "time": true}\n', r"line 1, 'time' is true"),
        ('[{"user": 1, "item": 2, "time": 3}, 5]', "entry 2 of the array is not an object"),
        ('[{"user": 1, "item": 2, "time": 3}', "the array is not JSON"),
        ('{"user": 1, "item": 2, "time": Infinity}\n', "'Infinity' is infinite"),
        ('{"user": 1, "item": [2], "time": 3}\n{"user": 1, "item": 2, "time": 3}\n', "a list in some objects"),
        ('{"user": 1, "item": 2, "time": "soon"}\n\n{"user": 1, "item": 2, "time": "late"}\n', "line 1, column 'time'"),
        ('\n\n{"user": 1, "item": 2, "time": "soon"}\n', "line 3, column 'time'"),
    ],
)
def test_json_that_is_no_table_is_named_with_its_line(tmp_path: Path, content: str, message: str):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=message):
        import_table(tmp_path / "t.json", *NAMES, k=1)


def test_missing_values_of_every_format_are_dropped_and_counted(tmp_path: Path):
    rows = [*ROWS, ("", "i1", 1), ("u1", None, 2), ("u1", "i1", None), (" ", "i1", 3)]
    (tmp_path / "t.csv").write_text(lines(["" if v is None else v for v in row] for row in rows))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*objects(rows), {"user": "u1"}]))
    pd.DataFrame(rows, columns=list(NAMES)).to_parquet(tmp_path / "t.parquet")
    for name, dropped in (("t.csv", 4), ("t.jsonl", 5), ("t.parquet", 4)):
        counts = import_table(tmp_path / name, *NAMES, k=1).counts
        assert (counts.without_value, counts.rows) == (dropped, 6 + dropped)
        assert sequences(tmp_path / name) == RIGHT


def frame(rows: list = ROWS) -> pa.Table:
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(NAMES)})


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path):
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [*ROWS[:3], ("u0", "i2", 12), ("u1", "i2", 10), ("u0", "i3", 12)]
    for part, row in enumerate(rows, start=7):
        (folder / f"part-{part}.csv").write_text(lines([row]))
        parquet.write_table(frame([row]), tmp_path / f"part-{part}.parquet")
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / ".part-7.csv.crc").write_bytes(b"crc")
    assert sequences(folder) == {"u1": ["i1", "i2", "i3"], "u0": ["i1", "i2", "i3"]}  # ties: part-8 before part-10
    whole = tmp_path / "whole"
    whole.mkdir()
    for file in tmp_path.glob("*.parquet"):
        file.rename(whole / file.name)
    assert sequences(whole) == sequences(folder)
    with pytest.raises(DataError, match=r"part-12.csv, line 2, column 'time': 'soon'"):
        (folder / "part-12.csv").write_text(lines([("u0", "i3", "soon")]))
        sequences(folder)
    (folder / "more.json").write_text("{}")
    with pytest.raises(DataError, match=r"has files that end in .csv, .json"):
        sequences(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="is a folder without files"):
        sequences(tmp_path / "none")


def test_folders_named_by_a_value_are_a_column(tmp_path: Path):
    for user in ("u0", "u1", "007"):
        (tmp_path / "shop" / f"user={user}").mkdir(parents=True)
        rows = [row for row in ROWS if row[0] == ("u0" if user == "007" else user)]
        parquet.write_table(frame(rows).drop_columns("user"), tmp_path / "shop" / f"user={user}" / "part-0.parquet")
    assert sequences(tmp_path / "shop") == {**RIGHT, "007": RIGHT["u0"]}


def test_parts_with_other_types_of_numbers_are_one_table_and_others_are_refused(tmp_path: Path):
    for part, kind in enumerate((pa.int32(), pa.int64())):
        table = frame(ROWS[3 * part : 3 * part + 3])
        parquet.write_table(table.set_column(2, "time", table["time"].cast(kind)), tmp_path / f"part-{part}.parquet")
    assert sequences(tmp_path) == RIGHT
    parquet.write_table(frame([("u0", "i3", "x")]), tmp_path / "part-2.parquet")
    with pytest.raises(DataError, match=r"cannot be read as a table: .*time"):
        sequences(tmp_path)


def test_parquet_that_is_damaged_is_refused(tmp_path: Path):
    path = tmp_path / "t.parquet"
    parquet.write_table(frame(), path, compression="none")
    data = path.read_bytes()
    for content in (data[:-20], data.replace(b"u1", b"u\xff"), data.replace(b"item", b"it\xffm"), b"PAR1" + bytes(8)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"t.parquet (cannot be read as a table|has no column)"):
            sequences(path)


KINDS = [pa.timestamp("ns"), pa.timestamp("s", tz="UTC"), pa.date32(), pa.float64(), pa.decimal128(30, 9), pa.uint64()]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_times_of_every_type_of_parquet_are_in_order(tmp_path: Path, kind: pa.DataType):
    column = pa.array([row[2] for row in ROWS], pa.int32() if pa.types.is_date(kind) else pa.int64())
    parquet.write_table(frame().set_column(2, "time", column.cast(kind)), tmp_path / "t.parquet")
    assert sequences(tmp_path / "t.parquet") == RIGHT


def test_times_of_parquet_beyond_the_digits_of_a_float_are_in_order(tmp_path: Path):
    exact = [2**60 + 1, 2**60, 2**60 + 2]
    for column in (exact, [Decimal(each) / 10**9 for each in exact]):
        parquet.write_table(pa.table({"u": [1] * 3, "i": range(3), "t": column}), tmp_path / "t.parquet")
        assert sequences(tmp_path / "t.parquet", "u", "i", "t") == {"1": ["1", "0", "2"]}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, np.inf, 2.0], r"row 2, column 'time': 'inf' is infinite"),
        ([True, False, True], "type bool, which is no time"),
        ([pd.Timedelta(1)] * 3, "type duration.*, which is no time"),
        ([{"a": 1}] * 3, "type struct.*, which is no time"),
    ],
)
def test_columns_of_parquet_that_are_no_times_are_named(tmp_path: Path, column: list, message: str):
    parquet.write_table(pa.table({"user": [1] * 3, "item": range(3), "time": column}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        sequences(tmp_path / "t.parquet")


LISTS = {
    "user": ["u1", "u0", "u0"],
    "item": [["i1", "i2", "i3"], ["i2", "i1"], ["i3"]],
    "time": [[1, 2, 3], [1, 2], [3]],
}


@pytest.mark.parametrize("large", [False, True])
def test_lists_are_taken_apart(tmp_path: Path, large: bool):
    path = tmp_path / "t.parquet"
    strings = pa.large_list(pa.large_string()) if large else pa.list_(pa.string())
    parquet.write_table(pa.table({**LISTS, "item": pa.array(LISTS["item"], strings)}), path)
    assert sequences(path) == RIGHT == sequences(path, "user", "item")
    parquet.write_table(pa.table({**LISTS, "time": [1, 2, 3]}), path)  # one time for the items of a row
    assert sequences(path) == RIGHT
    rows = [dict(zip(LISTS, row, strict=True)) for row in zip(*LISTS.values(), strict=True)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sequences(tmp_path / "t.jsonl") == RIGHT


def test_empty_lists_and_missing_members_are_counted(tmp_path: Path):
    path = tmp_path / "t.parquet"
    more = {"user": ["u0", "u1", "u0"], "item": [[], None, [None, "i2"]], "time": [[], None, [9, None]]}
    parquet.write_table(pa.table({name: LISTS[name] + more[name] for name in LISTS}), path)
    counts = import_table(path, *NAMES, k=1).counts
    assert (counts.rows, counts.without_value) == (10, 4) and sequences(path) == RIGHT


def test_lists_that_do_not_fit_are_named(tmp_path: Path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({**LISTS, "time": [[1, 2, 3], [1], [3]]}), path)
    with pytest.raises(DataError, match=r"row 2: 2 items, but 1 values of 'time'"):
        sequences(path)
    parquet.write_table(pa.table({**LISTS, "item": ["a", "b", "c"]}), path)
    with pytest.raises(DataError, match="'time' has lists; only items may"):
        sequences(path)
    parquet.write_table(pa.table({**LISTS, "user": LISTS["item"]}), path)
    with pytest.raises(DataError, match="'user' has lists; only items may"):
        sequences(path)
