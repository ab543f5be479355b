"""Print what is left of the run list, and how long it may take: `python -m models.remaining`."""

from typing import Annotated

import typer

from models.command_line import inform, print_json, run
from models.errors import ConfigError


def main(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="settings that override the profile's, such as figures=FOLDER",
            show_default="none",
        ),
    ] = None,
    profile: Annotated[str, typer.Option(help="file of config/ that has the list")] = "paper",
    blocks: Annotated[bool, typer.Option("--blocks", help="print only the numbers of the unfinished blocks")] = False,
    processor: Annotated[
        str | None, typer.Option(help="whose speed the hours are of, as results name it", show_default="this machine's")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
) -> None:
    """Print how many runs of each block of the run list are left, and how many hours they may take."""
    from models.results.profile_file import read_profile
    from models.results.remaining import remaining, timed_on, unfinished_blocks
    from models.results.runs import processor_name

    settings = dict(text.partition("=")[::2] for text in given or [])
    if malformed := [text for text in given or [] if "=" not in text]:
        raise ConfigError(f"expected KEY=VALUE, got {malformed[0]!r}")
    chosen = read_profile(settings | {"profile": profile})
    if blocks:
        print(*unfinished_blocks(chosen))
        return
    speeds = timed_on(chosen, processor or processor_name())
    if processor and speeds != [processor]:
        raise ConfigError(f"--processor: no finished run names {processor!r}; they name: {', '.join(speeds) or 'none'}")
    found = list(remaining(chosen, processor or processor_name()))
    if json:
        print_json({"blocks": [vars(block) for block in found], "timed_on": speeds})
        return
    for block in found:
        unknown = f", and {block.unknown} without an estimate" if block.unknown else ""
        print(
            f"block {block.number:2}: {block.left:3} of {block.total:3} runs left, about {block.hours:5.1f} h{unknown}"
        )
    total = f"in total {sum(b.left for b in found)} runs, about {sum(b.hours for b in found):.0f} h"
    inform(f"{total} one after the other, at the speed of the finished runs of: {', '.join(speeds) or 'none'}")


if __name__ == "__main__":
    run(main)
