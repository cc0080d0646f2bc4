"""Two sessions over bad links in virtual time: laws 2 and 5, handshake, idling, the dead."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.toy import BLANK, CODEC, World, new_session
from transport import (
    MAX_PACKET,
    Acknowledged,
    BaseLost,
    CloseCode,
    Closed,
    Connected,
    DeltaReceived,
    FeedbackReceived,
    Lane,
    Link,
    LocalProtocolError,
    Refresh,
    Role,
    Session,
    SessionConfig,
    State,
    StateCheck,
)
from transport.config import Parity
from transport.impair import Gilbert
from transport.wire import (
    ALL_ARRIVED,
    Ack,
    Close,
    Delta,
    Heartbeat,
    RefreshRequest,
    Welcome,
    pull_packet,
    push_packet,
)

HEALED = 10.0

links = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 16),
        "loss": st.sampled_from([0.0, 0.05, 0.3, 0.6]),
        "duplicate": st.sampled_from([0.0, 0.2]),
        "reorder": st.sampled_from([0.0, 0.1, 0.4]),
        "delay_s": st.sampled_from([0.0, 0.03, 0.3]),
        "jitter_s": st.sampled_from([0.0, 0.02]),
        "rate_bps": st.sampled_from([None, 40_000.0, 1_000_000.0]),
        "outages": st.lists(st.tuples(st.floats(0, 5), st.floats(5, HEALED)), max_size=1),
        "gilbert": st.sampled_from([None, Gilbert(0.05, 0.3)]),
    }
)


class HealingLink(Link):
    """Impaired until `HEALED`, then only as slow as before."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        slow = {key: options[key] for key in ("seed", "delay_s", "rate_bps")}
        self._after = Link(**slow)  # type: ignore[arg-type]

    def push(self, data: bytes, now: float) -> None:
        if now < HEALED:
            super().push(data, now)
        else:
            self._after.push(data, now)

    def pop(self, now: float) -> list[bytes]:
        return super().pop(now) + self._after.pop(now)

    def next_time(self) -> float | None:
        times = [time for time in (super().next_time(), self._after.next_time()) if time is not None]
        return min(times, default=None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(links, links, st.integers(0, 1 << 16), st.sampled_from([0.02, 0.1]))
def test_law_2_always_a_state_that_was_sent_and_equal_soon_after_healing(
    there: dict[str, object], back: dict[str, object], seed: int, frame: float
) -> None:
    world = World(HealingLink(**there), HealingLink(**back), seed=seed)
    world.run(HEALED - 1.0, frame=frame, change=0.7)
    world.mutate()
    world.sender.dirty = True  # one look at the last truth; from here on only events make it look again
    world.run(HEALED + 5.0, frame=None)
    assert world.in_step()
    assert set(world.receiver.history) <= world.sender.ever
    checked = world.receiver.checked
    world.run(HEALED + 8.0, frame=None)
    assert world.receiver.checked > checked, "a hash on the wire proves it"
    assert not [event for event in world.sender.seen if isinstance(event, Closed | Refresh)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    links,
    st.integers(0, 1 << 16),
    st.sampled_from([0.05, 0.3]),
    st.sampled_from([Lane.DELTA, Lane.ANCHOR]),
    st.booleans(),
)
def test_law_5_nothing_leaves_past_its_deadline_and_buffers_are_bounded(
    there: dict[str, object], seed: int, deadline: float, lane: Lane, greedy: bool
) -> None:
    config = SessionConfig(min_rate=8_000, start_rate=8_000, max_rate=8_000)
    world = World(Link(**there), Link(seed=seed), config=config, seed=seed)  # type: ignore[arg-type]
    world.sender.deadline, world.sender.lane, world.sender.greedy = deadline, lane, greedy
    longest = 0
    for step in range(1, 200):
        world.run(step * 0.02, frame=0.004, change=1.0)
        longest = max(longest, world.sender.session.queued_bytes)
        assert len(world.sender.states) <= config.max_in_flight + 2
    bucket = 2 * config.max_rate / 8 * config.bucket_depth + MAX_PACKET
    assert longest <= (config.outbox_limit * MAX_PACKET if greedy else bucket)
    captured = {}
    for now, _, data in world.sent_log:
        packet = pull_packet(data)
        if isinstance(packet, Delta):
            captured[packet.version] = now - packet.capture_ms / 1000
    assert all(age <= deadline + 0.001 for age in captured.values())


def test_law_5_is_put_to_the_test_by_who_ignores_the_allowance() -> None:
    config = SessionConfig(min_rate=8_000, start_rate=8_000, max_rate=8_000)
    world = World(Link(0), Link(0), config=config)
    world.sender.greedy, world.sender.deadline = True, 0.05
    world.run(4.0, frame=0.004, change=1.0)
    assert world.sender.session.trace.dropped("past-deadline") > 20


hostile = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda kind, body: bytes([0x10 | kind]) + body, st.integers(1, 8), st.binary(max_size=16)),
)


