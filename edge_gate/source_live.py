"""Cameras and network cameras: a reader thread that keeps the newest picture only, so that nothing queues.

    device --> reader thread --> one slot, overwritten --> a tick of the clock --> fit(size) --> Frame

OpenCV and PyAV come through `source.load_cv2` and `source.load_av`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol, Self

import numpy as np

from edge_gate.source import (
    Frame,
    Pixels,
    Size,
    SourceError,
    fit,
    load_av,
    load_cv2,
    native_size,
    picture_stream,
    reason,
    upright,
)

logger = logging.getLogger(__name__)

FIRST_FRAME_S = 10.0
STALL_S = 5.0


def open_live(text: str, wanted: Size | None, fps: float, duration_s: float | None) -> LiveSource:
    """Open a camera by number, or an RTSP address; SourceError if there is nothing to see."""
    if text.isdecimal():
        return LiveSource(_Camera(int(text)), f"camera {text}", wanted, fps, duration_s)
    return LiveSource(_Rtsp(text), _without_password(text), wanted, fps, duration_s)


class Grabber(Protocol):
    """A device that blocks until it has a picture; used by one reader thread only."""

    def read(self) -> Pixels | None:
        """The next picture (H, W, 3) RGB, or None when the device has ended."""
        ...

    def release(self) -> None:
        """Let go of the device."""
        ...


class LiveSource:
    """A camera or a stream, read by a thread that keeps the newest picture only, so that nothing queues.

    A consumer slower than `fps` misses ticks instead of falling behind. When the device ends, or shows
    nothing new for five seconds, iteration raises SourceError.
    """

    live = True

    def __init__(
        self, grabber: Grabber, name: str, wanted: Size | None, fps: float, duration_s: float | None = None
    ) -> None:
        self.name = name
        self.fps = fps
        self._grabber = grabber
        self._duration_s = math.inf if duration_s is None else duration_s
        self._news = threading.Condition()
        self._newest: tuple[float, Pixels] | None = None
        self._ended = False
        self._closed = False
        self._thread = threading.Thread(target=self._read, name=f"reader of {name}", daemon=True)
        self._thread.start()
        self._began_s, pixels = self._wait_for_first()
        self.size = wanted or native_size(*pixels.shape[1::-1])

    def _read(self) -> None:
        """The reader thread: the device is touched here and nowhere else."""
        try:
            while not self._closed and (pixels := self._grabber.read()) is not None:
                with self._news:
                    self._newest = time.monotonic(), pixels
                    self._news.notify_all()
        except Exception as error:
            logger.warning("%s: %s", self.name, reason(error))
        finally:
            self._grabber.release()
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _wait_for_first(self) -> tuple[float, Pixels]:
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._ended, timeout=FIRST_FRAME_S)
            newest = self._newest
        if newest is None:
            self.close()
            raise SourceError(f"{self.name}: shows no picture; check that it is there and not in use")
        return newest

    def __iter__(self) -> Iterator[Frame]:
        due_s = time.monotonic()
        index = 0
        while (taken := self._look(due_s)) is not None:
            taken_s, pixels = taken
            if taken_s - self._began_s >= self._duration_s:
                return
            yield Frame(fit(pixels, self.size), taken_s - self._began_s, index)
            index += 1
            late = math.floor((time.monotonic() - due_s) * self.fps)
            due_s += max(1, late) / self.fps

    def _look(self, due_s: float) -> tuple[float, Pixels] | None:
        """Wait for the tick and take the newest picture; None once closed."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self._closed, timeout=max(0.0, due_s - time.monotonic()))
            newest, ended, closed = self._newest, self._ended, self._closed
        if closed:
            return None
        if ended or newest is None:
            raise SourceError(f"{self.name}: has stopped; check the cable or the network and start again")
        if time.monotonic() - newest[0] > STALL_S:
            raise SourceError(f"{self.name}: nothing new for {STALL_S:g} s; check the cable or the network")
        return newest

    def close(self) -> None:
        """Stop the reader thread, which lets go of the device; waits for it no longer than two seconds."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Camera:
    """A camera by number."""

    def __init__(self, number: int) -> None:
        self._cv2 = load_cv2()
        with _quiet(self._cv2):
            self._capture = self._cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise SourceError(f"camera {number}: cannot be opened; plug it in, or try another number or scene")

    def read(self) -> Pixels | None:
        there, pixels = self._capture.read()
        return np.asarray(self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2RGB), dtype=np.uint8) if there else None

    def release(self) -> None:
        self._capture.release()


class _Rtsp:
    """A network camera, over TCP so that a lossy link delays pictures instead of smearing them."""

    def __init__(self, url: str) -> None:
        av = load_av()
        shown = _without_password(url)
        try:
            self._container = av.open(url, options={"rtsp_transport": "tcp"}, timeout=(FIRST_FRAME_S, STALL_S))
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"{shown}: cannot be opened ({reason(error)}); check address and network") from error
        self._frames = self._container.decode(picture_stream(self._container, shown))

    def read(self) -> Pixels | None:
        frame = next(self._frames, None)
        return None if frame is None else upright(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0))

    def release(self) -> None:
        self._container.close()


@contextlib.contextmanager
def _quiet(cv2: Any) -> Iterator[None]:
    """OpenCV prints a page about a missing camera; our one line is enough."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
