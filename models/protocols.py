"""How much a number depends on the protocol: on the split of the data by time, and on the order of ties of time.

Leave-one-out trains on what users did after the moment of another user's test item, so it leaks the future. A split by
time does not: models are trained before a moment, and tested on the last items after it. Both are measured on the same
users and targets. And where many items of a user have the same time, a rule orders them; another rule gives other
sequences and other targets.

Contents: `compare_protocols` and its `Protocols`. The views of the data are in `models.datasets.views`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load
from models.datasets import Sequences
from models.datasets import load as load_dataset
from models.datasets.views import SHARE, at_or_after, times_of
from models.errors import DataError
from models.evaluation import ndcg, rank_targets
from models.files import write_together
from models.results.description import losses
from models.results.runs import Result
from models.results.significance import difference, means_of_samples
from models.results.tables import markdown_table
from models.train import train

if TYPE_CHECKING:
    from pandas import DataFrame

K = 20
ALL, AFTER, TEMPORAL, REORDERED = (
    "leave-one-out",
    "leave-one-out, users after the split",
    "temporal",
    "leave-one-out, ties by item id",
)
# What each protocol is compared with: for the same users, and where possible the same targets.
REFERENCE = {TEMPORAL: AFTER, REORDERED: ALL}


@dataclass(frozen=True)
class Protocols:
    """Measured protocols.

    Attributes:
        rows: One per system and protocol: system, loss, protocol, users, seeds, HR@20, NDCG@20, low, high (its 95%
            interval), reference (the protocol that it is compared with, or ""), difference in NDCG@20, difference_low,
            difference_high, knows_seeds.
        share: The share of interactions before the split.
        new_users: Number of users after the split who have fewer than 3 items before it, so none was trained on.
        ties: Share of neighbouring interactions of a user that have the same time.
        moved: Share of users whose test target is another item under the other rule of ties.
    """

    rows: "DataFrame"
    share: float
    new_users: int
    ties: float
    moved: float

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table."""
        head = ["system", "loss", "protocol", "users", "seeds", "HR@20", "NDCG@20 [95%]", "difference in NDCG@20 [95%]"]
        rows = [
            [
                row.system,
                row.loss,
                row.protocol,
                f"{row.users:,}",
                str(row.seeds),
                f"{row.hr:.4f}",
                f"{row.ndcg:.4f} [{row.low:.4f}, {row.high:.4f}]",
                _difference(row),
            ]
            for row in self.rows.rename(columns={"HR@20": "hr", "NDCG@20": "ndcg"}).itertuples()
        ]
        return markdown_table(head, rows)

    def losses(self) -> str:
        """Return a sentence about the losses of the systems."""
        by_loss = self.rows.drop_duplicates("system").groupby("loss", sort=False)["system"]
        return losses({str(loss): list(systems) for loss, systems in by_loss})

    def sentence(self) -> str:
        """Return what the split and the ties are, in numbers."""
        after = int(self.rows.loc[self.rows.protocol == TEMPORAL, "users"].iloc[0])
        return (
            f"{self.share:.0%} of the interactions come before the split; the last items of {after:,} users come "
            f"after it, and {self.new_users:,} of these users are new to the model that was trained before it. "
            f"{self.ties:.0%} of neighbouring interactions share their time; ordering these by item id gives "
            f"{self.moved:.0%} of users another test item."
        )

    def write(self, stem: str | Path) -> None:
        """Write the table as stem.csv and stem.md. Raises OSError if the folder cannot be written."""
        texts = {"csv": self.rows.to_csv(index=False), "md": self.to_markdown()}
        write_together({Path(f"{stem}.{ending}"): text.encode() for ending, text in texts.items()})


def _difference(row: Any) -> str:
    if not row.reference:
        return ""
    note = "" if row.knows_seeds else ", one seed: users only"
    return f"{row.difference:+.4f} [{row.difference_low:+.4f}, {row.difference_high:+.4f}]{note} to {row.reference}"