def pair(config: SessionConfig | None = None) -> tuple[Session, Session]:
    sender, receiver = new_session(Role.SENDER, config=config), new_session(Role.RECEIVER, config=config)
    roundtrip(sender, receiver, 0.0)
    return sender, receiver


def transfer(source: Session, target: Session, now: float) -> list[object]:
    return [event for _, data in source.datagrams_to_send(now) for event in target.receive_datagram(data, now)]


def roundtrip(sender: Session, receiver: Session, now: float) -> tuple[list[object], list[object]]:
    at_receiver = transfer(sender, receiver, now)
    return transfer(receiver, sender, now), at_receiver


def send(sender: Session, now: float, base: int | None = None, **more: object) -> int:
    options = {"payload": b"x", "capture_ms": int(now * 1000), "state_hash": 1, "now": now} | more
    return sender.send_delta(base=sender.base(now) if base is None else base, **options)  # type: ignore[arg-type]


def test_handshake_tells_both_who_is_there() -> None:
    sender, receiver = new_session(Role.SENDER), new_session(Role.RECEIVER)
    assert sender.allowance(0.0) == 0
    at_sender, at_receiver = roundtrip(sender, receiver, 0.0)
    assert at_sender == [Connected(bytes(range(16)), {"who": "receiver"}, 1_700_000_000_000)]
    assert at_receiver == [Connected(bytes(range(16)), {"who": "sender"}, 1_700_000_000_000)]
    assert sender.allowance(0.0) > 0


def test_another_codec_is_refused_by_name() -> None:
    sender, receiver = new_session(Role.SENDER, codec_hash=b"old"), new_session(Role.RECEIVER)
    at_sender, at_receiver = roundtrip(sender, receiver, 0.0)
    for (event,) in (at_sender, at_receiver):
        assert isinstance(event, Closed)
        assert event.code == CloseCode.CODEC_MISMATCH
        assert "same weights" in event.reason


def test_another_protocol_version_is_answered_once_with_close() -> None:
    receiver = new_session(Role.RECEIVER)
    (event,) = receiver.receive_datagram(b"\x21 whatever comes then", 0.0)
    assert isinstance(event, Closed)
    ((_, data),) = receiver.datagrams_to_send(0.0)
    packet = pull_packet(data)
    assert isinstance(packet, Close)
    assert packet.code == CloseCode.VERSION_MISMATCH
    receiver.receive_datagram(b"\x21 again", 0.1)
    assert receiver.datagrams_to_send(0.1) == []


def test_bad_packets_are_counted_traced_and_at_last_too_many() -> None:
    _, receiver = pair(SessionConfig(max_bad_packets=5))
    for _ in range(5):
        assert receiver.receive_datagram(b"\x13", 0.1) == []
    assert receiver.trace.dropped("bad-packet") == receiver.bad_packets == 5
    (event,) = receiver.receive_datagram(b"\x13", 0.1)
    assert isinstance(event, Closed)
    assert event.code == CloseCode.PROTOCOL_ERROR


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(Role), st.lists(hostile, max_size=8))
def test_law_6_any_datagrams_never_raise(role: Role, datagrams: list[bytes]) -> None:
    sender, receiver = pair()
    send(sender, 0.0)
    roundtrip(sender, receiver, 0.0)
    session = sender if role is Role.SENDER else receiver
    for index, data in enumerate(datagrams):
        now = 0.1 * (index + 1)
        session.receive_datagram(data, now)
        session.handle_timeout(now)
        session.datagrams_to_send(now)
        session.next_timeout()


