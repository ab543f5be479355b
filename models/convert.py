"""Convert a third-party checkpoint into one of this toolkit: `python -m models.convert THEIR.pt ours.pt`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from models.command_line import inform, run
from models.errors import ConfigError
from models.files import check_replaceable


def convert(
    source: str | Path,
    out: str | Path,
    data: str | None = None,
    data_dir: str | Path | None = None,
    *,
    users: bool = True,
    **settings: Any,
) -> None:
    """Write a self-describing checkpoint of this toolkit, with the same numbers as the one at `source`.

    Args:
        source: A file that `models.load` opens.
        out: The checkpoint to write.
        data: A dataset (name or file) with the item ids of the model. Probe sequences for analysis are drawn from it.
        data_dir: Folder that may hold the datasets' files.
        users: Whether the checkpoint holds probe sequences; without them it can be published where the data cannot.
        **settings: Settings that the file does not hold, as for `models.load`.

    Raises:
        UserError: If the file, a setting or the data cannot be used.
        OSError: If a file cannot be read or written.
    """
    from models.checkpoint import describe_dataset, draw_probe, load, no_probe, pack, save, sequences_of

    model = load(source, **settings)
    assert model.checkpoint is not None
    known = model.checkpoint
    dataset, probe = known["dataset"], model.probe
    if data is not None or (users and not len(probe.input_ids) and dataset["source"]):
        sequences = sequences_of(model, data, data_dir)
        dataset, probe = describe_dataset(sequences), draw_probe(sequences, model.config.max_len, model.config.padding)
    content = pack(
        model,
        dataset=dataset,
        training=known["training"],
        metrics=known["metrics"],
        seed=known.get("seed"),
        probe=probe if users else no_probe(model.config.max_len),
    )
    save(content, out)


def main(
    source: Annotated[Path, typer.Argument(metavar="THEIR.pt", help="third-party checkpoint")],
    out: Annotated[Path, typer.Argument(metavar="OURS.pt", help="checkpoint to write")],
    data: Annotated[
        str | None,
        typer.Option(
            help="name of a dataset, or a file, with the model's item ids; some of its users are kept for analysis",
            show_default="that of the checkpoint, if it names one",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="folder that may hold the datasets' files", show_default="none")
    ] = None,
    users: Annotated[
        bool, typer.Option("--users/--no-users", help="whether to keep some users' histories in it, for analysis")
    ] = True,
    settings: dict[str, Any] = {},  # noqa: B006 (models.command_line.run makes options of it)
) -> None:
    """Write a checkpoint with the same numbers that every command opens without options."""
    from models.checkpoint import FILE, load

    if out.exists() and out.samefile(source):
        raise ConfigError(f"{out} is the file to convert; choose another name")
    check_replaceable(out, FILE)
    convert(source, out, data, data_dir, users=users, **settings)
    model = load(out)
    assert model.checkpoint is not None
    probes, source_of_users = len(model.probe.input_ids), model.checkpoint["dataset"]["source"]
    where = f"take those of {source_of_users}" if source_of_users else "need --data NAME_OR_FILE"
    inform(f"{out}: {model.title}, {probes} sequences{'' if probes else f'; the measures {where}'}")


if __name__ == "__main__":
    run(main)
