"""Measure how similar users and positions become: `python -m spectral.cosine_similarity ckpt.pt`."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, users_of

if TYPE_CHECKING:
    from torch import Tensor

    from spectral.cosine_similarity import CosineSimilarity


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    convention: Annotated[
        str,
        typer.Option(help="pairs divides by n (n - 1); published by n^2, like the notebook of BSARec's authors."),
    ] = "pairs",
    nulls: options.Nulls,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure mean cosine similarities after each layer: 1 means smoothed into one direction.

    Between users: over all pairs of their hidden states at the last position. Within a sequence: between its real
    positions, averaged over users with at least two items. Prints both and writes cosine_similarity.png, .pdf and
    .csv. Layer 0 is the embedding output.
    """
    from spectral.cosine_similarity import Convention, CosineSimilarity, check_convention
    from spectral.resampling import RESAMPLES

    check_convention(convention)
    nulls.check()
    output = Output.prepare("cosine_similarity", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.users(length, at_least=2)
    subject.describe(len(windows), users_of(length, "users"))

    def measure(other: Subject, inputs: "Tensor", resamples: int = 0) -> "CosineSimilarity":
        captures = other.captures(inputs, attention=False)
        return CosineSimilarity.from_captures(captures, cast(Convention, convention), resamples=resamples)

    similarity, of_nulls = measure(subject, windows, RESAMPLES), nulls.of(subject, windows, measure)
    if files.json:
        print_json({"layers": similarity.summary()} | options.nulls_json(of_nulls))
    else:
        print_table(similarity.summary(), {})
        options.print_nulls(of_nulls, {})
    output.save(similarity.labelled(subject.model.name), of_nulls)


if __name__ == "__main__":
    run(main)
