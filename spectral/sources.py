"""What any model computes on a batch: through its own `trace`, in the way of Hugging Face models, or by hooks.

Each way gives a `Trace`, like our own models: hidden states (B, N, D) layer by layer, attention maps (B, H, N, N), and
a mask of the real positions. The real positions of every sequence are last, as the measures expect.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.recommender import Trace


def traced(model: Any, batch: Any, causal: bool) -> Trace:
    """Return what `model.trace(batch)` gives. The batch (B, N) has padding 0 on the left.

    causal: False drops the causal mask.
    """
    return model.trace(batch, **({} if causal else {"causal": False}))


def called(model: Callable[..., Any], batch: Any, attention: bool = True) -> Trace:
    """Return the `hidden_states` and `attentions` of a model's output, which are attributes or keys of it.

    A Hugging Face model is asked to return them; attention only if `attention`. Raises ConfigError if the model returns
    neither, or no attention although it was asked to.

    Example:
        >>> model = lambda batch: {"hidden_states": [torch.zeros(2, 4, 8)]}
        >>> called(model, torch.ones(2, 4)).mask.shape
        torch.Size([2, 4])
    """
    asked = {}
    if hasattr(getattr(model, "config", None), "output_hidden_states"):
        asked = {"output_hidden_states": True, "output_attentions": attention}
    returned = _call(model, batch, asked)
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
    return _real_last(list(hidden or ()), list(maps or ()), _mask_of(batch))


def hooked(model: nn.Module, batch: Any, hidden: Collection[str], attention: Collection[str]) -> Trace:
    """Return the outputs of some modules of a model while it runs.

    hidden: names of modules, or patterns like `layers.*`. The output of each, or the first tensor in it, is (B, N, D);
    the first module is layer 0. attention: names of modules with maps (B, H, N, N) or (B, N, N) in their output. An
    nn.MultiheadAttention is asked to return its maps.

    Raises ConfigError for a name that matches no module, a module that did not run, or one with another output.

    Example:
        >>> model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 8))
        >>> [tuple(x.shape) for x in hooked(model, torch.ones(2, 4, dtype=torch.int64), ["0", "1"], []).hidden]
        [(2, 4, 8), (2, 4, 8)]
    """
    outputs: dict[str, Any] = {}
    states, maps = (modules_named(model, names) for names in (hidden, attention))
    with _recording(model, {**states, **maps}, list(maps), outputs):
        _call(model, batch, {})
    if idle := [name for name in {**states, **maps} if name not in outputs]:
        raise ConfigError(f"{', '.join(idle)} did not run, so there is no output to capture")
    return _real_last(
        [_state(name, outputs[name]) for name in states],
        [_map(name, outputs[name]) for name in maps],
        _mask_of(batch),
    )


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
            handles.append(module.register_forward_hook(_keep(outputs, name)))
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


def _tensors(output: Any) -> list[Tensor]:
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else [output]
    return [part for part in parts if isinstance(part, Tensor)]


def _state(name: str, output: Any) -> Tensor:
    for tensor in _tensors(output)[:1]:
        if tensor.ndim == 3:
            return tensor
    raise ConfigError(f"{name} should output hidden states (B, N, D), but its output is {_shapes(output)}")


def _map(name: str, output: Any) -> Tensor:
    for tensor in _tensors(output):
        square = tensor.ndim in (3, 4) and tensor.shape[-1] == tensor.shape[-2]
        sums = tensor.sum(-1) if square and tensor.is_floating_point() else None
        if sums is not None and torch.allclose(sums, torch.ones_like(sums), atol=1e-3) and bool((tensor >= 0).all()):
            return tensor if tensor.ndim == 4 else tensor[:, None]
    raise ConfigError(
        f"{name} should output attention maps (B, H, N, N) or (B, N, N) whose rows sum to 1, but its output is "
        f"{_shapes(output)}"
    )


def _shapes(output: Any) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in _tensors(output)) or type(output).__name__


def _call(model: Callable[..., Any], batch: Any, options: Mapping[str, Any]) -> Any:
    return model(**batch, **options) if isinstance(batch, Mapping) else model(batch, **options)


def _field(returned: Any, name: str) -> Any:
    return returned.get(name) if isinstance(returned, Mapping) else getattr(returned, name, None)


def _mask_of(batch: Any) -> Tensor | None:
    return batch["attention_mask"].bool() if isinstance(batch, Mapping) and "attention_mask" in batch else None


def _real_last(hidden: list[Tensor], attention: list[Tensor], mask: Tensor | None) -> Trace:
    """Move the real positions of each sequence to its end, in their order. Without a mask all are real."""
    shape = hidden[0].shape[:2] if hidden else (len(attention[0]), attention[0].shape[-1])
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
