"""Attention maps and hidden states of a model, batch by batch, and the users they are taken from."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from models.errors import ConfigError, DataError
from models.recommender import Trace
from spectral.sources import called, hooked, traced

BATCH_SIZE = 256


@dataclass(frozen=True)
class Capture:
    """What a measure takes: what a model computed on one batch, as far as it was asked for.

    A `models.recommender.Trace` is what a model gives: everything, and the filters and autocorrelations that only some
    models have. A capture has the places of all layers but may leave them empty, so that a measure of attention holds
    no hidden states in memory, and can be cut to the last positions.

    Attributes:
        hidden: (B, N, D) for the embedding output and each of the L blocks, so `hidden[l]` is layer l; None for
            layers that were not asked for.
        attention: (B, H, N, N) for each block, before dropout, so `attention[l - 1]` belongs to layer l; None
            for layers that were not asked for or have no attention.
        mask: (B, N) bool, True where a position holds a real item.
    """

    hidden: tuple[Tensor | None, ...]
    attention: tuple[Tensor | None, ...]
    mask: Tensor

    @property
    def hidden_layers(self) -> dict[int, Tensor]:
        """The hidden states that were asked for, by the number of their layer, from 0."""
        return {layer: x for layer, x in enumerate(self.hidden) if x is not None}

    @property
    def attention_layers(self) -> dict[int, Tensor]:
        """The attention maps that were asked for, by the number of their layer, from 1."""
        return {layer: a for layer, a in enumerate(self.attention, start=1) if a is not None}

    def last(self, n: int | None) -> "Capture":
        """Return the capture of the last n positions alone, the real ones of users with n real items; of all for None.

        A causal attention puts no weight on padding, so that block is row-stochastic by itself.
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
) -> Iterator[Capture]:
    """Yield what a model computes on each batch, in evaluation mode, without keeping any of it.

    model: anything with `.trace(input_ids)` as of `models.recommender.Recommender`; a Hugging Face model, or anything
    that returns `hidden_states` and `attentions`; or any nn.Module, when `hidden` and `attention` name modules of it
    (`hidden=["embeddings", "layers.*"]`): the first one of `hidden` is layer 0. batches: int tensors (B, N), with
    padding 0 on the left for a `trace`, or one such tensor, which is cut into batches of 256; or mappings as tokenizers
    return them, or one, whose `attention_mask` says which positions are real: those are moved to the end of their row.

    `attention` and `hidden` say which to yield, `layers` for which layers (0 is the embedding output), all if None.
    `causal=False` drops the causal mask of a model with a `trace`.

    The tensors stay on the model's device. The model's training mode is put back after every batch. Raises ConfigError
    for a model or names that give nothing.
    """
    in_turn = [batches] if isinstance(batches, Mapping) else batches
    for batch in in_batches(in_turn) if isinstance(in_turn, Tensor) else in_turn:
        trace = _trace_of(model, batch, attention, hidden, causal)
        wanted = Capture(
            hidden=_chosen(trace.hidden, 0, layers if hidden else ()),
            attention=_chosen(trace.attention or (), 1, layers if attention else ()),
            mask=trace.mask,
        )
        del trace  # while the caller measures, only what was asked for is in memory
        yield wanted


def _chosen(
    tensors: Sequence[Tensor | None], first_layer: int, layers: Collection[int] | None
) -> tuple[Tensor | None, ...]:
    numbered = enumerate(tensors, start=first_layer)
    return tuple(x if layers is None or layer in layers else None for layer, x in numbered)


def in_batches(input_ids: Tensor, batch_size: int = BATCH_SIZE, description: str | None = None) -> Iterator[Tensor]:
    """Yield windows (P, N) in batches (B, N); with a description also show progress on a terminal."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    batches = input_ids.split(batch_size) if len(input_ids) else ()
    yield from tqdm(batches, desc=description, unit="batch", leave=False, disable=None if description else True)


def real_items(input_ids: Tensor) -> Tensor:
    """Return the number of real items, (P,), of windows (P, N) with padding 0 on the left."""
    return (input_ids > 0).sum(1)


def full_windows(input_ids: Tensor) -> Tensor:
    """Return the windows (p, N) of (P, N) that have no padding.

    Raises DataError if there is none; it says which lengths there are.
    """
    return of_length(input_ids, input_ids.shape[1])


def of_length(input_ids: Tensor, n: int) -> Tensor:
    """Return the windows (p, N) of (P, N) with exactly n real items, in their last n positions.

    Users with more items than n are left out, not cut: the model saw their older items too.

    Raises ConfigError if n is not in 1..N, DataError if there is no such window; it says which lengths there
    are.
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
    model: Any, batch: Any, attention: bool | Sequence[str], hidden: bool | Sequence[str], causal: bool
) -> Trace:
    """Run one batch in evaluation mode; inference mode must not span a `yield` into the caller."""
    device = _device(model)
    moved = {k: v.to(device) for k, v in batch.items()} if isinstance(batch, Mapping) else batch.to(device)
    training = getattr(model, "training", False)
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            if not (isinstance(attention, bool) and isinstance(hidden, bool)):
                names = [() if isinstance(given, bool) else given for given in (hidden, attention)]
                return hooked(model, moved, *names)
            return traced(model, moved, causal) if hasattr(model, "trace") else called(model, moved, attention)
    finally:
        if training:
            model.train()


def _device(model: Any) -> torch.device:
    parameters = model.parameters() if hasattr(model, "parameters") else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))
