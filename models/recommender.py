"""What every model is: an item table, an encoder of windows, scores by dot product, and a trace for analysis."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.datasets.padding import check_mode, fill_padding
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.dropout import MaskSource
from models.layers.losses import Loss

INITIAL_STD = 0.02  # of every Linear and Embedding weight, as published


@dataclass(frozen=True)
class RecommenderConfig:
    """What every model is configured by; the defaults are the published ones.

    Raises ConfigError where a field is outside its range.
    """

    num_items: int
    max_len: int = 50  # N, positions in a window
    hidden_size: int = 64  # D
    dropout: float = 0.5
    padding: str = "zero"  # what fills up shorter histories: zero, cyclic, reflect or symmetric

    def __post_init__(self) -> None:
        check_mode(self.padding)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ConfigError(f"{field.name} must be a number, got {value!r}")
        self.check_counts("num_items", "max_len", "hidden_size")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    def check_counts(self, *fields: str) -> None:
        """Raise ConfigError unless these fields are whole numbers of at least 1."""
        for field in fields:
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{field} must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True)
class Trace:
    """Everything a model computes on the way, for analysis.

    Attributes:
        hidden: L + 1 of (B, N, D): the input of the first layer, then the output of each layer.
        attention: L of (B, H, N, N): probabilities before dropout, rows are queries; None for a model without.
        mask: (B, N) bool, True where the position holds a real item.
        autocorrelation: L of (B, N), for each delay the weight it gets, 0 for those not chosen; FEARec only.
        filters: L of (N // 2 + 1, D) complex, what each frequency is multiplied by: FMLP-Rec's learned filters, and
            BSARec's frequency branch.
    """

    hidden: list[Tensor]
    attention: list[Tensor] | None
    mask: Tensor
    autocorrelation: list[Tensor] | None = None
    filters: list[Tensor] | None = None


class Recommender(nn.Module):
    """A sequential recommender: it encodes a window of items, and scores every item by dot product with that.

    Subclasses set the class variables, call `super().__init__(config)`, and define `encode` and `trace`.
    """

    name: ClassVar[str]  # for commands and files
    title: ClassVar[str]  # for people
    config_type: ClassVar[type[RecommenderConfig]]
    published_loss: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = ("ce", "bce", "bpr")  # those that make sense for the model
    needs_same_target: ClassVar[bool] = False  # whether batches bring a second input with the same target
    attends_padding: ClassVar[bool] = False  # whether attention at real positions also looks at padding before them
    special_items: ClassVar[int] = 0  # rows of the item table behind the items, such as a mask token

    def __init__(self, config: RecommenderConfig) -> None:
        super().__init__()
        self.config: Any = config
        self.masks = MaskSource()
        self.items = nn.Embedding(config.num_items + 1 + self.special_items, config.hidden_size, padding_idx=0)
        # Filled in by models.checkpoint.load: what the file says about the model, and its probe sequences.
        self.checkpoint: dict[str, Any] | None = None
        self.probe: Any = None

    @property
    def candidates(self) -> Tensor:
        """The rows of the item table that are scored, (num_items + 1, D); row 0 is the padding item."""
        return self.items.weight[: self.config.num_items + 1] if self.special_items else self.items.weight

    def initialise(self, seed: int) -> None:
        """Draw all weights as published, from the seed alone.

        The padding row of the item table is drawn as well, as in the published code.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(self.draw(name, parameter.shape, generator))

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Return the initial values of a parameter: weights N(0, 0.02^2), biases 0, those of LayerNorms 1 and 0."""
        if name.endswith("norm.weight"):
            return torch.ones(shape)
        if name.endswith("bias"):
            return torch.zeros(shape)
        return INITIAL_STD * torch.randn(shape, generator=generator)

    def window(self, input_ids: Tensor) -> Tensor:
        """Bring sequences (B, any length) to the model's window (B, N): padded on the left, or the last N items.

        Raises ValueError if the shape is not (B, n) or an id lies outside 0..num_items.
        """
        if input_ids.ndim != 2:
            raise ValueError(f"input_ids must be (sequences, positions), got shape {tuple(input_ids.shape)}")
        if input_ids.numel() and not 0 <= int(input_ids.min()) <= int(input_ids.max()) <= self.config.num_items:
            raise ValueError(
                f"item ids must lie in 0..{self.config.num_items} (0 is padding), "
                f"got {int(input_ids.min())}..{int(input_ids.max())}"
            )
        length = self.config.max_len
        window = functional.pad(input_ids, (max(length - input_ids.shape[1], 0), 0))[:, -length:]
        if self.config.padding == "zero":
            return window
        return torch.from_numpy(fill_padding(window.cpu().numpy(), self.config.padding)).to(window.device)

    def forward(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """Score every item as the next one: (B, N) -> (B, num_items + 1); column 0 is the padding item.

        users: (B,) rows of the users in the training data, which only Caser looks at; None if they are not known.
        """
        return self.encode(self.window(input_ids), users) @ self.candidates.T

    @abstractmethod
    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """Return what the items are compared with, (B, D), from windows (B, N); the fast path."""

    @abstractmethod
    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """Return hidden states and weights of every layer, for sequences (B, n) as `window` takes them.

        `causal=False` drops the causal mask, where there is one.
        """

    def layer_functions(self, input_ids: Tensor, causal: bool = True) -> list[Callable[[Tensor], Tensor]]:
        """Return what takes each layer's input (B, N, D) to its output, for the same sequences as in `trace`.

        Differentiable, so that one can ask how a layer answers to another input. Raises ConfigError if the model is
        not a stack of layers from positions to positions.
        """
        raise ConfigError(
            f"{self.title} does not offer its layers one by one, so the response of whole layers cannot be measured"
        )

    def value_output(self) -> list[Tensor]:
        """Return for each of the L layers W_v^h W_o^h of its heads, (H, D, D): what attention multiplies positions by.

        The layers add sum_h A_h x W_v^h W_o^h to their input x, before any LayerNorm; in BSARec one of two branches
        does. Raises ConfigError if the layers are of another kind.
        """
        raise ConfigError(
            f"{self.title} has no layers that add multi-head attention to what it reads, x + sum_h A_h x W_v^h W_o^h, "
            "so there are no bounds with projections and residual for them"
        )

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """Return the mean training loss over a batch, with its graph."""
        output = self.encode(batch.inputs, batch.users)
        return loss.function(output, self.candidates, batch.targets, batch.negatives)
