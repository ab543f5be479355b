"""Check whether a model does what its architecture promises: `python -m spectral.integrity ckpt.pt`."""

from models.command_line import inform, print_json, run
from spectral import command_line as options
from spectral.command_line import Subject


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    json: options.JsonOption = False,
    loading: options.Loading,
) -> None:
    """Check whether a model does what its architecture promises, and say where it does not.

    The checks: causal (does an output depend on a later item?), batch_independent, padding_independent, order_sensitive
    (does shuffling the history change the ranking?), parameters_alive, layers_act (is a layer an identity within .1
    dB?), rows_stochastic, finite; and two values, popularity and last_item: how much of the scores follows from how
    often items occur, and from the last item. "claimed" says whether the architecture promises the property. "passes"
    is NO for a broken promise, no for a property that is neither promised nor there.

    The users are those of the checkpoint or of --data; without users, windows of random items are used. The exit code
    is 0 whatever is found, and 2 if the checkpoint cannot be used; scripts read the verdicts with --json.
    """
    from models.integrity import lines
    from spectral.integrity import integrity

    chosen = users.data is not None or users.split != "test"
    subject = Subject.load(checkpoint, which="some" if chosen else "none", **vars(users), **vars(loading), finite=False)
    found = integrity(subject)
    kind = f"users of {subject.dataset}" if len(subject.windows) else "random items; name users with --data"
    if json:
        described = {"model": subject.model.name, "dataset": subject.dataset, "users": len(subject.windows)}
        print_json(described | {"checks": [check.record() for check in found]})
        return
    inform(f"{subject.model.title}, checked on {kind}")
    print(*lines(found.checks), sep="\n")


if __name__ == "__main__":
    run(main)
