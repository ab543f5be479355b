"""Training losses; most models can be trained with each of them, so that comparisons can use the same loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.layers import compiled
from models.layers.matmul import linear, outer

SCORES_AT_ONCE = 2**21  # of a block of the blocked cross-entropy: 8 MB in float32
FEWEST_COMPILED = 32  # rows of a batch; the compiled cross-entropy copies the item table, which has to be worth it
SCORES_IN_ONE = 2**24  # up to here, 67 MB in float32, all scores of a batch are one matrix, which is faster


class LossFunction(Protocol):
    """Takes the encoder's output (B, D), the item table (num_items + 1, D), the targets (B,) and the negatives or None.

    Returns the mean loss over the batch in nats, a scalar; with `share` (B,), the sum of the losses times their share.
    """

    def __call__(
        self, output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None, share: Tensor | None = None
    ) -> Tensor:
        """Return the loss."""


@dataclass(frozen=True)
class Loss:
    """A training loss.

    Attributes:
        function: Returns the loss of a batch.
        needs_negatives: Whether the function needs a sampled negative item for each target, (B,).
        draw: Draws the negatives that all samples of a batch share, (K,) ids; None if there are no such.
    """

    function: LossFunction
    needs_negatives: bool
    draw: Callable[[np.random.Generator], NDArray[np.int64]] | None = None


def cross_entropy(
    output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None = None, share: Tensor | None = None
) -> Tensor:
    """Full-softmax cross-entropy over all items, including the padding item, as published; BSARec's loss.

    See `LossFunction`; negative is not used. Where a batch has more than SCORES_IN_ONE scores, they are computed block
    of items by block of items, once more for the derivative, so that memory does not grow with the product of batch and
    items.

    >>> output, items = torch.zeros(2, 4), torch.randn(8, 4)  # an output of 0 scores all 8 rows alike
    >>> round(cross_entropy(output, items, torch.tensor([1, 5])).item(), 4)  # ln 8
    2.0794
    """
    if len(output) * len(items) > SCORES_IN_ONE:
        return _BlockedSoftmax.apply(output, items, target, share)
    if share is None and compiled.takes(output) and len(output) >= FEWEST_COMPILED:
        return compiled.CrossEntropy.apply(output, items, target)
    return _FullSoftmax.apply(output, items, target, share)


def binary_cross_entropy(
    output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None, share: Tensor | None = None
) -> Tensor:
    """-log sigmoid(positive) - log(1 - sigmoid(negative)) with one sampled negative; SASRec's published loss.

    positive and negative are the scores of the target and of the negative item. See `LossFunction`; negative: (B,).
    Raises ValueError without negatives.

    Source: Kang and McAuley, ICDM 2018; here at the last position only.

    >>> output, items = torch.zeros(1, 4), torch.randn(8, 4)  # all scores are 0
    >>> round(binary_cross_entropy(output, items, torch.tensor([1]), torch.tensor([5])).item(), 4)  # 2 ln 2
    1.3863
    """
    positive_score, negative_score = _pair_scores(output, items, target, negative)
    return mean_loss(-functional.logsigmoid(positive_score) - functional.logsigmoid(-negative_score), share)


def bayesian_personalized_ranking(
    output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None, share: Tensor | None = None
) -> Tensor:
    """-log sigmoid(positive - negative) with one sampled negative (Rendle et al., UAI 2009).

    See `LossFunction`; errors are those of `binary_cross_entropy`.

    >>> output, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [2.0], [-1.0]])  # scores 0, 2 and -1
    >>> loss = bayesian_personalized_ranking(output, items, torch.tensor([1]), torch.tensor([2]))
    >>> round(loss.item(), 4)  # ln(1 + exp(-3)): the target's score is higher by 3
    0.0486
    """
    positive_score, negative_score = _pair_scores(output, items, target, negative)
    return mean_loss(-functional.logsigmoid(positive_score - negative_score), share)


def mean_loss(losses: Tensor, share: Tensor | None) -> Tensor:
    """Return the mean of losses (B,), or their sum with these shares (B,)."""
    return losses.mean() if share is None else (losses * share).sum()


def _pair_scores(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None) -> tuple[Tensor, Tensor]:
    if negative is None:
        raise ValueError("this loss compares each target with a sampled negative item; none was given")
    pairs = (
        functional.embedding(target, items, padding_idx=0),
        functional.embedding(negative, items, padding_idx=0),
    )
    return (output * pairs[0]).sum(-1), (output * pairs[1]).sum(-1)


class _FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy that keeps only one B x items matrix, the probabilities, and passes over it few times."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor, share: Tensor | None) -> Tensor:
        scores = linear(output, items)
        best, target_score = scores.amax(dim=-1), scores.gather(1, target[:, None])[:, 0]
        probability = torch.softmax(scores, dim=-1, out=scores)
        log_total = (
            best - probability.amax(dim=-1).log()
        )  # log sum exp, from the best item: its probability is not tiny
        ctx.save_for_backward(probability, output, items, target, share)
        return mean_loss(log_total - target_score, share)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        probability, output, items, target, share = ctx.saved_tensors
        # The derivative with respect to the scores is (probability - one-hot target) / B.
        scale = grad / len(target) if share is None else grad * share[:, None]
        grad_output = (linear(probability, items.T) - items[target]) * scale
        output = output * scale
        grad_items = outer(probability, output).index_add_(0, target, output, alpha=-1)
        return grad_output, grad_items, None, None


class _BlockedSoftmax(torch.autograd.Function):
    """The same mean cross-entropy with one block of scores at a time, and no B x items matrix at all."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor, share: Tensor | None) -> Tensor:
        log_total = torch.full_like(output[:, 0], -torch.inf)
        for rows in _blocks(output, items):
            log_total = torch.logaddexp(log_total, torch.logsumexp(linear(output, items[rows]), dim=-1))
        ctx.save_for_backward(log_total, output, items, target, share)
        return mean_loss(log_total - (output * items[target]).sum(-1), share)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        log_total, output, items, target, share = ctx.saved_tensors
        scale = grad / len(target) if share is None else grad * share[:, None]
        scaled = output * scale
        grad_output, grad_items = -items[target], torch.empty_like(items)
        for rows in _blocks(output, items):
            probability = linear(output, items[rows]).sub_(log_total[:, None]).exp_()
            grad_output += linear(probability, items[rows].T)
            grad_items[rows] = outer(probability, scaled)
        return grad_output * scale, grad_items.index_add_(0, target, scaled, alpha=-1), None, None


