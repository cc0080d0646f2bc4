"""Packets in another language: wire.js, fields.js and msgpack.js under Node say the same of the same bytes.

Expected values come from the vectors or from the Python twin, never from JavaScript's own round trip alone.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transport.errors
from tests.transport.test_wire import GOLDEN as PACKETS
from tests.transport.test_wire import packets, values
from tests.vidtok.fakes import VECTORS
from tests.vidtok.twin import Twin, TwinError, Words, based, damaged, spelled, tagged, verdict
from transport import fields, wire
from transport.states import Role

WIRE_ERRORS: dict[type[Exception], str] = {
    wire.UnknownVersionError: "UnknownVersionError",
    wire.UnknownTypeError: "UnknownTypeError",
    transport.errors.RemoteProtocolError: "RemoteProtocolError",
    transport.errors.LocalProtocolError: "LocalProtocolError",
}


def test_transport_vectors(twin: Twin) -> None:
    raw = {"session_id", "codec_hash", "payload"}
    for case in json.loads((VECTORS / "transport.json").read_text()):
        fields = {key: bytes.fromhex(v) if key in raw else v for key, v in case["packet"].items()}
        if fields.get("part"):
            fields["part"] = wire.Part(**fields["part"])
        words, data = {key: tagged(value) for key, value in fields.items()}, based(bytes.fromhex(case["hex"]))
        if case.get("writes", True):
            assert twin.ask("push", packet=words) == data, case["name"]
        assert twin.ask("pull", bytes=data) == words, case["name"]


@settings(max_examples=200)
@given(packet=packets)
def test_drawn_packets(twin: Twin, packet: wire.Packet) -> None:
    data = verdict(lambda: based(wire.push_packet(packet)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("push", packet=spelled(packet)), WIRE_ERRORS) == data
    if isinstance(data, str):
        pulled = wire.pull_packet(b64decode(data))
        assert twin.ask("pull", bytes=data) == spelled(pulled) == spelled(packet)


def check_pull(twin: Twin, data: bytes) -> None:
    mine = verdict(lambda: spelled(wire.pull_packet(data)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("pull", bytes=based(data)), WIRE_ERRORS) == mine, data.hex()


@pytest.mark.parametrize("name", sorted(PACKETS))
def test_damaged_packets_get_one_verdict(twin: Twin, name: str) -> None:
    data, rng = wire.push_packet(PACKETS[name]), np.random.default_rng(len(name))
    for cut in range(len(data)):
        check_pull(twin, data[:cut])
    for kind in range(256):
        check_pull(twin, bytes([kind]) + data[1:])
    for _ in range(150):
        check_pull(twin, damaged(data, rng))


@settings(max_examples=200)
@given(kind=st.integers(1, 8), body=st.binary(max_size=60))
def test_any_body_gets_one_verdict(twin: Twin, kind: int, body: bytes) -> None:
    check_pull(twin, bytes([0x10 | kind]) + body)


@settings(max_examples=400)
@given(flags=st.integers(0, 255), body=st.lists(st.sampled_from(b"\x00\x01\x03\x7f\x80\xff"), max_size=16))
def test_any_ack_of_few_values_gets_one_verdict(twin: Twin, flags: int, body: list[int]) -> None:
    check_pull(twin, bytes([0x14, flags, *body]))


@settings(max_examples=200)
@given(flags=st.integers(0, 15), size=st.integers(0, 70), body=st.binary(max_size=90))
def test_any_greeting_gets_one_verdict(twin: Twin, flags: int, size: int, body: bytes) -> None:
    data = b"\x11" + bytes(16) + bytes([flags, size]) + body
    check_pull(twin, data)
    check_pull(twin, data.ljust(1 + 16 + 2 + size + 8, b"\x00"))


def test_packets_at_their_limits(twin: Twin) -> None:
    for size in (wire.MAX_PACKET - 1, wire.MAX_PACKET, wire.MAX_PACKET + 1):
        for first in (b"\x13\x02", b"\x18\x00", b"\x16\x00"):
            check_pull(twin, first.ljust(size, b"\x00"))
    sized = [wire.Delta(1, 0, 0, bytes(wire.MAX_PACKET - more)) for more in (6, 5, 0, -100_000)]
    greetings = [
        wire.Hello(bytes(15), Role.SENDER, b""),
        wire.Hello(bytes(16), Role.SENDER, bytes(64)),
        wire.Hello(bytes(16), Role.SENDER, bytes(65)),
        wire.Welcome(bytes(16), Role.RECEIVER, b"", {"fps": 10.0, "source": "é\ufeff漢😀", "levels": 6}),
        wire.Welcome(bytes(16), Role.RECEIVER, b"", {"x": {}}, (1 << 64) - 1),
        wire.Hello(bytes(16), Role.SENDER, b"", {}, -1),
        wire.Hello(bytes(16), Role.SENDER, b"", {}, 1 << 64),
        wire.Hello(bytes(16), Role.SENDER, b"", {}, 5.0),  # type: ignore[arg-type]
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": nested(7)}),
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": nested(8)}),
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": "y" * 1067}),
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": "y" * 1068}),
        wire.Welcome(bytes(16), Role.RECEIVER, b"", {"x": "y" * 2000}),
    ]
    others = [
        wire.Delta(1 << 40, wire.MAX_DISTANCE, (1 << 33) + 7, b"", 0xFFFFFFFF),
        wire.Delta(1, wire.MAX_DISTANCE + 1, 0, b""),
        wire.Delta(1, -1, 0, b""),
        wire.Delta(1, 1, 0, b"", 1 << 32),
        wire.Ack(1 << 40, 1 << 40, (1 << 40) + 5, 1 << 20, 1 << 40),
        wire.Ack(newest=5, hold_ms=-3),
        wire.Ack((1 << 40) + 5, 5, wire.ALL_ARRIVED, wire.MAX_HOLD_MS + 1),
        wire.Ack(5, 6, -1, wire.MAX_HOLD_MS),
        wire.Ack(5, received=wire.ALL_ARRIVED, hold_ms=3),
        wire.Ack(0, 1 << 16, wire.ALL_ARRIVED - 1, 128, 0),
        wire.Ack(-1, (1 << 16) - 1, 1 << 33),
        wire.Heartbeat(0, 0, True),
        wire.Heartbeat(0, -1),
        wire.Feedback(0xFFFFFFFF, {}),
        wire.Feedback(1 << 32, {}),
        wire.Feedback(-1, {}),
        wire.RefreshRequest(1, "ü" * 150),
        wire.RefreshRequest(1, "x" + "漢" * 80),
        wire.RefreshRequest(1, "half \ud800 a pair"),
        wire.Close(255, "😀" * 60),
        wire.Close(256),
        wire.Close(-1),
    ]
    for packet in [*sized, *greetings, *others]:
        mine = verdict(lambda packet=packet: based(wire.push_packet(packet)), WIRE_ERRORS)
        theirs = verdict(lambda packet=packet: twin.ask("push", packet=spelled(packet)), WIRE_ERRORS)
        assert theirs == mine, packet


def test_greetings_that_are_wrong_in_one_place(twin: Twin) -> None:
    sid, wall = bytes(range(16)), bytes(8)
    for byte in range(256):
        for meta in (b"", b"\x81\xa1a\x01"):
            check_pull(twin, b"\x11" + sid + bytes([byte, 0]) + wall + meta)
            check_pull(twin, b"\x12" + sid + bytes([2 * bool(meta), byte]) + bytes(byte) + wall + meta)
        check_pull(twin, b"\x11" + sid + b"\x02\x00" + wall + bytes([byte]))
    for wall_ms in (1, (1 << 32) - 1, 1 << 32, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, (1 << 63) + 5, (1 << 64) - 1):
        check_pull(twin, b"\x12" + sid + b"\x01\x00" + wall_ms.to_bytes(8, "big"))
    strange: list[object] = [None, True, 3, 0.0, 1.5, "x", b"x", "", b"", [], {}, [1], {1: 2}, {b"a": 1}, {None: 1}]
    usual = [{"1": 1, "b": 2, "0": 3, "__proto__": 4}, {"new": [1]}, {"meta": {}}, nested(8), nested(9), {"": None}]
    for meta in [*strange, *usual]:
        check_pull(twin, b"\x11" + sid + b"\x02\x00" + wall + msgpack.packb(meta))


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


EDGES_OF_INTEGERS = [sign * (1 << bits) + off for bits in (5, 7, 8, 15, 16, 31, 32, 53, 63, 64) for sign in (1, -1)
                     for off in (-1, 0, 1)]  # fmt: skip
FLOATS = [0.0, -0.0, 10.0, -1.0, 0.1, 29.97, 2.0**53, 1e300, 5e-324, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize(
    "value",
    [
        *EDGES_OF_INTEGERS,
        *FLOATS,
        *(nested(levels) for levels in range(5, 10)),
        *("x" * size for size in (0, 31, 32, 255, 256, 1000, 1093, 1094, 1095, 70_000)),
        *(bytes(size) for size in (0, 255, 256, 1093, 1094, 70_000)),
        *([0] * size for size in (15, 16, 255, 256, 1094, 70_000)),
        *({str(n): n for n in range(size)} for size in (15, 16, 100)),
        "\x00é\ufeff漢😀\udfff",
        "\ufeff\x00é漢😀",
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:16]!a}",
)
def test_maps_at_the_edges_of_msgpack(twin: Twin, value: object) -> None:
    mine = verdict(lambda: based(fields.pack_map({"a": value})), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("pack", value=tagged({"a": value})), WIRE_ERRORS) == mine
    if isinstance(mine, str):
        assert twin.ask("unpack", bytes=mine) == tagged(fields.unpack_map(b64decode(mine)))


@settings(max_examples=200)
@given(value=st.dictionaries(st.text(max_size=6), values | st.floats(allow_nan=False), max_size=4))
def test_drawn_maps(twin: Twin, value: Words) -> None:
    data = verdict(lambda: based(fields.pack_map(value)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("pack", value=tagged(value)), WIRE_ERRORS) == data


def test_plain_objects_are_written_like_maps(twin: Twin) -> None:
    value = {"width": 640, "fps": 29.97, "detail": [1, None, True], "inner": {"source": "camera"}}
    assert b64decode(twin.ask("pack_object", value=value)) == fields.pack_map(value)


@pytest.mark.parametrize("bad", [3, None, [], "a", {"bytes": ""}])
def test_only_maps_are_packed(twin: Twin, bad: object) -> None:
    with pytest.raises(TwinError, match="LocalProtocolError"):
        twin.ask("pack", value=bad)


@pytest.mark.parametrize(
    "data",
    [
        "", "c1", "80", "90", "8080", "81", "81a1", "81a161", "81a16100", "810102", "81c4016100", "91" * 1000,
        "81a161" * 300, "de0001a16107", "df00000001a16107", "dfffffffff", "deffff", "81a161ddffffffff",
        "81a161dc0000", "81a161dbffffffff", "81a161c6ffffffff", "81d901610a", "81da000161cc05",
        "81db0000000161cd0005", "81a161ce00000005", "81a161cf0000000000000005", "81a161d005", "81a161d1fffb",
        "81a161d2fffffffb", "81a161d3fffffffffffffffb", "81a161ca3fc00000", "81a161ca41200000", "81a161ca7fc00001",
        "81a161cb7ff8000000000001", "82a16101a16102", "83a16101a16202a16103", "81a1ff00", "81a2c08000",
        "81a3eda08000", "81a4f490808000", "81a2c3a9c0", "81a161d40500", "81a161d6ff00000000",
        "81a161d80500000000000000000000000000000000", "81a161c7010500", "81a161c70005", "81a161c700ff",
        "81a161c8000005", "81a161c90000000005", "81a16191c70005", "81c7000500", "81c0c0", "81c2c0", "8180c0", "8190c0",
        "81ca3fc00000c0", "81a161c1", "9081a16100", "80c0", "c0",
    ],
)  # fmt: skip
def test_hostile_msgpack(twin: Twin, data: str) -> None:
    raw = bytes.fromhex(data)
    mine = verdict(lambda: tagged(fields.unpack_map(raw)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("unpack", bytes=based(raw)), WIRE_ERRORS) == mine


@pytest.mark.parametrize("value", [-1, 0, 127, 128, 16383, 16384, 2**31, 2**32 - 1, 2**32])
def test_varints(twin: Twin, value: int) -> None:
    mine = verdict(lambda: based(fields.push_varint(value)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("varint", value=value), WIRE_ERRORS) == mine
    for tail in (b"", b"\x80\x00", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x01", b"\xff" * 9):
        check_pull(twin, b"\x13\x00\x00\x05" + (fields.push_varint(value) if 0 <= value < 2**32 else b"") + tail)


@pytest.mark.parametrize("near", [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x10000, 0x18000, (1 << 40) + 5, (1 << 52) - 1])
def test_expansion(twin: Twin, near: int) -> None:
    for low in {0, 1, 0x7FFF, 0x8000, 0xFFFF, near & 0xFFFF, (near + 0x8000) & 0xFFFF, (near + 0x7FFF) & 0xFFFF}:
        assert twin.ask("expand", low=low, near=near) == fields.expand(low, near), low
