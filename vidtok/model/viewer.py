"""Canvas to picture, for people only: nothing on the model's path imports this."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vidtok.canvas import Canvas
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.store import canvas_context, load_viewer


class CanvasViewer:
    """Shows what the canvas holds."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._network = load_viewer(weights)

    @torch.inference_mode()
    def show(self, canvas: Canvas) -> NDArray[np.uint8]:
        """The frame as the canvas knows it: (H, W, 3) RGB. Cells never seen come out grey."""
        picture = self._network(*canvas_context(canvas))[0].permute(1, 2, 0).numpy() * 128 + 127
        (left, top), grid = canvas.offset, canvas.grid
        cut = picture[top : top + grid.height, left : left + grid.width]
        return np.clip(cut + 0.5, 0, 255).astype(np.uint8)
