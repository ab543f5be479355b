"""On what a benchmark was measured, and how all benchmarks print what they found."""

import os
import platform
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from models.command_line import print_json
from models.layers import compiled
from models.results.runs import name_of


def machine(threads: int | None = None) -> dict[str, Any]:
    """Return the processor's name, the cores that this process may use, the threads, the compiled layers, and versions.

    threads: of each process that was measured; those of this process if None.
    """
    return {
        "processor": name_of(torch.device("cpu")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "compiled_layers": compiled.variant(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def in_words(where: Mapping[str, Any]) -> str:
    """Return one line about a machine, as `machine` describes it."""
    return (
        f"{where['processor']}, cores: {where['cores']}, threads: {where['threads']}, "
        f"compiled layers: {where['compiled_layers']}, Python {where['python']}, "
        f"PyTorch {where['torch']}, NumPy {where['numpy']}"
    )


def report(found: Mapping[str, Any], as_json: bool, lines: Iterable[str], threads: int | None = None) -> None:
    """Print what was found as one JSON object with the machine in it, or as lines for people, the machine first."""
    where = machine(threads)
    if as_json:
        print_json({"machine": where, **found})
        return
    print(in_words(where))
    for line in lines:
        print(line)


def aligned(found: Mapping[str, Any]) -> list[str]:
    """Return one line per name and number, of three digits or, from 1,000 on, without decimals."""
    width = max(map(len, found))
    return [f"{name:{width}} {value:,.{0 if abs(value) >= 1000 else 3}{_kind(value)}}" for name, value in found.items()]


def _kind(value: float) -> str:
    return "f" if abs(value) >= 1000 else "g"
