"""Time to read checkpoints, with our reader and with torch.load, side by side on the same files.

python benchmarks/loading_speed.py [FILE ...] [--rounds 9] [--json]

Without files, it writes some: a small and a large state dict in both formats of torch.save, and one of many tensors.
Both readers must return the same bytes. The times are medians over rounds in which they take turns; `ratio` is ours by
torch's.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from machine import report
from torch import Tensor

from models.command_line import run
from models.safe_load import read_tensors


def write_samples(folder: Path) -> list[Path]:
    """Write state dicts of several sizes, drawn from a fixed seed, and return their files."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"small": (50, 64 * 64), "many_tensors": (2000, 64), "large": (20, 2_000_000)}
    files = []
    for name, (tensors, numbers) in sizes.items():
        state = {f"layers.{place}.weight": torch.randn(numbers, generator=generator) for place in range(tensors)}
        for ending, zipped in ((".pt", True), (".legacy.pt", False)):
            files.append(folder / f"{name}{ending}")
            torch.save(state, files[-1], _use_new_zipfile_serialization=zipped)
    return files


def seconds(read: Callable[[Path], Any], file: Path) -> float:
    """Return the time of reading a file once."""
    started = time.perf_counter()
    read(file)
    return time.perf_counter() - started


def read_with_torch(file: Path) -> Any:
    """Read a file with torch's restricted reader."""
    return torch.load(file, map_location="cpu", weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Return whether two contents have the same tensors, bit by bit, and the same values."""
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(_bytes(one), _bytes(other))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def compare(file: Path, rounds: int) -> dict[str, float]:
    """Return the times of both readers for a file. Raises ValueError if they read different contents."""
    if not same(read_tensors(file), read_with_torch(file)):
        raise ValueError(f"{file}: the two readers return different contents")
    pairs = [(seconds(read_tensors, file), seconds(read_with_torch, file)) for _ in range(rounds)]
    ours, theirs = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    return {"ours_ms": ours, "torch_ms": theirs, "ratio": ours / theirs}


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="files that torch.save wrote [samples]")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="of each reader")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Compare our reader with torch.load."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = {file.name: compare(file, rounds) for file in files or write_samples(Path(folder))}
    lines = [
        f"{name:32} ours {row['ours_ms']:8.2f} ms, torch {row['torch_ms']:8.2f} ms, ratio {row['ratio']:.2f}"
        for name, row in results.items()
    ]
    report(results, as_json, lines)


if __name__ == "__main__":
    run(main)
