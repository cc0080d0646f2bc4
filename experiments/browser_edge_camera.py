"""The camera of `browser_edge`: a film that Chromium plays as its camera, over and over; when each frame was taken.

    numbers (LEAD_S) | the clip's beginning (SETTLE_S) | the clip: this is measured | numbers ... --.y4m--> Chromium

Only the lead carries anything but the clip: each of its pictures has its number in big blocks, and the same blocks the
other way round below, so that no real picture passes for one. There a receiver learns which of a stream's timestamps
belongs to which frame; what is measured is the clip as it is. Chromium stamps a camera's frames with CLOCK_MONOTONIC,
which every process of a machine shares; `web/browser_edge_tap.js` notes these stamps inside the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.bench import BenchError
from experiments.latency_camera import BITS, BLOCK, stamp, ungray
from experiments.systems import Clip

LEAD_S = 2.0
SETTLE_S = 1.0
CLEAR = 64.0  # brightness between a block and its opposite: less is no number
LAG_S = 0.25  # a frame is this old at most when the page has it: else its stamp is of another clock
CLOCK_RATE = 90_000  # of RTP timestamps of video

Pixels = NDArray[np.uint8]


# The number in a picture


def numbered(pixels: Pixels, number: int) -> Pixels:
    """The picture with its number at the top, and the number's opposite in the row below."""
    if pixels.shape[1] < BITS * BLOCK or pixels.shape[0] < 2 * BLOCK:
        raise BenchError(
            f"pictures of {pixels.shape[1]}x{pixels.shape[0]} are too small for a number: --size 192 or more"
        )
    out = stamp(pixels, number)
    out[BLOCK : 2 * BLOCK, : BITS * BLOCK] = 255 - out[:BLOCK, : BITS * BLOCK]
    return out


def number_of(blocks: Sequence[float]) -> int | None:
    """The number that the brightness of both rows of blocks says; None where they are not each other's opposite."""
    upper, lower = blocks[:BITS], blocks[BITS : 2 * BITS]
    if len(lower) < BITS or any(abs(a - b) < CLEAR for a, b in zip(upper, lower, strict=True)):
        return None
    return ungray(sum(int(a > b) << bit for bit, (a, b) in enumerate(zip(upper, lower, strict=True))))


def blocks_of(pixels: Pixels) -> list[float]:
    """The brightness of the middle of each block, both rows."""
    inner = slice(BLOCK // 4, BLOCK - BLOCK // 4)
    cells = pixels[: 2 * BLOCK, : BITS * BLOCK].reshape(2, BLOCK, BITS, BLOCK, -1)
    return [float(cells[row, inner, col, inner].mean()) for row in range(2) for col in range(BITS)]


# The film


@dataclass(frozen=True, eq=False)
class Reel:
    """What the camera plays over and over; `frames` are the clip's, those of SETTLE_S first."""

    name: str
    size: tuple[int, int]
    fps: float
    frames: Sequence[Pixels]

    @classmethod
    def of(cls, clip: Clip) -> Reel:
        """A reel of a clip that is SETTLE_S longer than what is measured."""
        return cls(clip.name, clip.size, clip.fps, [frame.pixels for frame in clip])

    @property
    def lead(self) -> int:
        """Pictures with a number."""
        return round(LEAD_S * self.fps)

    @property
    def first(self) -> int:
        """The place of the first measured picture."""
        return self.lead + round(SETTLE_S * self.fps)

    @property
    def count(self) -> int:
        """Pictures until it begins again."""
        return self.lead + len(self.frames)

    @property
    def seconds(self) -> float:
        """How long the measured part lasts."""
        return (self.count - self.first) / self.fps

    def picture(self, place: int) -> Pixels:
        """The picture at a place."""
        if place < self.lead:
            return numbered(self.frames[place % len(self.frames)], place)
        return self.frames[place - self.lead]

    def clip(self) -> Iterator[Frame]:
        """The measured part."""
        for place in range(self.first, self.count):
            yield Frame(self.picture(place), (place - self.first) / self.fps, place - self.first)

    def write(self, path: Path) -> Path:
        """The reel as Chromium reads it: YUV4MPEG2."""
        rate, (width, height) = Fraction(self.fps).limit_denominator(1000), self.size
        with path.open("wb") as file:
            file.write(
                f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420mpeg2\n".encode()
            )
            for place in range(self.count):
                file.write(b"FRAME\n")
                file.write(cv2.cvtColor(self.picture(place), cv2.COLOR_RGB2YUV_I420).tobytes())
        return path


# What the page saw of it


@dataclass(frozen=True)
class Glass:
    """A frame that the camera took: when, and its place in the reel."""

    time_s: float  # CLOCK_MONOTONIC
    place: int
    lag_s: float  # until the page had it


def glasses(noted: Sequence[Mapping[str, Any]], wall_s: float, reel: Reel) -> list[Glass]:
    """The frames that the tap noted, from the first with a number on.

    `wall_s` is what this machine's time of day is ahead of CLOCK_MONOTONIC. Raises BenchError where the stamps are of
    another clock or no number was ever seen.
    """
    seen = [(n["timestamp"] / 1e6, n["arrived"] / 1e3 - wall_s, number_of(n["blocks"])) for n in noted]
    if not any(number is not None for _, _, number in seen):
        raise BenchError("the page saw no frame of the fake camera: is it this experiment's Chromium that was asked?")
    lag_s = median(arrived - taken for taken, arrived, _ in seen)
    if not -0.01 <= lag_s <= LAG_S:
        raise BenchError(f"this Chromium's camera frames carry stamps of another clock (off by {lag_s:g} s)")
    out: list[Glass] = []
    begun: float | None = None  # when the reel began last
    for taken, arrived, number in seen:
        if number is not None and number < reel.lead:
            begun = taken - number / reel.fps
        if begun is not None:
            place = round((taken - begun) * reel.fps) % reel.count
            out.append(Glass(taken, place, arrived - taken))
    return out


def begins(seen: Sequence[Glass], reel: Reel, after_s: float) -> float:
    """When the measured part begins for the first time after this moment."""
    last = seen[-1]
    start = last.time_s + (reel.first - last.place) / reel.fps
    period = reel.count / reel.fps
    while start < after_s:
        start += period
    return start


# Which timestamp of a stream is which frame


def offset_of(rows: Sequence[Mapping[str, Any]], seen: Sequence[Glass], reel: Reel) -> float:
    """What a track's RTP clock is ahead of CLOCK_MONOTONIC, in seconds, as the numbered pictures say.

    A row's `number` is what was read in its picture (or None), `pts` its RTP timestamp, `ns` when it was there. Raises
    BenchError where too few were read, or where they do not agree.
    """
    found = []
    for row in rows:
        taken = [g.time_s for g in seen if g.place == row["number"] and g.time_s * 1e9 <= row["ns"]]
        if row["number"] is not None and row["number"] < reel.lead and taken:
            found.append(row["pts"] / CLOCK_RATE - taken[-1])
    if len(found) < 2:
        raise BenchError(f"{len(found)} numbered pictures were read of the video: run it again, or give it more kbps")
    middle = median(found)
    if sum(abs(one - middle) > 0.005 for one in found) > len(found) / 3:
        raise BenchError("the video's timestamps do not follow its frames: nothing can be said of its delays")
    return middle


def nearest(seen: Sequence[Glass], time_s: float) -> Glass | None:
    """The frame taken at this moment; None where none was, to a few milliseconds."""
    best = min(seen, key=lambda glass: abs(glass.time_s - time_s), default=None)
    return best if best is not None and abs(best.time_s - time_s) < 0.005 else None
