"""The claims ledger: which claims of the paper hold on the runs that are there, with evidence and a computed verdict.

Every claim is a signed statistic: above 0 speaks for the claim, below 0 against it. It has a standard error over users
and seeds, and a two-sided p-value, corrected over the whole ledger. The verdict follows from these alone:

    reproduced     p < .05 after Holm, and the statistic is above 0;
    contradicted   p < .05 after Holm, and it is below 0;
    undecided      otherwise, or if runs are missing, or if a system has one seed, so that their spread is unknown.

Contents: `Claim`, `Evidence`, `verdict`, `ledger` and its `Ledger`. The claims are in `paper`, what they are judged by
in `evidence`, and where runs come from in `runs`.

Source: Shin et al., AAAI 2024. Where the paper gives no threshold, the claim's condition names ours.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.files import write_atomically
from models.results.significance import Difference, holm
from models.results.tables import markdown_table
from spectral.claims.runs import Missing, Runs

if TYPE_CHECKING:
    from pandas import DataFrame

SIGNIFICANT = 0.05
VERDICTS = ("reproduced", "contradicted", "undecided")


@dataclass(frozen=True)
class Evidence:
    """What a claim is judged by.

    Attributes:
        found: The statistic, above 0 for the claim.
        users: Number of users behind it; 0 if it is not about users.
        seeds: The systems with their seeds.
        null: The value of the null model that is subtracted, with its name; "none" if 0 is the null.
    """

    found: Difference
    users: int
    seeds: str
    null: str = "none"


@dataclass(frozen=True)
class Claim:
    """A claim that data can reproduce or contradict.

    Attributes:
        name: Its key.
        text: What the paper says, in our words.
        measure: The statistic, with its unit.
        reproduced: What reproduces it.
        contradicted: What contradicts it.
        evidence: Returns the evidence; raises Missing if runs are not there.
        datasets: The datasets that it is judged on; none for a claim that is not about data.
    """

    name: str
    text: str
    measure: str
    reproduced: str
    contradicted: str
    evidence: Callable[[Runs], Evidence]
    datasets: Sequence[str] = ("lastfm",)


def verdict(found: Difference, p_holm: float) -> tuple[str, str]:
    """Return the verdict on a statistic, and the reason if it is undecided, else "".

    >>> verdict(Difference(2.0, error=0.1, seeds=3, seed_share=0.5), p_holm=0.001)
    ('reproduced', '')
    >>> verdict(Difference(-2.0, error=0.1, seeds=3, seed_share=0.5), p_holm=0.001)
    ('contradicted', '')
    >>> verdict(Difference(0.1, error=0.1, seeds=3, seed_share=0.5), p_holm=0.9)
    ('undecided', 'either sign is possible')
    >>> verdict(Difference(2.0, error=0.1, seeds=1, seed_share=0.0), p_holm=float("nan"))
    ('undecided', 'a system has one seed')
    """
    if not found.knows_seeds:
        return VERDICTS[2], "a system has one seed"
    if not p_holm < SIGNIFICANT:
        return VERDICTS[2], "either sign is possible"
    return VERDICTS[0] if found.estimate > 0 else VERDICTS[1], ""


@dataclass(frozen=True)
class Ledger:
    """Judged claims.

    Attributes:
        rows: One per claim and dataset: claim, dataset ("" if it is not about data), text, measure, reproduced_if,
            contradicted_if, estimate, low, high (95% interval), users, seeds, knows_seeds, null, p_value, p_holm,
            verdict, reason (of an undecided one).
        profile: The profile of the runs.
        without: Datasets of claims that have no runs at all; they have no rows.
    """

    rows: "DataFrame"
    profile: str
    without: Sequence[str]

    def table(self) -> "DataFrame":
        """Return the rows."""
        return self.rows

    def sentence(self) -> str:
        """Return how many claims have which verdict.

        >>> import pandas as pd
        >>> Ledger(pd.DataFrame({"verdict": ["undecided", "reproduced", "undecided"]}), "paper", []).sentence()
        '3 claims: 1 reproduced, 0 contradicted, 2 undecided.'
        """
        counts = [f"{int((self.rows.verdict == verdict).sum())} {verdict}" for verdict in VERDICTS]
        return f"{len(self.rows)} claims: {', '.join(counts)}."

    def to_markdown(self) -> str:
        """Return the ledger as Markdown: a table to read, and below it what each claim is judged by."""
        head = ["claim", "dataset", "estimate [95%]", "null", "users", "p (Holm)", "verdict"]
        rows = [
            [
                f"{row.text} ({row.claim})",
                row.dataset,
                _interval(row),
                row.null,
                f"{row.users:,}" if row.users else "",
                _p_value(row.p_holm),
                f"**{row.verdict}**" if not row.reason else f"{row.verdict}: {row.reason}",
            ]
            for row in self.rows.itertuples()
        ]
        conditions = [
            f"- **{row.claim}**: {row.measure}. Reproduced: {row.reproduced_if}. Contradicted: {row.contradicted_if}."
            for row in self.rows.drop_duplicates("claim").itertuples()
        ]
        seeds = [
            f"- {row.claim}{f', {row.dataset}' * bool(row.dataset)}: {row.seeds}" for row in self.rows.itertuples()
        ]
        without = [f"No runs at all: {', '.join(self.without)}."] if self.without else []
        return "\n".join(
            [
                "# Claims of the paper, judged on the runs in this folder",
                "",
                f"{self.sentence()} Profile `{self.profile}`. An estimate above 0 speaks for the claim. Its interval "
                "is over users and seeds; p has Holm's correction over this ledger. Made by `make claims`.",
                "",
                markdown_table(head, rows),
                *without,
                "",
                "## What each is judged by",
                "",
                *conditions,
                "",
                "## Runs",
                "",
                *[line for line in seeds if not line.endswith(": ")],
                "",
            ]
        )

    def write(self, stem: str | Path) -> None:
        """Write the ledger as stem.csv and stem.md. Raises OSError if the folder cannot be written."""
        for ending, text in {"csv": self.rows.to_csv(index=False), "md": self.to_markdown()}.items():
            write_atomically(Path(f"{stem}.{ending}"), text.encode())


def _p_value(p_value: float) -> str:
    if np.isnan(p_value):
        return ""
    return f"{p_value:.2g}" if p_value >= 1e-4 else "< 0.0001"


def _interval(row: Any) -> str:
    if np.isnan(row.estimate):
        return ""
    users_only = "" if row.knows_seeds else " users only"
    return f"{row.estimate:+.3g} [{row.low:+.3g}, {row.high:+.3g}]{users_only}"


def ledger(
    figures: str | Path,
    claims: Iterable[Claim],
    profile: str = "paper",
    datasets: Iterable[str] | None = None,
    data_dir: str | Path | None = None,
) -> Ledger:
    """Return the claims, judged on the results and summaries in <figures>/<dataset>/runs/<profile>.

    datasets: only these; None for all that the claims name. Datasets without any run have no rows.

    data_dir: folder that may hold the datasets' files, for claims about the users' histories.

    Raises CheckpointError for a file that is not a result or summary.

    >>> from tempfile import TemporaryDirectory
    >>> from spectral.claims.paper import CLAIMS
    >>> with TemporaryDirectory() as folder:
    ...     found = ledger(folder, [claim for claim in CLAIMS if claim.name == "theorem-1-rate"])
    >>> found.table()[["claim", "verdict"]].values.tolist()
    [['theorem-1-rate', 'reproduced']]
    """
    import pandas as pd

    claims = list(claims)
    named = list(dict.fromkeys(dataset for claim in claims for dataset in claim.datasets))
    chosen = [dataset for dataset in named if datasets is None or dataset in set(datasets)]
    runs = {dataset: Runs(figures, dataset, profile, data_dir) for dataset in chosen}
    judged = []
    for claim in claims:
        of_data = [name for name in claim.datasets if name in runs and runs[name].exist]
        for dataset in of_data if claim.datasets else [""]:
            judged.append((claim, dataset, _evidence(claim, runs.get(dataset) or Runs(figures, "", profile))))
    p_values = [entry.found.p_value if isinstance(entry, Evidence) else np.nan for _, _, entry in judged]
    known = [index for index, p_value in enumerate(p_values) if not np.isnan(p_value)]
    corrected = dict(zip(known, holm([p_values[index] for index in known]), strict=True))
    rows = [
        _row(claim, dataset, entry, p_values[index], corrected.get(index, np.nan))
        for index, (claim, dataset, entry) in enumerate(judged)
    ]
    return Ledger(pd.DataFrame(rows), profile, [name for name in chosen if not runs[name].exist])


def _evidence(claim: Claim, runs: Runs) -> Evidence | Missing:
    try:
        return claim.evidence(runs)
    except Missing as missing:
        return missing


def _row(claim: Claim, dataset: str, entry: Evidence | Missing, p_value: float, p_holm: float) -> dict[str, Any]:
    described = {
        "claim": claim.name,
        "dataset": dataset,
        "text": claim.text,
        "measure": claim.measure,
        "reproduced_if": claim.reproduced,
        "contradicted_if": claim.contradicted,
    }
    if isinstance(entry, Missing):
        nothing = dict.fromkeys(("estimate", "low", "high"), np.nan)
        lacking = {"users": 0, "seeds": "", "knows_seeds": False, "null": "none", "p_value": np.nan, "p_holm": np.nan}
        return described | nothing | lacking | {"verdict": VERDICTS[2], "reason": str(entry)}
    low, high = entry.found.interval()
    judged, reason = verdict(entry.found, p_holm)
    return described | {
        "estimate": entry.found.estimate,
        "low": low,
        "high": high,
        "users": entry.users,
        "seeds": entry.seeds,
        "knows_seeds": entry.found.knows_seeds,
        "null": entry.null,
        "p_value": p_value,
        "p_holm": p_holm,
        "verdict": judged,
        "reason": reason,
    }
