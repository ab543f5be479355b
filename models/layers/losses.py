"""Training losses; every model can be trained with every one of them, so that comparisons can match losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.layers.matmul import linear, outer


@dataclass(frozen=True)
class Loss:
    """A loss of the encoder's output (B, D) given the item table (num_items + 1, D), targets and negatives (B,)."""

    function: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    needs_negatives: bool


def cross_entropy(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None = None) -> Tensor:
    """Full-softmax cross-entropy over all items, padding item included as published; BSARec's loss."""
    return _FullSoftmax.apply(output, items, target)


def binary_cross_entropy(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None) -> Tensor:
    """-log sigmoid(positive) - log(1 - sigmoid(negative)) with one sampled negative; SASRec's published loss."""
    positive_score, negative_score = _pair_scores(output, items, target, negative)
    return -(functional.logsigmoid(positive_score) + functional.logsigmoid(-negative_score)).mean()


def bayesian_personalized_ranking(output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None) -> Tensor:
    """-log sigmoid(positive - negative) with one sampled negative (Rendle et al., UAI 2009)."""
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
    """Mean cross-entropy that keeps one B x items matrix, the probabilities, and passes over it as rarely as it can."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, items: Tensor, target: Tensor) -> Tensor:
        scores = linear(output, items)
        best, target_score = scores.amax(dim=-1), scores.gather(1, target[:, None])[:, 0]
        probability = torch.softmax(scores, dim=-1, out=scores)
        log_total = best - probability.amax(dim=-1).log()  # log sum exp, by the best item: its probability is not tiny
        ctx.save_for_backward(probability, output, items, target)
        return (log_total - target_score).mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        probability, output, items, target = ctx.saved_tensors
        # The derivative by the scores is (probability - one-hot target) / B.
        scale = grad / len(target)
        grad_output = (linear(probability, items.T) - items[target]) * scale
        output = output * scale
        grad_items = outer(probability, output).index_add_(0, target, output, alpha=-1)
        return grad_output, grad_items, None


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return how hard it is to find each row's partner among the rows of both views: InfoNCE, the mean over 2 B rows.

    first, second: (B, D), row i of one is the partner of row i of the other. Rows are compared by dot products over
    `temperature`; the other 2 (B - 1) rows are the negatives, also those that happen to have the same target.

    Source: Qiu et al., *Contrastive Learning for Representation Degeneration Problem in Sequential Recommendation*,
    WSDM 2022, equation 8.
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
