"""Painted things: what they look like, where they are at a moment, and how they are laid on a picture.

    Look (shape, colour, size) --sprite--> patch with a soft edge and a halo
    Thing (look, place, acts) --pose(t)--> where, how much of it, which look
                                   paint(pixels, things, t) --> pixels with them

Every thing has a halo that is dark around light colours and light around dark ones, so that it can be told from
any backdrop. Numbers only: a Thing is a value, and its pose is a pure function of time.
"""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.scene_script import ease

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Span = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

COLOURS = {
    "red": (212, 34, 38),
    "orange": (246, 134, 18),
    "yellow": (250, 222, 40),
    "green": (34, 158, 62),
    "blue": (34, 84, 212),
    "purple": (138, 48, 176),
    "white": (246, 246, 246),
    "black": (20, 20, 22),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "moon")
SIDES = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}

FINE = 4  # drawn so many times larger, then averaged down
HALO_PX = 5  # how far the halo reaches
HALO = 0.5  # how much it covers next to the edge


# Looks


@dataclass(frozen=True)
class Look:
    """What a thing looks like; `rgb` is its own shade of the colour that `colour` names."""

    shape: str
    colour: str
    side: int
    rgb: tuple[int, int, int]
    turn_deg: float = 0.0
    grain: int = 0  # seeds its texture; 0 for a plain one


