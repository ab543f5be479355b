"""Command line: python -m spectral.learned_filters ckpt.pt."""

import spectral.command_line as options
from models.command_line import inform, print_json, run
from spectral.command_line import FORMATS, Output, print_table
from spectral.learned_filters import learned_filters


def main(
    checkpoint: options.CheckpointArgument,
    out: options.OutOption = None,
    format: options.FormatOption = FORMATS,
    json: options.JsonOption = False,
    settings: options.ModelSettings = options.NO_SETTINGS,
) -> None:
    """Show the filters that FMLP-Rec and BSARec's frequency branch have learned.

    Prints for each layer the gain at DC and at the highest frequency (root mean square over dimensions) and quantiles
    of the latter, which is beta for BSARec; writes learned_filters.png, .pdf and .csv.
    """
    import models
    from spectral import plot

    output = Output.prepare("learned_filters", checkpoint, out, format)
    model = models.load(checkpoint, **settings)
    filters = learned_filters(model)
    inform(f"{model.name}: filters of {len(filters.layers)} layers")
    if json:
        print_json({"layers": filters.summary()})
    else:
        print_table(filters.summary(), {})
    figure, [(left, right)] = plot.grid([plot.HEIGHT], 2)
    plot.filter_gains(filters, ax=left)
    plot.sorted_gains(filters, ax=right, **{"label": r"$\beta$"} if model.name == "bsarec" else {})
    output.write(figure, filters.table())


if __name__ == "__main__":
    run(main)
