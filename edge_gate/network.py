"""The gate's network as the edge runs it: onnxruntime, no torch.

asked (N, rows, cols) --gate.onnx--> Verdict: how long will what a cell shows last, is something happening there?
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights"


class GateError(Exception):
    """The gate's weights are missing or of another build."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the network makes of every cell, both (rows, cols)."""

    lasts_s: Floats  # for how long telling the cell now will have been worth it
    event: Floats  # the chance that something happens there: no noise, no flicker, no wind, no shaking hand


class Network(Protocol):
    """Whatever gives a verdict on what was `asked`."""

    def __call__(self, asked: Floats) -> Verdict:
        """(N, rows, cols) -> the verdict on every cell."""
        ...


class GateNetwork:
    """One object serves any number of cameras: what is remembered of each is the caller's."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise GateError("the gate needs onnxruntime: pip install 'vidtok[edge]'") from error
        path = folder / "gate.onnx"
        try:
            self.wake = float(json.loads((folder / "gate.json").read_text())["wake"])
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise GateError(f"{path}: {error}; the package's weights are incomplete, reinstall it") from error

    def __call__(self, asked: Floats) -> Verdict:
        """The verdict on what was `asked`, (N, rows, cols)."""
        (said,) = self._session.run(None, {"asked": asked[None]})
        return Verdict(said[0, 0], said[0, 1])
