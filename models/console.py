"""The console script `spectral`: every command of both packages, by one name.

`spectral filter-response ckpt.pt` is `python -m spectral.filter_response ckpt.pt`. It works beside any folder called
models/ or spectral/, which `python -m` would take for the packages. A command is imported when it is asked for, so
`spectral --help` is quick. The script stands in models, to be found where another package has the name spectral; the
commands of spectral are names in a table, and models imports none of them.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from models.command_line import app_of, run_app
from models.errors import did_you_mean
from models.installation import DISTRIBUTION, check_spectral, installed_version

# Two commands are called compare: that of measures keeps the name, that of trained runs is compare-runs.
COMMANDS = {
    "report": "spectral.report.__main__",
    "filter-response": "spectral.filter_response.__main__",
    "transfer-map": "spectral.transfer_map.__main__",
    "block-response": "spectral.block_response.__main__",
    "learned-filters": "spectral.learned_filters.__main__",
    "attention-statistics": "spectral.attention_statistics.__main__",
    "singular-values": "spectral.singular_values.__main__",
    "cosine-similarity": "spectral.cosine_similarity.__main__",
    "smoothing": "spectral.smoothing.__main__",
    "rank-one": "spectral.rank_one.__main__",
    "mixing-ratio": "spectral.mixing_ratio.__main__",
    "cka": "spectral.cka.__main__",
    "last-item": "spectral.last_item.__main__",
    "strata": "spectral.strata.__main__",
    "signals": "spectral.signals.__main__",
    "user-frequency": "spectral.user_frequency.__main__",
    "theorem1": "spectral.theorem1.__main__",
    "integrity": "spectral.integrity.__main__",
    "summary": "spectral.summary.__main__",
    "compare": "spectral.compare.__main__",
    "dynamics": "spectral.dynamics.__main__",
    "claims": "spectral.claims.__main__",
    "gallery": "spectral.gallery.__main__",
    "datasets": "models.datasets.__main__",
    "train": "models.train",
    "evaluate": "models.evaluate",
    "compare-runs": "models.compare",
    "convert": "models.convert",
    "remaining": "models.remaining",
}
PANELS = {"spectral": "What models do to sequences", "models": "Models and their data"}


class Commands(TyperGroup):
    """A group of commands that are imported one by one."""

    def list_commands(self, context: Any) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, context: Any, name: str) -> Any:
        """Return what the help and completion say about a command, without importing it; None for another name."""
        if name not in COMMANDS:
            return None
        package = COMMANDS[name].partition(".")[0]
        return TyperCommand(name, help=summary(name), rich_help_panel=PANELS[package])

    def resolve_command(self, context: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return name, command and arguments, to run it or to complete its arguments."""
        name, *rest = args
        if name in COMMANDS:
            return name, load(name), rest
        if not context.resilient_parsing:  # a completion says nothing
            context.fail(f"No such command {name!r}{did_you_mean(name, COMMANDS)}")
        return None, None, rest


def load(name: str) -> Any:
    """Import a command by its name, and return it as typer runs it.

    Raises ConfigError if it is one of spectral, and another package has that name.
    """
    if COMMANDS[name].startswith("spectral."):
        check_spectral()
    module = import_module(COMMANDS[name])
    command = typer.main.get_command(module.app if hasattr(module, "app") else app_of(module.main))
    command.name = name
    return command


def summary(name: str) -> str:
    """Return the first paragraph of a command's help, read from its file.

    >>> summary("remaining")
    'Print how many runs of each block of the run list are left, and how many hours they may take.'
    """
    file = Path(__file__).parents[1].joinpath(*COMMANDS[name].split(".")).with_suffix(".py")
    functions = [node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.FunctionDef)]
    text = next(ast.get_docstring(function) for function in functions if function.name == "main")
    return (text or "").partition("\n\n")[0]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{DISTRIBUTION} {installed_version()}")
        raise typer.Exit


app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See what a trained sequential recommender does to its users' histories; train and evaluate recommenders.

    Every command says more: spectral filter-response --help.
    """


def main() -> NoReturn:
    """Run the console script."""
    run_app(app)
