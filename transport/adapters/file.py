"""Recordings: every packet of a session with its time, in one `.vtk` file.

    magic "VTK\\r\\n\\x1a" | container version | header length u16 | msgpack header | crc32
    record *:   0x01 | varint ms since the record before | lane | varint length | bytes | crc32
    trailer:    0x00 | record count u32 | crc32 of all before it

The trailer is written last, so a recording that was cut short is told from a whole one.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from transport.errors import LocalProtocolError, RecordingError, RemoteProtocolError
from transport.fields import MAX_PACKET, pack_map, pull_varint, push_varint, unpack_map
from transport.lanes import Lane

MAGIC = b"VTK\r\n\x1a"
CONTAINER_VERSION = 1
MAX_HEADER = 16_384
_MORE, _END = 1, 0


@dataclass(frozen=True)
class Record:
    """One packet of a recording; `time_ms` counts from the start."""

    time_ms: int
    lane: Lane
    data: bytes


class FileWriter:
    """Writes `path + ".part"`, which gets its name when it is whole; `abort` removes it."""

    def __init__(self, path: str | Path, meta: Mapping[str, Any], codec_hash: bytes = b"") -> None:
        header = pack_map({"codec": codec_hash.hex(), "meta": dict(meta)}, "header", MAX_HEADER)
        self.path = Path(path)
        self._part = Path(f"{path}.part")
        self._file: BinaryIO | None = open(self._part, "wb")  # noqa: SIM115 - closed by close() or abort()
        self._crc = self._count = self._time_ms = 0
        head = struct.pack(">BH", CONTAINER_VERSION, len(header)) + header
        self._put(MAGIC + head + struct.pack(">I", zlib.crc32(head)))

    def _put(self, data: bytes) -> None:
        if self._file is None:
            raise LocalProtocolError(f"{self.path}: the recording is closed")
        self._file.write(data)
        self._crc = zlib.crc32(data, self._crc)

    def write(self, time_ms: int, lane: Lane, data: bytes) -> None:
        """Add one packet; times never fall."""
        if time_ms < self._time_ms or len(data) > MAX_PACKET:
            raise LocalProtocolError(f"{self.path}: record times never fall and packets are at most {MAX_PACKET} bytes")
        body = push_varint(time_ms - self._time_ms) + bytes([lane]) + push_varint(len(data)) + data
        self._put(bytes([_MORE]) + body + struct.pack(">I", zlib.crc32(body)))
        self._time_ms = time_ms
        self._count += 1

    def close(self) -> None:
        """Write the trailer and give the file its name."""
        if self._file is None:
            return
        try:
            self._put(struct.pack(">BI", _END, self._count))
            self._file.write(struct.pack(">I", self._crc))
            self._file.close()
            self._file = None
            os.replace(self._part, self.path)
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise

    def abort(self) -> None:
        """Remove what was written so far."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class FileReader:
    """Iterates over the records of a recording; can be iterated again."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._at = 0
        self._crc = 0
        with open(self.path, "rb") as file:
            header = self._read_header(file)
        try:
            self.codec_hash = bytes.fromhex(header["codec"])
            self.meta: dict[str, Any] = dict(header["meta"])
        except (KeyError, TypeError, ValueError):
            raise self._error("corrupted: the header lacks codec or meta; record it again") from None

    def __iter__(self) -> Iterator[Record]:
        self._at = self._crc = 0
        with open(self.path, "rb") as file:
            self._read_header(file)
            count = time_ms = 0
            while (kind := self._take(file, 1)[0]) == _MORE:
                record = self._read_record(file, time_ms)
                time_ms = record.time_ms
                count += 1
                yield record
            self._check_trailer(file, kind, count)

    def _read_header(self, file: BinaryIO) -> dict[str, Any]:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            cut = bool(magic) and MAGIC.startswith(magic)
            raise self._error("truncated: copy it again" if cut else "not a vidtok recording (.vtk): check the path")
        self._at, self._crc = len(magic), zlib.crc32(magic)
        head = self._take(file, 3)
        version, length = struct.unpack(">BH", head)
        if version != CONTAINER_VERSION:
            raise self._error(f"made by a newer version (container {version}): update vidtok to read it")
        if length > MAX_HEADER:
            raise self._error("corrupted: the header is too long; copy it again from its source")
        body = self._take(file, length)
        self._check_crc(file, head + body)
        try:
            return unpack_map(body, "header", MAX_HEADER)
        except RemoteProtocolError as error:
            raise self._error(f"corrupted: {error}; record it again") from None

    def _read_record(self, file: BinaryIO, before_ms: int) -> Record:
        gap_ms, gap = self._take_varint(file)
        lane = self._take(file, 1)
        length, size = self._take_varint(file)
        if length > MAX_PACKET or lane[0] not in tuple(Lane):
            raise self._error("corrupted: a record makes no sense; copy it again from its source")
        data = self._take(file, length)
        self._check_crc(file, gap + lane + size + data)
        return Record(before_ms + gap_ms, Lane(lane[0]), data)

    def _take(self, file: BinaryIO, size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise self._error("truncated: the recording was cut short; copy it again, or use what came before")
        self._at += size
        self._crc = zlib.crc32(data, self._crc)
        return data

    def _take_varint(self, file: BinaryIO) -> tuple[int, bytes]:
        data = self._take(file, 1)
        while data[-1] & 0x80 and len(data) < 5:
            data += self._take(file, 1)
        try:
            return pull_varint(data, 0)[0], data
        except RemoteProtocolError:
            raise self._error("corrupted: a number makes no sense; copy it again from its source") from None

    def _check_crc(self, file: BinaryIO, data: bytes) -> None:
        if self._take(file, 4) != struct.pack(">I", zlib.crc32(data)):
            raise self._error("corrupted: a checksum is wrong; copy it again from its source")

    def _check_trailer(self, file: BinaryIO, kind: int, count: int) -> None:
        if kind != _END or self._take(file, 4) != struct.pack(">I", count):
            raise self._error("corrupted: the trailer is wrong; copy it again from its source")
        crc = self._crc
        if self._take(file, 4) != struct.pack(">I", crc) or file.read(1):
            raise self._error("corrupted: the end is wrong; copy it again from its source")

    def _error(self, what: str) -> RecordingError:
        return RecordingError(f"{self.path}, byte {self._at}: {what}")
