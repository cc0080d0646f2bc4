"""A bad network in virtual time: seeded, deterministic, bounded. Usable alone, to test anything that sends packets.

    push ─> outage? ─> loss? ─> duplicate? ─> queue at rate, rates or trace ─> delay + jitter (+ reorder) ─> pop

The same seed and the same calls give the same fate for every packet. What is lost is counted and named.
Links stand one behind the other in a `Route`; `profile` has a few networks ready made:

    >>> from transport.impair import Link, Route
    >>> radio = Link(1, loss=0.1, rates=[(0.0, 1e6), (2.0, 0.0), (2.5, 4e5)])  # bits per second; again after 3 s
    >>> backbone = Link(2, delay_s=0.04, rate_bps=2e6)
    >>> route, arrivals = Route([radio, backbone]), []
    >>> for step in range(300):
    ...     route.push(bytes(500), now=step * 0.01)
    >>> while (now := route.next_time()) is not None:
    ...     arrivals += [now for _ in route.pop(now)]
    >>> len(arrivals), dict(route.drops), round(max(arrivals), 3)
    (263, {'loss': 37}, 3.198)
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from transport.errors import LocalProtocolError
from transport.impair_traces import (
    Capacity,
    Conditions,
    Curve,
    Opportunities,
    Steps,
    read_alphartc,
    read_bandwidth,
    read_iperf,
    read_mahimahi,
)

__all__ = [
    "PROFILES",
    "Conditions",
    "Gilbert",
    "Link",
    "Profile",
    "Route",
    "profile",
    "read_alphartc",
    "read_bandwidth",
    "read_iperf",
    "read_mahimahi",
]


@dataclass(frozen=True)
class Gilbert:
    """Bursty loss: a good and a bad state, chances per packet to change, and each state's loss."""

    to_bad: float
    to_good: float
    loss_good: float = 0.0
    loss_bad: float = 1.0


