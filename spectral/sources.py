"""What any model computes on a batch: through its own `trace`, in the way of Hugging Face models, or by hooks.

Each way gives a `Trace`, like our own models: hidden states (B, N, D) layer by layer, attention maps (B, H, N, N), and
a mask of the real positions. The real positions of every sequence are last, as the measures expect.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.recommender import Trace
from spectral.arrays import row_sum_tolerance
from spectral.batches import tensors_in

DEEPEST = 6  # objects within objects in which tensors are looked for


def traced(model: Any, batch: Any, causal: bool) -> Trace:
    """Return what `model.trace(batch)` gives. The batch (B, N) has padding 0 on the left.

    causal: False drops the causal mask. Raises ConfigError for padding behind an item.
    """
    if isinstance(batch, Tensor) and batch.ndim == 2 and bool(((batch[:, :-1] > 0) & (batch[:, 1:] == 0)).any()):
        raise ConfigError(
            f"windows for {type(model).__name__} must have their padding (0) on the left; one has it behind an item"
        )
    return model.trace(batch, **({} if causal else {"causal": False}))


def called(
    model: Callable[..., Any],
    batch: Any,
    attention: bool = True,
    call: Callable[[Any, Any], Any] | None = None,
    mask: Callable[[Any], Tensor] | None = None,
) -> Trace:
    """Return the `hidden_states` and `attentions` of a model's output, which are attributes or keys of it.

    A Hugging Face model is asked to return them; attention only if `attention`. call and mask: see `spectral.capture`.

    Raises ConfigError if the model returns neither, or no attention although it was asked to; also for a model of an
    encoder and a decoder, because each of them has its own states.

    Example:
        >>> model = lambda batch: {"hidden_states": [torch.zeros(2, 4, 8)]}
        >>> called(model, torch.ones(2, 4)).mask.shape
        torch.Size([2, 4])
    """
    _refuse_two_stacks(model)
    asked = {}
    if call is None and hasattr(getattr(model, "config", None), "output_hidden_states"):
        asked = {"output_hidden_states": True, "output_attentions": attention}
        batch = _padded_right(batch)
    returned = _call(model, batch, asked, call)
    hidden, maps = (_field(returned, name) for name in ("hidden_states", "attentions"))
    if asked and attention and (not maps or any(a is None for a in maps)):
        raise ConfigError(
            f"{type(model).__name__} returned no attention; load it with attn_implementation='eager', because faster "
            "implementations never compute the attention map"
        )
    if hidden is None and maps is None:
        raise ConfigError(
            f"{type(model).__name__} has no `trace`, and its output, {type(returned).__name__}, has neither "
            "hidden_states nor attentions; name its modules instead: hidden=['embeddings', 'layers.*']"
        )
    return _real_last(list(hidden or ()), list(maps or ()), _mask_of(batch, mask), _shape_of(batch))


def hooked(
    model: nn.Module,
    batch: Any,
    hidden: Collection[str],
    attention: Collection[str],
    call: Callable[[Any, Any], Any] | None = None,
    mask: Callable[[Any], Tensor] | None = None,
) -> Trace:
    """Return the outputs of some modules of a model while it runs.

    hidden: names of modules, or patterns like `layers.*`. The output of each, or the first tensor in it, is (B, N, D)
    or (N, B, D), which is turned; the first module is layer 0. attention: names of modules with maps (B, H, N, N) or
    (B, N, N) in their output. An nn.MultiheadAttention is asked to return its maps. call and mask: see
    `spectral.capture`.

    Raises ConfigError for a name that matches no module, a module that did not run, or one with another output.

    Example:
        >>> model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 8))
        >>> [tuple(x.shape) for x in hooked(model, torch.ones(2, 4, dtype=torch.int64), ["0", "1"], []).hidden]
        [(2, 4, 8), (2, 4, 8)]
    """
    shape = _shape_of(batch)
    if hidden and shape is not None and shape[0] == shape[1] > 1:
        # As many sequences as positions: only with fewer sequences do the states show which axis is which.
        parts = [hooked(model, part, hidden, attention, call, mask) for part in _two_parts(batch, shape)]
        both = [list(map(torch.cat, zip(*pair, strict=True))) for pair in zip(*map(_lists, parts), strict=True)]
        return Trace(both[0], both[1], torch.cat([part.mask for part in parts]))
    if hasattr(getattr(model, "config", None), "output_hidden_states") and call is None:
        batch = _padded_right(batch)
    outputs: dict[str, Any] = {}
    states, maps = (modules_named(model, names) for names in (hidden, attention))
    with _recording(model, {**states, **maps}, list(maps), outputs):
        _call(model, batch, {}, call)
    if idle := [name for name in {**states, **maps} if name not in outputs]:
        raise ConfigError("; ".join(_why_idle(name, {**states, **maps}[name], outputs) for name in idle))
    return _real_last(
        [_state(name, outputs[name]) for name in states],
        [_map(name, outputs[name]) for name in maps],
        _mask_of(batch, mask),
        shape,
    )


def _lists(trace: Trace) -> tuple[list[Tensor], list[Tensor]]:
    return trace.hidden, trace.attention or []


def _refuse_two_stacks(model: Any) -> None:
    two = getattr(getattr(model, "config", None), "is_encoder_decoder", False) and isinstance(model, nn.Module)
    if two and any(name.rpartition(".")[2] == "decoder" for name, _ in model.named_modules()):
        part = "model.encoder" if hasattr(model, "encoder") else "model.get_encoder()"
        raise ConfigError(
            f"{type(model).__name__} is an encoder and a decoder, with states and attention of their own; capture one "
            f"of them, such as {part}, or name modules: hidden=['decoder.layers.*']"
        )


def _padded_right(batch: Any) -> Any:
    """Return a batch whose rows with padding on the left have it on the right, so that positions count from the items.

    Nothing is moved without an `attention_mask`, or with `position_ids`, which say the positions.
    """
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if mask is None or mask.ndim != 2 or batch.get("position_ids") is not None or bool(mask[:, 0].bool().all()):
        return batch
    first = mask.bool().int().argmax(1)  # of a row; 0 for a row that is padding only
    place = (torch.arange(mask.shape[1], device=mask.device) + first[:, None]) % mask.shape[1]
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    return {
        key: value[rows, place] if isinstance(value, Tensor) and value.shape[:2] == mask.shape else value
        for key, value in batch.items()
    }


def _shape_of(batch: Any) -> tuple[int, int] | None:
    """Return (B, N) of a batch: of its ids or its first tensor of two or more dimensions; None if it has none."""
    if isinstance(batch, Mapping) and isinstance(batch.get("input_ids"), Tensor):
        batch = batch["input_ids"]
    return next(((x.shape[0], x.shape[1]) for x in tensors_in(batch) if x.ndim >= 2), None)


def _two_parts(batch: Any, shape: tuple[int, int]) -> list[Any]:
    """Return the batch without its last sequence, and its last sequence."""

    def part(value: Any, rows: slice) -> Any:
        if isinstance(value, Tensor):
            return value[rows] if value.shape[:2] == shape or value.shape == shape[:1] else value
        if isinstance(value, Mapping):
            return {key: part(inner, rows) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            inners = [part(inner, rows) for inner in value]
            return type(value)(*inners) if hasattr(value, "_fields") else type(value)(inners)
        return value

    return [part(batch, rows) for rows in (slice(None, -1), slice(-1, None))]


def _why_idle(name: str, module: nn.Module, outputs: Mapping[str, Any]) -> str:
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        ran = [inner for inner in outputs if inner.startswith(f"{name}.")]
        return (
            f"{name} is a container ({type(module).__name__}) that does not run itself; its members that ran: "
            f"{', '.join(ran) or 'none'}"
        )
    return f"{name} did not run, so there is no output to capture"


def modules_named(model: nn.Module, patterns: Collection[str]) -> dict[str, nn.Module]:
    """Return the modules of a model by name, in the order of the patterns, and for one pattern in the model's order.

    A `*` stands for one part of a name, without dots. Raises ConfigError for a pattern that matches no module. The
    message names the most similar modules.

    Example:
        >>> model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])})
        >>> list(modules_named(model, ["layers.*"]))
        ['layers.0', 'layers.1']
    """
    known = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    for pattern in patterns:
        parts = pattern.split(".")
        matching = [
            name
            for name in known
            if len(split := name.split(".")) == len(parts) and all(map(fnmatchcase, split, parts))
        ]
        if not matching:
            similar = ", ".join(get_close_matches(pattern, known, n=5, cutoff=0.3)) or "none"
            raise ConfigError(f"{type(model).__name__} has no module {pattern!r}; similar ones: {similar}")
        found |= {name: known[name] for name in matching}
    return found


@contextmanager
def _recording(
    model: nn.Module, modules: Mapping[str, nn.Module], maps: Collection[str], outputs: dict[str, Any]
) -> Iterator[None]:
    """Record the output of some modules while the block runs. All hooks are removed afterwards."""
    handles = []
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # the fast path does not run the modules inside
        for name, module in modules.items():
            if name in maps and isinstance(module, nn.MultiheadAttention):
                handles.append(module.register_forward_pre_hook(_ask_for_weights, with_kwargs=True))
            members = module.named_children() if isinstance(module, nn.ModuleList | nn.ModuleDict) else ()
            for place, member in [(name, module), *((f"{name}.{inner}", member) for inner, member in members)]:
                handles.append(member.register_forward_hook(_keep(outputs, place)))
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()


def _ask_for_weights(module: nn.Module, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return inputs, options | {"need_weights": True, "average_attn_weights": False}


def _keep(outputs: dict[str, Any], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs[name] = output

    return keep


def _tensors(output: Any, depth: int = 0) -> list[Tensor]:
    """Return the tensors in an output in their order, also those in dataclasses, named tuples and other objects."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, list | tuple):
        parts = list(output)
    elif isinstance(output, nn.Module | str | int | float | None) or depth > DEEPEST:
        parts = []
    else:
        parts = list(getattr(output, "__dict__", {}).values())
    return [tensor for part in parts for tensor in _tensors(part, depth + 1)]


