"""What is measured: sequential recommenders, their data, training, evaluation and checkpoints.

`recommender` is the contract of all models, `registry` has them by name. They are in `architectures`, made of `layers`;
`training` and `evaluation` take the sequences of `datasets`. `checkpoint` writes and loads what was trained, through
`safe_load`, and third-party files with `third_party`; `results` is what runs leave for tables. The commands `train`,
`evaluate`, `compare` and `convert` begin with `command_line`, notebooks with `notebook`. Which way imports run says
tests/test_import_direction.py.
"""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # `models.load` without importing torch for those who only want `models.datasets`.
    if name == "load":
        from models.checkpoint import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
