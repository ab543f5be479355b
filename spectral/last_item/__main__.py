"""Measure how often the last item alone gives the same recommendations: `python -m spectral.last_item ckpt.pt`."""

from typing import Annotated

import typer

from models.command_line import print_json, run
from models.errors import DataError
from spectral import command_line as options
from spectral.choices import K
from spectral.command_line import Output, Subject, print_table, users_of


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the lists of recommended items.")] = K,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Compare the top k of each user's history with that of a history of its last item alone.

    The items of the whole history are left out of both lists. Prints, for the first item and for the first k, the mean
    overlap, the share of users with the same items, and with the same items in the same order; and the overlap of one
    user's list with the one-item list of another, by chance. Writes last_item.png, .pdf and .csv for every length up to
    k. Users with one item only are left out.
    """
    from spectral.capture import in_batches
    from spectral.last_item import LastItemOverlap

    output = Output.prepare("last_item", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.users(length)
    subject.describe(len(windows), users_of(length, "users"))
    try:
        batches = in_batches(windows, loading.batch_size, subject.model.name)
        measured = LastItemOverlap.of_model(subject.model, batches, k)
    except ValueError as error:
        raise DataError(f"{subject.dataset}: {error}") from error
    if files.json:
        print_json({"users": measured.users, "lists": measured.summary()})
    else:
        print_table(measured.summary(), {})
    output.save(measured.labelled(subject.model.name))


if __name__ == "__main__":
    run(main)
