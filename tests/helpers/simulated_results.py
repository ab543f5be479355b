"""Results of runs whose ranks are drawn, not trained for."""

from dataclasses import asdict

import numpy as np
import torch

from models.evaluation import summarise
from models.registry import configure
from models.results.runs import Origin, Result

USERS = 60


def result(model: str, seed: int, quality: float, **settings: object) -> Result:
    """A run whose ranks are drawn around a quality; the same seed draws the same users' luck."""
    luck = np.random.default_rng(seed).exponential(quality, USERS)
    ranks = np.minimum(1 + luck, 51).astype(int).tolist()
    training = {"loss": "ce", "epochs": 9, "batch_size": 8, "learning_rate": 0.001, "patience": 3, "seed": seed}
    return Result(
        model=model,
        config=asdict(configure(model, 50, USERS, hidden_size=8, **settings)),
        training=training,
        dataset={"name": "somewhere", "fingerprint": "f", "num_users": USERS, "num_items": 50},
        versions={},
        parameters=100,
        best_epoch=3,
        epochs=7,
        seconds_per_epoch=2.0,
        valid=summarise(torch.tensor(ranks)),
        test=summarise(torch.tensor(ranks)),
        sampled=None,
        origin=Origin("abc", 1, "a processor", 14.0),
        test_ranks=ranks,
    )


RUNS = [result(model, seed, quality) for model, quality in (("sasrec", 20), ("bsarec", 8)) for seed in (1, 2, 3)]
