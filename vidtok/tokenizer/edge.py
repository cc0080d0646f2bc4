"""The encoder as the edge runs it: onnxruntime, no torch.

    frame, position --pad to the moved grid--> ONNX encoder --> latents (rows, cols, CHANNELS)

The values that the edge makes are the truth. Nothing ever depends on encoding the same frame twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok.canvas import CELL
from vidtok.errors import MissingExtra, WeightsError
from vidtok.tokenizer.fsq import CHANNELS

WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class TokenizerInfo:
    """What ships beside the weights: measured numbers that the gate reads, and what names this build."""

    sensitivity: NDArray[np.float32]  # (CHANNELS,): how much the model's features depend on each latent
    digest: bytes  # eight bytes over the encoder's weights


def load_info(folder: Path = WEIGHTS) -> TokenizerInfo:
    """Read `tokenizer.json`."""
    path = folder / "tokenizer.json"
    try:
        data = json.loads(path.read_text())
        sensitivity = np.array(data["sensitivity"], np.float32).reshape(CHANNELS)
        return TokenizerInfo(sensitivity, bytes.fromhex(data["digest"]))
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: {error}; the package's weights are incomplete, reinstall it") from error


class EdgeEncoder:
    """Frames to latents. One object serves one size at a time; onnxruntime keeps its buffers."""

    def __init__(self, path: Path = WEIGHTS / "encoder.onnx", threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "edge") from error
        if not path.exists():
            raise WeightsError(f"{path}: no such file; the package's weights are incomplete, reinstall it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: NDArray[np.uint8], position: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
        """(H, W, 3) seen at a scene position -> latents (rows, cols, CHANNELS) of the canvas.

        Rows and columns out of sight (all of the spare ones when frame and grid are aligned) are zero.
        """
        height, width = pixels.shape[:2]
        out = np.zeros((-(-height // CELL) + 1, -(-width // CELL) + 1, CHANNELS), np.float32)
        padded = pad_to_grid(pixels, (position[0] % CELL, position[1] % CELL))
        picture = (padded.astype(np.float32) - np.float32(127)) / np.float32(128)
        (latents,) = self._session.run(None, {"picture": picture.transpose(2, 0, 1)[None]})
        out[: latents.shape[2], : latents.shape[3]] = latents[0].transpose(1, 2, 0)
        return out


def pad_to_grid(pixels: NDArray[np.uint8], offset: tuple[int, int]) -> NDArray[np.uint8]:
    """Repeat the frame's edges so that it stands `offset` (x, y) pixels inside a whole number of cells."""
    (x, y), (height, width) = offset, pixels.shape[:2]
    return np.pad(pixels, ((y, -(y + height) % CELL), (x, -(x + width) % CELL), (0, 0)), mode="edge")


def digest_of(path: Path) -> bytes:
    """Eight bytes that name a file's content."""
    return hashlib.sha256(path.read_bytes()).digest()[:8]
