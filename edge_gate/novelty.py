"""The gate: what in this frame is news to the receiver?

    frame --Glance (a thumbnail, no network)--> has anything moved at all? --no--> nothing runs, nothing is sent
                                                        |yes
    latents seen now, canvas's values as latents --novelty--> a score per cell, 0 to 1
                                              --losses--> what every edit would spare the model

Version 0 of the score is not learned end to end: it is the distance between what the tokenizer sees and what the
canvas holds, in the tokenizer's own latents (which were trained to ignore sensor noise and exposure), each latent
weighted by how much the model's features depend on it. Arrays in, arrays out; no network runtime here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import TICK_S

Floats = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

GLANCE_BLOCK = 8  # pixels on a side of a thumbnail's pixel
UNKNOWN_NOVELTY = np.float32(1.0)
_EVERY_OTHER = np.uint64(0x00FF00FF00FF00FF)  # bytes
_OTHER_COLOUR = 0.6  # what a change of one colour counts, against one of all three


@dataclass(frozen=True)
class GateConfig:
    """The gate's settings; distances are weighted mean squares of latents that span -1 to 1."""

    floor: float = 0.05  # what rounding to values and a noisy sensor cost: no news at all
    scale: float = 0.1  # how fast the score rises above the floor
    news: float = 0.5  # score from which a cell may have moved here from elsewhere
    noise: float = 0.03  # squared difference of a latent that a noisy sensor explains
    calm: float = 0.15  # score under which a cell counts as quiet
    jump: float = 0.1  # from one look to the next, beyond which a cell is not averaged but taken as it is
    gist_jump: float = 0.01  # the same for the gist, which noise moves less
    blend: float = 0.35  # share of the newest look in the average of what has not jumped
    glance: float = 3.0  # brightness levels that a thumbnail pixel must change by to wake the tokenizer
    look_every_s: float = 1.0  # the tokenizer looks this long after the glance woke it, whatever the glance says
    look_at_least_s: float = 16.0  # then after twice as long each time, up to this
    coverage: float = 0.25  # share of a cell that must be in the frame: no more than the last corner at rest has


def novelty(latents: Floats, held: Floats, known: NDArray[np.bool_], weights: Floats, config: GateConfig) -> Floats:
    """(rows, cols) scores from 0 to 1: how new each cell is to whoever holds the canvas.

    latents (rows, cols, C) are seen now; held (rows, cols, C) the canvas's; known (rows, cols, C) says what of it is
    real; weights (C,) say how much each latent counts. Cells of which nothing is known score one.
    """
    distance = weighted_distance(latents, held, known, weights)
    score = 1 - np.exp(-np.maximum(distance - np.float32(config.floor), 0) / np.float32(config.scale))
    return np.where(known.any(-1), score, UNKNOWN_NOVELTY).astype(np.float32)


def weighted_distance(latents: Floats, held: Floats, known: NDArray[np.bool_], weights: Floats) -> Floats:
    """(...): mean squared difference over what is known of (..., C), each latent by its weight; zero if nothing is."""
    shares = weights * known
    return (np.square(latents - held) * shares).sum(-1) / np.maximum(shares.sum(-1), np.float32(1e-6))


@dataclass(frozen=True, eq=False)
class Losses:
    """How far the model's knowledge of each cell is from what is seen, level by level, all (rows, cols, levels).

    Weighted squared distances, so that they add up; a level that is not held reads as zeros.
    """

    now: Floats  # as the canvas stands; what noise explains does not count
    blank: Floats  # were the level not held
    told: Floats  # were it told now

    def set_gain(self) -> Floats:
        """(rows, cols, levels): what is spared by setting a cell afresh to 1, 2, ... levels."""
        after = self.blank.sum(-1, keepdims=True) - np.cumsum(self.blank - self.told, -1)
        return self.now.sum(-1, keepdims=True) - after

    def refine_gain(self, depth: NDArray[np.uint8]) -> Floats:
        """(rows, cols, levels): what is spared by refining a cell from its `depth` levels to 1, 2, ... levels."""
        missing = np.arange(self.blank.shape[-1]) >= depth[..., None]
        return np.cumsum(np.where(missing, self.blank - self.told, 0), -1)


def losses(
    latents: Floats,
    rounded: Floats,
    held: Floats,
    known: NDArray[np.bool_],
    weights: Floats,
    edges: tuple[int, ...],
    noise: float,
) -> Losses:
    """Weigh what is seen against what the canvas holds.

    latents, rounded (what would be told), held and known (what of `held` is real) are (rows, cols, C); weights (C,);
    level n's numbers are edges[n] to edges[n + 1]; a squared difference of `noise` from what is held is none.
    """
    blank = by_level(np.square(latents) * weights, edges)
    told = np.minimum(by_level(np.square(latents - rounded) * weights, edges), blank)
    return Losses(by_level(missed(latents, held, known, noise) * weights, edges), blank, told)


def by_level(numbers: Floats, edges: tuple[int, ...]) -> Floats:
    """(..., levels): the sum of (..., C) on each level."""
    return np.asarray(np.add.reduceat(numbers, edges[:-1], axis=-1), np.float32)


def renewal(latents: Floats, rounded: Floats, held: Floats, known: NDArray[np.bool_], noise: float) -> Floats:
    """What telling each number of the gist anew takes away of its squared distance, all arrays (N,)."""
    return np.asarray(missed(latents, held, known, noise) - np.square(latents - rounded), np.float32)


