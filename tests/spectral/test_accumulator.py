"""The accumulator that holds the sums of any measure: over batches, copies, saved states and processes."""

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from repository import ROOT
from torch import Tensor
from waits import waits

import spectral
from models.datasets import load
from spectral.accumulator import Accumulator

L, H, N, D = 2, 3, 6, 4


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def attention(users: int) -> tuple[Tensor, ...]:
    return (drawn(L, users, H, N, N).softmax(-1),)


def rows(users: int) -> tuple[Tensor, ...]:
    return (drawn(users, D) + 1,)


def hidden(users: int, *layers: int) -> tuple[Tensor, ...]:
    return drawn(*layers, users, N, D) + 1, torch.arange(N) >= torch.arange(users)[:, None] % 3


def lists(users: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(30, generator=generator)[:5] + 1 for _ in range(users)])


# What each metric is made with, and what makes a batch of so many users for it.
METRICS: dict[str, tuple[tuple, Callable[[int], tuple[Tensor, ...]]]] = {
    "AttentionStatisticsMetric": ((L, H, N, 0.3), attention),
    "CosineSimilarityMetric": ((D, "published"), rows),
    "FrequencyResponseMetric": ((L, H, N), attention),
    "LastItemOverlapMetric": ((30, 5), lambda users: (lists(users, 1), lists(users, 2))),
    "LinearCKAMetric": (([D, N],), lambda users: ([drawn(users, D), drawn(users, N) + 1],)),
    "MixingRatioMetric": ((L, ["residual", "attention"], N), lambda users: (drawn(L, 2, users, N, D),)),
    "RankOneDistanceMetric": ((L,), lambda users: hidden(users, L)),
    "SingularValuesMetric": ((D, True), rows),
    "SmoothingMetric": ((L,), lambda users: hidden(users, L)),
    "TransferMapMetric": ((L, H, N), attention),
    "WithinSequenceSimilarityMetric": ((), hidden),
}

each_metric = pytest.mark.parametrize("name", METRICS)


def metric_of(name: str, *users: int) -> Accumulator:
    arguments, batch = METRICS[name]
    metric = getattr(spectral, name)(*arguments)
    for count in users:
        metric.update(*batch(count))
    return metric


def assert_same(one: Accumulator, other: Accumulator) -> None:
    assert one.sums.additive().keys() == other.sums.additive().keys()
    for name, value in one.sums.additive().items():
        torch.testing.assert_close(value, getattr(other.sums, name), rtol=1e-12, atol=1e-12)


def test_every_metric_of_the_package_is_tested_here():
    assert {name for name in spectral.__all__ if name.endswith("Metric")} == METRICS.keys()


@each_metric
@pytest.mark.parametrize("copy", [Accumulator.clone, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_a_copy_goes_on_alone_from_where_the_metric_was(name: str, copy: Callable[[Accumulator], Accumulator]):
    metric = metric_of(name, 5)
    copied = copy(metric)
    copied.update(*METRICS[name][1](3))
    assert_same(metric, metric_of(name, 5))
    assert_same(copied, metric_of(name, 5, 3))
    assert type(copied.compute()) is type(metric.compute())


@each_metric
def test_states_are_saved_and_loaded(name: str):
    metric, other = metric_of(name, 5), metric_of(name)
    for each in (metric, other):
        each.persistent(True)
    assert metric.state_dict().keys() == metric.sums.additive().keys()
    other.load_state_dict(metric.state_dict())
    other.update(*METRICS[name][1](3))
    assert_same(other, metric_of(name, 5, 3))


@each_metric
def test_a_metric_that_is_reset_begins_again(name: str):
    metric = metric_of(name, 5)
    metric.reset()
    assert_same(metric, metric_of(name))
    assert all(not bool(torch.as_tensor(value).any()) for value in metric.sums.additive().values())


@each_metric
def test_calling_a_metric_gives_the_result_of_the_batch_and_keeps_its_sums(name: str):
    metric, batch = metric_of(name, 5), METRICS[name][1](3)
    alone = metric(*batch)
    assert_same(metric, metric_of(name, 5, 3))
    expected = metric_of(name, 3).compute()
    if isinstance(expected, float):
        assert alone == pytest.approx(expected)
    else:
        assert alone.table().equals(expected.table())


def add_up_on(rank: int, store: Path) -> None:
    """What each of two processes does."""
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    for name in METRICS:
        metric = metric_of(name, 5 if rank == 0 else 3)
        metric.sync()
        assert_same(metric, metric_of(name, 5, 3))
        metric.unsync()
        assert_same(metric, metric_of(name, 5 if rank == 0 else 3))
    torch.distributed.destroy_process_group()


def test_two_processes_add_up_their_sums(tmp_path: Path):
    torch.multiprocessing.start_processes(add_up_on, (tmp_path / "store",), nprocs=2, start_method="fork")


def test_the_recipe_of_the_documentation_gives_the_same_on_one_process_and_on_two(tmp_path: Path):
    page = (ROOT / "docs/scaling.md").read_text()
    [recipe] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [command] = re.findall(r"^torchrun .* shares\.py$", page, re.MULTILINE)
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        (folder / "shares.py").write_text(recipe)
        program, *arguments = command.replace("--nproc-per-node 2", f"--nproc-per-node {processes}").split()
        subprocess.run([Path(sys.executable).with_name(program), *arguments], cwd=folder, check=True)
    for name in ("smoothing.csv", "singular_values.csv"):
        alone, together = (pd.read_csv(tmp_path / str(processes) / name) for processes in (1, 2))
        pd.testing.assert_frame_equal(together, alone, rtol=1e-12, atol=1e-12)
        assert set(together.users) == {load("ml-100k").num_users}


def test_the_accumulator_takes_the_sums_of_any_measure():
    metric = Accumulator(waits, lambda sums: sums.total / sums.users, torch.empty(0))
    assert set(metric.metric_state) == {"longest_first", "total", "users"}
    for times in ([1.0, 2.0], [], [6.0]):
        metric.update(torch.tensor(times))
    assert (metric.compute(), metric.sums.users, metric.sums.unit) == (3, 3, "s")
    assert metric.metric_state["total"].dtype == torch.float64 and isinstance(metric.sums.users, int)
