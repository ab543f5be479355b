"""The commands and files that the project's text names: README, docstrings, messages, notebooks and captions."""

import html
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repository import ROOT

TEXT = {".py", ".md", ".ipynb", ".json", ".yaml", ".yml", ".j2", ".toml", ".html", ""}
NOT_OURS = ("tests/", "benchmarks/published/", "LICENSE", "constraints.txt", ".git")
FOLDERS = "notebooks|benchmarks|config|figures|models|spectral"
# What ends a command in running text, outside quotes: a new line, a column of comments, marks of the text around it.
END = re.compile(r"[`\n]|\\n|\"|  |; |\)|, | \(|<|$")


@dataclass(frozen=True)
class Named:
    """A command or another thing that a file names, and where."""

    words: tuple[str, ...]
    where: str


def texts() -> Iterator[tuple[str, str]]:
    """Yield the path of each of the project's texts, and the text: of notebooks their cells, of notes their words."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        path = ROOT / name
        if name.startswith(NOT_OURS) or path.suffix not in TEXT or "/runs/" in name or not path.exists():
            continue
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            content = "\n\n".join("".join(cell["source"]) for cell in json.loads(content)["cells"])
        if path.suffix == ".py":  # what a message fills in is one word
            content = re.sub(r"(?<=\w)(?=\{)", " ", re.sub(r"\{[^{}\n]*\}", "{FILLED}", content))
        yield name, html.unescape(content) if path.suffix == ".html" else content


def commands(start: str) -> list[Named]:
    """Return the commands that begin with a pattern, as words; placeholders stay as they are written."""
    found = {}
    for name, text in texts():
        for match in re.finditer(start, text):
            line = text[match.start() :]
            ends = (end.start() for end in END.finditer(line))
            command = line[: next(end for end in ends if line.count("'", 0, end) % 2 == 0 or line[end] == "\n")]
            words = _words(command.rstrip(" .,:;"))
            found.setdefault(words, Named(words, f"{name}, line {text[: match.start()].count(chr(10)) + 1}"))
    return list(found.values())


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError:  # a quote that a message closes elsewhere
        return tuple(command.split())


def options(words: tuple[str, ...]) -> list[str]:
    """Return the words of a command without dots that stand for more of them, and brackets of what may be left out."""
    return [bare for word in words if (bare := word.strip("[]")) != "..."]


def paths() -> list[Named]:
    """Return the files in the project's folders that texts name, but no examples of new ones, and no targets."""
    pattern = re.compile(
        rf"(?<![\w./<{{>}}-])(?:{FOLDERS})/[\w./-]*\w\.(?:py|ipynb|yaml|md|csv|png|pdf|json|mplstyle)\b(?![{{<])"
    )
    found = {}
    for name, text in texts():
        for match in pattern.finditer(text):
            line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
            if "mine" in match[0] or "snakemake" in line:
                continue
            found.setdefault(match[0], Named((match[0],), f"{name}, line {text[: match.start()].count(chr(10)) + 1}"))
    return list(found.values())


def targets(makefile: Path = ROOT / "Makefile") -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z][\w-]*):", makefile.read_text(), re.MULTILINE))