def missed(latents: Floats, held: Floats, known: NDArray[np.bool_] | np.bool_, noise: float) -> Floats:
    """Squared distance of each number from what is held of it, less what noise explains; from zero if nothing is."""
    return np.where(known, np.maximum(np.square(latents - held) - np.float32(noise), 0), np.square(latents))


def steady(before: Floats | None, latents: Floats, weights: Floats, jump: float, blend: float) -> Floats:
    """Latents averaged over looks where nothing happens, so that noise is not sent; taken anew where something does.

    `latents` are (..., C): cells (rows, cols, C), or a gist. `before` is what this returned last time, moved with the
    grid; NaN where a cell came into view.
    """
    if before is None:
        return latents
    everything = np.ones(latents.shape, bool)
    calm = weighted_distance(latents, before, everything, weights) < jump  # NaN compares as not calm
    mixed = before + np.float32(blend) * (latents - before)
    return np.where(calm[..., None], mixed, latents).astype(np.float32)


def shift_cells(array: NDArray[T], down: int, right: int, fill: float) -> NDArray[T]:
    """The array after the grid moved by whole cells over the scene; cells that came into view hold `fill`."""
    out = np.full_like(array, fill)
    rows, cols = array.shape[:2]
    if abs(down) < rows and abs(right) < cols:
        to = (slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), cols - max(0, right)))
        source = (slice(max(0, down), rows + min(0, down)), slice(max(0, right), cols + min(0, right)))
        out[to] = array[source]
    return out


def coverage(size: tuple[int, int], offset: tuple[int, int], cell: int) -> Floats:
    """(rows, cols): the share of each cell that a frame of `size` (width, height), `offset` into the grid, shows."""
    across, down = (_axis_coverage(side, start, cell) for side, start in zip(size, offset, strict=True))
    return np.outer(down, across).astype(np.float32)


def _axis_coverage(side: int, start: int, cell: int) -> NDArray[np.float64]:
    """The share of each cell along one axis, the spare one at the end included."""
    first = np.arange(-(-side // cell) + 1) * cell
    shown = np.minimum(first + cell, start + side) - np.maximum(first, start)
    return np.maximum(shown, 0) / cell


@dataclass(frozen=True)
class GlanceState:
    """The thumbnail at the last look, when that was, and how long after it the next is due whatever happens."""

    thumbnail: Floats | None = None  # (rows, cols, 3)
    looked_s: float = -np.inf
    wait_s: float = 0.0
    woken: bool = False  # whether that look was for a change, and not because it was time


def thumbnail(pixels: NDArray[np.uint8]) -> Floats:
    """(H // 8, W // 8, 3): the mean of each block of a frame (H, W, 3); what does not fill a block is cut off."""
    n = GLANCE_BLOCK
    rows, cols = pixels.shape[0] // n, pixels.shape[1] // n
    whole = np.ascontiguousarray(pixels[: rows * n, : cols * n])
    packed = whole.reshape(rows, n, cols * n * 3).view(np.uint64)  # eight bytes at a time, four to a sum
    sums = np.empty((rows, cols * n * 3 // 2, 2), np.uint16)
    for odd in (0, 1):
        lines = ((packed[:, line] >> np.uint64(8 * odd)) & _EVERY_OTHER for line in range(n))
        sums[..., odd] = functools.reduce(np.add, lines).view(np.uint16)
    blocks = sums.reshape(rows, cols, n, 3)
    return functools.reduce(np.add, (blocks[:, :, k] for k in range(n))).astype(np.float32) / np.float32(n * n)


def glance(state: GlanceState, small: Floats, now: float, config: GateConfig) -> tuple[bool, GlanceState]:
    """Is a closer look due? `small` is the frame's thumbnail; the state moves on only when it is.

    A change of exposure lifts the whole picture alike, mains flicker whole rows of it: both are taken out before
    comparing.
    """
    before = state.thumbnail
    if before is None or before.shape != small.shape:
        return True, GlanceState(small, now, config.look_every_s)
    changed = small - before * _gain(small[..., 1], before[..., 1])[:, None, None]
    brighter = float(np.abs(changed.mean(-1)).max())
    if max(brighter, _OTHER_COLOUR * float(np.abs(changed).max())) >= config.glance:
        return True, GlanceState(small, now, config.look_every_s, woken=True)
    if now - state.looked_s >= state.wait_s - TICK_S:
        return True, GlanceState(small, now, min(2 * state.wait_s, config.look_at_least_s))
    return False, state


def _gain(now: Floats, before: Floats) -> Floats:
    """(rows,): how much brighter each row has become: the median over its places, which count by how bright they were.

    In the dark a ratio is mostly noise, and the bright places beside it would be held to it.
    """
    weights = np.maximum(before, 1)
    ratios = now / weights
    order = np.argsort(ratios, 1)
    heavier = np.cumsum(np.take_along_axis(weights, order, 1), 1) * 2 >= weights.sum(1, keepdims=True)
    middle = np.take_along_axis(order, heavier.argmax(1)[:, None], 1)
    return np.asarray(np.take_along_axis(ratios, middle, 1)[:, 0], np.float32)


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
        return QuietState(shift_cells(self.since, down, right, now))
