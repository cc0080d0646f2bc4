"""What the tests of `event_recall` and its parts share: a small backdrop, a film of one, a system of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.backdrops import Film
from experiments.systems import Clip, Known, System

Pixels = NDArray[np.uint8]

FPS = 30.0
SIZE = (64, 64)
FILM = Film("scene:still", "scene:still", SIZE, FPS, 0)


def system(run: Callable[[Any, Clip], Iterator[Known]]) -> System:
    return System("toy", "", run, {"only": None})


def backdrop(count: int) -> list[Pixels]:
    """Smooth, and moving all the time."""
    wide = np.random.default_rng(0).integers(40, 216, (6, 12, 3), dtype=np.uint8)
    wide = cv2.resize(wide, (160, 64), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(wide[:, n // 8 % 90 : n // 8 % 90 + 64]) for n in range(count)]