def test_a_lost_base_is_named_and_the_sender_falls_back() -> None:
    sender, receiver = pair()
    first = send(sender, 0.1)
    roundtrip(sender, receiver, 0.1)
    receiver.applied(first, 0.1)
    assert Acknowledged(first) in transfer(receiver, sender, 0.1)
    send(sender, 0.2)
    sender.datagrams_to_send(0.2)  # lost
    third = send(sender, 0.3)
    at_sender, at_receiver = roundtrip(sender, receiver, 0.3)
    assert at_receiver == []
    assert receiver.trace.events("drop")[-1].data == {
        "reason": "missing-base",
        "version": third,
        "base": third - 1,
    }
    assert at_sender == [BaseLost(first)]
    assert sender.base(0.3) == first
    with pytest.raises(LocalProtocolError, match="no usable base"):
        send(sender, 0.3, base=third)


def test_the_tail_is_not_forgotten() -> None:
    sender, _ = pair()
    send(sender, 0.1)
    sender.datagrams_to_send(0.1)  # lost, and nothing follows
    due = sender.next_timeout()
    assert due is not None
    assert due < 1.2
    assert BaseLost(0) in sender.handle_timeout(due)


def test_a_dropped_delta_is_no_base_and_takes_its_children_along() -> None:
    config = SessionConfig(start_rate=32_000)
    sender, _ = pair(config)
    for index in range(4):
        send(sender, 0.0, payload=bytes(1000), deadline=0.01)
        assert len(sender.datagrams_to_send(0.0)) == (index == 0)
    assert BaseLost(0) not in sender.handle_timeout(0.005)
    assert sender.base(0.02) == 1, "what left stays the base, what was dropped does not"
    assert sender.trace.dropped("past-deadline") + sender.trace.dropped("base-dropped") == 3
    assert sender.queued_bytes == 0


def test_a_dropped_delta_never_leads_below_the_newest_acknowledged_version() -> None:
    sender, receiver = pair(SessionConfig(start_rate=32_000))
    for now in (0.1, 0.2):
        send(sender, now)
        roundtrip(sender, receiver, now)
        receiver.applied(sender.base(now), now)
    old = sender.base(0.2) - 1
    send(sender, 0.25, base=0, payload=bytes(1000))
    sender.datagrams_to_send(0.25)
    roundtrip(sender, receiver, 0.6)
    assert sender.oldest_needed() == old + 1
    late = send(sender, 0.6, base=old, deadline=0.61)
    assert late not in (sender.base(0.7), old)
    assert sender.base(0.7) == old + 1


def test_a_rejected_delta_brings_everything_from_blank_once() -> None:
    sender, receiver = pair()
    version = send(sender, 0.1)
    roundtrip(sender, receiver, 0.1)
    receiver.rejected(version, "hash", 1.0)
    ((_, data), *_) = [each for each in receiver.datagrams_to_send(1.0) if each[0] is Lane.CONTROL]
    assert isinstance(pull_packet(data), RefreshRequest)
    assert Refresh("hash") in sender.receive_datagram(data, 1.0)
    assert sender.receive_datagram(data, 1.0) == []
    assert sender.base(1.0) == 0
    fresh = send(sender, 1.1)
    _, at_receiver = roundtrip(sender, receiver, 1.1)
    assert [event.base for event in at_receiver if hasattr(event, "base")] == [0]
    receiver.applied(fresh, 1.1)
    assert receiver.next_timeout() is not None
    assert not [e for _, d in receiver.datagrams_to_send(5.0) if isinstance(e := pull_packet(d), RefreshRequest)]


