"""Tables as text: Markdown to read, LaTeX for papers, CSV for programs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.files import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame


MARK = "†"  # marks systems with a run whose best epoch was the first: it has learned next to nothing


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is aligned left, the others right.

    >>> print(markdown_table(["system", "HR@5"], [["SASRec", "0.0500"], ["BSARec", "0.0600"]]), end="")
    | system | HR@5 |
    | --- | ---: |
    | SASRec | 0.0500 |
    | BSARec | 0.0600 |
    """
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, rule, *rows])


def latex_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a LaTeX table for booktabs, aligned as in `markdown_table`.

    In the first cell of each row the characters that LaTeX treats specially are escaped; other cells are LaTeX code.

    >>> print(latex_table(["", "HR@5"], [["ml_100k", "$0.05$"]]), end="")
    \begin{tabular}{lr}
    \toprule
     & HR@5 \\
    \midrule
    ml\_100k & $0.05$ \\
    \bottomrule
    \end{tabular}
    """
    named = [[re.sub(r"([_%&#$])", r"\\\1", name).replace(MARK, r"$\dagger$"), *cells] for name, *cells in rows]
    first, *others = [" & ".join(row) + r" \\" for row in [head, *named]]
    columns = "l" + "r" * (len(head) - 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", first, r"\midrule", *others, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def footnotes(first_epoch: Mapping[str, str], missing: Mapping[str, Sequence[int]]) -> str:
    """Return the notes below a Markdown table: runs whose best epoch was the first, and missing runs.

    first_epoch: by system, the seeds of such runs, as text. missing: by system, the seeds; none if all are missing.

    >>> print(footnotes({"Caser": "42 44"}, {"fearec": [43]}), end="")
    <BLANKLINE>
    † The first epoch is the best of: Caser, seed 42, 44.
    <BLANKLINE>
    Missing: fearec, seed 43.
    """
    marked = "; ".join(f"{system}, seed {seeds.replace(' ', ', ')}" for system, seeds in first_epoch.items() if seeds)
    lacking = "; ".join(f"{system}{_seeds(seeds)}" for system, seeds in missing.items())
    notes = [f"{MARK} The first epoch is the best of: {marked}."] if marked else []
    notes += [f"Missing: {lacking}."] if lacking else []
    return "".join(f"\n{note}\n" for note in notes)


def _seeds(seeds: Sequence[int]) -> str:
    return f", seed {', '.join(map(str, seeds))}" if seeds else ""


def write_table(stem: str | Path, table: "DataFrame", markdown: str, latex: str) -> None:
    """Write a tidy table as stem.csv, and its printed forms as stem.md and stem.tex."""
    for ending, text in {"csv": table.to_csv(index=False), "md": markdown, "tex": latex}.items():
        write_atomically(Path(f"{stem}.{ending}"), text.encode())
