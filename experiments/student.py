"""A small encoder that imitates the shipped one, for machines where that is too slow: a browser on one core.

    picture (B, 3, H, W) --Eye--> (B, 64, H/8, W/8) --a front--> features (B, 112, H/16, W/16)
                   |                       |                            |--Squeeze--> latents for the model
                   +-----------------------+------DetailStudent---------+-----------> latents for people
    features --GistStudent--> latents (B, GIST)

The dense front is nothing but dense convolutions and ReLU: in WASM a depthwise convolution costs as much as a dense one
of four to eight times its multiply-adds, and 8-bit integers pay only where they are dense.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidtok.model.tower import FEATURES, STAGES, Front
from vidtok.tokenizer.fsq import CHANNELS, GIST
from vidtok.tokenizer.networks import SCALE, SEEN, SIDE, Squeeze

FINE = 64  # channels at stride 8
GROUPS = 4  # of a 3x3 convolution's channels
REACH = (1, 2, 4, 1)  # how far apart the places are that a Mix looks at


class Mix(nn.Module):
    """x + what its places and those around them say."""

    def __init__(self, width: int, wide: int, reach: int = 1, groups: int = GROUPS) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 3, padding=reach, dilation=reach, groups=groups)
        self.wide = nn.Conv2d(width, wide, 1)
        self.narrow = nn.Conv2d(wide, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.relu(x + self.narrow(F.relu(self.wide(F.relu(self.around(x))))))


class Eye(nn.Module):
    """Picture to what is fine in it: (B, 3, H, W) -> (B, 64, H/8, W/8)."""

    def __init__(self, depth: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.fine = nn.Conv2d(32, FINE, 3, 2, 1)
        self.edges = nn.ModuleList(nn.Conv2d(FINE, FINE, 3, padding=1, groups=2) for _ in range(depth))
        self.joins = nn.ModuleList(nn.Conv2d(FINE, FINE, 1) for _ in range(depth))

    def forward(self, picture: Tensor) -> Tensor:
        """All of it is ReLU's."""
        x = F.relu(self.fine(F.relu(self.patches(picture))))
        for edges, join in zip(self.edges, self.joins, strict=True):
            x = F.relu(x + join(F.relu(edges(x))))
        return x


class DenseFront(nn.Module):
    """Picture to what the tower's front half would have made of it, in a fifth of the time."""

    def __init__(self, width: int = 128, wide: int = 256) -> None:
        super().__init__()
        self.eye = Eye()
        self.coarse = nn.Conv2d(FINE, width, 3, 2, 1)
        self.mixes = nn.Sequential(*(Mix(width, wide, reach) for reach in REACH))
        self.last = nn.Conv2d(width, FEATURES, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> (B, 64, H/8, W/8), (B, 112, H/16, W/16)."""
        x = self.eye(picture)
        return x, self.last(self.mixes(F.relu(self.coarse(x)))) / SCALE


class TowerFront(nn.Module):
    """The same in half the time: an eye of its own, then the tower's stages from stride 8 to 16."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = Eye(2)
        self.low = nn.Conv2d(FINE, STAGES[2][-1], 1)
        self.stages = Front().stages[3:]

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> (B, 64, H/8, W/8), (B, 112, H/16, W/16)."""
        x = self.eye(picture)
        y = self.low(x) / SCALE
        for stage in self.stages:
            y = stage(y)
        return x, y


FRONTS: dict[str, type[DenseFront] | type[TowerFront]] = {"dense": DenseFront, "tower": TowerFront}


class DetailStudent(nn.Module):
    """The last level's latents, before tanh: what `networks.Detail` gives, without eyes of its own."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, CHANNELS - SEEN, 32, 32)
        self.told = nn.Conv2d(SEEN, CHANNELS - SEEN, 1, bias=False)
        self.edges = nn.Conv2d(FINE, width, 4, 4)
        self.features = nn.Conv2d(FEATURES, width, SIDE, SIDE)
        self.narrow = nn.Conv2d(width, CHANNELS - SEEN, 1)

    def forward(self, picture: Tensor, fine: Tensor, features: Tensor, seen: Tensor) -> Tensor:
        """-> (B, CHANNELS - SEEN, H/32, W/32)."""
        beside = self.narrow(F.relu(self.edges(fine) + self.features(features * SCALE)))
        return self.linear(picture) + self.told(seen) + beside


class Student(nn.Module):
    """The edge's encoder in little: the same inputs and outputs as `networks.Encoder`."""

    def __init__(self, front: str = "dense") -> None:
        super().__init__()
        self.front = FRONTS[front]()
        self.squeeze = Squeeze()
        self.detail = DetailStudent()

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), (pixels - 127) / 128 -> latents (B, CHANNELS, H/32, W/32), features (B, 112, H/16, W/16)."""
        fine, features = self.front(picture)
        seen = torch.tanh(self.squeeze(features))
        return torch.cat([seen, torch.tanh(self.detail(picture, fine, features, seen))], 1), features


class GistStudent(nn.Module):
    """The student's features to the gist, in a fifth of `networks.GistEncoder`'s work."""

    def __init__(self, width: int = 256, pooled: int = 768) -> None:
        super().__init__()
        self.cells = nn.Conv2d(FEATURES, width, SIDE, SIDE)
        self.mixes = nn.Sequential(Mix(width, width, 1, 8), Mix(width, width, 2, 8))
        self.wide = nn.Conv2d(width, pooled, 1)
        self.linear = nn.Linear(pooled, GIST)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 112, H/16, W/16) -> latents (B, GIST)."""
        x = self.mixes(F.relu(self.cells(features * SCALE)))
        return torch.tanh(self.linear(F.adaptive_avg_pool2d(F.relu(self.wide(x)), 1).flatten(1)))
