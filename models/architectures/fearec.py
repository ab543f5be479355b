"""FEARec: attention and auto-correlation, each layer on its own band of frequencies (Du et al., SIGIR 2023)."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.architectures.duorec import ContrastiveConfig
from models.architectures.encoder import Block, Encoder
from models.datasets.sampling import Batch
from models.errors import ConfigError
from models.layers.add_norm import AddNorm, ResidualStep
from models.layers.attention import Mixer
from models.layers.circulant import circulant, wrapped_diagonal_sums
from models.layers.constant import Constant
from models.layers.dropout import Dropout, MaskSource
from models.layers.frequency import band, real_fourier_matrices
from models.layers.losses import Loss, info_nce
from models.layers.matmul import project
from models.layers.packing import Packing, all_positions
from models.layers.parts import Branch, Part, count_parameters, heads_text
from models.layers.remedies import Remedy
from models.recommender import Trace


@dataclass(frozen=True)
class FEARecConfig(ContrastiveConfig):
    """Configuration of FEARec; the defaults are the published ones."""

    global_ratio: float = 0.6  # share of the frequencies that are in a layer's band
    spatial_ratio: float = 0.1  # weight of attention; auto-correlation has the rest
    delay_factor: float = 10.0  # int(delay_factor * ln N) delays are kept, at most N
    frequency_weight: float = 0.1  # factor of the difference of the views' spectra in the loss

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("global_ratio", "spatial_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if self.delay_factor <= 0 or self.frequency_weight < 0:
            raise ConfigError("delay_factor must be above 0 and frequency_weight at least 0")

    def band(self, layer: int) -> range:
        """Return the bins of the real FFT in the band of a layer (from 0); later layers have lower frequencies.

        If global_ratio is at most 1 / L, the bins are divided among the layers without overlap.

        >>> config = FEARecConfig(num_items=100, max_len=18, num_layers=2, global_ratio=0.6)  # bins 0..9
        >>> config.band(0), config.band(1)
        (range(4, 10), range(0, 6))
        """
        bins = self.max_len // 2 + 1
        if self.global_ratio > 1 / self.num_layers:
            width, step = self.global_ratio, bins * (1 - self.global_ratio) // max(self.num_layers - 1, 1)
        else:
            width, step = 1 / self.num_layers, bins / self.num_layers
        return band(bins, width, layer * step)


class BandAttention(Mixer):
    """Auto-correlation of queries and keys within a band, mixed with attention on the same band.

    After the other frequencies are removed, both depend on queries and keys only through Q K^T: attention uses its
    entries, auto-correlation its mean along each wrapped diagonal, which is the correlation at one delay. So one matrix
    product serves both, and no FFT is needed; the tests compare with FFTs.
    """

    def __init__(self, config: FEARecConfig, layer: int, masks: MaskSource) -> None:
        super().__init__()
        size, length = config.hidden_size, config.max_len
        remedy = Remedy.parse(config.remedy)
        self.heads, self.spatial_ratio = config.num_heads, config.spatial_ratio
        self.delays = min(max(int(config.delay_factor * math.log(length)), 1), length)
        self.query_key = nn.Linear(size, 2 * size)  # stacked: one matrix product instead of two
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)
        self.attention_dropout = Dropout(config.dropout, masks)
        self.reweight = remedy.for_attention(config.num_heads)
        self.rescale = remedy.for_output(size)
        self.add_norm = AddNorm(size, config.dropout, masks, remedy=remedy)
        spectrum = torch.zeros(length // 2 + 1, 1, dtype=torch.float64)
        spectrum[list(config.band(layer))] = 1
        impulse = torch.eye(length, dtype=torch.float64)
        self.band_has_dc = bool(spectrum[0])
        # Removes the frequencies outside the band from a signal of N positions; (N, N), symmetric.
        self.band_pass = Constant(torch.fft.irfft(torch.fft.rfft(impulse, dim=0) * spectrum, n=length, dim=0))

    @property
    def needs_all_positions(self) -> bool:
        """See Mixer."""
        return self.reweight is not None or self.rescale is not None

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, list[Tensor]]:
        """See Mixer; needs all positions (B, N, D), padding included."""
        mixed, attention, _ = self.mix(x, torch.cat([group.mask for group in packing.groups]))
        return mixed, [attention]

    def steps(self, x: Tensor, packing: Packing) -> list[ResidualStep]:
        """See Mixer."""
        update, _, _ = self._update(x, torch.cat([group.mask for group in packing.groups]))
        return [self.add_norm.step("attention and auto-correlation", update, x)]

    def mix(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output (B, N, D), the attention (B, H, N, N) and the weights of the delays (B, N).

        mask: (B, 1, N, N), added to the scores.
        """
        update, attention, weight = self._update(x, mask)
        return self.add_norm(update, x), attention, weight

    def _update(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `mix` returns, with the output (B, N, D) before residual and norm."""
        inner = self.add_norm.before(x)
        scores, weight = self._scores(inner)
        update, attention = self._mix_rows(inner, scores, mask, circulant(weight))
        if self.rescale is not None:
            update = self.rescale(update, mask)
        return update, attention, weight

    def last(self, x: Tensor, at: Tensor, mask: Tensor) -> Tensor:
        """See Mixer; the delays need the scores of all positions, the rest only those of the last one."""
        inner = self.add_norm.before(x)
        scores, weight = self._scores(inner)
        delayed = weight.roll(-1, dims=1)[:, None]  # the last row of its circulant matrix
        mixed, _ = self._mix_rows(inner, scores[:, :, -1:], mask[:, :, None], delayed)
        return self.add_norm(mixed[:, 0], at)

    def branches(self) -> tuple[Branch, ...]:
        """See Mixer."""
        trained = count_parameters(self.query_key, self.value, self.output)
        own = Part("attention, auto-correlation", f"on a band; {heads_text(self.heads)}", trained)
        remedies = [layer for layer in (self.reweight, self.rescale) if layer is not None]
        added = [Part(type(layer).__name__, "", count_parameters(layer)) for layer in remedies]
        return (Branch(self.add_norm.around(own, *added)),)

    def _scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return Q K^T (B, H, N, N) within the band, and the weight (B, N) of each delay, 0 for delays not kept."""
        # Band-pass and projection commute; a bias is a constant signal and has only DC.
        bias = self.query_key.bias * self.band_has_dc
        projected = project(self.band_pass.like(x) @ x, self.query_key.weight, bias)
        query, key = (self._split(part) for part in projected.chunk(2, dim=-1))
        scores = query @ key.mT
        # The correlation at delay t, averaged over all D dimensions: sum over s of q[s + t] . k[s].
        correlation = wrapped_diagonal_sums(scores.sum(1).mT) / x.shape[-1]
        # In training the delays are chosen for the batch as a whole, as published.
        best = correlation.mean(0, keepdim=True).expand_as(correlation) if self.training else correlation
        kept = best.topk(self.delays, dim=-1).indices
        weight = correlation.gather(1, kept).softmax(dim=-1)
        return scores, torch.zeros_like(correlation).scatter(1, kept, weight)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _mix_rows(self, x: Tensor, scores: Tensor, mask: Tensor, delayed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, M, D) before residual and norm, and the attention (B, H, M, N), at M positions.

        scores: (B, H, M, N); mask: (B, 1, M, N); delayed: (B, M, N), the matrix of the weighted delays.
        """
        attention = (scores * (x.shape[-1] // self.heads) ** -0.5 + mask).softmax(dim=-1).to(x.dtype)
        if self.reweight is not None:
            attention = self.reweight(attention, mask)
        dropout_mask = self.attention_dropout.mask(attention.shape, attention.device)
        dropped = attention if dropout_mask is None else attention * dropout_mask
        # Attention averages the band-passed values, auto-correlation the values themselves: A P V and C V.
        attended = dropped @ self.band_pass.like(x)
        mixing = torch.lerp(delayed[:, None], attended, self.spatial_ratio)
        values = self._split(project(x, self.value.weight, self.value.bias))
        mixed = (mixing @ values).transpose(1, 2).flatten(2)
        return project(mixed, self.output.weight, self.output.bias), attention


class FEARec(Encoder):
    """Blocks of BandAttention; each layer has its own band.

    Auto-correlation has no mask, so padding and later positions influence every position. The loss has DuoRec's
    contrastive term, and the mean absolute difference between the two views' spectra along the positions of the last
    layer.
    """

    name, title = "fearec", "FEARec"
    config_type = FEARecConfig
    published_loss = "ce"
    capturable = True
    needs_same_target = True
    promises = ()
    inert_padding = False

    def __init__(self, config: FEARecConfig) -> None:
        layers = iter(range(config.num_layers))
        super().__init__(config, lambda masks: BandAttention(config, next(layers), masks))
        # At this length a product is cheaper than FFTs.
        self.transform = Constant(real_fourier_matrices(config.max_len)[0])

    def trace(self, input_ids: Tensor, causal: bool = True) -> Trace:
        """See Encoder; the trace also has the weights of the delays."""
        input_ids = self.window(input_ids)
        packing = all_positions(input_ids, causal)
        mask = torch.cat([group.mask for group in packing.groups])
        trace = Trace([self.embed(packing)], [], input_ids > 0, autocorrelation=[])
        assert trace.attention is not None and trace.autocorrelation is not None
        for block in cast(list[Block], self.blocks):
            mixed, attention, weight = cast(BandAttention, block.mixer).mix(trace.hidden[-1], mask)
            trace.hidden.append(block.end(block.feed_forward(mixed), packing))
            trace.attention.append(attention)
            trace.autocorrelation.append(weight)
        return trace

    def objective(self, batch: Batch, loss: Loss) -> Tensor:
        """See Recommender; needs batch.same_target."""
        assert batch.same_target is not None
        output = self.encode(batch.inputs)
        own, other = self._last_layer(batch.inputs), self._last_layer(batch.same_target)
        predicted = loss.function(output, self.candidates, batch.targets, batch.negatives)
        contrast = info_nce(own[:, -1], other[:, -1], self.config.temperature)
        real, imaginary = (self.transform.like(own) @ (own - other)).chunk(2, dim=1)
        spectrum = torch.complex(real, imaginary).abs().mean()
        return predicted + self.config.contrastive_weight * contrast + self.config.frequency_weight * spectrum

    def _last_layer(self, input_ids: Tensor) -> Tensor:
        """Return the last block's output at all positions, (B, N, D), for windows (B, N)."""
        packing = self.pack(input_ids)
        x, last = self.up_to_last_block(packing)
        return last(x, packing)[0]
