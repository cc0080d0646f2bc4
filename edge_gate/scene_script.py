"""What happens in the built-in scene and when: acts on a stage, and the way the camera moves. Numbers only.

    scene_variants.write_script(variant, lap, stage) --> Script = acts + camera moves + beats
        Act.pose(t), Script.camera_at(t): pure functions of time

Places are pixels of the home frame (the view with the camera at (0, 0)), so a thing at (x, y) is seen at
(x, y) minus the camera. Times are seconds since the source began; laps follow each other without a jump.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]
"""x, y, width, height in frame pixels, inside the frame."""

Point = tuple[float, float]
Span = tuple[float, float]

SHAKE_HZ = ((0.83, 1.0), (1.71, 0.55), (3.3, 0.3), (4.6, 0.15))
STATIONS = ((-0.75, -0.25), (0.7, 0.3), (-0.1, -0.4), (0.3, 0.45))
LAMPS = ((0.86, 0.16), (0.14, 0.14), (0.86, 0.12), (0.15, 0.18))


@dataclass(frozen=True)
class Art:
    """A picture to draw: `kind` is sticker, page, lamp or story; `name` its photograph or its text."""

    kind: str
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Key:
    """Where the middle of a thing is at a moment, in home-frame pixels, and how it is turned."""

    t_s: float
    x: float
    y: float
    angle_deg: float = 0.0


@dataclass(frozen=True)
class Act:
    """One thing on the stage from `start_s` until just before `end_s`, eased from key to key.

    With `steps_hz` it moves in jumps of whole pixels at that rate instead. With `window` it is a strip as
    wide as the window that scrolls up behind it: the key's y is then the row shown first.
    """

    art: Art
    start_s: float
    end_s: float
    keys: tuple[Key, ...]
    steps_hz: float | None = None
    window: Box | None = None

    def pose(self, t: float) -> Key | None:
        """Where it is at time `t`; None when it is not on the stage."""
        if not self.start_s <= t < self.end_s:
            return None
        if self.steps_hz is not None:
            return self._stepped(math.floor(t * self.steps_hz + 1e-6) / self.steps_hz)
        return self._between(t, ease)

    def _stepped(self, t: float) -> Key:
        pose = self._between(t, lambda u: u)
        return Key(t, float(round(pose.x)), float(round(pose.y)), pose.angle_deg)

    def _between(self, t: float, easing: Callable[[float], float]) -> Key:
        after = bisect.bisect_right([key.t_s for key in self.keys], t)
        if after in (0, len(self.keys)):
            return self.keys[min(after, len(self.keys) - 1)]
        a, b = self.keys[after - 1], self.keys[after]
        u = easing((t - a.t_s) / (b.t_s - a.t_s))
        return Key(t, mix(a.x, b.x, u), mix(a.y, b.y, u), mix(a.angle_deg, b.angle_deg, u))


@dataclass(frozen=True)
class CameraMove:
    """The camera goes from one place to another, by hand: a shake of `shake_px` and a wander on the way.

    `steady` starts and ends without a jerk and without shake; otherwise speed and shake are constant.
    """

    start_s: float
    end_s: float
    start: Point
    end: Point
    shake_px: float
    wander: Point = (0.0, 0.0)
    steady: bool = True


@dataclass(frozen=True)
class Beat:
    """An event before its boxes are known: `act` is the act that it is about, None for the whole frame."""

    kind: str
    label: str
    start_s: float
    end_s: float
    act: int | None = None
    text: str = ""
    held_s: Span | None = None


@dataclass(frozen=True)
class SceneEvent:
    """Something that really happens, with its place over time.

    `kind` is pan, enter, move, turn, blink, leave or page; `track` holds (time, box) at every frame's time
    from `start_s` to `end_s`; a page also has its `text`, when it is held still, and the height of its
    capital letters.
    """

    kind: str
    label: str
    start_s: float
    end_s: float
    track: tuple[tuple[float, Box | None], ...]
    text: str = ""
    held_s: Span | None = None
    cap_height_px: float | None = None

    @cached_property
    def _times(self) -> list[float]:
        return [time_s for time_s, _ in self.track]

    def box_at(self, t: float) -> Box | None:
        """The box (x, y, w, h) in the newest frame at time `t`; None outside the event or out of view."""
        if not self.start_s <= t <= self.end_s:
            return None
        return self.track[max(0, bisect.bisect_right(self._times, t) - 1)][1]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for JSON."""
        plain = asdict(self)
        plain["track"] = [[time_s, None if box is None else list(box)] for time_s, box in self.track]
        plain["held_s"] = None if self.held_s is None else list(self.held_s)
        return plain