def _state(name: str, output: Any) -> Tensor:
    for tensor in _tensors(output)[:1]:
        if tensor.ndim == 3:
            return tensor
    raise ConfigError(f"{name} should output hidden states (B, N, D), but its output is {_shapes(output)}")


def _map(name: str, output: Any) -> Tensor:
    for tensor in _tensors(output):
        square = tensor.ndim in (3, 4) and tensor.shape[-1] == tensor.shape[-2]
        sums = tensor.float().sum(-1) if square and tensor.is_floating_point() else None
        if sums is not None and bool(((sums - 1).abs() <= row_sum_tolerance(tensor)).all() and (tensor >= 0).all()):
            return tensor if tensor.ndim == 4 else tensor[:, None]
    raise ConfigError(
        f"{name} should output attention maps (B, H, N, N) or (B, N, N) whose rows sum to 1, but its output is "
        f"{_shapes(output)}"
    )


def _shapes(output: Any) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in _tensors(output)) or type(output).__name__


def _call(
    model: Callable[..., Any], batch: Any, options: Mapping[str, Any], call: Callable[[Any, Any], Any] | None
) -> Any:
    """Run a model on a batch; raises ConfigError if its forward does not take the batch."""
    if call is not None:
        return call(model, batch)
    given, named = ((), {**batch, **options}) if isinstance(batch, Mapping) else ((batch,), dict(options))
    try:
        inspect.signature(model.forward if isinstance(model, nn.Module) else model).bind(*given, **named)
    except TypeError as error:
        raise ConfigError(
            f"{type(model).__name__} does not take the batch ({error}); say how it does with call=lambda model, batch: "
            "model(batch, ...)"
        ) from error
    except ValueError:
        pass  # a callable whose signature Python does not know
    return model(*given, **named)


