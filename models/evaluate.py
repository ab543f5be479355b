"""Evaluate a checkpoint: `python -m models.evaluate ckpt.pt`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.choices import PROTOCOLS
from models.command_line import AdapterOption, check_device, inform, print_json, run
from models.errors import ConfigError, check_choice
from models.files import check_replaceable, write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame


def main(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint that models.train wrote, or a third-party one")],
    data: Annotated[
        str | None, typer.Option(help="name of a dataset, or a file", show_default="the one it was trained on")
    ] = None,
    split: Annotated[str, typer.Option(help="test, valid or train")] = "test",
    split_by: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="leave-one-out, or temporal: the last items of users after a moment; the model should be trained "
            "before it (models.train --dataset NAME:until=0.8)",
        ),
    ] = "leave-one-out",
    negatives: Annotated[
        int | None,
        typer.Option(
            help="rank among this many randomly drawn unseen items instead of all items; many papers use 99",
            show_default="all items",
        ),
    ] = None,
    negatives_seed: Annotated[int, typer.Option(help="of the drawn items")] = 0,
    mask_seen: Annotated[
        str, typer.Option(help="score of seen items: 0 as published, or inf to take them out of the ranking")
    ] = "0",
    per_user_file: Annotated[
        Path | None,
        typer.Option("--per-user", help="write a table of every user's rank, .parquet or .csv", show_default="none"),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(help="write settings, metrics and ranks as JSON, for models.compare", show_default="none"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--integrity", help="also check that the model does what its architecture promises")
    ] = False,
    adapter: AdapterOption = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto")] = "cpu",
    data_dir: Annotated[
        Path | None, typer.Option(help="folder that may hold the datasets' files", show_default="none")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
    settings: dict[str, Any] = {},  # noqa: B006 (models.command_line.run makes options of it)
) -> None:
    """Print HR@k and NDCG@k for k = 5, 10, 20, and MRR, of the held-out items ranked among all items."""
    import numpy as np

    from models.adapter import load_or_adapt
    from models.checkpoint import after_training, sequences_of
    from models.evaluation import Protocol, per_user, rank_targets, summarise
    from models.integrity import integrity_on, lines
    from models.results.runs import RESULT_FILE, result_of

    protocol = Protocol(mask_seen, negatives, negatives_seed)
    if per_user_file is not None and per_user_file.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--per-user takes a file that ends with .parquet or .csv, got {per_user_file}")
    check_choice("--protocol", split_by, PROTOCOLS)
    temporal = split_by == "temporal"
    if temporal and split != "test":
        raise ConfigError(f"--protocol temporal is about the test split; drop --split {split}")
    if result is not None and (split != "test" or protocol != Protocol() or temporal):
        raise ConfigError("--result keeps the published protocol on the test split of the training data; drop the rest")
    for file, kind in ((per_user_file, None), (result, RESULT_FILE)):
        if file is not None:
            check_replaceable(file, kind)
    model = load_or_adapt(checkpoint, adapter, check_device(device), settings)
    assert model.checkpoint is not None
    if result is not None and "origin" in model.checkpoint["training"]:
        raise ConfigError(f"--result needs a model that this toolkit trained; {checkpoint} is a third-party checkpoint")
    if temporal:
        sequences, users = after_training(model, data, data_dir)
    else:
        sequences = sequences_of(model, data, data_dir)
        users = np.ones(sequences.num_users, dtype=bool)
    if result is not None and sequences.fingerprint != model.checkpoint["dataset"]["fingerprint"]:
        raise ConfigError(f"--result needs the training data, and {sequences.name} is not; drop the rest")
    ranks = rank_targets(model, sequences, split, protocol)
    metrics = summarise(ranks[users])
    if per_user_file is not None:
        table = per_user(sequences, split, ranks)[users]
        write_atomically(per_user_file, _table_bytes(table, per_user_file.suffix))
    if result is not None:
        result_of(model, sequences, ranks, checkpoint).save(result)
    checks = integrity_on(model, sequences, split) if check else []
    if json:
        training = model.checkpoint["training"]
        third_party = {"settings": training["settings"]} if "settings" in training else {}
        print_json(metrics | third_party | ({"checks": [each.record() for each in checks]} if check else {}))
        return
    among = "all items" if negatives is None else f"{negatives} unseen items"
    inform(f"{model.title} on {sequences.name}, {split} split, {len(ranks[users])} users, ranked among {among}")
    for name, value in metrics.items():
        print(f"{name:8} {value:.4f}")
    if checks:
        print(*lines(checks), sep="\n")


def _table_bytes(table: "DataFrame", suffix: str) -> bytes:
    content: bytes = table.to_parquet(index=False) if suffix == ".parquet" else table.to_csv(index=False).encode()
    return content


if __name__ == "__main__":
    run(main)
