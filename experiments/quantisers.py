"""What turns latents into numbers that can be sent: ours, and vector quantisation to compare it with.

Both take a cell's numbers two by two, so that either sends one of 64 symbols a pair and is trained, dropped level by
level and measured alike. `experiments.train_tokenizer --quantiser vq` trains the other one; only ours can be shipped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidtok.tokenizer.fsq import VALUES
from vidtok.tokenizer.networks import SEEN, bins_of, quantise_ste

PAIRS = SEEN // 2
SYMBOLS = VALUES * VALUES
COMMITMENT = 0.25
DECAY = 0.99
REST = 0.02  # of a fair share of use, below which a code is moved to where the latents are


class Fsq(nn.Module):
    """Each number by itself, rounded to the middle of one of eight even bins. Nothing is learned."""

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """(B, SEEN, h, w) -> the same, rounded, with a straight-through gradient; and a loss, here zero."""
        return quantise_ste(latents), latents.new_zeros(())

    def symbols(self, latents: Tensor) -> Tensor:
        """(B, SEEN, h, w) -> (PAIRS, N): what each pair becomes."""
        first, second = pairs_of(bins_of(latents).long()).unbind(-1)
        return first * VALUES + second


class Vq(nn.Module):
    """Pairs of numbers, each to the nearest of 64 learned codes; codes follow their latents (moving averages).

    A code that hardly anything is nearest to is moved onto some latent, or codebooks collapse.
    """

    codes: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        grid = (torch.arange(VALUES) + 0.5) * (2 / VALUES) - 1
        even = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1).reshape(1, SYMBOLS, 2).repeat(PAIRS, 1, 1)
        self.register_buffer("codes", even)
        self.register_buffer("sums", even.clone())
        self.register_buffer("counts", torch.ones(PAIRS, SYMBOLS))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """As `Fsq`; the loss draws latents to their codes. In training the codes move."""
        pairs = pairs_of(latents)
        nearest = self._nearest(pairs)
        chosen = torch.take_along_dim(self.codes, nearest[..., None], 1)
        if self.training:
            self._follow(pairs.detach(), nearest)
        rounded = chosen.transpose(1, 2).reshape(SEEN, len(latents), *latents.shape[2:]).transpose(0, 1)
        loss = COMMITMENT * F.mse_loss(latents, rounded)
        return latents + (rounded - latents).detach(), loss

    def symbols(self, latents: Tensor) -> Tensor:
        """As `Fsq.symbols`."""
        return self._nearest(pairs_of(latents))

    def _nearest(self, pairs: Tensor) -> Tensor:
        return torch.cdist(pairs, self.codes).argmin(-1)  # (PAIRS, N)

    @torch.no_grad()
    def _follow(self, pairs: Tensor, nearest: Tensor) -> None:
        used = torch.zeros_like(self.counts).scatter_add_(1, nearest, torch.ones_like(pairs[..., 0]))
        sums = torch.zeros_like(self.sums).scatter_add_(1, nearest[..., None].expand_as(pairs), pairs)
        self.counts.lerp_(used, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        idle = self.counts < REST * pairs.shape[1] / SYMBOLS
        some = pairs[:, torch.randint(pairs.shape[1], (SYMBOLS,))]
        self.sums[idle], self.counts[idle] = some[idle], 1.0
        self.codes.copy_(self.sums / self.counts[..., None].clamp_min(1e-6))


def pairs_of(latents: Tensor) -> Tensor:
    """(B, SEEN, h, w) -> (PAIRS, N, 2)."""
    return latents.transpose(0, 1).flatten(1).unflatten(0, (PAIRS, 2)).transpose(1, 2)


def entropy_bits(symbols: Tensor) -> Tensor:
    """(PAIRS, N) -> (PAIRS,): bits a symbol, by how often each occurs among them."""
    counts = torch.zeros(PAIRS, SYMBOLS).scatter_add_(1, symbols, torch.ones(symbols.shape))
    return torch.special.entr(counts / symbols.shape[1]).sum(1) / torch.log(torch.tensor(2.0))


QUANTISERS: dict[str, type[Fsq] | type[Vq]] = {"fsq": Fsq, "vq": Vq}
