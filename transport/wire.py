"""Packets and their bytes: pure functions, one packet per datagram (PROTOCOL.md is the norm).

    byte 0:  protocol version (high nibble) | packet type (low nibble)

`push_packet` and `pull_packet` are each other's inverse. Versions and capture times travel as their low
16 bits; `expand` rebuilds them next to a value that both ends know well enough. Any bytes give a packet
or a `RemoteProtocolError`; a packet that cannot be written is a `LocalProtocolError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgpack

from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.states import Role

PROTOCOL_VERSION = 1
MAX_PACKET = 1100
MAX_DISTANCE = (1 << 14) - 1
MAX_REASON = 200
MAX_CODEC_HASH = 64
MAX_DEPTH = 8
MAX_HOLD_MS = (1 << 16) - 1
ALL_ARRIVED = (1 << 32) - 1
SESSION_ID_BYTES = 16
DELTA_HEADER = 8
HASH_BYTES = 4


class PacketType(IntEnum):
    """The low nibble of byte 0."""

    HELLO = 1
    WELCOME = 2
    DELTA = 3
    ACK = 4
    HEARTBEAT = 5
    FEEDBACK = 6
    REFRESH_REQUEST = 7
    CLOSE = 8


class CloseCode(IntEnum):
    """Why a session ended; 64 to 255 are the application's."""

    NORMAL = 0
    VERSION_MISMATCH = 1
    CODEC_MISMATCH = 2
    PROTOCOL_ERROR = 3
    DEAD_PEER = 4
    HANDSHAKE_TIMEOUT = 5
    BUSY = 6
    GOING_AWAY = 7
    LINK_LOST = 8


class UnknownVersionError(RemoteProtocolError):
    """The peer speaks a protocol version that we do not."""


@dataclass(frozen=True)
class Hello:
    """Sender to receiver: what I am and what I speak. Repeated until a Welcome or a Close comes."""

    session_id: bytes
    role: Role
    codec_hash: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)
    wall_ms: int = 0


@dataclass(frozen=True)
class Welcome:
    """The receiver's answer to a Hello it accepts."""

    session_id: bytes
    role: Role
    codec_hash: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)
    wall_ms: int = 0


@dataclass(frozen=True)
class Delta:
    """A patch to `version` from `version - distance`; distance 0 stands for the blank version 0."""

    version: int
    distance: int
    capture_ms: int
    payload: bytes
    state_hash: int | None = None
    anchor: bool = False


@dataclass(frozen=True)
class Ack:
    """What the receiver has: `applied` None is the blank state, `missing` a delta whose base it lacks.

    Bit i of `received` says that version `newest - 1 - i` arrived, or that there is none so low: `ALL_ARRIVED` has no
    gap, even early on. `hold_ms` is how long ago `newest` arrived.
    """

    applied: int | None = None
    newest: int | None = None
    received: int = 0
    hold_ms: int = 0
    missing: int | None = None


@dataclass(frozen=True)
class Heartbeat:
    """The sender's claim when idle: you should be showing `version` (None: blank), which hashes to this.

    With `answer` it wants an acknowledgement even if that is right.
    """

    version: int | None = None
    state_hash: int | None = None
    answer: bool = False


@dataclass(frozen=True)
class Feedback:
    """A map from the receiver's application; a higher `number` replaces a lower one."""

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RefreshRequest:
    """The receiver wants everything again from blank; one `number` is served once, however often it comes."""

    number: int
    reason: str = ""


@dataclass(frozen=True)
class Close:
    """The end. Its layout is the same in every protocol version."""

    code: int
    reason: str = ""


Packet = Hello | Welcome | Delta | Ack | Heartbeat | Feedback | RefreshRequest | Close


def expand(low: int, near: int) -> int:
    """The value at or above 0 that ends in these 16 bits and lies nearest to `near`."""
    value = near - ((near - low + 0x8000) & 0xFFFF) + 0x8000
    return value if value >= 0 else value + 0x10000


