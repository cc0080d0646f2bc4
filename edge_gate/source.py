"""Where frames come from: the built-in scene, files, folders of pictures, cameras and RTSP.

    file, folder, scene --> (time, length, picture) --> resample(fps) --> fit(size) --> Frame
    camera, RTSP --> newest only (source_live.py) --> fit(size) --> Frame

Everything is seen as a live consumer would see it: at each tick the newest picture whose time is not
after the tick. A slow source repeats the picture it holds; a fast one is thinned; the future is never shown.
This module is the only one of the package that imports OpenCV and PyAV, and it does so when they are needed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
"""A picture: (height, width, 3), RGB, 0 to 255."""

Size = tuple[int, int]
"""Width and height in pixels."""

T = TypeVar("T")
Stamped = tuple[float, float, T]
"""When a picture was taken, for how long it stands if nothing follows, and the picture."""

CELL_PX = 16
ROUNDING_S = 1e-6  # a sum of times that is meant to fall on a tick may overshoot it by less
SMALLEST_PX = 64
LARGEST_PX = 1920
NATIVE_LONG_PX = 1280
NATIVE_SHORT_PX = 720
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class SourceError(Exception):
    """A source cannot be opened or has ended early. One line: what, and what to do about it."""


@dataclass(frozen=True)
class Frame:
    """What the camera saw: `pixels` (H, W, 3) uint8 RGB, to be treated as read-only.

    `time_s` counts from the moment the source began. For files and scenes it is the tick the frame stands
    for (`index / fps`); for cameras it is when the picture was taken, and a held picture keeps its time.
    """

    pixels: Pixels
    time_s: float
    index: int


@runtime_checkable
class Source(Protocol):
    """Frames of one size at a steady rate; a context manager. Files and scenes can be iterated again."""

    @property
    def name(self) -> str:
        """What a person would call it: a path, `camera 0`, `scene:tour`."""
        ...

    @property
    def size(self) -> Size:
        """(width, height) of every frame."""
        ...

    @property
    def fps(self) -> float:
        """Ticks a second."""
        ...

    @property
    def live(self) -> bool:
        """Whether iterating waits for the real world; files come as fast as they are read."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of the device or file; iteration ends."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(
    spec: str | int | Path,
    *,
    size: str | None = None,
    fps: float = 10.0,
    duration_s: float | None = None,
    seed: int = 0,
) -> Source:
    """Open what `spec` names: `scene`, `scene:NAME`, a camera number, `rtsp://...`, a video or a folder.

    `size` is None (native, at most 1280x720, cropped to whole cells), `"256"` (a square) or `"640x480"`.
    `duration_s` ends the source early; the scene lasts one lap without it and never ends with `math.inf`.
    Raises SourceError when there is nothing to see.
    """
    _check_rates(fps, duration_s)
    wanted = None if size is None else parse_size(size)
    text = str(spec).strip()
    if text == "scene" or text.startswith("scene:"):
        from edge_gate.scene import Scene  # here, because the scene is made of this module's frames

        variant = text.partition(":")[2] or "tour"
        return Scene(size=wanted or (256, 256), fps=fps, seed=seed, variant=variant, duration_s=duration_s)
    if re.fullmatch(r"[0-9]{1,9}", text) or text.startswith(("rtsp://", "rtsps://")):
        from edge_gate.source_live import open_live

        return open_live(text, wanted, fps, duration_s)
    return _open_path(text, wanted, fps, duration_s)


def _open_path(text: str, wanted: Size | None, fps: float, duration_s: float | None) -> Source:
    if not text or "://" in text:
        raise SourceError(f"{text!r} is no source: give scene, a camera number, rtsp://..., a video or a folder")
    path = Path(text)
    if not path.exists():
        raise SourceError(f"{path}: not found; give scene, a camera number, rtsp://..., a video or a folder")
    if path.is_dir():
        return PictureFolder(path, wanted, fps, duration_s)
    return VideoFile(path, wanted, fps, duration_s)


def _check_rates(fps: float, duration_s: float | None) -> None:
    if not 0.0 < fps <= 240.0:
        raise SourceError(f"--fps {fps:g}: give a rate above 0 and up to 240")
    if duration_s is not None and not duration_s > 0.0:
        raise SourceError(f"--duration {duration_s:g}: give a number of seconds above 0")


# Sizes