def test_an_application_far_behind_may_answer_what_a_refresh_has_overtaken() -> None:
    config = SessionConfig(history=8, max_in_flight=4)
    _, receiver = pair(config)
    for version in range(1, 9):
        receiver.receive_datagram(push_packet(Delta(version, 0, 0, b"")), 0.1)
    receiver.rejected(1, "hash", 0.2)
    for version in range(9, 17):
        receiver.receive_datagram(push_packet(Delta(version, 0, 0, b"")), 0.3)
    receiver.applied(2, 0.4)
    receiver.rejected(3, "hash", 0.4)
    assert receiver.trace.count("answer-after-refresh") == 2
    receiver.applied(9, 0.4)
    for never in (0, 9, 17):
        with pytest.raises(LocalProtocolError, match="not handed up"):
            receiver.applied(never, 0.5)


def test_a_delta_on_one_that_was_handed_up_is_handed_up_too() -> None:
    sender, receiver = pair()
    one, two = send(sender, 0.1), send(sender, 0.1)
    assert [event.version for event in transfer(sender, receiver, 0.1)] == [one, two]  # type: ignore[attr-defined]


def test_a_wrong_picture_is_found_by_heartbeat_and_healed() -> None:
    world = World(Link(1, delay_s=0.02), Link(2, delay_s=0.02))
    world.run(1.0, change=1.0)
    world.receiver.shown = b"\x07" * len(BLANK)  # a bug on the receiver
    world.run(4.0)
    assert world.in_step()
    assert any(isinstance(event, Refresh) for event in world.sender.seen)


def test_a_still_state_costs_almost_nothing() -> None:
    world = World(Link(1, delay_s=0.05), Link(2, delay_s=0.05))
    world.run(5.0, change=0.5)
    sender, receiver = world.sender.session, world.receiver.session
    before = sender.bytes_sent + receiver.bytes_sent
    world.run(65.0)
    kbps = (sender.bytes_sent + receiver.bytes_sent - before) * 8 / 60 / 1000
    assert kbps < 0.3
    assert not sender.closed
    assert not receiver.closed


def test_a_dead_peer_is_noticed_on_both_sides() -> None:
    world = World(Link(1, outages=[(2.0, 100.0)]), Link(2, outages=[(2.0, 100.0)]))
    world.run(30.0, change=0.5)
    for seen in (world.sender.seen, world.receiver.seen):
        assert isinstance(seen[-1], Closed)
        assert seen[-1].code == CloseCode.DEAD_PEER


def test_nobody_answers_the_greeting() -> None:
    sender = new_session(Role.SENDER)
    now, hellos = 0.0, 0
    while sender.closed is None and now < 60:
        hellos += len(sender.datagrams_to_send(now))
        now = max(now, sender.next_timeout() or 60.0)
        sender.handle_timeout(now)
    assert sender.closed is not None
    assert sender.closed.code == CloseCode.HANDSHAKE_TIMEOUT
    assert 5 <= hellos <= 35


def test_versions_and_times_go_round_their_sixteen_bits() -> None:
    sender, receiver = pair(SessionConfig(start_rate=5_000_000))
    now = 0.0
    for expected in range(1, 70_000):
        now += 0.01
        version = send(sender, now)
        (event,) = transfer(sender, receiver, now)
        assert (event.version, event.base, event.capture_ms) == (expected, expected - 1, int(now * 1000))  # type: ignore[attr-defined]
        receiver.applied(version, now)
        transfer(receiver, sender, now)
    assert sender.oldest_needed() > 69_900
    assert receiver.packets_sent > 3000
    assert receiver.bytes_sent < 6 * receiver.packets_sent + 100, "acknowledgements stay small where versions wrap"


def test_capture_times_survive_a_long_stillness() -> None:
    world = World(Link(1), Link(2))
    world.run(1.0, change=1.0)
    world.run(200.0)
    world.mutate()
    world.run(201.0)
    last = [event for event in world.receiver.seen if hasattr(event, "capture_ms")][-1]
    assert 199_900 <= last.capture_ms <= 200_100  # type: ignore[union-attr]


def test_feedback_is_coalesced() -> None:
    sender, receiver = pair()
    for index in range(10):
        receiver.send_feedback({"n": index}, 1.0)
    assert transfer(receiver, sender, 1.0) == [FeedbackReceived({"n": 9})]
    receiver.send_feedback({"n": 10}, 1.01)
    assert transfer(receiver, sender, 1.02) == []
    assert transfer(receiver, sender, 1.11) == [FeedbackReceived({"n": 10})]


