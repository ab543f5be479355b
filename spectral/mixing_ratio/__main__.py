"""Measure how much of a block's output is its residual: `python -m spectral.mixing_ratio ckpt.pt`."""

from models.command_line import print_json, run
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
    """Measure how much of each block's output is its residual, and how much attention and feed-forward network added.

    Prints the shares of the parts of the output: over all positions, at frequency 0, at the highest frequency, and at
    the last position. 1 minus the share of the residual is the mixing ratio. Writes mixing_ratio.png, .pdf and .csv
    with the shares at every frequency. Only users with full windows are measured, or with --length the users with
    exactly n items.
    """
    from spectral.capture import in_batches
    from spectral.mixing_ratio import MixingRatio

    output = Output.prepare("mixing_ratio", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading))
    windows = subject.full_windows(length)
    kind = users_of(length, "users with full windows")
    subject.describe(len(windows), f"{kind} (of {len(subject.windows):,})")
    batches = in_batches(windows, loading.batch_size, subject.model.name)
    measured = MixingRatio.of_model(subject.model, batches, length)
    if files.json:
        print_json({"users": measured.users, "positions": measured.positions, "layers": measured.summary()})
    else:
        print_table(measured.summary(), {})
    output.save(measured.labelled(subject.model.name))


if __name__ == "__main__":
    run(main)
