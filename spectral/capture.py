"""Attention maps and hidden states of a model, batch by batch, and the choice of users by history length."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.errors import ConfigError, DataError
from models.precision import widened
from models.recommender import Trace
from spectral.batches import EXPECTED, kind_of, moved
from spectral.sources import Call, Mask, called, hooked, traced

BATCH_SIZE = 256


@dataclass(frozen=True)
class Capture:
    """The input of a measure: what a model computed on one batch, limited to what was asked for.

    A model returns a `models.recommender.Trace` with everything it computes. A capture has a place for every layer but
    may leave it empty, so that a measure of attention keeps no hidden states in memory. It can be cut to the last
    positions.

    Attributes:
        hidden: (B, N, D) for the embedding output and each of the L blocks, so `hidden[l]` is layer l; None for
            layers that were not asked for.
        attention: (B, H, N, N) for each block, before dropout, so `attention[l - 1]` belongs to layer l; None
            for layers that were not asked for or have no attention.
        mask: (B, N) bool, True where a position holds a real item.

    Example:
        >>> states, maps = torch.zeros(1, 4, 8), torch.eye(4)[None, None]
        >>> captured = Capture((states, states), (maps,), torch.ones(1, 4, dtype=torch.bool))
        >>> list(captured.hidden_layers), list(captured.attention_layers)
        ([0, 1], [1])
        >>> captured.last(3).attention[0].shape
        torch.Size([1, 1, 3, 3])
    """

    hidden: tuple[Tensor | None, ...]
    attention: tuple[Tensor | None, ...]
    mask: Tensor

    @property
    def hidden_layers(self) -> dict[int, Tensor]:
        """The hidden states that were asked for, by layer number, from 0."""
        return {layer: x for layer, x in enumerate(self.hidden) if x is not None}

    @property
    def attention_layers(self) -> dict[int, Tensor]:
        """The attention maps that were asked for, by layer number, from 1."""
        return {layer: a for layer, a in enumerate(self.attention, start=1) if a is not None}

    def check_real(self) -> "Capture":
        """Return the capture if all its positions are real, as measures of attention need it.

        Raises ConfigError if there is padding.
        """
        if not bool(self.mask.bool().all()):
            padded = int((~self.mask.bool()).any(1).sum())
            raise ConfigError(
                f"{padded} of {len(self.mask)} captured sequences have padding among their {self.mask.shape[1]} "
                "positions; capture sequences of one length, or measure their last n positions with length=n"
            )
        return self

    def last(self, n: int | None) -> "Capture":
        """Return the capture of the last n positions only, or of all positions for None.

        For users with n real items these are the real positions. Causal attention puts no weight on padding, so this
        block of a map is itself row-stochastic. Raises ValueError if n is not in 1..N.
        """
        if n is None:
            return self
        if not 1 <= n <= self.mask.shape[1]:
            raise ValueError(f"n must lie in 1..{self.mask.shape[1]}, got {n}")
        return replace(
            self,
            hidden=tuple(None if x is None else x[:, -n:] for x in self.hidden),
            attention=tuple(None if a is None else a[..., -n:, -n:] for a in self.attention),
            mask=self.mask[:, -n:],
        )


def capture(
    model: Any,
    batches: Any,
    attention: bool | Sequence[str] = True,
    hidden: bool | Sequence[str] = True,
    causal: bool = True,
    layers: Collection[int] | None = None,
    call: Call | None = None,
    mask: Mask | None = None,
) -> Iterator[Capture]:
    """Yield what a model computes on each batch, in evaluation mode, without keeping any of it.

    The tensors stay on the model's device. The model's training mode is restored after every batch. A model in
    half precision is widened to float32 (a copy) if it has `trace`; others run in theirs, and measures widen what they
    put out.

    Args:
        model: One of three kinds. A model with a method `trace(input_ids)`, like `models.recommender.Recommender`. A
            Hugging Face model, or any other callable that returns `hidden_states` and `attentions`. Or any nn.Module,
            if `hidden` and `attention` name its modules.
        batches: Int tensors (B, N), with padding 0 on the left for a model with `trace`; or one such tensor or array,
            which is cut into batches of 256. Or mappings of tensors as tokenizers return them, or one such mapping. Its
            `attention_mask` says which positions are real, and these are moved to the end of their row. A Hugging Face
            model gets rows with padding on the left as rows with padding on the right, unless there are `position_ids`,
            so that a sentence has the positions that it has alone. With `call`, anything that `call` takes.
        attention: Whether to yield attention; or the names of the modules that output it.
        hidden: Whether to yield hidden states; or the names of the modules that output them, such as
            ["embeddings", "layers.*"]. The first of these modules is layer 0. States (N, B, D) are turned.
        causal: False drops the causal mask of a model with `trace`.
        layers: The layers to yield, 0 for the embedding output; None for all.
        call: Runs the model on a batch that was moved to its device, for models that take more than the batch.
        mask: Takes a batch and returns which positions are real, (B, N); None: the batch's `attention_mask`, or all.

    Raises ConfigError for a model that returns neither, names that match no module, batches of another kind, padding on
    the right for a model with `trace`, and a model of an encoder and a decoder.

    Example:
        A model with two layers and two heads, on two windows of four positions:

        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=20, max_len=4, hidden_size=8, num_layers=2, num_heads=2))
        >>> model.initialise(seed=0)
        >>> windows = torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]])
        >>> [captured] = capture(model, windows)
        >>> [tuple(x.shape) for x in captured.hidden]  # embedding output, block 1, block 2
        [(2, 4, 8), (2, 4, 8), (2, 4, 8)]
        >>> [tuple(a.shape) for a in captured.attention]
        [(2, 2, 4, 4), (2, 2, 4, 4)]
        >>> captured.mask[0]  # the first window has two real items
        tensor([False, False,  True,  True])

        Any other module, by the names of what it is made of:

        >>> network = torch.nn.Sequential(torch.nn.Embedding(20, 8), torch.nn.Linear(8, 8))
        >>> [captured] = capture(network, windows, attention=[], hidden=["0", "1"])
        >>> len(captured.hidden)
        2

        A model that takes its ids in a dictionary, and something else:

        >>> class Scorer(torch.nn.Sequential):
        ...     def forward(self, batch, temperature):
        ...         return super().forward(batch["x"]) / temperature
        >>> run = lambda model, batch: model(batch, temperature=2.0)
        >>> [captured] = capture(Scorer(*network), {"x": windows}, hidden="*", attention=[], call=run)
        >>> len(captured.hidden)
        2
    """
    model = widened(model) if hasattr(model, "trace") else model
    attention, hidden = _asked_for("attention", attention), _asked_for("hidden", hidden)
    for batch in _in_turn(batches):
        trace = _trace_of(model, moved(batch, _device(model), call is not None), attention, hidden, causal, call, mask)
        wanted = Capture(
            hidden=_chosen(trace.hidden, 0, layers if hidden else ()),
            attention=_chosen(trace.attention or (), 1, layers if attention else ()),
            mask=trace.mask,
        )
        del trace  # while the caller measures, only what was asked for is in memory
        yield wanted


def _asked_for(what: str, given: Any) -> bool | Sequence[str]:
    """Return whether to capture, or the names of modules; raises ConfigError for anything else."""
    if isinstance(given, bool):
        return given
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{what} should be True, False, or names of modules as text; got {given!r}")
    return list(names)


def _in_turn(batches: Any) -> Iterable[Any]:
    """Return batches one after the other: one tensor or array of ids is cut, one mapping is one batch."""
    if isinstance(batches, np.ndarray):
        batches = torch.from_numpy(batches)
    if isinstance(batches, Tensor):
        return in_batches(batches)
    if isinstance(batches, Mapping):
        return [batches]
    if not isinstance(batches, Iterable) or isinstance(batches, str):
        raise ConfigError(f"{EXPECTED}; got {kind_of(batches)}")
    return batches


def _chosen(
    tensors: Sequence[Tensor | None], first_layer: int, layers: Collection[int] | None
) -> tuple[Tensor | None, ...]:
    numbered = enumerate(tensors, start=first_layer)
    return tuple(x if layers is None or layer in layers else None for layer, x in numbered)


def in_batches(input_ids: Tensor, batch_size: int = BATCH_SIZE, description: str | None = None) -> Iterator[Tensor]:
    """Yield windows (P, N) in batches (B, N). With a description, progress is shown on a terminal.

    Raises ValueError if batch_size is below 1.

    Example:
        >>> [len(batch) for batch in in_batches(torch.zeros(5, 3), batch_size=2)]
        [2, 2, 1]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    batches = input_ids.split(batch_size) if len(input_ids) else ()
    yield from tqdm(batches, desc=description, unit="batch", leave=False, disable=None if description else True)


