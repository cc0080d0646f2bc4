"""Vision towers to learn from: pictures of 256x256 -> what the tower gives for each of our 8x8 cells.

efficientnet-lite0     maps of its back half, which our tokens are made for            (B, 1, 1280, 8, 8)
a folder with a        what the language model takes, after merger or projector, with  (B, 1 + deepstack, D, 8, 8)
  vision-language model  what it takes at deeper layers
a folder with a        the last layer's patches, without its class token, averaged to  (B, 1, D, 8, 8)
  vision model           our cells
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.bench import BenchError
from vidtok.errors import VidtokError
from vidtok.model.families import load_model, transformers
from vidtok.model.tower import POOLED, load_tower, to_input
from vidtok.tokenizer.store import load_gist_head, load_head

PLAIN = "efficientnet-lite0"
SIDE = 256  # pixels of a picture
CELLS = 8  # on a side of it


class Teacher(ABC):
    """A frozen tower."""

    name: str
    dim: int
    outs: int = 1

    @abstractmethod
    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (B, 256, 256, 3) -> (B, outs, dim, 8, 8)."""

    def shipped(self, cells: Tensor, gist: Tensor) -> Tensor | None:
        """What the product's own way makes of what a canvas holds, where it has one to this tower."""
        return None


class EfficientNet(Teacher):
    """The tower that our tokens are made for."""

    name, dim = PLAIN, POOLED

    def __init__(self) -> None:
        self._tower, self._head, self._gist_head = load_tower(), load_head(), load_gist_head()

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """The back half's maps."""
        return self._tower.back(self._tower.front(to_input(pixels))[2])[0][:, None]

    @torch.inference_mode()
    def shipped(self, cells: Tensor, gist: Tensor) -> Tensor | None:
        """The token head, the tower's back half, the gist head."""
        return self._gist_head(self._tower.back(self._head(cells))[0], cells, gist)[0][:, None]


class LanguageEye(Teacher):
    """What the language model of an open vision-language model is given for a picture."""

    def __init__(self, path: str) -> None:
        self._model = load_model(path)
        self.name, self.dim, self.outs = Path(path).name, self._model.width, self._model.outs

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """One vector a merged patch, resampled to our cells."""
        return resampled(self._model.picture(pixels, CELLS))


class VisionModel(Teacher):
    """A vision tower alone: CLIP, SigLIP, DINO and their like."""

    def __init__(self, path: str, config: Any) -> None:
        whole = transformers().AutoModel.from_pretrained(path, local_files_only=Path(path).exists())
        self._tower = getattr(whole, "vision_model", whole).eval().requires_grad_(False)
        sizes = getattr(config, "vision_config", None) or config
        self.name, self.dim = Path(path).name, int(sizes.hidden_size)
        side = sizes.image_size
        self._side, self._patch = (int(n[0] if isinstance(n, list | tuple) else n) for n in (side, sizes.patch_size))

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """The last layer's patches; what stands before them (class token, registers) is left out."""
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        x = F.interpolate(x, (self._side, self._side), mode="bicubic", antialias=True, align_corners=False)
        tokens, places = self._tower(pixel_values=x).last_hidden_state, self._side // self._patch
        patches = tokens[:, tokens.shape[1] - places**2 :]
        return resampled(patches.transpose(1, 2).unflatten(2, (places, places))[:, None].float())


def resampled(maps: Tensor) -> Tensor:
    """(B, outs, D, h, w) -> (B, outs, D, 8, 8): averaged, or drawn out where there are fewer."""
    flat = maps.flatten(0, 1)
    if min(flat.shape[-2:]) >= CELLS:
        flat = F.adaptive_avg_pool2d(flat, CELLS)
    else:
        flat = F.interpolate(flat, (CELLS, CELLS), mode="bilinear", align_corners=False)
    return flat.unflatten(0, maps.shape[:2])


def open_teacher(name: str) -> Teacher:
    """The tower that `--vision-tower` names."""
    if name == PLAIN:
        return EfficientNet()
    try:
        config = transformers().AutoConfig.from_pretrained(name)
        if hasattr(config, "vision_config") and hasattr(config, "text_config") and hasattr(config, "image_token_id"):
            return LanguageEye(name)
        return VisionModel(name, config)
    except VidtokError as error:
        raise BenchError(f"--vision-tower {name}: {error}") from None
    except (OSError, ValueError, AttributeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BenchError(f"--vision-tower {name}: not {PLAIN}, nor a vision model to load ({said})") from None
