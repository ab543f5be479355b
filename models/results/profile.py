"""The systems of a sensitivity figure: a model whose best setting is replaced by others, one setting at a time.

This module is light to import, for the workflow names its targets with it.
"""

from collections.abc import Iterable

MODEL = "bsarec"
SETTINGS = ("alpha", "c")


def system(setting: str, value: float, model: str = MODEL) -> str:
    """Return the name of the runs of the model with another value of a setting: bsarec-alpha0.1, bsarec-c5."""
    return f"{model}-{setting}{value:g}"


def systems(setting: str, values: Iterable[float], own: float, model: str = MODEL) -> dict[float, str]:
    """Return the system of each value, ascending, the model's own value among them.

    With its own value a system is the model itself, so that it is not trained twice.
    """
    return {value: model if value == own else system(setting, value, model) for value in sorted({*values, own})}
