"""The built-in scene's variants: who comes on stage, when, and where the camera goes, one lap at a time.

tour      the camera looks around, turns, a picture walks through, a lamp blinks, a note is held up
still     a tripod, and nothing ever happens
handheld  a hand's shake, and nothing else
pan       three pixels a frame along a wall of pictures
events    planted events of 50 ms to 2 s, small to large, on a tripod
scroll    text scrolls and a picture slides, whole cells at a time, in front of a plain wall
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_gate.scene_script import STATIONS, Act, Art, Beat, Box, CameraMove, Key, Point, Script, Stage

PORTRAITS = ("astronaut", "coffee", "cat")
NOTES = (
    "Meet me at\nplatform 9\ntrain 17:45\nseat 23 B",
    "Shopping\n6 eggs, milk\n2 lemons\nbread, tea",
    "Wi-Fi password\nblue-harbor-72\nvalid until\n31 October",
    "Call Dr. Ruiz\nat 10:30 about\nthe red bike\n555 0142",
    "Parcel no.\nKX 4081 77\npick up after\n3 pm, door C",
)
STORY = (
    "The tide came in",
    "at half past four.",
    "Nobody had moved",
    "the little boat,",
    "so it floated off",
    "past the pier and",
    "turned to the west.",
    "A dog on the wall",
    "watched it go, and",
    "barked only once.",
    "By six the harbour",
    "was quiet again.",
)


def write_script(variant: str, lap: int, stage: Stage) -> Script:
    """The script of one lap; the same arguments give the same script."""
    length_s = LAP_S[variant]
    return _WRITERS[variant](stage, lap, _Clock(lap * length_s, length_s))


@dataclass(frozen=True)
class _Clock:
    """Turns seconds of a lap into seconds of the source, free of rounding dust."""

    start_s: float
    length_s: float

    def __call__(self, s: float) -> float:
        return round(self.start_s + s, 6)


def _tour(stage: Stage, lap: int, at: _Clock) -> Script:
    here, there = _stations_of(stage, lap)
    a, b = stage.station(here), stage.station(there)
    wander = (0.1 * stage.width * (1 if a[0] < 0 else -1), 0.12 * stage.slack_y)
    moves = (
        CameraMove(at(0.0), at(2.0), a, a, stage.shake_px, wander),
        CameraMove(at(5.0), at(7.0), a, b, stage.shake_px),
    )
    rng = np.random.default_rng([stage.seed, lap, 1])
    lamps, flashes = _flashes(stage, there, at)
    walk, walked = _walk(stage, b, at, rng, number=len(lamps))
    page, shown = _page(stage, b, at, rng, number=len(lamps) + 1)
    pans = (
        Beat("pan", "the camera looks around", at(0.0), at(2.0)),
        Beat("pan", "the camera turns to another place", at(5.0), at(7.0)),
    )
    beats = sorted((*pans, *flashes, *walked, shown), key=lambda beat: beat.start_s)
    return Script(at(0.0), at(at.length_s), a, (*lamps, walk, page), moves, tuple(beats))


def _stations_of(stage: Stage, lap: int) -> tuple[int, int]:
    """Where a lap's camera starts and ends: never the same place, and the next lap starts where it ended."""
    stride = 1 if stage.seed % 2 == 0 else 3
    return (stage.seed + stride * lap) % len(STATIONS), (stage.seed + stride * (lap + 1)) % len(STATIONS)


def _flashes(stage: Stage, station: int, at: _Clock) -> tuple[list[Act], list[Beat]]:
    x, y = stage.lamp(station)
    side = lamp_side(stage.short)
    acts: list[Act] = []
    beats: list[Beat] = []
    for start in (10.6, 11.1, 11.6):
        on, off = at(start), at(start + 0.3)
        beats.append(Beat("blink", "a lamp lights up", on, off, len(acts)))
        acts.append(Act(Art("lamp", "", side, side), on, off, (Key(on, x, y),)))
    return acts, beats


