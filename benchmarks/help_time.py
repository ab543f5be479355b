"""The processor time of `--help` of every command, both ways to call it: `python benchmarks/help_time.py`."""

import resource
import subprocess
import sys
from typing import Annotated

import typer
from machine import report

from models.command_line import run
from models.console import COMMANDS

LIMIT = 1.2  # seconds of processor time that a command may take to print its help
SCRIPT = "import sys; from models.console import main; sys.argv[0] = 'spectral'; main()"


def seconds(*arguments: str) -> float:
    """Return the processor time, user and system, of Python with some arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments, "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure every command once by each of its names; a first, unmeasured call fills the caches of files."""
    seconds("-m", "spectral")
    rows = [
        {
            "command": name,
            "spectral": seconds("-c", SCRIPT, name),
            "python -m": seconds("-m", module.removesuffix(".__main__")),
        }
        for name, module in COMMANDS.items()
    ]
    slowest = max(max(row["spectral"], row["python -m"]) for row in rows)
    lines = [f"{row['command']:22} {row['spectral']:6.2f} s  {row['python -m']:6.2f} s" for row in rows]
    lines.append(f"slowest: {slowest:.2f} s, of {LIMIT} s")
    report({"seconds": rows, "slowest": slowest, "limit": LIMIT}, as_json, lines)


if __name__ == "__main__":
    run(main)