def _blocks(output: Tensor, items: Tensor) -> list[slice]:
    """Return the rows of the item table in blocks, each of at most SCORES_AT_ONCE scores."""
    size = max(SCORES_AT_ONCE // max(len(output), 1), 1)
    return [slice(start, start + size) for start in range(0, len(items), size)]


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE, the cross-entropy of finding each row's partner among the rows of both views, in nats.

    first, second: (B, D), two views; row i of one is the partner of row i of the other. Rows are compared by their dot
    product divided by `temperature`. The other 2 (B - 1) rows are the negatives, even where they have the same target.
    Returns the mean over the 2 B rows, a scalar.

    Source: Qiu et al., *Contrastive Learning for Representation Degeneration Problem in Sequential Recommendation*,
    WSDM 2022, equation 8.

    >>> views = torch.zeros(3, 4)  # nothing tells the rows apart, so the partner is one of 5 equal rows
    >>> round(info_nce(views, views, temperature=1.0).item(), 4)  # ln 5
    1.6094
    """
    rows, batch = torch.cat([first, second]), len(first)
    similarity = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * batch, device=rows.device).roll(batch)
    return functional.cross_entropy(similarity, partner)


LOSSES = {
    "ce": Loss(cross_entropy, needs_negatives=False),
    "bce": Loss(binary_cross_entropy, needs_negatives=True),
    "bpr": Loss(bayesian_personalized_ranking, needs_negatives=True),
}
