"""What any model computes on a batch: through its own `trace`, in the way of Hugging Face models, or by hooks.

Each way gives a `Trace`, like our own models: hidden states (B, N, D) layer by layer, attention maps (B, H, N, N), and
a mask of the real positions. The real positions of every sequence are last, as the measures expect.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.recommender import Trace
from spectral.arrays import row_sum_tolerance
from spectral.batches import padded_right
from spectral.layout import Outputs, arranged

DEEPEST = 6  # objects within objects in which tensors are looked for

Call = Callable[[Any, Any], Any]
Mask = Callable[[Any], Tensor]


def traced(model: Any, batch: Any, causal: bool) -> Trace:
    """Return what `model.trace(batch)` gives. The batch (B, N) has padding 0 on the left.

    causal: False drops the causal mask. Raises ConfigError for a batch of another kind, or padding behind an item.
    """
    if not isinstance(batch, Tensor) or batch.ndim != 2 or batch.is_floating_point():
        came = f"{batch.dtype} {tuple(batch.shape)}" if isinstance(batch, Tensor) else f"a {type(batch).__name__}"
        raise ConfigError(f"windows for {type(model).__name__} must be whole numbers (B, N), got {came}")
    trace: Trace = model.trace(batch, **({} if causal else {"causal": False}))
    for real in (batch != 0, trace.mask.bool()):
        if bool((real[:, :-1] & ~real[:, 1:]).any()):
            raise ConfigError(
                f"windows for {type(model).__name__} must have their padding (0) on the left; one has it behind an item"
            )
    return trace


def called(
    model: Callable[..., Any],
    batch: Any,
    attention: bool = True,
    call: Call | None = None,
    mask: Mask | None = None,
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
    if call is None and _is_hugging_face(model):
        asked = {"output_hidden_states": True, "output_attentions": attention}
        batch = padded_right(batch)

    def run(batch: Any) -> Outputs:
        returned = _call(model, batch, asked, call)
        hidden, maps = (_field(returned, name) for name in ("hidden_states", "attentions"))
        if asked and attention and (not maps or any(a is None for a in maps)):
            raise ConfigError(
                f"{type(model).__name__} returned no attention; load it with attn_implementation='eager', because "
                "faster implementations never compute the attention map"
            )
        if hidden is None and maps is None:
            raise ConfigError(
                f"{type(model).__name__} has no `trace`, and its output, {type(returned).__name__}, has neither "
                "hidden_states nor attentions; name its modules instead: hidden=['embeddings', 'layers.*']"
            )
        return Outputs(
            {f"hidden_states[{layer}]": x for layer, x in enumerate(hidden or ())},
            {f"attentions[{layer}]": a for layer, a in enumerate(maps or ())},
        )

    return arranged(run, batch, _mask_of(batch, mask))


def hooked(
    model: nn.Module,
    batch: Any,
    hidden: Collection[str],
    attention: Collection[str],
    call: Call | None = None,
    mask: Mask | None = None,
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
    states, maps = (modules_named(model, names) for names in (hidden, attention))
    if call is None and _is_hugging_face(model):
        batch = padded_right(batch)
    return arranged(partial(_outputs_of, model, states, maps, call), batch, _mask_of(batch, mask))


def _outputs_of(
    model: nn.Module, states: Mapping[str, nn.Module], maps: Mapping[str, nn.Module], call: Call | None, batch: Any
) -> Outputs:
    outputs: dict[str, Any] = {}
    with _recording(model, {**states, **maps}, list(maps), outputs):
        _call(model, batch, {}, call)
    if idle := [name for name in {**states, **maps} if name not in outputs]:
        raise ConfigError("; ".join(_why_idle(name, {**states, **maps}[name], outputs) for name in idle))
    return Outputs(
        {name: _state(name, outputs[name]) for name in states},
        {name: _map(name, outputs[name]) for name in maps},
        frozenset(name for name, module in states.items() if _is_sequence_first(module)),
    )


def _is_hugging_face(model: Any) -> bool:
    return hasattr(getattr(model, "config", None), "output_hidden_states")


def _is_sequence_first(module: nn.Module) -> bool:
    """Whether a module, such as a layer of PyTorch, says that it works on (N, B, D)."""
    return any(getattr(part, "batch_first", None) is False for part in module.modules())


def _refuse_two_stacks(model: Any) -> None:
    two = getattr(getattr(model, "config", None), "is_encoder_decoder", False) and isinstance(model, nn.Module)
    if two and any(name.rpartition(".")[2] == "decoder" for name, _ in model.named_modules()):
        part = "model.encoder" if hasattr(model, "encoder") else "model.get_encoder()"
        raise ConfigError(
            f"{type(model).__name__} is an encoder and a decoder, each with states and attention of its own; "
            f"capture {part}"
        )


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
    known = {name: module for name, module in model.named_modules() if name}  # the model itself has no name
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
        slots = [name for kind in type(output).__mro__ for name in getattr(kind, "__slots__", ())]
        parts = [*getattr(output, "__dict__", {}).values(), *(getattr(output, name, None) for name in slots)]
    return [tensor for part in parts for tensor in _tensors(part, depth + 1)]


def _state(name: str, output: Any) -> Tensor:
    for tensor in _tensors(output)[:1]:
        if tensor.ndim == 3:
            return tensor
    raise ConfigError(f"{name} should output hidden states (B, N, D), but its output is {_shapes(output)}")


def _map(name: str, output: Any) -> Tensor:
    """Return the first tensor in an output whose rows are attention: no negative weight, and a sum of 1.

    Rows of padding may be NaN or 0 instead, because nothing is left that they could attend to.
    """
    for tensor in _tensors(output):
        if tensor.ndim in (3, 4) and tensor.shape[-1] == tensor.shape[-2] and tensor.is_floating_point():
            sums = tensor.float().sum(-1)
            attending = (sums - 1).abs() <= row_sum_tolerance(tensor)
            if bool(attending.any() and (attending | sums.isnan() | (sums == 0)).all() and not (tensor < 0).any()):
                return tensor if tensor.ndim == 4 else tensor[:, None]
    raise ConfigError(
        f"{name} should output attention maps (B, H, N, N) or (B, N, N) whose rows sum to 1, but its output is "
        f"{_shapes(output)}"
    )


def _shapes(output: Any) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in _tensors(output)) or type(output).__name__


def _call(model: Callable[..., Any], batch: Any, options: Mapping[str, Any], call: Call | None) -> Any:
    """Run a model on a batch; raises ConfigError if it does not take the batch."""
    if call is not None:
        return call(model, batch)
    given, named = ((), {**batch, **options}) if isinstance(batch, Mapping) else ((batch,), dict(options))
    try:
        inspect.signature(model.forward if isinstance(model, nn.Module) else model).bind(*given, **named)
    except TypeError as error:
        raise _not_taken(model, error) from error
    except ValueError:
        pass  # a callable whose signature Python does not know
    try:
        return model(*given, **named)
    except (TypeError, AttributeError, KeyError, IndexError) as error:  # as for a tensor where it expects a mapping
        raise _not_taken(model, error) from error


def _not_taken(model: Any, error: Exception) -> ConfigError:
    return ConfigError(
        f"{type(model).__name__} does not take the batch ({type(error).__name__}: {error}); say how it does with "
        "call=lambda model, batch: model(batch, ...)"
    )


def _field(returned: Any, name: str) -> Any:
    return returned.get(name) if isinstance(returned, Mapping) else getattr(returned, name, None)


def _mask_of(batch: Any, mask: Mask | None) -> Tensor | None:
    if mask is not None:
        return torch.as_tensor(mask(batch)).bool()
    given = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    return None if given is None else given.bool()
