"""Measure the singular values of users' representations: `python -m spectral.singular_values ckpt.pt`."""

from typing import TYPE_CHECKING, Annotated

import typer

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, users_of

if TYPE_CHECKING:
    from torch import Tensor

    from spectral.singular_values import LayerSpectra


DECIMALS = {"effective_rank": 2, "stable_rank": 2, "largest": 3, "smallest": 3}


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    center: Annotated[bool, typer.Option("--center", help="Remove the mean over users first.")] = False,
    nulls: options.Nulls,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure in how many directions the users lie after each layer.

    Takes the hidden states at the last position of all users, an n x D matrix per layer. Prints the effective rank
    (exp of the entropy of the singular values), the stable rank, and k95, how many values hold 95% of the energy.
    Writes singular_values.png, .pdf and .csv. The mean over users is removed only with --center. Layer 0 is the
    embedding output. --null also takes "gaussian": simulated matrices of the same size and column variances. Null
    models are drawn for the last layer.
    """
    from spectral.resampling import RESAMPLES
    from spectral.singular_values import GAUSSIAN, LayerSpectra

    nulls.check(GAUSSIAN)
    output = Output.prepare("singular_values", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.users(length)
    subject.describe(len(windows), users_of(length, "users"))

    def measure(other: Subject, inputs: "Tensor", resamples: int = 0) -> "LayerSpectra":
        return LayerSpectra.from_captures(other.captures(inputs, attention=False), center, resamples=resamples)

    spectra, of_nulls = measure(subject, windows, RESAMPLES), nulls.of(subject, windows, measure)
    if nulls.asks_for(GAUSSIAN):
        of_nulls[GAUSSIAN] = spectra.gaussian()
    if files.json:
        print_json({"layers": spectra.summary()} | options.nulls_json(of_nulls))
    else:
        print_table(_rows(spectra), DECIMALS)
        options.print_nulls(of_nulls, DECIMALS, leave_out=["singular_values"])
    output.save(spectra, of_nulls)


def _rows(spectra: "LayerSpectra") -> list[dict[str, object]]:
    return [
        {
            "layer": layer,
            "effective_rank": spectrum.effective_rank,
            "stable_rank": spectrum.stable_rank,
            "k95": spectrum.k95,
            "largest": float(spectrum.values[0]),
            "smallest": float(spectrum.values[-1]),
        }
        for layer, spectrum in spectra.layers.items()
    ]


if __name__ == "__main__":
    run(main)
