"""One model out of many, each a Mind in a process of its own: a stream is placed on one and stays there.

    join --> the worker with the fewest streams
    show --newest only, one under way--> its worker: its Mind reads        a worker dies --> its streams begin anew
    ask  --once all before has come----> its worker --words--> who asked   at another, with their newest canvas

What runs the processes is behind `Worker` and `Workshop`; `vidtok.live.ray_cluster` does it with Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from vidtok.canvas import Canvas
from vidtok.errors import ModelError
from vidtok.live.figures import Tally
from vidtok.model.answerer import Answer, Answerer, Shown

TALLY_S = 1.0  # between two looks at what a worker has done, and whether it lives
AGAIN_S = 1.0  # from a worker's death to the start of the next in its place

Report = Callable[[Mapping[str, object]], None]
Words = AsyncGenerator[str | Answer, None]


class WorkerDied(Exception):  # noqa: N818 - reads as what has happened
    """A worker is no more; the message is one line."""


class Worker(Protocol):
    """A Mind somewhere else. Every call raises WorkerDied when it is no more.

    Its streams go by keys that never come again, so that nothing late of a stream that has ended touches another.
    """

    name: str

    def ready(self) -> Awaitable[int]:
        """Once it can be called, its process's number."""

    def join(self, key: str, canvas: Canvas, fps: float) -> Awaitable[None]:
        """A stream begins."""

    def show(self, key: str, shown: Shown) -> Awaitable[float]:
        """A canvas has come; how much of the room for those that wait is taken then, 0 to 1."""

    def leave(self, key: str) -> Awaitable[None]:
        """A stream has ended."""

    def ask(self, key: str, text: str) -> Words:
        """Words of the answer, then the whole; closing it interrupts."""

    def tally(self) -> Awaitable[Tally]:
        """What it has done since it began, by keys."""

    def kill(self) -> None:
        """End it now."""


class Workshop(Protocol):
    """Where workers are made."""

    def worker(self, name: str) -> Worker:
        """Begin to make one."""

    def close(self) -> None:
        """End all of them."""