def parse_size(text: str) -> Size:
    """Read `"256"` (a square) or `"640x480"` as (width, height); SourceError for anything else."""
    match = re.fullmatch(r"\s*([0-9]{1,5})\s*(?:[xX×]\s*([0-9]{1,5})\s*)?", text)
    if match is None:
        raise SourceError(f"--size {text}: give one number for a square (256) or WIDTHxHEIGHT (640x480)")
    width = int(match[1])
    return check_size((width, int(match[2] or width)))


def check_size(size: Size) -> Size:
    """Give `size` back if both sides are whole cells between 64 and 1920 pixels; else SourceError."""
    width, height = size
    if all(side % CELL_PX == 0 and SMALLEST_PX <= side <= LARGEST_PX for side in size):
        return size
    raise SourceError(
        f"--size {width}x{height}: both sides must be multiples of {CELL_PX}, {SMALLEST_PX} to {LARGEST_PX}"
    )


def native_size(width: int, height: int) -> Size:
    """The size used when none is asked for: scaled to at most 1280x720 (or 720x1280), then whole cells."""
    shrink = min(1.0, NATIVE_LONG_PX / max(width, height), NATIVE_SHORT_PX / min(width, height))

    def whole(side: int) -> int:
        return max(SMALLEST_PX, int(side * shrink + 1e-6) // CELL_PX * CELL_PX)

    return whole(width), whole(height)


def fit(pixels: Pixels, size: Size) -> Pixels:
    """Cover `size` with a picture (H, W, 3) -> (height, width, 3), cropping evenly what sticks out.

    A picture less than a cell too large is only cropped, so that its pixels stay exact.
    """
    width, height = size
    tall, wide = pixels.shape[:2]
    scale = max(width / wide, height / tall)
    if 0 <= wide - width < CELL_PX and 0 <= tall - height < CELL_PX:
        scale = 1.0
    crop_w = min(wide, max(1, round(width / scale)))
    crop_h = min(tall, max(1, round(height / scale)))
    left, top = (wide - crop_w) // 2, (tall - crop_h) // 2
    cropped = pixels[top : top + crop_h, left : left + crop_w]
    if (crop_w, crop_h) == size:
        return np.ascontiguousarray(cropped)
    cv2 = load_cv2()
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cropped, size, interpolation=how), dtype=np.uint8)


# Time


def resample(stamped: Iterable[Stamped[T]], fps: float, duration_s: float | None = None) -> Iterator[tuple[int, T]]:
    """At each tick n / fps, the newest item whose time is <= the tick: pairs (n, item).

    Ticks before the first item are left out; the last item stands for its own length. A time that runs
    backwards counts as the newest time so far. Reads no further ahead than the first item after the tick.
    """
    tick, end_s, newest_s = 0, 0.0, -math.inf
    limit_s = math.inf if duration_s is None else duration_s
    held: list[T] = []
    for time_s, length_s, item in stamped:
        newest_s = max(newest_s, time_s)
        while tick / fps < min(newest_s, limit_s):
            if held:
                yield tick, held[0]
            tick += 1
        if newest_s >= limit_s:
            return
        held, end_s = [item], newest_s + length_s
    while held and tick / fps < min(end_s - ROUNDING_S, limit_s):
        yield tick, held[0]
        tick += 1


