"""Short events planted in frames, and disturbances that are none: what `event_recall` measures with.

    schedule(seed) --> Events: kind, length, place, size, contrast
    frame k of a backdrop --plant(events)--> its twin: other pixels inside an event's box while it lasts, nowhere else
    held frame --disturb(kind, k)--> the same scene with noise, flicker, ... and nothing that happens

Arrays in, arrays out. Everything is a pure function of its arguments: a seed gives the same pixels in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
T = TypeVar("T")
Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two not included."""

EVENT_MS = (50, 100, 250, 500, 1000, 2000)
KINDS = ("appears", "crosses", "light", "texture")
CONTRASTS = (0.3, 0.6, 1.0)
SIZES = (24, 40, 64, 96)  # pixels on a side where the frame's shorter side is 256
PHANTOM_MS = (100, 500, 1000)  # one of them a schedule, to see how often a judge is fooled
SPEED = 1.2  # shorter sides a second, of what crosses
FADE_PX = 3.0  # an object's edge

SETTLE_S = 2.0  # before the first event
GAP_S = (1.5, 2.0)  # from the end of one event to the start of the next


# Events


@dataclass(frozen=True)
class Event:
    """Something that happens at one place for a short time. A phantom is planned like one, but never planted."""

    kind: str
    ms: int
    first: int  # the first frame that shows it
    frames: int  # how many do
    x: int  # its left edge in the first frame
    y: int
    size: int  # pixels on a side
    contrast: float  # 1: nothing of the backdrop shines through
    seed: int
    dx: int = 0  # how far it has moved in its last frame
    dy: int = 0
    planted: bool = True

    @property
    def end(self) -> int:
        """The first frame that it is gone from."""
        return self.first + self.frames

    def box(self, frame: int) -> Box:
        """Where it is; what it changes lies inside."""
        part = (frame - self.first) / max(self.frames - 1, 1)
        left, top = self.x + round(self.dx * part), self.y + round(self.dy * part)
        return left, top, left + self.size, top + self.size

    @property
    def area(self) -> Box:
        """All places that it comes by."""
        a, b = self.box(self.first), self.box(self.end - 1)
        return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def schedule(seed: Sequence[int], size: tuple[int, int], fps: float) -> tuple[list[Event], int]:
    """One event of every length and a phantom in random order, and the frames that it takes to show them all.

    Kinds, contrasts and sizes are dealt out like cards, so that each comes about as often. An event keeps clear of the
    place of the one before.
    """
    rng = np.random.default_rng([*seed, 1])
    order = rng.permutation([*EVENT_MS, -int(rng.choice(PHANTOM_MS))])  # a phantom's length is negative here
    kinds, contrasts = _dealt(rng, KINDS, len(order)), _dealt(rng, CONTRASTS, len(order))
    sizes = _dealt(rng, SIZES, len(order))
    events: list[Event] = []
    start_s = SETTLE_S + float(rng.uniform(0, 1 / fps))
    for ms, kind, contrast, side in zip(map(int, order), kinds, contrasts, sizes, strict=True):
        length_s = abs(ms) / 1000
        first = math.ceil(start_s * fps - 1e-9)
        frames = max(1, math.ceil((start_s + length_s) * fps - 1e-9) - first)
        pixels = max(8, round(side * min(size) / 256))
        x, y, dx, dy = _place(rng, size, pixels, kind, length_s, events[-1] if events else None)
        number = int(rng.integers(1 << 31))
        events.append(Event(kind, abs(ms), first, frames, x, y, pixels, contrast, number, dx, dy, ms > 0))
        start_s = max(start_s + length_s, events[-1].end / fps) + float(rng.uniform(*GAP_S))
    return events, math.ceil(start_s * fps)


