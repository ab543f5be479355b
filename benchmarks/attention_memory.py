"""Peak memory and time of attention statistics of a large model: 12 layers, 12 heads, 512 positions, 64 sequences.

python benchmarks/attention_memory.py [--sequences 64] [--layers 12] [--heads 12] [--positions 512] [--json]

A BERT4Rec with random weights, which sees all positions, is traced one sequence at a time: attention of all
64 at once would be 10 GB.
"""

import time
from typing import Annotated

import torch
import typer
from machine import aligned, report
from peak_memory import peak_mb

from models.command_line import run
from models.registry import build, configure
from spectral import AttentionStatistics, capture
from spectral.capture import in_batches

LIMIT_MB = 2000


def measure(sequences: int, layers: int, heads: int, positions: int) -> dict[str, float]:
    """Trace and measure; return the peak above the imports and the model, and what was measured."""
    torch.manual_seed(0)
    config = configure(
        "bert4rec", num_items=1000, max_len=positions, hidden_size=16 * heads, num_layers=layers, num_heads=heads
    )
    model = build(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    windows = torch.randint(1, 1001, (sequences, positions))
    before, start = peak_mb(), time.perf_counter()
    captures = capture(model, in_batches(windows, 1, "statistics"), hidden=False)
    statistics = AttentionStatistics.from_captures(captures)
    return {
        "sequences": sequences,
        "maps": sequences * layers * heads,
        "seconds": time.perf_counter() - start,
        "entropy": float(statistics.entropy.mean()),
        "lambda2": float(statistics.lambda2.mean()),
        "imports_and_model_mb": before,
        "above_mb": peak_mb() - before,
    }


def main(
    sequences: Annotated[int, typer.Option(min=1)] = 64,
    layers: Annotated[int, typer.Option(min=1)] = 12,
    heads: Annotated[int, typer.Option(min=1)] = 12,
    positions: Annotated[int, typer.Option(min=2)] = 512,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the measurements; exit with code 1 if the peak is above the limit."""
    result = measure(sequences, layers, heads, positions)
    report(result, json, aligned(result | {"limit_mb": LIMIT_MB}))
    raise typer.Exit(int(result["above_mb"] > LIMIT_MB))


if __name__ == "__main__":
    run(main)
