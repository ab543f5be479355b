"""Docstrings as reStructuredText: they are plain text with Google's sections, which Sphinx would misread in places."""

import re
from typing import Any

SECTION = re.compile(r"(Args|Attributes|Example|Raises|Returns):$")
NAME = re.compile(r"(models|spectral)(\.\w+)+$")


def as_rest(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn the lines of a docstring into reStructuredText, in place; a hook of sphinx.ext.autodoc.

    Marks that mean something to reStructuredText are escaped, `code` in backticks becomes code, or a link if it is a
    name of ours, and what is indented outside sections keeps its lines and columns.
    """
    lines[:] = _converted(lines)


def _converted(lines: list[str]) -> list[str]:
    converted: list[str] = []
    section, indent, literal, doctest = "", 0, False, False
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line and depth == 0:
            section = match[1] if (match := SECTION.match(line)) else ""
            indent = 4 if section else 0
        doctest = bool(line.strip()) and (doctest or line.lstrip().startswith(">>>"))
        kept = (
            bool(line.strip())
            and not doctest
            and depth > indent
            and section in ("", "Example")
            and not _item(converted)
        )
        if kept and not literal:
            converted += ["", " " * indent + "::", ""]
        elif literal and line.strip() and not kept:
            converted.append("")
        literal = kept or (literal and not line.strip())
        converted.append(line if kept or doctest else _escaped(line))
    return converted


def _item(before: list[str]) -> bool:
    """Whether a paragraph that a mark of a list began goes on: its lines are indented too."""
    paragraph = []
    for line in reversed(before):
        if not line.strip():
            break
        paragraph.append(line)
    return bool(paragraph) and paragraph[-1].lstrip().startswith(("- ", "* ", "1. "))


def _escaped(line: str) -> str:
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(_code(part[1:-1]) if place % 2 else _plain(part) for place, part in enumerate(parts))


def _code(code: str) -> str:
    return f":py:obj:`{code}`" if NAME.match(code) else f"``{code}``"


def _plain(text: str) -> str:
    start = re.match(r"\s*(?:[-*] )?", text)[0]
    return start + re.sub(r"([\\*|`]|_(?!\w))", r"\\\1", text[len(start) :])
