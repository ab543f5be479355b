"""Train a model: `python -m models.train --model bsarec --dataset lastfm`, or `train(...)` from Python."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.choices import MODELS
from models.command_line import check_device, inform, parse_assignments, run
from models.errors import ConfigError, DataError

if TYPE_CHECKING:
    from models.callbacks import Callback, EpochRecord
    from models.datasets import Sequences
    from models.training import Run

FREE_IDS, IDS_PER_INTERACTION = 1_000_000, 100  # ids go up to one of these, or so many times the interactions


def train(
    model: str,
    dataset: "str | Path | Sequences",
    *,
    out: str | Path | None = None,
    seed: int = 42,
    threads: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    loss: str | None = None,
    device: str | None = None,
    resume: bool = False,
    data_dir: str | Path | None = None,
    show_progress: bool = True,
    watch: bool = False,
    tensorboard: bool = False,
    callbacks: "Sequence[Callback]" = (),
    on_epoch: "Callable[[EpochRecord], object] | None" = None,
    **settings: Any,
) -> "Run":
    """Train a model with early stopping, and keep its best checkpoint.

    On the same machine, with the same library versions, the same arguments write the same bytes, even if the run was
    interrupted and resumed.

    Args:
        model: Name of the model, one of `models.registry.MODELS`.
        dataset: A name or a file as for `models.datasets.load`, or loaded sequences.
        out: File of the checkpoint; default runs/<dataset>/<model>-seed<seed>.pt.
        seed: Seed of the weights, the order of samples, negatives and dropout.
        threads: Number of threads of the processor; default 1, or that of the run that is resumed. With another number
            the same seed gives other bytes.
        epochs: At most this many; default 200.
        batch_size: Samples per step; default 256.
        learning_rate: Learning rate of Adam; default 0.001.
        patience: Stop after this many epochs without a better validation NDCG@20; default 10.
        loss: ce, bce, bpr or sampled_softmax:negatives=1000,sampling=frequency (models.layers.sampled_softmax); default
            the model's published one.
        device: cpu, cuda, cuda:1 or auto; default cpu.
        resume: Continue an unfinished run at `out`; a finished run is returned without training.
        data_dir: Folder that may hold the files of the named datasets.
        show_progress: Whether to draw a progress bar on a terminal.
        watch: Whether to measure the spectra of the model after every epoch, into the file `out` with the ending
            .watch.csv (spectral.watch). The checkpoint is the same with and without it.
        tensorboard: Whether to write these measures for TensorBoard as well; implies `watch`.
        callbacks: Further callbacks, see models.callbacks.
        on_epoch: Called with the `models.callbacks.EpochRecord` of every epoch once it is saved: its number, loss and
            validation metrics, its seconds, the best epoch so far and the model. A resumed run does not repeat the
            epochs that are done. An error in it stops the run, which `resume` continues after this epoch.
        **settings: Fields of the model's configuration (hidden_size, max_len, dropout, padding; num_layers and
            num_heads if it has them; alpha, c and beta of BSARec; ...); None keeps the default.

    Returns:
        The finished run: the path of its checkpoint, its test metrics, and its history.

    Raises:
        UserError: For data, a setting or a checkpoint that cannot be used; the message says which and why.
        OSError: If `out` cannot be written; files that were written before are kept.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train("bsarec", "synthetic:users=20,items=30", out=f"{folder}/a.pt", epochs=2, max_len=10, alpha=0.7)
    >>> [row["epoch"] for row in run.history], run.best_epoch in (0, 1)
    ([0, 1], True)
    >>> list(run.metrics)  # of the best epoch, on the test split
    ['HR@5', 'NDCG@5', 'HR@10', 'NDCG@10', 'HR@20', 'NDCG@20', 'MRR']

    Losses as they come:

    >>> losses = []
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train("sasrec", "synthetic:users=20,items=30", out=f"{folder}/a.pt", epochs=2, max_len=10,
    ...                 on_epoch=lambda record: losses.append(record.metrics["loss"]))
    >>> losses == [row["loss"] for row in run.history]
    True
    """
    from models.callbacks import installed
    from models.datasets import Sequences, load
    from models.registry import configure, model_type
    from models.training import Trainer, TrainingConfig

    device = check_device(device or "cpu")
    given = {
        "threads": threads,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
    }
    training = TrainingConfig(
        loss=loss or model_type(model).published_loss,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    sequences = dataset if isinstance(dataset, Sequences) else load(dataset, data_dir)
    check_ids(sequences)
    config = configure(model, sequences.num_items, sequences.num_users, **settings)
    folder = sequences.name.replace(":", "-")
    path = Path(out) if out is not None else Path("runs") / folder / f"{model}-seed{seed}.pt"
    if watch or tensorboard:
        callbacks = [*callbacks, installed("watch", tensorboard=tensorboard)]
    trainer = Trainer(config, training, sequences, path, device, callbacks, on_epoch)
    if resume and (finished := trainer.finished()):
        return finished
    if resume:
        trainer.resume()
        if threads not in (None, kept := trainer.training.threads):
            raise ConfigError(
                f"{trainer.state_path}: is an unfinished run with {kept} threads, which it keeps; drop --threads"
            )
    return trainer.fit(show_progress)


def check_ids(sequences: "Sequences") -> None:
    """Raise DataError if nearly all rows of an item table, which has one for each id, would be of no item."""
    if sequences.num_items > max(FREE_IDS, IDS_PER_INTERACTION * sequences.num_interactions):
        raise DataError(
            f"{sequences.name}: the item id {sequences.num_items} is too large for {sequences.num_interactions} "
            "interactions; number the items from 1, as python -m models.datasets import does"
        )


def parse_settings(model: str, given: list[str]) -> dict[str, Any]:
    """Return the settings of "NAME=VALUE" texts; numbers become numbers, other values stay text.

    Raises ConfigError for a text without "=", or a name that is no field of the model's configuration.

    >>> parse_settings("bsarec", ["alpha=0.3", "beta=scalar"])
    {'alpha': 0.3, 'beta': 'scalar'}
    """
    from models.registry import SIZES, model_type

    names = (field.name for field in fields(model_type(model).config_type))
    return parse_assignments(given, [name for name in names if name not in SIZES])


def main(
    model: Annotated[str, typer.Option(help=", ".join(MODELS))],
    dataset: Annotated[str, typer.Option(help="name of a dataset, or a file with one user per line")] = "ml-100k",
    out: Annotated[
        Path | None, typer.Option(help="checkpoint", show_default="runs/<dataset>/<model>-seed<seed>.pt")
    ] = None,
    seed: Annotated[int, typer.Option(help="of weights, sample order, negatives and dropout")] = 42,
    threads: Annotated[
        int | None, typer.Option(help="of the processor", show_default="1, or those of the resumed run")
    ] = None,
    epochs: Annotated[int, typer.Option(help="at most this many")] = 200,
    batch_size: Annotated[int, typer.Option(help="samples per step")] = 256,
    lr: Annotated[float, typer.Option("--lr", "--learning-rate", help="learning rate of Adam")] = 1e-3,
    patience: Annotated[int, typer.Option(help="epochs without a better validation NDCG@20")] = 10,
    loss: Annotated[
        str | None,
        typer.Option(
            help="ce, bce, bpr, or sampled_softmax:negatives=1000,sampling=frequency",
            show_default="the model's published loss",
        ),
    ] = None,
    layers: Annotated[int | None, typer.Option(help="blocks", show_default="2")] = None,
    heads: Annotated[int | None, typer.Option(help="attention heads", show_default="1")] = None,
    hidden_size: Annotated[int | None, typer.Option(help="embedding size", show_default="64")] = None,
    max_len: Annotated[int | None, typer.Option(help="positions in a window", show_default="50")] = None,
    dropout: Annotated[
        float | None, typer.Option(help="of embeddings, attention and layer outputs", show_default="0.5")
    ] = None,
    padding: Annotated[
        str | None, typer.Option(help="of shorter histories: zero, cyclic, reflect or symmetric", show_default="zero")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="BSARec, WEARec, LoWARec: weight of the filter", show_default="published")
    ] = None,
    c: Annotated[int | None, typer.Option(help="BSARec, LoWARec: number of low modes, odd", show_default="3")] = None,
    beta: Annotated[str | None, typer.Option(help="BSARec: vector or scalar", show_default="vector")] = None,
    further: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="any other field of the model's configuration; repeatable",
            show_default="none",
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py", help="run your file, which registers the model (models.register)", show_default="none"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto")] = "cpu",
    data_dir: Annotated[
        Path | None, typer.Option(help="folder that may hold the datasets' files", show_default="none")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="measure the model's spectra after every epoch, into <OUT>.watch.csv")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="write these measures for TensorBoard as well; implies --watch")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="continue the unfinished run at OUT")] = False,
) -> None:
    """Train a model with early stopping on validation NDCG@20, and keep its best checkpoint."""
    if adapter is not None:
        from models.adapter import import_file

        import_file(adapter)
    settings: dict[str, Any] = {
        "num_layers": layers,
        "num_heads": heads,
        "hidden_size": hidden_size,
        "max_len": max_len,
        "dropout": dropout,
        "padding": padding,
        "alpha": alpha,
        "c": c,
        "beta": beta,
    }
    finished = train(
        model,
        dataset,
        out=out,
        seed=seed,
        threads=threads,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=lr,
        patience=patience,
        loss=loss,
        device=device,
        resume=resume,
        data_dir=data_dir,
        watch=watch,
        tensorboard=tensorboard,
        **settings | parse_settings(model, further or []),
    )
    values = "  ".join(f"{name} {value:.4f}" for name, value in finished.metrics.items())
    inform(f"{finished.path}: best of {len(finished.history)} epochs is {finished.best_epoch}; on the test split:")
    print(values)


if __name__ == "__main__":
    run(main)