@dataclass(frozen=True)
class Stage:
    """What a script is written for: the frame, how far the camera may go from home, rate and seed."""

    width: int
    height: int
    slack_x: float
    slack_y: float
    fps: float
    seed: int

    @property
    def short(self) -> int:
        """The shorter side of the frame; sizes and speeds are fractions of it."""
        return min(self.width, self.height)

    @property
    def shake_px(self) -> float:
        """How far a hand shakes: about a pixel at 256x256."""
        return self.short / 256

    def station(self, number: int) -> Point:
        """The place where the camera stands, in home-frame pixels."""
        x, y = STATIONS[number % len(STATIONS)]
        return x * self.slack_x, y * self.slack_y

    def lamp(self, number: int) -> Point:
        """The lamp that is in view from a station."""
        (x, y), (u, v) = self.station(number), LAMPS[number % len(LAMPS)]
        return x + u * self.width, y + v * self.height


@dataclass(frozen=True)
class Script:
    """One lap: acts (drawn in this order), camera moves in time order, and beats."""

    start_s: float
    end_s: float
    home: Point
    acts: tuple[Act, ...] = ()
    moves: tuple[CameraMove, ...] = ()
    beats: tuple[Beat, ...] = ()

    def camera_at(self, t: float, seed: int) -> Point:
        """The camera's place at time `t`; it rests where the last move ended."""
        x, y = self.home
        for move in self.moves:
            if t >= move.end_s:
                x, y = move.end
            elif t >= move.start_s:
                return _on_the_way(move, t, seed)
        return x, y

    def still_spans(self, at_least_s: float = 1.0) -> list[Span]:
        """Spans in which nothing moves but nuisances: from start to just before end."""
        busy: list[Span] = [(m.start_s, m.end_s) for m in self.moves]
        for beat in self.beats:
            held = beat.held_s or (beat.end_s, beat.end_s)
            busy += [(beat.start_s, held[0]), (held[1], beat.end_s)]
        spans, since = [], self.start_s
        for start, end in sorted([*busy, (self.end_s, self.end_s)]):
            if start - since >= at_least_s - 1e-9:
                spans.append((since, start))
            since = max(since, end)
        return spans


def ease(u: float) -> float:
    """From 0 to 1 with no speed at either end."""
    return u * u * (3.0 - 2.0 * u)


def mix(a: float, b: float, u: float) -> float:
    """`a` at u = 0, `b` at u = 1."""
    return a + (b - a) * u


def shake(t: float, seed: int) -> Point:
    """A hand's tremor at time `t`: smooth, about one pixel, different for every seed."""
    phases = np.random.default_rng([seed, 3]).uniform(0.0, math.tau, (2, len(SHAKE_HZ)))
    x, y = (sum(a * math.sin(math.tau * f * t + p) for (f, a), p in zip(SHAKE_HZ, row, strict=True)) for row in phases)
    return float(x), float(y)


def _on_the_way(move: CameraMove, t: float, seed: int) -> Point:
    u = (t - move.start_s) / (move.end_s - move.start_s)
    far = ease(u) if move.steady else u
    loose = min(1.0, 4.0 * u, 4.0 * (1.0 - u)) if move.steady else 1.0
    dx, dy = shake(t, seed)
    by_hand = ease(loose) * move.shake_px
    swing_x, swing_y = math.sin(math.pi * u) ** 2, math.sin(math.pi * u) ** 2 * math.sin(math.tau * u)
    x = mix(move.start[0], move.end[0], far) + by_hand * dx + move.wander[0] * swing_x
    y = mix(move.start[1], move.end[1], far) + by_hand * dy + move.wander[1] * swing_y
    return x, y
