"""Every command, script and file that README, docstrings, messages, notebooks, captions and notes name is there."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
from named_commands import FOLDERS, Named, commands, options, paths, targets
from repository import ROOT
from workflow import command as snakemake

from models import console

MODULES = commands(r"(?<=python -m )(?:models|spectral)\.\w[\w.]*")
# In backticks, or at the start of a line or after a colon if what follows is no sentence.
CONSOLE = commands(
    r"(?:(?<=`)spectral (?=[a-z-])"
    r"|(?:(?<=\n)|(?<=    )|(?<=: ))spectral (?=--|[a-z][a-z0-9-]*(?: +#|\n| +(?:\S*\.pt|example:|--|[A-Z]{2,}))))"
)
SCRIPTS = commands(r"(?<=python )(?:benchmarks|notebooks|scripts)/\S+\.py")
MAKE = commands(r"(?:(?<=`)|(?<=with: )|(?<=^  )|(?<=\n))make [a-z][\w-]*(?= [A-Z]+=| *[`\"'#.,\n]|  |$)")
PAPERMILL = commands(r"papermill \S+\.ipynb")
SNAKEMAKE = commands(r"(?:(?<=`)|(?<=    )|(?<=\n))snakemake (?:--|[a-z]+ --|figures/)")


def named(command: Named) -> str:
    return f"{command.where}: {' '.join(command.words)}"


def help_of(run: object, program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Let a program read its arguments, and print its help instead of running; returns its exit code."""
    monkeypatch.setattr(sys, "argv", [program, *arguments, "--help"])
    with pytest.raises(SystemExit) as stop:
        run()
    return stop.value.code


def test_enough_is_found():
    assert len(MODULES) > 60 and len(SCRIPTS) >= 4 and len(MAKE) > 10 and len(PAPERMILL) >= 2 and len(SNAKEMAKE) > 5
    assert len(paths()) > 20 and len(CONSOLE) > 10


@pytest.mark.parametrize("command", MODULES, ids=named)
def test_a_module_that_is_named_runs_and_knows_the_options(
    command: Named, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    module, *arguments = options(command.words)
    code = help_of(lambda: runpy.run_module(module, run_name="__main__"), module, arguments, monkeypatch)
    assert code == 0, capsys.readouterr().err


def test_an_option_that_a_command_does_not_have_is_found(monkeypatch: pytest.MonkeyPatch):
    def run() -> None:
        runpy.run_module("models.evaluate", run_name="__main__")

    assert help_of(run, "models.evaluate", ["ckpt.pt", "--protocol", "temporal"], monkeypatch) == 0
    assert help_of(run, "models.evaluate", ["ckpt.pt", "--protocols", "temporal"], monkeypatch) == 2


@pytest.mark.parametrize("command", CONSOLE, ids=named)
def test_a_command_of_the_console_script_that_is_named_runs_and_knows_the_options(
    command: Named, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    program, *arguments = options(command.words)
    if arguments[0].startswith("--"):  # the help comes first, for --install-completion would change the shell
        arguments.insert(0, "--help")
    assert help_of(console.main, program, arguments, monkeypatch) == 0, capsys.readouterr().err


def test_an_option_and_a_command_that_the_console_script_does_not_have_are_found(monkeypatch: pytest.MonkeyPatch):
    assert help_of(console.main, "spectral", ["filter-response", "ckpt.pt"], monkeypatch) == 0
    assert help_of(console.main, "spectral", ["filter-response", "ckpt.pt", "--nul", "uniform"], monkeypatch) == 2
    assert help_of(console.main, "spectral", ["filter-responses", "ckpt.pt"], monkeypatch) == 2
    assert help_of(console.main, "spectral", ["--help", "--instal-completion"], monkeypatch) == 2


@pytest.mark.parametrize("command", SCRIPTS, ids=named)
def test_a_script_that_is_named_runs_and_knows_the_options(
    command: Named, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    script, *arguments = options(command.words)
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    run = lambda: runpy.run_path(str(ROOT / script), run_name="__main__")  # noqa: E731
    assert help_of(run, script, arguments, monkeypatch) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", MAKE, ids=named)
def test_a_target_of_make_that_is_named_exists_with_its_variables(command: Named):
    _, target, *variables = options(command.words)
    assert target in targets()
    makefile = (ROOT / "Makefile").read_text()
    for variable in variables:
        name, _, value = variable.partition("=")
        assert value and f"$({name})" in makefile


@pytest.mark.parametrize("command", PAPERMILL, ids=named)
def test_a_notebook_that_is_run_by_papermill_has_the_parameters(command: Named):
    _, notebook, *rest = options(command.words)
    given = [rest[place + 1] for place, word in enumerate(rest[:-1]) if word in ("-p", "-y")]
    known = papermill.inspect_notebook(ROOT / notebook)
    assert {re.match(r"\W*(\w+)", name)[1] for name in given} <= known.keys()
    nbformat.validate(nbformat.read(ROOT / notebook, as_version=4))


def test_targets_of_snakemake_that_are_named_are_planned(tmp_path: Path):
    asked: dict[str, set[str]] = {}
    for found in SNAKEMAKE:
        words = options(found.words)[1:]
        settings = [word for word in words if re.fullmatch(r"\w+=.*", word)]
        profile = next((word.partition("=")[2] for word in settings if word.startswith("profile=")), "quick")
        end = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
        asked.setdefault(profile, set()).update(word for word in words[:end])
    for profile, names in asked.items():
        wanted = [name.replace("figures/", f"{tmp_path}/figures/") for name in sorted(names)]
        given = snakemake(tmp_path, *wanted, "--dry-run", "--quiet", profile=profile)
        planned = subprocess.run(given, capture_output=True, text=True)
        assert planned.returncode == 0, planned.stderr


@pytest.mark.parametrize("path", paths(), ids=named)
def test_a_file_that_is_named_exists(path: Named):
    assert (ROOT / path.words[0]).exists()


def test_extras_that_are_named_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = commands(r"pip install -e")
    assert found
    for words in (found.words for found in commands(r"(?<=-e \")\.\[[\w,-]+\]")):
        assert set(words[0].strip(".[]").split(",")) <= extras.keys()


def test_folders_are_those_of_the_repository():
    assert all((ROOT / folder).is_dir() for folder in FOLDERS.split("|"))
