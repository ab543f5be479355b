"""The eight models: what they make of a window of items, and what they are trained with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.published.layers import (
    Attention,
    BandAttention,
    Block,
    FeedForward,
    Frequency,
    LearnedFilter,
    Mixture,
)

SIZE, MAX_LEN = 64, 50
LOSSES = {
    "sasrec": "bce",
    "bsarec": "ce",
    "fmlprec": "bce",
    "duorec": "ce",
    "fearec": "ce",
    "bert4rec": "ce",
    "gru4rec": "bpr",
    "caser": "bce",
}

Sample = dict[str, Tensor]  # a batch of what PrefixDataset hands over


class PublishedModel(nn.Module):
    """A model in the published semantics; item 0 is padding, on the left. `loss` is ce, bce or bpr."""

    special_items = 0  # rows behind the items

    def __init__(self, num_items: int, loss: str) -> None:
        super().__init__()
        self.num_items, self.loss = num_items, loss
        self.items = nn.Embedding(num_items + 1 + self.special_items, SIZE, padding_idx=0)

    def initialise(self) -> None:
        """Draw the weights of all Linear and Embedding layers from N(0, 0.02^2); others are PyTorch's own."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.data.normal_(0, 0.02)
            if isinstance(module, nn.Linear):
                module.bias.data.zero_()

    def objective(self, batch: Sample) -> Tensor:
        """Return the training loss."""
        return self.prediction_loss(self.last_output(batch), batch)

    def last_output(self, batch: Sample) -> Tensor:
        """Return the output (B, D) that items are compared with."""
        return self(batch["input_ids"])[:, -1]

    def prediction_loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Return the loss of the next item (B,) given the output (B, D)."""
        if self.loss == "ce":
            return functional.cross_entropy(output @ self.items.weight.T, batch["target"])
        positive_score = (output * self.items(batch["target"])).sum(-1)
        negative_score = (output * self.items(batch["negative"])).sum(-1)
        if self.loss == "bpr":
            return -functional.logsigmoid(positive_score - negative_score).mean()
        return -(functional.logsigmoid(positive_score) + functional.logsigmoid(-negative_score)).mean()


class BlockModel(PublishedModel):
    """Item and position embeddings, then a block with each of the mixing layers: SASRec, BSARec, FMLP-Rec."""

    causal = True

    def __init__(self, num_items: int, loss: str, mixers: list[nn.Module], dropout: float) -> None:
        super().__init__(num_items, loss)
        self.positions = nn.Embedding(MAX_LEN, SIZE)
        self.norm = nn.LayerNorm(SIZE, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(mixer, FeedForward(SIZE, dropout)) for mixer in mixers)
        self.initialise()

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids: (B, N). Returns the last layer's output at every position, (B, N, D)."""
        length = input_ids.shape[1]
        allowed = (input_ids > 0)[:, None, None, :].expand(-1, 1, length, length)
        if self.causal:
            allowed = allowed & torch.ones(length, length, dtype=torch.bool).tril()
        mask = (~allowed).float() * -10000.0
        x = self.items(input_ids) + self.positions(torch.arange(length))
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x, mask)
        return x


class DuoRec(BlockModel):
    """SASRec with a contrastive term between two views of each sample."""

    def contrast(self, first: Tensor, second: Tensor) -> Tensor:
        """Return InfoNCE of views (B, D) and (B, D), with the other 2 (B - 1) rows of the batch as negatives."""
        batch = len(first)
        rows = torch.cat([first, second])
        similarity = rows @ rows.T
        positive = torch.cat([similarity.diag(batch), similarity.diag(-batch)])
        others = ~torch.eye(batch, dtype=torch.bool).repeat(2, 2)
        negative = similarity[others].view(2 * batch, -1)
        scores = torch.cat([positive[:, None], negative], dim=1)
        return functional.cross_entropy(scores, torch.zeros(2 * batch, dtype=torch.int64))

    def objective(self, batch: Sample) -> Tensor:
        """See PublishedModel."""
        output = self.last_output(batch)
        own, other = self(batch["input_ids"]), self(batch["same_target"])
        return self.prediction_loss(output, batch) + self.view_loss(own, other)

    def view_loss(self, own: Tensor, other: Tensor) -> Tensor:
        """Return what the two views (B, N, D) add to the loss."""
        return 0.1 * self.contrast(own[:, -1], other[:, -1])


class FEARec(DuoRec):
    """DuoRec's loss on layers of bands, and the difference of the views' spectra."""

    def view_loss(self, own: Tensor, other: Tensor) -> Tensor:
        """See DuoRec."""
        spectra = [torch.fft.rfft(view, dim=1, norm="ortho") for view in (own, other)]
        return super().view_loss(own, other) + 0.1 * (spectra[0] - spectra[1]).abs().mean()


