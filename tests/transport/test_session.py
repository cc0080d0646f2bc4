"""Sessions packet by packet: handshake and goodbye, law 6, what is told and how often, misuse."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.by_hand import pair, roundtrip, send, transfer
from tests.transport.toy import CODEC, new_session
from transport import (
    MAX_PACKET,
    CloseCode,
    Closed,
    Connected,
    DeltaReceived,
    FeedbackReceived,
    Lane,
    LocalProtocolError,
    Role,
    SessionConfig,
    State,
    StateCheck,
)
from transport.config import Parity
from transport.wire import (
    Close,
    Delta,
    Welcome,
    pull_packet,
    push_packet,
)

hostile = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda kind, body: bytes([0x10 | kind]) + body, st.integers(1, 8), st.binary(max_size=16)),
)


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


def test_who_greets_for_an_hour_goes_on_greeting() -> None:
    sender = new_session(Role.SENDER, config=SessionConfig(handshake_timeout=3600.0))
    now: float | None = 0.0
    while now is not None and now < 3599:
        sender.handle_timeout(now)
        sender.datagrams_to_send(now)
        now = sender.next_timeout()
    assert sender.state is State.CONNECTING
    assert 7000 <= sender.packets_sent <= 7300


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


def test_feedback_is_coalesced() -> None:
    sender, receiver = pair()
    for index in range(10):
        receiver.send_feedback({"n": index}, 1.0)
    assert transfer(receiver, sender, 1.0) == [FeedbackReceived({"n": 9})]
    receiver.send_feedback({"n": 10}, 1.01)
    assert transfer(receiver, sender, 1.02) == []
    assert transfer(receiver, sender, 1.11) == [FeedbackReceived({"n": 10})]


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
