"""Training losses; most models can be trained with each of them, so that comparisons can use the same loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.layers.matmul import linear, outer


@dataclass(frozen=True)
class Loss:
    """A training loss.

    Attributes:
        function: Takes the encoder's output (B, D), the item table (num_items + 1, D), the targets (B,) and the
            negatives (B,) or None; returns the mean loss over the batch in nats, a scalar.
        needs_negatives: Whether the function needs a sampled negative item for each target.
    """

    function: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    needs_negatives: bool


def cross_entropy(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None = None) -> Tensor:
    """Full-softmax cross-entropy over all items, including the padding item, as published; BSARec's loss.

    output: (B, D); items: (num_items + 1, D); target: (B,); negative is not used. Returns the mean over the batch in
    nats, a scalar.

    >>> output, items = torch.zeros(2, 4), torch.randn(8, 4)  # an output of 0 scores all 8 rows alike
    >>> round(cross_entropy(output, items, torch.tensor([1, 5])).item(), 4)  # ln 8
    2.0794
    """
    return _FullSoftmax.apply(output, items, target)


def binary_cross_entropy(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None) -> Tensor:
    """-log sigmoid(positive) - log(1 - sigmoid(negative)) with one sampled negative; SASRec's published loss.

    positive and negative are the scores of the target and of the negative item. Shapes and unit are those of
    `cross_entropy`; negative: (B,). Raises ValueError without negatives.

    Source: Kang and McAuley, ICDM 2018; here at the last position only.

    >>> output, items = torch.zeros(1, 4), torch.randn(8, 4)  # all scores are 0
    >>> round(binary_cross_entropy(output, items, torch.tensor([1]), torch.tensor([5])).item(), 4)  # 2 ln 2
    1.3863
    """
    positive_score, negative_score = _pair_scores(output, items, target, negative)
    return -(functional.logsigmoid(positive_score) + functional.logsigmoid(-negative_score)).mean()


def bayesian_personalized_ranking(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None) -> Tensor:
    """-log sigmoid(positive - negative) with one sampled negative (Rendle et al., UAI 2009).

    Shapes, unit and errors are those of `binary_cross_entropy`.

    >>> output, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [2.0], [-1.0]])  # scores 0, 2 and -1
    >>> loss = bayesian_personalized_ranking(output, items, torch.tensor([1]), torch.tensor([2]))
    >>> round(loss.item(), 4)  # ln(1 + exp(-3)): the target's score is higher by 3
    0.0486
    """
    positive_score, negative_score = _pair_scores(output, items, target, negative)
    return -functional.logsigmoid(positive_score - negative_score).mean()


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
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor) -> Tensor:
        scores = linear(output, items)
        best, target_score = scores.amax(dim=-1), scores.gather(1, target[:, None])[:, 0]
        probability = torch.softmax(scores, dim=-1, out=scores)
        log_total = (
            best - probability.amax(dim=-1).log()
        )  # log sum exp, from the best item: its probability is not tiny
        ctx.save_for_backward(probability, output, items, target)
        return (log_total - target_score).mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        probability, output, items, target = ctx.saved_tensors
        # The derivative with respect to the scores is (probability - one-hot target) / B.
        scale = grad / len(target)
        grad_output = (linear(probability, items.T) - items[target]) * scale
        output = output * scale
        grad_items = outer(probability, output).index_add_(0, target, output, alpha=-1)
        return grad_output, grad_items, None


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
