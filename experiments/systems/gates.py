"""Gates against each other: the same tokenizer, levels and tokens a second, and only the choice of cells differs.

    frame --score of every cell--> the best, as many as the bucket of tokens holds --> set on all the model's levels

Every gate begins with a whole picture, may save up two seconds of tokens, and sends nothing that scores nothing. There
is no gist, so that all that is known was chosen; bytes are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_gate.memory import Memory, asked, remember, surprise
from edge_gate.motion import luma
from edge_gate.network import GateNetwork
from edge_gate.novelty import GateConfig, QuietState, losses, novelty
from edge_gate.source import Frame
from experiments.systems import Clip, Known, System
from experiments.systems.ours import choices_of, encoder
from vidtok.canvas import CELL, Canvas, Grid, blank
from vidtok.codec import diff, patch
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.edge import load_info, pad_to_grid
from vidtok.tokenizer.fsq import EDGES, SEEN_LEVELS, dequantise, known, quantise

Floats = NDArray[np.float32]
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)  # of all cells of every frame
SAVED_S = 2.0


class Gate:
    """Scores every cell of a frame, given what the receiver holds; sees each frame once, in order."""

    whole = False  # whether a frame is sent whole or not at all

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.blank = np.full((grid.rows, grid.cols, CELL, CELL, 3), -1000, np.float32)

    def score(self, frame: Frame, latents: Floats, canvas: Canvas) -> Floats:
        """(rows, cols): higher goes first, nothing at or below zero goes."""
        raise NotImplementedError

    def sent(self, cells: NDArray[np.bool_]) -> None:
        """These cells of the frame scored last were sent."""


class Learned(Gate):
    """Ours: what telling a cell spares, for as long as the network says, and what it says of events."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self.memory: Memory | None = None
        self.quiet = QuietState.start(grid.rows, grid.cols, 0.0)
        self.before: Floats | None = None
        self.busy: Floats | None = None
        self.time_s = 0.0

    def score(self, frame: Frame, latents: Floats, canvas: Canvas) -> Floats:
        held, there, weights = dequantise(canvas.values), known(canvas.depth), load_info().sensitivity
        glimpse, self.memory = remember(self.memory, latents, frame.time_s, EDGES)
        if self.before is not None:
            restless = novelty(latents, self.before, np.ones(latents.shape, bool), weights, GateConfig())
            self.quiet = self.quiet.watched(restless, frame.time_s, GateConfig())
        self.before = latents
        question = asked(
            glimpse, latents, held, there, self.quiet.quiet_s(frame.time_s), canvas.visible().astype(np.float32), EDGES
        )
        verdict = network()(question)
        gain = spared(latents, canvas)
        new, self.busy = surprise(verdict.event, self.busy, frame.time_s - self.time_s)
        self.time_s = frame.time_s
        return gain * (SendConfig.trust * verdict.lasts_s + SendConfig.least_s) + SendConfig.alert * new * (gain > 0)


class Codes(Gate):
    """What telling a cell spares now, in the tokenizer's own latents."""

    def score(self, frame: Frame, latents: Floats, canvas: Canvas) -> Floats:
        return spared(latents, canvas)


class Pixels(Gate):
    """How far a cell's pixels are from when it was last sent."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self.last = self.blank.copy()

    def score(self, frame: Frame, latents: Floats, canvas: Canvas) -> Floats:
        self.now = blocks(frame.pixels, self.grid)
        return self.distance(self.now, self.last)

    def distance(self, now: Floats, last: Floats) -> Floats:
        """(rows, cols)."""
        raise NotImplementedError

    def sent(self, cells: NDArray[np.bool_]) -> None:
        self.last[cells] = self.now[cells]


class Luma(Pixels):
    """Difference of a cell's mean brightness."""

    def distance(self, now: Floats, last: Floats) -> Floats:
        return np.asarray(np.abs(luma(now).mean((2, 3)) - luma(last).mean((2, 3))), np.float32)  # type: ignore[arg-type]


