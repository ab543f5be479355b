"""Write what the benchmarks measured into docs/speed.md and docs/scaling.md; `make speed` measures before.

    python benchmarks/speed_table.py

The text between `<!-- speed -->`, `<!-- gpu -->`, `<!-- memory -->` or `<!-- scaling -->` and the next `<!-- end -->`
is made from the files of benchmarks/results: what `--json` of a benchmark printed, and what `--out` of scaling.py
wrote. Several files of a benchmark, train_speed.json and train_speed.other.json, are of several machines; each has a
table of its own.
"""

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from models.command_line import run
from models.errors import DataError
from spectral.palette import title_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"
SIDE_BY_SIDE = {"side_by_side": "two BSARec runs side by side, against one with both cores"}
NUMBERS = 64  # of an item, where train_memory.py measures the cross-entropy alone
VERSIONS = {"Python": "python", "PyTorch": "torch", "NumPy": "numpy"}
DIMENSIONS = {"users": "users", "items": "items", "max_len": "N", "hidden_size": "d", "num_layers": "layers"}


def on(where: Mapping[str, Any]) -> str:
    """Return on what was measured, in words; an early measurement has neither versions nor compiled layers.

    >>> on({"processor": "AMD EPYC", "cores": 2, "threads": 1})
    'AMD EPYC, cores: 2, threads of each process: 1, compiled layers: none, versions not recorded'
    """
    versions = [f"{title} {where[key]}" for title, key in VERSIONS.items() if key in where]
    return (
        f"{where['processor']}, cores: {where['cores']}, threads of each process: {where['threads']}, "
        f"compiled layers: {where.get('compiled_layers', 'none')}, "
        f"{', '.join(versions) or 'versions not recorded'}"
    )


def speed(found: Mapping[str, Any]) -> list[str]:
    """Return the table of `train_speed.py --json`."""
    rows = {SIDE_BY_SIDE.get(name, title_of(name)): row for name, row in found.items() if name != "machine"}
    return [
        f"On {on(found['machine'])}, milliseconds per step:",
        "",
        "| one thread each | published loop | here | throughput |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['reference_ms']:.0f} | {row['ours_ms']:.0f} | {row['ratio']:.1f}x |"
            for name, row in rows.items()
        ),
    ]


def gpu(found: Mapping[str, Any]) -> list[str]:
    """Return the table of `gpu.py --json`: means over the datasets, and sums of the seconds of one epoch of each."""
    models = list(dict.fromkeys(row["model"] for row in found["rows"]))
    datasets = list(dict.fromkeys(row["dataset"] for row in found["rows"]))
    return [
        f"On {found['device']}, with {on(found['machine'])}; products of large float32 matrices run at "
        f"{found['peak_tflops']:.0f} TFLOP/s. Means over {', '.join(datasets)}:",
        "",
        "| | eager, ms per step | as trained | gain | share of the peak | seconds of training, one epoch of each |",
        "|---|---|---|---|---|---|",
        *(gpu_row(model, [row for row in found["rows"] if row["model"] == model]) for model in models),
        "",
        f"One run of each on each dataset, of {found['epochs']} epochs with their validation, one after another: "
        f"{found['hours']:.1f} hours, extrapolated.",
    ]


def gpu_row(model: str, rows: list[Mapping[str, Any]]) -> str:
    """Return the line of a model.

    >>> row = {"eager_ms": 8.0, "step_ms": 2.0, "share_of_peak": 0.05, "epoch_seconds": 0.4}
    >>> gpu_row("sasrec", [row, row])
    '| SASRec | 8.0 | 2.0 | 4.0x | 5.0% | 0.8 |'
    """
    eager, step, share = (fmean(row[key] for row in rows) for key in ("eager_ms", "step_ms", "share_of_peak"))
    seconds = sum(row["epoch_seconds"] for row in rows)
    return f"| {title_of(model)} | {eager:.1f} | {step:.1f} | {eager / step:.1f}x | {share:.1%} | {seconds:.1f} |"


