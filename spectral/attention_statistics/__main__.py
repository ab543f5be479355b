"""Measure what attention maps are like: `python -m spectral.attention_statistics ckpt.pt`."""

from typing import Annotated

import typer
from torch import Tensor

from models.command_line import inform, print_json, run
from models.errors import ConfigError
from models.precision import widened
from spectral import command_line as options
from spectral.attention_statistics import MEASURES, RESIDUAL, AttentionStatistics
from spectral.attention_statistics.bounds import LayerBounds
from spectral.command_line import Output, Subject, print_table


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    residual: Annotated[
        float, typer.Option(min=0, max=1, metavar="r", help="Weight of the residual connection.")
    ] = RESIDUAL,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure the attention maps of every layer and head, over users whose window is full.

    The measures are the entropy of rows (in nats, and relative to uniform rows), the distance in positions, |lambda_2|
    (the rate of Theorem 1), and the largest factor by which one application can scale what is not constant, without
    and with a residual connection of weight r. A second table is about every layer with its projections and its own
    residual, without LayerNorm: the bounds of the factor by which it scales what is not constant, and the measured
    factor. Prints both tables, and writes attention_statistics.png, .pdf and .csv with standard errors.
    """
    output = Output.prepare("attention_statistics", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    subject.check_attention()
    windows = subject.full_windows(length)
    subject.describe(len(windows), "users with a full window" if length is None else f"users with {length} items")
    statistics = AttentionStatistics.from_captures(subject.captures(windows, hidden=False), length, residual)
    bounds = _bounds(subject, statistics, windows, length)
    if files.json:
        rollout = {"lambda2": statistics.rollout_lambda2, "last_row": statistics.rollout.tolist()}
        found = {"sequences": statistics.sequences, "residual": residual, "maps": statistics.summary()}
        print_json(found | {"rollout": rollout, "bounds": bounds.summary() if bounds else []})
    else:
        print_table(statistics.summary(), dict.fromkeys(MEASURES, 3))
        if bounds:
            print()
            print_table(bounds.summary(), dict.fromkeys(("lower", "measured", "upper"), 3))
    from spectral import plot

    table = statistics.table()
    output.write(
        plot.attention_statistics_panels({subject.model.name: statistics}),
        table.merge(bounds.table(), on=["layer", "head"]) if bounds else table,
    )


def _bounds(
    subject: Subject, statistics: AttentionStatistics, windows: Tensor, length: int | None
) -> LayerBounds | None:
    """Return the bounds of the layers. For a model without such bounds, print a note and return None."""
    try:
        value_output = widened(subject.model).value_output()
    except ConfigError as error:
        inform(f"note: {error}")
        return None
    return LayerBounds.of(statistics, value_output, subject.captures(windows), length)


if __name__ == "__main__":
    run(main)
