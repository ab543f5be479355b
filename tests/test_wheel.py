"""The wheel works outside a clone: commands, example checkpoints, templates, styles, and marks of typed packages."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from repository import ROOT

from spectral.gallery import Gallery

pytest.importorskip("setuptools", minversion="77", reason="builds the wheel without a package index")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that git knows, built without a network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = subprocess.check_output(["git", "ls-files", "models", "spectral"], cwd=ROOT, text=True).split("\n")
    for name in [*filter(None, names), "pyproject.toml", "LICENSE", "README.md"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    subprocess.run(build, cwd=source, check=True)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.check_output(asked, text=True).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    into = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(into, check=True)
    return folder / "bin"


def test_everything_that_is_no_code_is_in_the_wheel(wheel: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = subprocess.check_output(["git", "ls-files", "models", "spectral"], cwd=ROOT, text=True).split("\n")
    assert {name for name in files if name} <= inside
    assert {"models/py.typed", "spectral/py.typed"} <= inside
    assert wheel.name.startswith("spectral_recommenders-")


def test_an_installed_wheel_draws_an_example_beside_folders_of_its_names(installed: Path, tmp_path: Path):
    for name in ("models", "spectral"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / arguments[0]), *arguments[1:]]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    where = run("spectral", "filter-response", "example:bsarec", "--max-users", "20", "--format", "png")
    assert where.returncode == 0, where.stderr
    assert (tmp_path / "filter_response.png").stat().st_size > 10_000
    gallery = Gallery(tmp_path / "gallery", "")
    gallery.add_table("rings", pd.DataFrame({"k": [1]}))
    gallery.note("rings", caption="Rings.", see="One.")
    pages = run("spectral", "gallery", "gallery")
    assert pages.returncode == 0, pages.stderr
    assert "<html" in (tmp_path / "gallery" / "index.html").read_text()
    assert "No module named spectral" in run("python", "-m", "spectral.filter_response", "x.pt").stderr
    (tmp_path / "spectral" / "__init__.py").rename(tmp_path / "spectral.txt")
    shadowed = run("python", "-m", "spectral.filter_response", "x.pt")
    assert shadowed.returncode == 2 and shadowed.stderr.count("\n") == 1 and "stands in the place" in shadowed.stderr
