"""The camera of `latency`: frames that carry their number in their picture, shown in real time.

    clip --filmed--> a lead, the clip, a tail, each picture with its number --Camera--> a frame at its time
    ... any codec, any receiver ... --read_stamp--> the number again

A number is a few big black and white blocks in Gray code. Who asks the camera too late sees the newest frame;
`glass_ns` says when each came into being.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.bench import BenchError
from experiments.systems import Clip

BLOCK = 16  # pixels on a side of a block of the frame's number
BITS = 12
LEAD_S = 1.0  # of every run are not measured: first pictures, first runs of networks
TAIL = 3  # frames at the end are not measured: the last ones may wait for the next

Pixels = NDArray[np.uint8]


# The picture's number


def gray(number: int) -> int:
    """Gray code: neighbours differ in one bit, so a frame's number is next to no news."""
    return number ^ (number >> 1)


def ungray(code: int) -> int:
    """The number of a Gray code."""
    number = 0
    while code:
        number ^= code
        code >>= 1
    return number


def _blocks(width: int) -> Iterator[tuple[int, slice, slice]]:
    across = width // BLOCK
    for bit in range(BITS):
        row, col = divmod(bit, across)
        yield bit, slice(row * BLOCK, (row + 1) * BLOCK), slice(col * BLOCK, (col + 1) * BLOCK)


def stamp(pixels: Pixels, number: int) -> Pixels:
    """The picture (H, W, 3) with its number in blocks at the top left, a bit each, lowest first."""
    out = pixels.copy()
    for bit, rows, cols in _blocks(pixels.shape[1]):
        out[rows, cols] = 255 if gray(number) >> bit & 1 else 0
    return out


def read_stamp(pixels: Pixels) -> int:
    """The number that a picture carries."""
    code = sum(int(pixels[rows, cols].mean() > 127) << bit for bit, rows, cols in _blocks(pixels.shape[1]))
    return ungray(code)


# The camera


class Camera:
    """Frames in memory, seen in real time: asked too late, it shows the newest, as a camera does. A live `Source`."""

    live = True

    def __init__(self, clip: Clip) -> None:
        self.name, self.size, self.fps = clip.name, clip.size, clip.fps
        self.glass_ns: dict[int, int] = {}  # when each frame that was taken came into being
        self._frames = list(clip)

    def __iter__(self) -> Iterator[Frame]:
        began = time.monotonic_ns()
        step = 1e9 / self.fps
        number = 0
        while number < len(self._frames):
            due = began + round(number * step)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            newest = min(int((time.monotonic_ns() - began) / step), len(self._frames) - 1)
            number = max(number, newest)
            self.glass_ns[number] = began + round(number * step)
            yield self._frames[number]
            number += 1

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def filmed(clip: Clip) -> Clip:
    """The clip with numbers in its pictures, longer by what is not measured: it begins again until it is full."""
    frames = list(clip)
    count = round(LEAD_S * clip.fps) + len(frames) + TAIL
    if count >= 1 << BITS:
        raise BenchError(f"{count} frames have no number each: give fewer --seconds")
    numbered = [
        Frame(stamp(frames[number % len(frames)].pixels, number), number / clip.fps, number) for number in range(count)
    ]
    return Clip(clip.name, clip.size, clip.fps, count, lambda: iter(numbered))


def measured(clip: Clip) -> range:
    """The numbers of a filmed clip's frames that count."""
    return range(round(LEAD_S * clip.fps), clip.count - TAIL)
