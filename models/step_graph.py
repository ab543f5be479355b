"""A training step as one CUDA graph: a GPU gets all kernels of a step at once, not one after the other.

A step of these models has hundreds of small kernels, and the processor takes longer to hand them over one by one than
the card to compute them.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.dropout import MaskSource

WARM_UP = 3  # eager steps before the capture: libraries choose their algorithms in them, layers copy their constants


class StepGraph:
    """Takes the training steps of a model on a GPU: the first ones eagerly, the others by replaying a captured one.

    A replay runs the same kernels on another batch, with the masks that are next in their stream, so losses and weights
    are those of eager steps to the last bit. A batch of another shape, such as the last of an epoch, is taken eagerly.

    step: takes a batch, and returns its loss, a scalar. All that it does besides reading the batch, the weights and the
        masks is done at the capture alone: it may neither wait for the device nor count its calls.
    """

    def __init__(self, step: Callable[[Batch], Tensor], masks: MaskSource, device: torch.device) -> None:
        self._step, self._masks = step, masks
        self._stream = torch.cuda.Stream(device)  # work cannot be captured on the default one
        self._eager_steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Take a step on a batch, and return its loss before the step, a scalar.

        Raises ConfigError if the step cannot be captured.
        """
        if self._graph is None and self._eager_steps < WARM_UP:
            self._eager_steps += 1
            return self._warm_up(batch)
        if self._graph is None:
            self._capture(batch)
        assert self._graph is not None
        if _shapes(batch) != _shapes(self._batch):
            return self._step(batch)
        for name, tensor in _tensors(self._batch).items():
            tensor.copy_(getattr(batch, name))
        self._graph.replay()
        return self._loss.clone()  # the next replay writes over it

    def _warm_up(self, batch: Batch) -> Tensor:
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = self._step(batch)
        current.wait_stream(self._stream)
        loss.record_stream(current)
        return loss

    def _capture(self, batch: Batch) -> None:
        """Record the kernels of a step, without taking it."""
        self._batch = replace(batch, **{name: tensor.clone() for name, tensor in _tensors(batch).items()})
        graph = torch.cuda.CUDAGraph()
        for generator in self._masks.generators:
            graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._loss = self._step(self._batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ConfigError(
                f"a training step of this model cannot be captured as a CUDA graph ({error}); "
                "set capturable = False in its class"
            ) from error
        self._graph = graph


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """Return the fields of a batch that it has."""
    return {name: tensor for name, tensor in vars(batch).items() if tensor is not None}


def _shapes(batch: Batch) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in _tensors(batch).items()}
