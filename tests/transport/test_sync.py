"""Publisher and follower: states go in at one end and come out at the other, whatever lies between."""

from __future__ import annotations

import json
import weakref
import zlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.toy import BLANK, diff, new_session, patch
from tests.transport.viewers import PATIENT, Stage, filled, plain, viewer, whole
from transport import (
    Connected,
    DeltaReceived,
    Follower,
    Link,
    LocalProtocolError,
    Publisher,
    Refresh,
    Resumed,
    Role,
    SessionConfig,
    StateCheck,
    Suspended,
)


def test_three_viewers_of_one_state() -> None:
    stage = Stage()
    lossy = stage.join(viewer(Link(1, loss=0.3, delay_s=0.05, reorder=0.2), Link(2, loss=0.3, delay_s=0.05)))
    moved = stage.join(viewer(Link(3, delay_s=0.3, jitter_s=0.1), Link(4, delay_s=0.3)))
    stage.run(3.0)
    late = stage.join(viewer(Link(5, rate_bps=12_000, delay_s=0.1), Link(6, duplicate=0.3), now=stage.now))
    stage.run(5.0)
    moved.lose_path(stage.now)
    held = moved.follower.version
    stage.run(6.5)
    assert moved.follower.version == held
    moved.find_path(Link(7, delay_s=0.1), Link(8, delay_s=0.1), stage.now)
    stage.run(9.0)
    stage.run(12.0, change=0.0)
    for one in stage.viewers:
        assert one.follower.state == stage.truth
        assert one.publisher.settled
        assert {state for _, state in one.shown} <= stage.ever
        assert one.publisher.session.trace.count("restart") == 0
        assert one.follower.session.trace.count("refresh") == 0
        assert len(one.shown) > 30
    assert late.shown[0][0] > 3.0
    assert [type(event) for event in moved.seen if isinstance(event, Connected | Suspended | Resumed)] == [
        Connected, Suspended, Resumed,
    ]  # fmt: skip
    assert lossy.there.drops["loss"] > 20


networks = st.builds(
    Link,
    st.integers(0, 1000),
    loss=st.floats(0, 0.4),
    duplicate=st.floats(0, 0.3),
    reorder=st.floats(0, 0.3),
    delay_s=st.floats(0, 0.4),
    jitter_s=st.floats(0, 0.2),
    outages=st.sampled_from([(), ((0.5, 1.5),), ((1.0, 1.2), (1.9, 3.0))]),
)


@settings(max_examples=40)
@given(
    there=networks,
    back=networks,
    bases=st.sampled_from(["auto", "assumed", "acknowledged"]),
    values=st.lists(st.tuples(st.integers(0, 3), st.floats(0.0, 0.3)), min_size=1, max_size=40),
)
def test_what_was_published_last_is_shown_in_the_end(
    there: Link, back: Link, bases: Any, values: list[tuple[int, float]]
) -> None:
    one = viewer(config=SessionConfig(bases=bases, dead_after=60.0))
    now = one.run(0.0, 0.2)
    one.there, one.back = there, back
    for value, wait in values:
        one.publisher.publish(filled(value), now)
        now = one.run(now, now + wait)
    one.run(now, now + 20.0)  # events and timers alone
    assert one.follower.state == filled(values[-1][0])
    assert one.publisher.settled
    assert {state for _, state in one.shown} <= {filled(value) for value, _ in values}


def test_only_news_is_sent() -> None:
    one = viewer()
    assert one.publisher.publish(BLANK, 0.0) is None
    now = one.run(0.0, 1.0)
    assert one.publisher.publish(filled(1), now) == 1
    assert one.publisher.publish(filled(1), now) is None
    now = one.run(now, 2.0)
    assert one.publisher.publish(filled(1), now) is None
    assert one.publisher.publish(filled(2), now) == 2
    assert not one.publisher.settled
    one.run(now, 3.0)
    assert one.publisher.settled
    assert [state for _, state in one.shown] == [filled(1), filled(2)]


def test_what_is_published_before_there_is_a_session_waits_for_it() -> None:
    one = viewer()
    for value in range(1, 5):
        assert one.publisher.publish(filled(value), 0.0) is None
    assert one.publisher.next_timeout() is None
    one.run(0.0, 1.0)
    assert [state for _, state in one.shown] == [filled(4)]


def test_without_room_only_the_newest_state_waits() -> None:
    one = plain(config=SessionConfig(start_rate=16_000, bases="assumed"))
    now = one.run(0.0, 1.0)
    assert one.publisher.publish(bytes(1000), now) == 1
    now = one.run(now, now + 0.01)
    for value in range(1, 9):
        assert one.publisher.publish(bytes([value]) * 500, now) is None
    assert one.publisher.next_timeout() is not None
    one.run(now, now + 2.0)  # no event tells that there is room again
    assert [state[:1] for _, state in one.shown] == [b"\0", b"\x08"]
    assert one.versions == [2]
    assert one.publisher.next_timeout() is None


