"""Training on a GPU: no step waits for the device, and what is computed is what the processor computes.

Where there is no GPU, the steps are taken on torch's device "meta", whose tensors hold no numbers: to read one, or to
choose a shape by one, is an error there. It takes the same path through the code as a GPU.
"""

from itertools import chain, count, islice

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.datasets import load
from models.datasets.sampling import Batch
from models.layers.dropout import MaskSource
from models.registry import MODELS, configure, model_type
from models.step_graph import WARM_UP
from models.train import train
from models.training import Trainer, TrainingConfig

DATA = "synthetic:users=30,items=40"
META, CPU = torch.device("meta"), torch.device("cpu")
# Wide enough that dropout never leaves a whole row at 0: LayerNorm multiplies its gradient by a million, each time.
SMALL = {"max_len": 11, "hidden_size": 32}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")


class Watching(TorchDispatchMode):
    """Counts what reads a number of a tensor, or copies a tensor to another device: both wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket)
        if name == "aten._local_scalar_dense" or (name == "aten._to_copy" and found.device != args[0].device):
            self.waits.append(name)
        return found


def trainer_of(model: str, device: str = "cpu", **settings) -> Trainer:
    sequences = load(DATA)
    config = configure(model, sequences.num_items, sequences.num_users, **SMALL | settings)
    training = TrainingConfig(loss=model_type(model).published_loss, batch_size=64)
    return Trainer(config, training, sequences, "unused.pt", device)


@pytest.fixture
def masks_without_numbers(monkeypatch):
    """Draw masks on the device "meta", which has no generator."""
    monkeypatch.setattr(MaskSource, "uniform", lambda self, shape, device: torch.rand(shape, device=device))


@pytest.mark.parametrize(("model", "settings"), [*((name, {}) for name in MODELS), ("bert4rec", {"task": "next"})])
def test_no_step_waits_for_the_device(model, settings, masks_without_numbers):
    trainer = trainer_of(model, **settings)
    trainer.model.to(META).train()
    first, second, *_ = trainer.sampler.epoch(0, META)
    trainer.batch_loss(first).backward()  # copies the fixed matrices of layers to the device, once
    with Watching() as watching:
        trainer.batch_loss(second).backward()
    assert trainer.model.items.weight.grad is not None
    assert watching.waits == []


def test_what_waits_for_the_device_is_found():
    with Watching() as watching:
        torch.ones(2).sum().item()
        torch.ones(2).to(META)
    assert watching.waits == ["aten._local_scalar_dense", "aten._to_copy"]
    with pytest.raises(NotImplementedError, match="nonzero"):
        torch.ones(2, device=META)[torch.ones(2, device=META) > 0]


def test_an_epoch_copies_its_draws_at_its_start_and_gathers_on_the_device():
    batches = trainer_of("duorec").sampler.epoch(0, META)
    next(batches)
    with Watching() as watching:
        rest = list(batches)
    assert len(rest) > 1 and watching.waits == []
    assert all(batch.inputs.device == batch.targets.device == batch.same_target.device == META for batch in rest)


def test_losses_are_read_once_an_epoch(monkeypatch):
    trainer = trainer_of("bsarec")
    losses = []
    original = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, batch: losses.append(original(self, batch)) or losses[-1])
    with Watching() as watching:
        mean = trainer._train_epoch(0)
    assert len(losses) == len(trainer.sampler) > 1 and watching.waits == []
    sizes = [len(batch.targets) for batch in trainer.sampler.epoch(0, CPU)]
    expected = sum(loss.item() * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
    assert mean == pytest.approx(expected)


def test_a_run_that_a_gpu_began_goes_on_on_a_processor(tmp_path):
    began, resumed = trainer_of("sasrec"), trainer_of("sasrec")
    began.path = resumed.path = tmp_path / "m.pt"
    began.optimizer.param_groups[0]["capturable"] = True  # as on a GPU
    batch = next(began.sampler.epoch(0, CPU))
    began._save_state()
    resumed.resume()
    assert not resumed.optimizer.param_groups[0]["capturable"]
    assert torch.isfinite(resumed.step(batch))


@needs_gpu
@pytest.mark.parametrize("model", MODELS)
def test_no_step_synchronises_with_a_gpu(model):
    trainer = trainer_of(model, "cuda")
    trainer.model.train()
    batches = chain.from_iterable(trainer.sampler.epoch(epoch, trainer.device) for epoch in count())
    batches = (batch for batch in batches if len(batch.targets) == 64)  # the smaller last ones are not captured
    for take in (trainer.eager_step, trainer.step):
        for batch in islice(batches, WARM_UP + 1):  # and the capture
            take(batch)
        torch.cuda.set_sync_debug_mode("error")
        try:
            take(next(batches))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert trainer._take._graph is not None  # the last step was a replay


@needs_gpu
@pytest.mark.parametrize("model", MODELS)
def test_a_seed_gives_the_same_bytes_on_the_same_card(model, tmp_path):
    runs = [train(model, DATA, out=tmp_path / f"{i}/m.pt", device="cuda", epochs=2, **SMALL) for i in range(2)]
    assert runs[0].path.read_bytes() == runs[1].path.read_bytes()


@needs_gpu
@pytest.mark.parametrize("model", MODELS)
def test_captured_steps_give_the_bytes_of_eager_ones_and_of_a_resumed_run(model, tmp_path, monkeypatch):
    def run(name: str, **options) -> bytes:
        settings = SMALL | {"out": tmp_path / name / "m.pt", "device": "cuda", "epochs": 3, "batch_size": 64} | options
        return train(model, DATA, **settings).path.read_bytes()

    captured = run("captured")
    run_epoch = Trainer._run_epoch

    def until_second(self: Trainer, epoch: int):
        if epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(self, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_run_epoch", until_second)
        run("resumed")
    assert run("resumed", resume=True) == captured
    monkeypatch.setattr(model_type(model), "capturable", False)
    assert run("eager") == captured


@needs_gpu
@pytest.mark.parametrize("model", MODELS)
def test_loss_and_gradients_of_a_gpu_are_those_of_the_processor(model, monkeypatch):
    from models.command_line import check_device

    check_device("cuda")
    drawn = torch.rand(64 * SMALL["max_len"], generator=torch.Generator().manual_seed(0))  # what BERT4Rec masks
    without_dropout = {"dropout": 0.0} | ({"projected_dropout": 0.0} if model == "lowarec" else {})
    monkeypatch.setattr(
        MaskSource, "uniform", lambda self, shape, device: drawn[: shape.numel()].view(shape).to(device)
    )
    found = {}
    for device in (CPU, torch.device("cuda")):
        trainer = trainer_of(model, str(device), **without_dropout)
        trainer.model.train()
        batch: Batch = next(trainer.sampler.epoch(0, device))
        loss = trainer.batch_loss(batch)
        loss.backward()
        gradients = [p.grad.flatten().cpu() for p in trainer.model.parameters() if p.grad is not None]
        found[device.type] = loss.item(), torch.cat(gradients)
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=1e-5)
    difference = (found["cuda"][1] - found["cpu"][1]).norm() / found["cpu"][1].norm()
    assert difference < 1e-5
