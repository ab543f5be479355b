"""Peak memory of the accumulators above the imports, for 1,000,000 synthetic users x 64 dimensions.

python benchmarks/accumulator_memory.py [--users 1000000] [--json]

Every batch brings hidden states of the last position (B, 64), of a sequence (B, 50, 64), and attention maps
(B, 1, 50, 50), whatever the total: memory must not grow with the number of users.
"""

import time
from typing import Annotated

import torch
import typer
from machine import aligned, report
from peak_memory import peak_mb
from tqdm import tqdm

from models.command_line import run
from spectral import (
    CosineSimilarityMetric,
    FrequencyResponseMetric,
    SingularValuesMetric,
    WithinSequenceSimilarityMetric,
)

SIZE, POSITIONS, BATCH = 64, 50, 256
LIMIT_MB = 300


def measure(users: int) -> dict[str, float]:
    """Feed users through the accumulators; return the peak above the imports and what was measured."""
    before = peak_mb()
    generator = torch.Generator().manual_seed(0)
    response = FrequencyResponseMetric(num_layers=1, num_heads=1, positions=POSITIONS)
    singular_values, between = SingularValuesMetric(SIZE), CosineSimilarityMetric(SIZE)
    within = WithinSequenceSimilarityMetric()
    start = time.perf_counter()
    # Drawing billions of numbers takes longer than measuring them: only the last position is drawn anew.
    attention = torch.randn(BATCH, 1, POSITIONS, POSITIONS, generator=generator).softmax(-1)
    hidden = torch.randn(BATCH, POSITIONS, SIZE, generator=generator)
    for first in tqdm(range(0, users, BATCH), unit="batch", disable=None):
        size = min(BATCH, users - first)
        last = torch.randn(size, SIZE, generator=generator) + 0.5
        singular_values.update(last)
        between.update(last)
        response.update(attention[:size])
        within.update(hidden[:size])
    return {
        "users": int(response.compute().users),
        "seconds": time.perf_counter() - start,
        "effective_rank": singular_values.compute().effective_rank,
        "between_users": float(between.compute()),
        "within_sequence": float(within.compute()),
        "gain_nyquist_db": float(response.compute().gain_db[0, 0, -1]),
        "imports_mb": before,
        "above_imports_mb": peak_mb() - before,
    }


def main(
    users: Annotated[int, typer.Option(min=1, help="how many to feed")] = 1_000_000,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Print the measurements; exit with code 1 if the peak is above the limit."""
    result = measure(users)
    report(result, json, aligned(result | {"limit_mb": LIMIT_MB}))
    raise typer.Exit(int(result["above_imports_mb"] > LIMIT_MB))


if __name__ == "__main__":
    run(main)