@pytest.mark.parametrize("bases", ["assumed", "acknowledged"])
def test_back_to_the_base_while_something_else_is_under_way(bases: Any) -> None:
    one = plain(Link(1, delay_s=0.3), Link(2, delay_s=0.3), config=SessionConfig(bases=bases))
    now = one.run(0.0, 1.0)
    one.publisher.publish(b"a", now)
    now = one.run(now, now + 2.0)
    one.publisher.publish(b"b", now)
    now = one.run(now, now + 0.1)
    assert one.publisher.publish(b"a", now) is not None
    one.run(now, now + 2.0)
    assert [state for _, state in one.shown] == [b"a", b"b", b"a"]
    assert one.publisher.settled


@dataclass(eq=False)
class Counted:
    """A state of which it can be told whether anybody remembers it."""

    value: bytes


def test_only_what_can_become_a_base_is_remembered() -> None:
    alive: weakref.WeakSet[Counted] = weakref.WeakSet()
    one = viewer(
        Link(1, loss=0.1, delay_s=0.2),
        Link(2, loss=0.1, delay_s=0.2),
        diff=lambda old, new: diff(old.value, new.value),
        patch=lambda old, payload: Counted(patch(old.value, payload)),
        blank=Counted(BLANK),
        state_hash=lambda state: zlib.crc32(state.value),
    )
    now, most = 0.0, 0
    for index in range(600):
        state = Counted(filled(index % 256))
        alive.add(state)
        one.publisher.publish(state, now)
        now = one.run(now, now + 0.02)
        most = max(most, len(alive))
    one.run(now, now + 3.0)
    assert 10 < most <= PATIENT.max_in_flight + 2
    assert one.publisher.settled
    assert list(alive) == [state]
    assert one.follower.state.value == state.value


def test_a_follower_remembers_as_many_as_the_session() -> None:
    alive: weakref.WeakSet[Counted] = weakref.WeakSet()

    def put(_: Counted, payload: bytes) -> Counted:
        state = Counted(payload)
        alive.add(state)
        return state

    one = viewer(
        diff=lambda old, new: whole(old.value, new.value),
        patch=put,
        blank=Counted(b""),
        state_hash=None,
        config=SessionConfig(history=8, max_in_flight=4),
    )
    now = 0.0
    for index in range(100):
        one.publisher.publish(Counted(bytes([index])), now)
        now = one.run(now, now + 0.1)
        one.shown.clear()
    assert len(alive) == 8


def test_a_state_larger_than_a_packet() -> None:
    one = plain(Link(1, loss=0.05, delay_s=0.05), Link(2, delay_s=0.05))
    now = one.run(0.0, 1.0)
    size = one.publisher.session.config.max_update
    for value in range(8):
        one.publisher.publish(bytes([value]) * size, now)
        now = one.run(now, now + 1.0)
    now = one.run(now, now + 5.0)
    assert one.follower.state == bytes([7]) * size


def test_a_patch_that_is_too_large_leaves_what_was_published_before() -> None:
    one = plain()
    now = one.run(0.0, 1.0)
    one.publisher.publish(b"before", now)
    with pytest.raises(LocalProtocolError, match="the patch from version 1 has 40000 bytes, one carries 34656"):
        one.publisher.publish(bytes(40_000), now)
    now = one.run(now, now + 1.0)
    assert one.follower.state == b"before"
    assert one.publisher.settled
    one.publisher.publish(b"after", now)
    one.run(now, now + 1.0)
    assert one.follower.state == b"after"


def test_a_patch_that_makes_no_sense_is_asked_for_again_from_blank() -> None:
    calls: list[tuple[bytes, bytes]] = []

    def fussy(old: bytes, payload: bytes) -> bytes:
        calls.append((old, payload))
        if len(calls) == 2:
            raise ValueError("not today")
        return payload

    one = plain(patch=fussy)
    now = one.run(0.0, 1.0)
    for value in (b"a", b"b", b"c"):
        one.publisher.publish(value, now)
    one.run(now, now + 2.0)
    assert [state for _, state in one.shown] == [b"a", b"c"]
    assert calls == [(b"", b"a"), (b"a", b"b"), (b"", b"c")]
    assert Refresh("version 2: not today") in one.seen
    assert one.publisher.settled


def test_a_state_that_hashes_wrong_is_not_shown() -> None:
    wrong = [b"wrong"]
    one = plain(patch=lambda _, payload: wrong.pop() if wrong else payload)
    one.publisher.publish(b"a", 0.0)
    one.run(0.0, 3.0)
    assert [state for _, state in one.shown] == [b"a"]
    assert Refresh("version 1: the hash is wrong") in one.seen


def test_a_hash_that_is_told_later_is_checked_as_well() -> None:
    faults = iter([False, True])
    one = plain(patch=lambda _, payload: b"wrong" if next(faults, False) else payload)
    now = one.run(0.0, 1.0)
    one.publisher.publish(b"a", now)
    now = one.run(now, now + 0.2)
    one.publisher.publish(b"b", now)
    one.run(now, now + 3.0)
    assert [state for _, state in one.shown] == [b"a", b"wrong", b"b"]
    assert Refresh("the hash of version 2 is wrong") in one.seen