def _walk(stage: Stage, b: Point, at: _Clock, rng: np.random.Generator, number: int) -> tuple[Act, list[Beat]]:
    """A sticker comes in from a side, crosses, turns, rests and goes out on the other side."""
    side = round(0.4 * stage.short)
    name = str(rng.choice(PORTRAITS))
    mirror = bool(rng.integers(2))
    turn = float(rng.uniform(25.0, 40.0)) * float(rng.choice((-1.0, 1.0)))
    low, high = float(rng.uniform(0.6, 0.68)), float(rng.uniform(0.5, 0.56))

    def key(s: float, u: float, v: float, angle: float = 0.0) -> Key:
        across = (1.0 - u if mirror else u) * stage.width
        return Key(at(s), b[0] + across, b[1] + v * stage.height, angle)

    out = (0.72 * side + 2.0) / stage.width
    keys = (
        key(7.2, -out, low),
        key(8.2, 0.3, low),
        key(9.4, 0.6, high),
        key(10.2, 0.6, high, turn),
        key(12.2, 0.6, high, turn),
        key(13.2, 1.0 + out, high, turn),
    )
    act = Act(Art("sticker", name, side, side), at(7.2), at(13.2), keys)
    beats = [
        Beat(kind, f"a picture of {_a(name)} {does}", at(start), at(end), number)
        for kind, does, start, end in (
            ("enter", "comes in", 7.2, 8.2),
            ("move", "moves across", 8.2, 9.4),
            ("turn", "turns", 9.4, 10.2),
            ("leave", "leaves", 12.2, 13.2),
        )
    ]
    return act, beats


def _page(stage: Stage, b: Point, at: _Clock, rng: np.random.Generator, number: int) -> tuple[Act, Beat]:
    """A note is lifted into view, settles, is held still for 4.1 s and taken away."""
    width = round(min(0.86 * stage.width, 1.1 * stage.height))
    height = round(0.72 * width)
    text = str(rng.choice(NOTES))
    tilt = float(rng.uniform(-1.5, 1.5))
    x, y = b[0] + 0.5 * stage.width, b[1] + 0.5 * stage.height
    below = b[1] + stage.height + 0.56 * height + 4.0
    keys = (
        Key(at(13.4), x - 0.06 * width, below, tilt + 5.0),
        Key(at(14.1), x + 0.015 * width, y - 0.02 * height, tilt - 1.0),
        Key(at(14.5), x, y, tilt),
        Key(at(18.6), x, y, tilt),
        Key(at(19.2), x + 0.05 * width, below, tilt - 4.0),
    )
    act = Act(Art("page", text, width, height), at(13.4), at(19.2), keys)
    held = (at(14.5), at(18.6))
    return act, Beat("page", "a note is held up", at(13.4), at(19.2), number, text, held)


def _still(stage: Stage, lap: int, at: _Clock) -> Script:
    return Script(at(0.0), at(at.length_s), stage.station(stage.seed))


def _handheld(stage: Stage, lap: int, at: _Clock) -> Script:
    place = stage.station(stage.seed)
    move = CameraMove(at(0.0), at(at.length_s), place, place, stage.shake_px, steady=False)
    return Script(at(0.0), at(at.length_s), place, moves=(move,))


def _pan(stage: Stage, lap: int, at: _Clock) -> Script:
    """Three pixels a frame to the right, for ever; the background repeats."""
    start, end = at(0.0), at(at.length_s)
    a, b = (3.0 * stage.fps * start, 0.0), (3.0 * stage.fps * end, 0.0)
    move = CameraMove(start, end, a, b, stage.shake_px, steady=False)
    beat = Beat("pan", "the camera pans along a wall of pictures", start, end)
    return Script(start, end, a, moves=(move,), beats=(beat,))


EVENT_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
EVENT_SIZES = (0.06, 0.1, 0.16, 0.25, 0.36)


def _events(stage: Stage, lap: int, at: _Clock) -> Script:
    """Short events one after the other, every one of them in at least one frame."""
    rng = np.random.default_rng([stage.seed, lap, 2])
    place = stage.station(stage.seed)
    acts: list[Act] = []
    beats: list[Beat] = []
    lengths: list[float] = []
    t = float(rng.uniform(1.0, 2.0))
    while t < at.length_s - 4.0:
        lengths = lengths or list(rng.permutation(EVENT_S))
        start = math.ceil(at(t) * stage.fps - 1e-6) / stage.fps
        end = round(start + float(lengths.pop()), 6)
        act, beat = _planted(stage, place, start, end, rng, len(acts))
        acts.append(act)
        beats.append(beat)
        t = end - at.start_s + float(rng.uniform(1.0, 2.0))
    return Script(at(0.0), at(at.length_s), place, tuple(acts), (), tuple(beats))


