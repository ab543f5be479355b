"""The files of a table: in parts, compressed, and in some encoding."""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from models.errors import ConfigError, DataError

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}  # by ending, as pyarrow calls them
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_UNREAD = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xfd7zXZ": "compressed with xz",
    b"7z": "a 7z archive",
}
_LONG_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}  # the first of them begin as UTF-16 does
_MARKS = _LONG_MARKS | {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_BLOCK = 1 << 16
UTF_8 = "utf-8-sig"  # with a mark at its beginning, or without


def ending(path: Path) -> str:
    """Return the ending of a file without that of its compression, in lower case.

    >>> ending(Path("reviews.JSON.gz")), ending(Path("ratings.csv"))
    ('.json', '.csv')
    """
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.suffix.lower()


def stem(path: Path) -> str:
    """Return the name of a table without its endings.

    >>> stem(Path("data/reviews.json.gz"))
    'reviews'
    """
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSED else path.stem


def parts(path: Path) -> list[Path]:
    """Return the files of a table: the file itself, or those in a folder and its subfolders.

    The numbers in names count as numbers, so part-2 is before part-10. Names that begin with `_` or `.` are left out;
    programs that write parts use them for other things.

    Raises:
        DataError: If there is no such file, nothing in the folder, or the parts have different endings.
    """
    if not path.exists():
        raise DataError(f"{path} is not a file; name a table, or a folder with the parts of one")
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in path.rglob("*")
        if file.is_file() and not any(name.startswith(("_", ".")) for name in file.relative_to(path).parts)
    ]
    if not found:
        raise DataError(f"{path} is a folder without files")
    endings = sorted({ending(file) for file in found})
    if len(endings) > 1:
        raise DataError(f"{path} has files that end in {', '.join(endings)}; name a folder with the parts of one table")
    return sorted(found, key=lambda file: _natural(str(file.relative_to(path))))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, decompressed if it is compressed, whatever its name says.

    Raises:
        DataError: If it is an archive, or its compressed content is damaged or cut off.
    """
    import pyarrow  # slow to import

    with path.open("rb") as file:
        start = file.read(8)
    for magic, what in _UNREAD.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {what}; unpack it, or save it as CSV")
    compression = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
    if compression is None and path.suffix.lower() in COMPRESSED and start:
        raise DataError(
            f"{path} is not compressed with {COMPRESSED[path.suffix.lower()]}, as its ending says; rename it"
        )
    if compression is None:
        with path.open("rb") as file:
            yield file
        return
    try:
        with pyarrow.input_stream(path, compression=compression) as stream:
            yield stream
    except OSError as error:  # what pyarrow raises while it decompresses
        raise DataError(f"{path} is damaged or cut off ({error}); get it again") from error


@contextmanager
def opened_text(path: Path, encoding: str | None) -> Iterator[IO[str]]:
    """Open a file to read its text, as `opened` does; line ends are left as they are.

    encoding: as of `encoding_of`.

    Raises:
        DataError: As `encoding_of` does, or if the text is in another encoding; the message names the line.
        ConfigError: If there is no such encoding.
    """
    name = encoding_of(path, encoding)
    try:
        with opened(path) as file:
            text: Any = io.TextIOWrapper(file, encoding=name, newline="")
            yield text
    except UnicodeError as error:
        raise _undecodable(path, name, error) from error


def encoding_of(path: Path, given: str | None) -> str:
    """Return the name of a text's encoding: UTF-8 if none is given, or what the marks at its beginning say.

    Raises:
        DataError: If the file is empty or damaged, or has NUL characters, as texts in UTF-16 have for other encodings.
        ConfigError: If there is no such encoding.
    """
    with opened(path) as file:
        start = file.read(_BLOCK)
    if not start:
        raise DataError(f"{path} is empty")
    name = next((name for mark, name in _MARKS.items() if start.startswith(mark)), UTF_8) if given is None else given
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)  # refuses what is no encoding of text, too
    except LookupError as error:
        raise ConfigError(
            f"there is no encoding {name!r}; known are utf-8, utf-16, latin-1, cp1252 and more"
        ) from error
    name = codecs.lookup(name).name
    if b"\0" in start and not name.startswith(("utf-16", "utf-32")):
        raise DataError(f"{path} has NUL characters, so it is not text in {name}; give --encoding, such as utf-16-le")
    return UTF_8 if name == "utf-8" else name


def shown_encoding(name: str) -> str:
    """Return how messages call an encoding.

    >>> shown_encoding(UTF_8), shown_encoding("iso8859-1")
    ('UTF-8', 'iso8859-1')
    """
    return "UTF-8" if name == UTF_8 else name


def _undecodable(path: Path, encoding: str, error: UnicodeError) -> DataError:
    shown = shown_encoding(encoding)
    advice = "name the encoding of the file, such as --encoding latin-1 or --encoding cp1252"
    if not encoding.startswith(("utf-16", "utf-32")):  # their line ends are not single bytes
        with opened(path) as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as fault:
                    return DataError(
                        f"{path}, line {number}: the byte 0x{line[fault.start]:02x} is not {shown}; {advice}"
                    )
    return DataError(f"{path} is not text in {shown} ({error}); {advice}")
