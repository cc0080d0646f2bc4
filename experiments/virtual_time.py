"""asyncio in virtual time: when nothing is ready, the clock jumps to the next timer instead of waiting for it.

    with nothing ready:  select(timeout) --the clock becomes the first timer's time--> its callback runs at exactly it
    with no timer left:  VirtualTimeError names what waits, for nothing could ever wake it

There are no sockets and no threads in here: a run depends on its input alone, and an hour takes as long as its
work. Code that reads the wall clock is given this one with `replaced(module, time=clock())`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualTimeError(Exception):
    """A run in virtual time cannot go on, or something in it failed where nobody looked."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time starts at 0 and passes only by jumps from timer to timer."""

    _scheduled: list[asyncio.TimerHandle]  # the base class keeps these, and waits with `_selector.select`
    _clock_resolution: float
    _check_closed: Callable[[], None]
    _selector: SimpleNamespace

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = math.ulp(0.0)
        self._selector = SimpleNamespace(select=self._jump)
        self._order = itertools.count()

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, but timers of the same time run in the order in which they were set."""
        self._check_closed()
        timer = _Timer(when, callback, args, self, context)
        timer.place = (when, next(self._order))
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _jump(self, timeout: float | None) -> list[Any]:
        """In place of waiting for sockets."""
        if timeout is None:
            waiting = ", ".join(sorted(map(_describe, asyncio.all_tasks(self)))) or "nothing"
            raise VirtualTimeError(f"deadlock at {self._now:g} s: no timer is set that could wake {waiting}")
        if timeout > 0:
            self._now = float(self._scheduled[0].when())
            self._clock_resolution = math.ulp(self._now)  # the base class runs all before now + resolution
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """The loop never sleeps, so it need not be woken."""


class _Timer(asyncio.TimerHandle):
    """A timer that keeps its place among those of its time."""

    __slots__ = ("place",)
    place: tuple[float, int]
    _scheduled: bool

    def __lt__(self, other: object) -> bool:
        return self.place < other.place if isinstance(other, _Timer) else NotImplemented


def _describe(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return f"{task.get_name()} ({getattr(coroutine, '__qualname__', coroutine)})"


def run(main: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, run in virtual time; an error in any task or callback of the run ends in one here."""
    failures: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        result = runner.run(main)
    for failure in failures:
        raise VirtualTimeError(failure["message"]) from failure.get("exception")
    return result


def clock() -> SimpleNamespace:
    """A stand-in for the `time` module that reads the running loop's clock."""
    return SimpleNamespace(time=asyncio.get_running_loop().time)


@contextlib.contextmanager
def replaced(module: ModuleType, **others: object) -> Iterator[None]:
    """Other things under a module's names, for as long as the block lasts (in every thread)."""
    before = {name: getattr(module, name) for name in others}
    vars(module).update(others)
    try:
        yield
    finally:
        vars(module).update(before)