@pytest.mark.parametrize("rate", [0, 10])
def test_who_takes_nothing_is_not_dead(rate: float) -> None:
    world = World(Link(1, delay_s=0.02), Link(2, delay_s=0.02))
    world.run(2.0, change=1.0)
    world.receiver.session.limit(rate)
    world.run(60.0, change=1.0)
    assert world.sender.session.state is world.receiver.session.state is State.OPEN
    world.receiver.session.limit(None)
    world.run(62.0)
    assert world.in_step()


def test_a_limit_that_was_lost_is_said_again() -> None:
    sender, receiver = pair()
    receiver.limit(9_000)
    receiver.datagrams_to_send(1.0)  # lost
    receiver.send_feedback({"n": 1}, 2.0)
    assert transfer(receiver, sender, 2.0) == [FeedbackReceived({"n": 1})]
    assert receiver.next_timeout() == 7.0
    transfer(receiver, sender, 7.0)
    (told,) = sender.trace.events("limit")
    assert (told.time, told.data["bps"]) == (7.0, 9_000)


def test_the_hash_is_sent_first_on_anchors_and_once_a_second() -> None:
    sender, _ = pair()
    shown = []
    for index, lane in enumerate([Lane.DELTA] * 3 + [Lane.ANCHOR] + [Lane.DELTA] * 12):
        now = 0.1 * (index + 1)
        send(sender, now, lane=lane, state_hash=zlib.crc32(b"s"))
        ((_, data),) = sender.datagrams_to_send(now)
        packet = pull_packet(data)
        assert isinstance(packet, Delta)
        if packet.state_hash is not None:
            shown.append(index)
    assert shown == [0, 3, 13]


def test_too_much_under_way_blocks_and_a_probe_frees_it() -> None:
    config = SessionConfig(max_in_flight=8)
    sender, receiver = pair(config)
    for _ in range(8):
        send(sender, 0.1)
    sender.datagrams_to_send(0.1)  # all lost
    assert sender.allowance(0.2) == 0
    with pytest.raises(LocalProtocolError, match="too many"):
        send(sender, 0.2)
    now = 0.2
    while sender.allowance(now) == 0 and now < 5:
        now = max(now + 0.001, sender.next_timeout() or 5.0)
        sender.handle_timeout(now)
        roundtrip(sender, receiver, now)
    assert now < 2.0
    assert sender.base(now) == 0


def test_a_probe_is_answered_even_by_who_shows_that_very_version() -> None:
    sender, receiver = pair(SessionConfig(max_in_flight=4))
    for _ in range(4):
        version = send(sender, 0.1)
    events, _ = transfer(sender, receiver, 0.1), transfer(receiver, sender, 0.3)
    for event in events:
        receiver.applied(event.version, 0.4)  # type: ignore[attr-defined]
    receiver.datagrams_to_send(0.9)  # that they were applied is lost
    sender.handle_timeout(2.0)
    assert sender.allowance(2.0) == 0
    at_sender, _ = roundtrip(sender, receiver, 2.0)
    assert Acknowledged(version) in at_sender
    assert sender.allowance(2.0) > 0


def test_a_block_after_starting_again_is_freed_too() -> None:
    sender, receiver = pair(SessionConfig(max_in_flight=4))
    version = send(sender, 0.1)
    roundtrip(sender, receiver, 0.1)
    receiver.applied(version, 0.1)
    roundtrip(sender, receiver, 0.4)
    sender.receive_datagram(push_packet(RefreshRequest(1)), 0.4)  # the receiver goes on showing version 1
    for _ in range(4):
        send(sender, 0.5)
    sender.datagrams_to_send(0.5)  # all lost
    now = 0.5
    while sender.allowance(now) == 0 and now < 5:
        now = max(now + 0.001, sender.next_timeout() or 5.0)
        sender.handle_timeout(now)
        roundtrip(sender, receiver, now)
    assert now < 2.5


