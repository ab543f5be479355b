"""Packages whose names are imported when they are first used, so that a command starts without torch."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily_from(module: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package that has the names of a module in it.

    The module is imported when one of its names is first asked for.

    >>> get, names = lazily_from("spectral.smoothing.measure")
    >>> get("Smoothing").__name__, "Smoothing" in names()
    ('Smoothing', True)
    """
    package = module.rpartition(".")[0]

    def public() -> list[str]:
        return [name for name in vars(import_module(module)) if not name.startswith("_")]

    def get(name: str) -> Any:
        if name == "__all__":  # from package import *
            return public()
        if not name.startswith("__"):
            found = vars(import_module(module))
            if name in found:
                return found[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, public