def compare_protocols(
    published: Mapping[str, Sequence[Result]],
    settings: Mapping[str, Mapping[str, Any]],
    dataset: str,
    folder: str | Path,
    share: float = SHARE,
    other_ties: Collection[str] = (),
    data_dir: str | Path | None = None,
    progress: bool = False,
) -> Protocols:
    """Train systems on the part of a dataset before a split, some also with other ties; compare with leave-one-out.

    Args:
        published: By system, the results of its leave-one-out runs on the dataset.
        settings: By system, the settings of `models.train.train`, the model included.
        dataset: A dataset with times.
        folder: Where the trained checkpoints go, in a subfolder for each view; what is there is not trained again.
        share: The share of interactions before the split.
        other_ties: The systems that are also trained on ties in the order of item ids.
        data_dir: Folder that may hold the dataset's file.
        progress: Whether training draws progress bars.

    Raises DataError for a dataset without times, or results of other data; and what `train` raises.
    """
    import pandas as pd

    whole = load_dataset(dataset, data_dir)
    views = {TEMPORAL: f"{dataset}:until={share:g}", REORDERED: f"{dataset}:ties=item"}
    loaded = {protocol: load_dataset(view, data_dir) for protocol, view in views.items()}
    after = at_or_after(whole, share)
    rows = []
    for system, runs in published.items():
        if wrong := [run.source for run in runs if run.dataset["fingerprint"] != whole.fingerprint]:
            raise DataError(f"{', '.join(wrong)}: not of the {dataset} that is here")
        given = {**settings[system], "show_progress": progress}
        places = Path(folder), f"{system}-seed{{}}.pt", [run.seed for run in runs]
        everyone = np.array([run.test_ranks for run in runs])
        ranks = {ALL: everyone, AFTER: everyone[:, after]}
        ranks[TEMPORAL] = _trained_ranks(loaded[TEMPORAL], whole, given, *places)[:, after]
        if system in other_ties:
            ranks[REORDERED] = _trained_ranks(loaded[REORDERED], loaded[REORDERED], given, *places)
        rows += [{"system": system, "loss": runs[0].training["loss"], **row} for row in compared(ranks)]
    last, other = whole.offsets[1:] - 1, loaded[REORDERED].items
    own = np.diff(np.repeat(np.arange(whole.num_users), whole.lengths)) == 0
    return Protocols(
        rows=pd.DataFrame(rows),
        share=share,
        new_users=int((after & ~np.isin(whole.users, loaded[TEMPORAL].users)).sum()),
        ties=float((np.diff(times_of(whole)) == 0)[own].mean()),
        moved=float((whole.items[last] != other[last]).mean()),
    )


def _trained_ranks(
    view: Sequences, tested: Sequences, settings: Mapping[str, Any], folder: Path, name: str, seeds: Iterable[int]
) -> NDArray[np.int64]:
    """Return the ranks (seeds, users) of test targets of a system that is trained on a view; name: of its files."""
    ranks = []
    for seed in seeds:
        path = folder / view.name.replace(":", "-") / name.format(seed)
        model = load(train(dataset=view, out=path, seed=seed, resume=True, **settings).path)
        ranks.append(rank_targets(model, tested, "test").numpy())
    return np.stack(ranks)


def compared(ranks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `Protocols` of one system, without its name and loss.

    ranks: by protocol, (seeds, users); users are the same as those of the protocol's reference.

    >>> rows = compared({ALL: np.array([[1, 30]]), REORDERED: np.array([[3, 30]])})
    >>> [(row["users"], row["HR@20"], row["NDCG@20"], row["difference"]) for row in rows]
    [(2, 0.5, 0.5, nan), (2, 0.5, 0.25, -0.25)]
    """
    gained = {name: ndcg(torch.from_numpy(values), K).numpy() for name, values in ranks.items()}
    measured = {name: (values.mean(axis=1), means_of_samples(values)) for name, values in gained.items()}
    rows = []
    for name, values in ranks.items():
        low, high = difference(measured[name]).interval()
        reference = REFERENCE.get(name, "")
        found = difference(measured[name], measured[reference]) if reference else None
        nothing = (np.nan, np.nan)
        rows.append(
            {
                "protocol": name,
                "users": values.shape[1],
                "seeds": len(values),
                f"HR@{K}": float((values <= K).mean()),
                f"NDCG@{K}": float(gained[name].mean()),
                "low": low,
                "high": high,
                "reference": reference,
                "difference": found.estimate if found else np.nan,
                "difference_low": (found.interval() if found else nothing)[0],
                "difference_high": (found.interval() if found else nothing)[1],
                "knows_seeds": len(values) > 1,
            }
        )
    return rows
