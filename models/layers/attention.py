"""Self-attention, and the interface of every layer that mixes positions; both follow the published implementation.

Shapes: B sequences, N positions, D hidden size, H heads. Every mixing layer ends with dropout, a residual and a
LayerNorm (post-norm). Its method `last` computes the output at the last position only: training and evaluation need
no other output of a model's last block.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.layers import fused
from models.layers.add_norm import AddNorm, ResidualStep
from models.layers.dropout import Dropout, MaskSource
from models.layers.packing import Group, Packing, split
from models.layers.parts import Branch, Part, count_parameters, heads_text
from models.layers.remedies import Remedy


def value_output(w_value: Tensor, w_output: Tensor, heads: int) -> Tensor:
    """Return W_v^h W_o^h of each head, (H, D, D), from the weights (D, D) of the value and the output projection.

    Multi-head attention maps x (N, D) to sum_h A_h x W_v^h W_o^h, where A_h (N, N) is the attention of head h, plus
    biases that are the same at every position. The weights are as `torch.nn.Linear` keeps them, (out, in).

    Source: Elhage et al., A Mathematical Framework for Transformer Circuits, 2021 (the "OV circuit").

    >>> w_value, w_output = torch.eye(4), 2 * torch.eye(4)
    >>> products = value_output(w_value, w_output, heads=2)
    >>> products.shape
    torch.Size([2, 4, 4])
    >>> products[0].diag().tolist(), products[1].diag().tolist()  # each head passes on its own half of the dimensions
    ([2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 2.0])
    """
    values = w_value.unflatten(0, (heads, -1))  # (H, D / H, D)
    outputs = w_output.unflatten(1, (heads, -1)).transpose(0, 1)  # (H, D, D / H)
    return (outputs @ values).mT


class Mixer(nn.Module):
    """The layer of a block that mixes positions: attention, a frequency filter, or both."""

    @property
    def needs_all_positions(self) -> bool:
        """Whether the output at one position depends on that at others, so that `last` cannot be used."""
        return False

    @abstractmethod
    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """Mix positions, given as the rows (..., D) of a packing.

        Returns the output rows, in the shape of the input, and the attention of each group of the packing (an empty
        list if the layer has no attention).
        """

    @abstractmethod
    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """Return the output at the last position alone, (B, D).

        x: (B, N, D); at: (B, D), its last position; mask: (B, 1, N), added to the attention scores.
        """

    @abstractmethod
    def branches(self) -> tuple[Branch, ...]:
        """Return the steps of the layer; parallel steps are branches, whose outputs are added."""

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """Return the branches of the layer at x (B, N, D), taken apart; the sum of their outputs is the output.

        packing: of all positions. Raises ConfigError if the layer is not made of such steps.
        """
        raise ConfigError(
            f"{type(self).__name__} does not say what it adds to its input, so the parts of its blocks cannot be "
            "measured"
        )

    def value_output(self) -> Tensor | None:
        """Return W_v^h W_o^h (H, D, D) if the output is x + sum_h A_h x W_v^h W_o^h before the LayerNorm, else None.

        See the function `value_output`.
        """
        return None


class SelfAttention(Mixer):
    """Multi-head scaled dot-product attention with output projection, residual and LayerNorm; a remedy may change it.

    Source: Vaswani et al., NeurIPS 2017, equation 1; as SASRec (Kang and McAuley, ICDM 2018) uses it.

    >>> from models.layers.packing import all_positions
    >>> layer = SelfAttention(size=8, heads=2, p=0.0, masks=MaskSource())
    >>> windows = torch.tensor([[0, 5, 3, 9]])  # one history of three items, padded with 0
    >>> output, (attention,) = layer(torch.randn(1, 4, 8), all_positions(windows))
    >>> output.shape, attention.shape
    (torch.Size([1, 4, 8]), torch.Size([1, 2, 4, 4]))
    >>> bool(torch.allclose(attention.sum(-1), torch.ones(1, 2, 4)))  # row-stochastic
    True
    >>> attention[0, 0, 1].tolist()  # causal: the first item sees only itself, not padding and not the future
    [0.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, size: int, heads: int, p: float, masks: MaskSource, remedy: Remedy | None = None) -> None:
        super().__init__()
        remedy = remedy or Remedy()
        self.heads = heads
        self.scale = (size // heads) ** -0.5
        self.qkv = nn.Linear(size, 3 * size)  # query, key and value stacked: one matrix product instead of three
        self.output = nn.Linear(size, size)
        self.attention_dropout = Dropout(p, masks)
        self.reweight = remedy.for_attention(heads)
        self.rescale = remedy.for_output(size)
        self.add_norm = AddNorm(size, p, masks, remedy=remedy)

    @property
    def needs_all_positions(self) -> bool:
        """See Mixer."""
        return self.reweight is not None or self.rescale is not None

    def forward(self, x: Tensor, packing: Packing, share: float = 1.0) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; the output is multiplied by `share`.

        The attention of a group is (b, H, T, T), before dropout, as the values are multiplied with it: after a remedy.
        """
        changes_inside = self.add_norm.is_pre_norm or self.needs_all_positions
        is_merged = not changes_inside and fused.takes_heads(x, self.heads, packing.groups)
        groups = packing.groups if packing.whole is None or not is_merged else [packing.whole]
        shapes = [self._shape(group) for group in groups]
        if not is_merged:
            update, attention = self._update(x, packing, self.attention_dropout.masks(shapes, x.device))
            return self.add_norm(update, x, share), attention
        dropout_masks = self.attention_dropout.coins_for(shapes, x.device)
        end = self.add_norm.end(self.add_norm.dropout.coins(x.shape, x.device), share)
        weights = (*self._merged(), self.add_norm.scaled(self.output.bias))
        return fused.attention(x, *weights, end, groups, dropout_masks, self.scale)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        return (Branch(self.parts()),)

    def parts(self) -> tuple[Part, ...]:
        """Return the steps of the layer."""
        own = Part("self-attention", heads_text(self.heads), count_parameters(self.qkv, self.output))
        remedies = [layer for layer in (self.reweight, self.rescale) if layer is not None]
        return self.add_norm.around(
            own, *(Part(type(layer).__name__, "", count_parameters(layer)) for layer in remedies)
        )

    def steps(self, x: Tensor, packing: Packing, share: float = 1.0) -> list[ResidualStep]:
        """See Mixer; the output is multiplied by `share`."""
        update, _ = self._update(x, packing, None)
        return [self.add_norm.step("attention", update, x, share)]

    def value_output(self) -> Tensor | None:
        """See Mixer."""
        if self.rescale is not None or self.add_norm.is_pre_norm:
            return None
        return value_output(self.qkv.weight.chunk(3)[2], self.add_norm.scaled(self.output.weight), self.heads)

    @torch.no_grad()
    def forget_scores(self) -> None:
        """Set queries and keys to zero: all scores are equal, so rows are uniform over the keys allowed."""
        for parameter in (self.qkv.weight, self.qkv.bias):
            parameter[: 2 * len(parameter) // 3] = 0

    def _update(self, x: Tensor, packing: Packing, dropout_masks: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Return what is added to the rows x, in their shape, and the attention of each group."""
        qkv = self.qkv(self.add_norm.before(x)).flatten(end_dim=-2)
        context, attention = self._attend(qkv, packing.groups, dropout_masks)
        update = self.output(context).view(x.shape)
        return update if self.rescale is None else packing.by_group(update, self.rescale), attention

    def _attend(
        self, qkv: Tensor, groups: list[Group], dropout_masks: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the heads' outputs side by side (rows, D), and the attention of each group."""
        contexts, attentions = [], []
        for index, (group, rows) in enumerate(zip(groups, split(qkv, groups), strict=True)):
            grid = group.to_grid(rows).unflatten(-1, (3, self.heads, -1))
            query, key, value = grid.permute(2, 0, 3, 1, 4)  # (b, H, T, D / H) each
            scores = query @ key.mT * self.scale + group.mask
            attention = scores.softmax(dim=-1)  # (b, H, T, T), rows are queries, each sums to 1
            if self.reweight is not None:
                attention = self.reweight(attention, group.mask)
            dropped = attention if dropout_masks is None else attention * dropout_masks[index]
            contexts.append(group.to_rows((dropped @ value).transpose(1, 2)))
            attentions.append(attention)
        return torch.cat(contexts), attentions

    def _merged(self) -> tuple[Tensor, Tensor]:
        """Return weight (2 H D, D) and bias (2 H D,) of merged queries and values; they need no keys, no output layer.

        For each head, q . k = (W_q x + b_q) . (W_k y + b_k) = (W_k^T W_q x + W_k^T b_q) . y + constant. The constant is
        the same for all keys, so softmax ignores it. W_o can be applied before the weighted sum as well as after it.
        """
        size = self.output.in_features
        w_query, w_key, w_value = self.qkv.weight.view(3, self.heads, -1, size)  # (H, D / H, D) each
        b_query, _, b_value = self.qkv.bias.view(3, self.heads, -1, 1)
        output = self.add_norm.scaled(self.output.weight)
        w_output = output.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (H, D, D / H)
        weight = torch.cat([w_key.mT @ w_query, w_output @ w_value], dim=1)  # (H, 2 D, D)
        bias = torch.cat([w_key.mT @ b_query, w_output @ b_value], dim=1)
        return weight.flatten(0, 1), bias.flatten()

    def last(self, x: Tensor, at: Tensor, mask: Tensor, share: float = 1.0) -> Tensor:
        """See Mixer; the output is multiplied by `share`. For a single query, no keys and values are computed.

        q . (W_k x + b_k) = (W_k^T q) . x + constant, which softmax ignores because it is the same for all keys, and
        sum_n a_n (W_v x_n + b_v) = W_v sum_n a_n x_n + b_v sum_n a_n.
        """
        batch, size = at.shape
        keys = self.add_norm.before(x)
        w_query, w_key, w_value = self.qkv.weight.view(3, self.heads, -1, size)  # (H, D / H, D) each
        b_query, _, b_value = self.qkv.bias.view(3, self.heads, 1, -1)
        queried = self.add_norm.before(at).expand(self.heads, -1, -1)
        query = torch.baddbmm(b_query, queried, w_query.mT) @ w_key  # (H, B, D)
        dropout_mask = self.attention_dropout.coins((batch, self.heads, x.shape[1]), x.device)
        mixed, weight = fused.attend_one(keys, query.transpose(0, 1), mask, dropout_mask, self.scale)
        context = mixed.transpose(0, 1) @ w_value.mT + b_value * weight.transpose(0, 1)  # (H, B, D / H)
        return self.add_norm(self.output(context.transpose(0, 1).flatten(1)), at, share)

    def _shape(self, group: Group) -> tuple[int, ...]:
        sequences, length = group.keys.shape
        return sequences, self.heads, length, length
