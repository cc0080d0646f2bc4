"""The encoder as the edge runs it: onnxruntime, no torch.

    frame, position --pad to the moved grid--> encoder.onnx --> latents (rows, cols, CHANNELS)
                                                         |--> features --gist.onnx--> latents (GIST,), when asked for

The values that the edge makes are the truth. Nothing ever depends on encoding the same frame twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok.canvas import CELL, UNIT
from vidtok.errors import MissingExtra, WeightsError
from vidtok.tokenizer.fsq import CHANNELS, GIST

WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class TokenizerInfo:
    """What ships beside the weights: measured numbers that the gate reads, and what names this build."""

    sensitivity: NDArray[np.float32]  # (CHANNELS,): how much the model's features depend on each latent
    digest: bytes  # eight bytes over the encoder's weights
    gist_sensitivity: NDArray[np.float32]  # (GIST,): the same of the gist's latents, in a frame of one cell


def load_info(folder: Path = WEIGHTS) -> TokenizerInfo:
    """Read `tokenizer.json`."""
    path = folder / "tokenizer.json"
    try:
        data = json.loads(path.read_text())
        sensitivity = np.array(data["sensitivity"], np.float32).reshape(CHANNELS)
        of_gist = np.array(data["gist_sensitivity"], np.float32).reshape(GIST)
        return TokenizerInfo(sensitivity, bytes.fromhex(data["digest"]), of_gist)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: {error}; the package's weights are incomplete, reinstall it") from error


class EdgeEncoder:
    """Frames to latents. One object serves one size at a time; onnxruntime keeps its buffers."""

    def __init__(self, folder: Path = WEIGHTS, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "edge") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        sessions = []
        for path in (folder / "encoder.onnx", folder / "gist.onnx"):
            if not path.exists():
                raise WeightsError(f"{path}: no such file; the package's weights are incomplete, reinstall it")
            sessions.append(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
        self._cells, self._gist = sessions
        self._features: NDArray[np.float32] | None = None

    def __call__(self, pixels: NDArray[np.uint8], position: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
        """(H, W, 3) seen at a scene position -> latents (rows, cols, CHANNELS) of the canvas.

        Rows and columns out of sight (all of the spare ones when frame and grid are aligned) are zero.
        """
        height, width = pixels.shape[:2]
        out = np.zeros((-(-height // CELL) + 1, -(-width // CELL) + 1, CHANNELS), np.float32)
        padded = pad_to_grid(pixels, (position[0] % CELL, position[1] % CELL))
        picture = (padded.astype(np.float32) - np.float32(127)) / np.float32(128)
        latents, features = self._cells.run(None, {"picture": picture.transpose(2, 0, 1)[None]})
        out[: latents.shape[2], : latents.shape[3]] = latents[0].transpose(1, 2, 0)
        left, top = (at % CELL // UNIT for at in position)
        self._features = features[:, :, top : top + height // UNIT, left : left + width // UNIT]
        return out

    def gist(self) -> NDArray[np.float32]:
        """Latents (GIST,) of the whole frame that was encoded last."""
        if self._features is None:
            raise ValueError("gist() before the first frame")
        (latents,) = self._gist.run(None, {"features": self._features})
        return np.asarray(latents[0])


def pad_to_grid(pixels: NDArray[np.uint8], offset: tuple[int, int]) -> NDArray[np.uint8]:
    """Repeat the frame's edges so that it stands `offset` (x, y) pixels inside a whole number of cells."""
    (x, y), (height, width) = offset, pixels.shape[:2]
    return np.pad(pixels, ((y, -(y + height) % CELL), (x, -(x + width) % CELL), (0, 0)), mode="edge")


def digest_of(*paths: Path) -> bytes:
    """Eight bytes that name the content of files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()[:8]
