"""The model, version 0: the canvas enters the second half of the pretrained image network. No RGB on this path.

canvas --values--> token head --features, the frame's window of them--> tower's back half --maps--> gist head --> pooled
       --gist------------------------------------------------------------------------------------^          view, labels
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtok.canvas import UNIT, Canvas
from vidtok.model.head import IncrementalHead
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.fsq import SEEN_LEVELS
from vidtok.tokenizer.store import canvas_context, load_gist_head, load_head


@dataclass(frozen=True, eq=False)
class Sight:
    """What the model makes of one moment."""

    pooled: NDArray[np.float32]  # (1280,)
    maps: NDArray[np.float32]  # (1280, H / 32, W / 32): the same, place by place
    scores: NDArray[np.float32]  # (1000,), probabilities

    def labels(self, count: int = 3) -> list[tuple[str, float]]:
        """The most probable ImageNet labels."""
        best = np.argsort(-self.scores)[:count]
        return [(label_names()[i], float(self.scores[i])) for i in best]


class Reader:
    """Reads canvases through the token head, and true frames (as a judge) through the whole tower."""

    def __init__(self, weights: Path = WEIGHTS, tower: Tower | None = None) -> None:
        self._tower = tower or load_tower()
        self._head, self._gist_head = IncrementalHead(load_head(weights)), load_gist_head(weights)

    @torch.inference_mode()
    def read(self, canvas: Canvas) -> Sight:
        """What the model knows from the canvas alone."""
        cells, gist = canvas_context(canvas, SEEN_LEVELS)
        maps = self._tower.back(self._head.read(cells)[:, :, *frame_places(canvas)])[0]
        return self._sight(*self._gist_head(maps, cells, gist))

    @torch.inference_mode()
    def judge(self, pixels: NDArray[np.uint8]) -> Sight:
        """What the whole pretrained network sees in a true frame (H, W, 3): the yardstick, never the path."""
        return self._sight(*self._tower.back(self._tower.front(to_input(torch.from_numpy(pixels)[None]))[2]))

    def _sight(self, maps: Tensor, pooled: Tensor) -> Sight:
        scores = self._tower.back.classify(pooled).softmax(1)
        return Sight(pooled[0].numpy(), maps[0].numpy(), scores[0].numpy())


def in_one_thread() -> None:
    """Have this process compute in one thread: a second saves networks this small a tenth of their time, for double."""
    torch.set_num_threads(1)


def frame_places(canvas: Canvas) -> tuple[slice, slice]:
    """(rows, cols) of the feature places nearest to the frame, out of those of the cells in sight."""
    left, top = ((n + UNIT // 2) // UNIT for n in canvas.offset)
    return slice(top, top + canvas.grid.height // UNIT), slice(left, left + canvas.grid.width // UNIT)


def agreement(ours: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Cosine between two pooled views."""
    return float(ours @ true / (np.linalg.norm(ours) * np.linalg.norm(true) + 1e-9))


@cache
def label_names() -> list[str]:
    """The thousand ImageNet labels, in the network's order."""
    return (WEIGHTS / "imagenet_labels.txt").read_text().splitlines()