def _field(returned: Any, name: str) -> Any:
    return returned.get(name) if isinstance(returned, Mapping) else getattr(returned, name, None)


def _mask_of(batch: Any, mask: Callable[[Any], Tensor] | None) -> Tensor | None:
    if mask is not None:
        return torch.as_tensor(mask(batch)).bool()
    return batch["attention_mask"].bool() if isinstance(batch, Mapping) and "attention_mask" in batch else None


def _batch_first(hidden: list[Tensor], shape: tuple[int, int]) -> list[Tensor]:
    """Return hidden states with the axes of sequences and positions in this order; shape is (B, N)."""
    return [x.transpose(0, 1) if x.shape[:2] == shape[::-1] != shape else x for x in hidden]


def _real_last(
    hidden: list[Tensor], attention: list[Tensor], mask: Tensor | None, batch: tuple[int, int] | None
) -> Trace:
    """Move the real positions of each sequence to its end, in their order. Without a mask all are real.

    batch: (B, N) of the ids, by which hidden states (N, B, D) are noticed; maps of attention say it more surely.
    """
    axes = (len(attention[0]), attention[0].shape[-1]) if attention else batch
    hidden = _batch_first(hidden, axes) if axes is not None else hidden
    shape = tuple(hidden[0].shape[:2]) if hidden else axes
    assert shape is not None  # there are states or maps
    if mask is not None and mask.shape == shape[::-1] != shape:
        mask = mask.T
    device = (hidden or attention)[0].device
    if mask is None:
        return Trace(hidden, attention, torch.ones(shape, dtype=torch.bool, device=device))
    if mask.shape != shape:
        raise ConfigError(f"attention_mask should be (B, N) = {tuple(shape)}, got {tuple(mask.shape)}")
    order = mask.to(device).int().argsort(dim=1, stable=True)  # (B, N)
    rows = torch.arange(len(order), device=device)[:, None]
    moved = [
        a[
            rows[..., None, None],
            torch.arange(a.shape[1], device=device)[:, None, None],
            order[:, None, :, None],
            order[:, None, None, :],
        ]
        for a in attention
    ]
    return Trace([x[rows, order] for x in hidden], moved, mask.to(device)[rows, order])
