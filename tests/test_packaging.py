"""What people install is what was tested: the lists of dependencies agree, and every version is pinned."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from repository import ROOT

CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge calls a package otherwise
CONDA_ONLY = {"python", "pip"}


def normal(requirement: str) -> tuple[str, str]:
    """Name as package indexes compare it, and the version specifier."""
    name, specifier = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", requirement).groups()
    return re.sub(r"[-_.]+", "-", name).lower(), specifier


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements() -> dict[str, str]:
    """What the tests and the documentation need; the project itself, with its extra `transformers`, stands among it."""
    extras = project()["optional-dependencies"]
    own = f"{project()['name']}[transformers]"
    assert own in extras["test"]
    needed = [*project()["dependencies"], *extras["test"], *extras["docs"], *extras["transformers"]]
    return dict(normal(requirement) for requirement in needed if requirement != own)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(normal(line) for line in lines if not line.startswith("#"))


def test_conda_environment_lists_the_same_dependencies_as_the_project():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [pip] = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    from_pip = [entry for entry in pip if not entry.startswith("-e")]
    conda = dict(normal(entry) for entry in [*entries, *from_pip] if isinstance(entry, str))
    expected = {CONDA_NAMES.get(name, name): specifier for name, specifier in requirements().items()}
    assert {name: conda[name] for name in conda if name not in CONDA_ONLY} == expected
    assert conda["python"] == project()["requires-python"]


def test_constraints_pin_every_dependency_to_a_release_of_the_public_index():
    for name, specifier in pins().items():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", specifier), f"{name}{specifier} is no public release"
    assert requirements().keys() <= pins().keys()


def test_the_style_of_the_figures_is_packaged():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for pattern in config["package-data"]["spectral"]:
        assert list((ROOT / "spectral").glob(pattern)), f"spectral/{pattern} matches no file"


def test_citation_names_the_version_of_the_project_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project()["version"]
    assert "2312.10325" in str(citation["references"])


def test_ci_runs_the_tests_a_person_would_run():
    assert re.search(r"^make test$", (ROOT / ".ci/run").read_text(), re.MULTILINE)


@pytest.mark.parametrize("package", ["models", "spectral"])
def test_folders_of_tests_do_not_stand_before_the_packages(package: str, tmp_path: Path):
    expected = str(ROOT / package / "__init__.py")
    assert importlib.import_module(package).__file__ == expected
    ask = [sys.executable, "-c", f"import {package}; print({package}.__file__)"]
    for elsewhere in (tmp_path, ROOT / "notebooks", ROOT / "tests" / "helpers"):
        assert subprocess.check_output(ask, cwd=elsewhere, text=True).strip() == expected
