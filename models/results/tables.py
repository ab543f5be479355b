"""Tables as text: Markdown for people, LaTeX for papers, CSV for programs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.files import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame


MARK = "†"  # of systems with a run whose first epoch was its best: it has not learned


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with the first column on the left and the others on the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, rule, *rows])


def latex_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for booktabs, aligned as `markdown_table`; the first cell of each row is plain text, not LaTeX."""
    named = [[re.sub(r"([_%&#$])", r"\\\1", name).replace(MARK, r"$\dagger$"), *cells] for name, *cells in rows]
    first, *others = [" & ".join(row) + r" \\" for row in [head, *named]]
    columns = "l" + "r" * (len(head) - 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", first, r"\midrule", *others, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def footnotes(first_epoch: Mapping[str, str], missing: Mapping[str, Sequence[int]]) -> str:
    """Return what stands below a Markdown table: runs whose first epoch was their best, and those that are missing.

    first_epoch: by system, the seeds of such runs, as text. missing: by system, seeds; none where all are.
    """
    marked = "; ".join(f"{system}, seed {seeds.replace(' ', ', ')}" for system, seeds in first_epoch.items() if seeds)
    lacking = "; ".join(f"{system}{_seeds(seeds)}" for system, seeds in missing.items())
    notes = [f"{MARK} The first epoch is the best of: {marked}."] if marked else []
    notes += [f"Missing: {lacking}."] if lacking else []
    return "".join(f"\n{note}\n" for note in notes)


def _seeds(seeds: Sequence[int]) -> str:
    return f", seed {', '.join(map(str, seeds))}" if seeds else ""


def write_table(stem: str | Path, table: "DataFrame", markdown: str, latex: str) -> None:
    """Write a tidy table as stem.csv, and how it is printed as stem.md and stem.tex."""
    for ending, text in {"csv": table.to_csv(index=False), "md": markdown, "tex": latex}.items():
        write_atomically(Path(f"{stem}.{ending}"), text.encode())