class BlockSad(Pixels):
    """Sum of absolute differences."""

    def distance(self, now: Floats, last: Floats) -> Floats:
        return np.asarray(np.abs(now - last).sum((2, 3, 4)), np.float32)


class FrameMse(Pixels):
    """The whole frame, by its mean squared error."""

    whole = True

    def distance(self, now: Floats, last: Floats) -> Floats:
        return np.full((self.grid.rows, self.grid.cols), np.square(now - last).mean(), np.float32)


class Chance(Gate):
    """No choice at all."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self.rng = np.random.default_rng(0)

    def score(self, frame: Frame, latents: Floats, canvas: Canvas) -> Floats:
        return self.rng.uniform(0.1, 1, (self.grid.rows, self.grid.cols)).astype(np.float32)


GATES: dict[str, type[Gate]] = {
    "learned": Learned,
    "codes": Codes,
    "luma": Luma,
    "block-sad": BlockSad,
    "frame-mse": FrameMse,
    "chance": Chance,
}


def systems() -> list[System]:
    """One of each gate."""
    weights = load_info().digest.hex() + choices_of(SendConfig())
    return [
        System(
            f"gate-{name}", f"{(gate.__doc__ or '').rstrip('.')}; the best cells, all levels, no gist", choosing(gate),
            {f"{share:.0%}": share for share in SHARES}, "gates", weights=weights,
        )
        for name, gate in GATES.items()
    ]  # fmt: skip


def choosing(kind: type[Gate]) -> Callable[[float, Clip], Iterator[Known]]:
    """A system of one gate."""

    def run(share: float, clip: Clip) -> Iterator[Known]:
        gate, canvas = kind(Grid(*clip.size)), blank(Grid(*clip.size))
        visible, tokens = canvas.visible(), 0
        income = share * clip.cells
        most = max(income * clip.fps * SAVED_S, clip.cells if gate.whole else 1)
        bucket: float = clip.cells  # a first picture is everybody's
        for frame in clip:
            bucket = max(bucket, min(most, bucket + income))
            latents = encoder()(frame.pixels)
            score = np.where(visible, gate.score(frame, latents, canvas), 0)
            cells = best(score, int(bucket + 1e-6), gate.whole, clip.cells)
            if cells.any():
                edits = diff(quantise(latents), canvas, (cells * SEEN_LEVELS).astype(np.uint8))
                canvas = patch(canvas, edits, canvas.version + 1)
                gate.sent(cells)
            bucket, tokens = bucket - cells.sum(), tokens + int(cells.sum())
            yield Known(canvas=canvas, bytes=None, tokens=tokens)

    return run


def best(score: Floats, count: int, whole: bool, cells: int) -> NDArray[np.bool_]:
    """The cells to send."""
    chosen = np.zeros(score.shape, bool)
    if whole:
        return (score > 0) if count >= cells else chosen
    order = np.argsort(-score, axis=None, kind="stable")[:count]
    chosen.ravel()[order] = score.ravel()[order] > 0
    return chosen


def spared(latents: Floats, canvas: Canvas) -> Floats:
    """(rows, cols): what telling a cell whole would spare the model now."""
    loss = losses(
        latents, dequantise(quantise(latents)), dequantise(canvas.values), known(canvas.depth),
        load_info().sensitivity, EDGES, GateConfig.noise,
    )  # fmt: skip
    return np.maximum(loss.set_gain()[..., SEEN_LEVELS - 1], 0)


def blocks(pixels: NDArray[np.uint8], grid: Grid) -> Floats:
    """(rows, cols, CELL, CELL, 3), the spare row and column empty."""
    out = np.zeros((grid.rows, grid.cols, CELL, CELL, 3), np.float32)
    padded = pad_to_grid(pixels, (0, 0))
    rows, cols = padded.shape[0] // CELL, padded.shape[1] // CELL
    out[:rows, :cols] = padded.reshape(rows, CELL, cols, CELL, 3).swapaxes(1, 2)
    return out


@cache
def network() -> GateNetwork:
    """One for the process."""
    return GateNetwork()
