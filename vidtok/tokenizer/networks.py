"""The tokenizer's three networks.

    picture --Encoder (edge)--> latents (B, 20, h, w) --FSQ--> codes
    codes --TokenHead (server)--> features (B, 112, h, w) --> the tower's back half
          --Viewer (people only)--> picture

h = H / 16. A cell's latents are four levels of five numbers. A level that the canvas does not hold is zero, and four
more channels say which levels are held, so every network downstream knows what it does not know.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidtok.model.tower import FEATURES, Front
from vidtok.tokenizer.fsq import CHANNELS, DIMS, LEVELS, VALUES

CONTEXT = CHANNELS + LEVELS  # channels that the networks behind the canvas read
SCALE = 1 / 8  # brings the tower's feature maps to about unit variance


class Encoder(nn.Module):
    """The edge: the front half of the tower, its finer maps folded in, squeezed to latents in (-1, 1).

    A linear map of the tower's features carries what the tower's back half depends on most, another of the bare pixels
    what people's eyes miss first; a small network beside them adds what the finer maps know.
    """

    def __init__(self, width: int = 160) -> None:
        super().__init__()
        self.front = Front()
        self.fine = nn.Conv2d(24, 12, 1)
        self.middle = nn.Conv2d(40, 32, 1)
        self.linear = nn.Conv2d(FEATURES, CHANNELS, 1)
        self.pixels = nn.Conv2d(3, CHANNELS, 16, 16, bias=False)
        self.detail = nn.Sequential(
            nn.Conv2d(12 * 16 + 32 * 4 + FEATURES, width, 1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.GELU(),
            nn.Conv2d(width, CHANNELS, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), (pixels - 127) / 128 -> latents (B, 20, H/16, W/16)."""
        return self.squeeze(x, *self.front(x))

    def squeeze(self, x: Tensor, fine: Tensor, middle: Tensor, features: Tensor) -> Tensor:
        """The picture and the front half's three maps of it -> latents."""
        folded = [F.pixel_unshuffle(self.fine(fine), 4), F.pixel_unshuffle(self.middle(middle), 2), features]
        return torch.tanh(self.linear(features) + self.pixels(x) + self.detail(torch.cat(folded, 1) * SCALE))


class Residual(nn.Module):
    """x + depthwise 5x5, pointwise, pointwise: cheap context between cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.wide = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.gelu(self.wide(self.mix(x))))


class TokenHead(nn.Module):
    """The server's way in: what the canvas holds -> the features that the tower's back half expects."""

    def __init__(self, width: int = 192, blocks: int = 4) -> None:
        super().__init__()
        self.linear = nn.Conv2d(CONTEXT, FEATURES, 1)
        self.detail = nn.Sequential(
            nn.Conv2d(CONTEXT, width, 3, padding=1),
            *(Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, FEATURES, 1),
        )

    def forward(self, context: Tensor) -> Tensor:
        """(B, 24, h, w) -> (B, 112, h, w)."""
        return self.linear(context) + self.detail(context) / SCALE


class Viewer(nn.Module):
    """Canvas to picture, for people's eyes; never on the model's path."""

    def __init__(self, width: int = 160) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Conv2d(CONTEXT, 3 * 16, 3, padding=1), nn.PixelShuffle(4))
        self.detail = nn.Sequential(
            nn.Conv2d(CONTEXT, width, 3, padding=1),
            *(Residual(width) for _ in range(4)),
            *_upsample(width, 96),
            Residual(96),
            Residual(96),
            *_upsample(96, 48),
            Residual(48),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, context: Tensor) -> Tensor:
        """(B, 24, h, w) -> (B, 3, 16 h, 16 w), in the encoder's input range."""
        coarse = F.interpolate(self.linear(context), scale_factor=4.0, mode="bilinear", align_corners=False)
        return coarse + self.detail(context)


def _upsample(width: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, 4 * out, 1), nn.PixelShuffle(2)


def quantise_ste(latents: Tensor) -> Tensor:
    """Round latents to the middle of their bin; the gradient passes straight through."""
    bins = torch.clamp(torch.floor((latents + 1) * (VALUES / 2)), 0, VALUES - 1)
    rounded = (bins + 0.5) * (2 / VALUES) - 1
    return latents + (rounded - latents).detach()


def context(latents: Tensor, depth: Tensor) -> Tensor:
    """Dequantised latents (B, 20, h, w) and levels held per cell (B, h, w) -> (B, 24, h, w)."""
    held = (depth[:, None] > torch.arange(LEVELS, device=depth.device)[:, None, None]).to(latents.dtype)
    return torch.cat([latents * held.repeat_interleave(DIMS, 1), held], 1)
