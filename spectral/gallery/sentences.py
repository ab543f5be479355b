"""Numbers of models in sentences about figures."""

from collections.abc import Iterable, Mapping

from spectral.palette import title_of


def listing(
    numbers: Mapping[str, float | Iterable[float]], form: str = ".1f", unit: str = "", between: str = ", "
) -> str:
    """Return the numbers of models as part of a sentence.

    Args:
        numbers: One or several numbers for each name. Names of known models are replaced by their titles.
        form: The format of a number, as in `format`.
        unit: Text after the numbers of a model.
        between: Text between the numbers of one model. If it is a comma, models are separated by semicolons.

    Example:
        >>> listing({"sasrec": [-15.71, -13.8], "bsarec": [-15.02, -15.1]}, unit=" dB")
        'SASRec -15.7, -13.8 dB; BSARec -15.0, -15.1 dB'
        >>> listing({"sasrec": 0.08, "my model": 0.1}, form=".2f")
        'SASRec 0.08, my model 0.10'
        >>> listing({"sasrec": [0.1, 0.3]}, form=".1f", between=" to ")
        'SASRec 0.1 to 0.3'
    """
    several = {name: list(values) if isinstance(values, Iterable) else [values] for name, values in numbers.items()}
    with_commas = between == ", " and any(len(values) > 1 for values in several.values())
    return ("; " if with_commas else ", ").join(
        f"{title_of(name)} {between.join(format(value, form) for value in values)}{unit}"
        for name, values in several.items()
    )


def runs_by_seeds(runs: Mapping[str, Iterable[int]]) -> str:
    """Return which systems have which seeds, those with the same seeds together.

    Example:
        >>> runs_by_seeds({"sasrec": [42, 43], "bsarec": [42, 43]})
        'sasrec, bsarec · seeds 42, 43'
        >>> runs_by_seeds({"sasrec": [42, 43], "bsarec": [42, 43], "sasrec-8": [42], "third-party": []})
        'sasrec, bsarec · seeds 42, 43; sasrec-8 · seed 42; third-party · seed unknown'
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for system, seeds in runs.items():
        groups.setdefault(tuple(seeds), []).append(system)
    said = []
    for seeds, systems in groups.items():
        of = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds)) or 'unknown'}"
        said.append(f"{', '.join(systems)} · {of}")
    return "; ".join(said)
