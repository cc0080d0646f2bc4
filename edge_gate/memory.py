"""What the gate remembers of one camera, and what its network is asked about every cell.

    latents, look by look --> Memory: the last look, slow averages, how restless each cell has been
                      |--> glimpse: what is unlike before, and unlike what is usual here ----+
    latents against what the receiver holds -------------------------------------------------+--> asked (N, rows, cols)

    chance of an event --surprise--> what of it is new here

Rain, leaves and a shaking hand are unlike the last look all the time: what is news is unlike what is usual. Averages
are over time, not over looks, so that the rate of looking does not matter. Arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_gate.novelty import GlanceState, QuietState, by_level, missed, shift_cells

Floats = NDArray[np.float32]

USUAL_S, SPREAD_S = 3.0, 5.0  # time constants of the slow averages
RESTLESS_S = (0.4, 4.0)  # of the quick and the slow average of change
BUSY_S, CALM_S = 0.6, 6.0  # how soon a place counts as busy, and how late as calm again
COARSE = 14  # latents that say roughly what a cell shows: those of the first two levels
_YOUNG = np.float32(0.05)  # averages younger than this say nothing yet
_SCALE = np.float32(0.02)  # of squared distances: below it all are alike


@dataclass(frozen=True, eq=False)
class Memory:
    """State of one camera between looks; NaN where a cell has just come into view."""

    latents: Floats  # (rows, cols, C), the last look
    usual: Floats  # (rows, cols, C), the slow average
    spread: Floats  # (rows, cols, levels), how far looks have been from that
    restless: Floats  # (rows, cols, 2), how far they have been from each other
    since_s: NDArray[np.float64]  # (rows, cols), when the cell came into view
    time_s: float

    def shifted(self, down: int, right: int) -> Memory:
        """After the grid moved by whole cells over the scene."""
        arrays = (self.latents, self.usual, self.spread, self.restless)
        latents, usual, spread, restless = (shift_cells(array, down, right, np.nan) for array in arrays)
        since_s = shift_cells(self.since_s, down, right, np.nan)
        return Memory(latents, usual, spread, restless, since_s, self.time_s)


@dataclass(frozen=True, eq=False)
class GateState:
    """All that the gate knows of one camera between two frames."""

    quiet: QuietState
    glance: GlanceState = field(default_factory=GlanceState)
    latents: Floats | None = None  # (rows, cols, C), steadied
    memory: Memory | None = None
    busy: Floats | None = None  # (rows, cols), what `surprise` remembers
    judged_s: float = 0.0  # when that was

    def shifted(self, down: int, right: int, now: float) -> GateState:
        """After the grid moved by whole cells over the scene."""
        return replace(
            self,
            quiet=self.quiet.shifted(down, right, now),
            latents=None if self.latents is None else shift_cells(self.latents, down, right, np.nan),
            memory=None if self.memory is None else self.memory.shifted(down, right),
            busy=None if self.busy is None else shift_cells(self.busy, down, right, 0.0),
        )


def remember(memory: Memory | None, latents: Floats, time_s: float, edges: tuple[int, ...]) -> tuple[Floats, Memory]:
    """What a look (rows, cols, C) shows by itself and against what was: (rows, cols, glimpse), and the new memory.

    Level n's latents are edges[n] to edges[n + 1].
    """
    rows, cols = latents.shape[:2]
    levels = len(edges) - 1
    if memory is None:
        calm = np.zeros((rows, cols, levels), np.float32)
        restless = np.zeros((rows, cols, len(RESTLESS_S)), np.float32)
        memory = Memory(latents, latents, calm, restless, np.full((rows, cols), time_s), time_s)
    last = np.where(np.isnan(memory.latents), latents, memory.latents)
    usual = np.where(np.isnan(memory.usual), latents, memory.usual)
    spread, restless = np.nan_to_num(memory.spread), np.nan_to_num(memory.restless)
    since_s = np.where(np.isnan(memory.since_s), time_s, memory.since_s)
    age_s = (time_s - since_s)[..., None]
    changed, unusual = _unlike(latents - last, edges), _unlike(latents - usual, edges)
    change = changed.mean(-1)
    around = _around(change)
    whole = [np.full_like(change, f(array)) for array in (change, unusual.mean(-1)) for f in (np.mean, np.median)]
    glimpse = np.concatenate(
        [
            _flat(changed),
            _flat(unusual),
            _flat(spread / np.maximum(_share(age_s, SPREAD_S), _YOUNG)),
            _flat(restless / np.maximum(_share(age_s, np.array(RESTLESS_S)), _YOUNG)),
            np.log1p(age_s),
            _flat(np.stack([around.max(-1), around.mean(-1), *whole], -1)),
            latents[..., :COARSE],
        ],
        -1,
    )
    passed = max(time_s - memory.time_s, 0.0)
    after = Memory(
        latents,
        usual + _share(passed, USUAL_S) * (latents - usual),
        spread + _share(passed, SPREAD_S) * (unusual - spread),
        restless + _share(passed, np.array(RESTLESS_S)) * (change[..., None] - restless),
        since_s,
        time_s,
    )
    return glimpse.astype(np.float32), after


def asked(
    glimpse: Floats,
    latents: Floats,
    held: Floats,
    known: NDArray[np.bool_],
    quiet_s: Floats,
    shown: Floats,
    edges: tuple[int, ...],
) -> Floats:
    """(N, rows, cols): all that the network is told of each cell.

    latents are seen, held (both (rows, cols, C)) is what the receiver has where it is `known`; quiet_s and shown
    (rows, cols) say for how long a cell has stood, and the share of it that is in sight.
    """
    of_held = by_level(missed(latents, held, known, 0.0), edges) / np.diff(edges)
    levels_held = known[..., list(edges[:-1])].astype(np.float32)
    of_cell = np.stack([np.log1p(quiet_s), shown], -1)
    return np.concatenate([_flat(of_held), levels_held, of_cell, glimpse], -1).transpose(2, 0, 1).astype(np.float32)


def surprise(event: Floats, busy: Floats | None, passed_s: float) -> tuple[Floats, Floats]:
    """Where something has been going on, more of it surprises nobody: what of each cell's chance is new, and how busy.

    `busy` (rows, cols) is what was remembered, None at first; what is returned is to be remembered.
    """
    before = np.zeros_like(event) if busy is None else np.nan_to_num(busy)
    share = np.where(event > before, _share(passed_s, BUSY_S), _share(passed_s, CALM_S))
    return event * np.clip(2 - 4 * before, 0, 1), (before + share * (event - before)).astype(np.float32)


def inputs(levels: int) -> int:
    """How many numbers a cell the network is asked with."""
    return 5 * levels + 2 + len(RESTLESS_S) + 1 + 6 + COARSE


def _unlike(difference: Floats, edges: tuple[int, ...]) -> Floats:
    """Mean square by level."""
    return np.asarray(by_level(np.square(difference), edges) / np.diff(edges), np.float32)


def _flat(squares: NDArray[np.floating]) -> Floats:
    return np.asarray(np.log1p(squares / _SCALE), np.float32)


def _around(change: Floats) -> Floats:
    """(rows, cols, 9): each cell and its neighbours; beyond the border nothing changes."""
    rows, cols = change.shape
    wide = np.pad(change, 1)
    return np.stack([wide[y : y + rows, x : x + cols] for y in range(3) for x in range(3)], -1)


def _share(passed_s: float | NDArray[np.float64], constant_s: float | NDArray[np.float64]) -> Floats:
    """What the newest look counts in an average; over a young cell's age, what its average has come to."""
    return np.asarray(1 - np.exp(-passed_s / constant_s), np.float32)
