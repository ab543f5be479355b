"""Tables in text: CSV, TSV, and what separates its columns in another way; with names of columns or without.

A TSV has no quoting, as its definition at IANA says, so a value may begin with a quotation mark. A CSV has it, unless
`--quoting none` says otherwise.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.datasets.tables.columns import Columns, Wanted, no_column, place_in
from models.datasets.tables.files import encoding_of, ending, opened_text, shown_encoding
from models.errors import ConfigError, DataError

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
QUOTING = ("double", "none")
BLANKS = r"\s+"  # what a separator of one blank stands for: any number of blanks and tabs
_TYPES = ("token", "token_seq", "float", "float_seq")  # of RecBole's columns, behind a colon in their names
_NAMES = {",": "commas", "\t": "tabs", BLANKS: "blanks", ";": "semicolons"}
_CHUNK = 500_000  # rows
_SAMPLE = 100  # rows by which is told whether the first line has names


@dataclass(frozen=True)
class Form:
    """How a text is cut into values.

    Attributes:
        separator: What separates columns.
        quoting: "double" if values may stand in quotation marks, else "none".
        encoding: Its name.
    """

    separator: str
    quoting: str
    encoding: str

    def __str__(self) -> str:
        separated = _NAMES.get(self.separator, repr(self.separator))
        quotes = "quotation marks around values" if self.quoting == "double" else "quotation marks are characters"
        return f"text in {shown_encoding(self.encoding)}, columns separated by {separated}, {quotes}"

    def rows(self, path: Path, count: int | None = None) -> Iterator[pd.DataFrame]:
        """Yield all values of a file as text, in tables of many rows; the first row is the first line.

        count: the first so many rows only. Raises DataError if lines differ in the number of values.
        """
        # Only the slower engine takes more than one character.
        engine: Literal["c", "python"] = "c" if len(self.separator) == 1 or self.separator == BLANKS else "python"
        pattern = self.separator if engine == "c" else re.escape(self.separator)
        quotes = csv.QUOTE_MINIMAL if self.quoting == "double" else csv.QUOTE_NONE
        with opened_text(path, self.encoding) as text:
            try:
                yield from pd.read_csv(
                    text,
                    sep=pattern,
                    header=None,
                    dtype=str,  # an id such as 007 must not become a number
                    engine=engine,
                    quoting=quotes,
                    nrows=count,
                    chunksize=count or _CHUNK,
                )
            except UnicodeError:
                raise
            except ValueError as error:  # pandas' errors of parsing are ValueErrors
                said = str(error).strip() or "it is not text"
                advice = "; if its quotation marks are characters, give --quoting none" * ("inside string" in said)
                raise DataError(f"{path} cannot be read as a table: {said}{advice}") from error

    def place(self, path: Path, row: int) -> str:
        """Return where a row (from 0, the first line included) is: its line, the last one if it has several."""
        try:
            with opened_text(path, self.encoding) as text:
                return f"line {next(islice(self._lines(text), row, None))}"
        except csv.Error:  # a value in quotation marks that is very long
            return f"row {row + 1}"

    def _lines(self, text: IO[str]) -> Iterator[int]:
        if self.quoting == "none":
            yield from (number for number, line in enumerate(text, start=1) if line.strip())
            return
        rows = csv.reader(text, delimiter=self.separator if len(self.separator) == 1 else "\0")
        yield from (rows.line_num for values in rows if len(values) > 1 or any(value.strip() for value in values))


def form_of(path: Path, separator: str | None, quoting: str | None, encoding: str | None) -> Form:
    r"""Return how a text is cut into values, by its ending and what is given.

    Args:
        path: The file. In a .txt, tabs separate columns, or blanks if there is no tab in its first line.
        separator: What separates columns; `\t` may be typed as such.
        quoting: "double" or "none"; None for quotation marks in a CSV, and none where tabs, blanks or several
            characters separate columns.
        encoding: Its name; None for UTF-8, or what the file's first bytes say.

    Raises:
        ConfigError: For an ending that does not tell the separator, or an unknown quoting or encoding.
    """
    encoding = encoding_of(path, encoding)
    separator = "\t" if separator == r"\t" else separator or SEPARATORS.get(ending(path))
    if separator is None:
        first = _first_line(path, encoding)
        if ending(path) != ".txt":
            raise ConfigError(
                f"{path}: its ending does not tell what separates the columns; give --separator{_guess(first)}, or "
                "rename it to .csv, .tsv or, for JSON lines, .jsonl"
            )
        separator = "\t" if "\t" in first else " "
    if quoting is None:
        quoting = "double" if len(separator) == 1 and separator not in "\t " else "none"
    if quoting not in QUOTING:
        raise ConfigError(f"quoting must be {' or '.join(QUOTING)}, got {quoting!r}")
    return Form(BLANKS if separator == " " else separator, quoting, encoding)


def read_text(paths: Sequence[Path], wanted: Wanted, form: Form) -> Columns:
    """Return columns of the parts of a table, as arrays of text.

    The columns of a table without names are their numbers from 1. If its first line has names nevertheless, which shows
    by numbers in all other lines, it is left out with a note.

    Raises:
        DataError: If a column is not there; or for a file that cannot be read, see `Form.rows`.
    """
    found: list[list[Any]] = [[] for _ in wanted.names]
    counts, skipped, notes = [], {}, []
    for path in paths:
        positions, names, typed = _positions(path, wanted, form)
        rows = 0
        for table in form.rows(path):
            start = 1 if names and rows == 0 else 0
            rows += len(table)
            for column, position in zip(found, positions, strict=True):
                column.append(pa.array(table[position].iloc[start:], type=pa.large_string(), from_pandas=True))
        if names and _by_number(wanted, names):
            notes.append(f"{path}: line 1 has names ({', '.join(names)}), so it is left out")
        if form.quoting == "double" and (more := _lines(path, form) - rows) > 0:
            notes.append(
                f"{path}: {more} lines belong to values in quotation marks that go over several lines; if the marks "
                "are characters, give --quoting none"
            )
        skipped[path] = int(bool(names))
        counts.append(rows - skipped[path])
    values = [_split(pa.chunked_array(column), kind) for column, kind in zip(found, typed, strict=True)]
    place = place_in(paths, counts, lambda path, row: form.place(path, row + skipped[path]))
    return Columns(values, str(form), place, tuple(notes))


def _positions(path: Path, wanted: Wanted, form: Form) -> tuple[list[int], list[str], list[str]]:
    """Return the places of the columns from 0, the names in the first line or none, and their types of RecBole."""
    sample = next(form.rows(path, _SAMPLE))
    first = [str(value).strip() for value in sample.iloc[0].fillna("")]
    if not _by_number(wanted, first):
        names, types = zip(*map(_typed, first), strict=True)
        for name in wanted.names:
            if (name in names) + (name in first) == 0:
                raise no_column(path, name, first, _without_names(first, form))
            if names.count(name) > 1:
                raise DataError(f"{path} has {names.count(name)} columns {name!r}; give them different names")
        places = [names.index(name) if name in names else first.index(name) for name in wanted.names]
        return places, first, [types[place] for place in places]
    places = [int(name) - 1 for name in wanted.names]
    if missing := [name for name, place in zip(wanted.names, places, strict=True) if not 0 <= place < len(first)]:
        raise DataError(
            f"{path} has the columns 1 to {len(first)}, not {missing[0]}; its first line is {first}"
            f"{_without_names(first, form)}"
        )
    others = sample.iloc[1:, places].dropna()
    has_names = not any(map(_has_digit, [first[place] for place in places])) and any(
        len(others) and others[place].map(_has_digit).all() for place in places
    )
    return places, first if has_names else [], [""] * len(places)


def _by_number(wanted: Wanted, first: Sequence[str]) -> bool:
    return all(name.isdecimal() for name in wanted.names) and not set(wanted.names) <= set(first)


def _typed(name: str) -> tuple[str, str]:
    """Return the name and the type of a column of RecBole; the type is "" for any other name.

    >>> _typed("item_id:token"), _typed("time: UTC")
    (('item_id', 'token'), ('time: UTC', ''))
    """
    short, _, kind = name.rpartition(":")
    return (short, kind) if short and kind in _TYPES else (name, "")


def _without_names(first: Sequence[str], form: Form) -> str:
    """Return advice for a file whose first line does not look like names of columns."""
    if len(first) == 1:
        separated = _NAMES.get(form.separator, repr(form.separator))
        return f"; are its columns separated by {separated}? If not, give --separator"
    if any(re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", value) for value in first):
        return "; if its first line is data and not names, give numbers of columns, such as --user 1 --item 2 --time 4"
    return ""


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)


def _split(column: Any, kind: str) -> Any:
    """Return a column of RecBole's sequences as lists, any other as it is."""
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(column)) if kind.endswith("_seq") else column


def _lines(path: Path, form: Form) -> int:
    with opened_text(path, form.encoding) as text:
        return sum(1 for line in text if line.strip())


def _first_line(path: Path, encoding: str) -> str:
    with opened_text(path, encoding) as text:
        return text.readline(1 << 16).rstrip("\r\n")


def _guess(line: str) -> str:
    """Return what the separator could be, as the rest of advice to give it."""
    guess = next((each for each in ("::", "\t", ";", "|", ",") if each in line), None)
    return (
        ""
        if guess is None
        else f", such as --separator {'TAB' if guess == chr(9) else repr(guess)}".replace("TAB", r"'\t'")
    )
