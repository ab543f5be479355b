"""What is measured: sequential recommenders, their data, training, evaluation and checkpoints."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # `models.load` without importing torch for those who only want `models.datasets`.
    if name == "load":
        from models.checkpoint import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
