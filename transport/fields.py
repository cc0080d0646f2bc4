"""The fields that packets and recordings are made of: numbers, maps, flags. Pure functions.

Any bytes give a value or a `RemoteProtocolError`; what cannot be written is a `LocalProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from transport.errors import LocalProtocolError, RemoteProtocolError

MAX_PACKET = 1100
MAX_DEPTH = 8
_EXTENDED = 128


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


def pull_bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """So many bytes from a place, and the place after them."""
    if at + size > len(data):
        raise RemoteProtocolError(f"packet ends early: {size} bytes wanted at byte {at + 1} of {len(data) + 1}")
    return data[at : at + size], at + size


def pull_int(data: bytes, at: int, size: int) -> tuple[int, int]:
    """An unsigned number of so many bytes, and the place after it."""
    value, at = pull_bytes(data, at, size)
    return int.from_bytes(value, "big"), at


def pull_flags(data: bytes, at: int, known: int) -> tuple[int, int]:
    """A byte of flags of which only the known ones may be set, and the place after it."""
    flags, at = pull_int(data, at, 1)
    if flags & ~known & ~_EXTENDED:
        raise RemoteProtocolError(f"flags 0x{flags:02x} set bits that this version reserves")
    return flags, at


def skip_extensions(data: bytes, at: int, flags: int) -> int:
    """The place after what a later minor version has added; what it says is not ours to know."""
    if not flags & _EXTENDED:
        return at
    size, at = pull_varint(data, at)
    return pull_bytes(data, at, size)[1]


def no_tail(data: bytes, at: int, what: str) -> None:
    """Refuse what is left over."""
    if at != len(data):
        raise RemoteProtocolError(f"{what}: {len(data) - at} bytes too many")
