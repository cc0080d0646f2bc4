"""Small clips and systems for the yardstick's tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.systems import Clip, Known, System, clip_of

FPS = 10.0


def pictures(
    count: int, *, seed: int = 0, size: tuple[int, int] = (64, 64), gray: bool = False
) -> list[NDArray[np.uint8]]:
    """A textured square that moves over a smooth background."""
    rng = np.random.default_rng(seed)
    width, height = size
    back = cv2.resize(rng.integers(40, 216, (5, 5, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
    patch = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (24, 24), interpolation=cv2.INTER_NEAREST)
    out = []
    for number in range(count):
        picture = back.copy()
        x, y = (5 * number) % (width - 24), (3 * number + 7) % (height - 24)
        picture[y : y + 24, x : x + 24] = patch
        out.append(np.repeat(picture[..., :1], 3, -1) if gray else picture)
    return out


def clip(count: int = 12, *, seed: int = 0, size: tuple[int, int] = (64, 64), gray: bool = False) -> Clip:
    """The same as a clip."""
    return as_clip(pictures(count, seed=seed, size=size, gray=gray))


def as_clip(frames: Sequence[NDArray[np.uint8]], name: str = "toy") -> Clip:
    """Pictures as a clip."""
    return clip_of(name, FPS, [Frame(pixels, n / FPS, n) for n, pixels in enumerate(frames)])


def grey(count: int, fps: float = 50.0) -> Clip:
    """A clip in which nothing happens."""
    return clip_of("grey", fps, [Frame(np.full((64, 64, 3), 99, np.uint8), k / fps, k) for k in range(count)])


def identity(_: Any, frames: Clip) -> Iterator[Known]:
    """A codec that changes nothing."""
    for number, frame in enumerate(frames, 1):
        yield Known(picture=frame.pixels.copy(), bytes=number * frame.pixels.size, packets=number, tokens=number)


def hold(every: int, frames: Clip) -> Iterator[Known]:
    """Every so many frames as they are, held in between."""
    known = Known()
    for number, frame in enumerate(frames):
        if number % every == 0:
            known = replace(known, picture=frame.pixels, bytes=(known.bytes or 0) + 1000, tokens=known.tokens + 1)
        yield known


def systems() -> list[System]:
    """A perfect system and one that holds: quick ones for tests of the harness."""
    return [
        System("identity", "changes nothing", identity, {"all": None}),
        System("hold", "a frame now and then", hold, {"every 10": 10, "every 3": 3}),
    ]


def write_video(
    path: Path, frames: Sequence[NDArray[np.uint8]], fps: float = 10.0, times: Sequence[float] = ()
) -> Path:
    """A lossless video file; `times` makes its rate variable."""
    from fractions import Fraction

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (times[number] if times else number / fps))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
