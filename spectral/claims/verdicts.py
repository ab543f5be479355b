"""The claims ledger: which claims of the paper hold on the runs that are there, with evidence and a computed verdict.

Every claim is a signed statistic: above 0 speaks for the claim, below 0 against it. Where there is a null model, its
value is subtracted. The statistic has a standard error over users and seeds, and a two-sided p-value, corrected over
the whole ledger. The verdict follows from these alone:

    reproduced     p < .05 after Holm, and the statistic is above 0;
    contradicted   p < .05 after Holm, and it is below 0;
    undecided      otherwise, or if runs are missing, or if a system has one seed, so that other seeds are unknown. The
                   reason then says what the users alone would say of these runs.

Contents: `Claim`, `Evidence`, `verdict`, `ledger` and its `Ledger`. The claims are in `paper`, what they are judged by
in `evidence`, and where runs come from in `runs`.

Source: Shin et al., AAAI 2024. Where the paper gives no threshold, the claim's condition names ours.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import ConfigError
from models.files import write_together
from models.results.significance import Difference, holm
from models.results.tables import CAPPED, FIRST_EPOCH, markdown_table
from spectral.claims.runs import Missing, Runs
from spectral.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
        elsewhere: Returns what others found on a dataset, "" for nothing.
    """

    name: str
    text: str
    measure: str
    reproduced: str
    contradicted: str
    evidence: Callable[[Runs], Evidence]
    datasets: Sequence[str] = ("lastfm",)
    elsewhere: Callable[[str], str] = field(default=lambda dataset: "")


def verdict(found: Difference, p_holm: float, users: int = 0) -> tuple[str, str]:
    """Return the verdict on a statistic of so many users, and the reason if it is undecided, else "".

    >>> verdict(Difference(2.0, error=0.1, seeds=3, seed_share=0.5), p_holm=0.001)
    ('reproduced', '')
    >>> verdict(Difference(-2.0, error=0.1, seeds=3, seed_share=0.5), p_holm=0.001)
    ('contradicted', '')
    >>> verdict(Difference(0.1, error=0.1, seeds=3, seed_share=0.5), p_holm=0.9)
    ('undecided', 'either sign is possible')
    >>> verdict(Difference(2.0, error=0.1, seeds=1, seed_share=0.0), p_holm=float("nan"), users=100)
    ('undecided', 'one seed; by its users alone: reproduced')
    """
    if found.knows_seeds:
        decided = _sign(found) if p_holm < SIGNIFICANT else VERDICTS[2]
        return decided, "either sign is possible" if decided == VERDICTS[2] else ""
    if not users:
        return VERDICTS[2], "one seed"
    low, high = found.interval()
    return VERDICTS[2], f"one seed; by its users alone: {_sign(found) if low * high > 0 else VERDICTS[2]}"


def _sign(found: Difference) -> str:
    return VERDICTS[0] if found.estimate > 0 else VERDICTS[1]


