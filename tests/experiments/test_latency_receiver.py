"""The receiving process of glass to token: it hands frames on at once, and says in one line why it cannot start."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import latency
from experiments.bench import BenchError
from experiments.latency_receiver import AtOnce


def packet(number: int, timestamp: int, marker: int, data: bytes) -> Any:
    return SimpleNamespace(sequence_number=number, timestamp=timestamp, marker=marker, _data=data)


def test_a_frame_is_handed_on_with_its_last_packet_and_not_before() -> None:
    buffer = AtOnce(capacity=16, is_video=True)
    assert buffer.add(packet(7, 100, 0, b"a"))[1] is None
    assert buffer.add(packet(9, 100, 1, b"c"))[1] is None  # one is missing
    frame = buffer.add(packet(8, 100, 0, b"b"))[1]
    assert frame is not None
    assert (frame.data, frame.timestamp) == (b"abc", 100)
    alone = buffer.add(packet(10, 200, 1, b"d"))[1]
    assert alone is not None
    assert alone.data == b"d"


def test_a_receiving_process_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'some trace' >&2\necho 'Error: no such thing' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(BenchError, match="the receiving process did not start: Error: no such thing"):
        latency.run(["--out", str(tmp_path / "out"), "--size", "64", "--seconds", "1", "--repeats", "1"])
