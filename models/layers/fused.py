"""The layers of a block with hand-written derivatives, computed in groups of rows that fit the processor's cache.

For a whole batch at once, the inner layer of the feed-forward network and the projections of attention would be
written to main memory and read back several times, which costs as much as the arithmetic. Group by group they stay in
the cache, and the last matrix product of the backward pass also adds the residual's gradient. Where `compiled` takes
the rows, it computes the same. To callers these are ordinary differentiable functions (first derivatives only); the
tests compare them with plain float64 code and with numerical derivatives.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.layers import compiled
from models.layers.dropout import Coins, Mask, dense
from models.layers.gelu import gelu_backward, gelu_forward
from models.layers.matmul import linear, outer
from models.layers.packing import CACHED_ROWS, Group

MERGED_HEADS = 4  # with more, queries and values of the full size for each head cost more than they save


@dataclass(frozen=True)
class End:
    """The end of a layer, LayerNorm(dropout(y) + x): weight and bias (D,) of the norm, and the dropout mask."""

    weight: Tensor
    bias: Tensor
    eps: float
    dropout_mask: Mask  # the shape of x; None for no dropout


def feed_forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, end: End) -> Tensor:
    """Return LayerNorm(x + dropout(w2 gelu(w1 x + b1) + b2)) with the exact (erf) GELU, (..., D).

    x: (..., D); w1: (I, D), b1: (I,), w2: (D, I), b2: (D,), for an inner layer of I numbers; end: norm and dropout.

    >>> x, w, b = torch.randn(2, 3, 4), torch.zeros(4, 4), torch.zeros(4)
    >>> end = End(torch.ones(4), torch.zeros(4), eps=1e-12, dropout_mask=None)
    >>> output = feed_forward(x, w, b, w, b, end)  # with weights of 0 only the residual and the norm are left
    >>> torch.allclose(output, torch.nn.functional.layer_norm(x, [4]), atol=1e-3)
    True
    """
    given = (x.flatten(end_dim=-2), w1, b1, w2, b2, end.weight, end.bias, end.eps)
    if compiled.takes(x, len(w1)):
        return compiled.FeedForward.apply(*given, end.dropout_mask).view(x.shape)
    return _FeedForward.apply(*given, _by_rows(end.dropout_mask)).view(x.shape)


def attention(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    output_bias: Tensor,
    end: End,
    groups: list[Group],
    dropout_masks: list[Tensor] | list[Coins] | None,
    scale: float,
) -> tuple[Tensor, list[Tensor]]:
    """Return the output of an attention layer with merged weights, including its end; the rows are the keys.

    Args:
        x: (..., D), the rows that the groups refer to.
        weight: (2 H D, D), maps a row to its query and its value, stacked, of each head in turn.
        bias: (2 H D,), added to them.
        output_bias: (D,), added to the sum of the heads' weighted sums of values.
        end: Norm and dropout at the end of the layer.
        groups: Which rows attend to each other.
        dropout_masks: For each group (b, H, T, T), multiplied with the probabilities; None for no dropout.
        scale: Factor of the scores, before the softmax.

    Returns:
        The output, in the shape of x, and for each group the probabilities before dropout (b, H, T, T). No gradient
        flows back through the probabilities.

    More than one head is for what `takes_heads` takes.
    """
    probabilities: list[Tensor] = []
    given = (x.flatten(end_dim=-2), weight, bias, output_bias, end.weight, end.bias, end.eps)
    if _is_compiled(x, groups):
        rows = compiled.Attention.apply(*given, end.dropout_mask, groups, dropout_masks, scale, probabilities)
    else:
        own = None if dropout_masks is None else [dense(mask) for mask in dropout_masks]
        rows = _SingleHead.apply(*given, _by_rows(end.dropout_mask), groups, own, scale, probabilities)
    return rows.view(x.shape), probabilities


def takes_heads(x: Tensor, heads: int, groups: list[Group]) -> bool:
    """Whether `attention` computes this number of heads: one everywhere, up to four where it is compiled."""
    return heads == 1 or (heads <= MERGED_HEADS and _is_compiled(x, groups))


def _is_compiled(x: Tensor, groups: list[Group]) -> bool:
    return compiled.takes(x) and all(group.lengths is not None for group in groups)


def attend_one(x: Tensor, query: Tensor, mask: Tensor, dropout_mask: Mask, scale: float) -> tuple[Tensor, Tensor]:
    """Attend to the positions of a sequence with one query per head; the positions are both keys and values.

    x: (B, N, D); query: (B, H, D); mask: (B, 1, N), added to scale * query . x; dropout_mask: (B, H, N) or None.
    Returns the weighted sums of positions (B, H, D), and the sums of their weights (B, H, 1), 1 without dropout.

    >>> x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # two positions
    >>> attend_one(x, torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), None, scale=1.0)  # a query of 0 takes the mean
    (tensor([[[0.5000, 0.5000]]]), tensor([[[1.]]]))
    """
    if compiled.takes(x):
        return compiled.AttendOne.apply(x, query, mask, dropout_mask, scale)
    return _AttendOne.apply(x, query, mask, dense(dropout_mask), scale)


def embed(items: Tensor, positions: Tensor | None, end: End, item: Tensor, position: Tensor) -> Tensor:
    """Return dropout(LayerNorm(item + position)), (..., D), the input of the first block.

    items: the item table (num_items + 1, D), whose row 0 does not learn; positions: the position table (N, D), or None;
    end: norm and dropout, here after the norm; item: (...), ids; position: indices of positions, broadcast to item.
    """
    if compiled.takes(items):
        ending = (end.weight, end.bias, end.eps, end.dropout_mask)
        return compiled.Embed.apply(items, positions, *ending, item, position)
    x = functional.embedding(item, items, padding_idx=0)
    if positions is not None:
        x = x + functional.embedding(position, positions)
    x = torch.layer_norm(x, [x.shape[-1]], end.weight, end.bias, end.eps)
    mask = dense(end.dropout_mask)
    return x if mask is None else x * mask


def with_last(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return a grid (B, N, D) and its last position (B, D), whose gradient needs no grid of its own."""
    return _WithLast.apply(grid)