def real_items(input_ids: Tensor) -> Tensor:
    """Return the number of real items, (P,), of windows (P, N) with padding 0 on the left.

    Example:
        >>> real_items(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]]))
        tensor([2, 4])
    """
    return (input_ids > 0).sum(1)


def full_windows(input_ids: Tensor) -> Tensor:
    """Return the windows of (P, N) that have no padding, (p, N).

    Raises DataError if there is none. The message says which lengths there are.

    Example:
        >>> full_windows(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]]))
        tensor([[5, 6, 7, 8]])
    """
    return of_length(input_ids, input_ids.shape[1])


def of_length(input_ids: Tensor, n: int) -> Tensor:
    """Return the windows of (P, N) that have exactly n real items, in their last n positions, (p, N).

    Users with more than n items are left out, not cut, because the model saw their older items too.

    Raises ConfigError if n is not in 1..N, and DataError if there is no such window. The message says which lengths
    there are.

    Example:
        >>> of_length(torch.tensor([[0, 0, 3, 1], [5, 6, 7, 8]]), 2)
        tensor([[0, 0, 3, 1]])
    """
    positions = input_ids.shape[1]
    if not 1 <= n <= positions:
        raise ConfigError(f"length must lie in 1..{positions} (the model's window), got {n}")
    lengths = real_items(input_ids)
    if not bool((lengths == n).any()):
        raise DataError(_no_such_length(lengths.tolist(), n, positions))
    return input_ids[lengths == n]


