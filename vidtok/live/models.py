"""Who answers: every model behind one protocol, chosen by a name.

built-in                     Mind: our own, reads every edit
hf:NAME_OR_PATH              Open: a Qwen-VL or LLaVA of `transformers`, edits as its own embeddings
openai:URL?model=NAME        Closed: any endpoint that takes pictures, keyframes drawn when there is news
none                         nobody; labels only
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import numpy as np

from vidtok.canvas import Canvas
from vidtok.errors import ModelError
from vidtok.live.figures import Tally
from vidtok.live.mind import Mind
from vidtok.model.answerer import Answer, Answerer
from vidtok.model.closed import ClosedModel, Endpoint, endpoint_of
from vidtok.model.open_vlm import OpenVlm, Watching, open_vlm

BUILT_IN, NO_MODEL, OPEN, CLOSED = "built-in", "none", "hf:", "openai:"
Words = AsyncGenerator[str | Answer, None]


class Model(Protocol):
    """A model that watches any number of streams and answers questions about them."""

    async def run(self) -> None:
        """Work until cancelled."""

    def join(self, stream: str, canvas: Canvas, fps: float) -> None:
        """A stream begins, or begins anew."""

    def leave(self, stream: str) -> None:
        """A stream has ended."""

    def show(self, stream: str, canvas: Canvas, time_s: float, late_s: float = 0.0) -> bool:
        """A canvas has come. False where the model does not keep up with this stream."""

    def behind(self, stream: str) -> float:
        """How much of the room for canvases that wait is taken, 0 to 1."""

    def ask(self, stream: str, text: str) -> Words:
        """Words of the answer, then the whole; closing it interrupts."""

    def tally(self) -> Tally:
        """What it has done, and what it keeps of each stream, as far as that is known."""


def load_model(name: str, projector: Path | None = None) -> Model | None:
    """The model of that name; None for NO_MODEL."""
    if name == NO_MODEL:
        return None
    if name == BUILT_IN:
        return Mind(Answerer.load())
    if name.startswith(OPEN):
        return Open(open_vlm(name, projector))
    if name.startswith(CLOSED):
        return Closed(endpoint_of(name), _drawing())
    raise ModelError(f"--model {name}: give {BUILT_IN}, {OPEN}NAME_OR_PATH, {CLOSED}URL?model=NAME or {NO_MODEL}")


def _drawing() -> Callable[[Canvas], bytes]:
    """The viewer's picture as a JPEG: what an endpoint that takes pictures is shown."""
    from vidtok.live.pictures import jpeg
    from vidtok.model.viewer import CanvasViewer

    viewer = CanvasViewer()
    return lambda canvas: jpeg(viewer.show(canvas))


def _whole(parts: list[str]) -> Answer:
    """An answer of a model that does not say where it looked, nor how sure it is."""
    return Answer("".join(parts), 1.0, np.zeros(0, np.float32), np.zeros((0, 2), np.int32))


class Closed:
    """Streams before an endpoint that takes pictures."""

    def __init__(self, endpoint: Endpoint, draw: Callable[[Canvas], bytes]) -> None:
        self._endpoint, self._draw = endpoint, draw
        self._streams: dict[str, ClosedModel] = {}
        self._now: dict[str, float] = {}

    async def run(self) -> None:
        """Nothing is to be done before somebody asks."""
        await asyncio.Event().wait()

    def join(self, stream: str, canvas: Canvas, fps: float) -> None:
        """A stream begins, or begins anew."""
        self._streams[stream], self._now[stream] = ClosedModel(self._endpoint, self._draw), 0.0

    def leave(self, stream: str) -> None:
        """A stream has ended."""
        self._streams.pop(stream, None)
        self._now.pop(stream, None)

    def show(self, stream: str, canvas: Canvas, time_s: float, late_s: float = 0.0) -> bool:
        """A canvas has come; perhaps it is a keyframe."""
        self._now[stream] = time_s
        self._streams[stream].see(canvas, time_s)
        return True

    def behind(self, stream: str) -> float:
        """Choosing keyframes takes no time."""
        return 0.0

    def tally(self) -> Tally:
        """What the endpoint does and keeps is not known."""
        return Tally()

    async def ask(self, stream: str, text: str) -> Words:
        """Words of the answer, then the whole."""
        if stream not in self._streams:
            raise ModelError(f"{stream}: no such stream")
        parts: list[str] = []
        async with aclosing(self._streams[stream].ask(text, self._now[stream])) as answer:
            async for part in answer:
                parts.append(part)
                yield part
        yield _whole(parts)


class Open:
    """Streams before an open model: it reads the newest canvas of each in turn, one thing at a time."""

    def __init__(self, vlm: OpenVlm) -> None:
        self._vlm = vlm
        self._streams: dict[str, Watching] = {}
        self._newest: dict[str, tuple[Canvas, float]] = {}
        self._work = asyncio.Event()
        self._one = asyncio.Lock()  # whoever holds it uses the weights

    async def run(self) -> None:
        """Read what has come, stream after stream, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            for stream in list(self._newest):
                await self._read(stream)

    def join(self, stream: str, canvas: Canvas, fps: float) -> None:
        """A stream begins, or begins anew."""
        self._streams[stream] = self._vlm.watch()

    def leave(self, stream: str) -> None:
        """A stream has ended."""
        self._streams.pop(stream, None)
        self._newest.pop(stream, None)

    def show(self, stream: str, canvas: Canvas, time_s: float, late_s: float = 0.0) -> bool:
        """A canvas has come; one that still waits gives way to it."""
        room = stream not in self._newest
        self._newest[stream] = canvas, time_s
        self._work.set()
        return room

    def behind(self, stream: str) -> float:
        """One canvas waits at most: it is to be read, or everything was."""
        return 0.5 * (stream in self._newest)

    def tally(self) -> Tally:
        """Which canvases wait; what `transformers` keeps is not told."""
        return Tally(waiting={stream: int(stream in self._newest) for stream in self._streams})

    async def ask(self, stream: str, text: str) -> Words:
        """Words of the answer, then the whole."""
        if stream not in self._streams:
            raise ModelError(f"{stream}: no such stream")
        await self._read(stream)
        parts: list[str] = []
        async with self._one:
            stopped = asyncio.Event()
            words = self._streams[stream].ask(text, stopped.is_set)
            try:
                while (word := await asyncio.to_thread(_next, words)) is not None:
                    parts.append(word)
                    yield word
            finally:
                stopped.set()
                for _ in words:  # so that it leaves its memory as it was
                    pass
        yield _whole(parts)

    async def _read(self, stream: str) -> None:
        async with self._one:
            if stream in self._newest:
                canvas, time_s = self._newest.pop(stream)
                await asyncio.to_thread(self._streams[stream].see, canvas, time_s)


def _next(words: Iterator[str]) -> str | None:
    return next(words, None)
