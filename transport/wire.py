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
from enum import IntEnum, IntFlag
from typing import Any

from transport.errors import LocalProtocolError, RemoteProtocolError
from transport.fields import (
    MAX_PACKET,
    no_tail,
    pack_map,
    pull_bytes,
    pull_flags,
    pull_int,
    pull_varint,
    push_varint,
    skip_extensions,
    unpack_map,
)
from transport.states import Role

PROTOCOL_VERSION = 1
MAX_DISTANCE = (1 << 14) - 1
MAX_REASON = 200
MAX_CODEC_HASH = 64
MAX_HOLD_MS = (1 << 16) - 1
MAX_PARTS = 32
MAX_UPDATE = MAX_PARTS * MAX_PACKET
ALL_ARRIVED = (1 << 32) - 1
SESSION_ID_BYTES = 16
DELTA_HEADER = 8
PART_HEADER = 5
HASH_BYTES = 4
LIMIT_KEY = "~rate"  # in a Feedback: bits per second that the receiver's application takes


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


class Feature(IntFlag):
    """What an end can do beyond the least; both ends use what both have."""

    PARTS = 1
    PARITY = 2
    CLOCK = 4
    RESUME = 8


ALL_FEATURES = Feature.PARTS | Feature.PARITY | Feature.CLOCK | Feature.RESUME


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


class UnknownTypeError(RemoteProtocolError):
    """A packet of a type that this version does not know: it is skipped."""


