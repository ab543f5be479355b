"""Does a model do what its architecture promises?

`integrity(model, histories, frequency)` makes the checks of `CHECKS` and returns one `Check` for each. A check has a
verdict, a number, the places where the property fails, and a sentence. All are made on a copy of the model in float64,
so that rounding is not mistaken for an effect, except `finite`.

    causal               no output depends on a later item
    batch_independent    a user's outputs are the same alone and in any batch
    padding_independent  no output at a real position depends on padding
    order_sensitive      shuffling the history changes the ranking
    parameters_alive     every parameter has an effect
    layers_act           no layer is an identity within .1 dB, residual included
    rows_stochastic      rows of attention are averages
    finite               weights, states and scores are finite numbers
    popularity           how much of the scores follows from how often items occur; a value, no verdict
    last_item            how much of the scores follows from the last item; a value, no verdict

Every model promises those of `EVERY_MODEL`; `promises` of the architecture adds the others. The checks need a model
and nothing of `spectral`, so they are here, for `models.evaluate --integrity`; `spectral.integrity` is their command.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from models.datasets import Sequences
from models.errors import UserError
from models.integrity.causality import causal
from models.integrity.examined import Examined
from models.integrity.finding import Finding
from models.integrity.independence import batch_independent, padding_independent
from models.integrity.layers import finite, layers_act, rows_stochastic
from models.integrity.parameters import parameters_alive
from models.integrity.ranking import last_item, order_sensitive, popularity

CHECKS = (
    causal,
    batch_independent,
    padding_independent,
    order_sensitive,
    parameters_alive,
    layers_act,
    rows_stochastic,
    finite,
    popularity,
    last_item,
)
EVERY_MODEL = ("batch_independent", "order_sensitive", "parameters_alive", "layers_act", "rows_stochastic", "finite")


@dataclass(frozen=True)
class Check:
    """What a check found. Its fields, in this order, are the record of the check in JSON.

    Attributes:
        name: Of the check.
        claimed: Whether the architecture promises the property.
        passes: Whether the model has it; None if the check gives a value only, or could not be made.
        value: How much, as `meaning` says; None if there is no number.
        where: The places where it fails: pairs of positions, layers, or names of parameters.
        meaning: What was found, in a sentence.
    """

    name: str
    claimed: bool
    passes: bool | None
    value: float | None
    where: list[Any]
    meaning: str

    def record(self) -> dict[str, Any]:
        """Return the check for JSON."""
        return asdict(self)

    def places(self) -> str:
        """Return the first places where the check fails, in words; "" if there are none.

        >>> Check("causal", True, False, 1.0, [[0, 1], [0, 2], [1, 2]], "outputs change").places()
        '[0, 1], [0, 2], 1 more'
        """
        return ", ".join([*map(str, self.where[:2]), *([f"{len(self.where) - 2} more"] if self.where[2:] else [])])


def integrity(
    model: Any,
    histories: Tensor | None = None,
    frequency: Tensor | None = None,
    *,
    full: Tensor | None = None,
    seed: int = 0,
) -> list[Check]:
    """Make all checks of a model, in evaluation mode. What a check cannot do for this model, it says.

    Args:
        model: With `trace`, like `models.recommender.Recommender`.
        histories: (P, N) windows of users, padded with 0 on the left; without any, random items are used.
        full: Further windows of users, without padding.
        frequency: (num_items + 1,) how often each item occurs; None if it is not known.
        seed: Of the random items.

    Returns:
        One check for each of `CHECKS`, in this order.

    >>> from models.registry import build, configure
    >>> model = build(configure("bsarec", num_items=30, max_len=8, hidden_size=8))
    >>> model.initialise(seed=0)
    >>> checks = {check.name: check for check in integrity(model)}
    >>> checks["causal"].claimed, checks["causal"].passes  # BSARec's filter sees the whole window, as it says
    (False, False)
    >>> checks["batch_independent"].claimed, checks["batch_independent"].passes
    (True, True)
    """
    promised = {*EVERY_MODEL, *getattr(model, "promises", ())}
    training = model.training
    model.eval()
    try:
        examined = Examined.of(model, histories, frequency, full, seed)
        sound = bool(finite(examined).passes)
        found = {check.__name__: _made(check, examined, sound) for check in CHECKS}
    finally:
        model.train(training)
    if found["rows_stochastic"].passes is None:
        promised.remove("rows_stochastic")  # without attention there are no rows
    return [
        Check(name, name in promised, each.passes, each.value, each.where, each.meaning) for name, each in found.items()
    ]


def _made(check: Callable[[Examined], Finding], examined: Examined, sound: bool) -> Finding:
    if not sound and check is not finite:
        return Finding(None, None, "not checked, because not everything is finite")
    try:
        return check(examined)
    except UserError as error:
        return Finding(None, None, f"not checked: {error}")


def integrity_on(model: Any, sequences: Sequences, split: str = "test") -> list[Check]:
    """Make all checks of a model on the users of a dataset, with their inputs of a split; see `integrity`."""
    inputs = torch.from_numpy(sequences.windows(split, model.config.max_len, model.config.padding).inputs)
    histories = inputs[(inputs > 0).any(1)]
    frequency = item_frequency(torch.from_numpy(sequences.history(split)[0]), model.config.num_items)
    return integrity(model, histories, frequency)


def item_frequency(items: Tensor, num_items: int) -> Tensor:
    """Return how often each item occurs in windows (P, N) or a list of items, (num_items + 1,); padding counts 0.

    >>> item_frequency(torch.tensor([[0, 2, 1], [0, 0, 2]]), num_items=3)
    tensor([0, 1, 2, 0])
    """
    counts = torch.bincount(items.long().flatten(), minlength=num_items + 1)
    counts[0] = 0
    return counts


def verdict(checks: Sequence[Check]) -> str:
    """Return in a few words which promises a model breaks, and where.

    >>> kept = Check("finite", True, True, 0.0, [], "all are finite")
    >>> verdict([kept, Check("causal", True, False, 0.25, [[0, 3]], "outputs change")])
    'breaks: causal at [0, 3]'
    >>> verdict([kept, Check("causal", False, False, 0.25, [[0, 3]], "outputs change")])
    'keeps its promises'
    >>> verdict([Check("finite", True, None, None, [], "not checked")])
    'not checked: finite'
    """
    promised = [check for check in checks if check.claimed]
    broken = [
        check.name + (f" at {check.places()}" if check.where else "") for check in promised if check.passes is False
    ]
    open_ones = [check.name for check in promised if check.passes is None]
    parts = [f"breaks: {', '.join(broken)}"] if broken else []
    parts += [f"not checked: {', '.join(open_ones)}"] if open_ones else []
    return "; ".join(parts) or "keeps its promises"


def lines(checks: Sequence[Check]) -> list[str]:
    """Return a table of checks for people, a line each.

    >>> for line in lines([Check("causal", True, False, 0.25, [[0, 3]], "outputs change")]):
    ...     print(line)
    check   claimed  passes  value  where   meaning
    causal  yes      NO      0.25   [0, 3]  outputs change
    """
    head = ("check", "claimed", "passes", "value", "where", "meaning")
    rows = [head, *(_cells(check) for check in checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(check: Check) -> tuple[str, ...]:
    verdict = {True: "yes", False: "NO" if check.claimed else "no", None: "-"}[check.passes]
    value = "-" if check.value is None else f"{check.value:.3g}"
    return check.name, "yes" if check.claimed else "no", verdict, value, check.places() or "-", check.meaning
