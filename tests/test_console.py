"""The console script `spectral`: all commands by one name, in every folder, and what is said where names clash."""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
import torch
from repository import ROOT
from typer.main import get_command
from typer.testing import CliRunner

import models
import spectral
from models import choices, console, registry
from models.console import COMMANDS
from models.datasets.sequences import HELD_OUT
from models.evaluation import summarise
from models.layers import sampled_softmax
from models.layers.losses import LOSSES
from models.results.significance import TESTS
from spectral import choices as spectral_choices
from spectral.compare import MEASURES
from spectral.cosine_similarity import Convention

MISSING = ("filter-response", "nothing.pt")
TRAIN = ("train", "--model", "sasrec", "--dataset", "synthetic:users=20,items=30", "--epochs", "1", "--watch")


@pytest.fixture
def script(tmp_path: Path):
    """Run the script as it is installed, from a folder that is not the current one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spectral").write_text("from models.console import main\nmain()\n")
    (tmp_path / "here").mkdir()

    def run(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        places = [str(place) for place in (path, ROOT) if place is not None]
        given = os.environ | {"PYTHONPATH": os.pathsep.join(places), "COLUMNS": "200"} | environment
        command = [sys.executable, str(tmp_path / "bin" / "spectral"), *arguments]
        return subprocess.run(command, cwd=tmp_path / "here", env=given, capture_output=True, text=True)

    return run


def module(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    given = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True)


def test_every_program_of_the_packages_is_a_command():
    programs = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("models", "spectral")
        for path in (ROOT / package).rglob("*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    assert programs - {"spectral.__main__"} == set(COMMANDS.values())
    assert len(set(COMMANDS.values())) == len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_loaded_with_the_help_that_is_listed(name: str):
    context = get_command(console.app).make_context("spectral", [name], resilient_parsing=True)
    found, command, rest = context.command.resolve_command(context, [name, "--help"])
    assert (found, rest) == (name, ["--help"])
    assert command.help.startswith(context.command.get_command(context, name).help)


def test_the_help_lists_every_command_and_imports_none():
    program = "try: main()\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    code = f"import sys\nfrom models.console import main\nsys.argv = ['spectral', '--help']\n{program}"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert all(f" {name} " in listed.stdout for name in COMMANDS)
    assert not {"torch", "pandas", "matplotlib", *COMMANDS.values()} & set(listed.stderr.split())


def test_both_forms_say_the_same(script, tmp_path: Path):
    short, long = script(*MISSING), module("spectral.filter_response", MISSING[1], folder=tmp_path / "here")
    assert short.stderr == long.stderr == "error: nothing.pt: No such file or directory\n"
    assert short.returncode == long.returncode == 2
    assert "Usage: spectral filter-response [OPTIONS]" in script(MISSING[0], "--lenght", "3").stderr
    whole = module("spectral", *MISSING, folder=tmp_path / "here")
    assert (whole.returncode, whole.stderr) == (2, short.stderr)


def test_version_completion_and_a_name_that_is_nearly_right(script):
    assert script("--version").stdout == f"spectral-recommenders {version('spectral-recommenders')}\n"
    wrong = script("filter_respons")
    assert wrong.returncode == 2 and "did you mean 'filter-response'?" in wrong.stderr
    asked = {"_SPECTRAL_COMPLETE": "complete_bash", "COMP_WORDS": "spectral filter-response --le", "COMP_CWORD": "2"}
    assert script(**asked).stdout.split() == ["--length"]
    assert script(**asked | {"COMP_WORDS": "spectral compare", "COMP_CWORD": "1"}).stdout.split() == [
        "compare",
        "compare-runs",
    ]


@pytest.mark.parametrize("foreign", ["models/__init__.py", "models/notes.txt", "models.py"])
def test_another_package_models_in_the_folder_is_named(script, tmp_path: Path, foreign: str):
    here = tmp_path / "here"
    (here / foreign).parent.mkdir(exist_ok=True)
    (here / foreign).touch()
    found = script(*MISSING)
    assert (found.returncode, found.stderr) == (2, "error: nothing.pt: No such file or directory\n")
    shadowed = module("spectral.filter_response", "nothing.pt", folder=here)
    if foreign.endswith(".txt"):  # a folder without code stands behind a package, if that is on the path
        assert shadowed.stderr == found.stderr
        return
    assert shadowed.returncode == 2 and shadowed.stderr.count("\n") == 1
    assert shadowed.stderr.startswith(f"error: {here / foreign} stands in the place of the package models")
    assert "spectral filter-response" in shadowed.stderr
    imported = subprocess.run(
        [sys.executable, "-c", "import spectral"],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert imported.returncode == 1 and "ImportError" in imported.stderr and str(here / foreign) in imported.stderr


def test_another_package_spectral_in_the_folder_stops_only_what_needs_ours(script, tmp_path: Path):
    here = tmp_path / "here"
    (here / "spectral").mkdir()
    (here / "spectral" / "__init__.py").touch()
    assert script(*MISSING).stderr == "error: nothing.pt: No such file or directory\n"
    watched = module("models.train", *TRAIN[1:], folder=here)
    assert watched.returncode == 2 and watched.stderr.count("\n") == 1
    assert f"{here / 'spectral' / '__init__.py'} stands in the place of the package spectral" in watched.stderr
    first = script(*MISSING, path=here)
    assert first.returncode == 2 and "stands in the place of the package spectral" in first.stderr


def test_the_other_project_called_spectral_is_named_where_it_is_installed(script, tmp_path: Path):
    site = tmp_path / "site"
    (site / "spectral-0.24.dist-info").mkdir(parents=True)
    (site / "spectral-0.24.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spectral\nVersion: 0.24\n")
    beside = script(*MISSING, path=site)  # ours was installed last
    assert beside.returncode == 2 and "note: the project 'spectral' for hyperspectral images" in beside.stderr
    (site / "spectral").mkdir()
    (site / "spectral" / "__init__.py").touch()
    instead = script(*MISSING, path=site)
    assert instead.returncode == 2 and "pip uninstall spectral" in instead.stderr.splitlines()[-1]
    assert "Traceback" not in instead.stderr


def test_packages_know_their_version_and_their_names():
    assert models.__version__ == spectral.__version__ == version("spectral-recommenders")
    assert {*spectral.__all__, "__version__"} <= set(dir(spectral)) and {*models.__all__} <= set(dir(models))


@pytest.mark.parametrize("package", ["models", "spectral"])
def test_type_checkers_see_the_names_that_are_imported_when_used(package: str):
    body = ast.parse((ROOT / package / "__init__.py").read_text()).body
    [checked] = [node for node in body if isinstance(node, ast.If)]
    seen = {f"{node.module}.{each.name}" for node in checked.body for each in node.names}
    places = {"models": models, "spectral": spectral}[package]._PLACES
    assert seen - {"spectral.plot"} == {f"{place}.{name}" for name, place in places.items()}


def test_no_help_imports_what_takes_long():
    slow = ("torch", "transformers", "torchmetrics", "pandas", "matplotlib", "scipy")
    code = (
        "import sys\nfrom models import console\nfrom typer.testing import CliRunner\n"
        "for name in console.COMMANDS:\n"
        "    result = CliRunner().invoke(console.app, [name, '--help'])\n"
        "    assert result.exit_code == 0 and 'Usage: ' in result.output, result.output\n"
        f"    print(name, *(slow for slow in {slow} if slow in sys.modules))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.split("\n") == [*COMMANDS, ""]


def test_choices_in_the_help_are_those_that_there_are():
    assert tuple(registry.MODELS) == choices.MODELS and (*LOSSES, sampled_softmax.NAME) == choices.LOSSES
    assert tuple(TESTS) == choices.TESTS and set(HELD_OUT) == set(choices.SPLITS)
    assert tuple(MEASURES) == spectral_choices.COMPARED and get_args(Convention) == spectral_choices.CONVENTIONS
    assert tuple(summarise(torch.ones(2))) == choices.METRICS


def parameters() -> list:
    """Every option and argument of every command, with the help of its command on a wide terminal."""
    found = []
    for name in COMMANDS:
        command = console.load(name)
        for each in [*getattr(command, "commands", {}).values(), command]:
            below = [] if each is command else [each.name]
            shown = CliRunner().invoke(console.app, [name, *below, "--help"], env={"COLUMNS": "1000"}).output
            found += [(f"{name} {' '.join(below)} {p.opts[0]}", p, shown) for p in each.params if p.name != "help"]
    return found


def line_of(shown: str, option: str) -> str:
    """Return the line of a help about an option or argument."""
    words = {line: line.strip("│* ").split() for line in shown.splitlines()}
    firsts = {first[0].partition(",")[0].strip("[].{}").lower(): line for line, first in words.items() if first}
    return firsts[option.partition(" ")[0].strip("[].{}").lower()]


def test_defaults_and_choices_of_every_option_are_shown():
    known = {
        "--loss": choices.LOSSES,
        "--split": choices.SPLITS,
        "--padding": choices.PADDINGS,
        "--beta": choices.BETAS,
        "--protocol": choices.PROTOCOLS,
        "--mask-seen": choices.SEEN_SCORES,
        "--test": choices.TESTS,
        "--format": spectral_choices.FORMATS,
        "--null": spectral_choices.NULLS,
        "--convention": spectral_choices.CONVENTIONS,
        "--by": spectral_choices.BY,
        "train --model": choices.MODELS,
        "user-frequency --measure": spectral_choices.USER_MEASURES,
        "compare --measure": spectral_choices.COMPARED,
        "compare-runs --metrics": choices.METRICS,
    }
    shown_choices = set()
    for name, parameter, shown in parameters():
        is_switch = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
        option = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar or parameter.name
        line = line_of(shown, option)
        if not is_switch:  # a switch is off by default
            assert "[required]" in line or "[default: " in line, f"{name}: {line}"
        for key in [key for key in known if f"{name} ".replace("  ", " ").endswith(f"{key} ") and line.strip()]:
            if key == "--padding" and is_switch:
                continue
            assert all(choice in line for choice in known[key]), f"{name}: {line}"
            shown_choices.add(key)
    assert shown_choices == set(known)


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("train --model bserec", "bsarec"),
        ("train --model sasrec --dataset ml-100", "ml-100k"),
        ("train --model sasrec --dataset synthetic --loss bcee", "bce"),
        ("train --model sasrec --dataset synthetic --padding cylic", "cyclic"),
        ("train --model bsarec --set alhpa=1", "alpha"),
        ("compare-runs x.json --metrics NDGC@20", "NDCG@20"),
        ("strata x.pt --by lenght", "length"),
        ("user-frequency x.pt --measure low_exces", "low_excess"),
        ("user-frequency x.pt --metric ndcg@20", "NDCG@20"),
        ("filter-response x.pt --null uniforn", "uniform"),
        ("filter-response x.pt --split tset", "test"),
        ("cosine-similarity x.pt --convention publish", "published"),
        ("evaluate x.pt --protocol temporl", "temporal"),
        ("datasets describe last-fm", "lastfm"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(monkeypatch, capsys, line: str, nearest: str):
    monkeypatch.setattr(sys, "argv", ["spectral", *line.split()])
    with pytest.raises(SystemExit) as stop:
        console.main()
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1 and f"did you mean '{nearest}'?" in err, err


@pytest.mark.parametrize("command", ["spectral.integrity", "spectral.singular_values"])
def test_how_much_is_printed_is_chosen_and_results_stay_alone_on_standard_output(call, checkpoint, command: str):
    code, out, err = call(command, checkpoint, "--json", "--quiet")
    assert code == 0 and err == "" and isinstance(json.loads(out), dict)
    code, plain, err = call(command, checkpoint)
    assert (code == 0 and "on synthetic" in err) or "checked on" in err
    code, verbose, detailed = call(command, checkpoint, "-v")
    assert verbose == plain and "models: " in detailed and len(detailed) > len(err)
    code, _, err = call(command, checkpoint, "-q", "-v")
    assert code == 2 and "contradict" in err


def test_a_package_that_is_imported_prints_warnings_only(tmp_path: Path):
    code = (
        "import logging, models; from models.train import train; "
        f"train('sasrec', 'synthetic:users=20,items=30', out={str(tmp_path / 'm.pt')!r}, epochs=1)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == ran.stderr == ""