def push_varint(value: int) -> bytes:
    """Seven bits a byte, least significant first, high bit set on all but the last."""
    if not 0 <= value < 1 << 32:
        raise LocalProtocolError(f"varint {value} is outside 0 to 2^32-1")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pull_varint(data: bytes, start: int) -> tuple[int, int]:
    """The varint at `start` and the place after it; only the shortest form is valid."""
    value = 0
    for index in range(start, min(start + 5, len(data))):
        value |= (data[index] & 0x7F) << 7 * (index - start)
        if not data[index] & 0x80:
            if (index > start and data[index] == 0) or value >= 1 << 32:
                raise RemoteProtocolError(f"varint at byte {start} is not in its shortest form")
            return value, index + 1
    raise RemoteProtocolError(f"varint at byte {start} has no end")


def pack_map(values: Mapping[str, Any], what: str = "map", limit: int = MAX_PACKET) -> bytes:
    """msgpack of a small map with text keys; `LocalProtocolError` for what the peer would refuse."""
    try:
        data: bytes = msgpack.packb(dict(values), use_bin_type=True)
        unpack_map(data, what, limit)
    except RemoteProtocolError as error:
        raise LocalProtocolError(str(error)) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"{what} cannot be written as msgpack: {error}") from None
    return data


def unpack_map(data: bytes, what: str = "map", limit: int = MAX_PACKET) -> dict[str, Any]:
    """The inverse of `pack_map`, with every length and the depth bounded."""
    if len(data) > limit:
        raise RemoteProtocolError(f"{what} has {len(data)} bytes, the limit is {limit}")
    limits = {f"max_{kind}_len": limit for kind in ("str", "bin", "array", "map")}
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_no_extension, max_ext_len=0, **limits)
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.exceptions.UnpackException,
    ) as error:
        raise RemoteProtocolError(f"{what} is not valid msgpack: {error or type(error).__name__}") from None
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"{what} must be a map, not {type(value).__name__}")
    _check_shape(value, what, MAX_DEPTH)
    return value


def _no_extension(code: int, _: bytes) -> None:
    raise ValueError(f"it has an extension of type {code}")


