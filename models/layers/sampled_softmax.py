"""Sampled softmax with log-Q correction: cross-entropy among the target and some drawn items, for very many items."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.errors import ConfigError, did_you_mean
from models.layers.losses import LOSSES, Loss, mean_loss

NAME = "sampled_softmax"
SAMPLINGS = ("frequency", "uniform")


@dataclass(frozen=True)
class SampledSoftmax:
    """The loss `sampled_softmax`, or `sampled_softmax:negatives=500,sampling=uniform`; see `sampled_softmax`.

    Raises ConfigError for a field out of range.

    Attributes:
        negatives: How many items are drawn for each batch, with replacement; all samples of the batch share them.
        sampling: "frequency" draws an item with probability (n + 1) / sum (n + 1), where n is how often it occurs in
            the training part: every item can be drawn, otherwise the loss would not see those that do not occur.
            "uniform" draws all alike. The padding item takes part, as in the loss `ce`.
    """

    negatives: int = 1000
    sampling: str = "frequency"

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ConfigError(f"{NAME}: negatives must be at least 1, got {self.negatives}")
        if self.sampling not in SAMPLINGS:
            raise ConfigError(
                f"{NAME}: sampling must be {' or '.join(SAMPLINGS)}, got {self.sampling!r}"
                f"{did_you_mean(self.sampling, SAMPLINGS)}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the options from a name of the loss. Raises ConfigError for one that is unknown, or malformed.

        >>> SampledSoftmax.parse("sampled_softmax:negatives=500")
        SampledSoftmax(negatives=500, sampling='frequency')
        >>> SampledSoftmax.parse("sampled_softmax:number=500")
        Traceback (most recent call last):
        models.errors.ConfigError: sampled_softmax: expected negatives=... or sampling=..., once each, got 'number=500'
        """
        names = [field.name for field in fields(cls)]
        given: dict[str, str] = {}
        _, colon, options = text.partition(":")
        for option in options.split(",") if colon else []:
            name, equals, value = option.partition("=")
            if not equals or name not in names or name in given:
                expected = " or ".join(f"{name}=..." for name in names)
                raise ConfigError(f"{NAME}: expected {expected}, once each, got {option!r}")
            given[name] = value
        number = given.get("negatives", str(cls.negatives))
        if not (number.isascii() and number.isdigit()):
            raise ConfigError(f"{NAME}: negatives must be a whole number, got {number!r}")
        return cls(int(number), given.get("sampling", cls.sampling))

    def loss(self, counts: NDArray[np.int64]) -> Loss:
        """Return the loss for items that occur so often, (num_items + 1,) with 0 for padding."""
        weight = counts + 1.0 if self.sampling == "frequency" else np.ones(len(counts))
        below = np.cumsum(weight) / weight.sum()
        below[-1] = 1  # rounding would leave a number that is no item's
        log_probability = torch.from_numpy(np.log(weight / weight.sum()))

        def draw(rng: np.random.Generator) -> NDArray[np.int64]:
            return np.searchsorted(below, rng.random(self.negatives), side="right")

        return Loss(_Corrected(log_probability), needs_negatives=False, draw=draw)


class _Corrected:
    """`sampled_softmax` with the probabilities of all items, which stay where they are used."""

    def __init__(self, log_probability: Tensor) -> None:
        self.log_probability = log_probability

    def __call__(
        self, output: Tensor, items: Tensor, target: Tensor, negative: Tensor | None, share: Tensor | None = None
    ) -> Tensor:
        if negative is None:
            raise ValueError("sampled softmax compares targets with drawn items; none were given")
        self.log_probability = self.log_probability.to(output)
        return sampled_softmax(output, items, target, negative, self.log_probability, share)


def sampled_softmax(
    output: Tensor,
    items: Tensor,
    target: Tensor,
    drawn: Tensor,
    log_probability: Tensor,
    share: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the target among K drawn items, whose scores s_j are corrected to s_j - log(K q_j).

    output: (B, D); items: (num_items + 1, D); target: (B,); drawn: (K,) items of all samples, drawn with replacement;
    log_probability: (num_items + 1,) log q_j, with which an item is drawn. Returns the mean over the batch in nats, a
    scalar, or the sum with these shares (B,). A drawn item that is a sample's target is left out for this sample.

    Bias: with the correction, the sum in the denominator is an unbiased estimate of that of the full softmax. The loss
    is its logarithm, which is concave, so it is too small on average, and its gradient is biased too; both biases
    vanish with 1 / K, and are the smaller the nearer q is to the softmax itself. Uncorrected, items that are often
    drawn would be pushed down.

    Sources: Bengio and Senecal, *Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language
    Model*, IEEE Transactions on Neural Networks 2008; Yi et al., *Sampling-Bias-Corrected Neural Modeling for Large
    Corpus Item Recommendations*, RecSys 2019 (there the items are those of the batch).

    >>> output, items = torch.zeros(1, 4), torch.randn(8, 4)  # all scores are 0; 2 of the 8 items are drawn, uniformly
    >>> loss = sampled_softmax(output, items, torch.tensor([1]), torch.tensor([5, 7]), torch.full((8,), 1 / 8).log())
    >>> round(loss.item(), 4)  # ln(1 + 2 x 8 / 2): each drawn item stands for 4
    2.1972
    """
    target_score = (output * functional.embedding(target, items)).sum(-1)
    scores = output @ functional.embedding(drawn, items).T - (log_probability[drawn] + np.log(len(drawn)))  # (B, K)
    scores = scores.masked_fill(drawn == target[:, None], -torch.inf)
    total = torch.logaddexp(target_score, torch.logsumexp(scores, dim=-1))
    return mean_loss(total - target_score, share)


def check_name(text: str) -> None:
    """Raise ConfigError if this is not the name of a loss."""
    kind = text.partition(":")[0]
    if kind == NAME:
        SampledSoftmax.parse(text)
    elif text not in LOSSES:
        names = [*LOSSES, NAME]
        raise ConfigError(f"unknown loss {text!r}; choose one of {', '.join(names)}{did_you_mean(text, names)}")


def loss_named(text: str, count: Callable[[], NDArray[np.int64]]) -> Loss:
    """Return a loss by its name. Raises ConfigError as `check_name` does.

    count: returns how often each item occurs, (num_items + 1,); called if the loss asks for it.

    >>> loss_named("ce", lambda: np.array([0, 3, 1])).draw is None
    True
    >>> loss_named("sampled_softmax:negatives=5", lambda: np.array([0, 3, 1])).draw(np.random.default_rng(0)).shape
    (5,)
    """
    check_name(text)
    return LOSSES[text] if text in LOSSES else SampledSoftmax.parse(text).loss(count())
