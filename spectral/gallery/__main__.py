"""Write the pages of a gallery: `python -m spectral.gallery figures`."""

from pathlib import Path
from typing import Annotated

import typer

from models.command_line import inform, run


def main(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the gallery, with one folder per dataset.")
    ],
) -> None:
    """Write README.md and index.html of a gallery: every figure and table with its note."""
    from spectral.gallery import write_pages

    for path in write_pages(folder):
        inform(f"wrote {path}")


if __name__ == "__main__":
    run(main)