def test_an_ack_of_a_forgotten_version_is_no_base() -> None:
    sender, receiver = pair(SessionConfig(max_in_flight=4))
    for _ in range(4):
        send(sender, 0.1)
    late = sender.datagrams_to_send(0.1)
    sender.handle_timeout(3.0)
    assert sender.allowance(3.0) > 0  # version 1 made room
    version = send(sender, 3.0)
    sender.datagrams_to_send(3.0)  # lost
    for event in receiver.receive_datagram(late[0][1], 3.0):
        receiver.applied(event.version, 3.0)  # type: ignore[union-attr]
    transfer(receiver, sender, 3.0)
    assert (sender.trace.count("restart"), sender.base(3.0)) == (0, version)
    sender.handle_timeout(6.0)  # nothing is under way that would bring the receiver back to what is known
    sender.receive_datagram(push_packet(Ack(1, 1, ALL_ARRIVED, 0)), 6.0)
    assert (sender.trace.count("restart"), sender.base(6.0)) == (1, 0)


def test_a_long_update_gets_through_a_slow_link_while_the_peer_is_known_to_live() -> None:
    config = SessionConfig(start_rate=16_000, max_rate=16_000)
    sender, receiver = new_session(Role.SENDER, config=config), new_session(Role.RECEIVER, config=config)
    now, got, payload = 0.0, [], bytes(range(256)) * 130
    sent = False
    while now < 40 and not got:
        if not sent and sender.state is State.OPEN and sender.allowance(now):
            send(sender, now, payload=payload, deadline=now + 60)
            sent = True
        for event in transfer(sender, receiver, now):
            got += [event.payload] if isinstance(event, DeltaReceived) else []
        transfer(receiver, sender, now)
        now += 0.1
        sender.handle_timeout(now)
        receiver.handle_timeout(now)
    assert got == [payload]
    assert now > 15
    assert sender.state is receiver.state is State.OPEN


def test_an_idle_sender_asks_before_it_takes_the_peer_for_dead() -> None:
    sender, receiver = pair()
    answers, now = 0, 0.1
    while now < 60:
        transfer(sender, receiver, now)
        for _, data in receiver.datagrams_to_send(now):
            answers += 1
            if answers % 4 == 0:  # three of four answers are lost
                sender.receive_datagram(data, now)
        now += 0.25
        sender.handle_timeout(now)
    assert sender.state is State.OPEN


@pytest.mark.parametrize("parity", ["always", "never"])
def test_who_heeds_the_allowance_never_finds_the_outbox_full(parity: Parity) -> None:
    sender, _ = pair(SessionConfig(max_packet=64, parity=parity))
    sender.path_is_behind(4_000)  # nothing leaves
    while allowance := sender.allowance(0.1):
        send(sender, 0.1, payload=bytes(min(allowance, 400)))
    assert len(sender.datagrams_to_send(0.1)) == sender.trace.dropped("outbox-full") == 0
    assert sender.queued_bytes > 50 * 40


def test_what_is_dead_makes_room_before_anything_waits() -> None:
    sender, receiver = pair(SessionConfig(max_in_flight=4))
    now, sent = 0.1, 0
    for _ in range(100):  # nothing arrives for ten seconds
        sent += sender.allowance(now) > 0
        if sender.allowance(now):
            send(sender, now)
        sender.datagrams_to_send(now)
        sender.handle_timeout(now)
        now += 0.1
    assert sent > 30
    assert len(sender.needed()) <= 4
    while not sender.allowance(now):
        now += 0.1
        sender.handle_timeout(now)
    version = send(sender, now)
    assert [event.version for event in transfer(sender, receiver, now) if isinstance(event, DeltaReceived)] == [version]


def ack_of(receiver: Session, now: float) -> Ack:
    ((_, data),) = receiver.datagrams_to_send(now)
    packet = pull_packet(data)
    assert isinstance(packet, Ack)
    return packet


@pytest.mark.parametrize("first", [1, 2, 3, 31, 32, 33, 34, 100])
def test_what_lies_below_the_first_version_counts_as_arrived(first: int) -> None:
    _, receiver = pair()
    receiver.receive_datagram(push_packet(Delta(first, 0, 0, b"")), 0.1)
    lost = min(first - 1, 32)
    assert ack_of(receiver, 0.1) == Ack(None, first, ALL_ARRIVED - ((1 << lost) - 1))
    for version in range(1, first):
        receiver.receive_datagram(push_packet(Delta(version, 0, 0, b"")), 0.2)
    receiver.receive_datagram(push_packet(Delta(first + 1, 0, 0, b"")), 0.3)
    assert ack_of(receiver, 0.6).received == ALL_ARRIVED