def frequency_layer(
    x: Tensor, at: Tensor, basis: Tensor, synthesis_at: Tensor, beta: Tensor, end: End, plus: Tensor
) -> Tensor:
    """Return LayerNorm(at + dropout(LFC + beta HFC)) + plus at the last M of N positions, (B, M, D).

    x, at, basis, synthesis_at, beta: see `frequency_filter`; at has the last M positions; end: norm and dropout at the
    end of the layer; plus: (B, M, D), the output of another branch.
    """
    if compiled.takes(x):
        ending = (end.weight, end.bias, end.eps, end.dropout_mask)
        return compiled.Frequency.apply(x, basis, synthesis_at, beta, *ending, plus)
    total = frequency_filter(x, at, basis, synthesis_at, beta, dense(end.dropout_mask))
    return plus + torch.layer_norm(total, [x.shape[-1]], end.weight, end.bias, end.eps)


def frequency_filter(
    x: Tensor, at: Tensor, basis: Tensor, basis_at: Tensor, beta: Tensor, dropout_mask: Tensor | None
) -> Tensor:
    """Return at + dropout(LFC + beta HFC) at M of the N positions, (B, M, D): what the frequency layer normalises.

    x: (B, N, D); at: (B, M, D), the rows of x at these positions; basis: (N, c), which takes c coefficients; basis_at:
    (M, c), which makes LFC of them at these positions, the same rows of the basis if LFC keeps modes; beta: (D,) or
    (1,); dropout_mask: (B, M, D) or None.
    """
    return _FrequencyFilter.apply(x, at, basis, basis_at, beta, dropout_mask)


def _by_rows(mask: Mask) -> Tensor | None:
    factors = dense(mask)
    return None if factors is None else factors.flatten(end_dim=-2)


def _blocks(x: Tensor) -> list[slice]:
    size = CACHED_ROWS if x.device.type == "cpu" else max(len(x), 1)
    return [slice(start, start + size) for start in range(0, len(x), size)]


