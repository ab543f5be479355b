"""What the result of every measure can do in Python: show itself as a table or a picture, and write both to files.

A result says what its table and its picture are, in `table()` and `plot()`; the rest follows from them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from html import escape
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from spectral.choices import FORMATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

MOST_ROWS, MOST_COLUMNS = 10, 12  # of a table that a notebook shows
UNNAMED = "model"  # how pictures call the model of a result without a label

Nulls = Mapping[str, Sequence[Any]]  # by the null's name, the result of each of its draws
T = TypeVar("T")


class Result(ABC):
    """The result of a measure.

    Attributes:
        label: How pictures and notebooks call the model; see `labelled`.
        KEYS: Columns of the table that say which rows of null models belong to a row.
        VALUES: Columns of the table that null models have as well.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> from spectral import smoothing
        >>> measured = smoothing(torch.ones(1, 4, 2)).labelled("SASRec")
        >>> float(measured.table()["dc_share"].iloc[0])  # a constant sequence
        1.0
        >>> measured.plot(measure="dc_share").get_ylabel()
        'DC / total energy'
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in measured.save(f"{folder}/smoothing")]
        ['smoothing.png', 'smoothing.pdf', 'smoothing.csv']
    """

    label: str = ""
    KEYS: ClassVar[Sequence[str]] = ()
    VALUES: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def table(self) -> "DataFrame":
        """Return the numbers as a tidy table."""

    @abstractmethod
    def plot(self, *args: Any, **options: Any) -> "Axes | Figure":
        """Draw the result.

        Without `ax` it is drawn on a new figure: the Axes are returned, or the Figure if it has several panels. With
        `ax` one panel is drawn there, and the Axes are returned; a result that no single Axes can hold raises
        ConfigError.
        """

    def labelled(self, label: str) -> Self:
        """Return the same result with a name of its model, which pictures and notebooks show."""
        result = copy(self)
        object.__setattr__(result, "label", label)  # results are frozen, and a label is no part of what was measured
        return result

    def table_of_files(self, nulls: Nulls | None = None) -> "DataFrame":
        """Return the table that `save` writes: that of the result, with columns for null models."""
        from spectral.nulls import table_with_nulls

        return table_with_nulls(self, nulls or {}, self.KEYS, self.VALUES)

    def save(
        self,
        stem: str | Path,
        formats: Sequence[str] = FORMATS,
        nulls: Nulls | None = None,
    ) -> list[Path]:
        """Write the picture to `stem`.png and `stem`.pdf and the table to `stem`.csv, and return the paths.

        formats: which of the three. nulls: the results of null models, by name one for each draw, for measures that
        have them. A file that this program did not write is not replaced: raises OutputError, and ConfigError for
        another format.
        """
        from spectral import plot

        drawn = self.plot(nulls=nulls) if nulls else self.plot()
        return plot.save(figure_of(drawn), stem, self.table_of_files(nulls), formats)

    def _repr_html_(self) -> str:
        """Return the first rows of the table with a caption, as notebooks show a result."""
        table = self.table()
        what = (getdoc(type(self)) or "").partition("\n")[0].rstrip(".:")
        name = " of ".join(filter(None, [type(self).__name__, self.label]))
        rows = f"the first {MOST_ROWS} of {len(table):,} rows" if len(table) > MOST_ROWS else f"{len(table)} rows"
        html = table.head(MOST_ROWS).to_html(
            index=False, border=0, float_format="{:.4g}".format, na_rep="-", max_cols=MOST_COLUMNS
        )
        head, end, body = html.partition(">")
        return f"{head}{end}<caption>{escape(f'{name}: {what} ({rows})')}</caption>{body}"

    def _by_label(self, of_model: T) -> dict[str, T]:
        """Return something of this model by its label, as pictures of several models take it."""
        return {self.label or UNNAMED: of_model}


def figure_of(drawn: "Axes | Figure") -> "Figure | SubFigure":
    """Return the figure of what `plot` returned.

    Example:
        >>> import torch
        >>> from spectral import smoothing
        >>> len(figure_of(smoothing(torch.ones(1, 4, 2)).plot()).axes)
        6
    """
    from matplotlib.figure import Figure

    return drawn if isinstance(drawn, Figure) else drawn.figure
