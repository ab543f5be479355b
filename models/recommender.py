"""The interface of every model: an item table, an encoder of windows, dot-product scores, a trace for analysis."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.datasets.padding import check_mode, fill_padding
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.add_norm import ResidualStep
from models.layers.dropout import MaskSource
from models.layers.losses import Loss

Items = slice | Tensor

MAX_POSITIONS = 10_000  # attention has the square of it
MAX_ITEMS = 2**31 - 2  # ids have 32 bits
LATER = {"later": True}  # metadata of fields that were added to a configuration later: see RecommenderConfig.saved
INITIAL_STD = 0.02  # of every Linear and Embedding weight, as published


def not_finite(state: Mapping[str, Tensor]) -> str:
    """Return in words which tensors of a state dict have a NaN or an infinite number, "" if none has.

    >>> not_finite({"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan]), "c": torch.tensor([torch.inf])})
    'NaN in b and 1 more'
    """
    found = [(key, value) for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if not found:
        return ""
    key, value = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{'NaN' if value.isnan().any() else 'infinity'} in {key}{more}"


@dataclass(frozen=True)
class RecommenderConfig:
    """The configuration that all models share; the defaults are the published ones.

    Raises ConfigError if a field is outside its range.
    """

    num_items: int
    max_len: int = 50  # N, positions in a window
    hidden_size: int = 64  # D
    dropout: float = 0.5
    padding: str = "zero"  # of shorter histories: zero, cyclic, reflect or symmetric (models.datasets.padding)

    def __post_init__(self) -> None:
        check_mode(self.padding)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ConfigError(f"{field.name} must be a number, got {value!r}")
        self.check_counts("num_items", "max_len", "hidden_size")
        if self.max_len > MAX_POSITIONS or self.num_items > MAX_ITEMS:
            raise ConfigError(f"max_len goes up to {MAX_POSITIONS:,} and num_items up to {MAX_ITEMS:,}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    def saved(self) -> dict[str, Any]:
        """Return the fields as files keep them.

        Fields that were added later are left out at their default, so files of models without them stay as they were.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        unused = [f.name for f in fields(self) if f.metadata == LATER and values[f.name] == f.default]
        return {name: value for name, value in values.items() if name not in unused}

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
        attention: L of (B, H, N, N): probabilities before dropout, rows are queries; None without attention.
        mask: (B, N) bool, True where the position holds a real item.
        autocorrelation: L of (B, N), the weight of each delay, 0 for delays that are not chosen; FEARec only.
        filters: L of (N // 2 + 1, D) complex, the factor of each frequency and dimension: the learned filters of
            FMLP-Rec, and the frequency branch of BSARec.
    """

    hidden: list[Tensor]
    attention: list[Tensor] | None
    mask: Tensor
    autocorrelation: list[Tensor] | None = None
    filters: list[Tensor] | None = None


class Recommender(nn.Module):
    """A sequential recommender: encodes a window of items, and scores every item by its dot product with the code.

    Subclasses set the class variables, call `super().__init__(config)`, and define `encode` and `trace`.

    >>> from models.registry import build, configure
    >>> model = build(configure("sasrec", num_items=30, max_len=10, hidden_size=8)).eval()
    >>> model.initialise(seed=0)
    >>> histories = torch.tensor([[4, 17, 9]])  # shorter than the window, so it is padded on the left
    >>> model(histories).shape  # a score for each item, and for padding in column 0
    torch.Size([1, 31])
    >>> trace = model.trace(histories)
    >>> len(trace.hidden), trace.hidden[0].shape, trace.attention[0].shape
    (3, torch.Size([1, 10, 8]), torch.Size([1, 1, 10, 10]))
    """

    name: ClassVar[str]  # for commands and files
    title: ClassVar[str]  # for people
    config_type: ClassVar[type[RecommenderConfig]]
    published_loss: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = ("ce", "bce", "bpr", "sampled_softmax")  # that the model can be trained with
    needs_same_target: ClassVar[bool] = False  # whether batches bring a second input with the same target
    attends_padding: ClassVar[bool] = False  # whether attention at real positions also looks at padding before them
    # Whether training on a GPU captures a step as a CUDA graph (models.step_graph): no shape and no choice in the step
    # depends on numbers of the device, and no random number in it comes from elsewhere than `masks`.
    capturable: ClassVar[bool] = False
    # What the architecture promises beyond what every model does; models.integrity checks it.
    promises: ClassVar[tuple[str, ...]] = ("causal", "padding_independent")
    # Parameters of the published model with entries that have no effect, by the end of their names, and why.
    idle: ClassVar[tuple[tuple[str, str], ...]] = ()
    special_items: ClassVar[int] = 0  # rows of the item table after the items, such as a mask token

    def __init__(self, config: RecommenderConfig) -> None:
        super().__init__()
        self.config: Any = config
        self.masks = MaskSource()
        self.items = nn.Embedding(config.num_items + 1 + self.special_items, config.hidden_size, padding_idx=0)
        # Set by models.checkpoint.load: what the file says about the model, and its probe sequences.
        self.checkpoint: dict[str, Any] | None = None
        self.probe: Any = None

    @property
    def candidates(self) -> Tensor:
        """The rows of the item table that are scored, (num_items + 1, D); row 0 is the padding item."""
        return self.items.weight[: self.config.num_items + 1] if self.special_items else self.items.weight

    def initialise(self, seed: int) -> None:
        """Draw all weights from the published distributions; they depend on the seed alone.

        The padding row of the item table is drawn as well, as in the published code.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(self.draw(name, parameter.shape, generator))

    def draw(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Return the initial values of a parameter: weights N(0, 0.02^2), biases 0, weights of LayerNorms 1."""
        if name.endswith("norm.weight"):
            return torch.ones(shape)
        if name.endswith("bias"):
            return torch.zeros(shape)
        return INITIAL_STD * torch.randn(shape, generator=generator)

    def window(self, input_ids: Tensor) -> Tensor:
        """Return the windows (B, N) of sequences (B, any length): padded on the left, or cut to the last N items.

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
        """Return the score of every item as the next one, (B, num_items + 1); column 0 is the padding item.

        input_ids: (B, any length), the latest item last; see `window` for errors. users: (B,) rows of the users in the
        training data, which only Caser uses; None if they are not known.
        """
        return self.encode(self.window(input_ids), users) @ self.candidates.T

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU for a model without any."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def scores_of(self, code: Tensor, items: Items) -> Tensor:
        """Return the scores (B, n) of some items for the codes (B, D) of `encode`.

        items: a range of them, or (B, n) other ones for each code.
        """
        if isinstance(items, slice):
            return code @ self.candidates[items].T
        return torch.einsum("bd,bnd->bn", code, self.candidates[items])

    @abstractmethod
    def encode(self, input_ids: Tensor, users: Tensor | None = None) -> Tensor:
        """Return the codes (B, D) of windows (B, N), with which the items are scored.

        This is the fast path: it computes only what the last position needs.
        """

    @abstractmethod
    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """Return hidden states and attention of every layer, for sequences (B, n) as `window` takes them.

        `causal=False` drops the causal mask, if the model has one.
        """

    def layer_functions(self, input_ids: Tensor, causal: bool = True) -> list[Callable[[Tensor], Tensor]]:
        """Return each layer as a function from its input (B, N, D) to its output, for the sequences of `trace`.

        The functions are differentiable, so the response of a layer to another input can be measured. Raises
        ConfigError if the model is not a stack of layers that map positions to positions.
        """
        raise ConfigError(
            f"{self.title} does not offer its layers one by one, so the response of whole layers cannot be measured"
        )

    def residual_steps(self, input_ids: Tensor, causal: bool = True) -> Iterator[list[ResidualStep]]:
        """Yield the residual connections of each of the L layers, taken apart, for the sequences of `trace`.

        The first steps of a layer are parallel: they have the same input x, and the input of the feed-forward network
        is the sum of their outputs. The output of the last step, the feed-forward network or what a remedy adds after
        it, is the layer's output. Raises ConfigError if the layers are not of this kind.
        """
        raise ConfigError(
            f"{self.title} is not made of blocks with residual connections, so the parts of its layers cannot be "
            "measured"
        )

    def value_output(self) -> list[Tensor]:
        """Return W_v^h W_o^h of the heads of each of the L layers, (H, D, D).

        Attention adds sum_h A_h x W_v^h W_o^h to the input x of such a layer, before any LayerNorm; in BSARec this is
        one of two branches. Raises ConfigError if the layers are not of this kind.
        """
        raise ConfigError(
            f"{self.title} has no layers that add multi-head attention to their input, x + sum_h A_h x W_v^h W_o^h, "
            "so there are no bounds with projections and residual for them"
        )

    def betas(self) -> list[Tensor]:
        """Return the gain of the high frequencies in the frequency branch of each layer, L of (D,).

        The list is empty for all models but BSARec.
        """
        return []

    @property
    def has_replaceable_attention(self) -> bool:
        """Whether `with_uniform_attention` has attention to replace."""
        return bool(_with_scores(self))

    def with_uniform_attention(self) -> Self:
        """Return a copy of the model in which every attention map is the uniform one under the same mask.

        Everything else, values and outputs included, is as it was. Raises ConfigError for a model without attention, or
        one (FEARec) whose queries and keys do more than attention.

        >>> from models.registry import build, configure
        >>> model = build(configure("sasrec", num_items=30, max_len=3, hidden_size=8))
        >>> model.initialise(seed=0)
        >>> trace = model.with_uniform_attention().trace(torch.tensor([[4, 17, 9]]))
        >>> trace.attention[1][0, 0].tolist()[:2]  # the second layer, its first two rows
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
        """
        if not self.has_replaceable_attention:
            raise ConfigError(f"{self.title} has no attention that could be replaced by a uniform one")
        other = deepcopy(self)
        for layer in _with_scores(other):
            layer.forget_scores()
        return other

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """Return the mean training loss over a batch, a scalar that can be differentiated."""
        output = self.encode(batch.inputs, batch.users)
        return loss.function(output, self.candidates, batch.targets, batch.negatives)


def _with_scores(model: nn.Module) -> list[Any]:
    """Return the layers of attention that can forget their scores."""
    return [layer for layer in model.modules() if hasattr(layer, "forget_scores")]
