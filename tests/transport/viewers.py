"""A publisher and a follower over a link each way, and a stage with many of them, in virtual time."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.transport.toy import BLANK, SLOTS, diff, new_session, patch
from transport import (
    Event,
    Follower,
    Link,
    Publisher,
    Role,
    SessionConfig,
)

PATIENT = SessionConfig(resume_within=10.0)


def filled(value: int) -> bytes:
    return bytes([value]) * SLOTS


def whole(old: bytes, new: bytes) -> bytes:
    """A diff that always says everything."""
    return b"" if old == new else new


def put(_: bytes, payload: bytes) -> bytes:
    return payload


@dataclass
class Viewer:
    """A publisher, a follower, and a link each way."""

    publisher: Publisher[Any]
    follower: Follower[Any]
    there: Link
    back: Link
    shown: list[tuple[float, Any]] = field(default_factory=list)
    seen: list[Event] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def step(self, now: float) -> None:
        """Everything that is due at this very time."""
        sender, receiver = self.publisher.session, self.follower.session
        for data in self.there.pop(now):
            self.follow(receiver.receive_datagram(data, now), now)
        for data in self.back.pop(now):
            self.react(sender.receive_datagram(data, now), now)
        self.react(sender.handle_timeout(now), now)
        self.follow(receiver.handle_timeout(now), now)
        self.note(self.publisher.handle_timeout(now))
        for _, data in sender.datagrams_to_send(now):
            self.there.push(data, now)
        for _, data in receiver.datagrams_to_send(now):
            self.back.push(data, now)

    def react(self, events: Iterable[Event], now: float) -> None:
        for event in events:
            self.note(self.publisher.on_event(event, now))
            self.seen.append(event)

    def follow(self, events: Iterable[Event], now: float) -> None:
        for event in events:
            state = self.follower.on_event(event, now)
            if state is not None:
                assert state == self.follower.state
                self.shown.append((now, state))

    def note(self, version: int | None) -> None:
        if version is not None:
            self.versions.append(version)

    def next_time(self) -> float:
        times = [
            self.there.next_time(),
            self.back.next_time(),
            self.publisher.session.next_timeout(),
            self.publisher.next_timeout(),
            self.follower.session.next_timeout(),
        ]
        return min(time for time in times if time is not None)

    def run(self, now: float, until: float) -> float:
        """Let time pass with nothing published: events and timers alone."""
        while now < until:
            self.step(now)
            now = max(now + 1e-6, min(until, self.next_time()))
        return now

    def lose_path(self, now: float) -> None:
        self.react(self.publisher.session.path_lost(now), now)
        self.follow(self.follower.session.path_lost(now), now)

    def find_path(self, there: Link, back: Link, now: float) -> None:
        self.there, self.back = there, back
        self.publisher.session.path_found(now)
        self.follower.session.path_found(now)


def viewer(there: Link | None = None, back: Link | None = None, now: float = 0.0, **more: Any) -> Viewer:
    """One that sees the toy state, unless told otherwise; a connection takes 0.04 s."""
    config = more.pop("config", PATIENT)
    ends = {"diff": diff, "patch": patch, "blank": BLANK, "state_hash": zlib.crc32} | more
    common = ends["blank"], ends["state_hash"]
    return Viewer(
        Publisher(new_session(Role.SENDER, now, config=config), ends["diff"], *common),
        Follower(new_session(Role.RECEIVER, now, config=config), ends["patch"], *common),
        there or Link(1, delay_s=0.02),
        back or Link(2, delay_s=0.02),
    )


def plain(there: Link | None = None, back: Link | None = None, **more: Any) -> Viewer:
    """One to whom every patch says everything."""
    return viewer(there, back, **{"diff": whole, "patch": put, "blank": b""} | more)


class Stage:
    """One state that changes, and who looks at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.truth = BLANK
        self.ever = {BLANK}
        self.viewers: list[Viewer] = []
        self._random = random.Random(5)

    def join(self, one: Viewer) -> Viewer:
        self.viewers.append(one)
        one.publisher.publish(self.truth, self.now)
        return one

    def run(self, until: float, change: float = 0.7) -> None:
        """A look every 0.05 s, at which the truth may have changed."""
        while self.now < until:
            if self._random.random() < change:
                truth = bytearray(self.truth)
                truth[self._random.randrange(SLOTS)] = self._random.randrange(256)
                self.truth = bytes(truth)
                self.ever.add(self.truth)
            for one in self.viewers:
                one.note(one.publisher.publish(self.truth, self.now))
                one.run(self.now, self.now + 0.05)
            self.now += 0.05
