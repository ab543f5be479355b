"""What the command lines of the measures share: options, the checkpoint with its users, and output files."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray

from models.choices import SPLITS
from models.command_line import AdapterOption, check_device, inform
from models.errors import ConfigError, DataError, check_choice
from models.files import check_replaceable
from spectral.choices import BATCH_SIZE, DRAWS, FORMATS, NULLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame
    from torch import Tensor

    from spectral.capture import Capture
    from spectral.result import Result

R = TypeVar("R")
ALL_FORMATS = ",".join(FORMATS)

CheckpointArgument = Annotated[
    Path, typer.Argument(help="Checkpoint that models.train wrote, or a third-party one.", metavar="CHECKPOINT")
]
NullOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="all|uniform|untrained|shuffled",
        help="Also measure this null model: uniform attention, initial weights, shuffled histories; may be repeated.",
        show_default="none",
    ),
]
DrawsOption = Annotated[int, typer.Option(min=1, help="Untrained models, or shuffled histories, of each null.")]
ModelSettings = dict[str, Any]  # models.command_line.run makes options for third-party checkpoints of it
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME_OR_FILE",
        help="Dataset to take the users from, by name or file.",
        show_default="the users kept in the checkpoint",
    ),
]
SplitOption = Annotated[
    str, typer.Option(help="Whose inputs: test, valid or train; other than test reads the dataset.")
]
MaxUsersOption = Annotated[
    int | None, typer.Option(min=1, metavar="K", help="Use the first K users only.", show_default="all")
]
LengthOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="n",
        help="Use the users with exactly n real items, on these n positions.",
        show_default="any number",
    ),
]
FormatOption = Annotated[str, typer.Option(help="Files to write: some of png, pdf, csv, separated by commas.")]
OutOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where to write.", show_default="beside the checkpoint")
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Users at a time; changes memory and speed only.")]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Look for the datasets' files here first, then in $SPECTRAL_DATA_DIR.",
        show_default="none",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
COption = Annotated[
    int | None,
    typer.Option(
        metavar="c",
        help="Modes that count as low frequency; odd. Also BSARec's c, for a "
        "third-party checkpoint that does not store it.",
        show_default="3; for theorem1: 1",
    ),
]


@dataclass(frozen=True)
class Users:
    """The options that choose the users to measure."""

    data: DataOption = None
    split: SplitOption = "test"
    max_users: MaxUsersOption = None


@dataclass(frozen=True)
class Files:
    """The options for the output of results."""

    out: OutOption = None
    format: FormatOption = ALL_FORMATS
    json: JsonOption = False


@dataclass(frozen=True)
class Loading:
    """The options for reading checkpoints and datasets, and for the device."""

    device: DeviceOption = "cpu"
    batch_size: BatchSizeOption = BATCH_SIZE
    data_dir: DataDirOption = None
    adapter: AdapterOption = None
    settings: ModelSettings = field(default_factory=dict)


@dataclass(frozen=True)
class Nulls:
    """The options for null models, `spectral.nulls`."""

    null: NullOption = None
    draws: DrawsOption = DRAWS

    def of(
        self, subject: "Subject", windows: "Tensor", measure: Callable[["Subject", "Tensor"], R]
    ) -> dict[str, list[R]]:
        """Return a measure of each null model that was asked for, as `under_nulls` does. It takes subject and windows.

        Raises ConfigError as `under_nulls` does.
        """
        from spectral.nulls import under_nulls

        return under_nulls(
            lambda model, inputs: measure(replace(subject, model=model), inputs),
            subject.model,
            windows,
            [name for name in self.null or () if name in (*NULLS, "all")],
            self.draws,
        )

    def asks_for(self, name: str) -> bool:
        """Return whether a null was asked for, by its name or with all others."""
        return bool({name, "all"} & set(self.null or ()))

    def check(self, *others: str) -> None:
        """Raise ConfigError for a null that there is not. others: nulls that only this measure has."""
        from spectral.nulls import check_nulls

        check_nulls([name for name in self.null or () if name not in others])


@dataclass(frozen=True, eq=False)
class Output:
    """The files of a figure. They are checked before anything is computed.

    Attributes:
        stem: The path of the files without suffix.
        formats: The suffixes, some of png, pdf and csv.
    """

    stem: Path
    formats: tuple[str, ...]

    @classmethod
    def prepare(cls, measure: str, checkpoint: Path, files: Files) -> "Output":
        """Check the formats, and that the files can be written. Raises ConfigError, OutputError or OSError."""
        chosen = tuple(dict.fromkeys(part.strip() for part in files.format.split(",") if part.strip()))
        unknown = [part for part in chosen if part not in FORMATS]
        if unknown or not chosen:
            given = ", ".join(map(repr, unknown)) or "nothing"
            raise ConfigError(f"--format got {given}; choose from png, pdf and csv, separated by commas")
        if files.out is not None:
            files.out.mkdir(parents=True, exist_ok=True)
        folder = checkpoint.parent if files.out is None else files.out
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder} cannot be written; name another folder with --out")
        return cls(folder / measure, chosen).checked()

    def checked(self) -> "Output":
        """Return this output; raises OutputError if one of its files would be written in place of another file."""
        for kind in self.formats:
            check_replaceable(Path(f"{self.stem}.{kind}"))
        return self

    def save(self, result: "Result", nulls: Mapping[str, Sequence[Any]] | None = None) -> None:
        """Write the files of a result and print their paths on standard error. nulls: the results of null models."""
        _tell(result.save(self.stem, self.formats, nulls))

    def write(self, figure: "Figure | SubFigure", table: "DataFrame") -> None:
        """Write the files of several results, which stand in one figure, and print their paths on standard error."""
        from spectral import plot

        _tell(plot.save(figure, self.stem, table, self.formats))


def _tell(paths: Iterable[Path]) -> None:
    for path in paths:
        inform(f"wrote {path}")


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, and the windows of the users that it is measured on.

    Attributes:
        model: In evaluation mode, on the chosen device.
        dataset: Name of the dataset of the users.
        windows: (P, N) int, the model's input for each user. Short histories are padded on the left, in the model's own
            way: with 0, or with their own items.
        names: (P,) the dataset's ids of these users.
        uniform: (P,) bool, False for users that a checkpoint holds only because their window is full. Measures of users
            of any history length must leave them out.
        max_users: Use the first users only, this many; None for all.
        batch_size: Users at a time.
        sequences: The `models.datasets.Sequences` of the users; None if they come from the checkpoint.
        data_dir: Where to look for the dataset's files first; None for the usual places.
    """

    model: Any
    dataset: str
    windows: "Tensor"
    names: NDArray[np.int64]
    uniform: "Tensor"
    max_users: int | None
    batch_size: int
    sequences: Any = None
    data_dir: Path | None = None

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        *,
        which: Literal["some", "all", "none"] = "some",
        data: str | None = None,
        split: str = "test",
        max_users: int | None = None,
        device: str = "cpu",
        batch_size: int = BATCH_SIZE,
        data_dir: Path | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
        c: int | None = None,
        finite: bool = True,
        adapter: str | None = None,
    ) -> "Subject":
        """Load a checkpoint with users of `data`, by default the users that it holds.

        which: "all" takes all users of the dataset. "none" is for measures that need no users, and does not look for
        the dataset. settings: for a third-party checkpoint. c: of the measure; also the c of a third-party checkpoint
        that does not store it. finite: False takes a model whose weights are not finite too. adapter:
        FILE.py:FUNCTION of the user's that loads the checkpoint, or FILE.py that registers its model.

        Raises CheckpointError, DataError or ConfigError for a file, dataset or setting that cannot be used.
        """
        import torch

        from models.adapter import load_or_adapt
        from models.checkpoint import sequences_of
        from spectral.adapted import CapturedModel

        check_choice("split", split, SPLITS)
        model: Any = load_or_adapt(
            checkpoint,
            adapter,
            check_device(device),
            settings,
            fallback={"c": c},
            finite=finite,
            foreign=CapturedModel,
        )
        kept = which == "some" and data is None and split == "test" and len(model.probe.input_ids)
        if kept or which == "none":
            windows, uniform, name = model.probe.input_ids, model.probe.uniform, model.checkpoint["dataset"]["name"]
            names, sequences = model.probe.users.numpy(), None
        else:
            sequences = sequences_of(model, data, data_dir)
            windows = torch.from_numpy(sequences.windows(split, model.config.max_len, model.config.padding).inputs)
            uniform, name = torch.ones(len(windows), dtype=torch.bool), sequences.name
            names = sequences.users
        if which == "some" and model.config.padding != "zero":
            inform(
                f"note: {model.config.padding} padding fills shorter histories up with their own items, so every "
                "window counts as full, and the measures include the repeated items"
            )
        return cls(model, name, windows, names, uniform, max_users, batch_size, sequences, data_dir)

    def check_attention(self) -> None:
        """Raise ConfigError if the model has no attention. The message says what can be measured instead."""
        import torch

        with torch.inference_mode():
            window = self.windows[:1] if len(self.windows) else torch.zeros(1, self.model.config.max_len).long()
            trace = self.model.trace(window.long().to(self.model.device))
        if not trace.attention:
            filters = ", or its learned filters with python -m spectral.learned_filters" if trace.filters else ""
            raise ConfigError(
                f"{self.model.title} has no attention to measure; measure its hidden states with python -m "
                f"spectral.singular_values or python -m spectral.cosine_similarity{filters}"
            )

    def full_windows(self, length: int | None = None) -> "Tensor":
        """Return the windows without padding, or those with exactly `length` real items; see `of_length`."""
        from spectral.capture import full_windows, of_length

        found = full_windows(self.windows) if length is None else of_length(self.windows, length)
        if self.model.attends_padding and length is not None and length < self.windows.shape[1]:
            inform(
                f"note: attention of {self.model.title} also looks at padding, so on {length} items its rows may not "
                "sum to 1"
            )
        return found[: self.max_users]

    def users(self, length: int | None = None, at_least: int = 1) -> "Tensor":
        """Return the windows of users with at least one item, or with exactly `length` items.

        Users that the checkpoint holds only for their full windows are left out. Raises DataError if there are fewer
        than `at_least` users.
        """
        from spectral.capture import of_length

        windows = self.windows[self.uniform]
        windows = windows[(windows > 0).any(1)] if length is None else of_length(windows, length)
        windows = windows[: self.max_users]
        if len(windows) < at_least:
            raise DataError(f"{self.dataset}: at least {at_least} users are needed, found {len(windows)}")
        return windows

    def item_counts(self) -> NDArray[np.int64]:
        """Return how often each item occurs in the training part of the dataset, (items + 1,), which is read for it.

        Raises DataError if the dataset is not known, or cannot be found.
        """
        from models.checkpoint import sequences_of
        from models.datasets.sequences import training_counts

        if self.sequences is None and self.model.checkpoint is None:
            raise DataError(f"{self.dataset}: the training data is not known, so its items cannot be counted")
        sequences = self.sequences or sequences_of(self.model, None, self.data_dir)
        return training_counts(sequences, self.model.config.num_items)

    def modes(self, c: int | None, length: int | None = None) -> int:
        """Return c, or 3 if it is None. Raises ConfigError if the positions cannot have c low modes."""
        from spectral.response import DEFAULT_C

        return check_modes(DEFAULT_C if c is None else c, self.model.config.max_len if length is None else length)

    def captures(self, windows: "Tensor", **options: Any) -> Iterator["Capture"]:
        """Capture what the model computes on these windows, batch by batch, with progress on a terminal."""
        from spectral.capture import capture, in_batches

        return capture(self.model, in_batches(windows, self.batch_size, self.model.name), **options)

    def describe(self, users: int, which: str) -> None:
        """Print on standard error which model is measured, and on how many users of which kind."""
        inform(f"{self.model.name} on {self.dataset}: {users:,} {which}")