class BERT4Rec(BlockModel):
    """Attention both ways, trained to fill in the last item and a fifth of the others."""

    special_items = 1  # the mask token
    causal = False
    mask_ratio = 0.2

    def mask_items(self, sequences: Tensor) -> Tensor:
        """Return the sequences (B, N) with the items to fill in replaced by the mask token."""
        masked = torch.rand(sequences.shape) < self.mask_ratio
        masked[:, -1] = True
        return sequences.masked_fill(masked & (sequences > 0), self.num_items + 1)

    def objective(self, batch: Sample) -> Tensor:
        """See PublishedModel."""
        sequences = torch.cat([batch["input_ids"][:, 1:], batch["target"][:, None]], dim=1)
        masked = self.mask_items(sequences)
        asked = masked == self.num_items + 1
        output = self(masked)[asked]
        return functional.cross_entropy(output @ self.items.weight[:-1].T, sequences[asked])


class GRU4Rec(PublishedModel):
    """A recurrent network on the item embeddings."""

    def __init__(self, num_items: int, loss: str, layers: int, dropout: float) -> None:
        super().__init__(num_items, loss)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(SIZE, SIZE, num_layers=layers, bias=False, batch_first=True)
        self.output = nn.Linear(SIZE, SIZE)
        self.initialise()

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids: (B, N). Returns the output at every position, (B, N, D)."""
        states, _ = self.gru(self.dropout(self.items(input_ids)))
        return self.output(states)


class Caser(PublishedModel):
    """Convolutions over the item embeddings of a window as over an image, with an embedding of the user."""

    def __init__(self, num_items: int, loss: str, num_users: int, dropout: float) -> None:
        super().__init__(num_items, loss)
        self.users = nn.Embedding(num_users, SIZE)
        self.vertical = nn.Conv2d(1, 4, (MAX_LEN, 1))
        self.horizontal = nn.ModuleList(nn.Conv2d(1, 8, (height, SIZE)) for height in range(1, MAX_LEN + 1))
        self.dropout = nn.Dropout(dropout)
        self.inner = nn.Linear(4 * SIZE + 8 * MAX_LEN, SIZE)
        self.outer = nn.Linear(2 * SIZE, SIZE)
        self.initialise()

    def forward(self, input_ids: Tensor, users: Tensor) -> Tensor:
        """input_ids: (B, N), users: (B,). Returns the one output of each window, (B, 1, D)."""
        image = self.items(input_ids)[:, None]  # (B, 1, N, D)
        features = [self.vertical(image).flatten(1)]
        for convolution in self.horizontal:
            found = functional.relu(convolution(image).squeeze(3))  # (B, filters, places)
            features.append(functional.max_pool1d(found, found.shape[2]).squeeze(2))
        inner = functional.relu(self.inner(self.dropout(torch.cat(features, dim=1))))
        return functional.relu(self.outer(torch.cat([inner, self.users(users)], dim=1)))[:, None]

    def last_output(self, batch: Sample) -> Tensor:
        """See PublishedModel."""
        return self(batch["input_ids"], batch["user"])[:, -1]

    def objective(self, batch: Sample) -> Tensor:
        """See PublishedModel; the norms of the weights are added."""
        norms = sum(weight.norm() for name, weight in self.named_parameters() if name.endswith("weight"))
        return super().objective(batch) + 1e-4 * norms


def published_model(
    name: str,
    num_items: int,
    num_users: int,
    loss: str | None = None,
    layers: int = 2,
    heads: int = 1,
    dropout: float = 0.5,
    alpha: float = 0.9,
    c: int = 3,
) -> PublishedModel:
    """Return a model by name in its published size, with another loss than its published one if that is given."""
    loss = loss or LOSSES[name]
    if name == "gru4rec":
        return GRU4Rec(num_items, loss, layers, dropout)
    if name == "caser":
        return Caser(num_items, loss, num_users, dropout)

    def mixer(layer: int) -> nn.Module:
        if name == "fmlprec":
            return LearnedFilter(SIZE, MAX_LEN, dropout)
        if name == "fearec":
            return BandAttention(SIZE, heads, dropout, band(layer, layers))
        attention = Attention(SIZE, heads, dropout)
        return Mixture(attention, Frequency(SIZE, c, dropout), alpha) if name == "bsarec" else attention

    kinds = {"duorec": DuoRec, "fearec": FEARec, "bert4rec": BERT4Rec}
    return kinds.get(name, BlockModel)(num_items, loss, [mixer(layer) for layer in range(layers)], dropout)


def band(layer: int, layers: int, ratio: float = 0.6) -> slice:
    """Return the frequencies of a layer of FEARec (at least two layers): the highest ones first, then further down."""
    bins = MAX_LEN // 2 + 1
    down = layer * (bins * (1 - ratio) // (layers - 1))
    return slice(int(bins * (1 - ratio) - down), int(bins - down))
