"""Null models: what a measure says where there is nothing to find, so that a number has a scale.

    uniform      the same model with every attention map replaced by the uniform one under the same mask: what the mask,
                 the residuals and the other layers do, without any choice of what to attend to;
    untrained    the same architecture with initial weights, several seeds: what is there before training;
    shuffled     the same model on the same users, the items of each window in random order, several draws: what the
                 order of the items does.

Which null goes with which measure, and why, is a table in docs/nulls.md. Matrices have one more, simulated Gaussian
ones (`spectral.singular_values`).

Contents: `under_nulls`, which takes a measure of each null model, and `beside_nulls`, which does so for several models;
`null_models`, the null models themselves; `shuffled`; and `with_null_columns`, `tables_of_draws`, `table_with_nulls`
and `tables_with_nulls`, which put the results beside a table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from models.errors import ConfigError, did_you_mean
from models.registry import KNOWN
from spectral.choices import DRAWS, NULLS
from spectral.tables import stacked

if TYPE_CHECKING:
    from pandas import DataFrame


Result = TypeVar("Result")


def under_nulls(
    measure: Callable[[Any, Tensor], Result],
    model: Any,
    windows: Tensor,
    names: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, list[Result]]:
    """Return a measure of each null model, by the null's name: one result, or one for each draw of a random null.

    measure: takes a model and its windows (P, N). names: some of `NULLS`, or "all" for those that the model has. The
    other arguments and the errors are those of `null_models`.

    Example:
        Uniform attention under a causal mask damps the fastest of four positions' waves by 5.6 dB, in every layer:

        >>> from models.registry import build, configure
        >>> from spectral import FrequencyResponse, capture
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8))
        >>> model.initialise(seed=0)
        >>> def measure(model, windows):
        ...     return FrequencyResponse.from_captures(capture(model, windows, hidden=False))
        >>> found = under_nulls(measure, model, torch.tensor([[5, 6, 7, 8]]), ["uniform", "untrained"], draws=2)
        >>> {name: len(results) for name, results in found.items()}
        {'uniform': 1, 'untrained': 2}
        >>> found["uniform"][0].gain_db[:, 0, -1].round(1)
        array([-5.6, -5.6])
    """
    return {
        name: [measure(other, inputs) for other, inputs in null_models(name, model, windows, draws, seed)]
        for name in (nulls_of(model) if "all" in names else dict.fromkeys(names))
    }


def beside_nulls(
    measure: Callable[[Any, Tensor], Result],
    models: Mapping[str, Any],
    windows: Mapping[str, Tensor],
    names: Sequence[str],
    draws: int = DRAWS,
) -> tuple[dict[str, Result], dict[str, dict[str, list[Result]]]]:
    """Return a measure of several models, and of the null models that each of them has, by the models' names.

    models, windows: by name. The other arguments and the errors are those of `under_nulls`.

    Example:
        >>> from models.registry import build, configure
        >>> models = {name: build(configure(name, num_items=20, max_len=4)) for name in ("sasrec", "gru4rec")}
        >>> windows = dict.fromkeys(models, torch.tensor([[5, 6, 7, 8]]))
        >>> measured, of_nulls = beside_nulls(lambda model, inputs: model.title, models, windows, ["uniform"])
        >>> measured, of_nulls
        ({'sasrec': 'SASRec', 'gru4rec': 'GRU4Rec'}, {'sasrec': {'uniform': ['SASRec']}, 'gru4rec': {}})
    """
    check_nulls(names)
    measured = {name: measure(model, windows[name]) for name, model in models.items()}
    asked = {name: [null for null in nulls_of(model) if {null, "all"} & set(names)] for name, model in models.items()}
    of_nulls = {name: under_nulls(measure, model, windows[name], asked[name], draws) for name, model in models.items()}
    return measured, of_nulls


def nulls_of(model: Any) -> tuple[str, ...]:
    """Return the nulls that a model has: uniform attention needs attention, initial weights a known architecture.

    Example:
        >>> from models.registry import build, configure
        >>> nulls_of(build(configure("gru4rec", num_items=20)))
        ('untrained', 'shuffled')
    """
    has = {"uniform": model.has_replaceable_attention, "untrained": _is_known(model), "shuffled": True}
    return tuple(name for name in NULLS if has[name])


def check_nulls(names: Sequence[str]) -> None:
    """Raise ConfigError unless all names are nulls or "all"."""
    if unknown := [name for name in names if name not in (*NULLS, "all")]:
        near = did_you_mean(unknown[0], (*NULLS, "all"))
        raise ConfigError(f"unknown null model {unknown[0]!r}; choose from all, {', '.join(NULLS)}{near}")


def null_models(
    name: str, model: Any, windows: Tensor, draws: int = DRAWS, seed: int = 0
) -> Iterator[tuple[Any, Tensor]]:
    """Yield the null models of a name, each with the windows (P, N) that it is measured on.

    name: one of `NULLS`. model: a `models.recommender.Recommender`. draws: number of untrained models or of shuffled
    histories. seed: of the first draw; the others follow.

    Raises ConfigError for an unknown name, fewer than one draw, or a model without attention that could be replaced.
    """
    if draws < 1:
        raise ConfigError(f"at least one draw is needed, got {draws}")
    if name == "uniform":
        yield model.with_uniform_attention(), windows
    elif name == "untrained":
        for draw in range(seed, seed + draws):
            yield _untrained(model, draw), windows
    elif name == "shuffled":
        for draw in range(seed, seed + draws):
            yield model, shuffled(windows, draw)
    else:
        raise ConfigError(f"unknown null model {name!r}; choose from {', '.join(NULLS)}")


def shuffled(windows: Tensor, seed: int = 0) -> Tensor:
    """Return windows (P, N) with the items of each in random order; padding, 0 on the left, stays where it is.

    Example:
        >>> shuffled(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]])).sort(1).values
        tensor([[0, 0, 1, 3],
                [5, 6, 7, 8]])
    """
    place = torch.rand(windows.shape, generator=torch.Generator().manual_seed(seed))
    order = place.masked_fill(windows.cpu() == 0, -1).argsort(dim=1, stable=True)
    return windows.gather(1, order.to(windows.device))


def with_null_columns(
    table: "DataFrame", nulls: "Mapping[str, Sequence[DataFrame]]", keys: Sequence[str], values: Sequence[str]
) -> "DataFrame":
    """Return a table with columns for each null: `<value>_<null>`, and for several draws also its `_low` and `_high`.

    nulls: the tables of the draws of each null, by its name. keys: the columns that say which rows belong together.
    values: the columns to add. Of several draws, the first is their mean, the others their smallest and largest value.

    Example:
        >>> import pandas as pd
        >>> measured, draws = pd.DataFrame({"layer": [1], "rank": [5.0]}), [pd.DataFrame({"layer": [1], "rank": [7.0]})]
        >>> with_null_columns(measured, {"uniform": draws}, ["layer"], ["rank"]).to_dict("records")
        [{'layer': 1, 'rank': 5.0, 'rank_uniform': 7.0}]
    """
    import pandas as pd

    for name, draws in nulls.items():
        together = pd.concat([draw[[*keys, *values]] for draw in draws]).groupby(list(keys), sort=False)
        means = together.mean().add_suffix(f"_{name}")
        if len(draws) > 1:
            ends = {"low": together.min(), "high": together.max()}
            means = means.join([end.add_suffix(f"_{name}_{which}") for which, end in ends.items()])
        table = table.merge(means.reset_index(), on=list(keys), how="left")
    return table


def tables_of_draws(of_nulls: "Mapping[str, Sequence[Any]]") -> "dict[str, list[DataFrame]]":
    """Return the table of each draw of each null, by its name, as `with_null_columns` takes them.

    Example:
        >>> tables_of_draws({"uniform": []})
        {'uniform': []}
    """
    return {null: [draw.table() for draw in draws] for null, draws in of_nulls.items()}


def table_with_nulls(
    measured: Any, of_nulls: "Mapping[str, Sequence[Any]]", keys: Sequence[str], values: Sequence[str]
) -> "DataFrame":
    """Return the table of a result with columns for its null models; see `with_null_columns`."""
    return with_null_columns(measured.table(), tables_of_draws(of_nulls), keys, values)


def tables_with_nulls(
    measured: Mapping[str, Any],
    of_nulls: Mapping[str, Mapping[str, Sequence[Any]]],
    keys: Sequence[str],
    values: Sequence[str],
) -> "DataFrame":
    """Return what `beside_nulls` measured as one table, with a first column `model`; see `table_with_nulls`."""
    return stacked({name: table_with_nulls(result, of_nulls[name], keys, values) for name, result in measured.items()})


def _is_known(model: Any) -> bool:
    """Return whether a model is of the class known by its name; other people call their classes SASRec, too."""
    return type(model) is KNOWN.get(model.name)


def _untrained(model: Any, seed: int) -> Any:
    """Return a model of the same architecture with the weights that training would begin with.

    Raises ConfigError for a model whose architecture is not known.
    """
    if not _is_known(model):
        raise ConfigError(f"{model.title} is not made here, so its initial weights are not known")
    other = KNOWN[model.name](replace(model.config))
    other.initialise(seed)
    return other.to(next(model.parameters()).device).eval()
