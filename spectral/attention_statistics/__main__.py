"""Measure what attention maps are like: `python -m spectral.attention_statistics ckpt.pt`."""

from typing import Annotated

import typer

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.attention_statistics import MEASURES, RESIDUAL, AttentionStatistics
from spectral.command_line import FORMATS, Output, Subject, print_table


def main(
    checkpoint: options.CheckpointArgument,
    data: options.DataOption = None,
    split: options.SplitOption = "test",
    max_users: options.MaxUsersOption = None,
    length: options.LengthOption = None,
    residual: Annotated[
        float, typer.Option(min=0, max=1, metavar="r", help="Weight of the residual connection.")
    ] = RESIDUAL,
    out: options.OutOption = None,
    format: options.FormatOption = FORMATS,
    json: options.JsonOption = False,
    device: options.DeviceOption = "cpu",
    batch_size: options.BatchSizeOption = options.BATCH_SIZE,
    data_dir: options.DataDirOption = None,
    settings: options.ModelSettings = options.NO_SETTINGS,
) -> None:
    """Measure the attention maps of every layer and head, over users whose window is full.

    Entropy of rows (nats; and relative to uniform rows), distance in positions, |lambda_2|, the rate of Theorem 1, and
    the most that one application can scale what is not constant, alone and with a residual connection of weight r.
    Prints them; writes attention_statistics.png, .pdf and .csv with standard errors.
    """
    output = Output.prepare("attention_statistics", checkpoint, out, format)
    subject = Subject.load(
        checkpoint,
        data=data,
        split=split,
        max_users=max_users,
        device=device,
        batch_size=batch_size,
        data_dir=data_dir,
        settings=settings,
    )
    subject.check_attention()
    windows = subject.full_windows(length)
    subject.describe(len(windows), "users with a full window" if length is None else f"users with {length} items")
    statistics = AttentionStatistics.from_captures(subject.captures(windows, hidden=False), length, residual)
    if json:
        rollout = {"lambda2": statistics.rollout_lambda2, "last_row": statistics.rollout.tolist()}
        found = {"sequences": statistics.sequences, "residual": residual, "maps": statistics.summary()}
        print_json(found | {"rollout": rollout})
    else:
        print_table(statistics.summary(), dict.fromkeys(MEASURES, 3))
    from spectral import plot

    output.write(plot.attention_statistics_panels({subject.model.name: statistics}), statistics.table())


if __name__ == "__main__":
    run(main)
