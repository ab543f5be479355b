"""Compare rankings for low- and high-frequency users: `python -m spectral.user_frequency ckpt.pt [more.pt ...]`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, print_json, run
from models.errors import ConfigError, check_choice
from models.files import check_replaceable, write_atomically
from spectral import command_line as options
from spectral.choices import USER_MEASURES, USER_METRICS
from spectral.command_line import Output, Subject, print_table

DECIMALS = {"from": 3, "to": 3}


def main(
    checkpoints: Annotated[list[Path], typer.Argument(help="One or several checkpoints.", metavar="CHECKPOINT...")],
    *,
    measure: Annotated[str, typer.Option(help=f"Measure to group by: {', '.join(USER_MEASURES)}.")] = "low_excess",
    groups: Annotated[int, typer.Option(min=1, help="Number of quantile groups.")] = 4,
    metric: Annotated[str, typer.Option(help="HR@k, NDCG@k with k = 5, 10, 20, or reciprocal_rank.")] = "NDCG@20",
    data: options.DataOption = None,
    split: options.SplitOption = "test",
    c: options.COption = None,
    files: options.Files,
    device: options.DeviceOption = "cpu",
    data_dir: options.DataDirOption = None,
    adapter: options.AdapterOption = None,
    settings: options.ModelSettings,
) -> None:
    """Group users by how low-frequency their histories are, and show how well each checkpoint ranks for each group.

    The embeddings are always those of the first checkpoint, so that all models have the same groups. Measures of
    categories need a dataset with item attributes. Prints the metric by group with its 95% bootstrap interval over
    users. Writes user_frequency.png, .pdf and .csv, and every user's measures and metrics to user_frequency_users.csv.
    """
    import torch

    from models.datasets import find_attributes
    from models.evaluation import per_user, rank_targets
    from spectral.report import names_of
    from spectral.user_frequency import by_group, user_frequency

    check_choice("--measure", measure, USER_MEASURES)
    check_choice("--metric", metric, USER_METRICS)
    output = Output.prepare("user_frequency", checkpoints[0], files)
    users_file = output.stem.with_name("user_frequency_users.csv")
    check_replaceable(users_file)
    subjects = {
        path: Subject.load(
            path,
            which="all",
            data=data,
            split=split,
            device=device,
            data_dir=data_dir,
            adapter=adapter,
            settings=settings,
            c=c,
        )
        for path in checkpoints
    }
    first = subjects[checkpoints[0]]
    c = first.modes(c)
    users = first.sequences
    for path, other in subjects.items():
        if other.sequences.fingerprint != users.fingerprint:
            raise ConfigError(
                f"{path} has the dataset {other.dataset}, {checkpoints[0]} has {users.name}; compare models of one "
                "dataset"
            )
    attributes, missing = find_attributes(users.name, users.num_items, data_dir)
    if attributes is None and measure.startswith("category_"):
        raise ConfigError(f"--measure {measure} needs attributes of the items of {users.name}: {missing}")
    histories = torch.from_numpy(users.windows(split, first.model.config.max_len).inputs)
    table = user_frequency(histories, first.model.items.weight, c, attributes, users.users, inputs=first.windows)
    loaded = {path: subject.model for path, subject in subjects.items()}
    tables = {
        name: per_user(users, split, rank_targets(model, users, split))
        for name, model in zip(names_of(loaded), loaded.values(), strict=True)
    }
    ranking = {name: ranked[metric] for name, ranked in tables.items()}
    found = by_group(table[measure], ranking, groups, called=metric)
    grouped = int(found.table().groupby("model")["users"].sum().iloc[0])
    inform(
        f"{users.name}: {grouped:,} of {users.num_users:,} users have a {measure} (c = {c}); embeddings of "
        f"{checkpoints[0].name}"
    )
    if files.json:
        print_json({"measure": measure, "metric": metric, "c": c, "groups": found.table().to_dict("records")})
    else:
        print_table(found.table().to_dict("records"), DECIMALS)
    output.save(found)
    for name, ranked in tables.items():
        table[f"{metric} {name}"] = ranked[metric]
    write_atomically(users_file, table.to_csv(index=False).encode())
    inform(f"wrote {users_file}")


if __name__ == "__main__":
    run(main)