def test_even_the_blank_state_is_told_again() -> None:
    one = viewer()
    now = one.run(0.0, 1.0)
    one.publisher.publish(filled(1), now)
    now = one.run(now, now + 1.0)
    one.publisher.publish(BLANK, now)
    now = one.run(now, now + 1.0)
    one.follower.session.request_refresh("somebody asked", now)
    one.run(now, now + 1.0)
    assert [state for _, state in one.shown] == [filled(1), BLANK, BLANK]
    assert one.follower.session.trace.count("refresh-pending") == 0
    assert one.publisher.settled


@pytest.mark.parametrize("bases", ["assumed", "acknowledged"])
def test_what_was_handed_up_before_a_rejection_is_answered_and_not_trusted(bases: Any) -> None:
    """As where a queue of events lies between session and follower."""
    faults = iter([False, True])
    one = plain(
        patch=lambda _, payload: b"wrong" if next(faults, False) else payload, config=SessionConfig(bases=bases)
    )
    one.publisher.publish(b"a", 0.0)
    now = one.run(0.0, 2.0)
    for value in (b"b", b"c", b"d"):
        one.publisher.publish(value, now)
    receiver = one.follower.session
    waiting = [
        event
        for _, data in one.publisher.session.datagrams_to_send(now)
        for event in receiver.receive_datagram(data, now)
    ]
    assert [type(event) for event in waiting] == [DeltaReceived] * 3
    one.follow(waiting, now)
    assert receiver.trace.count("answer-after-refresh") == 2
    one.run(now, now + 2.0)
    assert [state for _, state in one.shown] == [b"a", b"d"]
    assert sum(isinstance(event, Refresh) for event in one.seen) == 1


def test_nothing_is_built_on_a_state_that_was_found_wrong() -> None:
    one = viewer()
    now = one.run(0.0, 1.0)
    one.publisher.publish(filled(1), now)
    now = one.run(now, now + 1.0)
    one.publisher.publish(filled(2), now)
    ((_, data),) = one.publisher.session.datagrams_to_send(now)
    one.follow([StateCheck(1, 0), *one.follower.session.receive_datagram(data, now)], now)
    assert [state for _, state in one.shown] == [filled(1)]
    one.run(now, now + 1.0)
    assert [state for _, state in one.shown] == [filled(1), filled(2)]


def test_a_viewer_that_began_anew_is_told_everything() -> None:
    one = viewer()
    now = one.run(0.0, 1.0)
    one.publisher.publish(filled(1), now)
    now = one.run(now, now + 1.0)
    one.lose_path(now)
    one.follower = viewer(now=now).follower
    one.find_path(Link(3), Link(4), now)
    one.run(now, now + 1.0)
    assert one.follower.state == filled(1)
    assert one.publisher.settled


def test_capture_times_count_from_the_session() -> None:
    one = viewer(now=1000.0)
    now = one.run(1000.0, 1002.5)
    one.publisher.publish(filled(1), now)
    now = one.run(now, now + 1.0)
    assert one.follower.capture_ms == 2500
    one.publisher.publish(filled(2), now, capture_ms=3000)
    one.run(now, now + 1.0)
    assert one.follower.capture_ms == 3000


def test_any_state_that_can_be_compared() -> None:
    """Here a table, as JSON; what is gone from it is told as null."""

    def changes(old: dict[str, int], new: dict[str, int]) -> bytes:
        told = {key: new.get(key) for key in old | new if old.get(key) != new.get(key)}
        return json.dumps(told).encode() if told else b""

    def changed(old: dict[str, int], payload: bytes) -> dict[str, int]:
        return {key: value for key, value in (old | json.loads(payload)).items() if value is not None}

    one = viewer(Link(1, loss=0.2), diff=changes, patch=changed, blank={}, state_hash=None)
    now = one.run(0.0, 1.0)
    for table in ({"sun": 1}, {"sun": 1, "moon": 2}, {"moon": 3}):
        one.publisher.publish(table, now)
        now = one.run(now, now + 2.0)
    assert [table for _, table in one.shown] == [{"sun": 1}, {"sun": 1, "moon": 2}, {"moon": 3}]


def test_nothing_can_be_said_after_the_end() -> None:
    one = viewer()
    now = one.run(0.0, 1.0)
    one.publisher.session.close(now=now)
    assert one.publisher.publish(filled(1), now) is None
    assert one.publisher.next_timeout() is None
    assert not one.publisher.settled


@pytest.mark.parametrize("role", list(Role))
def test_each_end_has_its_role(role: Role) -> None:
    session = new_session(role)
    wrong = (
        (lambda: Follower(session, patch, BLANK)) if role is Role.SENDER else (lambda: Publisher(session, diff, BLANK))
    )
    with pytest.raises(LocalProtocolError, match=f"the session is the {role.value}'s"):
        wrong()
