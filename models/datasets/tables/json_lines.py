"""Tables in JSON: one object a line, or one array of objects."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.datasets.tables.columns import Columns, Wanted, no_column, place_in
from models.datasets.tables.files import encoding_of, opened_text, shown_encoding
from models.errors import DataError

ENDINGS = (".jsonl", ".ndjson", ".json")
# Numbers stay as they are written, so that no digit of a time is lost.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name)


def read_json(paths: Sequence[Path], wanted: Wanted, encoding: str | None) -> Columns:
    """Return columns of the parts of a table, as arrays of text or of lists of text.

    Raises:
        DataError: If a line is no object in JSON, a column is in none of them, or a value is an object.
    """
    found: list[list[Any]] = [[] for _ in wanted.names]
    counts = []
    names: dict[str, None] = {}
    for path in paths:
        rows = 0
        for line, record in _records(path, encoding):
            names |= dict.fromkeys(record) if len(names) < 100 else {}
            for column, name in zip(found, wanted.names, strict=True):
                column.append(_value(record.get(name), f"{path}, {line}, {name!r}"))
            rows += 1
        counts.append(rows)
    for name in wanted.names:
        if name not in names:
            raise no_column(paths[0], name, list(names))
    place = place_in(paths, counts, lambda path, row: next(islice(_records(path, encoding), row, None))[0])
    form = f"JSON in {shown_encoding(encoding_of(paths[0], encoding))}"
    return Columns(
        [_column(paths[0], values, name) for values, name in zip(found, wanted.names, strict=True)], form, place
    )


def _records(path: Path, encoding: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file with their places, in words."""
    with opened_text(path, encoding) as text:
        lines = ((number, line) for number, line in enumerate(text, start=1) if line.strip())
        for number, line in lines:
            if number == 1 and line.lstrip().startswith("["):
                yield from _array(path, line + text.read())
                return
            record = _parsed(path, f"line {number}", line)
            yield f"line {number}", record


def _array(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, record in enumerate(_parsed(path, "the array", text, list), start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}, entry {number} of the array is not an object of JSON")
        yield f"entry {number}", record


def _parsed(path: Path, place: str, text: str, kind: type = dict) -> Any:
    try:
        record = _DECODER.decode(text.strip())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, {place} is not JSON ({error}); expected one object a line") from error
    if not isinstance(record, kind):
        raise DataError(f"{path}, {place} is not an object of JSON; expected one object a line")
    return record


def _value(value: Any, place: str) -> Any:
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict | list) for each in value)):
        raise DataError(f"{place} is an object; expected text, a number or a list of them")
    if isinstance(value, list):
        return [_value(each, place) for each in value]
    if isinstance(value, bool):
        raise DataError(f"{place} is {str(value).lower()}; expected text or a number")
    return None if value == "" else value


def _column(path: Path, values: list[Any], name: str) -> Any:
    kinds = {isinstance(value, list) for value in values if value is not None}
    if len(kinds) > 1:
        raise DataError(f"{path} has {name!r} as a list in some objects and as one value in others")
    return pa.array(values, type=pa.large_list(pa.large_string()) if True in kinds else pa.large_string())
