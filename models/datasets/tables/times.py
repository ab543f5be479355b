"""The order of times: numbers without a loss of digits, and dates of one format per column.

A date like 05/01/2024 may have the day or the month first. The format of a column is found out from all its values:
29/01 tells that the day is first. Where no value tells it, the user is asked. Values of several formats are refused,
except for those of ISO 8601, which is one order with more or fewer digits.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.errors import DataError

ISO = "ISO8601"  # as pandas calls it
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
_WHOLE = r"^[+-]?[0-9]{1,18}$"
_YEAR_FIRST = r"^[0-9]{4}[-/.][0-9]{1,2}|^[0-9]{8}T"
_ZONE = r"[0-9] ?(Z|z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_TOO_FINE = r"[0-9][.,][0-9]{10}"  # digits behind a second; nine are nanoseconds
_ENDLESS = r"(?i)^[+-]?(inf|infinity)$"

_TRIED = 20  # values from which formats are guessed, if the first ones are no dates
_NUMERIC = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")
_NAMED = (
    "%d %b %Y",
    "%d-%b-%Y",
    "%d/%b/%Y",
    "%d-%b-%y",
    "%d. %b %Y",
    "%b %d, %Y",
    "%b %d %Y",
    "%a, %d %b %Y",
    "%Y-%b-%d",
)
_CLOCKS = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S", ":%H:%M:%S")
_WHOLE_DATES = ("%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S UTC %Y", "%a %b %d %H:%M:%S %Y")

_EPOCHS = {"s": 1e8, "ms": 1e11, "us": 1e14, "ns": 1e17}  # from where on a number of this unit is one since 1970
_LAST = 9.2e18  # nanoseconds that pandas has dates for
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@dataclass(frozen=True)
class Dates:
    """What the user says about dates: a format of strptime, or whether the day is first; None where nothing is said."""

    format: str | None = None
    day_first: bool | None = None

    def allows(self, candidate: str) -> bool:
        """Whether a format has the order that the user gave.

        >>> Dates(day_first=True).allows("%d/%m/%Y"), Dates(day_first=True).allows("%m/%d/%Y")
        (True, False)
        """
        order = "".join(letter for letter in candidate if letter in "dmyYbB")[:3].lower()
        return self.day_first is None or order == ("dmy" if self.day_first else "mdy") or "b" in order


@dataclass(frozen=True)
class Times:
    """The order of a column of times.

    Attributes:
        rank: (rows,) equal for equal times, larger for later ones.
        rule: How the values are understood, in words.
        shown: Takes a row and returns its value as text; a date as ISO 8601, in UTC if it had a time zone.
        notes: What a reader should know, as sentences.
    """

    rank: NDArray[np.int64]
    rule: str
    shown: Callable[[int], str]
    notes: tuple[str, ...] = ()


def times_of(column: Any, name: str, place: Callable[[int], str], dates: Dates = Dates()) -> Times:
    """Return the order of a column of times.

    Args:
        column: An array of pyarrow without missing values: text, numbers, dates or decimal numbers.
        name: How messages call it.
        place: Says where a row is, from 0.
        dates: What the user says about the format of dates.

    Raises:
        DataError: For a value that is no time, values of several formats, or a column of another type. The message
            names the line and, where two formats are possible, the options to choose one.

    >>> column = pa.array(["29/01/2024", "05/01/2024", "05/01/2024"])
    >>> times = times_of(column, "time", lambda row: f"line {row + 2}")
    >>> times.rank.tolist(), times.rule
    ([1, 0, 0], 'dates of the form %d/%m/%Y')
    """
    kind = column.type
    date = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (date or number or text):
        raise DataError(f"column {name!r} is of the type {kind}, which is no time")
    encoded = column.dictionary_encode()
    codes = np.asarray(encoded.indices)
    first = np.zeros(len(encoded.dictionary), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the first row of each value
    values = _Values(encoded.dictionary, first, name, place)
    if text:
        keys, rule, notes = _of_text(values, dates)
    elif date:
        keys, rule, notes = _order(encoded.dictionary), f"dates ({kind})", ()
    else:
        values.refuse_endless()
        keys, (rule, notes) = _order(encoded.dictionary), _numbers(encoded.dictionary.to_pylist())
    ranks = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    shown = keys.tz_localize(None) if isinstance(keys, pd.DatetimeIndex) else encoded.dictionary
    return Times(ranks[codes], rule, lambda row: str(shown[int(codes[row])]), notes)


@dataclass(frozen=True)
class _Values:
    """The distinct values of a column, and the row of each where it is first."""

    values: Any
    first: NDArray[np.int64]
    name: str
    place: Callable[[int], str]

    def __getitem__(self, number: int) -> str:
        return str(self.values[number])

    def at(self, number: int) -> str:
        return f"{self.place(int(self.first[number]))}, column {self.name!r}: {self[number]!r}"

    def refuse(self, wrong: NDArray[np.bool_], why: str) -> None:
        """Raise DataError for the first row with a value that is wrong, if there is one."""
        if wrong.any():
            number = int(np.flatnonzero(wrong)[np.argmin(self.first[wrong])])
            raise DataError(f"{self.at(number)} {why}")

    def refuse_endless(self) -> None:
        if pa.types.is_floating(self.values.type):
            self.refuse(np.asarray(pc.is_inf(self.values)), "is infinite, which is no time; leave such rows out")


def _order(values: Any) -> NDArray[np.int64]:
    """Return the ranks of distinct values of any type that pyarrow sorts."""
    order = np.asarray(pc.sort_indices(values))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _of_text(values: _Values, dates: Dates) -> tuple[Any, str, tuple[str, ...]]:
    """Return sort keys of distinct texts, how they are understood, and notes."""
    texts = pc.utf8_trim_whitespace(values.values)
    values.refuse(_matching(texts, _ENDLESS), "is infinite, which is no time; leave such rows out")
    number = _matching(texts, NUMBER)
    if number.all() and dates.format is None:
        if _matching(texts, _WHOLE).all():
            keys: Any = np.asarray(pc.cast(pc.replace_substring_regex(texts, r"^\+", ""), pa.int64()))
        else:
            keys = np.array([Decimal(text) for text in texts.to_pylist()], dtype=object)  # no digit is lost
        return keys, *_numbers(keys.tolist())
    if number.any() and dates.format is None:
        fewer = number if number.sum() < len(number) / 2 else ~number
        values.refuse(fewer, "is neither a number nor a date, or the column has both")
    texts = pc.replace_substring_regex(texts, r"([0-9]) ?(UTC|GMT)$", r"\1+00:00")
    if dates.format is not None:
        moments = _moments(texts, dates.format)
        values.refuse(np.asarray(moments.isna()), f"is no date of the form {dates.format}")
        return moments, f"dates of the form {dates.format}", ()
    year_first = _matching(texts, _YEAR_FIRST)
    if not year_first.any():
        return _of_one_format(values, texts, dates)
    fewer = ~year_first if year_first.sum() >= len(year_first) / 2 else year_first
    values.refuse(fewer, "is neither a number nor a date of the form of the others; one column has one form")
    return _iso(values, texts)


def _iso(values: _Values, texts: Any) -> tuple[pd.DatetimeIndex, str, tuple[str, ...]]:
    values.refuse(_matching(texts, _TOO_FINE), "is finer than nanoseconds, which dates do not keep")
    zoned = _matching(texts, _ZONE) & _matching(texts, ":|T")
    if zoned.any() and not zoned.all():
        fewer = zoned if zoned.sum() < len(zoned) / 2 else ~zoned
        says = "has a time zone and others have none" if fewer is zoned else "has no time zone and others have one"
        values.refuse(fewer, f"{says}; give all of them one")
    moments = _moments(texts, ISO)
    values.refuse(np.asarray(moments.isna()), "is neither a number nor a date of ISO 8601, as the others are")
    return moments, "dates of ISO 8601, the year first", ()


def _of_one_format(values: _Values, texts: Any, dates: Dates) -> tuple[pd.DatetimeIndex, str, tuple[str, ...]]:
    in_order = np.argsort(values.first)
    guesses = (_formats_of(str(texts[int(number)]), dates) for number in in_order[:_TRIED])
    candidates = next(filter(None, guesses), [])
    found = {each: _moments(texts, each) for each in candidates}
    right = [each for each, moments in found.items() if not moments.isna().any()]
    if right and all(_same_order(found[right[0]], found[each]) for each in right[1:]):
        return found[right[0]], f"dates of the form {' or '.join(right)}", ()
    if right:
        raise DataError(
            f"{values.at(int(in_order[0]))} can be read as {' or '.join(right)}, and no other value of the column "
            "tells which; give --day-first, --month-first or --date-format"
        )
    if not candidates:
        values.refuse(values.first == values.first.min(), "is neither a number nor a date; say how with --date-format")
    fitting = min(found, key=lambda each: int(found[each].isna().sum()))
    wrong = np.asarray(found[fitting].isna())
    another = _formats_of(str(texts[int(in_order[wrong[in_order]][0])]), Dates())
    advice = f", but of {another[0]}; one column cannot have both" if another else ""
    values.refuse(wrong, f"is neither a number nor a date of the form {fitting}, as others are{advice}")
    raise AssertionError("some value does not fit")


def _formats_of(text: str, dates: Dates) -> list[str]:
    """Return the formats that a date may have."""
    days = [each.format(mark) for mark in "/.-" if mark in text for each in _NUMERIC]
    if re.search("[A-Za-z]{3}", text):
        days += [each.replace("%b", month) for each in _NAMED for month in ("%b", "%B")]
    clocks = _CLOCKS if ":" in text else ("",)
    zones = ("%z", " %z") if re.search(_ZONE, text) and ":" in text else ("",)
    known = ["".join(parts) for parts in product(days, clocks, zones)] + [*_WHOLE_DATES]
    short = re.sub(r"([.][0-9]{6})[0-9]+", r"\1", text)  # Python knows microseconds only
    return [each for each in known if dates.allows(each) and _is_of(short, each)]


def _is_of(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _moments(texts: Any, form: str) -> pd.DatetimeIndex:
    """Return what texts mean in a format, in UTC; NaT where they are not of it."""
    return pd.DatetimeIndex(pd.to_datetime(texts.to_pandas(), format=form, errors="coerce", utc=True))


def _same_order(one: pd.DatetimeIndex, other: pd.DatetimeIndex) -> bool:
    first, second = (np.unique(each, return_inverse=True)[1] for each in (one, other))
    return bool(np.array_equal(first, second))


def _numbers(values: list[Any]) -> tuple[str, tuple[str, ...]]:
    """Return how numbers are understood, and a note if they seem to be of several units."""
    low, high = min(values), max(values)
    units = [next((unit for unit in reversed(_EPOCHS) if each >= _EPOCHS[unit]), None) for each in (low, high)]
    if units[0] is None or units[1] is None or high > _LAST:
        return "numbers", ()
    if units[0] != units[1]:
        return "numbers", (
            f"times go from {low} to {high}; if some are {_UNITS[units[0]]} and others {_UNITS[units[1]]} since 1970, "
            "their order is wrong",
        )
    start, end = (pd.Timestamp(int(each), unit=units[0]).date() for each in (low, high))
    return f"numbers; as {_UNITS[units[0]]} since 1970 they go from {start} to {end}", ()


def _matching(texts: Any, pattern: str) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring_regex(texts, pattern))