class Link:
    """One direction. Rates are bits per second, times seconds; each chance is per packet, 0 to 1.

    `rates`, `losses`, `delays` and `jitters` are rows (time, value) as `impair_traces` explains them; the last three
    come on top of the constant `loss`, `delay_s` and `jitter_s`. At a rate of 0 nothing passes.
    """

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
        rates: Steps | None = None,
        losses: Steps | None = None,
        delays: Steps | None = None,
        jitters: Steps | None = None,
    ) -> None:
        if rate_bps is not None and rate_bps <= 0:
            raise LocalProtocolError("rate_bps must be above 0")
        if rates is not None and (rate_bps is not None or trace_ms is not None):
            raise LocalProtocolError("a link has one bottleneck: give rates, or rate_bps or trace_ms")
        self._random = random.Random(seed)
        self._loss, self._duplicate, self._reorder = loss, duplicate, reorder
        self._delay, self._jitter = delay_s, jitter_s
        self._rate, self._queue_bytes = rate_bps, queue_bytes
        self._outages, self._gilbert, self._bad = tuple(outages), gilbert, False
        self._schedule: Capacity | Opportunities | None = None
        if trace_ms is not None:
            self._schedule = Opportunities(trace_ms)
        elif rates is not None:
            self._schedule = Capacity(rates)
        self._losses = _curve("losses", losses, 1.0)
        self._delays, self._jitters = _curve("delays", delays), _curve("jitters", jitters)
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
        elif self._random.random() < self._loss_at(now):
            self.drops["loss"] += 1
        else:
            self._enqueue(data, now)
            if self._random.random() < self._duplicate:
                self._enqueue(data, now)

    def _loss_at(self, now: float) -> float:
        loss = self._loss if self._losses is None else _either(self._loss, self._losses.at(now))
        if self._gilbert is None:
            return loss
        change = self._gilbert.to_good if self._bad else self._gilbert.to_bad
        if self._random.random() < change:
            self._bad = not self._bad
        return _either(loss, self._gilbert.loss_bad if self._bad else self._gilbert.loss_good)

    def _enqueue(self, data: bytes, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            self._queue.popleft()
        if self.queued_bytes(now) + len(data) > self._queue_bytes:
            self.drops["queue-full"] += 1
            return
        left = self._serve(len(data), now)
        self._queue.append((left, len(data)))
        if left < math.inf:  # else it waits in the queue for ever
            self._count += 1
            heapq.heappush(self._flying, (self._due(left), self._count, data))

    def _due(self, left: float) -> float:
        """When a packet that leaves the queue at `left` arrives."""
        delay = self._delay if self._delays is None else self._delay + self._delays.at(left)
        jitter = self._jitter if self._jitters is None else self._jitter + self._jitters.at(left)
        due = left + delay + self._random.random() * jitter
        if self._random.random() < self._reorder:
            return due + max(2 * jitter, delay / 2, 0.01)
        self._last_due = max(due, self._last_due)
        return self._last_due

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


class Route:
    """Links one behind the other: what leaves one is pushed into the next, at the time at which it left.

    It is used as a link is. At `next_time` a packet may change links only, so that `pop` then returns nothing.
    """

    def __init__(self, links: Sequence[Link | Route]) -> None:
        if not links or len({id(link) for link in links}) < len(links):
            raise LocalProtocolError("a route needs at least one link, and each of them once")
        self._links = tuple(links)

    def push(self, data: bytes, now: float) -> None:
        """Hand one packet to the first link."""
        self._links[0].push(data, now)

    def pop(self, now: float) -> list[bytes]:
        """Everything that has arrived at the far end by now, in order of arrival."""
        self._move(now)
        return self._links[-1].pop(now)

    def _move(self, now: float) -> None:
        for link, following in pairwise(self._links):
            while (due := link.next_time()) is not None and due <= now:
                for data in link.pop(due):
                    following.push(data, due)

    def next_time(self) -> float | None:
        """When `pop` should be called next."""
        times = [time for link in self._links if (time := link.next_time()) is not None]
        return min(times, default=None)

    def queued_bytes(self, now: float) -> int:
        """Bytes that wait for any of the bottlenecks."""
        self._move(now)
        return sum(link.queued_bytes(now) for link in self._links)

    @property
    def drops(self) -> Counter[str]:
        """What all links dropped, by reason."""
        return sum((link.drops for link in self._links), Counter[str]())

    @property
    def pushed(self) -> int:
        """Packets handed to the first link."""
        return self._links[0].pushed

    @property
    def delivered(self) -> int:
        """Packets that the last link handed out."""
        return self._links[-1].delivered


@dataclass(frozen=True)
class Profile:
    """A kind of network: the round trip of an empty one, the loss each way, the rate of either direction."""

    rtt_s: float
    loss: float
    up_bps: float
    down_bps: float


PROFILES: dict[str, Profile] = {
    "cell-edge": Profile(rtt_s=0.12, loss=0.01, up_bps=5e6, down_bps=5e6),
    "congested": Profile(rtt_s=0.2, loss=0.03, up_bps=1e6, down_bps=1e6),
    "geo": Profile(rtt_s=0.34, loss=0.0, up_bps=3e6, down_bps=20e6),  # a satellite
}


def profile(name: str, seed: int) -> tuple[Link, Link]:
    """The links up and down of one of `PROFILES`; different seeds lose different packets."""
    kind = PROFILES.get(name)
    if kind is None:
        raise LocalProtocolError(f"no profile is called {name}: choose one of {', '.join(PROFILES)}")
    up, down = (
        Link(2 * seed + way, loss=kind.loss, delay_s=kind.rtt_s / 2, rate_bps=rate)
        for way, rate in enumerate((kind.up_bps, kind.down_bps))
    )
    return up, down


def _curve(name: str, steps: Steps | None, highest: float = math.inf) -> Curve | None:
    return None if steps is None else Curve(name, steps, highest)


def _either(one: float, other: float) -> float:
    """The chance of at least one of two."""
    return 1 - (1 - one) * (1 - other)
