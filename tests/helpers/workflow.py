"""Runs of the workflow, each with all its output in a folder."""

import subprocess
import sys
from pathlib import Path

from repository import ROOT


def command(folder: Path, *arguments: str, profile: str = "smoke") -> list[str]:
    """The command of a run."""
    config = [f"profile={profile}", f"runs={folder}/runs", f"figures={folder}/figures"]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return [*snakemake, "--cores", "2", "--nolock", "--rerun-incomplete", *arguments, "--config", *config]


def run(folder: Path, *arguments: str) -> str:
    """Run the smoke profile, and return what Snakemake said."""
    done = subprocess.run(command(folder, *arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr
