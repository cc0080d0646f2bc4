"""What moves in a film, place by place, over the last half second.

flow, change --of every frame--> speed --trailing mean--> moving places; energy --parts of the frame--> most of it
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from experiments.questions.detectors import GRID
from experiments.questions.sightings import NO, STEADY, UNSURE, YES, Sightings

Answers = NDArray[np.int64]
Floats = NDArray[np.float32]

MOVES, STILL = 0.005, 4.0  # frame widths a frame; grey levels of a place that stands still, at most


def filmed_now(film: Sightings) -> NDArray[np.bool_]:
    """Where motion of the last half second means something."""
    return (film.filmed == YES) & (shot_age(film) >= STEADY + 1)


@lru_cache(maxsize=2)
def shot_age(film: Sightings) -> Answers:
    """Frames since the picture last changed as a whole."""
    return np.arange(film.count) - np.maximum.accumulate(np.where(film.jump != NO, np.arange(film.count), 0))


@lru_cache(maxsize=2)
def speed_of(film: Sightings) -> Floats:
    """(T, GRID, GRID): frame widths a frame."""
    return np.asarray(np.sqrt((film.flow**2).sum(-1)), np.float32)


@lru_cache(maxsize=2)
def moving_places(film: Sightings) -> NDArray[np.bool_]:
    """(T, GRID, GRID): places where something moved in the last half second."""
    moving = ((speed_of(film) > MOVES) & (film.change > STILL)).astype(np.float32)
    return (trailing(moving) > 0.5) & filmed_now(film)[:, None, None]


@lru_cache(maxsize=2)
def energy_of(film: Sightings) -> Floats:
    """(T, GRID, GRID): how much moved where in the last half second."""
    energy = speed_of(film) * np.minimum(film.change, 40)
    return trailing(energy * (film.change > STILL))


def trailing(values: Floats) -> Floats:
    """Mean over a frame and the four before it."""
    return np.asarray(uniform_filter1d(values, 5, axis=0, origin=2), np.float32)


def mostly(film: Sightings, parts: Floats, share: float) -> Answers:
    """The part (T, P) that has most of the motion, where the camera stands and something moves."""
    moving = moving_places(film).sum((1, 2))
    sure = (moving >= 5) & (moving < 0.3 * GRID * GRID) & (parts.max(1) > share * parts.sum(1)) & filmed_now(film)
    return np.where(sure, parts.argmax(1), UNSURE)