def _dealt(rng: np.random.Generator, cards: Sequence[T], count: int) -> list[T]:
    """So many cards, each about as often."""
    hand = [cards[i] for _ in range(-(-count // len(cards))) for i in rng.permutation(len(cards))]
    return [hand[i] for i in rng.permutation(count)]


def _place(
    rng: np.random.Generator, size: tuple[int, int], side: int, kind: str, length_s: float, before: Event | None
) -> tuple[int, int, int, int]:
    """A place inside the frame and the way from there, clear of the event before if there is room."""
    most = [length - side for length in size]
    for _ in range(50):
        x, y = (int(rng.integers(room + 1)) for room in most)
        dx = dy = 0
        if kind == "crosses":
            way, angle = SPEED * min(size) * length_s, float(rng.uniform(0, math.tau))
            dx = min(max(x + round(way * math.cos(angle)), 0), most[0]) - x
            dy = min(max(y + round(way * math.sin(angle)), 0), most[1]) - y
        area = min(x, x + dx), min(y, y + dy), max(x, x + dx) + side, max(y, y + dy) + side
        if before is None or not _overlap(area, before.area):
            break
    return x, y, dx, dy


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def plant(pixels: Pixels, events: Sequence[Event], frame: int) -> Pixels:
    """The frame (H, W, 3) with what happens in it; the very same array where nothing does."""
    showing = [event for event in events if event.planted and event.first <= frame < event.end]
    for event in showing:
        pixels = show(pixels, event, frame)
    return pixels


def show(pixels: Pixels, event: Event, frame: int) -> Pixels:
    """A copy of the frame with an event in it, phantom or not."""
    out = pixels.copy()
    left, top, right, bottom = event.box(frame)
    under = out[top:bottom, left:right].astype(np.float32)
    mixed = _MIX[event.kind](under, event)
    out[top:bottom, left:right] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return out


def _object(under: Floats, event: Event) -> Floats:
    """Something with a colour, a texture and an outline of its own before the backdrop."""
    cover = outline(event.size, event.seed)[..., None] * np.float32(event.contrast)
    return under + cover * (texture(event.size, event.seed) - under)


def _light(under: Floats, event: Event) -> Floats:
    """A tinted light falls on the backdrop, brightest in the middle."""
    tint = np.random.default_rng([event.seed, 2]).uniform(0.6, 1.0, 3).astype(np.float32)
    beam = glow(event.size)[..., None] * np.float32(event.contrast)
    return under + beam * (0.35 * (255 * tint - under) + 0.5 * under * tint + 40 * tint)


def _region(under: Floats, event: Event) -> Floats:
    """The backdrop's colour stays, its texture becomes another."""
    cover = outline(event.size, event.seed)[..., None] * np.float32(event.contrast)
    grain = texture(event.size, event.seed)
    mean = cv2.blur(under, (event.size | 1, event.size | 1), borderType=cv2.BORDER_REFLECT)
    return under + cover * (mean + grain - grain.mean((0, 1)) - under)


_MIX: dict[str, Callable[[Floats, Event], Floats]] = {
    "appears": _object,
    "crosses": _object,
    "light": _light,
    "texture": _region,
}


@lru_cache(maxsize=64)
def texture(side: int, seed: int) -> Floats:
    """(side, side, 3): a colour with blotches, stripes and grain, 0 to 255."""
    rng = np.random.default_rng([seed, 3])
    colour = rng.uniform(30, 225, 3)
    out = np.broadcast_to(colour, (side, side, 3)).astype(np.float32)
    for cells, strength in ((3, 35.0), (8, 30.0), (20, 20.0)):
        light, hue = rng.normal(0, strength, (cells, cells, 1)), rng.normal(0, strength / 4, (cells, cells, 3))
        out = out + cv2.resize((light + hue).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 14)
    down, across = np.mgrid[:side, :side]
    wave = np.sin((across * math.cos(angle) + down * math.sin(angle)) * math.tau / period)
    out += (wave[..., None] * (rng.uniform(10, 45) + rng.uniform(-10, 10, 3))).astype(np.float32)
    return _fixed(np.clip(out, 0, 255))


@lru_cache(maxsize=64)
def outline(side: int, seed: int) -> Floats:
    """(side, side): 1 inside a shape that fills the square, 0 outside, a soft edge between."""
    rng = np.random.default_rng([seed, 4])
    down, across = (np.mgrid[:side, :side] - (side - 1) / 2) / (side / 2)
    turn = np.arctan2(down, across)
    power = float(rng.choice((2.0, 6.0)))  # a disc, a rounded square
    radius = (np.abs(across) ** power + np.abs(down) ** power) ** (1 / power)
    lobes, depth = int(rng.integers(3, 7)), float(rng.uniform(0.0, 0.25))
    edge = 1 - depth * (0.5 - 0.5 * np.cos(lobes * turn))
    return _fixed(np.clip((edge - radius) * side / 2 / FADE_PX, 0, 1).astype(np.float32))


@lru_cache(maxsize=64)
def glow(side: int) -> Floats:
    """(side, side): 1 in the middle, falling to 0 at the border."""
    down, across = (np.mgrid[:side, :side] - (side - 1) / 2) / (side / 2)
    return _fixed(np.square(np.clip(1.15 - np.hypot(across, down) * 1.15, 0, 1)).astype(np.float32))


def _fixed(array: Floats) -> Floats:
    array.setflags(write=False)  # they are cached, and shared
    return array


# Disturbances


def disturb(kind: str, pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """Frame `frame` of a still scene (H, W, 3) that a disturbance and nothing else befalls."""
    return DISTURBANCES[kind](pixels, frame, fps, seed)


def _noise(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """A sensor in the dark: Poisson-Gaussian, standard deviation 4 in black, 5.4 in white."""
    rng = np.random.Generator(np.random.SFC64([seed, frame, 5]))
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    sigma = np.sqrt(16 + 0.05 * np.arange(256)).astype(np.float32)
    return _rounded(pixels + noise * sigma[pixels])


def _flicker(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """Lamps on the mains seen through a rolling shutter: bands of 4% that wander, at 100 or 120 Hz and a bit."""
    rng = np.random.default_rng([seed, 6])
    hz, phase = float(rng.choice((100.0, 120.0)) + rng.uniform(0.3, 1.5)), float(rng.uniform(0, 1))
    rows_s = frame / fps + np.arange(pixels.shape[0]) / pixels.shape[0] * 0.02
    return _rounded(pixels * (1 + 0.04 * np.sin(math.tau * (hz * rows_s + phase)))[:, None, None])


def _drift(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """The exposure drifts by 15% up and down in ten seconds."""
    phase = float(np.random.default_rng([seed, 7]).uniform(0, 1))
    return _rounded(pixels * (1 + 0.15 * math.sin(math.tau * (frame / fps / 10 + phase))))


def _steps(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """Auto-exposure hunts: another gain within 12%, every second or two, reached in a fifth of a second."""
    rng = np.random.default_rng([seed, 8])
    at_s, before, gain, now = 0.0, 1.0, 1.0, frame / fps
    while at_s <= now:
        before, gain, since = gain, float(rng.uniform(0.88, 1.12)), at_s
        at_s += float(rng.uniform(1.0, 2.0))
    return _rounded(pixels * (before + (gain - before) * min((now - since) / 0.2, 1)))


def _shake(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """A hand holds the camera: three swings of 1 to 8 Hz, at most 2 pixels off in each direction."""
    rng = np.random.default_rng([seed, 9])
    hz, phase = rng.uniform(1, 8, (3, 2)), rng.uniform(0, 1, (3, 2))
    x, y = (np.sin(math.tau * (hz * frame / fps + phase)) * 2 / 3).sum(0)
    return _moved(pixels, float(x), float(y))


def _moved(pixels: Pixels, x: float, y: float) -> Pixels:
    """The picture, enlarged by a hair, seen from a little aside: what comes into view at the edges is real."""
    height, width = pixels.shape[:2]
    scale = 1 + 8 / min(height, width)
    place = np.array([[scale, 0, (1 - scale) * width / 2 + x], [0, scale, (1 - scale) * height / 2 + y]])
    return np.asarray(cv2.warpAffine(pixels, place, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _rain(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """Rain before a window: bright streaks fall through a third of the picture, never twice the same."""
    rng = np.random.default_rng([seed, frame, 10])
    out, (left, top, right, bottom) = pixels.copy(), window(pixels, seed)
    part = np.ascontiguousarray(out[top:bottom, left:right])
    for _ in range(max(8, part.shape[0] * part.shape[1] // 250)):
        x, y, length = int(rng.integers(right - left)), int(rng.integers(bottom - top)), int(rng.integers(5, 14))
        shade = int(rng.integers(150, 230))
        cv2.line(part, (x, y), (x - length // 4, y + length), (shade, shade, shade), 1, cv2.LINE_AA)
    out[top:bottom, left:right] = np.rint(0.5 * part + 0.5 * out[top:bottom, left:right]).astype(np.uint8)
    return out


def _leaves(pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
    """Leaves before a window: texture that sways by up to 4 pixels, each part of it in its own time."""
    rng = np.random.default_rng([seed, 11])
    out, (left, top, right, bottom) = pixels.copy(), window(pixels, seed)
    height, width = bottom - top, right - left
    phase = _smooth(rng.uniform(0, math.tau, (4, 4)), (width, height))
    leaf = sum(_smooth(rng.normal(0, 40, (height // n, width // n)), (width + 8, height + 8)) for n in (16, 7, 4))
    down, across = np.mgrid[:height, :width].astype(np.float32)
    swing = (4 * np.sin(math.tau * 1.1 * frame / fps + phase)).astype(np.float32)
    shade = cv2.remap(leaf, across + 4 + swing, down + 4 + swing / 3, cv2.INTER_LINEAR)[..., None]
    seen = np.array([70, 100, 50], np.float32) + shade * np.array([0.7, 1.0, 0.5], np.float32)
    out[top:bottom, left:right] = _rounded(seen)
    return out


def _smooth(coarse: NDArray[np.float64], size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), np.float32)


def window(pixels: Pixels, seed: int) -> Box:
    """Where it rains or leaves sway: about a third of the picture."""
    height, width = pixels.shape[:2]
    w, h = width * 6 // 10, height * 6 // 10
    rng = np.random.default_rng([seed, 12])
    left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return left, top, left + w, top + h


def _rounded(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


DISTURBANCES: dict[str, Callable[[Pixels, int, float, int], Pixels]] = {
    "noise": _noise,
    "flicker": _flicker,
    "drift": _drift,
    "steps": _steps,
    "shake": _shake,
    "rain": _rain,
    "leaves": _leaves,
}
