"""Numbers of models in the sentences beside figures."""

from collections.abc import Iterable, Mapping

from spectral.palette import MODEL_NAMES


def listing(
    numbers: Mapping[str, float | Iterable[float]], form: str = ".1f", unit: str = "", between: str = ", "
) -> str:
    """Return numbers by model in words: "SASRec -15.7, -13.8 dB; BSARec -15.0, -15.1 dB".

    Args:
        numbers: One or several of each model; models by their name, others as they are called.
        form: How a number is written, as of `format`.
        unit: What follows the numbers of a model.
        between: What stands between numbers of one model; models are told apart by a semicolon where that is a comma.
    """
    several = {name: list(values) if isinstance(values, Iterable) else [values] for name, values in numbers.items()}
    with_commas = between == ", " and any(len(values) > 1 for values in several.values())
    return ("; " if with_commas else ", ").join(
        f"{MODEL_NAMES.get(name, name)} {between.join(format(value, form) for value in values)}{unit}"
        for name, values in several.items()
    )
