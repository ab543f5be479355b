"""The published training loop, written plainly: the reference for speed and for gradients.

A straightforward implementation of the equations and conventions of BSARec and SASRec (Shin et al., AAAI 2024)
as a researcher would first write them: a DataLoader that hands over one sample at a time, two FFTs in each
frequency layer, every layer at every position, `nn.Dropout`, and PyTorch's own losses. It shares no code with
`models`; parameter names do agree, so that weights can be copied over.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset


class Attention(nn.Module):
    """Multi-head self-attention with its own residual and LayerNorm."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.output = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.attention_dropout, self.output_dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D / H)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, N, D); mask: (B, 1, N, N), 0 or -10000. Returns (B, N, D)."""
        query, key, value = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + mask
        attention = self.attention_dropout(scores.softmax(dim=-1))
        context = (attention @ value).transpose(1, 2).reshape(x.shape)
        return self.norm(self.output_dropout(self.output(context)) + x)


class Frequency(nn.Module):
    """The frequency layer: the c lowest modes, plus the square of a trained vector times the rest."""

    def __init__(self, size: int, c: int, dropout: float) -> None:
        super().__init__()
        self.bins = c // 2 + 1
        self.sqrt_beta = nn.Parameter(torch.randn(1, 1, size))
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D). Returns (B, N, D)."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")
        spectrum[:, self.bins :] = 0
        low = torch.fft.irfft(spectrum, n=x.shape[1], dim=1, norm="ortho")
        return self.norm(self.dropout(low + self.sqrt_beta**2 * (x - low)) + x)


class FeedForward(nn.Module):
    """The position-wise feed-forward network with its residual and LayerNorm."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D). Returns (B, N, D)."""
        return self.norm(self.dropout(self.outer(functional.gelu(self.inner(x)))) + x)


class Block(nn.Module):
    """One layer: attention (SASRec), or its mixture with the frequency layer (BSARec), then feed-forward."""

    def __init__(self, size: int, heads: int, dropout: float, alpha: float | None, c: int) -> None:
        super().__init__()
        self.attention = Attention(size, heads, dropout)
        self.frequency = Frequency(size, c, dropout) if alpha is not None else None
        self.alpha = alpha
        self.feed_forward = FeedForward(size, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, N, D). Returns (B, N, D)."""
        mixed = self.attention(x, mask)
        if self.frequency is not None and self.alpha is not None:
            mixed = self.alpha * self.frequency(x) + (1 - self.alpha) * mixed
        return self.feed_forward(mixed)


class PublishedModel(nn.Module):
    """SASRec (`alpha` None) or BSARec in the published semantics; item 0 is padding, on the left."""

    def __init__(
        self,
        num_items: int,
        alpha: float | None = None,
        c: int = 3,
        heads: int = 1,
        layers: int = 2,
        size: int = 64,
        max_len: int = 50,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, size, padding_idx=0)
        self.positions = nn.Embedding(max_len, size)
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(size, heads, dropout, alpha, c) for _ in range(layers))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.data.normal_(0, 0.02)
            if isinstance(module, nn.Linear):
                module.bias.data.zero_()

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids: (B, N). Returns the last layer's output at every position, (B, N, D)."""
        length = input_ids.shape[1]
        real = (input_ids > 0)[:, None, None, :]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = (~(real & causal)).float() * -10000.0
        x = self.items(input_ids) + self.positions(torch.arange(length))
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x, mask)
        return x

    def cross_entropy(self, input_ids: Tensor, target: Tensor) -> Tensor:
        """Full-softmax cross-entropy of the targets (B,) over all items: BSARec's published loss."""
        scores = self(input_ids)[:, -1] @ self.items.weight.T
        return functional.cross_entropy(scores, target)

    def binary_cross_entropy(self, input_ids: Tensor, target: Tensor, negative: Tensor) -> Tensor:
        """Binary cross-entropy of the target against one sampled item, each (B,): SASRec's published loss."""
        output = self(input_ids)[:, -1]
        positive_score = (output * self.items(target)).sum(-1)
        negative_score = (output * self.items(negative)).sum(-1)
        return -(functional.logsigmoid(positive_score) + functional.logsigmoid(-negative_score)).mean()


class PrefixDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Training samples handed over one at a time, each with a freshly sampled negative item."""

    def __init__(self, inputs: list[list[int]], targets: list[int], seen: list[set[int]], num_items: int) -> None:
        self.inputs, self.targets, self.seen, self.num_items = inputs, targets, seen, num_items

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sample's input (N,), its target and an item its user has not seen."""
        negative = int(torch.randint(1, self.num_items + 1, ()))
        while negative in self.seen[index]:
            negative = int(torch.randint(1, self.num_items + 1, ()))
        return torch.tensor(self.inputs[index]), torch.tensor(self.targets[index]), torch.tensor(negative)


class PublishedLoop:
    """Steps of the published loop, one batch at a time, so that it can be timed beside another."""

    def __init__(self, model: PublishedModel, dataset: PrefixDataset, full_softmax: bool, batch_size: int) -> None:
        self.model, self.full_softmax = model, full_softmax
        self.loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)
        self.batches = iter(self.loader)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(self) -> float:
        """Train on the next batch and return its loss."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        input_ids, target, negative = batch
        if self.full_softmax:
            loss = self.model.cross_entropy(input_ids, target)
        else:
            loss = self.model.binary_cross_entropy(input_ids, target, negative)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
