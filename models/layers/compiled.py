"""Layers of `fused` that a compiler made faster: kernels.cpp, for float32 on a processor with AVX2 or AVX-512.

The installation compiles them where a C++ compiler is found; where there is none, `fused` computes the same with
PyTorch. They use one thread, so they are left out where PyTorch has more than two, and for sizes that do not fill the
registers. `ATEN_CPU_CAPABILITY=default`, a variable of PyTorch, switches them off.
"""

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.layers.packing import Group

_THREADS = 2  # of PyTorch, up to which one thread here is as fast
_VARIANTS = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",)}  # by what PyTorch finds in the processor, best first


def variant() -> str:
    """Return what the compiled layers were compiled for, avx512 or avx2; "none" where there are none."""
    found = _library()
    return "none" if found is None else found[0]


def takes(x: Tensor, *sizes: int) -> bool:
    """Whether the compiled layers compute rows like x (..., D), with inner layers of these sizes.

    >>> takes(torch.ones(2, 64, dtype=torch.float64))
    False
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or torch.get_num_threads() > _THREADS:
        return False
    found = _library()
    return found is not None and not any(size % found[1].tile_columns() for size in (x.shape[-1], *sizes))


def load(name: str) -> ctypes.CDLL | None:
    """Return the layers compiled for avx512 or avx2; None if the installation could not compile them."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels_{name}{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    return None


@cache
def _library() -> tuple[str, ctypes.CDLL] | None:
    for name in _VARIANTS.get(torch.backends.cpu.get_cpu_capability(), ()):
        library = load(name)
        if library is not None:
            return name, library
    return None


def _call(function: str, given: tuple[Any, ...], written: tuple[Tensor | None, ...]) -> None:
    """Call a function of kernels.cpp with what it is given and the tensors that it writes to."""
    found = _library()
    assert found is not None
    assert all(tensor is None or tensor.is_contiguous() for tensor in written)
    kept = [value.contiguous() if isinstance(value, Tensor) else value for value in given]
    getattr(found[1], function)(*map(_as_c, (*kept, *written)))


class _Factors(ctypes.Structure):
    """The struct Mask of kernels.cpp: numbers, random words, the number of words, and of the first factor."""

    _fields_ = (
        ("numbers", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
        ("count", ctypes.c_long),
        ("start", ctypes.c_long),
    )

    @classmethod
    def of(cls, mask: Any, start: int = 0) -> "_Factors":
        """Describe a mask of `models.layers.dropout`, a tensor in order among them, from the factor `start` on."""
        if mask is None:
            return cls()
        if isinstance(mask, Tensor):
            return cls(numbers=mask.data_ptr() + start * mask.element_size())
        return cls(words=mask.words.data_ptr(), count=len(mask.words), start=mask.start + start)


def _expect(*expected: tuple[Tensor, tuple[int, ...]]) -> None:
    """Raise ValueError for a tensor of another shape or type: C++ would read what lies behind it."""
    for tensor, shape in expected:
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            found = f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
            raise ValueError(f"expected float32 of shape {shape}, got {found}")


def _as_c(value: Any) -> Any:
    if isinstance(value, ctypes.Structure):
        return value
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, bool):
        return ctypes.c_bool(value)
    if value is None:
        return ctypes.c_void_p()
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_long(value)


class FeedForward(torch.autograd.Function):
    """See `fused.feed_forward`, for rows (M, D); the inner layer is computed again for the derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        dropout_mask: Any,
    ) -> Tensor:
        """Return the output (M, D)."""
        inner, size = len(w1), x.shape[-1]
        _expect((w1, (inner, size)), (b1, (inner,)), (w2, (size, inner)))
        _expect(*((row, (size,)) for row in (b2, weight, bias)))
        output, normal, rstd = _results(x)
        ctx.mask = _ready(dropout_mask, x.numel())
        given = (*x.shape, len(w1), x, w1, b1, w2, b2, weight, bias, eps, _Factors.of(ctx.mask))
        _call("feed_forward", given, (output, normal, rstd))
        ctx.save_for_backward(x, w1, b1, w2, weight, normal, rstd)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        x, w1, b1, w2, weight, normal, rstd = ctx.saved_tensors
        grad_x, learns = x.new_empty(x.shape), any(ctx.needs_input_grad[1:])
        grad_w1, grad_b1, grad_w2, grad_b2, *ends = sums = zeros(w1, b1, w2.T, weight, weight, weight)
        given = (*x.shape, len(w1), grad, x, w1, b1, w2, weight, _Factors.of(ctx.mask), normal, rstd, learns)
        _call("feed_forward_backward", given, (grad_x, *sums))
        return grad_x, grad_w1, grad_b1, grad_w2.T, grad_b2, *ends, None, None


class Attention(torch.autograd.Function):
    """See `fused.attention`, for rows (M, D) in groups that know their sequences' lengths; with any number of heads."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        b: Tensor,
        b_out: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        dropout_mask: Any,
        groups: list[Group],
        dropout_masks: list[Any] | None,
        scale: float,
        probabilities: list[Tensor],
    ) -> Tensor:
        """Return the output (M, D); the probabilities of each group are appended to `probabilities`."""
        size, heads = x.shape[-1], len(w) // (2 * x.shape[-1])
        _expect((w, (2 * heads * size, size)), (b, (2 * heads * size,)))
        _expect(*((row, (size,)) for row in (b_out, weight, bias)))
        output, normal, rstd = _results(x)
        projected = x.new_empty(len(x), len(w))
        masks = zip(dropout_masks or [None] * len(groups), groups, strict=True)
        ctx.masks = [_ready(mask, heads * group.keys.numel() * group.keys.shape[1]) for mask, group in masks]
        ctx.mask = _ready(dropout_mask, x.numel())
        for index, group in enumerate(groups):
            rows, (sequences, longest) = group.rows, group.keys.shape
            added = (group.keys.to(x.dtype), group.queries.to(x.dtype))
            _expect((added[1], (longest, longest)))
            room = x.new_empty if group.cells is None else x.new_zeros  # cells without a row are not written
            probability = room(sequences, heads, longest, longest)
            probabilities.append(probability)
            end = (weight, bias, eps, _Factors.of(ctx.mask, rows.start * x.shape[-1]))
            given = (x[rows], w, b, b_out, *added, _Factors.of(ctx.masks[index]), scale, *end)
            written = (output[rows], projected[rows], probability, normal[rows], rstd[rows])
            _call("attention", (*_sizes(group, x, w), *given), written)
        ctx.groups, ctx.scale, ctx.probabilities = groups, scale, probabilities
        ctx.save_for_backward(x, w, weight, projected, normal, rstd)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        x, w, weight, projected, normal, rstd = ctx.saved_tensors
        grad_x, learns = x.new_empty(x.shape), any(ctx.needs_input_grad[1:])
        sums = zeros(w, w[:, 0], weight, weight, weight)
        for index, group in enumerate(ctx.groups):
            rows = group.rows
            end = (weight, _Factors.of(ctx.mask, rows.start * x.shape[-1]))
            kept = (projected[rows], ctx.probabilities[index], normal[rows], rstd[rows])
            given = (grad[rows], x[rows], w, _Factors.of(ctx.masks[index]), ctx.scale, *end)
            _call("attention_backward", (*_sizes(group, x, w), *given, *kept, learns), (grad_x[rows], *sums))
        return grad_x, *sums, *[None] * 6


class Frequency(torch.autograd.Function):
    """See `fused.frequency_layer`, for sequences (B, N, D), whose last M positions are not given once more."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        basis: Tensor,
        synthesis: Tensor,
        beta: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        dropout_mask: Any,
        plus: Tensor,
    ) -> Tensor:
        """Return the output (B, M, D)."""
        (batch, length, size), (last, count) = x.shape, synthesis.shape
        ctx.beta_size, beta = beta.shape, beta.expand(size)
        _expect((basis, (length, count)), (synthesis, (min(last, length), count)), (plus, (batch, last, size)))
        _expect(*((row, (size,)) for row in (beta, weight, bias)))
        output, normal, rstd = _results(plus)
        modes = x.new_empty(batch, count, size)
        ctx.sizes, ctx.mask = (batch, length, last, size, count), _ready(dropout_mask, plus.numel())
        given = (*ctx.sizes, x, basis, synthesis, beta, 1 - beta, weight, bias, eps, _Factors.of(ctx.mask), plus)
        _call("frequency", given, (output, modes, normal, rstd))
        ctx.save_for_backward(x, basis, synthesis, beta, weight, modes, normal, rstd)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        x, basis, synthesis, beta, weight, *kept = ctx.saved_tensors
        grad_x = x.new_empty(x.shape)
        grad_beta, *sums = zeros(weight, weight, weight)
        given = (*ctx.sizes, grad, x, basis, synthesis, beta, 1 - beta, weight, _Factors.of(ctx.mask), *kept)
        _call("frequency_backward", given, (grad_x, grad_beta, *sums))
        return grad_x, None, None, grad_beta.sum_to_size(ctx.beta_size), *sums, None, None, grad


class AttendOne(torch.autograd.Function):
    """See `fused.attend_one`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, query: Tensor, mask: Tensor, dropout_mask: Any, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sums of positions (B, H, D), and the sums of their weights (B, H, 1)."""
        batch, heads, size = query.shape
        _expect((x, (batch, x.shape[1], size)), (query, (batch, heads, size)), (mask, (batch, 1, x.shape[1])))
        mixed, weight = x.new_empty(query.shape), x.new_empty(batch, heads, 1)
        probability = x.new_empty(batch, heads, x.shape[1])
        ctx.sizes, ctx.scale = (batch, heads, x.shape[1], size), scale
        ctx.mask = _ready(dropout_mask, probability.numel())
        given = (*ctx.sizes, x, query, mask, _Factors.of(ctx.mask), scale)
        _call("attend_one", given, (mixed, weight, probability))
        ctx.save_for_backward(x, query, probability)
        return mixed, weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_mixed: Tensor, grad_weight: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        x, query, probability = ctx.saved_tensors
        grad_x, grad_query = x.new_empty(x.shape), x.new_empty(query.shape)
        given = (*ctx.sizes, grad_mixed, grad_weight, x, query, _Factors.of(ctx.mask), ctx.scale, probability)
        _call("attend_one_backward", given, (grad_x, grad_query))
        return grad_x, grad_query, None, None, None


class Embed(torch.autograd.Function):
    """See `fused.embed`."""

    @staticmethod
    def forward(
        ctx: Any,
        items: Tensor,
        positions: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        dropout_mask: Any,
        item: Tensor,
        position: Tensor,
    ) -> Tensor:
        """Return the rows (..., D)."""
        item, position = item.long(), position.long().expand(item.shape)
        size = items.shape[1]
        _expect((weight, (size,)), (bias, (size,)))
        _check_rows(item, items)
        if positions is not None:
            _expect((positions, (len(positions), size)))
            _check_rows(position, positions)
        output, normal, rstd = _results(items.new_empty(*item.shape, size))
        ctx.sizes, ctx.mask = (item.numel(), size), _ready(dropout_mask, output.numel())
        given = (*ctx.sizes, item, position, items, positions, weight, bias, eps, _Factors.of(ctx.mask))
        _call("embed", given, (output, normal, rstd))
        ctx.save_for_backward(item, position, items, positions, weight, normal, rstd)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        item, position, items, positions, weight, normal, rstd = ctx.saved_tensors
        grad_items, grad_weight, grad_bias = zeros(items, weight, weight)
        grad_positions = None if positions is None else zeros(positions)[0]
        sums = (grad_items, grad_positions, grad_weight, grad_bias)
        given = (*ctx.sizes, grad, item, position, weight, _Factors.of(ctx.mask), normal, rstd)
        _call("embed_backward", given, sums)
        return *sums, None, None, None, None


class CrossEntropy(torch.autograd.Function):
    """See `losses.cross_entropy`; the derivatives are computed with the loss, so no matrix of scores is kept."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch, a scalar."""
        _expect((output, (len(target), output.shape[1])), (items, (len(items), output.shape[1])))
        _check_rows(target, items)
        losses, grad_output = output.new_empty(len(output)), output.new_empty(output.shape)
        (grad_items,) = zeros(items)
        given = (len(output), *items.shape, output, items, target.long())
        _call("cross_entropy", given, (losses, grad_output, grad_items))
        ctx.save_for_backward(grad_output, grad_items)
        return losses.mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        grad_output, grad_items = ctx.saved_tensors
        return grad_output * grad, grad_items * grad, None


def _check_rows(index: Tensor, table: Tensor) -> None:
    """Raise IndexError, as PyTorch does, for an index of no row."""
    if index.numel():
        least, most = (int(end) for end in index.aminmax())
        if least < 0 or most >= len(table):
            raise IndexError(f"index out of range: {least}..{most} of a table of {len(table)} rows")


def coins(words: Tensor, shifts: int) -> Tensor:
    """Return masks (shifts, words) of 0 and 2, float32: row k has 2 where bit 30 - k of a word, int32, is set."""
    masks = torch.empty(shifts, len(words))
    _call("coins", (len(words), shifts, words), (masks,))
    return masks


def _results(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return room for the output, the normalised rows, and the inverse of their deviations."""
    like = torch.contiguous_format
    return torch.empty_like(x, memory_format=like), torch.empty_like(x, memory_format=like), x.new_empty(x.shape[:-1])


def zeros(*like: Tensor) -> list[Tensor]:
    """Return a tensor of zeros for each of these, in order: room for sums over blocks."""
    return [torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in like]


def _ready(mask: Any, count: int) -> Any:
    """Return a mask of `models.layers.dropout`, of so many factors; one that is a tensor in order and in float32."""
    found = count if mask is None else mask.shape.numel()
    if found != count:
        raise ValueError(f"expected a mask of {count} factors, got {found}")
    return mask.to(torch.float32).contiguous() if isinstance(mask, Tensor) else mask


def _sizes(group: Group, x: Tensor, w: Tensor) -> tuple[int, Tensor, int, int, int]:
    assert group.lengths is not None
    return len(group.lengths), group.lengths, group.keys.shape[1], len(w) // (2 * x.shape[-1]), x.shape[-1]