def shade(colour: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """A shade of a colour that nobody would call by another name."""
    hue, grey, value = colorsys.rgb_to_hsv(*(level / 255 for level in COLOURS[colour]))
    hue = (hue + float(rng.uniform(-0.007, 0.007))) % 1.0
    value = min(1.0, max(0.0, value + float(rng.uniform(-0.04, 0.04))))
    red, green, blue = colorsys.hsv_to_rgb(hue, grey, value)
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.lru_cache(maxsize=256)
def sprite(look: Look) -> tuple[Floats, Floats]:
    """The look's colours times their cover, and one minus the cover: both (side + halo, side + halo, 3)."""
    side = look.side + 2 * HALO_PX
    body = _stencil(look)
    glow = np.clip(1.6 * cv2.GaussianBlur(body, (0, 0), HALO_PX / 2), 0, 1) * HALO * (1 - body)
    bright = 0.299 * look.rgb[0] + 0.587 * look.rgb[1] + 0.114 * look.rgb[2]
    halo = 25.0 if bright > 100 else 235.0
    face = np.asarray(look.rgb, np.float32) * _relief(look, side)[..., None]
    laid = np.clip(face, 0, 255) * body[..., None] + halo * glow[..., None]
    rest = np.repeat((1 - body - glow)[..., None], 3, axis=2)
    return laid.astype(np.float32), rest.astype(np.float32)


def _relief(look: Look, side: int) -> Floats:
    """Brightness of every pixel (side, side): a little light from above and a fine texture, or none."""
    if look.grain == 0:
        return np.ones((side, side), np.float32)
    rng = np.random.default_rng([look.grain, 11])
    light = np.linspace(1.0 + 0.1 * rng.random(), 1.0 - 0.1 * rng.random(), side)[:, None]
    weave = cv2.resize(rng.normal(0.0, 0.03, (side // 3 + 1,) * 2), (side, side))
    return np.asarray(light + weave, np.float32)


def _stencil(look: Look) -> Floats:
    """Cover of the shape (side + halo, side + halo), 0 to 1, with a soft edge."""
    side = look.side + 2 * HALO_PX
    fine = np.zeros((side * FINE, side * FINE), np.uint8)
    middle, radius = side * FINE / 2, look.side * FINE / 2
    for outline, level in _outlines(look.shape):
        turn = math.radians(look.turn_deg)
        spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        points = np.rint(middle + radius * np.asarray(outline) @ spin).astype(np.int32)
        cv2.fillPoly(fine, [points], level)
    small = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (3, 3), 0) / 255, np.float32)


Outline = list[tuple[float, float]]


@functools.cache
def _outlines(shape: str) -> list[tuple[Outline, int]]:
    """The shape inside the unit circle's square: outlines to fill one over the other with 255 or 0."""
    disc = [(math.cos(a), math.sin(a)) for a in np.linspace(0, math.tau, 72, endpoint=False)]
    if shape == "circle":
        return [(disc, 255)]
    if shape == "ring":
        return [(disc, 255), ([(0.58 * x, 0.58 * y) for x, y in disc], 0)]
    if shape == "moon":
        return [(disc, 255), ([(0.5 + 0.85 * x, -0.1 + 0.85 * y) for x, y in disc], 0)]
    if shape == "square":
        return [([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)], 255)]
    if shape == "triangle":
        return [([(0.0, -0.95), (0.98, 0.8), (-0.98, 0.8)], 255)]
    if shape == "cross":
        arm = 0.33
        corner = [(arm, -1.0), (arm, -arm), (1.0, -arm), (1.0, arm), (arm, arm), (arm, 1.0)]
        return [(corner + [(-x, -y) for x, y in corner], 255)]
    if shape == "star":
        spokes = [(1.0 if n % 2 == 0 else 0.42, n * math.pi / 5 - math.pi / 2) for n in range(10)]
        return [([(r * math.cos(a), 0.06 + r * math.sin(a)) for r, a in spokes], 255)]
    return [(_heart(), 255)]


def _heart() -> Outline:
    curve = []
    for a in np.linspace(0, math.tau, 72, endpoint=False):
        x = 16 * math.sin(a) ** 3
        y = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
        curve.append((x / 16.5, -(y + 2.5) / 16.5))
    return curve


# Things


@dataclass(frozen=True)
class Move:
    """It goes so far in this time, and stays there."""

    start_s: float
    end_s: float
    dx: float
    dy: float

    @property
    def way(self) -> str:
        """left, right, up or down."""
        if self.dx:
            return "right" if self.dx > 0 else "left"
        return "down" if self.dy > 0 else "up"


@dataclass(frozen=True)
class Change:
    """From then on it has another look: the same shape in another colour."""

    at_s: float
    look: Look


@dataclass(frozen=True)
class Pose:
    """Where the middle of a thing is, how much it covers, and how it looks."""

    x: float
    y: float
    cover: float
    look: Look


@dataclass(frozen=True)
class Thing:
    """One painted thing and all that it does; there from the start without `came`, to the end without `went`."""

    look: Look
    x: float
    y: float
    came: Span | None = None
    entry: str = "pop"  # pop, fade, or the side from which it slides in
    went: Span | None = None
    exit: str = "pop"  # pop, or the side to which it slides out
    move: Move | None = None
    change: Change | None = None
    flash: bool = False  # there for a moment only

    @property
    def start_s(self) -> float:
        """When the first of it is seen."""
        return self.came[0] if self.came else 0.0

    @property
    def ready_s(self) -> float:
        """When it has come."""
        return self.came[1] if self.came else 0.0

    @property
    def spans(self) -> list[Span]:
        """When it does something, in order; standing there is nothing."""
        if self.flash:
            return [(self.start_s, self.went[0])] if self.went else []
        spans = [self.came, self.went]
        spans += [(self.move.start_s, self.move.end_s)] if self.move else []
        spans += [(self.change.at_s, self.change.at_s)] if self.change else []
        return sorted(span for span in spans if span is not None)

    def shows(self, t: float) -> bool:
        """Whether it has come and has not begun to leave."""
        return self.ready_s <= t and (self.went is None or t < self.went[0])

    def look_at(self, t: float) -> Look:
        """How it looks at that time."""
        return self.change.look if self.change and t >= self.change.at_s else self.look

    def place(self, t: float) -> tuple[float, float]:
        """Where it stands, or is on its way to and from, at that time."""
        if self.move is None or t < self.move.start_s:
            return self.x, self.y
        part = ease(min(1.0, (t - self.move.start_s) / (self.move.end_s - self.move.start_s)))
        return self.x + part * self.move.dx, self.y + part * self.move.dy

    def pose(self, t: float, size: tuple[int, int]) -> Pose | None:
        """Where it is seen in a frame of this size; None where it is not."""
        if t < self.start_s or (self.went is not None and t >= self.went[1]):
            return None
        (x, y), cover, look = self.place(t), 1.0, self.look_at(t)
        if self.came and t < self.came[1]:
            part = (t - self.came[0]) / (self.came[1] - self.came[0])
            if self.entry == "fade":
                cover = part
            elif self.entry in SIDES:
                x, y = slid(x, y, look.side, self.entry, size, ease(part))
        if self.went and t >= self.went[0] and self.exit in SIDES:
            part = (t - self.went[0]) / (self.went[1] - self.went[0])
            x, y = slid(x, y, look.side, self.exit, size, ease(1.0 - part))
        return Pose(x, y, cover, look)

    def swept(self, size: tuple[int, int]) -> Box:
        """The box around all places where it ever is, cut to the frame."""
        stops = [(self.x, self.y), self.place(math.inf)]
        if self.entry in SIDES:
            stops.append(slid(*stops[0], self.look.side, self.entry, size, 0.0))
        if self.exit in SIDES:
            stops.append(slid(*stops[1], self.look.side, self.exit, size, 0.0))
        half = self.look.side / 2 + HALO_PX
        xs, ys = [x for x, _ in stops], [y for _, y in stops]
        return max(0.0, min(xs) - half), max(0.0, min(ys) - half), max(xs) + half, max(ys) + half


def slid(x: float, y: float, side: int, edge: str, size: tuple[int, int], part: float) -> tuple[float, float]:
    """The place on the way from outside the frame at that edge (part 0) to (x, y) (part 1)."""
    out = side / 2 + HALO_PX
    far = {"left": x + out, "right": size[0] - x + out, "top": y + out, "bottom": size[1] - y + out}[edge]
    dx, dy = SIDES[edge]
    return x + dx * far * (1.0 - part), y + dy * far * (1.0 - part)


# Paint


def paint(pixels: Pixels, things: Iterable[Thing], t: float) -> Pixels:
    """A copy of the picture (H, W, 3) with the things as they are at time `t`; the picture itself where none is."""
    size = pixels.shape[1], pixels.shape[0]
    poses = [pose for thing in things if (pose := thing.pose(t, size)) is not None]
    out = pixels.copy() if poses else pixels
    for pose in poses:
        _lay(out, pose)
    return out


def _lay(pixels: Pixels, pose: Pose) -> None:
    laid, rest = sprite(pose.look)
    side = laid.shape[0]
    left, top = round(pose.x - side / 2), round(pose.y - side / 2)
    a, b = max(0, -left), max(0, -top)
    right, bottom = min(side, pixels.shape[1] - left), min(side, pixels.shape[0] - top)
    if a >= right or b >= bottom:
        return
    laid, rest = laid[b:bottom, a:right], rest[b:bottom, a:right]
    if pose.cover < 1.0:
        laid, rest = laid * np.float32(pose.cover), 1 - (1 - rest) * np.float32(pose.cover)
    under = pixels[top + b : top + bottom, left + a : left + right]
    mixed = cv2.add(cv2.multiply(under, rest, dtype=cv2.CV_32F), laid)
    under[:] = cv2.convertScaleAbs(mixed)
