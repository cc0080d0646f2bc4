"""The sans-IO core of `transport_speed`: many streams at once, either end for itself, in CPU time of one thread.

    two ends over a link in virtual time --> the calls that either end gets --> merged over all streams, by time
                                             --> the same calls to fresh sessions, timed

An end is called as `transport.adapters.connection` calls it: after every call it sends what is due and asks for its
next time. Nothing below the session is in the figures, and nothing above it: updates are bytes made beforehand.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from experiments.timing import Pass, Spent, cpu_s
from transport import DeltaReceived, Link, Role, Session, State

DELAY_S = 0.02
LEAD_S = 2.0  # at the start of every stream are not timed: greetings, first updates
CODEC = b"transport_speed"


class What(Enum):
    """What is asked of an end."""

    TAKE = "take"
    FRAME = "frame"
    TURN = "turn"


@dataclass(frozen=True)
class Kind:
    """A sort of stream: updates of so many bytes, so many a second; 0: one, then nothing changes any more."""

    fps: float
    size: int


Call = tuple[float, int, What, bytes]  # when, which stream, what, with which bytes


class End:
    """One end of a stream, called as the asyncio shell calls it."""

    def __init__(self, role: Role, stream: int) -> None:
        session_id = stream.to_bytes(16, "big") if role is Role.SENDER else None
        self.session = Session(role, session_id=session_id, codec_hash=CODEC, meta={}, now=0.0, wall_ms=0)
        self.due: float | None = 0.0

    def call(self, now: float, what: What, data: bytes) -> list[bytes]:
        """Do one thing; returns what leaves."""
        session = self.session
        if what is What.TAKE:
            for event in session.receive_datagram(data, now):
                if isinstance(event, DeltaReceived):
                    session.applied(event.version, now)
        elif what is What.TURN:
            session.handle_timeout(now)
        elif session.allowance(now) >= len(data):
            base = session.base(now)
            session.send_delta(base=base, payload=data, capture_ms=int(now * 1000), state_hash=base, now=now)
        session.path_is_behind(0)
        out = [packet for _, packet in session.datagrams_to_send(now)]
        self.due = session.next_timeout()
        return out


def written(kind: Kind, stream: int, until: float) -> dict[Role, list[Call]]:
    """The calls that both ends of one stream get up to some time, in their order."""
    ends = {role: End(role, stream) for role in Role}
    links = {role: Link(0, delay_s=DELAY_S) for role in Role}  # towards that end
    calls: dict[Role, list[Call]] = {role: [] for role in Role}
    chance = random.Random(stream)
    frames = deque(_frames(kind, chance.random(), until))

    def do(role: Role, now: float, what: What, data: bytes = b"") -> None:
        calls[role].append((now, stream, what, data))
        for packet in ends[role].call(now, what, data):
            links[Role.SENDER if role is Role.RECEIVER else Role.RECEIVER].push(packet, now)

    now = 0.0
    while now < until:
        for role in Role:
            for packet in links[role].pop(now):
                do(role, now, What.TAKE, packet)
            due = ends[role].due
            if due is not None and due <= now:
                do(role, now, What.TURN)
        while frames and frames[0] <= now:
            frames.popleft()
            do(Role.SENDER, now, What.FRAME, chance.randbytes(kind.size))
        times = [until, *(time for role in Role for time in (links[role].next_time(), ends[role].due) if time)]
        now = max(min(*times, frames[0] if frames else until), now + 0.001)
    if any(end.session.state is not State.OPEN for end in ends.values()):
        raise AssertionError("a stream over a clean link ended")
    return calls


def _frames(kind: Kind, phase: float, until: float) -> Iterator[float]:
    """When updates are made, once both ends have greeted each other."""
    start, number = 0.2 + phase / 2, 1
    yield start
    while kind.fps and (time := start + number / kind.fps) < until:
        yield time
        number += 1


def tapes(mix: Sequence[tuple[Kind, int]], seconds: float) -> dict[Role, list[Call]]:
    """The calls that either end of all streams of a mix (so many of each kind) gets, merged by time; the lead first."""
    kinds = [kind for kind, count in mix for _ in range(count)]
    streams = [written(kind, number, LEAD_S + seconds) for number, kind in enumerate(kinds)]
    return {role: list(heapq.merge(*(calls[role] for calls in streams), key=lambda call: call[0])) for role in Role}


def timed(role: Role, calls: Sequence[Call], streams: int) -> Pass:
    """All of these calls, to fresh sessions; those of the lead are not timed."""
    lead = bisect_left(calls, LEAD_S, key=lambda call: call[0])

    def once() -> Spent:
        ends = [End(role, stream) for stream in range(streams)]
        _all(ends, calls[:lead])
        spent = Spent(cpu_s(partial(_all, ends, calls[lead:])))
        if any(end.session.packets_dropped for end in ends):
            raise AssertionError("a call did not do what it did when it was written down")
        return spent

    return once


def _all(ends: Sequence[End], calls: Sequence[Call]) -> None:
    for now, stream, what, data in calls:
        ends[stream].call(now, what, data)
