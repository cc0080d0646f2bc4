"""A toy state in step over two impaired links in virtual time: what the session tests drive.

The state is a short bytearray. A patch lists the slots that differ, two bytes a slot.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field

from transport import (
    BaseLost,
    Closed,
    Connected,
    DeltaReceived,
    Event,
    FeedbackReceived,
    Lane,
    Link,
    Refresh,
    Role,
    Session,
    SessionConfig,
    State,
    StateCheck,
)

SLOTS = 48
BLANK = bytes(SLOTS)
CODEC = b"toy codec"
SESSION_ID = bytes(range(16))


def diff(old: bytes, new: bytes) -> bytes:
    return b"".join(bytes([i, b]) for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)


def patch(old: bytes, payload: bytes) -> bytes:
    new = bytearray(old)
    for index, value in zip(payload[::2], payload[1::2], strict=True):
        new[index] = value
    return bytes(new)


def new_session(role: Role, now: float = 0.0, config: SessionConfig | None = None, **other: object) -> Session:
    options: dict[str, object] = {
        "codec_hash": CODEC,
        "meta": {"who": role.value},
        "wall_ms": 1_700_000_000_000,
    }
    if role is Role.SENDER:
        options["session_id"] = SESSION_ID
    options.update(other)
    return Session(role, config=config, now=now, **options)  # type: ignore[arg-type]


@dataclass
class ToySender:
    session: Session
    truth: bytes = BLANK
    states: dict[int, bytes] = field(default_factory=lambda: {0: BLANK})
    ever: set[bytes] = field(default_factory=lambda: {BLANK})
    seen: list[Event] = field(default_factory=list)
    lane: Lane = Lane.DELTA
    deadline: float | None = None
    greedy: bool = False
    dirty: bool = False

    def take(self, events: list[Event]) -> None:
        self.seen += events
        self.dirty = self.dirty or any(isinstance(event, BaseLost | Refresh) for event in events)

    def frame(self, now: float) -> int | None:
        """Send what differs from the base, if the network takes it (or in spite of it)."""
        blocked = len(self.session.needed()) >= self.session.config.max_in_flight
        if not self.session.allowance(now) and (blocked or not self.greedy or self.session.state is not State.OPEN):
            return None
        self.dirty = False
        base = self.session.base(now)
        payload = diff(self.states[base], self.truth)
        if not payload:
            return None
        self.ever.add(self.truth)
        version = self.session.send_delta(
            base=base,
            payload=payload,
            capture_ms=int(now * 1000),
            state_hash=zlib.crc32(self.truth),
            now=now,
            lane=self.lane,
            deadline=None if self.deadline is None else now + self.deadline,
        )
        self.states[version] = self.truth
        needed = self.session.needed()
        assert not needed or min(needed) >= self.session.oldest_needed()
        self.states = {v: s for v, s in self.states.items() if v == 0 or v in needed}
        return version


@dataclass
class ToyReceiver:
    session: Session
    shown: bytes = BLANK
    version: int = 0
    states: dict[int, bytes] = field(default_factory=lambda: {0: BLANK})
    seen: list[Event] = field(default_factory=list)
    history: list[bytes] = field(default_factory=lambda: [BLANK])
    checked: int = 0

    def take(self, events: list[Event], now: float) -> None:
        for event in events:
            self.seen.append(event)
            if isinstance(event, DeltaReceived):
                self._on_delta(event, now)
            elif isinstance(event, StateCheck) and event.version == self.version:
                self.checked += 1
                if zlib.crc32(self.shown) != event.state_hash:
                    self.session.request_refresh("hash", now)

    def _on_delta(self, event: DeltaReceived, now: float) -> None:
        new = patch(self.states[event.base], event.payload)
        if event.state_hash is not None and zlib.crc32(new) != event.state_hash:
            self.session.rejected(event.version, "hash", now)
            return
        self.shown, self.version = new, event.version
        self.states[event.version] = new
        while len(self.states) > 80:
            del self.states[sorted(self.states)[1]]
        self.history.append(new)
        self.session.applied(event.version, now)


class World:
    """Sender, receiver and a link each way; time moves in `run`."""

    def __init__(self, there: Link, back: Link, config: SessionConfig | None = None, seed: int = 0) -> None:
        self.now = 0.0
        self.there, self.back = there, back
        self.sender = ToySender(new_session(Role.SENDER, config=config))
        self.receiver = ToyReceiver(new_session(Role.RECEIVER, config=config))
        self.random = random.Random(seed)
        self.sent_log: list[tuple[float, Lane, bytes]] = []
        self.steps = 0

    def run(self, until: float, *, frame: float | None = 0.05, change: float = 0.0) -> None:
        """Let time pass; every `frame` seconds the truth changes with chance `change`, and is sent.

        With no `frame` the sender diffs only when an event told it to.
        """
        next_frame = self.now
        while self.now < until:
            if frame is not None and self.now >= next_frame:
                if self.random.random() < change:
                    self.mutate()
                self.sender.frame(self.now)
                next_frame = self.now + frame
            self.step()
            self.now = max(self.now, min(until, self._next(next_frame if frame is not None else None)))

    def mutate(self) -> None:
        truth = bytearray(self.sender.truth)
        for _ in range(self.random.randint(1, 4)):
            truth[self.random.randrange(SLOTS)] = self.random.randrange(256)
        self.sender.truth = bytes(truth)

    def step(self) -> None:
        """Everything that is due at this very time."""
        now = self.now
        self.steps += 1
        for data in self.there.pop(now):
            self.receiver.take(self.receiver.session.receive_datagram(data, now), now)
        for data in self.back.pop(now):
            self.sender.take(self.sender.session.receive_datagram(data, now))
        self.sender.take(self.sender.session.handle_timeout(now))
        self.receiver.take(self.receiver.session.handle_timeout(now), now)
        if self.sender.dirty:
            self.sender.frame(now)
        for lane, data in self.sender.session.datagrams_to_send(now):
            self.sent_log.append((now, lane, data))
            self.there.push(data, now)
        for _, data in self.receiver.session.datagrams_to_send(now):
            self.back.push(data, now)

    def _next(self, next_frame: float | None) -> float:
        times = [
            next_frame,
            self.there.next_time(),
            self.back.next_time(),
            self.sender.session.next_timeout(),
            self.receiver.session.next_timeout(),
        ]
        soonest = min((time for time in times if time is not None), default=float("inf"))
        return max(soonest, self.now + 1e-6)

    def in_step(self) -> bool:
        return self.sender.truth == self.receiver.shown


__all__ = [
    "BLANK",
    "BaseLost",
    "Closed",
    "Connected",
    "FeedbackReceived",
    "Refresh",
    "ToyReceiver",
    "ToySender",
    "World",
    "diff",
    "new_session",
    "patch",
]
