"""Packets: golden bytes both ways, round trips, any bytes, wrap-around."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import LocalProtocolError, RemoteProtocolError, Role
from transport.fields import MAX_PACKET, expand, pack_map, pull_varint, push_varint, unpack_map
from transport.wire import (
    ALL_ARRIVED,
    MAX_DISTANCE,
    MAX_HOLD_MS,
    Ack,
    Close,
    Delta,
    Feedback,
    Heartbeat,
    Hello,
    Packet,
    Part,
    RefreshRequest,
    UnknownTypeError,
    UnknownVersionError,
    Welcome,
    pull_packet,
    push_packet,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "transport.json"
_KINDS = {kind.__name__: kind for kind in (Hello, Welcome, Delta, Ack, Heartbeat, Feedback, RefreshRequest, Close)}
_SID = bytes(range(16))

GOLDEN: dict[str, Packet] = {
    "hello": Hello(_SID, Role.SENDER, b"\xaa\xbb", {"fps": 10}, 1_700_000_000_000),
    "welcome": Welcome(_SID, Role.RECEIVER, b"\xaa\xbb", {}, 1_700_000_000_250),
    "hello of no codec, late": Hello(_SID, Role.SENDER, b"", {}, 2**64 - 1),
    "delta from blank, with hash": Delta(1, 0, 33, b"\x01\x02\x03", 0xDEADBEEF),
    "delta": Delta(0x0102, 1, 0xFFFE, b"payload"),
    "delta, far base, empty": Delta(0xFFFF, 300, 0, b""),
    "delta on the anchor lane": Delta(7, 2, 700, b"\x00", 5, True),
    "ack of nothing": Ack(),
    "ack": Ack(7, 7, ALL_ARRIVED, 120),
    "ack, not all applied": Ack(5, 7, ALL_ARRIVED, 300),
    "ack, not all arrived": Ack(7, 7, 0xFFFFFFFB, 0),
    "ack of versions that end in the same bits": Ack(None, 0, ALL_ARRIVED, 200, 0),
    "ack of blank": Ack(None, 1, ALL_ARRIVED, 127),
    "ack, base missing": Ack(5, 9, 0xFFFFFFFE, 0, 9),
    "ack after a refresh": Ack(None, 12, ALL_ARRIVED, MAX_HOLD_MS, 12),
    "heartbeat": Heartbeat(9, 0x01020304),
    "heartbeat of blank": Heartbeat(),
    "heartbeat that wants an answer": Heartbeat(62, None, True),
    "feedback": Feedback(3, {"detail": [1, 2], "busy": False}),
    "refresh request": RefreshRequest(1, "state hash"),
    "hello that goes on, of an end that can do all": Hello(_SID, Role.SENDER, b"\xaa\xbb", {"fps": 10}, 5, 7, True),
    "welcome that goes on": Welcome(_SID, Role.RECEIVER, b"\xaa\xbb", {}, 5, 1, True),
    "delta that wants an answer": Delta(0x0102, 1, 5, b"payload", None, False, True),
    "delta, the last of three pieces": Delta(9, 2, 900, b"56", 5, False, False, Part(2, 3, 8)),
    "delta, the parity of three pieces": Delta(9, 2, 900, b"\x31\x35\x32", 5, False, True, Part(3, 3, 8)),
    "delta, a small one once more": Delta(10, 1, 950, b"abc", None, False, False, Part(1, 1, 3)),
    "ack with the clock": Ack(7, 7, ALL_ARRIVED, 0, None, 0xBEEF),
    "ack with the clock, base missing": Ack(5, 9, 0xFFFFFFFE, 0, 9, 1),
    "feedback of what the application takes": Feedback(4, {"~rate": 20000}),
    "close": Close(2, "other codec"),
    "close without a reason": Close(0),
}


# What a later minor version may add is read as if it were not there; nobody writes it yet.
EXTENDED: dict[str, tuple[str, Packet]] = {
    "hello with an extension": (
        "11" + _SID.hex() + "80 00 0000000000000005 02 beef",
        Hello(_SID, Role.SENDER, b"", {}, 5),
    ),
    "delta with an extension": ("13 80 0102 01 0005 03 0101aa 7061", Delta(0x0102, 1, 5, b"pa")),
    "ack with an extension": ("14 9a 0007 78 01 00", Ack(7, 7, ALL_ARRIVED, 120)),
    "heartbeat with an empty extension": ("15 81 0009 00", Heartbeat(9)),
}


def to_json(packet: Packet) -> dict[str, Any]:
    fields = dict(vars(packet))
    for key, value in fields.items():
        if isinstance(value, bytes):
            fields[key] = value.hex()
        elif isinstance(value, Role):
            fields[key] = value.value
        elif isinstance(value, Part):
            fields[key] = dict(vars(value))
    return {"type": type(packet).__name__, **fields}


def test_golden_vectors_both_ways() -> None:
    made: list[dict[str, Any]] = [
        {"name": n, "hex": push_packet(p).hex(), "packet": to_json(p)} for n, p in GOLDEN.items()
    ]
    made += [
        {"name": n, "hex": h.replace(" ", ""), "packet": to_json(p), "writes": False} for n, (h, p) in EXTENDED.items()
    ]
    if os.environ.get("GENERATE_EXPECTED"):
        VECTORS.write_text(json.dumps(made, indent=1) + "\n")
    stored = json.loads(VECTORS.read_text())
    assert stored == made
    for each in stored:
        assert to_json(pull_packet(bytes.fromhex(each["hex"]))) == each["packet"]


def test_the_delta_header_is_small() -> None:
    assert len(push_packet(Delta(500, 1, 20, b""))) == 7
    assert len(push_packet(Delta(500, 200, 20, b""))) == 8
    assert len(push_packet(Delta(500, 0, 20, b"", 1))) == 10


def test_a_typical_acknowledgement_is_six_bytes_at_most() -> None:
    assert len(push_packet(Ack(500, 500, ALL_ARRIVED, 127))) == 5
    assert len(push_packet(Ack(500, 500, ALL_ARRIVED, 200))) == 6
    assert len(push_packet(Ack(499, 500, 1, MAX_HOLD_MS, 500))) == 15


def test_a_greeting_costs_little_beside_what_it_says() -> None:
    assert len(push_packet(Hello(_SID, Role.SENDER, bytes(8), {}, 1_700_000_000_000))) == 1 + 16 + 2 + 8 + 8
    meta = {"fps": 10}
    assert len(push_packet(Hello(_SID, Role.SENDER, bytes(8), meta))) == 35 + len(pack_map(meta))


u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8)
values = st.recursive(
    plain,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3),
    max_leaves=6,
)
maps = st.dictionaries(st.text(max_size=6), values, max_size=4)
greetings = st.tuples(
    st.binary(min_size=16, max_size=16),
    st.sampled_from(Role),
    st.binary(max_size=64),
    maps,
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
    st.booleans(),
)


def pieced(version: int, size: int, count: int, index: int) -> Delta:
    part = Part(min(index, count), count, size)
    if not 0 < part.length <= 1080:
        part = Part(1, 1, 7)
    return Delta(version, 1, 5, bytes(part.length), None, False, False, part)


arrived = u32 | st.just(ALL_ARRIVED)
reasons = st.text(st.characters(codec="utf-8"), max_size=40)
packets: st.SearchStrategy[Packet] = st.one_of(
    greetings.map(lambda g: Hello(*g)),
    greetings.map(lambda g: Welcome(*g)),
    st.builds(
        Delta,
        u16,
        st.integers(0, MAX_DISTANCE),
        u16,
        st.binary(max_size=1080),
        st.none() | u32,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(pieced, u16, st.integers(1, 3000), st.integers(1, 5), st.integers(0, 5)),
    st.builds(Ack, st.none() | u16, st.none(), st.just(0), st.just(0), st.none() | u16),
    st.builds(Ack, st.none() | u16, u16, arrived, u16, st.none() | u16, st.none() | u16),
    st.builds(lambda newest, *more: Ack(newest, newest, *more), u16, arrived, u16, st.none() | u16, st.none() | u16),
    st.builds(Heartbeat, st.none() | u16, st.none() | u32, st.booleans()),
    st.builds(Feedback, u32, maps),
    st.builds(RefreshRequest, u32, reasons),
    st.builds(Close, st.integers(0, 255), reasons),
)


@given(packets)
def test_round_trip(packet: Packet) -> None:
    try:
        data = push_packet(packet)
    except LocalProtocolError:  # a drawn map may nest deeper than the wire allows
        return
    assert pull_packet(data) == packet
    assert push_packet(pull_packet(data)) == data or isinstance(packet, Hello | Welcome | Feedback)


def pull_or_refuse(data: bytes) -> None:
    try:
        packet = pull_packet(data)
    except RemoteProtocolError as error:
        packet, message = None, str(error)
    assert isinstance(packet, tuple(_KINDS.values())) or (message and "\n" not in message)
    extended = isinstance(packet, Delta | Ack | Heartbeat) and data[1] & 128
    if isinstance(packet, Delta | Ack | Heartbeat | RefreshRequest) and not extended:  # one meaning, one encoding
        assert push_packet(packet) == data


@given(st.binary(max_size=64) | st.binary(min_size=MAX_PACKET - 2, max_size=MAX_PACKET + 2))
def test_any_bytes_give_a_packet_or_a_remote_error(data: bytes) -> None:
    pull_or_refuse(data)


@given(st.integers(1, 8), st.binary(max_size=200))
def test_any_body_of_a_known_type(kind: int, body: bytes) -> None:
    pull_or_refuse(bytes([0x10 | kind]) + body)


@given(st.integers(0, 255), st.lists(st.sampled_from(b"\x00\x01\x03\x7f\x80\xff"), max_size=16))
def test_any_ack_of_few_values(flags: int, body: list[int]) -> None:
    pull_or_refuse(bytes([0x14, flags, *body]))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 15), st.integers(0, 70), st.binary(max_size=90))
def test_any_greeting(session_id: bytes, flags: int, size: int, body: bytes) -> None:
    data = b"\x11" + session_id + bytes([flags, size]) + body
    pull_or_refuse(data)
    pull_or_refuse(data.ljust(1 + 16 + 2 + size + 8, b"\x00"))


@given(st.sampled_from(sorted(GOLDEN)), st.data())
def test_mutated_packets(name: str, data: st.DataObject) -> None:
    valid = bytearray(push_packet(GOLDEN[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        valid[data.draw(st.integers(0, len(valid) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(valid)))
    pull_or_refuse(bytes(valid[:cut]))
    pull_or_refuse(bytes(valid) + data.draw(st.binary(max_size=4)))


@pytest.mark.parametrize("name", [n for n in GOLDEN if not n.startswith("delta")])
def test_every_cut_and_every_tail_is_refused(name: str) -> None:
    data = push_packet(GOLDEN[name])
    text_at_the_end = name.startswith(("refresh", "close"))
    for cut in range(len(data)):
        if not (text_at_the_end and cut >= (5 if name.startswith("refresh") else 2)):
            with pytest.raises(RemoteProtocolError):
                pull_packet(data[:cut])
    if not text_at_the_end:
        with pytest.raises(RemoteProtocolError):
            pull_packet(data + b"\x00")


@given(st.integers(0, 2**32 - 1), st.binary(max_size=4))
def test_varints_leave_their_tail_alone(value: int, tail: bytes) -> None:
    data = push_varint(value)
    assert pull_varint(b"xx" + data + tail, 2) == (value, 2 + len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff\xff\xff\xff\x7f", b"\xff" * 9])
def test_bad_varints(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="varint"):
        pull_varint(data, 0)


@given(st.integers(0, 1 << 40), st.integers(-0x7FFF, 0x7FFF))
def test_expand_finds_the_value_across_every_wrap(near: int, off: int) -> None:
    value = max(0, near + off)
    if abs(value - near) < 0x8000:
        assert expand(value & 0xFFFF, near) == value


def test_an_unknown_version_says_so_but_close_is_always_understood() -> None:
    with pytest.raises(UnknownVersionError, match="version 2, we speak 1"):
        pull_packet(b"\x21abc")
    assert pull_packet(b"\x28\x01bye") == Close(1, "bye")
    with pytest.raises(UnknownTypeError, match="type 9"):
        pull_packet(b"\x19abc")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("00 00 05", "none there can be"),
        ("00 21 05", "none there can be"),
        ("03 02 05 aa", "none there can be"),
        ("00 02 00", "none there can be"),
        ("00 02 05 aabb", "has 2, not 3"),
        ("01 02 05 aabbcc", "has 3, not 2"),
        ("02 02 05 aabb", "has 2, not 3"),
        ("03 04 05", "has 0, not 0"),
    ],
)
def test_pieces_are_as_long_as_they_must_be(body: str, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        pull_packet(bytes.fromhex("13 08 0007 01 0000" + body))


def test_unknown_meta_is_the_applications_business_and_bad_greetings_are_named() -> None:
    plain, wall = b"\x11" + _SID + b"\x00\x01c", bytes(7) + b"\x05"
    assert pull_packet(plain + wall) == Hello(_SID, Role.SENDER, b"c", {}, 5)
    told = b"\x12" + _SID + b"\x03\x01c" + wall
    assert pull_packet(told + pack_map({"new": [1]})) == Welcome(_SID, Role.RECEIVER, b"c", {"new": [1]}, 5)
    bad = {
        "ends early": [b"\x11" + _SID[:15], plain[:-1], plain + wall[:7], b"\x11" + _SID + b"\x00\x40" + bytes(71)],
        "codec is longer": [b"\x11" + _SID + b"\x00\x41" + bytes(73)],
        "reserves": [b"\x11" + _SID + bytes([flags, 0]) + wall for flags in (16, 17, 64)],
        "1 bytes too many": [plain + wall + b"\x80"],
        "meta is empty": [told + b"\x80", told + b"\xde\x00\x00"],
        "meta must be a map": [told + b"\x90", told + b"\xc0"],
        "meta is not valid": [told, told + b"\xc1", told + pack_map({"a": 1}) + b"\x00"],
        "meta has a key": [told + b"\x81\xc4\x01a\x00"],
        "meta is nested deeper": [told + b"\x81\xa1a" * 8 + b"\x80"],
    }
    for why, greetings_of_it in bad.items():
        for data in greetings_of_it:
            with pytest.raises(RemoteProtocolError, match=why):
                pull_packet(data)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("03 0007 0007 fffffffb 00", "written out"),  # applied is newest
        ("13 0007 0007 00", "written out"),
        ("02 0007 ffffffff 00", "written out"),  # all arrived
        ("0a 0007 ffffffff 00", "written out"),
        ("1a 0007 8000", "shortest"),
        ("1a 0007 808004", "held for 65536 ms"),
        ("08", "contradict"),
        ("10", "contradict"),
        ("0d 0007 0007", "contradict"),
        ("1b 0007 0007 00", "contradict"),
        ("7a 0007 00", "reserves"),
        ("20 0007", "contradict"),
        ("3a 0007 00", "ends early"),
        ("1a 0007 00 00", "too many"),
    ],
)
def test_an_acknowledgement_has_one_encoding(body: str, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        pull_packet(b"\x14" + bytes.fromhex(body))


def test_an_acknowledgement_is_written_by_its_low_bits() -> None:
    far = Ack((1 << 40) + 7, 7, -1, -5, (1 << 16) + 9)
    assert pull_packet(push_packet(far)) == Ack(7, 7, ALL_ARRIVED, 0, 9)
    assert pull_packet(push_packet(Ack(7, (1 << 17) + 8, 1 << 33, 1 << 20))) == Ack(7, 8, 0, MAX_HOLD_MS)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        b"\x81\x01\x02",
        b"\x91" * 1000,
        b"\x81\xa1a" * 300,
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
        b"\x81\xa1a\xd4\x05\x00",
        b"\x81\xa1a\xc7\x00\x05",
        b"\x81\xa1a\xc7\x00\xff",
        b"\x81\xa1a\xc8\x00\x00\x05",
        b"\x81\xa1a\xc9\x00\x00\x00\x00\x05",
        b"\x81\xa1a\x91\xc7\x00\x05",
        b"\x81\xc7\x00\x05\x00",
        b"\x90",
        b"\x81\xc4\x01a\x00",
        b"\x80\x80",
        b"\x81\xa1\xff\x00",
    ],
)
def test_hostile_msgpack(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unpack_map(data)


def test_what_cannot_be_sent_is_our_own_error() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    bad: list[Packet] = [
        Feedback(0, {"x": object()}),
        Feedback(0, {"x": 1 << 70}),
        Feedback(0, {"x": deep}),
        Feedback(0, {"x": msgpack.ExtType(5, b"")}),
        Feedback(0, {1: 2}),  # type: ignore[dict-item]
        Feedback(-1, {}),
        Feedback(0, {"x": "y" * 2000}),
        Hello(b"short", Role.SENDER, b""),
        Hello(_SID, Role.SENDER, bytes(65)),
        Hello(_SID, Role.SENDER, b"", {}, -1),
        Hello(_SID, Role.SENDER, b"", {}, 1 << 64),
        Hello(_SID, Role.SENDER, b"", {}, 1.5),  # type: ignore[arg-type]
        Hello(_SID, Role.SENDER, b"", {"x": deep}),
        Hello(_SID, Role.SENDER, b"", {"x": "y" * 1068}),
        Delta(1, MAX_DISTANCE + 1, 0, b""),
        Delta(1, 1, 0, b"", 1 << 32),
        Delta(1, 1, 0, bytes(1100)),
        Delta(1, 1, 0, b"ab", part=Part(0, 2, 3000)),
        Delta(1, 1, 0, b"ab", part=Part(0, 40, 80)),
        Hello(_SID, Role.SENDER, b"", {}, 0, 256),
        Close(256),
    ]
    for packet in bad:
        with pytest.raises(LocalProtocolError):
            push_packet(packet)
