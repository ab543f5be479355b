"""No measure makes float64 on the model's device: MPS has none, so numbers are moved to the CPU first."""

import pytest
import torch
from device_without_float64 import DEVICE, DeviceWithoutFloat64, is_away
from every_measure import ON_ARRAYS, ON_MODELS, batches, numbers, windows
from plain_models import random_model
from torch import nn

import spectral
from models.datasets import load
from models.evaluation import evaluate, summarise
from models.integrity import integrity
from models.precision import WITHOUT_FLOAT64
from models.registry import MODELS
from spectral.capture import capture


def test_the_simulated_device_refuses_float64_and_nothing_else():
    with DeviceWithoutFloat64() as device:
        x = device.put(torch.ones(3))
        assert x.device == DEVICE and is_away(x + 1) and is_away(torch.zeros(2, device=x.device))
        for make in (torch.Tensor.double, lambda x: x.to("cpu", torch.float64), lambda x: x + torch.ones(3).double()):
            with pytest.raises(RuntimeError, match="float64"):
                make(x)
        with pytest.raises(RuntimeError, match="numpy"):
            x.numpy()
        home = x.cpu()
        assert home.device.type == "cpu" and home.double().dtype == torch.float64
        assert is_away(torch.ones(3).double().to(x.dtype).to(x.device))
    assert DEVICE.type in WITHOUT_FLOAT64


@pytest.mark.parametrize("name", ON_ARRAYS)
def test_arrays_on_the_device_are_measured(name: str):
    measure, array = ON_ARRAYS[name]
    with DeviceWithoutFloat64() as device:
        found = measure(device.put(array))
    for one, other in zip(numbers(found), numbers(measure(array)), strict=True):
        assert one == pytest.approx(other, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", ON_MODELS)
def test_models_on_the_device_are_measured(name: str):
    with DeviceWithoutFloat64() as device:
        found = ON_MODELS[name](device.put(random_model("bsarec", num_heads=2).float()))
    assert numbers(found)


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_runs_there(name: str):
    with DeviceWithoutFloat64() as device:
        model = device.put(random_model(name).float())
        [captured] = capture(model, windows())
        assert all(is_away(x) for x in captured.hidden)
        assert spectral.LastItemOverlap.of_model(model, batches(), k=3).users == len(windows())


def test_models_are_evaluated_there():
    sequences = load("synthetic:users=40,items=30")
    with DeviceWithoutFloat64() as device:
        found = evaluate(device.put(random_model("sasrec").float()), sequences, "test")
        assert summarise(device.put(torch.tensor([1, 4]))) == summarise(torch.tensor([1, 4]))
    assert found == evaluate(random_model("sasrec").float(), sequences, "test")


def test_integrity_is_checked_on_a_copy_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    moved = []
    to = nn.Module.to
    monkeypatch.setattr(nn.Module, "to", lambda self, *given: moved.append(given) or to(self, *given))
    monkeypatch.setattr("models.precision.WITHOUT_FLOAT64", ("cpu",))
    integrity(random_model("sasrec").float())
    assert ("cpu",) in moved


def test_states_of_a_metric_stay_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spectral.accumulator.WITHOUT_FLOAT64", ("meta",))
    metric = spectral.CosineSimilarityMetric(size=3).to("meta")
    metric.update(torch.eye(3))
    assert metric.metric_state["total"].device.type == "cpu" and metric.compute() == pytest.approx(0)
