"""Sequential recommenders: their data, training, evaluation and checkpoints.

`recommender` is the interface of all models, and `registry` lists them by name. The models are in `architectures` and
are made of `layers`. `training` and `evaluation` work on the sequences of `datasets`. `checkpoint` saves and loads
trained models; it reads files with `safe_load` and opens third-party files with `third_party`. `results` makes tables
of finished runs. The commands are `train`, `evaluate`, `compare`, `convert` and `remaining`; they share `command_line`,
and notebooks share `notebook`. tests/test_import_direction.py says which module may import which.
"""

from typing import Any

__all__ = ["load", "register"]


def __getattr__(name: str) -> Any:
    # `models.load` without importing torch for those who only want `models.datasets`.
    if name == "load":
        from models.checkpoint import load

        return load
    if name == "register":
        from models.registry import register

        return register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
