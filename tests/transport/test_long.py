"""A day of stream time: versions and capture times go round their sixteen bits again and again, and nothing grows."""

from __future__ import annotations

import gc
import sys
import zlib
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pytest

from tests.transport.toy import BLANK, SLOTS, new_session, patch
from transport import DeltaReceived, Role, Session, State, StateCheck

HOUR = 3600
TURN, TOGETHER = 3, 8  # every so many seconds so many versions: 230,400 a day, which is three times round and more
STILL = 20  # one turn of so many brings nothing new
LOST = 997  # one packet of so many
ROUND = 1 << 16


class Day:
    """Both ends with no more around them than it takes, so that a day lasts seconds."""

    def __init__(self) -> None:
        self.now, self.packets, self.checked = 0.0, 0, 0
        self.sender, self.receiver = new_session(Role.SENDER), new_session(Role.RECEIVER)
        self.truth = BLANK
        self.told, self.shown = {0: BLANK}, {0: BLANK}
        self.version = 0
        self.exchange()

    def pass_time(self, until: int) -> None:
        while self.now < until:
            turn = int(self.now) // TURN
            for number in range(TOGETHER if turn % STILL else 0):
                self.send(turn * TOGETHER + number)
            needed = self.sender.needed()
            self.told = {v: s for v, s in self.told.items() if v == 0 or v in needed}
            self.exchange()
            self.now += 0.5
            self.exchange()  # acknowledgements
            self.now += TURN - 0.5

    def send(self, number: int) -> None:
        place, value = number % SLOTS, number // SLOTS % 255 + 1
        self.truth = self.truth[:place] + bytes([value]) + self.truth[place + 1 :]
        base = self.sender.base(self.now)
        payload = bytes([place, value]) if base == self.sender.next_version - 1 else whole(self.truth)
        version = self.sender.send_delta(
            base=base,
            payload=payload,
            capture_ms=round(self.now * 1000),
            state_hash=zlib.crc32(self.truth),
            now=self.now,
        )
        self.told[version] = self.truth

    def exchange(self) -> None:
        """What both ends have to say now; some of it is lost."""
        for end, other in ((self.sender, self.receiver), (self.receiver, self.sender)):
            end.handle_timeout(self.now)
            for _, data in end.datagrams_to_send(self.now):
                self.packets += 1
                if self.packets % LOST:
                    self.take(other, data)

    def take(self, end: Session, data: bytes) -> None:
        for event in end.receive_datagram(data, self.now):
            if isinstance(event, DeltaReceived):
                self.show(event)
            elif isinstance(event, StateCheck):
                assert zlib.crc32(self.shown[event.version]) == event.state_hash
                self.checked += 1

    def show(self, event: DeltaReceived) -> None:
        assert event.capture_ms == round(self.now * 1000)
        assert event.version > self.version
        self.version = event.version
        self.shown[event.version] = patch(self.shown[event.base], event.payload)
        assert self.shown[event.version] == self.told[event.version]
        if len(self.shown) > 70:
            del self.shown[next(version for version in self.shown if version)]
        self.receiver.applied(event.version, self.now)


def whole(state: bytes) -> bytes:
    return b"".join(bytes(slot) for slot in enumerate(state))


def held(*roots: object) -> int:
    """Bytes of all objects that can be reached from here; code and types are not counted."""
    return sum(map(sys.getsizeof, _reached(roots)))


def _reached(roots: tuple[object, ...]) -> Iterator[object]:
    seen, waiting = set[int](), list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
            seen.add(id(one))
            waiting += gc.get_referents(one)
            yield one


@pytest.mark.slow
def test_a_day() -> None:
    day = Day()
    day.pass_time(2 * HOUR)
    before, blocks, after_two_hours = held(day.sender, day.receiver), sys.getallocatedblocks(), day.version
    day.pass_time(24 * HOUR)
    assert held(day.sender, day.receiver) < before + 4096 < 4 << 20
    assert sys.getallocatedblocks() < blocks + 4096, "nothing grows beside them either"
    assert day.version == day.sender.next_version - 1 > 3 * ROUND
    assert day.version - after_two_hours > 2 * ROUND
    assert len(day.sender.needed()) <= 1
    assert day.shown[day.version] == day.truth
    assert day.checked > 24 * HOUR / TURN / STILL / 2
    assert day.sender.state is day.receiver.state is State.OPEN
    assert day.sender.trace.count("restart") == 0
    assert 0 < day.receiver.trace.dropped("missing-base") < day.packets / LOST * TOGETHER