def test_a_gap_is_told_until_it_leaves_the_window() -> None:
    _, receiver = pair()
    seen = []
    for version in (1, *range(3, 40)):
        receiver.receive_datagram(push_packet(Delta(version, 0, 0, b"")), float(version))
        receiver.applied(version, float(version))
        seen.append(ack_of(receiver, version + 0.3).received)
    assert seen == [ALL_ARRIVED, *(ALL_ARRIVED - (1 << back) for back in range(32)), *[ALL_ARRIVED] * 5]


def test_lies_of_the_peer_change_nothing() -> None:
    sender, _ = pair()
    send(sender, 0.1)
    sender.datagrams_to_send(0.1)
    for lie in (Ack(500, 500, 0, 0), Ack(None, 2, 0, 0), Ack(None, None, 0, 0, 77), Heartbeat(5)):
        sender.receive_datagram(push_packet(lie), 0.2)
    assert sender.base(0.2) == 1
    assert sender.trace.dropped("ack-of-unsent-version") == 2
    assert sender.trace.dropped("unexpected-packet") == 1


def test_misuse_is_a_local_error() -> None:
    sender, receiver = pair()
    assert new_session(Role.SENDER).max_update == sender.max_payload < sender.max_update == sender.config.max_update
    with pytest.raises(LocalProtocolError, match="split the patch"):
        send(sender, 0.1, payload=bytes(sender.config.max_update + 1))
    with pytest.raises(LocalProtocolError, match="not on control"):
        send(sender, 0.1, lane=Lane.CONTROL)
    with pytest.raises(LocalProtocolError, match="not handed up"):
        receiver.applied(3, 0.1)
    with pytest.raises(LocalProtocolError):
        receiver.send_feedback({"x": object()}, 0.1)
    with pytest.raises(LocalProtocolError, match="protocol's own"):
        receiver.send_feedback({"~rate": 1}, 0.1)
    with pytest.raises(LocalProtocolError, match="0 or more"):
        receiver.limit(-1)
    with pytest.raises(LocalProtocolError):
        new_session(Role.SENDER, session_id=b"short")
    with pytest.raises(LocalProtocolError):
        new_session(Role.SENDER, meta={"big": "x" * 2000})
    send(sender, 0.1, payload=bytes(sender.max_payload), lane=Lane.ANCHOR)
    assert max(len(data) for _, data in sender.datagrams_to_send(0.1)) <= MAX_PACKET


def test_goodbye_reaches_the_other_side_and_is_repeated_to_the_deaf() -> None:
    sender, receiver = pair()
    receiver.close(70, "enough", 0.2)
    receiver.datagrams_to_send(0.2)  # lost
    repeats, last = 0, list[tuple[Lane, bytes]]()
    for index in range(6):
        send(sender, 0.3 + index / 10)
        sender_data = sender.datagrams_to_send(0.3 + index / 10)
        receiver.receive_datagram(sender_data[-1][1], 0.3)
        repeats += len(answer := receiver.datagrams_to_send(0.3))
        last = answer or last
    assert repeats == 2
    assert Closed(70, "enough") in sender.receive_datagram(last[0][1], 1.0)


def test_foreign_welcome_is_ignored() -> None:
    sender = new_session(Role.SENDER)
    assert sender.receive_datagram(push_packet(Welcome(bytes(16), Role.RECEIVER, CODEC)), 0.1) == []
    assert sender.trace.dropped("foreign-session") == 1


def test_a_heartbeat_of_what_is_shown_is_a_state_check() -> None:
    sender, receiver = pair()
    version = send(sender, 0.1, state_hash=77)
    roundtrip(sender, receiver, 0.1)
    receiver.applied(version, 0.1)
    roundtrip(sender, receiver, 0.1)
    assert transfer(sender, receiver, 1.2) == [StateCheck(version, 77)]
    assert transfer(receiver, sender, 1.2) == []
