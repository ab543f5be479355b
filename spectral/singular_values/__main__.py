"""Measure the singular values of users' representations: `python -m spectral.singular_values ckpt.pt`."""

from typing import Annotated

import typer

from models.command_line import print_json
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, run, users_of
from spectral.singular_values import LayerSpectra

DECIMALS = {"effective_rank": 2, "stable_rank": 2, "largest": 3, "smallest": 3}


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    center: Annotated[bool, typer.Option("--center", help="Remove the mean over users first.")] = False,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure in how many directions the users lie after each layer.

    Takes the hidden states at the last position of all users, an n x D matrix per layer. Prints the effective rank
    (exp of the entropy of the singular values) and the stable rank. Writes singular_values.png, .pdf and .csv. The mean
    over users is removed only with --center. Layer 0 is the embedding output.
    """
    output = Output.prepare("singular_values", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.users(length)
    subject.describe(len(windows), users_of(length, "users"))
    spectra = LayerSpectra.from_captures(subject.captures(windows, attention=False), center)
    if files.json:
        print_json({"layers": spectra.summary()})
    else:
        print_table(_rows(spectra), DECIMALS)
    from spectral import plot

    output.write(plot.singular_values(spectra.layers).figure, spectra.table())


def _rows(spectra: LayerSpectra) -> list[dict[str, object]]:
    return [
        {
            "layer": layer,
            "effective_rank": spectrum.effective_rank,
            "stable_rank": spectrum.stable_rank,
            "largest": float(spectrum.values[0]),
            "smallest": float(spectrum.values[-1]),
        }
        for layer, spectrum in spectra.layers.items()
    ]


if __name__ == "__main__":
    run(main)