class _Finite:
    """What a file and a folder share: a size known before the first frame, and iteration from the start."""

    live = False

    def __init__(self, path: Path, wanted: Size | None, fps: float, duration_s: float | None) -> None:
        self.name = str(path)
        self.fps = fps
        self._path = path
        self._duration_s = duration_s
        self._closed = False
        self.size = wanted or native_size(*self._first().shape[1::-1])

    def _stamped(self) -> Generator[Stamped[Any], None, None]:
        """Pictures in time order, the first at 0; holds resources only while it runs."""
        raise NotImplementedError

    def _pixels(self, item: Any) -> Pixels:
        """Turn what `_stamped` gave into a picture (H, W, 3) of any size."""
        raise NotImplementedError

    def _first(self) -> Pixels:
        with contextlib.closing(self._stamped()) as stamped:
            for _, _, item in stamped:
                return self._pixels(item)
        raise SourceError(f"{self.name}: no picture could be read from it; give another file or folder")

    def __iter__(self) -> Iterator[Frame]:
        shown: tuple[Any, Pixels] | None = None
        with contextlib.closing(self._stamped()) as stamped:
            for tick, item in resample(stamped, self.fps, self._duration_s):
                if self._closed:
                    return
                if shown is None or shown[0] is not item:
                    shown = item, fit(self._pixels(item), self.size)
                yield Frame(shown[1], tick / self.fps, tick)

    def close(self) -> None:
        """End any iteration at its next frame; files are closed with it."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoFile(_Finite):
    """Any container PyAV reads, GIF included, with variable frame rates and rotation honoured."""

    def _stamped(self) -> Generator[Stamped[Any], None, None]:
        av = load_av()
        try:
            container = av.open(self.name)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{self.name}: not a video that can be read ({reason(error)})") from error
        with container:
            stream = picture_stream(container, self.name)
            stream.thread_type = "AUTO"
            yield from self._decode(container, stream, av.FFmpegError)

    def _decode(self, container: Any, stream: Any, broken: type[Exception]) -> Iterator[Stamped[Any]]:
        end_s = 0.0
        try:
            for time_s, length_s, frame in _stamp(container.decode(stream), stream):
                end_s = max(end_s, time_s + length_s)
                yield time_s, length_s, frame
        except broken as error:
            if not end_s:
                raise SourceError(f"{self.name}: its first frame cannot be read ({reason(error)})") from error
            logger.warning("%s: breaks off after %.2f s (%s)", self.name, end_s, reason(error))
            return
        if not end_s:
            raise SourceError(f"{self.name}: has no frames; give another file")
        promised_s = (container.duration or 0) / 1e6
        if end_s + 1.0 < promised_s:
            logger.warning("%s: ends after %.2f s of %.2f s", self.name, end_s, promised_s)

    def _pixels(self, item: Any) -> Pixels:
        rgb: Pixels = item.to_ndarray(format="rgb24")
        return upright(rgb, getattr(item, "rotation", 0))


class PictureFolder(_Finite):
    """The pictures of a folder in natural order (9 before 10), one a tick; unreadable ones are skipped."""

    def _stamped(self) -> Generator[Stamped[Pixels], None, None]:
        for number, path in enumerate(self._pictures()):
            pixels = read_picture(path)
            if pixels is None:
                logger.warning("%s: not a picture that can be read, skipped", path)
                continue
            yield number / self.fps, 1.0 / self.fps, pixels

    def _pictures(self) -> list[Path]:
        inside = (path for path in self._path.iterdir() if not path.name.startswith("."))
        found = sorted((p for p in inside if p.suffix.lower() in PICTURES and p.is_file()), key=natural_key)
        if not found:
            raise SourceError(f"{self.name}: no pictures in this folder (png, jpg, webp, bmp, tif, ppm)")
        return found

    def _pixels(self, item: Pixels) -> Pixels:
        return item


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that reads runs of digits as numbers: `a9.png` comes before `a10.png`."""
    parts = re.findall(r"\d+|\D+", path.stem.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.suffix


def read_picture(path: Path) -> Pixels | None:
    """Read one picture file as (H, W, 3) RGB, upright; None if it cannot be read."""
    cv2 = load_cv2()
    try:
        pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, OSError):
        return None
    return None if pixels is None else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def upright(pixels: Pixels, rotation: int) -> Pixels:
    """Turn a picture (H, W, 3) counterclockwise by `rotation` degrees, to the nearest quarter."""
    quarters = round(rotation / 90) % 4
    return pixels if quarters == 0 else np.ascontiguousarray(np.rot90(pixels, quarters))


def _stamp(frames: Iterable[Any], stream: Any) -> Iterator[Stamped[Any]]:
    """Times from the first frame on; a frame without a time follows the one before at the usual rate.

    Exact until the last division, so that a frame due at a tick is not late by a rounding error.
    """
    usual = 1 / Fraction(stream.average_rate or 25)
    first: Fraction | None = None
    taken = -usual
    for frame in frames:
        base = Fraction(frame.time_base or 0)
        taken = taken + usual if frame.pts is None else frame.pts * base
        first = taken if first is None else first
        yield float(taken - first), float((frame.duration or 0) * base or usual), frame


def picture_stream(container: Any, name: str) -> Any:
    """The first stream that moves; the cover picture of a song is not a video."""
    streams = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
    if not streams:
        raise SourceError(f"{name}: has no video in it; give another file")
    return streams[0]


# Small things


def load_cv2() -> Any:
    """OpenCV, or a SourceError that says how to get it."""
    try:
        import cv2
    except ImportError as error:
        raise SourceError("OpenCV is missing: pip install 'vidtok[edge]'") from error
    return cv2


def load_av() -> Any:
    """PyAV, or a SourceError that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise SourceError("PyAV is missing: pip install 'vidtok[edge]'") from error
    return av


def reason(error: BaseException) -> str:
    """The error's own words, on one line and without the path that we name ourselves."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())