def _finish(
    x: Tensor, y: Tensor, dropout_mask: Tensor | None, rows: slice, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """End a layer for some rows of x; return the output, dropout(y) + x, and its mean and inverse deviation."""
    total = x[rows] + y if dropout_mask is None else torch.addcmul(x[rows], y, dropout_mask[rows])
    output, mean, rstd = torch.native_layer_norm(total, [x.shape[-1]], weight, bias, eps)
    return output, total, mean, rstd


def _unfinish(
    grad: Tensor,
    finished: tuple[Tensor, Tensor, Tensor],
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None,
    rows: slice,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate the end of a layer for some rows; return the gradients of dropout(y) + x, y, weight and bias."""
    grad_total, grad_weight, grad_bias = torch.ops.aten.native_layer_norm_backward(
        grad[rows], finished[0], [grad.shape[-1]], *finished[1:], weight, bias, [True, True, True]
    )
    return grad_total, grad_total if mask is None else grad_total * mask[rows], grad_weight, grad_bias


class _FeedForward(torch.autograd.Function):
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
        dropout_mask: Tensor | None,
    ) -> Tensor:
        output = torch.empty_like(x)
        ctx.kept = []  # for each block of rows, what the backward pass needs
        for rows in _blocks(x):
            inner = linear(x[rows], w1, b1)
            activated = gelu_forward(inner)
            y = linear(activated, w2, b2)
            output[rows], *finished = _finish(x, y, dropout_mask, rows, weight, bias, eps)
            ctx.kept.append((inner, activated, finished))
        ctx.save_for_backward(x, w1, w2, weight, bias, dropout_mask)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, w2, weight, bias, dropout_mask = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        grad_w1, grad_b1, grad_w2, grad_b2, grad_weight, grad_bias = sums = compiled.zeros(
            w1, w1[:, 0], w2, bias, weight, bias
        )
        for rows, (inner, activated, finished) in zip(_blocks(x), ctx.kept, strict=True):
            grad_total, grad_y, *grads = _unfinish(grad, finished, weight, bias, dropout_mask, rows)
            grad_inner = gelu_backward(linear(grad_y, w2.T), inner)
            if any(ctx.needs_input_grad[1:]):  # not where a frozen layer is measured
                grad_weight += grads[0]
                grad_bias += grads[1]
                grad_w2 += outer(grad_y, activated)
                grad_b2 += grad_y.sum(0)
                grad_w1 += outer(grad_inner, x[rows])
                grad_b1 += grad_inner.sum(0)
            grad_x[rows] = linear(grad_inner, w1.T, add=grad_total)  # through the layer and through the residual
        return grad_x, *sums, None, None


class _SingleHead(torch.autograd.Function):
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
        dropout_mask: Tensor | None,
        groups: list[Group],
        dropout_masks: list[Tensor] | None,
        scale: float,
        probabilities: list[Tensor],
    ) -> Tensor:
        output = torch.empty_like(x)
        ctx.kept = []  # for each group, what the backward pass needs
        for index, group in enumerate(groups):
            rows = group.rows
            query, value = group.to_grid(linear(x[rows], w, b)).chunk(2, dim=-1)
            key = group.to_grid(x[rows])
            mask = group.mask.to(x.dtype).squeeze(1)
            scores = torch.baddbmm(mask, query, key.mT, alpha=scale)
            probability = scores.softmax(dim=-1)  # (b, T, T), rows are queries, each sums to 1
            probabilities.append(probability[:, None])
            if dropout_masks is not None:
                probability = probability * dropout_masks[index].squeeze(1)
            y = group.to_rows(probability @ value).add_(b_out)
            output[rows], *finished = _finish(x, y, dropout_mask, rows, weight, bias, eps)
            ctx.kept.append((query, key, value, finished))
        ctx.groups, ctx.dropout_masks, ctx.scale, ctx.probabilities = groups, dropout_masks, scale, probabilities
        ctx.save_for_backward(x, w, weight, bias, dropout_mask)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w, weight, bias, dropout_mask = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        grad_w, grad_b, grad_b_out, grad_weight, grad_bias = sums = compiled.zeros(w, w[:, 0], bias, weight, bias)
        for index, (group, (query, key, value, finished)) in enumerate(zip(ctx.groups, ctx.kept, strict=True)):
            rows = group.rows
            grad_total, grad_y, *grads = _unfinish(grad, finished, weight, bias, dropout_mask, rows)
            on_grid = group.to_grid(grad_y)
            probability = dropped = ctx.probabilities[index].squeeze(1)
            if ctx.dropout_masks is not None:
                dropped = probability * ctx.dropout_masks[index].squeeze(1)
            weighted = torch.bmm(on_grid, value.mT).mul_(dropped)  # dL/dP * P, where P is the softmax
            grad_scores = weighted.addcmul_(probability, weighted.sum(-1, keepdim=True), value=-1).mul_(ctx.scale)
            grad_query, grad_value = grad_scores @ key, dropped.mT @ on_grid
            grad_projected = group.to_rows(torch.cat([grad_query, grad_value], dim=-1))
            if any(ctx.needs_input_grad[1:]):
                grad_weight += grads[0]
                grad_bias += grads[1]
                grad_b_out += grad_y.sum(0)
                grad_w += outer(grad_projected, x[rows])
                grad_b += grad_projected.sum(0)
            grad_total += group.to_rows(grad_scores.mT @ query)  # as keys, beside the residual
            grad_x[rows] = linear(grad_projected, w.T, add=grad_total)
        return grad_x, *sums, *[None] * 6


class _AttendOne(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, query: Tensor, mask: Tensor, dropout_mask: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        mask = mask.to(x.dtype).expand(-1, query.shape[1], -1)
        probability = torch.baddbmm(mask, query, x.mT, alpha=scale).softmax(dim=-1)  # (B, H, N)
        dropped = probability if dropout_mask is None else probability * dropout_mask
        ctx.scale = scale
        ctx.save_for_backward(x, query, probability, dropped)
        return dropped @ x, dropped.sum(-1, keepdim=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_mixed: Tensor, grad_total: Tensor) -> tuple[Tensor | None, ...]:
        x, query, probability, dropped = ctx.saved_tensors
        weighted = (grad_mixed @ x.mT + grad_total) * dropped
        grad_scores = torch.addcmul(weighted, probability, weighted.sum(-1, keepdim=True), value=-1) * ctx.scale
        # Both ways from x to the output in one product: the positions as keys, and as values.
        grad_x = torch.cat([grad_scores, dropped], dim=1).mT @ torch.cat([query, grad_mixed], dim=1)
        return grad_x, grad_scores @ x, None, None, None


class _WithLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid: Tensor) -> tuple[Tensor, Tensor]:
        return grid.view_as(grid), grid[:, -1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_last: Tensor) -> Tensor:
        grad = grad.clone()  # another function may have been given the same tensor
        grad[:, -1] += grad_last
        return grad


class _FrequencyFilter(torch.autograd.Function):
    """LFC + beta HFC = beta x + (1 - beta) LFC, where LFC = U (U^T x): c modes go between positions, not N."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, at: Tensor, basis: Tensor, basis_at: Tensor, beta: Tensor, dropout_mask: Tensor | None
    ) -> Tensor:
        modes = basis.T @ x  # (B, c, D)
        filtered = (beta * at).baddbmm_(basis_at.expand(len(x), -1, -1), (1 - beta) * modes)
        ctx.save_for_backward(at, basis, basis_at, beta, dropout_mask, modes)
        return filtered.add_(at) if dropout_mask is None else filtered.mul_(dropout_mask).add_(at)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        at, basis, basis_at, beta, dropout_mask, modes = ctx.saved_tensors
        grad_filtered = grad if dropout_mask is None else grad * dropout_mask
        grad_modes = basis_at.T @ grad_filtered  # of LFC = U modes
        # Summed over sequences and positions; LFC's part is summed over its modes instead.
        grad_beta = (grad_filtered * at).sum((0, 1)) - (grad_modes * modes).sum((0, 1))
        grad_x = basis @ ((1 - beta) * grad_modes)
        return grad_x, torch.addcmul(grad, beta, grad_filtered), None, None, grad_beta.sum_to_size(beta.shape), None
