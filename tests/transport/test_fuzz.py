"""A small run of the fuzzer, and its memory of what failed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.transport import fuzz
from transport import RemoteProtocolError
from transport.receiver import ReceiverSide
from transport.wire import Heartbeat, pull_packet


def test_twenty_thousand_packets() -> None:
    assert fuzz.throw(20_000, seed=1) < fuzz.MORE_MEMORY


def test_what_fails_is_written_down_and_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--packets", "20000", "--failure", str(tmp_path / "new" / "failure.jsonl")]
    real = ReceiverSide.on_heartbeat

    def broken(side: ReceiverSide, heartbeat: Heartbeat, now: float) -> None:
        real(side, heartbeat, now)
        if heartbeat.version is not None and heartbeat.version > 0x8000:
            raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(ReceiverSide, "on_heartbeat", broken)
        assert fuzz.main(command) == 1
        said = capsys.readouterr().out
        assert "receiver: take at" in said
        assert f"--replay {command[-1]}" in said
        with pytest.raises(fuzz.FuzzError) as again:
            fuzz.main(["--replay", command[-1]])
        assert f"receiver: {again.value}" in said
        assert isinstance(again.value.__cause__, ZeroDivisionError)
    assert fuzz.main(["--replay", command[-1]]) == 0


def test_mutants_are_near_packets_and_not_all_alike() -> None:
    random, packets = Random(1), fuzz.golden(close=True)
    mutants = [fuzz.mutate(random, packets) for _ in range(2000)]
    read = 0
    for data in mutants:
        try:
            pull_packet(data)
        except RemoteProtocolError:
            continue
        read += 1
    assert len(set(mutants)) > 1000
    assert 500 < read < 1500
