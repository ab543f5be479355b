"""Caser: convolutions over the window as an image (Tang and Wang, WSDM 2018), as published by BSARec's authors."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.dropout import Dropout
from models.layers.losses import Loss
from models.layers.matmul import project
from models.recommender import Recommender, RecommenderConfig, Trace

HEIGHTS_AT_ONCE = 10  # filters of this many heights are one matrix product: products with few columns are slow


@dataclass(frozen=True)
class CaserConfig(RecommenderConfig):
    """Configuration of Caser; the defaults are the published ones."""

    num_users: int = 1
    vertical: int = 4  # filters over all positions of one dimension
    horizontal: int = 8  # filters over all dimensions, for each number of positions 1..N
    regularisation: float = 1e-4  # factor of the norms of the weights in the loss

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("num_users", "vertical", "horizontal")
        if self.regularisation < 0:
            raise ConfigError(f"regularisation must be at least 0, got {self.regularisation}")


class Caser(Recommender):
    """Vertical and horizontal filters over the item embeddings, then two layers, the second with the user's embedding.

    If the users are not known (data other than the training data), the mean of all users' embeddings is used. There
    are no masks: the filters treat padding as one more item.
    """

    name, title = "caser", "Caser"
    config_type = CaserConfig
    published_loss = "bce"
    capturable = True
    promises = ("causal",)  # its one output is for the last position

    def __init__(self, config: CaserConfig) -> None:
        super().__init__(config)
        size, length = config.hidden_size, config.max_len
        self.users = nn.Embedding(config.num_users, size)
        self.vertical = nn.Conv1d(length, config.vertical, 1)  # positions are the channels
        self.horizontal = nn.ModuleList(nn.Conv1d(size, config.horizontal, 1 + extra) for extra in range(length))
        self.dropout = Dropout(config.dropout, self.masks)
        self.inner = nn.Linear(config.vertical * size + config.horizontal * length, size)
        self.outer = nn.Linear(2 * size, size)

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """See Recommender; filters and their biases are uniform within 1 / sqrt(inputs), PyTorch's default."""
        layer = name.rpartition(".")[0]
        if not layer.startswith(("vertical", "horizontal")):
            return super().draw(name, shape, generator)
        bound = cast(nn.Conv1d, self.get_submodule(layer)).weight[0].numel() ** -0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """See Recommender; users: (B,) rows of the users in the training data."""
        x = self.items(input_ids)
        features = torch.cat([self.vertical(x).flatten(1), *self._horizontal_features(x)], dim=1)
        inner = functional.relu(self.inner(self.dropout(features)))
        user = self.users.weight.mean(0).expand_as(inner) if users is None else self.users(users)
        return functional.relu(self.outer(torch.cat([inner, user], dim=1)))

    def _horizontal_features(self, x: Tensor) -> list[Tensor]:
        """Return the maximum over places of each filter's output on x (B, N, D), one (B, filters) per height group."""
        features, length = [], x.shape[1]
        for first in range(0, length, HEIGHTS_AT_ONCE):
            layers = cast(list[nn.Conv1d], list(self.horizontal)[first : first + HEIGHTS_AT_ONCE])
            tallest, spare = first + len(layers), len(layers) - 1
            weight = torch.cat([functional.pad(layer.weight, (0, tallest - layer.kernel_size[0])) for layer in layers])
            bias = torch.cat([cast(Tensor, layer.bias) for layer in layers])
            windows = functional.pad(x, (0, 0, 0, spare)).unfold(1, tallest, 1)  # (B, places, D, tallest)
            found = project(windows.mT.flatten(2), weight.mT.flatten(1), bias)
            place, height = torch.arange(length - first, device=x.device), torch.arange(len(layers), device=x.device)
            inside = place[:, None] < length - first - height  # the filter does not extend beyond the end
            # ReLU follows the maximum, so a 0 at a place that is not inside changes nothing.
            best = (found.unflatten(2, (len(layers), -1)) * inside[..., None]).amax(1)  # (B, heights, filters)
            features.append(functional.relu(best).flatten(1))
        return features

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Recommender, for the mean user.

        hidden holds the item embeddings, and the output. The model has only one output per window, so the output at a
        position is the output for the history that ends there, in a window of its own. N windows are encoded.
        """
        input_ids = self.window(input_ids)
        outputs = []
        for end in range(1, input_ids.shape[1] + 1):
            # Histories that have not started yet are all the same, and are encoded once.
            windows, rows = self.window(input_ids[:, :end]).unique(dim=0, return_inverse=True)
            outputs.append(self.encode(windows)[rows])
        return Trace([self.items(input_ids), torch.stack(outputs, dim=1)], None, input_ids > 0)

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender; adds the norms (not squared, as published) of all weights except biases."""
        norms = [weight.norm() for name, weight in self.named_parameters() if name.endswith("weight")]
        return super().objective(batch, loss) + self.config.regularisation * torch.stack(norms).sum()
