"""How alike the representations of users are in two layers, of one model or of two: linear CKA.

X (n, D) and Y (n, D') have one row for each of the same n users. With the mean row removed from both,

    CKA(X, Y) = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F),    0 to 1.

It is 1 if Y is a rotation and scaling of X, and it compares spaces of different sizes. For few users or many dimensions
it is large even if X and Y have nothing to do with each other. `by_chance` says how large: the mean of CKA over all
ways to match the rows of X with those of Y, tr(X^T X) tr(Y^T Y) / ((n - 1) ||X^T X||_F ||Y^T Y||_F), exactly.

A layer in which all users are equal has no CKA: it is NaN if what differs between users is less than a millionth of
their norm. So is BERT4Rec's embedding output at the last position, which is the mask token for every user.

The sums are D x D matrices for each pair of layers, added up in float64 batch by batch. Half
precision is widened to float64 as well.

Contents: `linear_cka` for two matrices; `LinearCKA`, for all pairs of layers of some models; and the sums that it
follows from, `CrossGram`.

Source: Kornblith, Norouzi, Lee and Hinton, ICML 2019, "Similarity of neural network representations revisited".
`by_chance` is our addition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ConfigError
from spectral.arrays import as_rows, check_finite
from spectral.capture import Capture
from spectral.pooling import Pooling, pooled
from spectral.result import Result
from spectral.sums import CONSTANT, Sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Array = NDArray[np.float64]

SMALLEST = 1e-12  # of the energy of users must be in their differences


@dataclass(frozen=True, eq=False)
class LinearCKA(Result):
    """Linear CKA of all pairs of layers.

    Attributes:
        layers: R of (model, layer); layer 0 is the embedding output.
        cka: (R, R), symmetric, 1 on the diagonal; NaN for a layer in which all users are equal.
        by_chance: (R, R), the mean of CKA over all ways to match users at random.
        users: Number of users.

    Example:
        A layer that turns and doubles the users' states does not change what CKA sees:

        >>> before = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 3.0]]])  # (B, N, D)
        >>> captured = Capture((before, 2 * before.flip(-1)), (), torch.ones(3, 1, dtype=torch.bool))
        >>> LinearCKA.from_captures({"mine": [captured]}).cka.round(3)
        array([[1., 1.],
               [1., 1.]])
    """

    layers: tuple[tuple[str, int], ...]
    cka: Array
    by_chance: Array
    users: int

    @classmethod
    def from_captures(cls, captures: Mapping[str, Iterable[Capture]], pooling: Pooling = "last") -> "LinearCKA":
        """Measure all pairs of layers of some models, given by name, on the same users in the same batches.

        pooling: the state of a user, see `spectral.pooling`.

        Raises ValueError if there are fewer than two users or no hidden states, or if the models have different users.
        """
        sums: CrossGram | None = None
        layers: list[tuple[str, int]] = []
        for batch in zip(*captures.values(), strict=True):
            states = {
                (name, layer): pooled(hidden, captured.mask, pooling)
                for name, captured in zip(captures, batch, strict=True)
                for layer, hidden in captured.hidden_layers.items()
            }
            layers = list(states)
            added = cross_gram(list(states.values()))
            sums = added if sums is None else sums + added
        if sums is None:
            raise ValueError("there are no hidden states to measure")
        return sums.result(layers)

    def between(self, model: str, other: str) -> Array:
        """Return the CKA of the layers of a model (rows) with those of another (columns), or with its own.

        Raises ValueError for a model that was not measured.
        """
        rows, columns = (
            [row for row, (measured, _) in enumerate(self.layers) if measured == name] for name in (model, other)
        )
        if not rows or not columns:
            known = ", ".join(dict.fromkeys(name for name, _ in self.layers))
            raise ValueError(f"there is no {model if not rows else other!r}; measured were {known}")
        return self.cka[np.ix_(rows, columns)]

    def table(self) -> "DataFrame":
        """Return one row per pair of layers, the second after the first or equal to it."""
        import pandas as pd

        first, second = np.triu_indices(len(self.layers))
        return pd.DataFrame(
            {
                "model": [self.layers[row][0] for row in first],
                "layer": [self.layers[row][1] for row in first],
                "other_model": [self.layers[row][0] for row in second],
                "other_layer": [self.layers[row][1] for row in second],
                "cka": self.cka[first, second],
                "by_chance": self.by_chance[first, second],
                "users": self.users,
            }
        )

    def plot(self, ax: "Axes | None" = None, *, model: str | None = None, other: str | None = None) -> "Axes | Figure":
        """Draw a map for each model and each pair of models, or one: of a model with itself or with another.

        Raises ConfigError for a given `ax` if there are several models and none is named.
        """
        from spectral import plot

        if ax is None and model is None:
            return plot.cka_panels(self)
        names = list(dict.fromkeys(name for name, _ in self.layers))
        if model is None and len(names) > 1:
            raise ConfigError(
                f"CKA of {', '.join(names)} has several maps; name one, as in plot(ax, model={names[0]!r})"
            )
        return plot.cka(self, model or names[0], other, ax=ax)

    def summary(self) -> list[dict[str, Any]]:
        """Return one record per pair of different layers."""
        table = self.table().drop(columns="users")
        same = (table["model"] == table["other_model"]) & (table["layer"] == table["other_layer"])
        records: list[dict[str, Any]] = table[~same].to_dict("records")
        return records


@dataclass(frozen=True, eq=False)
class CrossGram(Sums):
    """The sums of matrices X_1, ..., X_R (n, D_r), side by side (n, S), from which their CKA follows.

    Attributes:
        products: (S, S) float64.
        total: (S,) float64, the sum of the rows.
        users: n.
        sizes: D_1, ..., D_R.

    Example:
        >>> both = cross_gram([[[3.0]], [[1.0, 0.0]]]) + cross_gram([[[5.0]], [[0.0, 2.0]]])
        >>> both.result([("mine", 0), ("mine", 1)]).cka.round(3)
        array([[1., 1.],
               [1., 1.]])
    """

    addends = "rows of equally many columns"

    products: Tensor
    total: Tensor
    users: int
    sizes: tuple[int, ...] = field(metadata=CONSTANT)

    def result(self, layers: Sequence[tuple[str, int]] | None = None) -> LinearCKA:
        """Return the CKA of all pairs. layers: names of the matrices; by default layers of one model, from 0.

        Raises ValueError for fewer than two rows, or numbers that are not finite.
        """
        n = self.users
        if n < 2:
            raise ValueError(f"CKA needs at least 2 users, got {n}")
        products = check_finite(self.products, "hidden states")
        centered = products - torch.outer(self.total, self.total) / n
        ends = [0, *np.cumsum(self.sizes).tolist()]
        spans = [slice(start, stop) for start, stop in pairwise(ends)]
        inner = torch.tensor(
            [[float(centered[a, b].square().sum()) for b in spans] for a in spans], dtype=torch.float64
        )
        traces = torch.tensor([float(centered[span, span].trace()) for span in spans], dtype=torch.float64)
        whole = torch.tensor([float(products[span, span].trace()) for span in spans], dtype=torch.float64)
        norms = torch.where(traces > SMALLEST * whole, inner.diagonal().sqrt(), torch.nan)
        scale = torch.outer(norms, norms)
        return LinearCKA(
            layers=tuple(layers or [("", layer) for layer in range(len(spans))]),
            cka=(inner / scale).numpy(),
            by_chance=(torch.outer(traces, traces) / (n - 1) / scale).numpy(),
            users=n,
        )


def linear_cka(x: Any, y: Any) -> float:
    """Return the linear CKA of matrices (n, D) and (n, D') with a row for each of the same n users, 0 to 1.

    NaN if all users are equal in one of them. Raises ValueError for another shape, different n, fewer than two users,
    or numbers that are not finite.

    Source: Kornblith et al., ICML 2019, equation for linear CKA.

    Example:
        A matrix and a rotation of it; then two users' features that have nothing in common:

        >>> x = [[1.0, 0.0], [0.0, 1.0], [-1.0, 3.0]]
        >>> round(linear_cka(x, [[0.0, 2.0], [2.0, 0.0], [6.0, -2.0]]), 3)
        1.0
        >>> linear_cka([[1.0], [1.0], [-1.0], [-1.0]], [[1.0], [-1.0], [1.0], [-1.0]])
        0.0
    """
    return float(cross_gram([x, y]).result().cka[0, 1])


def cross_gram(states: Sequence[Any]) -> CrossGram:
    """Return the sums of matrices (n, D_r) with a row for each of the same n users.

    Raises ValueError for no matrices, another shape or different n.

    Example:
        >>> cross_gram([torch.ones(5, 2), torch.ones(5, 3)]).products.shape
        torch.Size([5, 5])
    """
    rows = [as_rows(x) for x in states]
    if not rows:
        raise ValueError("there are no hidden states to measure")
    if len({len(x) for x in rows}) > 1:
        raise ValueError(f"expected the same users in every layer, got {[len(x) for x in rows]} of them")
    side_by_side = torch.cat(rows, dim=1)
    sizes = tuple(x.shape[1] for x in rows)
    return CrossGram(side_by_side.T @ side_by_side, side_by_side.sum(0), len(side_by_side), sizes)
