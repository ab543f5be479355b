"""README and the pages of docs: their Python runs, their commands on examples run, and the site is built."""

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from repository import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Their Python is run by tests of their own, with the models that they are about.
TESTED = {
    "adapters.md": "tests/spectral/test_recipes.py",
    "scaling.md": "tests/spectral/test_accumulator.py",
    "watching.md": "tests/spectral/test_watch.py",
}
FENCES = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
ORDERS = [f"{user},{item},{1 + (user + item) % 28}/02/2024" for user in range(8) for item in range(8)]
SITE = ("sphinx", "myst_nb", "furo", "latex2mathml")


class Backbone(torch.nn.Module):
    """What the page about other libraries asks of a model of RecTools."""

    def __init__(self) -> None:
        super().__init__()
        self.item_model = torch.nn.Embedding(101, 8)
        self.item_model.get_all_embeddings = lambda: self.item_model.weight
        self.transformer_layers = torch.nn.Module()
        self.transformer_layers.transformer_blocks = torch.nn.ModuleList([torch.nn.Linear(8, 8)])

    def encode_sessions(self, batch: dict[str, torch.Tensor], table: torch.Tensor) -> torch.Tensor:
        return self.transformer_layers.transformer_blocks[0](table[batch["x"]])


def given(page: str) -> dict[str, object]:
    """What the reader of a page has already."""
    ids = torch.randint(1, 31, (4, 7))
    return {"capture.md": {"model": Backbone(), "ids": ids}, "third-party.md": {"model": Backbone()}}.get(page, {})


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: one in which the repository's results stand, as in a clone, and a table of the reader."""
    (tmp_path / "figures").symlink_to(ROOT / "figures")
    (tmp_path / "orders.csv").write_text("\n".join(["customer,product,bought", *ORDERS]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python_of(page: Path) -> list[str]:
    return [code for kind, code in FENCES.findall(page.read_text()) if kind == "python"]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if python_of(p) and p.name not in TESTED], ids=lambda page: page.name
)
def test_python_of_a_page_runs(page: Path, clone: Path):
    if "transformers" in page.read_text():
        pytest.importorskip("transformers")
    names = given(page.name)
    for code in python_of(page):
        exec(compile(code, page.name, "exec"), names)
        if "captures" in names:
            names["captures"] = list(names["captures"])  # a generator measures nothing until it is read


@pytest.mark.parametrize("page", TESTED)
def test_a_page_with_a_test_of_its_own_has_one(page: str):
    assert f"docs/{page}" in (ROOT / TESTED[page]).read_text()


def example_commands() -> list[str]:
    """The commands of all pages that measure an example, as modules with their arguments."""
    found = []
    for page in PAGES:
        for _, block in FENCES.findall(page.read_text()):
            for line in block.splitlines():
                if re.match(r"(python -m (models|spectral)\.\S+|spectral \S+) example:", line):
                    found.append(line.partition("  #")[0].strip())
    return sorted(set(found))


def test_commands_on_examples_are_found():
    assert len(example_commands()) >= 6


@pytest.mark.parametrize("line", example_commands())
def test_a_command_on_an_example_runs(
    line: str, clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    words = shlex.split(line)
    module, arguments = (words[2], words[3:]) if words[0] == "python" else ("models.console", words[1:])
    if "evaluate" not in line:
        arguments += ["--max-users", "40", "--format", "csv"]
    if "--null" in line:
        arguments += ["--draws", "1"]
    if "integrity" in line or "report" in line:
        arguments = arguments[:-2]  # they write no tables
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as stop:
        if words[0] == "python":
            runpy.run_module(module, run_name="__main__")
        else:
            from models.console import main

            main()
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    assert out or "wrote" in err


def test_the_readme_is_a_front_page():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
    assert "python -m spectral.filter_response ckpt.pt" in "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_of_the_repository_lead_somewhere(page: Path):
    for link in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.skipif(not all(map(importlib.util.find_spec, SITE)), reason="the extra `docs` is not installed")
@pytest.mark.timeout(900)  # a minute on a core of its own
def test_the_site_is_built_without_warnings_and_loads_nothing_from_elsewhere(tmp_path: Path):
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    built = subprocess.run([*build, ROOT / "docs", tmp_path], env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-4000:]
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 50
    for name, content in pages.items():
        assert not re.search(r"<(script|img|iframe)\b[^>]*\bsrc=\"(https?:)?//", content), name
        assert not re.search(r"<link\b[^>]*rel=\"(stylesheet|preload)\"[^>]*href=\"(https?:)?//", content), name
    commands = pages["generated/commands/spectral.html"] + pages["generated/commands/models.html"]
    from models.console import COMMANDS

    assert all(f"spectral {name}" in commands for name in COMMANDS)
    assert "<math" in pages["measures.html"]