@dataclass(frozen=True)
class Hello:
    """Sender to receiver: what I am and what I speak. Repeated until a Welcome or a Close comes.

    With `resumed` it has sent versions of this session before, over a path that is gone.
    """

    session_id: bytes
    role: Role
    codec_hash: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)
    wall_ms: int = 0
    features: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class Welcome:
    """The receiver's answer to a Hello it accepts; with `resumed` it still holds what it held of this session."""

    session_id: bytes
    role: Role
    codec_hash: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)
    wall_ms: int = 0
    features: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class Part:
    """Which piece of a payload of `size` bytes this is: all are `ceil(size / count)` long, the last what is left.

    `index` equal to `count` is the parity: all pieces, filled up with zeros, one XOR the other.
    """

    index: int
    count: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes this piece has."""
        whole = self.whole
        return whole if self.index == self.count else min(whole, max(0, self.size - self.index * whole))

    @property
    def whole(self) -> int:
        """How many bytes every piece but the last has."""
        return -(-self.size // self.count)


@dataclass(frozen=True)
class Delta:
    """A patch to `version` from `version - distance`; distance 0 stands for the blank version 0.

    With `part`, `payload` is a piece of it. With `answer` the sender wants an acknowledgement at once, with the clock.
    """

    version: int
    distance: int
    capture_ms: int
    payload: bytes
    state_hash: int | None = None
    anchor: bool = False
    answer: bool = False
    part: Part | None = None


@dataclass(frozen=True)
class Ack:
    """What the receiver has: `applied` None is the blank state, `missing` a delta whose base it lacks.

    Bit i of `received` says that version `newest - 1 - i` arrived, or that there is none so low: `ALL_ARRIVED` has no
    gap, even early on. `hold_ms` is how long ago `newest` arrived, `clock_ms` the receiver's own clock at that time.
    """

    applied: int | None = None
    newest: int | None = None
    received: int = 0
    hold_ms: int = 0
    missing: int | None = None
    clock_ms: int | None = None


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


def _push_greeting(packet: Hello | Welcome) -> bytes:
    if len(packet.session_id) != SESSION_ID_BYTES:
        raise LocalProtocolError(f"session id must be {SESSION_ID_BYTES} bytes, not {len(packet.session_id)}")
    if len(packet.codec_hash) > MAX_CODEC_HASH:
        raise LocalProtocolError(f"codec hash is longer than {MAX_CODEC_HASH} bytes")
    flags = (packet.role is Role.RECEIVER) | bool(packet.meta) << 1 | packet.resumed << 2 | bool(packet.features) << 3
    head = packet.session_id + bytes([flags, len(packet.codec_hash)]) + packet.codec_hash
    features = struct.pack(">B", packet.features) if packet.features else b""
    meta = pack_map(packet.meta, "greeting: meta") if packet.meta else b""
    return head + struct.pack(">Q", packet.wall_ms) + features + meta


def _pull_greeting(data: bytes) -> tuple[bytes, Role, bytes, dict[str, Any], int, int, bool]:
    session_id, at = pull_bytes(data, 0, SESSION_ID_BYTES)
    flags, at = pull_flags(data, at, 0b1111)
    size, at = pull_int(data, at, 1)
    if size > MAX_CODEC_HASH:
        raise RemoteProtocolError(f"greeting: codec is longer than {MAX_CODEC_HASH} bytes")
    codec_hash, at = pull_bytes(data, at, size)
    wall_ms, at = pull_int(data, at, 8)
    features, at = pull_int(data, at, 1) if flags & 8 else (0, at)
    if flags & 8 and not features:
        raise RemoteProtocolError("greeting: no features, their flag must be 0")
    at = skip_extensions(data, at, flags)
    meta: dict[str, Any] = {}
    if flags & 2:
        meta = unpack_map(data[at:], "greeting: meta")
        if not meta:
            raise RemoteProtocolError("greeting: meta is empty, its flag must be 0")
    else:
        no_tail(data, at, "greeting")
    role = Role.RECEIVER if flags & 1 else Role.SENDER
    return session_id, role, codec_hash, meta, wall_ms, features, bool(flags & 4)


def _pull_hello(data: bytes) -> Hello:
    return Hello(*_pull_greeting(data))


def _pull_welcome(data: bytes) -> Welcome:
    return Welcome(*_pull_greeting(data))


def _push_delta(packet: Delta) -> bytes:
    if not 0 <= packet.distance <= MAX_DISTANCE:
        raise LocalProtocolError(f"base lies {packet.distance} versions back, the limit is {MAX_DISTANCE}")
    flags = (packet.state_hash is not None) | (packet.distance == 0) << 1 | packet.anchor << 2
    flags |= (packet.part is not None) << 3 | packet.answer << 4
    head = struct.pack(">BH", flags, packet.version & 0xFFFF)
    if packet.distance:
        head += push_varint(packet.distance)
    head += struct.pack(">H", packet.capture_ms & 0xFFFF)
    if packet.state_hash is not None:
        head += struct.pack(">I", packet.state_hash)
    if packet.part is not None:
        head += _push_part(packet.part, len(packet.payload))
    return head + packet.payload


def _push_part(part: Part, length: int) -> bytes:
    wrong = _wrong_part(part, length)
    if wrong:
        raise LocalProtocolError(wrong)
    return struct.pack(">BB", part.index, part.count) + push_varint(part.size)


def _pull_part(data: bytes, at: int) -> tuple[Part, int]:
    index, at = pull_int(data, at, 1)
    count, at = pull_int(data, at, 1)
    size, at = pull_varint(data, at)
    return Part(index, count, size), at


def _wrong_part(part: Part, length: int) -> str | None:
    if not 1 <= part.count <= MAX_PARTS or not 0 <= part.index <= part.count or not 1 <= part.size <= MAX_UPDATE:
        return f"delta: piece {part.index} of {part.count} of {part.size} bytes is none there can be"
    if length != part.length or not length:
        return f"delta: piece {part.index} of {part.count} of {part.size} bytes has {length}, not {part.length}"
    return None


def _pull_delta(data: bytes) -> Delta:
    flags, at = pull_flags(data, 0, 0b11111)
    version, at = pull_int(data, at, 2)
    distance = 0
    if not flags & 2:
        distance, at = pull_varint(data, at)
        if not 1 <= distance <= MAX_DISTANCE:
            raise RemoteProtocolError(f"delta: base lies {distance} versions back, allowed is 1 to {MAX_DISTANCE}")
    capture_ms, at = pull_int(data, at, 2)
    state_hash: int | None = None
    if flags & 1:
        state_hash, at = pull_int(data, at, 4)
    part, at = _pull_part(data, at) if flags & 8 else (None, at)
    at = skip_extensions(data, at, flags)
    if part is not None and (wrong := _wrong_part(part, len(data) - at)):
        raise RemoteProtocolError(wrong)
    return Delta(version, distance, capture_ms, data[at:], state_hash, bool(flags & 4), bool(flags & 16), part)


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
        if packet.clock_ms is not None:
            flags |= 32
            out += struct.pack(">H", packet.clock_ms & 0xFFFF)
    if packet.missing is not None:
        flags |= 4
        out += struct.pack(">H", packet.missing & 0xFFFF)
    return bytes([flags]) + out


def _pull_ack(data: bytes) -> Ack:
    flags, at = pull_flags(data, 0, 0b111111)
    if (flags & 56 and not flags & 2) or flags & 9 == 9:
        raise RemoteProtocolError(f"ack: flags 0x{flags:02x} contradict each other")
    applied = newest = missing = clock_ms = None
    received = hold_ms = 0
    if flags & 1:
        applied, at = pull_int(data, at, 2)
    if flags & 2:
        newest, at = pull_int(data, at, 2)
        received, at = (ALL_ARRIVED, at) if flags & 16 else pull_int(data, at, 4)
        hold_ms, at = pull_varint(data, at)
        if hold_ms > MAX_HOLD_MS:
            raise RemoteProtocolError(f"ack: newest is held for {hold_ms} ms, the limit is {MAX_HOLD_MS}")
        if applied == newest or (received == ALL_ARRIVED and not flags & 16):
            raise RemoteProtocolError("ack: what a flag says is written out")
        clock_ms, at = pull_int(data, at, 2) if flags & 32 else (None, at)
    if flags & 8:
        applied = newest
    if flags & 4:
        missing, at = pull_int(data, at, 2)
    no_tail(data, skip_extensions(data, at, flags), "ack")
    return Ack(applied, newest, received, hold_ms, missing, clock_ms)


def _push_heartbeat(packet: Heartbeat) -> bytes:
    flags = (packet.version is not None) | (packet.state_hash is not None) << 1 | packet.answer << 2
    out = bytes([flags])
    if packet.version is not None:
        out += struct.pack(">H", packet.version & 0xFFFF)
    if packet.state_hash is not None:
        out += struct.pack(">I", packet.state_hash)
    return out


def _pull_heartbeat(data: bytes) -> Heartbeat:
    flags, at = pull_flags(data, 0, 0b111)
    version = state_hash = None
    if flags & 1:
        version, at = pull_int(data, at, 2)
    if flags & 2:
        state_hash, at = pull_int(data, at, 4)
    no_tail(data, skip_extensions(data, at, flags), "heartbeat")
    return Heartbeat(version, state_hash, bool(flags & 4))


def _push_feedback(packet: Feedback) -> bytes:
    return struct.pack(">I", packet.number) + pack_map(packet.values, "feedback")


def _pull_feedback(data: bytes) -> Feedback:
    number, at = pull_int(data, 0, 4)
    return Feedback(number, unpack_map(data[at:], "feedback"))


def _push_refresh_request(packet: RefreshRequest) -> bytes:
    return struct.pack(">I", packet.number) + _push_reason(packet.reason)


def _pull_refresh_request(data: bytes) -> RefreshRequest:
    number, at = pull_int(data, 0, 4)
    return RefreshRequest(number, _pull_reason(data[at:]))


def _push_close(packet: Close) -> bytes:
    return struct.pack(">B", packet.code) + _push_reason(packet.reason)


def _pull_close(data: bytes) -> Close:
    code, at = pull_int(data, 0, 1)
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
        raise UnknownTypeError(f"unknown packet type {kind}")
    return _PULL[kind](bytes(data[1:]))
