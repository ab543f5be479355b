"""Measure how far hidden states are from rank one, and through which parts of blocks: `python -m spectral.rank_one`."""

from models.command_line import inform, print_json, run
from models.errors import ConfigError, DataError
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, users_of


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure the distance of hidden states to rank one, 0 if all positions of a sequence are equal.

    It is ||X - 1 x^T|| / ||X|| on the real positions of each user, x their mean; the mean over users with at least two
    items is shown. It is measured after each layer, and through the parts of each block: what attention (or a filter)
    and the feed-forward network add, with the residual connection, and after the LayerNorm. Of a model that is not made
    of such blocks the layers alone are measured. Prints the distances with those of white noise of the same lengths,
    and writes rank_one.png, .pdf and .csv with standard errors. Layer 0 is the embedding output.
    """
    from spectral.capture import in_batches
    from spectral.rank_one import RankOneDistance

    output = Output.prepare("rank_one", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.users(length)
    subject.describe(len(windows), users_of(length, "users"))
    try:
        batches = in_batches(windows, loading.batch_size, subject.model.name)
        measured = RankOneDistance.of_parts(subject.model, batches)
    except ConfigError as error:
        inform(f"note: layers only; {error}")
        measured = RankOneDistance.from_captures(subject.captures(windows, attention=False))
    if not measured.sequences.any():
        raise DataError(f"{subject.dataset}: no user has two items, so there are no positions to compare")
    if files.json:
        print_json({"sequences": int(measured.sequences.max()), "parts": measured.summary()})
    else:
        print_table(measured.summary(), {})
    output.save(measured.labelled(subject.model.name))


if __name__ == "__main__":
    run(main)
