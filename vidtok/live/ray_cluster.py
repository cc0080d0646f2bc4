"""Workers as actors of a Ray cluster on this machine: started for the server, ended with it, open to nobody else.

Cluster --starts--> Ray: on 127.0.0.1, a token of its own, no dashboard, no telemetry, files in a folder of its own
   |
   +--worker--> RayWorker --calls--> actor: Hosted --> Mind --> Answerer
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from vidtok.canvas import Canvas
from vidtok.errors import MissingExtra, ModelError
from vidtok.live.figures import Tally
from vidtok.live.mind import Mind
from vidtok.live.workers import Words, WorkerDied
from vidtok.model.answerer import Answer, Answerer, Shown

LETTING_GO_S = 1.0  # what an actor may take to end an interrupted answer

STORE = 256 << 20  # bytes of shared memory for canvases on their way; Ray takes no less than 75 MiB
T = TypeVar("T")

# Ray reads these when it is imported. The second is named after two other systems, and keeps it on 127.0.0.1 on any.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}


@dataclass(frozen=True)
class Refused:
    """In place of a word: why there will be no answer."""

    text: str


class Hosted:
    """What an actor runs: a Mind, by the keys of its streams."""

    def __init__(self, make: Callable[[], Answerer]) -> None:
        self._mind = Mind(make())
        self._thinking: asyncio.Task[None] | None = None

    async def ready(self) -> int:
        """Begin to think; the process's number."""
        if self._thinking is None:
            self._thinking = asyncio.create_task(self._mind.run())
        return os.getpid()

    async def join(self, key: str, canvas: Canvas, fps: float) -> None:
        """A stream begins."""
        self._mind.join(key, canvas, fps)

    async def show(self, key: str, shown: Shown) -> float:
        """A canvas has come."""
        room = self._mind.show(key, shown.canvas, shown.time_s, shown.late_s)
        return self._mind.behind(key) if room else 1.0

    async def leave(self, key: str) -> None:
        """A stream has ended."""
        self._mind.leave(key)

    async def ask(self, key: str, text: str) -> AsyncGenerator[str | Answer | Refused, None]:
        """Words of the answer, then the whole."""
        try:
            async with aclosing(self._mind.ask(key, text)) as words:
                async for word in words:
                    yield word
        except ModelError as error:
            yield Refused(str(error).replace(key, key.rpartition("#")[0]))

    async def tally(self) -> Tally:
        """What it has done; what went wrong with its thinking is raised here."""
        if self._thinking is not None and self._thinking.done():
            self._thinking.result()
        return self._mind.tally()


class RayWorker:
    """A handle of an actor."""

    def __init__(self, ray: Any, actor: Any, name: str) -> None:
        self.name, self._ray, self._actor = name, ray, actor
        self.started = actor.ready.remote()

    def ready(self) -> Awaitable[int]:
        """Once it can be called, its process's number."""
        return self._call(self.started)

    def join(self, key: str, canvas: Canvas, fps: float) -> Awaitable[None]:
        """A stream begins."""
        return self._call(self._actor.join.remote(key, canvas, fps))

    def show(self, key: str, shown: Shown) -> Awaitable[float]:
        """A canvas has come."""
        return self._call(self._actor.show.remote(key, shown))

    def leave(self, key: str) -> Awaitable[None]:
        """A stream has ended."""
        return self._call(self._actor.leave.remote(key))

    def tally(self) -> Awaitable[Tally]:
        """What it has done since it began."""
        return self._call(self._actor.tally.remote())

    async def ask(self, key: str, text: str) -> Words:
        """Words of the answer, then the whole; closing it interrupts."""
        words = self._actor.ask.options(num_returns="streaming").remote(key, text)
        whole = False
        try:
            async for reference in words:
                word = await self._call(reference)
                whole = isinstance(word, Answer | Refused)
                if isinstance(word, Refused):
                    raise ModelError(word.text)
                yield word
        finally:
            if not whole:
                await self._interrupt(words)

    async def _interrupt(self, words: Any) -> None:
        """End an answer; it is over, and its place free, when this returns, unless the actor takes too long."""
        self._ray.cancel(words)
        with suppress(TimeoutError, self._ray.exceptions.RayError):
            async with asyncio.timeout(LETTING_GO_S):
                async for _ in words:
                    pass

    def kill(self) -> None:
        """End it now."""
        self._ray.kill(self._actor)

    async def _call(self, reference: Awaitable[T]) -> T:
        """What a call gives. An actor that fails at one is not asked another time: it has died, to us."""
        try:
            return await reference
        except self._ray.exceptions.RayError as error:
            raise WorkerDied(f"{self.name} {_reason(self._ray, error)}") from None


def _reason(ray: Any, error: Exception) -> str:
    """What has happened to an actor, in a line."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = getattr(error, "cause", error)
        return f"failed ({type(cause).__name__}: {_line(cause)})"
    return "died"


def _line(error: BaseException) -> str:
    """What it says, in a line that is not too long."""
    return " ".join(str(error).split())[-300:]


class Cluster:
    """Ray on this machine, for as long as the server runs."""

    def __init__(self, cores: int, make: Callable[[], Answerer]) -> None:
        self._ray = _ray()
        self._folder = tempfile.TemporaryDirectory(prefix="vidtok-ray-", ignore_cleanup_errors=True)
        try:
            _start(self._ray, cores, self._folder.name)
        except BaseException:
            self.close()
            raise
        self._actor = self._ray.remote(Hosted).options(num_cpus=1, max_concurrency=1000)
        self._make, self._workers = make, list[RayWorker]()

    def worker(self, name: str) -> RayWorker:
        """Begin to make one."""
        worker = RayWorker(self._ray, self._actor.remote(self._make), name)
        self._workers.append(worker)
        return worker

    def wait(self) -> None:
        """Until all that were begun can be called. ModelError in one line where the model cannot be loaded."""
        try:
            self._ray.get([worker.started for worker in self._workers])
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise ModelError(f"--workers ray: {_line(cause)}") from None

    def close(self) -> None:
        """End Ray and all that it has started."""
        self._ray.shutdown()
        self._folder.cleanup()


def _ray() -> Any:
    """The package, which reads its environment when it is imported."""
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray remembers the first it was given
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("ray", "ray") from error
    return ray


def _start(ray: Any, cores: int, folder: str) -> None:
    """Begin a cluster."""
    ends = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address="local", num_cpus=cores, num_gpus=0, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=STORE, _temp_dir=folder,
        )  # fmt: skip
    except Exception as error:  # it tells of what goes wrong in many ways
        raise ModelError(f"--workers ray: Ray does not start here ({_line(error)})") from None
    for number, handler in ends.items():  # Ray has put its own in their place
        signal.signal(number, handler)
