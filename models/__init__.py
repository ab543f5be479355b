"""Sequential recommenders: their data, training, evaluation and checkpoints.

`recommender` is the interface of all models, and `registry` lists them by name. The models are in `architectures` and
are made of `layers`. `training` and `evaluation` work on the sequences of `datasets`. `checkpoint` saves and loads
trained models; it reads files with `safe_load` and opens third-party files with `third_party`. `results` makes tables
of finished runs. The commands are `train`, `evaluate`, `compare`, `convert` and `remaining`; they share `command_line`,
and notebooks share `notebook`. tests/test_import_direction.py says which module may import which.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.checkpoint import load
    from models.registry import register

# `models.load` without importing torch for those who only want `models.datasets`.
_PLACES = {"load": "models.checkpoint", "register": "models.registry"}
__all__ = ["load", "register"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from models.installation import installed_version

        return installed_version()
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
