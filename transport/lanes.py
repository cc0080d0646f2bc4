"""Lanes and the outbox: control before anchor before delta, and nothing waits past its deadline.

    push ──> [control] ─┐
    push ──> [anchor ] ─┼─ pop(now): first lane that has something; what is too late is dropped
    push ──> [delta  ] ─┘

Every lane is bounded. A full lane refuses the newcomer: what is queued before it may be its base.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import IntEnum


class Lane(IntEnum):
    """How a packet wants to travel; lower goes first.

    CONTROL and ANCHOR want a reliable, ordered path. DELTA may be lost or overtaken: deltas, and also
    acknowledgements and heartbeats, which are worth nothing late.
    """

    CONTROL = 0
    ANCHOR = 1
    DELTA = 2


@dataclass(frozen=True)
class Item:
    """One packet that waits: `version` is set for deltas, `deadline` is in seconds of the caller's clock.

    What is `spare` may be lost: its version is whole without it.
    """

    lane: Lane
    data: bytes
    deadline: float
    version: int | None = None
    spare: bool = False


class Outbox:
    """Bounded queues, one a lane."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._lanes: dict[Lane, deque[Item]] = {lane: deque() for lane in Lane}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def queued_bytes(self, *lanes: Lane) -> int:
        """Bytes that wait on `lanes` (all of them by default)."""
        if not self._count:
            return 0
        return sum(len(item.data) for lane in lanes or tuple(Lane) for item in self._lanes[lane])

    def room(self, *lanes: Lane) -> int:
        """Packets that the fullest of `lanes` still takes."""
        return min(self._limit - len(self._lanes[lane]) for lane in lanes)

    def has_deltas(self) -> bool:
        """Whether anything waits that the application handed over."""
        return self._count > 0 and any(item.version is not None for queue in self._lanes.values() for item in queue)

    def push(self, item: Item) -> bool:
        """Queue `item`; False, and nothing queued, when its lane is full."""
        queue = self._lanes[item.lane]
        if len(queue) >= self._limit:
            return False
        queue.append(item)
        self._count += 1
        return True

    def expire(self, now: float) -> list[Item]:
        """Take out and return everything whose deadline has passed."""
        return self._take(lambda item: item.deadline <= now)

    def discard(self, versions: Container[int]) -> list[Item]:
        """Take out and return the deltas whose version is in `versions`."""
        return self._take(lambda item: item.version is not None and item.version in versions)

    def clear(self, lane: Lane) -> None:
        """Forget what waits on one lane."""
        self._count -= len(self._lanes[lane])
        self._lanes[lane].clear()

    def _take(self, unwanted: Callable[[Item], bool]) -> list[Item]:
        taken: list[Item] = []
        if not self._count:
            return taken
        for lane, queue in self._lanes.items():
            out = [item for item in queue if unwanted(item)]
            if out:
                taken += out
                self._lanes[lane] = deque(item for item in queue if not unwanted(item))
        self._count -= len(taken)
        return taken

    def pop(self, *lanes: Lane) -> Item | None:
        """The next item of the first of `lanes` (all, in order, by default) that has one."""
        if not self._count:
            return None
        for lane in lanes or tuple(Lane):
            if self._lanes[lane]:
                self._count -= 1
                return self._lanes[lane].popleft()
        return None

    def next_deadline(self) -> float | None:
        """The earliest deadline of all that waits."""
        return min((item.deadline for queue in self._lanes.values() for item in queue), default=None)
