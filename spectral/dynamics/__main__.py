"""Draw how models change while they are trained: `python -m spectral.dynamics sasrec-seed42.watch.csv ...`."""

from pathlib import Path
from typing import Annotated

import typer

from models.choices import MONITOR
from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, print_table


def main(
    watched: Annotated[
        list[Path], typer.Argument(help="Files of runs, <system>-seed<seed>.watch.csv.", metavar="RUN.watch.csv...")
    ],
    *,
    measure: Annotated[
        list[str] | None, typer.Option(help="Measure to draw; repeatable.", show_default="those of the overview")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer to draw.", show_default="each system's last")] = None,
    against: Annotated[str, typer.Option(help="Metric of the paths.")] = MONITOR,
    files: options.Files,
) -> None:
    """Draw measures over epochs, and the path of each measure against the validation metric.

    A line is the mean over a system's seeds, the band reaches from the smallest to the largest, and a star marks each
    run's best epoch. Prints the change from the first to the best epoch; writes dynamics.png, .pdf and .csv, and
    dynamics_paths.png, .pdf and .csv.
    """
    from spectral.dynamics import OVERVIEW, Dynamics

    output = Output.prepare("dynamics", watched[0], files)
    output_of_paths = Output(output.stem.with_name("dynamics_paths"), output.formats).checked()
    dynamics = Dynamics.read(watched)
    measures = measure or [name for name in OVERVIEW if name in dynamics.measures]
    rows = [{"measure": name, **row} for name in measures for row in dynamics.changes(name, layer).to_dict("records")]
    if files.json:
        print_json({"changes": rows})
    else:
        print_table(rows, dict.fromkeys(("best_epoch", "half_epoch", "turn_epoch"), 0))
    from spectral import plot

    output.write(plot.dynamics_panels(dynamics, measures, layer), dynamics.drawn(measures, layer))
    paths = [name for name in measures if name != against]
    if paths:
        figure = plot.dynamics_paths_panels(dynamics, paths, against, layer)
        output_of_paths.write(figure, dynamics.drawn([*paths, against], layer))


if __name__ == "__main__":
    run(main)
