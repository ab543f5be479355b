"""Tables as text: Markdown to read, LaTeX for papers, CSV for programs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.files import write_together

if TYPE_CHECKING:
    from pandas import DataFrame


FIRST_EPOCH = "†"  # marks systems with a run whose best epoch was the first: it has learned next to nothing
CAPPED = "‡"  # marks systems with a run that the limit of epochs ended
_IN_LATEX = {FIRST_EPOCH: r"$\dagger$", CAPPED: r"$\ddagger$", "–": "--"}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Return a Markdown table; the first column is aligned left, the others right. Notes are paragraphs below it.

    >>> print(markdown_table(["system", "HR@5"], [["SASRec", "0.0500"], ["BSARec", "0.0600"]]), end="")
    | system | HR@5 |
    | --- | ---: |
    | SASRec | 0.0500 |
    | BSARec | 0.0600 |
    """
    rule = ["---", *["---:"] * (len(head) - 1)]
    table = "".join("| " + " | ".join(row) + " |\n" for row in [head, rule, *rows])
    return table + "".join(f"\n{note}\n" for note in notes)


def latex_table(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    r"""Return a LaTeX table for booktabs, aligned as in `markdown_table`. Notes are lines across it, at its end.

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
    named = [[_escaped(name), *cells] for name, *cells in rows]
    first, *others = [" & ".join(row) + r" \\" for row in [head, *named]]
    columns = "l" + "r" * (len(head) - 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", first, r"\midrule", *others, r"\bottomrule"]
    lines += [rf"\multicolumn{{{len(head)}}}{{l}}{{\footnotesize {_escaped(note)}}} \\" for note in notes]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _escaped(name: str) -> str:
    escaped = re.sub(r"([_%&#$])", r"\\\1", name)
    for mark, code in _IN_LATEX.items():
        escaped = escaped.replace(mark, code)
    return escaped


def notes(
    first_epoch: Mapping[str, str],
    capped: Mapping[str, str],
    missing: Mapping[str, Sequence[int]],
    sources: Sequence[str] = (),
) -> list[str]:
    """Return the notes below a table: marked runs, sources of published numbers, and missing runs.

    first_epoch, capped: by system, the seeds of such runs, as text. missing: by system, the seeds; none if all are
    missing. sources: numbered from 1.

    >>> for note in notes({"Caser": "42 44"}, {"SASRec": ""}, {"fearec": [43]}, ["a paper"]):
    ...     print(note)
    † The first epoch is the best of: Caser, seed 42, 44.
    [1] a paper.
    Missing: fearec, seed 43.
    """
    marked = {
        f"{FIRST_EPOCH} The first epoch is the best of": first_epoch,
        f"{CAPPED} Ended by the limit of epochs": capped,
    }
    found = []
    for what, seeds_of in marked.items():
        if listed := "; ".join(f"{name}, seed {text.replace(' ', ', ')}" for name, text in seeds_of.items() if text):
            found.append(f"{what}: {listed}.")
    found += [f"[{number}] {source}." for number, source in enumerate(sources, start=1)]
    return found + ([missing_runs(missing)] if missing else [])


def missing_runs(missing: Mapping[str, Sequence[int]]) -> str:
    """Return a sentence that names missing runs, by system the seeds; empty if none are missing.

    >>> missing_runs({"fearec": [43], "caser": []})  # no seeds: all of them
    'Missing: fearec, seed 43; caser.'
    """
    return f"Missing: {runs_in_words(missing)}." if missing else ""


def runs_in_words(runs: Mapping[str, Iterable[int]]) -> str:
    """Return the names of systems with their seeds; no seeds: none is named.

    >>> runs_in_words({"sasrec": [43, 44], "caser": []})
    'sasrec, seed 43, 44; caser'
    """
    listed = {system: ", ".join(map(str, sorted(seeds))) for system, seeds in runs.items()}
    return "; ".join(f"{system}, seed {seeds}" if seeds else system for system, seeds in listed.items())


def write_table(stem: str | Path, table: "DataFrame", markdown: str, latex: str) -> None:
    """Write a tidy table as stem.csv, and its printed forms as stem.md and stem.tex."""
    texts = {"csv": table.to_csv(index=False), "md": markdown, "tex": latex}
    write_together({Path(f"{stem}.{ending}"): text.encode() for ending, text in texts.items()})
