"""Backdrops for painted worlds: made ones, photographs, one frame of a clip held still, and clips that run.

    made_backdrops(count) ---------------------------------+
    find_backdrops(folder of pictures or videos) --read----+--> backdrop(k) -> (256, 256, 3)

What is read is read when it is first shown, and kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import PICTURES, SourceError, fit, open_source, read_picture
from experiments.questions.plans import SIZE

Pixels = NDArray[np.uint8]
KINDS = ("gradient", "room", "texture")


@dataclass(frozen=True)
class Made:
    """A backdrop that needs no data; `kind` is gradient, room or texture."""

    kind: str
    seed: int

    def __call__(self, k: int) -> Pixels:
        return _make(self.kind, self.seed)


@dataclass(frozen=True)
class Photo:
    """A photograph, all the time."""

    path: Path

    def __call__(self, k: int) -> Pixels:
        return _photo(self.path)


@dataclass(frozen=True)
class Clip:
    """A video from its beginning, back and forth; with `held` that frame of it all the time."""

    path: Path
    held: int | None = None
    most: int = 101

    def __call__(self, k: int) -> Pixels:
        frames = _frames(self.path, self.most if self.held is None else self.held + 1)
        lap = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
        shown: Pixels = frames[lap[(k if self.held is None else self.held) % len(lap)]]
        return shown


def made_backdrops(count: int = 24, seed: int = 0) -> list[Made]:
    """So many made ones, kind after kind."""
    return [Made(KINDS[n % len(KINDS)], seed + n) for n in range(count)]


def find_backdrops(*folders: Path, seed: int = 0) -> list[Photo | Clip]:
    """Every picture of the folders, and every video twice: running, and one frame of it held."""
    found: list[Photo | Clip] = []
    rng = np.random.default_rng([seed, 23])
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.is_file()):
        if path.suffix.lower() in PICTURES:
            found.append(Photo(path))
        elif path.suffix.lower() in {".mp4", ".avi", ".mkv", ".mov", ".webm"}:
            found += [Clip(path), Clip(path, held=int(rng.integers(60)))]
    if not found:
        raise SourceError(f"{', '.join(map(str, folders))}: no pictures and no videos; give folders that hold some")
    return found


@functools.lru_cache(maxsize=64)
def _photo(path: Path) -> Pixels:
    pixels = read_picture(path)
    if pixels is None:
        raise SourceError(f"{path}: cannot be read as a picture; leave it out")
    return fit(pixels, SIZE)


@functools.lru_cache(maxsize=4)
def _frames(path: Path, most: int) -> list[Pixels]:
    with open_source(path, size="x".join(map(str, SIZE)), fps=10.0, duration_s=most / 10) as source:
        frames = [frame.pixels for frame in source]
    if not frames:
        raise SourceError(f"{path}: has no frames; leave it out")
    return frames


# Made ones


@functools.lru_cache(maxsize=256)
def _make(kind: str, seed: int) -> Pixels:
    rng = np.random.default_rng([seed, 29])
    drawn: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
        "gradient": _gradient,
        "room": _room,
        "texture": _texture,
    }
    return np.asarray(np.clip(np.rint(drawn[kind](rng)), 0, 255), np.uint8)


def _pale(rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour with little of any hue, so that nobody calls it by the name of a thing's colour."""
    return np.asarray(float(rng.uniform(60, 200)) + rng.uniform(-18, 18, 3))


def _gradient(rng: np.random.Generator) -> NDArray[np.float64]:
    a, b = _pale(rng), _pale(rng)
    dx, dy = rng.uniform(-1, 1, 2)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] / SIZE[0] - 0.5
    part = np.clip(0.5 + dx * x + dy * y, 0, 1)[..., None]
    return np.asarray(a * (1 - part) + b * part)


def _texture(rng: np.random.Generator) -> NDArray[np.float64]:
    """Clouds of a few sizes."""
    out = np.zeros((SIZE[1], SIZE[0], 3)) + _pale(rng)
    for cells in (3, 8, 24, 64):
        rough = rng.normal(0, 14 / cells**0.25, (cells, cells, 1)) + rng.normal(0, 3, (cells, cells, 3))
        out += cv2.resize(rough, SIZE, interpolation=cv2.INTER_CUBIC)
    return out


def _room(rng: np.random.Generator) -> NDArray[np.float64]:
    """A wall, a floor, a window and a few boxes."""
    out = _gradient(rng)
    floor = int(rng.integers(150, 210))
    out[floor:] = _pale(rng) * np.linspace(1.0, 0.75, SIZE[1] - floor)[:, None, None]
    out[floor - 3 : floor] *= 0.7
    for _ in range(int(rng.integers(2, 5))):
        w, h = (int(n) for n in rng.integers(24, 90, 2))
        x, base = int(rng.integers(0, SIZE[0] - w)), floor + int(rng.integers(-110, 30))
        top = max(0, base - h)
        out[top : max(base, top + 1), x : x + w] = _pale(rng)
        out[top : max(base, top + 1), x : x + 2] *= 0.75
    return np.asarray(out + cv2.resize(rng.normal(0, 2.5, (64, 64, 1)), SIZE)[..., None])