@dataclass(frozen=True)
class Ledger(Result):
    """Judged claims.

    Attributes:
        rows: One per claim and dataset: claim, dataset ("" if it is not about data), text, measure, reproduced_if,
            contradicted_if, estimate, low, high (95% interval, uncorrected), users, seeds, knows_seeds, null, p_value,
            p_holm, verdict, reason (of an undecided one), elsewhere (what others found).
        profile: The profile of the runs.
    """

    rows: "DataFrame"
    profile: str

    def table(self) -> "DataFrame":
        """Return the rows."""
        return self.rows

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the verdict of each claim on each dataset."""
        from spectral import plot

        return plot.claims(self, ax=ax)

    def sentence(self) -> str:
        """Return how many claims have which verdict, each counted once for every dataset that it is about.

        >>> import pandas as pd
        >>> rows = {"verdict": ["undecided", "reproduced", "undecided"], "claim": ["a", "b", "a"]}
        >>> Ledger(pd.DataFrame(rows | {"estimate": [0.1, 0.3, np.nan]}), "paper").sentence()
        '2 claims in 3 rows: 1 reproduced, 0 contradicted, 2 undecided (1 of them without runs).'
        """
        counts = [f"{int((self.rows.verdict == verdict).sum())} {verdict}" for verdict in VERDICTS]
        lacking = int(self.rows.estimate.isna().sum())
        without = f" ({lacking} of them without runs)" if lacking else ""
        return f"{self.rows.claim.nunique()} claims in {len(self.rows)} rows: {', '.join(counts)}{without}."

    def listing(self) -> str:
        """Return sentences that list the decided claims, with their datasets.

        >>> import pandas as pd
        >>> rows = {"claim": ["a", "b", "c"], "verdict": ["reproduced", "undecided", "reproduced"]}
        >>> Ledger(pd.DataFrame(rows | {"dataset": ["lastfm", "lastfm", ""]}), "paper").listing()
        'Reproduced: a (lastfm), c.'
        """
        by_verdict = {verdict: self.rows[self.rows.verdict == verdict] for verdict in VERDICTS[:2]}
        return " ".join(
            f"{verdict.capitalize()}: {', '.join(map(_on, rows.itertuples()))}."
            for verdict, rows in by_verdict.items()
            if len(rows)
        )

    def to_markdown(self) -> str:
        """Return the ledger as Markdown: claims with evidence, those without, conditions, and the runs behind."""
        known = self.rows[self.rows.estimate.notna()]
        first = self.rows.drop_duplicates("claim")
        seeds = [f"- {_on(row)}: {row.seeds}" for row in known.itertuples() if row.seeds]
        return "\n".join(
            [
                "# Claims of the paper, judged on the runs in this folder",
                "",
                f"{self.sentence()} Profile `{self.profile}`. An estimate above 0 speaks for the claim; a null model "
                "is already subtracted. Its 95% interval is over users and seeds; p has Holm's correction over this "
                "ledger. With one seed the interval is about its users only, and decides nothing about other seeds. "
                "Made by `make claims`.",
                "",
                markdown_table(
                    ["claim", "dataset", "estimate [95%]", "null", "users", "p (Holm)", "verdict", "others found"],
                    [_cells(row) for row in known.itertuples()],
                ),
                "## Claims without the runs to judge them",
                "",
                markdown_table(["claim", "dataset", "verdict", "others found"], self._lacking()),
                "## What each is judged by",
                "",
                *[
                    f"- **{row.claim}**: {row.measure}. Reproduced: {row.reproduced_if}. "
                    f"Contradicted: {row.contradicted_if}."
                    for row in first.itertuples()
                ],
                "",
                "## Runs",
                "",
                f"Systems with their seeds. {FIRST_EPOCH} its first epoch was the best, so it has learned next to "
                f"nothing. {CAPPED} ended by the limit of epochs.",
                "",
                *seeds,
                "",
            ]
        )

    def _lacking(self) -> list[list[str]]:
        """Return the cells of claims without evidence; datasets of a claim that lack the same are in one row."""
        lacking = self.rows[self.rows.estimate.isna()]
        return [
            [f"{group.text.iloc[0]} ({claim})", ", ".join(group.dataset), f"undecided: {reason}", elsewhere]
            for (claim, reason, elsewhere), group in lacking.groupby(["claim", "reason", "elsewhere"], sort=False)
        ]

    def write(self, stem: str | Path) -> None:
        """Write the ledger as stem.csv and stem.md. Raises OSError if the folder cannot be written."""
        texts = {"csv": self.rows.to_csv(index=False), "md": self.to_markdown()}
        write_together({Path(f"{stem}.{ending}"): text.encode() for ending, text in texts.items()})


def _on(row: Any) -> str:
    return f"{row.claim} ({row.dataset})" if row.dataset else str(row.claim)


def _cells(row: Any) -> list[str]:
    return [
        f"{row.text} ({row.claim})",
        row.dataset,
        _interval(row),
        row.null,
        f"{row.users:,}" if row.users else "",
        _p_value(row.p_holm),
        f"{row.verdict}: {row.reason}" if row.reason else f"**{row.verdict}**",
        row.elsewhere,
    ]


def _p_value(p_value: float) -> str:
    if np.isnan(p_value):
        return ""
    return f"{p_value:.2g}" if p_value >= 1e-4 else "< 0.0001"


def _interval(row: Any) -> str:
    if np.isnan(row.estimate):
        return ""
    if not (row.users or row.knows_seeds):
        return f"{row.estimate:+.3g}, one seed"
    users_only = "" if row.knows_seeds else ", one seed: users only"
    return f"{row.estimate:+.3g} [{row.low:+.3g}, {row.high:+.3g}]{users_only}"


def ledger(
    figures: str | Path,
    claims: Iterable[Claim],
    profile: str = "paper",
    datasets: Iterable[str] | None = None,
    data_dir: str | Path | None = None,
) -> Ledger:
    """Return the claims, judged on the results and summaries in <figures>/<dataset>/runs/<profile>.

    datasets: only these; None for all that the claims name.

    data_dir: folder that may hold the datasets' files, for claims about users' histories, or about initial weights.

    Raises ConfigError for a dataset that no claim names, and CheckpointError for a file that is not a result or
    summary.

    >>> from tempfile import TemporaryDirectory
    >>> from spectral.claims.paper import CLAIMS
    >>> with TemporaryDirectory() as folder:
    ...     found = ledger(folder, [claim for claim in CLAIMS if claim.name in ("theorem-1-rate", "low-pass-leaves")])
    >>> found.table()[["claim", "verdict", "reason"]].values.tolist()
    [['low-pass-leaves', 'undecided', 'no runs on lastfm'], ['theorem-1-rate', 'reproduced', '']]
    """
    import pandas as pd

    claims = list(claims)
    named = list(dict.fromkeys(dataset for claim in claims for dataset in claim.datasets))
    chosen = named if datasets is None else list(datasets)
    if unknown := set(chosen) - set(named):
        raise ConfigError(f"no claim is about {', '.join(sorted(unknown))}; expected one of {', '.join(named)}")
    runs = {dataset: Runs(figures, dataset, profile, data_dir) for dataset in chosen}
    judged = [
        (claim, dataset, _evidence(claim, runs[dataset] if dataset else Runs(figures, "", profile)))
        for claim in claims
        for dataset in ([name for name in claim.datasets if name in runs] if claim.datasets else [""])
    ]
    p_values = [entry.found.p_value if isinstance(entry, Evidence) else np.nan for _, _, entry in judged]
    known = [index for index, p_value in enumerate(p_values) if not np.isnan(p_value)]
    corrected = dict(zip(known, holm([p_values[index] for index in known]), strict=True))
    rows = [
        _row(claim, dataset, entry, p_values[index], corrected.get(index, np.nan))
        for index, (claim, dataset, entry) in enumerate(judged)
    ]
    return Ledger(pd.DataFrame(rows), profile)


def _evidence(claim: Claim, runs: Runs) -> Evidence | Missing:
    try:
        if claim.datasets and not runs.exist:
            raise Missing(f"no runs on {runs.dataset}")
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
        return (
            described
            | nothing
            | lacking
            | {
                "verdict": VERDICTS[2],
                "reason": str(entry),
                "elsewhere": claim.elsewhere(dataset),
            }
        )
    low, high = entry.found.interval()
    judged, reason = verdict(entry.found, p_holm, entry.users)
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
        "elsewhere": claim.elsewhere(dataset),
    }