def _no_such_length(lengths: list[int], n: int, positions: int) -> str:
    common = ", ".join(f"{length} ({users} users)" for length, users in Counter(lengths).most_common(5) if length)
    wanted = f"a full window of {n} items" if n == positions else f"exactly {n} items"
    return (
        f"none of the {len(lengths)} users has {wanted}; the most common lengths are {common or 'none'}; "
        "choose one of them with --length, or see the whole windows with --padding"
    )


def _trace_of(
    model: Any,
    batch: Any,
    attention: bool | Sequence[str],
    hidden: bool | Sequence[str],
    causal: bool,
    call: Call | None,
    mask: Mask | None,
) -> Trace:
    """Run one batch in evaluation mode. Inference mode must end before the caller of the generator goes on."""
    training = getattr(model, "training", False)
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            if not (isinstance(attention, bool) and isinstance(hidden, bool)):
                states, maps = (() if isinstance(given, bool) else given for given in (hidden, attention))
                return hooked(model, batch, states, maps, call, mask)
            if hasattr(model, "trace") and call is None:
                return traced(model, batch, causal)
            return called(model, batch, attention, call, mask)
    finally:
        if training:
            model.train()


def _device(model: Any) -> torch.device:
    parameters = model.parameters() if hasattr(model, "parameters") else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))
