"""How the runs of a system were trained: columns that every table of systems has."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.registry import MODELS
from models.results.runs import Result
from models.results.tables import CAPPED, FIRST_EPOCH

HEAD = ("loss", "heads", "seeds", "epochs (best)")


def described(runs: Sequence[Result]) -> dict[str, Any]:
    """Return what the runs of one system have in common, and how they ended.

    Keys: model, loss, heads (None without attention), seeds (as text), n (number of seeds), epochs and best_epoch
    (means, epochs counted from 1), capped (seeds of the runs that the limit of epochs ended, before early stopping
    could), first_epoch (seeds of those whose best epoch was the first), parameters, sources.
    """
    return {
        "model": runs[0].model,
        "loss": runs[0].training["loss"],
        "heads": runs[0].config.get("num_heads"),
        "seeds": " ".join(str(run.seed) for run in runs),
        "n": len(runs),
        "epochs": float(np.mean([run.epochs for run in runs])),
        "best_epoch": float(np.mean([run.best_epoch + 1 for run in runs])),
        "capped": " ".join(str(run.seed) for run in runs if run.was_capped),
        "first_epoch": " ".join(str(run.seed) for run in runs if run.best_epoch == 0),
        "parameters": runs[0].parameters,
        "sources": " ".join(run.source for run in runs),
    }


def named(system: Any) -> str:
    """Return the name of a system with its marks; system: a row of a table, with the columns of `described`."""
    marks = [mark for mark, seeds in ((FIRST_EPOCH, system.first_epoch), (CAPPED, system.capped)) if seeds]
    return " ".join([system.system, *marks])


def cells(system: Any) -> list[str]:
    """Return the cells below HEAD for a system, a row as in `named`."""
    heads = "–" if system.heads is None or np.isnan(system.heads) else f"{system.heads:.0f}"
    return [system.loss, heads, str(system.n), f"{system.epochs:.0f} ({system.best_epoch:.0f})"]


def losses(systems: Mapping[str, Sequence[str]]) -> str:
    """Return a sentence about the losses of systems; for each loss, the systems that are trained with it.

    >>> losses({"ce": ["BSARec"], "bce": ["SASRec"]})
    'The losses differ: ce BSARec; bce SASRec.'
    >>> losses({"ce": ["BSARec", "DuoRec"]})
    'All are trained with the loss ce.'
    """
    if len(systems) == 1:
        return f"All are trained with the loss {next(iter(systems))}."
    listed = [f"{loss} {', '.join(names)}" for loss, names in systems.items()]
    return f"The losses differ: {'; '.join(listed)}."


def is_as_published(run: Result) -> bool:
    """Return whether a run has the loss with which its model was published."""
    return bool(run.training["loss"] == MODELS[run.model].published_loss)
