"""The tokenizer's networks.

    picture --Encoder (edge)--> latents (B, CHANNELS, h, w) --FSQ--> values
    values --TokenHead (server)--> features (B, 112, 2 h, 2 w) --> the tower's back half
           --Viewer (people only)--> picture

h = H / 32. A level that the canvas does not hold is zero, and LEVELS more channels say which levels are held, so every
network behind the canvas knows what it does not know.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidtok.model.tower import FEATURES, Front
from vidtok.tokenizer.fsq import CHANNELS, EDGES, LEVEL_OF, LEVELS, SEEN_LEVELS, VALUES

CONTEXT = CHANNELS + LEVELS  # channels that the networks behind the canvas read
SEEN = EDGES[SEEN_LEVELS]  # numbers of the levels made for the model
SEEN_CONTEXT = SEEN + SEEN_LEVELS
SCALE = 1 / 8  # brings the tower's feature maps to about unit variance
SIDE = 2  # feature places on a side of a cell


class Squeeze(nn.Module):
    """The tower's features -> the latents of the levels made for the model, before tanh."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.linear = nn.Conv2d(FEATURES, SEEN, SIDE, SIDE)
        self.wide = nn.Conv2d(FEATURES, width, SIDE, SIDE)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.narrow = nn.Conv2d(width, SEEN, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 112, 2 h, 2 w) -> (B, SEEN, h, w)."""
        x = features * SCALE
        return self.linear(x) + self.narrow(F.gelu(self.mix(F.gelu(self.wide(x)))))


class Residual(nn.Module):
    """x + depthwise, pointwise, pointwise: cheap context between cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.wide = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.gelu(self.wide(self.mix(x))))


class TokenHead(nn.Module):
    """The server's way in: what the canvas holds -> the features that the tower's back half expects."""

    def __init__(self, width: int = 256, blocks: int = 4) -> None:
        super().__init__()
        self.linear = nn.ConvTranspose2d(SEEN_CONTEXT, FEATURES, SIDE, SIDE)
        self.detail = nn.Sequential(
            nn.Conv2d(SEEN_CONTEXT, width, 3, padding=1),
            *(Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, FEATURES * SIDE * SIDE, 1),
            nn.PixelShuffle(SIDE),
        )

    def forward(self, context: Tensor) -> Tensor:
        """(B, SEEN_CONTEXT, h, w) -> (B, 112, 2 h, 2 w)."""
        return (self.linear(context) + self.detail(context)) / SCALE


def quantise_ste(latents: Tensor) -> Tensor:
    """Round latents to the middle of their bin; the gradient passes straight through."""
    bins = torch.clamp(torch.floor((latents + 1) * (VALUES / 2)), 0, VALUES - 1)
    rounded = (bins + 0.5) * (2 / VALUES) - 1
    return latents + (rounded - latents).detach()


def context(latents: Tensor, depth: Tensor, levels: int = LEVELS) -> Tensor:
    """Dequantised latents (B, C, h, w) of so many levels, and levels held a cell (B, h, w) -> (B, C + levels, h, w)."""
    level_of = torch.from_numpy(LEVEL_OF[: EDGES[levels]])
    held = depth[:, None] > torch.arange(levels)[:, None, None]
    told = depth[:, None] > level_of[:, None, None]
    return torch.cat([latents * told.to(latents.dtype), held.to(latents.dtype)], 1)


class Detail(nn.Module):
    """What people's eyes miss in the levels made for the model: the last level, before tanh.

    Linear maps of the cell's bare pixels and of what the model's levels tell of them carry most of it; a small network
    beside them adds what reaches over a cell's edge.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, CHANNELS - SEEN, 32, 32)
        self.told = nn.Conv2d(SEEN, CHANNELS - SEEN, 1, bias=False)
        self.pixels = nn.Sequential(
            nn.Conv2d(3, 64, 12, 8, 4),
            nn.GELU(),
            nn.Conv2d(64, 96, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(96, width, SIDE, SIDE),
        )
        self.features = nn.Conv2d(FEATURES, width, SIDE, SIDE)
        self.narrow = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, CHANNELS - SEEN, 1)
        )

    def forward(self, picture: Tensor, features: Tensor, seen: Tensor) -> Tensor:
        """(B, 3, H, W), (B, 112, 2 h, 2 w) and the model's latents (B, SEEN, h, w) -> (B, CHANNELS - SEEN, h, w)."""
        beside = self.narrow(self.pixels(picture) + self.features(features * SCALE))
        return self.linear(picture) + self.told(seen) + beside


class Encoder(nn.Module):
    """The edge: the front half of the tower, its features squeezed for the model, the picture's detail for people."""

    def __init__(self) -> None:
        super().__init__()
        self.front = Front()
        self.squeeze = Squeeze()
        self.detail = Detail()

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W), (pixels - 127) / 128 -> latents (B, CHANNELS, H/32, W/32)."""
        features = self.front(picture)[2]
        seen = torch.tanh(self.squeeze(features))
        return torch.cat([seen, torch.tanh(self.detail(picture, features, seen))], 1)


class Viewer(nn.Module):
    """Canvas to picture, for people's eyes; never on the model's path."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.linear = nn.ConvTranspose2d(CONTEXT, 3, 32, 32)
        self.detail = nn.Sequential(
            nn.Conv2d(CONTEXT, width, 3, padding=1),
            *(Residual(width) for _ in range(3)),
            *_upsample(width, 128),
            *(Residual(128) for _ in range(3)),
            *_upsample(128, 80),
            *(Residual(80) for _ in range(2)),
            *_upsample(80, 48),
            Residual(48),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, context: Tensor) -> Tensor:
        """(B, CONTEXT, h, w) -> (B, 3, 32 h, 32 w), in the encoder's input range."""
        return self.linear(context) + self.detail(context)


def _upsample(width: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, 4 * out, 1), nn.PixelShuffle(2)
