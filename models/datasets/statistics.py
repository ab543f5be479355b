"""The numbers that describe datasets."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from models.datasets.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd


def describe_sequences(sequences: Sequences, max_len: int) -> dict[str, Any]:
    """Return the numbers that describe a dataset, with the keys of the JSON output.

    `training_samples` are the prefixes at window length N; `full_windows` is the share of users whose test
    input has N real items, in [0, 1].
    """
    lengths = sequences.lengths
    return {
        "name": sequences.name,
        "users": sequences.num_users,
        "items": sequences.num_items,
        "interactions": sequences.num_interactions,
        "skipped_users": sequences.skipped,
        "length": {
            "min": int(lengths.min()),
            "mean": float(lengths.mean()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "density": sequences.density,
        "max_len": max_len,
        "training_samples": int(np.minimum(lengths - 2, max_len).sum()),
        "full_windows": float((lengths > max_len).mean()),
        "fingerprint": sequences.fingerprint,
    }


def statistics_table(datasets: Iterable[Sequences], max_len: int = 50) -> "pd.DataFrame":
    """Return a table of one row per dataset: name, users, items, interactions, lengths, density, samples at N."""
    import pandas as pd  # slow to import, and not needed to describe a single one

    rows = []
    for sequences in datasets:
        row = describe_sequences(sequences, max_len)
        lengths = {f"{key}_length": value for key, value in row.pop("length").items()}
        rows.append({key: value for key, value in row.items() if key != "fingerprint"} | lengths)
    return pd.DataFrame(rows)
