"""Which moments of a stream are worth a picture: for models that take pictures only, and few of them. Sans-IO.

    canvas, time, alarm --unlike the last one chosen?--> waiting, the newest only --bucket--> kept, the last N

The budget is a token bucket: over any window of T seconds at most `burst + T * per_minute / 60` moments are chosen.
`reserve` of its places are left to alarms and to questions. No queue: where there is no room one moment waits, and a
newer one takes its place, unless it shows an event and the newer one does not. A moment keeps its canvas; nothing is
drawn here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from vidtok.canvas import Canvas
from vidtok.tokenizer.fsq import EDGES, GIST_EDGES

MOST_STEPS = 2  # a value that is so many steps off is wholly new: one step may be noise


@dataclass(frozen=True)
class KeyframeConfig:
    """How many pictures, and how new one must be."""

    per_minute: float = 6.0
    burst: int = 3  # at once, after a time of rest
    reserve: int = 1  # of these, for alarms and questions only
    keep: int = 8  # chosen moments remembered
    news: float = 0.12  # unlike the last one chosen by so much, from 0 to 1: worth a picture
    gap_s: float = 1.0  # at least, from one to the next: cells are told coarsely at first; questions do not wait
    settled: float = 0.05  # alike enough that what came later shows the same moment, only better

    def __post_init__(self) -> None:
        if not (self.per_minute > 0 and math.isfinite(self.per_minute)):
            raise ValueError(f"per_minute {self.per_minute:g}: give a number of pictures above 0")
        if not 0 <= self.reserve < self.burst:
            raise ValueError(f"reserve {self.reserve} leaves nothing of a burst of {self.burst}: give less")
        if self.keep < 1:
            raise ValueError(f"keep {self.keep}: at least one moment is remembered")


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One chosen moment."""

    number: int  # counts those chosen, from 1; a moment that is shown better keeps its own
    time_s: float
    canvas: Canvas
    alarm: bool


class Bucket:
    """A token bucket that starts full. Its clock never runs backwards."""

    def __init__(self, per_s: float, size: int) -> None:
        self._per_s, self._size = per_s, size
        self._level, self._since = float(size), -math.inf

    def take(self, now: float, leave: int = 0) -> bool:
        """Take one if so many are left afterwards."""
        if now > self._since:
            if math.isfinite(self._since):
                self._level = min(self._size, self._level + (now - self._since) * self._per_s)
            self._since = now
        if self._level < 1 + leave:
            return False
        self._level -= 1
        return True


class KeyframeChooser:
    """Is told of every canvas; keeps the few moments that are worth a picture."""

    def __init__(self, config: KeyframeConfig = KeyframeConfig()) -> None:
        self.config = config
        self._bucket = Bucket(config.per_minute / 60, config.burst)
        self._kept: deque[Keyframe] = deque(maxlen=config.keep)
        self._waiting: Keyframe | None = None
        self._newest: Keyframe | None = None
        self._shown = 0  # the last number that was handed out: its canvas stays as it is
        self._count = 0
        self._alarm = False  # whether the last canvas was one of an event
        self._last_s = -math.inf  # when something was chosen

    @property
    def chosen(self) -> tuple[Keyframe, ...]:
        """The moments remembered, oldest first."""
        return tuple(self._kept)

    def see(self, canvas: Canvas, now: float, alarm: bool = False) -> None:
        """A new canvas, and whether the gate calls it an event; one that goes on is no new event."""
        onset, self._alarm = alarm and not self._alarm, alarm
        if not canvas.depth.any():
            return  # nothing is known yet
        self._newest = Keyframe(0, now, canvas, onset)
        self._wait(self._newest, self._news_of(canvas))
        self.tick(now)

    def _wait(self, moment: Keyframe, news: float) -> None:
        """The newest takes the place of what waits; an event's moment gives way to another event's only."""
        waiting = self._waiting
        if waiting is not None and waiting.alarm and not moment.alarm:
            return
        if moment.alarm or news >= self.config.news or (waiting is not None and news > self.config.settled):
            self._waiting = moment
        elif news <= self.config.settled:
            self._waiting = None  # what was new has gone again
            self._show_better(moment.canvas)

    def tick(self, now: float) -> None:
        """Time has passed: what waits is chosen as soon as the budget has room."""
        waiting = self._waiting
        if waiting is None or now < self._last_s + self.config.gap_s:
            return
        if self._bucket.take(now, 0 if waiting.alarm else self.config.reserve):
            self._keep(waiting, now)

    def for_question(self, now: float, most: int) -> tuple[Keyframe, ...]:
        """The last moments, at most so many, oldest first; with how it looks now, if that is new and the budget allows.

        What is handed out will not change any more.
        """
        newest = self._newest
        news = 0.0 if newest is None else self._news_of(newest.canvas)
        if newest is not None and news > self.config.settled and self._bucket.take(now):
            self._keep(newest, now)
        out = tuple(self._kept)[-most:]
        if out:
            self._shown = out[-1].number
        return out

    def _news_of(self, canvas: Canvas) -> float:
        return unlike(self._kept[-1].canvas, canvas) if self._kept else 1.0

    def _keep(self, moment: Keyframe, now: float) -> None:
        self._count, self._last_s = self._count + 1, now
        self._kept.append(replace(moment, number=self._count))
        self._waiting = None

    def _show_better(self, canvas: Canvas) -> None:
        """Cells are told coarsely at first: while the scene stays, the last moment is shown by what is known by now."""
        last = self._kept[-1]
        if last.number > self._shown:
            self._kept[-1] = replace(last, canvas=canvas)


def unlike(before: Canvas, after: Canvas) -> float:
    """How much two canvases of a stream differ in what they show, 0 to 1: by cells or by gist, whichever is more.

    First levels only: a scene that is merely better known is the same. Cells are compared where they lie in the scene.
    """
    if before.grid != after.grid:
        return 1.0
    there = before.panned(*(b - a for a, b in zip(before.position, after.position, strict=True)))
    off = _off(there.values[..., : EDGES[1]], after.values[..., : EDGES[1]])
    known = np.minimum(there.depth, after.depth) > 0
    cells = np.where(known, off, np.maximum(there.depth, after.depth) > 0)[after.visible()]
    gist = float(_off(before.gist[: GIST_EDGES[1]], after.gist[: GIST_EDGES[1]]))
    if not before.gist_depth or not after.gist_depth:
        gist = 0.0
    return max(float(cells.mean()), gist)


def _off(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., n) values each -> (...): how far they are from each other, 0 to 1."""
    steps = np.abs(a.astype(np.int16) - b.astype(np.int16))
    return np.asarray(np.minimum(steps, MOST_STEPS).mean(-1) / MOST_STEPS)
