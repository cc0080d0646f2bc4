"""A bad network in virtual time: seeded, deterministic, bounded.

    push ─> outage? ─> loss? ─> duplicate? ─> queue at rate or trace ─> delay + jitter (+ reorder) ─> pop

The same seed and the same calls give the same fate for every packet. What is lost is counted and named.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from transport.errors import LocalProtocolError

_TRACE_PACKET = 1500


@dataclass(frozen=True)
class Gilbert:
    """Bursty loss: a good and a bad state, chances per packet to change, and each state's loss."""

    to_bad: float
    to_good: float
    loss_good: float = 0.0
    loss_bad: float = 1.0


class Link:
    """One direction. Rates are bits per second, times seconds; each chance is per packet, 0 to 1."""

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        delay_s: float = 0.0,
        jitter_s: float = 0.0,
        rate_bps: float | None = None,
        queue_bytes: int = 64_000,
        outages: Sequence[tuple[float, float]] = (),
        gilbert: Gilbert | None = None,
        trace_ms: Sequence[int] | None = None,
    ) -> None:
        if rate_bps is not None and rate_bps <= 0:
            raise LocalProtocolError("rate_bps must be above 0")
        self._random = random.Random(seed)
        self._loss, self._duplicate, self._reorder = loss, duplicate, reorder
        self._delay, self._jitter = delay_s, jitter_s
        self._rate, self._queue_bytes = rate_bps, queue_bytes
        self._outages, self._gilbert, self._bad = tuple(outages), gilbert, False
        self._schedule = _Schedule(trace_ms) if trace_ms is not None else None
        self._queue: deque[tuple[float, int]] = deque()  # (when it has left the queue, size)
        self._free_at = 0.0
        self._last_due = 0.0
        self._flying: list[tuple[float, int, bytes]] = []
        self._count = 0
        self.drops: Counter[str] = Counter()
        self.pushed = self.delivered = 0

    def push(self, data: bytes, now: float) -> None:
        """Hand one packet to the link."""
        self.pushed += 1
        if any(start <= now < end for start, end in self._outages):
            self.drops["outage"] += 1
        elif self._random.random() < self._loss_now():
            self.drops["loss"] += 1
        else:
            self._enqueue(data, now)
            if self._random.random() < self._duplicate:
                self._enqueue(data, now)

    def _loss_now(self) -> float:
        if self._gilbert is None:
            return self._loss
        change = self._gilbert.to_good if self._bad else self._gilbert.to_bad
        if self._random.random() < change:
            self._bad = not self._bad
        burst = self._gilbert.loss_bad if self._bad else self._gilbert.loss_good
        return 1 - (1 - self._loss) * (1 - burst)

    def _enqueue(self, data: bytes, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            self._queue.popleft()
        if self.queued_bytes(now) + len(data) > self._queue_bytes:
            self.drops["queue-full"] += 1
            return
        left = self._serve(len(data), now)
        self._queue.append((left, len(data)))
        due = left + self._delay + self._random.random() * self._jitter
        if self._random.random() < self._reorder:
            due += max(2 * self._jitter, self._delay / 2, 0.01)
        else:
            due = self._last_due = max(due, self._last_due)
        self._count += 1
        heapq.heappush(self._flying, (due, self._count, data))

    def _serve(self, size: int, now: float) -> float:
        """When the bottleneck has sent this packet."""
        start = max(now, self._free_at)
        if self._schedule is not None:
            self._free_at = self._schedule.serve(size, start)
        elif self._rate is not None:
            self._free_at = start + size * 8 / self._rate
        else:
            self._free_at = start
        return self._free_at

    def queued_bytes(self, now: float) -> int:
        """Bytes that wait for the bottleneck."""
        return sum(size for left, size in self._queue if left > now)

    def pop(self, now: float) -> list[bytes]:
        """Everything that has arrived by now, in order of arrival."""
        out = []
        while self._flying and self._flying[0][0] <= now:
            out.append(heapq.heappop(self._flying)[2])
        self.delivered += len(out)
        return out

    def next_time(self) -> float | None:
        """When the next packet arrives."""
        return self._flying[0][0] if self._flying else None


class _Schedule:
    """Delivery opportunities of a Mahimahi trace: each stamp passes 1,500 bytes; the trace repeats."""

    def __init__(self, trace_ms: Sequence[int]) -> None:
        if not trace_ms or trace_ms[-1] <= 0 or any(a > b for a, b in pairwise(trace_ms)):
            raise LocalProtocolError("a trace needs millisecond stamps that never fall and end above 0")
        self._stamps = tuple(trace_ms)
        self._used = -1  # the opportunity in use, counted over all repeats
        self._left = 0

    def _time(self, index: int) -> float:
        repeats, place = divmod(index, len(self._stamps))
        return (repeats * self._stamps[-1] + self._stamps[place]) / 1000

    def _first_at(self, now: float) -> int:
        repeats, rest = divmod(now * 1000, self._stamps[-1])
        return int(repeats) * len(self._stamps) + bisect_left(self._stamps, rest)

    def serve(self, size: int, now: float) -> float:
        """When the last byte of a packet that is first in the queue at `now` passes."""
        if self._used < 0 or self._time(self._used) < now:
            self._used, self._left = max(self._used + 1, self._first_at(now)), _TRACE_PACKET
        while size > self._left:
            size -= self._left
            self._used, self._left = self._used + 1, _TRACE_PACKET
        self._left -= size
        return max(now, self._time(self._used))


def read_mahimahi(path: str | Path) -> list[int]:
    """The millisecond stamps of a Mahimahi trace file, one a line."""
    stamps: list[int] = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not text.isdigit() or (stamps and int(text) < stamps[-1]):
            raise LocalProtocolError(f"{path}, line {number}: stamps are whole milliseconds that never fall")
        stamps.append(int(text))
    if not stamps or stamps[-1] == 0:
        raise LocalProtocolError(f"{path}: no millisecond stamps above 0")
    return stamps
