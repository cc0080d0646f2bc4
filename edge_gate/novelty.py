"""The gate: what in this frame is news to the receiver?

    luma --Glance (a thumbnail, no network)--> has anything moved at all? --no--> nothing runs, nothing is sent
                                                        |yes
    latents seen now, canvas's codes as latents --novelty--> a score per cell, 0 to 1

Version 0 of the score is not learned end to end: it is the distance between what the tokenizer sees and what the
canvas holds, in the tokenizer's own latents (which were trained to ignore sensor noise and exposure), each latent
weighted by how much the model's features depend on it. Arrays in, arrays out; no network runtime here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_gate.motion import shrink

Floats = NDArray[np.float32]

TICK_S = 1e-3  # times closer than this are the same moment
GLANCE_BLOCK = 8  # pixels on a side of a thumbnail's pixel
UNKNOWN_NOVELTY = np.float32(1.0)


@dataclass(frozen=True)
class GateConfig:
    """The gate's settings; distances are weighted mean squares of latents that span -1 to 1."""

    floor: float = 0.022  # what rounding to codes and a noisy sensor cost: no news at all
    scale: float = 0.05  # how fast the score rises above the floor
    news: float = 0.2  # score from which a cell is worth sending
    calm: float = 0.05  # score under which a cell counts as quiet
    glance: float = 2.5  # brightness levels that a thumbnail pixel must change by to wake the tokenizer
    look_every_s: float = 1.0  # the tokenizer looks this often whatever the glance says
    coverage: float = 0.3  # share of a cell that must be in the frame


def novelty(latents: Floats, held: Floats, depth: NDArray[np.uint8], weights: Floats, config: GateConfig) -> Floats:
    """(rows, cols) scores from 0 to 1: how new each cell is to whoever holds the canvas.

    latents (rows, cols, C) are seen now; held (rows, cols, C) the canvas's; depth (rows, cols) says how many levels of
    it are real; weights (levels, C / levels) say how much each latent counts. Cells never seen score one.
    """
    levels, size = weights.shape
    known = np.arange(levels) < depth[..., None]  # (rows, cols, levels)
    shares = (weights * known[..., None]).reshape(*depth.shape, levels * size)
    distance = (np.square(latents - held) * shares).sum(-1) / np.maximum(shares.sum(-1), np.float32(1e-6))
    score = 1 - np.exp(-np.maximum(distance - np.float32(config.floor), 0) / np.float32(config.scale))
    return np.where(depth > 0, score, UNKNOWN_NOVELTY).astype(np.float32)


def coverage(rows: int, cols: int, offset: tuple[int, int], cell: int) -> Floats:
    """(rows, cols): the share of each cell of a grid with one spare row and column that the frame shows."""
    across = _axis_coverage(cols, offset[0], cell)
    down = _axis_coverage(rows, offset[1], cell)
    return np.outer(down, across).astype(np.float32)


def _axis_coverage(cells: int, offset: int, cell: int) -> NDArray[np.float64]:
    share = np.ones(cells)
    share[0] -= offset / cell
    share[-1] = offset / cell
    return share


@dataclass(frozen=True)
class GlanceState:
    """The thumbnail at the tokenizer's last look, and when that was."""

    thumbnail: Floats | None = None  # (rows, cols)
    looked_s: float = -np.inf


def glance(state: GlanceState, picture: Floats, now: float, config: GateConfig) -> tuple[bool, GlanceState]:
    """Is a closer look due? `picture` is full-size luma; the state moves on only when it is.

    A change of exposure or mains flicker lifts the whole picture alike and is taken out before comparing.
    """
    small = shrink(picture, GLANCE_BLOCK)
    before = state.thumbnail
    if before is None or before.shape != small.shape or now - state.looked_s >= config.look_every_s - TICK_S:
        return True, GlanceState(small, now)
    gain = np.median(small) / max(float(np.median(before)), 1.0)
    change = float(np.abs(small - before * np.float32(gain)).max())
    if change < config.glance:
        return False, state
    return True, GlanceState(small, now)


@dataclass(frozen=True)
class QuietState:
    """How long each cell has shown nothing new: what refinement waits for."""

    since: NDArray[np.float64]  # (rows, cols), time of the last restlessness

    @classmethod
    def start(cls, rows: int, cols: int, now: float) -> QuietState:
        """Everything restless at `now`."""
        return cls(np.full((rows, cols), now))

    def watched(self, score: Floats, now: float, config: GateConfig) -> QuietState:
        """The state after a look: cells above `calm` start waiting anew."""
        return replace(self, since=np.where(score > config.calm, now, self.since))

    def quiet_s(self, now: float) -> Floats:
        """(rows, cols): seconds of quiet."""
        return (now - self.since).astype(np.float32)

    def shifted(self, down: int, right: int, now: float) -> QuietState:
        """The state after the grid moved by whole cells; cells that came into view have just been restless."""
        out = np.full_like(self.since, now)
        rows, cols = self.since.shape
        if abs(down) < rows and abs(right) < cols:
            to = (slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), cols - max(0, right)))
            source = (slice(max(0, down), rows + min(0, down)), slice(max(0, right), cols + min(0, right)))
            out[to] = self.since[source]
        return QuietState(out)


@dataclass(frozen=True)
class GateState:
    """All that the gate remembers of one camera."""

    glance: GlanceState = field(default_factory=GlanceState)
    quiet: QuietState | None = None
