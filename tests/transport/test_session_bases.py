"""What a sender may build on, and what a receiver tells of it: losses, rejections, acknowledgements, room."""

from __future__ import annotations

import pytest

from tests.transport.by_hand import freed, pair, roundtrip, send, transfer
from transport import (
    Acknowledged,
    BaseLost,
    DeltaReceived,
    Lane,
    LocalProtocolError,
    Refresh,
    Session,
    SessionConfig,
)
from transport.wire import (
    ALL_ARRIVED,
    Ack,
    Delta,
    Heartbeat,
    RefreshRequest,
    pull_packet,
    push_packet,
)


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


def test_too_much_under_way_blocks_and_a_probe_frees_it() -> None:
    config = SessionConfig(max_in_flight=8)
    sender, receiver = pair(config)
    for _ in range(8):
        send(sender, 0.1)
    sender.datagrams_to_send(0.1)  # all lost
    assert sender.allowance(0.2) == 0
    with pytest.raises(LocalProtocolError, match="too many"):
        send(sender, 0.2)
    now = freed(sender, receiver, 0.2)
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
    assert freed(sender, receiver, 0.5) < 2.5


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
