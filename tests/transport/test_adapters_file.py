"""Recordings: whole ones come back, every other file is named as what it is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import Lane, LocalProtocolError, RecordingError
from transport.adapters.file import MAGIC, FileReader, FileWriter, Record

RECORDS = [
    Record(0, Lane.CONTROL, b"hello"),
    Record(5, Lane.DELTA, b""),
    Record(100_000, Lane.ANCHOR, bytes(1100)),
]
SMALL = [*RECORDS[:2], Record(300, Lane.DELTA, b"abc")]


def write(path: Path, records: list[Record]) -> bytes:
    with FileWriter(path, {"fps": 10}, b"\x01\x02") as writer:
        for record in records:
            writer.write(record.time_ms, record.lane, record.data)
    return path.read_bytes()


def test_what_was_written_is_read_again_and_again(tmp_path: Path) -> None:
    write(tmp_path / "a.vtk", RECORDS)
    reader = FileReader(tmp_path / "a.vtk")
    assert (reader.meta, reader.codec_hash) == ({"fps": 10}, b"\x01\x02")
    assert list(reader) == list(reader) == RECORDS
    assert os.listdir(tmp_path) == ["a.vtk"]


def test_a_cut_at_every_byte_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.vtk"
    whole = write(path, SMALL)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(RecordingError, match="truncated" if cut else "not a vidtok recording") as caught:
            list(FileReader(path))
        assert str(path) in str(caught.value)
        assert "byte" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_changed_byte_and_every_tail_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.vtk"
    whole = write(path, SMALL)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(RecordingError):
            list(FileReader(path))
    path.write_bytes(whole + b"\x00")
    with pytest.raises(RecordingError, match="corrupted"):
        list(FileReader(path))


@given(st.binary(max_size=200), st.booleans())
def test_law_6_any_bytes(data: bytes, magic: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.vtk"
        path.write_bytes((MAGIC + b"\x01" if magic else b"") + data)
        with pytest.raises(RecordingError):
            list(FileReader(path))


def test_a_newer_container_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.vtk"
    path.write_bytes(MAGIC + b"\x02" + bytes(50))
    with pytest.raises(RecordingError, match=r"newer version \(container 2\): update"):
        FileReader(path)


def test_abort_leaves_nothing_and_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.vtk"
    old = write(path, SMALL)
    writer = FileWriter(path, {})
    writer.write(0, Lane.DELTA, b"x")
    assert path.read_bytes() == old
    writer.abort()
    with pytest.raises(ZeroDivisionError), FileWriter(path, {}):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["a.vtk"]
    assert path.read_bytes() == old


def test_misuse(tmp_path: Path) -> None:
    with FileWriter(tmp_path / "a.vtk", {}) as writer:
        writer.write(10, Lane.DELTA, b"")
        with pytest.raises(LocalProtocolError):
            writer.write(9, Lane.DELTA, b"")
        with pytest.raises(LocalProtocolError):
            writer.write(10, Lane.DELTA, bytes(1101))
    with pytest.raises(LocalProtocolError, match="closed"):
        writer.write(10, Lane.DELTA, b"")
    with pytest.raises(LocalProtocolError):
        FileWriter(tmp_path / "b.vtk", {"x": object()})
    assert os.listdir(tmp_path) == ["a.vtk"]