def _planted(
    stage: Stage, place: Point, start: float, end: float, rng: np.random.Generator, number: int
) -> tuple[Act, Beat]:
    kind = str(rng.choice(("enter", "move", "blink")))
    side = max(12, round(float(rng.choice(EVENT_SIZES)) * stage.short))
    name = str(rng.choice(PORTRAITS))
    room = (stage.width - side) / 2
    go = min(0.3 * stage.width * (end - start), 0.35 * stage.width, room) if kind == "move" else 0.0
    x = place[0] + float(rng.uniform(side / 2 + go, stage.width - side / 2 - go))
    y = place[1] + float(rng.uniform(side / 2, stage.height - side / 2))
    go *= float(rng.choice((-1.0, 1.0)))
    art = Art("lamp", "", side, side) if kind == "blink" else Art("sticker", name, side, side)
    keys = (Key(start, x, y), Key(end, x + go, y)) if go else (Key(start, x, y),)
    what = "a lamp lights up" if kind == "blink" else f"a picture of {_a(name)} shows"
    return Act(art, start, end, keys), Beat(kind, what, start, end, number)


def _scroll(stage: Stage, lap: int, at: _Clock) -> Script:
    """Text scrolls for six seconds of eight and a sticker slides by under it, in steps of whole cells."""
    window = story_window(stage.width, stage.height)
    rows = 60 * 16
    story = Act(
        Art("story", "", window[2], story_rows(window[2])),
        at(0.0),
        at(at.length_s),
        (Key(at(0.0), 0.0, lap * rows), Key(at(6.0), 0.0, (lap + 1) * rows)),
        steps_hz=10.0,
        window=window,
    )
    rng = np.random.default_rng([stage.seed, lap, 4])
    slide, slid = _slide(stage, at, str(rng.choice(PORTRAITS)), number=1)
    scrolls = Beat("move", "text scrolls up", at(0.0), at(6.0), 0, "\n".join(STORY))
    beats = sorted((scrolls, *slid), key=lambda beat: beat.start_s)
    return Script(at(0.0), at(at.length_s), (0.0, 0.0), (story, slide), (), tuple(beats))


def _slide(stage: Stage, at: _Clock, name: str, number: int) -> tuple[Act, list[Beat]]:
    side = max(2, round(0.27 * stage.height / 16)) * 16
    top = (stage.height - side) // 16 * 16
    step = 16 * math.ceil((stage.width + side) / (16 * 40))
    enters, crosses = math.ceil(side / step), math.ceil((stage.width + side) / step)
    times = [at(1.0 + 0.1 * n) for n in (0, enters, crosses - enters, crosses)]
    y, x = top + side / 2, -side / 2
    keys = (Key(times[0], x, y), Key(times[3], x + step * crosses, y))
    act = Act(Art("sticker", name, side, side), times[0], times[3], keys, steps_hz=10.0)
    words = (("enter", "comes in"), ("move", "slides along"), ("leave", "leaves"))
    beats = [
        Beat(kind, f"a picture of {_a(name)} {does}", times[n], times[n + 1], number)
        for n, (kind, does) in enumerate(words)
    ]
    return act, beats


def story_window(width: int, height: int) -> Box:
    """Where the scrolling text is seen: whole cells, the upper part of the frame."""
    side = max(2, round(0.27 * height / 16)) * 16
    return 16, 0, (width - 32) // 16 * 16, (height - side) // 16 * 16


def story_rows(width: int) -> int:
    """How long the scrolling text is before it repeats: a cell a line, or more where letters are larger."""
    return len(STORY) * 16 * max(1, round(width / 160))


def lamp_side(short: int) -> int:
    """The side of the lamp's glow; the lamp itself is a third of it."""
    return round(0.2 * short)


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


LAP_S = {"tour": 24.0, "still": 24.0, "pan": 24.0, "handheld": 24.0, "events": 60.0, "scroll": 8.0}
_WRITERS: dict[str, Callable[[Stage, int, _Clock], Script]] = {
    "tour": _tour,
    "still": _still,
    "pan": _pan,
    "handheld": _handheld,
    "events": _events,
    "scroll": _scroll,
}
