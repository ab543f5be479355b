"""Measure similarities by history length or popularity: `python -m spectral.strata ckpt.pt --by popularity`."""

from typing import Annotated

import typer

from models.command_line import print_json, run
from models.errors import check_choice
from spectral import command_line as options
from spectral.choices import BY, GROUPS, K
from spectral.command_line import Output, Subject, print_table

DECIMALS = {"from": 1, "to": 1, "between_users": 3, "within_sequence": 3, "cka_first_last": 3, "cka_by_chance": 3}
DECIMALS |= {"overlap": 3, "overlap_by_chance": 3}


def main(
    checkpoint: options.CheckpointArgument,
    *,
    by: Annotated[str, typer.Option(help="What users are grouped by: length or popularity of their items.")] = "length",
    groups: Annotated[int, typer.Option(min=1, help="Number of strata, of about equal size.")] = GROUPS,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the lists of recommended items.")] = K,
    users: options.Users,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure every similarity in groups of users with short to long histories, or unpopular to popular items.

    Cosine similarity between users and within a sequence, linear CKA of each layer with the last one, and overlap of
    recommendations with those of the last item alone. Popularity is the mean count of a user's items in the training
    part of the dataset, which must be there. Prints the last layer, and writes strata.png, .pdf and .csv with all.
    """
    from spectral.strata import StratifiedSimilarity, numbers_of

    check_choice("--by", by, BY)
    output = Output.prepare("strata", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.users(at_least=2)
    subject.describe(len(windows), f"users by {by}")
    numbers = numbers_of(windows, by, subject.item_counts)
    measured = StratifiedSimilarity.of_model(subject.model, windows, numbers, by, groups, k, loading.batch_size)
    if files.json:
        print_json({"by": by, "strata": measured.summary()})
    else:
        print_table(measured.summary(), DECIMALS)
    output.save(measured)


if __name__ == "__main__":
    run(main)