def _check_shape(value: object, what: str, depth: int) -> None:
    if depth == 0:
        raise RemoteProtocolError(f"{what} is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise RemoteProtocolError(f"{what} has a key that is not text: {key!r}")
            _check_shape(each, what, depth - 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_shape(each, what, depth - 1)


def _push_greeting(packet: Hello | Welcome) -> bytes:
    if len(packet.session_id) != SESSION_ID_BYTES:
        raise LocalProtocolError(f"session id must be {SESSION_ID_BYTES} bytes, not {len(packet.session_id)}")
    if len(packet.codec_hash) > MAX_CODEC_HASH:
        raise LocalProtocolError(f"codec hash is longer than {MAX_CODEC_HASH} bytes")
    flags = (packet.role is Role.RECEIVER) | bool(packet.meta) << 1
    head = packet.session_id + bytes([flags, len(packet.codec_hash)]) + packet.codec_hash
    meta = pack_map(packet.meta, "greeting: meta") if packet.meta else b""
    return head + struct.pack(">Q", packet.wall_ms) + meta


def _pull_greeting(data: bytes) -> tuple[bytes, Role, bytes, dict[str, Any], int]:
    session_id, at = _pull_bytes(data, 0, SESSION_ID_BYTES)
    flags, at = _pull_flags(data, at, 0b11)
    size, at = _pull_int(data, at, 1)
    if size > MAX_CODEC_HASH:
        raise RemoteProtocolError(f"greeting: codec is longer than {MAX_CODEC_HASH} bytes")
    codec_hash, at = _pull_bytes(data, at, size)
    wall_ms, at = _pull_int(data, at, 8)
    meta: dict[str, Any] = {}
    if flags & 2:
        meta = unpack_map(data[at:], "greeting: meta")
        if not meta:
            raise RemoteProtocolError("greeting: meta is empty, its flag must be 0")
    else:
        _no_tail(data, at, "greeting")
    return session_id, Role.RECEIVER if flags & 1 else Role.SENDER, codec_hash, meta, wall_ms


def _pull_hello(data: bytes) -> Hello:
    return Hello(*_pull_greeting(data))


def _pull_welcome(data: bytes) -> Welcome:
    return Welcome(*_pull_greeting(data))


def _push_delta(packet: Delta) -> bytes:
    if not 0 <= packet.distance <= MAX_DISTANCE:
        raise LocalProtocolError(f"base lies {packet.distance} versions back, the limit is {MAX_DISTANCE}")
    flags = (packet.state_hash is not None) | (packet.distance == 0) << 1 | packet.anchor << 2
    head = struct.pack(">BH", flags, packet.version & 0xFFFF)
    if packet.distance:
        head += push_varint(packet.distance)
    head += struct.pack(">H", packet.capture_ms & 0xFFFF)
    if packet.state_hash is not None:
        head += struct.pack(">I", packet.state_hash)
    return head + packet.payload


def _pull_delta(data: bytes) -> Delta:
    flags, at = _pull_flags(data, 0, 0b111)
    version, at = _pull_int(data, at, 2)
    distance = 0
    if not flags & 2:
        distance, at = pull_varint(data, at)
        if not 1 <= distance <= MAX_DISTANCE:
            raise RemoteProtocolError(f"delta: base lies {distance} versions back, allowed is 1 to {MAX_DISTANCE}")
    capture_ms, at = _pull_int(data, at, 2)
    state_hash: int | None = None
    if flags & 1:
        state_hash, at = _pull_int(data, at, 4)
    return Delta(version, distance, capture_ms, data[at:], state_hash, bool(flags & 4))


def _push_ack(packet: Ack) -> bytes:
    applied, newest, received = packet.applied, packet.newest, packet.received & ALL_ARRIVED
    flags, out = 0, b""
    if applied is not None and newest is not None and (applied - newest) & 0xFFFF == 0:
        flags |= 8
    elif applied is not None:
        flags |= 1
        out += struct.pack(">H", applied & 0xFFFF)
    if newest is not None:
        flags |= 2
        out += struct.pack(">H", newest & 0xFFFF)
        if received == ALL_ARRIVED:
            flags |= 16
        else:
            out += struct.pack(">I", received)
        out += push_varint(min(max(packet.hold_ms, 0), MAX_HOLD_MS))
    if packet.missing is not None:
        flags |= 4
        out += struct.pack(">H", packet.missing & 0xFFFF)
    return bytes([flags]) + out


def _pull_ack(data: bytes) -> Ack:
    flags, at = _pull_flags(data, 0, 0b11111)
    if (flags & 24 and not flags & 2) or flags & 9 == 9:
        raise RemoteProtocolError(f"ack: flags 0x{flags:02x} contradict each other")
    applied = newest = missing = None
    received = hold_ms = 0
    if flags & 1:
        applied, at = _pull_int(data, at, 2)
    if flags & 2:
        newest, at = _pull_int(data, at, 2)
        received, at = (ALL_ARRIVED, at) if flags & 16 else _pull_int(data, at, 4)
        hold_ms, at = pull_varint(data, at)
        if hold_ms > MAX_HOLD_MS:
            raise RemoteProtocolError(f"ack: newest is held for {hold_ms} ms, the limit is {MAX_HOLD_MS}")
        if applied == newest or (received == ALL_ARRIVED and not flags & 16):
            raise RemoteProtocolError("ack: what a flag says is written out")
    if flags & 8:
        applied = newest
    if flags & 4:
        missing, at = _pull_int(data, at, 2)
    _no_tail(data, at, "ack")
    return Ack(applied, newest, received, hold_ms, missing)


def _push_heartbeat(packet: Heartbeat) -> bytes:
    flags = (packet.version is not None) | (packet.state_hash is not None) << 1 | packet.answer << 2
    out = bytes([flags])
    if packet.version is not None:
        out += struct.pack(">H", packet.version & 0xFFFF)
    if packet.state_hash is not None:
        out += struct.pack(">I", packet.state_hash)
    return out


def _pull_heartbeat(data: bytes) -> Heartbeat:
    flags, at = _pull_flags(data, 0, 0b111)
    version = state_hash = None
    if flags & 1:
        version, at = _pull_int(data, at, 2)
    if flags & 2:
        state_hash, at = _pull_int(data, at, 4)
    _no_tail(data, at, "heartbeat")
    return Heartbeat(version, state_hash, bool(flags & 4))


def _push_feedback(packet: Feedback) -> bytes:
    return struct.pack(">I", packet.number) + pack_map(packet.values, "feedback")


def _pull_feedback(data: bytes) -> Feedback:
    number, at = _pull_int(data, 0, 4)
    return Feedback(number, unpack_map(data[at:], "feedback"))


def _push_refresh_request(packet: RefreshRequest) -> bytes:
    return struct.pack(">I", packet.number) + _push_reason(packet.reason)


def _pull_refresh_request(data: bytes) -> RefreshRequest:
    number, at = _pull_int(data, 0, 4)
    return RefreshRequest(number, _pull_reason(data[at:]))


def _push_close(packet: Close) -> bytes:
    return struct.pack(">B", packet.code) + _push_reason(packet.reason)


def _pull_close(data: bytes) -> Close:
    code, at = _pull_int(data, 0, 1)
    return Close(code, _pull_reason(data[at:]))


def _push_reason(reason: str) -> bytes:
    return reason.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore").encode()


def _pull_reason(data: bytes) -> str:
    if len(data) > MAX_REASON:
        raise RemoteProtocolError(f"reason has {len(data)} bytes, the limit is {MAX_REASON}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteProtocolError("reason is not UTF-8") from None


def _pull_bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise RemoteProtocolError(f"packet ends early: {size} bytes wanted at byte {at + 1} of {len(data) + 1}")
    return data[at : at + size], at + size


def _pull_int(data: bytes, at: int, size: int) -> tuple[int, int]:
    value, at = _pull_bytes(data, at, size)
    return int.from_bytes(value, "big"), at


def _pull_flags(data: bytes, at: int, known: int) -> tuple[int, int]:
    flags, at = _pull_int(data, at, 1)
    if flags & ~known:
        raise RemoteProtocolError(f"flags 0x{flags:02x} set bits that version {PROTOCOL_VERSION} reserves")
    return flags, at


def _no_tail(data: bytes, at: int, what: str) -> None:
    if at != len(data):
        raise RemoteProtocolError(f"{what}: {len(data) - at} bytes too many")


_PUSH: dict[type, tuple[PacketType, Callable[[Any], bytes]]] = {
    Hello: (PacketType.HELLO, _push_greeting),
    Welcome: (PacketType.WELCOME, _push_greeting),
    Delta: (PacketType.DELTA, _push_delta),
    Ack: (PacketType.ACK, _push_ack),
    Heartbeat: (PacketType.HEARTBEAT, _push_heartbeat),
    Feedback: (PacketType.FEEDBACK, _push_feedback),
    RefreshRequest: (PacketType.REFRESH_REQUEST, _push_refresh_request),
    Close: (PacketType.CLOSE, _push_close),
}

_PULL: dict[int, Callable[[bytes], Packet]] = {
    PacketType.HELLO: _pull_hello,
    PacketType.WELCOME: _pull_welcome,
    PacketType.DELTA: _pull_delta,
    PacketType.ACK: _pull_ack,
    PacketType.HEARTBEAT: _pull_heartbeat,
    PacketType.FEEDBACK: _pull_feedback,
    PacketType.REFRESH_REQUEST: _pull_refresh_request,
    PacketType.CLOSE: _pull_close,
}


def push_packet(packet: Packet) -> bytes:
    """The bytes of `packet`; `LocalProtocolError` when it does not fit or holds what cannot be sent."""
    kind, push = _PUSH[type(packet)]
    try:
        data = bytes([PROTOCOL_VERSION << 4 | kind]) + push(packet)
    except struct.error as error:
        raise LocalProtocolError(f"{kind.name.lower()}: a field is out of range: {error}") from None
    if len(data) > MAX_PACKET:
        raise LocalProtocolError(f"{kind.name.lower()} of {len(data)} bytes, the limit is {MAX_PACKET}")
    return data


def pull_packet(data: bytes) -> Packet:
    """The packet these bytes are; `RemoteProtocolError` says what is wrong with them."""
    if not data:
        raise RemoteProtocolError("empty packet")
    if len(data) > MAX_PACKET:
        raise RemoteProtocolError(f"packet of {len(data)} bytes, the limit is {MAX_PACKET}")
    version, kind = data[0] >> 4, data[0] & 15
    if version != PROTOCOL_VERSION and kind != PacketType.CLOSE:
        raise UnknownVersionError(f"peer speaks protocol version {version}, we speak {PROTOCOL_VERSION}")
    if kind not in _PULL:
        raise RemoteProtocolError(f"unknown packet type {kind}")
    return _PULL[kind](bytes(data[1:]))