def users_of(length: int | None, kind: str) -> str:
    """Return a description of the users: those with exactly `length` items, or `kind` if length is None.

    Example:
        >>> users_of(None, "users"), users_of(5, "users")
        ('users', 'users with exactly 5 items')
    """
    return kind if length is None else f"users with exactly {length} items"


def check_modes(c: int, length: int) -> int:
    """Return c if `length` positions can have c low modes. Raises ConfigError otherwise.

    Example:
        >>> check_modes(3, 50)
        3
    """
    from spectral.fourier import check_c

    try:
        return check_c(c, length)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error


def nulls_json(nulls: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the part of a JSON object with the summaries of null models: by name a list of draws; {} for no nulls."""
    return {"nulls": {name: [draw.summary() for draw in draws] for name, draws in nulls.items()}} if nulls else {}


def print_nulls(nulls: Mapping[str, Sequence[Any]], decimals: Mapping[str, int], leave_out: Sequence[str] = ()) -> None:
    """Print the summaries of null models as `print_table` does, a table for each null, without some columns.

    Records of single heads are left out: a null is printed for the mean over heads.
    """
    for name, draws in nulls.items():
        records = [
            {"null": name, "draw": number} | one for number, draw in enumerate(draws, 1) for one in draw.summary()
        ]
        shown = [record for record in records if record.get("head", "mean") == "mean"]
        print()
        print_table([{key: record[key] for key in record if key not in leave_out} for record in shown], decimals)


def print_table(records: Sequence[Mapping[str, Any]], decimals: Mapping[str, int]) -> None:
    """Print records as an aligned table, with a dash for NaN.

    decimals: the decimals of real numbers by column; 4 for columns that are not in it.

    Example:
        >>> print_table([{"layer": 1, "gain": -0.5}, {"layer": 2, "gain": float("nan")}], {"gain": 2})
        layer   gain
            1  -0.50
            2      -
    """
    names = list(records[0])
    rows = [[_text(record[name], decimals.get(name, 4)) for name in names] for record in records]
    widths = [max(len(row[column]) for row in [names, *rows]) for column in range(len(names))]
    left = [isinstance(records[0][name], str) for name in names]
    for row in [names, *rows]:
        print("  ".join(_aligned(row, widths, left)).rstrip())


def _aligned(row: Sequence[str], widths: Iterable[int], left: Iterable[bool]) -> list[str]:
    cells = zip(row, widths, left, strict=True)
    return [text.ljust(width) if is_left else text.rjust(width) for text, width, is_left in cells]


def _text(value: Any, decimals: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    # Rounding can leave a minus zero; adding 0 turns it into a zero.
    return "-" if value != value else f"{round(value, decimals) + 0.0:.{decimals}f}"
