"""Write what the curves of a finished run need: `python -m spectral.summary ckpt.pt`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, run
from models.files import check_replaceable
from spectral import command_line as options
from spectral.command_line import Subject


def main(
    checkpoint: options.CheckpointArgument,
    *,
    data: options.DataOption = None,
    nulls: options.Nulls,
    file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="File to write.", show_default="beside the checkpoint, .spectral.npz"
        ),
    ] = None,
    loading: options.Loading,
) -> None:
    """Measure all users of a dataset, by default that of the training, and write sums that curves are drawn from.

    Of all users and of 200 bootstrap samples of them: response of attention, spectrum of hidden states, singular
    values, ranks and similarities after each layer, and BSARec's beta. With --null also of null models, without
    samples; each draw takes another pass over all users. A null that the model does not have is left out, with a note.
    """
    from spectral.nulls import nulls_of
    from spectral.summary import FILE, summarise

    nulls.check()
    path = file or checkpoint.with_suffix(".spectral.npz")
    check_replaceable(path, FILE)
    subject = Subject.load(checkpoint, which="all", data=data, **vars(loading))
    about = {
        "model": subject.model.name,
        "dataset": subject.dataset,
        "fingerprint": subject.sequences.fingerprint,
        "seed": subject.model.checkpoint["seed"],
        "versions": subject.model.checkpoint["versions"],
    }
    has = nulls_of(subject.model)
    names = [name for name in nulls.null or () if name in (*has, "all")]
    if lacking := [name for name in nulls.null or () if name not in (*has, "all")]:
        inform(f"note: {subject.model.title} has no attention to replace, so the summary lacks {', '.join(lacking)}")
    summarise(subject.model, subject.windows, about, subject.batch_size, True, names, nulls.draws).write(path)
    inform(f"wrote {path}")


if __name__ == "__main__":
    run(main)
