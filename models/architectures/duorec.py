"""DuoRec: SASRec with a contrastive loss that pulls inputs with the same target together (Qiu et al., WSDM 2022)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.architectures.encoder import EncoderConfig
from models.architectures.sasrec import SASRec, SASRecConfig
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.losses import Loss, info_nce
from models.recommender import Recommender


@dataclass(frozen=True)
class ContrastiveTerm(EncoderConfig):
    """Settings of a contrastive loss term; the defaults are the published ones."""

    contrastive_weight: float = 0.1  # factor of InfoNCE in the loss
    temperature: float = 1.0  # divisor of the dot products in InfoNCE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrastive_weight < 0:
            raise ConfigError(f"contrastive_weight must be at least 0, got {self.contrastive_weight}")
        if self.temperature <= 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature}")


@dataclass(frozen=True)
class ContrastiveConfig(ContrastiveTerm, SASRecConfig):
    """Configuration of a model with attention and a contrastive loss term; see ContrastiveTerm."""


@dataclass(frozen=True)
class DuoRecConfig(ContrastiveConfig):
    """Configuration of DuoRec; see ContrastiveConfig."""


def contrastive_loss(model: Recommender, batch: Batch, loss: Loss) -> Tensor:
    """Return the mean loss of a batch plus InfoNCE between two views of each sample, a scalar; see DuoRec.

    The model's configuration is a ContrastiveTerm, and the batch has `same_target`.
    """
    assert batch.same_target is not None
    # All three at once: sequences of similar length share a grid, and each weight is read once.
    rows = model.encode(torch.cat([batch.inputs, batch.inputs, batch.same_target]))
    output, own, other = rows.chunk(3)
    predicted = loss.function(output, model.candidates, batch.targets, batch.negatives)
    return predicted + model.config.contrastive_weight * info_nce(own, other, model.config.temperature)


class DuoRec(SASRec):
    """The encoder of SASRec; the loss adds InfoNCE between two views of each sample.

    One view is the sample's own input with another dropout mask, the other is an input with the same target. The
    published code calls this mode us_x.
    """

    name, title = "duorec", "DuoRec"
    config_type = DuoRecConfig
    published_loss = "ce"
    needs_same_target = True

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender; needs batch.same_target."""
        return contrastive_loss(self, batch, loss)
