"""The tokenizer's networks.

    picture --Encoder (edge)--> latents (B, CHANNELS, h, w) --FSQ--> values of the cells
                           |--> features --GistEncoder (edge)--> latents (B, GIST) --FSQ--> values of the frame
    values of the cells --TokenHead (server)--> features (B, 112, 2 h, 2 w) --> the tower's back half --> maps
    maps, gist --GistHead (server)--> maps, pooled view
    values --Viewer (people only)--> picture

h = H / 32. A level that the canvas does not hold is zero, and LEVELS more channels say which levels are held, so every
network behind the canvas knows what it does not know.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vidtok.model.tower import FEATURES, POOLED, Back, Front
from vidtok.tokenizer.fsq import (
    CHANNELS,
    EDGES,
    GIST,
    GIST_LEVEL_OF,
    GIST_LEVELS,
    LEVEL_OF,
    LEVELS,
    SEEN_LEVELS,
    VALUES,
)

CONTEXT = CHANNELS + LEVELS  # channels that the networks behind the canvas read
SEEN = EDGES[SEEN_LEVELS]  # numbers of the levels made for the model
SEEN_CONTEXT = SEEN + SEEN_LEVELS
GIST_CONTEXT = GIST + GIST_LEVELS
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


class Gist(nn.Module):
    """The tower's pooled view of the whole frame -> the latents of its gist, before tanh."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.linear = nn.Linear(POOLED, GIST)
        self.detail = nn.Sequential(nn.Linear(POOLED, width), nn.GELU(), nn.Linear(width, GIST))

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, 1280) -> (B, GIST)."""
        return self.linear(pooled) + self.detail(pooled)


class GistEncoder(nn.Module):
    """The edge's second look: the tower's other half on the frame's features, and the gist of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.back = Back()
        self.gist = Gist()

    def forward(self, features: Tensor) -> Tensor:
        """(B, 112, H/16, W/16) -> latents (B, GIST)."""
        return torch.tanh(self.gist(self.back(features)[1]))


class Residual(nn.Module):
    """x + depthwise, pointwise, pointwise: cheap context between cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.wide = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.each(self.mix(x))

    def each(self, mixed: Tensor) -> Tensor:
        """What becomes of each place by itself, once it is mixed with those around it."""
        return self.narrow(F.gelu(self.wide(mixed)))


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
        return self.features(context, self.layers()(context))

    def layers(self) -> nn.Sequential:
        """What stands one behind the other between the context and `features`; each looks one cell to each side."""
        return nn.Sequential(*list(self.detail)[:-2])

    def features(self, context: Tensor, detail: Tensor) -> Tensor:
        """The context and what the last layer makes of it -> (B, 112, 2 h, 2 w), each cell by itself."""
        return (self.linear(context) + self.detail[-2:](detail)) / SCALE


class GistHead(nn.Module):
    """The gist's way in, at the tower's end: what the cells have led to, brought nearer to what the whole frame shows.

    How near hangs on how much is held of both; every place of the maps is shifted alike, so the gist says what there
    is, and where it is remains the cells' to say.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.draw = nn.Linear(GIST_CONTEXT, POOLED)
        self.trust = nn.Linear(GIST_LEVELS + SEEN_LEVELS, POOLED)
        self.detail = nn.Sequential(
            nn.Linear(GIST_CONTEXT + POOLED, width), nn.GELU(), nn.Linear(width, POOLED, bias=False)
        )

    def forward(self, maps: Tensor, context: Tensor, gist: Tensor) -> tuple[Tensor, Tensor]:
        """The back half's maps (B, 1280, h, w), what the cells hold and the gist -> maps, pooled (B, 1280)."""
        pooled, held = maps.mean((2, 3)), gist[:, GIST:]
        known = torch.cat([held, context[:, SEEN:].mean((2, 3))], 1)
        nearer = torch.sigmoid(self.trust(known)) * (self.draw(gist) - pooled)
        shift = held[:, :1] * (nearer + self.detail(torch.cat([gist, pooled], 1)))
        wanted, maps = F.relu6(pooled + shift), F.relu6(maps + shift[..., None, None])
        maps = maps * (wanted / maps.mean((2, 3)).clamp_min(1e-6))[..., None, None]  # what was cut off raised the mean
        return maps, wanted


def bins_of(latents: Tensor) -> Tensor:
    """Which of the even bins from -1 to 1 each latent falls in, as floats: what `fsq.quantise` gives."""
    return torch.clamp(torch.floor((latents + 1) * (VALUES / 2)), 0, VALUES - 1)


def quantise_ste(latents: Tensor) -> Tensor:
    """Round latents to the middle of their bin; the gradient passes straight through."""
    rounded = (bins_of(latents) + 0.5) * (2 / VALUES) - 1
    return latents + (rounded - latents).detach()


def context(latents: Tensor, depth: Tensor, levels: int = LEVELS) -> Tensor:
    """Dequantised latents (B, C, h, w) of so many levels, and levels held a cell (B, h, w) -> (B, C + levels, h, w)."""
    level_of = torch.from_numpy(LEVEL_OF[: EDGES[levels]])
    held = depth[:, None] > torch.arange(levels)[:, None, None]
    told = depth[:, None] > level_of[:, None, None]
    return torch.cat([latents * told.to(latents.dtype), held.to(latents.dtype)], 1)


def gist_context(latents: Tensor, depth: Tensor) -> Tensor:
    """Dequantised latents (B, GIST) and levels held (B,) -> (B, GIST_CONTEXT)."""
    return flat_context(latents, depth, GIST_LEVEL_OF)


def flat_context(latents: Tensor, depth: Tensor, level_of: NDArray[np.integer]) -> Tensor:
    """Latents (B, C), of which each is on a level (C,), and levels held (B,) -> (B, C + levels)."""
    held = depth[:, None] > torch.arange(int(level_of[-1]) + 1)
    told = depth[:, None] > torch.from_numpy(level_of)
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

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), (pixels - 127) / 128 -> latents (B, CHANNELS, H/32, W/32), features (B, 112, H/16, W/16)."""
        features = self.front(picture)[2]
        seen = torch.tanh(self.squeeze(features))
        return torch.cat([seen, torch.tanh(self.detail(picture, features, seen))], 1), features


class Viewer(nn.Module):
    """Canvas to picture, for people's eyes; never on the model's path."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.linear = nn.ConvTranspose2d(CONTEXT, 3, 32, 32)
        self.gist = nn.Sequential(nn.Linear(GIST_CONTEXT, width), nn.GELU(), nn.Linear(width, width))
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

    def forward(self, context: Tensor, gist: Tensor) -> Tensor:
        """(B, CONTEXT, h, w) and (B, GIST_CONTEXT) -> (B, 3, 32 h, 32 w), in the encoder's input range."""
        cells = self.detail[0](context) + self.gist(gist)[..., None, None]
        return self.linear(context) + self.detail[1:](cells)


def _upsample(width: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, 4 * out, 1), nn.PixelShuffle(2)
