"""Trained models that come with the package: `example:sasrec` stands wherever the path of a checkpoint does.

`make examples` makes their files, <name>.pt beside this module. README.md there says what they were trained on.
"""

from pathlib import Path

from models.errors import CheckpointError

PREFIX = "example:"


def names() -> list[str]:
    """Return the names of the examples.

    >>> names()
    ['bsarec', 'sasrec']
    """
    return sorted(path.stem for path in Path(__file__).parent.glob("*.pt"))


def locate(path: str | Path) -> Path:
    """Return the file of a checkpoint: that of an example for `example:<name>`, otherwise `path` itself.

    Raises CheckpointError, with the names that there are, for an unknown example.

    >>> locate("runs/model.pt").as_posix()
    'runs/model.pt'
    >>> locate("example:sasrec").name
    'sasrec.pt'
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return Path(path)
    name = text.removeprefix(PREFIX)
    if name not in names():
        known = ", ".join(f"{PREFIX}{each}" for each in names())
        raise CheckpointError(f"there is no {text!r} among the examples, which are {known}")
    return Path(__file__).with_name(f"{name}.pt")
