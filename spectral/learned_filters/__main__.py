"""Show the filters that a model has learned: `python -m spectral.learned_filters ckpt.pt`."""

import spectral.command_line as options
from models.command_line import inform, print_json, run
from spectral.command_line import Output, Subject, print_table


def main(
    checkpoint: options.CheckpointArgument,
    *,
    files: options.Files,
    adapter: options.AdapterOption = None,
    settings: options.ModelSettings,
) -> None:
    """Show the filters that FMLP-Rec and BSARec's frequency branch have learned.

    Prints for each layer the gain at DC and at the highest frequency (root mean square over dimensions), and quantiles
    of the latter over dimensions. For BSARec it is beta. Writes learned_filters.png, .pdf and .csv.
    """
    from spectral.learned_filters import learned_filters

    output = Output.prepare("learned_filters", checkpoint, files)
    model = Subject.load(checkpoint, which="none", adapter=adapter, settings=settings).model
    filters = learned_filters(model)
    inform(f"{model.name}: filters of {len(filters.layers)} layers")
    if files.json:
        print_json({"layers": filters.summary()})
    else:
        print_table(filters.summary(), {})
    output.save(filters.labelled(model.name))


if __name__ == "__main__":
    run(main)
