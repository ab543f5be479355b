"""SLIME4Rec: blocks of learned filters on sliding bands, with DuoRec's contrastive loss (Du et al., ICDE 2023)."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from models.architectures.duorec import ContrastiveTerm, contrastive_loss
from models.architectures.fmlprec import FilterEncoder
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.frequency import band
from models.layers.losses import Loss
from models.layers.sliding_filter import SlidingFilter

SlideMode = Literal["one", "two", "three", "four"]
# By mode, whether the dynamic and the static band of later layers have lower frequencies; else they have higher ones.
FALLS: dict[str, tuple[bool, bool]] = {
    "one": (True, False),
    "two": (False, True),
    "three": (False, False),
    "four": (True, True),
}


@dataclass(frozen=True)
class SLIME4RecConfig(ContrastiveTerm):
    """Configuration of SLIME4Rec; the defaults are those of the code published with WEARec."""

    dynamic_ratio: float = 0.8  # share of the frequencies in a layer's dynamic band; the static one has 1 / L
    slide_mode: SlideMode = "four"  # the direction in which the bands slide, see FALLS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.dynamic_ratio <= 1:
            raise ConfigError(f"dynamic_ratio must be above 0 and at most 1, got {self.dynamic_ratio}")
        if self.slide_mode not in FALLS:
            raise ConfigError(f"slide_mode must be one of {', '.join(get_args(SlideMode))}, got {self.slide_mode!r}")

    def bands(self, layer: int) -> tuple[range, range]:
        """Return the bins of the real FFT in the dynamic and in the static band of a layer (from 0).

        >>> SLIME4RecConfig(num_items=100, max_len=50).bands(0), SLIME4RecConfig(num_items=100, max_len=50).bands(1)
        ((range(5, 26), range(13, 26)), (range(0, 21), range(0, 13)))
        """
        bins, layers = self.max_len // 2 + 1, self.num_layers
        dynamic, static = (layer if falls else layers - 1 - layer for falls in FALLS[self.slide_mode])
        step = bins * (1 - self.dynamic_ratio) // max(layers - 1, 1)
        share = 1 / layers
        return band(bins, self.dynamic_ratio, dynamic * step), band(bins, share, static * (share * bins))


class SLIME4Rec(FilterEncoder):
    """Blocks of SlidingFilter; there is no mask, so padding and later positions influence every position.

    The code published with WEARec keeps a third filter in every layer that it never uses; it is left out here.
    """

    name, title = "slime4rec", "SLIME4Rec"
    config_type = SLIME4RecConfig
    published_loss = "ce"
    capturable = True
    idle = (("filter", "a filter acts in its band of frequencies only"),)  # the dynamic and the static one
    needs_same_target = True

    def __init__(self, config: SLIME4RecConfig) -> None:
        bands = iter([config.bands(layer) for layer in range(config.num_layers)])
        super().__init__(
            config,
            lambda masks: SlidingFilter(config.hidden_size, config.max_len, *next(bands), config.dropout, masks),
        )

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender; needs batch.same_target."""
        return contrastive_loss(self, batch, loss)