@dataclass(eq=False)
class _Stream:
    """A stream, wherever it is."""

    name: str
    fps: float
    newest: Shown
    worker: Worker | None = None
    key: str = ""
    came: int = 0  # canvases so far
    sent: int = 0  # the last of them that is under way, or there
    told: int = -1  # the last of them that its worker has; -1 before it knows of the stream
    behind: float = 0.0
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    feeding: asyncio.Task[None] | None = None

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for that; whoever changes something sets `changed`."""
        while not holds():
            self.changed.clear()
            await self.changed.wait()


class Workers:
    """A Model, spread over workers."""

    def __init__(self, workshop: Workshop, number: int, report: Report) -> None:
        self._workshop, self._report = workshop, report
        self._names, self._keys = (f"worker {k}" for k in count(1)), count(1)
        self._alive = [workshop.worker(next(self._names)) for _ in range(number)]
        self._streams: dict[str, _Stream] = {}
        self._tallies: dict[Worker, Tally] = {}
        self._gone = Tally()  # what those have done that are no more
        self._more = asyncio.Event()  # there are workers
        self._more.set()
        self._feeding: set[asyncio.Task[None]] = set()  # of streams that have ended, too

    async def run(self) -> None:
        """See that there are workers, until cancelled; then end them."""
        try:
            async with asyncio.TaskGroup() as keeping:
                for worker in list(self._alive):
                    keeping.create_task(self._keep(worker))
        finally:
            for task in self._feeding:
                task.cancel()
            await asyncio.gather(*self._feeding, return_exceptions=True)
            self._workshop.close()

    def join(self, stream: str, canvas: Canvas, fps: float) -> None:
        """A stream begins, or begins anew: it is placed where the fewest are."""
        self.leave(stream)
        new = self._streams[stream] = _Stream(stream, fps, Shown(canvas, 0.0, 0.0))
        new.worker = self._least_loaded()
        new.feeding = asyncio.create_task(self._feed(new))
        self._feeding.add(new.feeding)
        new.feeding.add_done_callback(self._feeding.discard)

    def leave(self, stream: str) -> None:
        """A stream has ended."""
        old = self._streams.pop(stream, None)
        if old is not None:
            old.ended = True
            old.changed.set()

    def show(self, stream: str, canvas: Canvas, time_s: float, late_s: float = 0.0) -> bool:
        """A canvas has come. False where one before it has not left yet, or its worker does not keep up."""
        to = self._streams[stream]
        if to.newest.canvas.grid != canvas.grid:
            raise ModelError(f"{stream}: a canvas of another size than it began with; join it again")
        if to.feeding is not None and to.feeding.done():
            to.feeding.result()  # what went wrong there is told here
        room = to.sent >= to.came and to.behind < 1
        to.newest, to.came = Shown(canvas, time_s, late_s), to.came + 1
        to.changed.set()
        return room

    def behind(self, stream: str) -> float:
        """How much of the room for canvases that wait is taken at its worker, 0 to 1."""
        return self._streams[stream].behind

    async def ask(self, stream: str, text: str) -> Words:
        """Words of the answer, then the whole. Closing the iterator interrupts it."""
        if stream not in self._streams:
            raise ModelError(f"{stream}: no such stream; there are {', '.join(self._streams) or 'none now'}")
        about = self._streams[stream]
        before = about.came
        await about.until(lambda: about.told >= before or about.ended)
        if about.ended or about.worker is None:
            raise ModelError(f"{stream}: ended before the answer came")
        try:
            async with aclosing(about.worker.ask(about.key, text)) as words:
                async for word in words:
                    yield word
        except WorkerDied as died:
            raise ModelError(f"{stream}: {died} before the answer came; ask again") from None

    def tally(self) -> Tally:
        """What all of them have done, as of a second ago."""
        done = sum(self._tallies.values(), self._gone)
        names = {stream.key: name for name, stream in self._streams.items()}

        def named(of: Mapping[str, int]) -> dict[str, int]:
            return {names[key]: value for key, value in of.items() if key in names}

        return Tally(done.passes, done.seconds, done.tokens, done.words, named(done.kept), named(done.waiting))

    def placed(self) -> dict[str, str]:
        """Which worker each stream is at; to look at."""
        return {name: stream.worker.name for name, stream in self._streams.items() if stream.worker is not None}

    def _least_loaded(self) -> Worker | None:
        """The worker with the fewest streams; None while there is none."""
        load = dict.fromkeys(self._alive, 0)
        for stream in self._streams.values():
            if stream.worker in load:
                load[stream.worker] += 1
        return min(load, key=load.__getitem__, default=None)

    async def _feed(self, stream: _Stream) -> None:
        """Bring a stream's newest canvas to its worker, and then the then newest, until it ends."""
        while not stream.ended:
            if stream.worker is None:
                await self._more.wait()
                stream.worker = self._least_loaded()
                continue
            try:
                await self._feed_to(stream.worker, stream)
            except WorkerDied as died:
                self._bury(stream.worker)
                stream.worker, stream.told = self._least_loaded(), -1
                to = "the next worker" if stream.worker is None else stream.worker.name
                if not stream.ended:
                    self._report({"event": "moved", "stream": stream.name, "reason": str(died), "to": to})

    async def _feed_to(self, worker: Worker, stream: _Stream) -> None:
        stream.key = f"{stream.name}#{next(self._keys)}"
        await worker.join(stream.key, stream.newest.canvas, stream.fps)
        stream.sent = 0
        while not stream.ended:
            if stream.sent < stream.came:
                stream.sent = stream.came
                stream.behind = await worker.show(stream.key, stream.newest)
            stream.told = stream.sent
            stream.changed.set()
            await stream.until(lambda: stream.ended or stream.came > stream.sent)
        await worker.leave(stream.key)

    async def _keep(self, worker: Worker) -> None:
        """Ask a worker once in a while what it has done; where it has died, begin another in its place."""
        while True:
            try:
                await worker.ready()
                while worker in self._alive:
                    self._tallies[worker] = await worker.tally()
                    await asyncio.sleep(TALLY_S)
            except WorkerDied as died:
                self._report({"event": "died", "worker": worker.name, "reason": str(died)})
            self._bury(worker)
            await asyncio.sleep(AGAIN_S)
            worker = self._workshop.worker(next(self._names))
            with suppress(WorkerDied):
                await worker.ready()
                self._alive.append(worker)
                self._more.set()

    def _bury(self, worker: Worker) -> None:
        """Reckon no longer with a worker."""
        if worker in self._alive:
            self._alive.remove(worker)
            worker.kill()
        self._gone += self._tallies.pop(worker, Tally()).done()
        if not self._alive:
            self._more.clear()


def load_workers(number: int, report: Report, make: Callable[[], Answerer] = Answerer.load) -> Workers:
    """The built-in model in so many processes of a local Ray cluster; they are ready when this returns."""
    from vidtok.live.ray_cluster import Cluster

    cluster = Cluster(number, make)
    try:
        workers = Workers(cluster, number, report)
        cluster.wait()
    except BaseException:
        cluster.close()
        raise
    return workers