def memory(found: Mapping[str, Any]) -> list[str]:
    """Return the sentences about `train_memory.py --beside-torch --json`."""
    whole, ours, torch = (
        f"{found[name] / 1000:.2f} GB" for name in ("above_both_mb", "cross_entropy_ours_mb", "cross_entropy_torch_mb")
    )
    said = (
        f"With {found['items']:,} items and batches of 256, training takes {whole} besides imports, weights, gradients "
        f"and Adam's states. The loss and its derivative alone, with {NUMBERS} numbers an item, take {ours} here and "
        f"{torch} with PyTorch's `cross_entropy`, each in a process of its own on the same batch and item table; "
        f"{found['items'] * NUMBERS * 4 / 1e9:.2f} GB of either are the derivative of the table. On "
        f"{on(found['machine'])}."
    )
    return textwrap.wrap(said, 120, break_on_hyphens=False)


def scaling(found: Mapping[str, Any]) -> list[str]:
    """Return the figure of `scaling.py --out` and its exponents."""
    fits = {(fit["dimension"], fit["model"], fit["cost"]): fit for fit in found["exponents"]}
    columns = list(dict.fromkeys((model, cost) for _, model, cost in fits))
    said = {"epoch_seconds": "time", "memory_mb": "memory"}
    return [
        "![Seconds of an epoch and peak memory against the sizes](../benchmarks/results/scaling.png)",
        "",
        f"On {on(found['machine'])}. Exponents with the standard errors of their fits:",
        "",
        f"| | {' | '.join(f'{title_of(model)}, {said[cost]}' for model, cost in columns)} |",
        f"|---|{'---|' * len(columns)}",
        *(
            f"| {DIMENSIONS[dimension]} | {' | '.join(exponent(fits[dimension, *column]) for column in columns)} |"
            for dimension in dict.fromkeys(dimension for dimension, _, _ in fits)
        ),
    ]


def exponent(fit: Mapping[str, float]) -> str:
    """Return an exponent and its standard error.

    >>> exponent({"exponent": 1.002, "error": 0.0312})
    '1.00 ± 0.03'
    """
    return f"{fit['exponent']:.2f} ± {fit['error']:.2f}"


# Of each block: the page, the benchmark, and what makes the text of one of its files.
BLOCKS: dict[str, tuple[str, str, Callable[[Mapping[str, Any]], list[str]]]] = {
    "speed": ("docs/speed.md", "train_speed", speed),
    "gpu": ("docs/speed.md", "gpu", gpu),
    "memory": ("docs/scaling.md", "train_memory", memory),
    "scaling": ("docs/scaling.md", "scaling", scaling),
}


def texts(results: Path, benchmark: str, lines: Callable[[Mapping[str, Any]], list[str]]) -> str:
    """Return what a block says: the text of each file of a benchmark, or how to measure if there is none."""
    files = sorted(results.glob(f"{benchmark}*.json"), key=lambda path: path.name.count("."))
    said = ["\n".join(lines(json.loads(file.read_text()))) for file in files]
    return "\n\n".join(said) or "Not measured yet; `make speed` does, on a quiet machine."


def rewritten(page: str, text: str, results: Path = RESULTS) -> str:
    """Return the text of a page with its blocks made anew. Raises DataError where a mark is missing."""
    for name, (where, benchmark, lines) in BLOCKS.items():
        if where == page:
            said = texts(results, benchmark, lines)
            text, count = re.subn(
                rf"(<!-- {name} -->\n).*?(<!-- end -->)",
                lambda marks, said=said: f"{marks[1]}\n{said}\n\n{marks[2]}",
                text,
                flags=re.DOTALL,
            )
            if count != 1:
                raise DataError(f"{page}: expected `<!-- {name} -->` once, with `<!-- end -->` after it; found {count}")
    return text


def main() -> None:
    """Write the tables of the documentation from the files of benchmarks/results."""
    for page in dict.fromkeys(where for where, _, _ in BLOCKS.values()):
        path = ROOT / page
        path.write_text(rewritten(page, path.read_text()))
        print(f"wrote {page}")


if __name__ == "__main__":
    run(main)
