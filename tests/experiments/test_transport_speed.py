"""Speed of the transport: delays become figures, a tape replays as it was written, and two processes really talk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import transport_speed
from experiments.bench import BenchError
from experiments.transport_speed import LEAD, core_row, delays_ms, keys, way_row, ways
from experiments.transport_speed_core import LEAD_S, Kind, What, tapes, timed, written
from experiments.transport_speed_ways import Sent, Way, messages, read_log
from transport import Role

BARE = Way("bare", "once", "", 1)


def sent(delays: dict[int, float], lost: int = 0) -> Sent:
    handed = {number: number * 1000 for number in range(LEAD + len(delays) + lost)}
    return Sent(handed, {LEAD + number: handed[LEAD + number] + round(ms * 1e6) for number, ms in delays.items()})


def test_delays_are_of_what_arrived_after_the_lead() -> None:
    run = sent({0: 1.0, 1: 3.0}, lost=1)
    run.arrived_ns[0] = 10**9
    assert delays_ms(run) == [1.0, 3.0]
    with pytest.raises(BenchError, match="nothing arrived"):
        delays_ms(sent({}, lost=3))


def test_ratios_are_to_the_base_of_the_same_round() -> None:
    base, mine = [sent({0: 1.0, 1: 1.0}), sent({0: 4.0, 1: 4.0})], [sent({0: 2.0, 1: 2.0}), sent({0: 4.0}, lost=1)]
    row = way_row(400, BARE, mine, base, LEAD + 3)
    assert (row["measure"], row["system"], row["setting"]) == ("400 bytes", "bare", "once")
    assert (row["p50_ms"], row["p99_ratio"], row["p99_ratio_low"], row["p99_ratio_high"]) == (3.0, 1.5, 1.0, 2.0)
    assert (row["measured"], row["lost"], row["skipped"]) == (3, 1, 2)


def test_streams_per_core() -> None:
    row = core_row("mix", "end", [0.001, 0.002, 0.004])
    assert (row["streams_per_core"], row["streams_per_core_low"], row["cpu_ms_per_s"]) == (500, 250, 2)


@pytest.mark.parametrize(("size", "count"), [(400, 1), (3000, 1), (3000, 3), (3001, 3)])
def test_an_update_is_cut_without_loss(size: int, count: int) -> None:
    pieces = messages(77, size, count)
    assert (len(pieces), sum(map(len, pieces))) == (count, size)
    assert {int.from_bytes(piece[:4], "big") for piece in pieces} == {77}


def test_a_log_is_read_as_it_is_written() -> None:
    assert read_log("[[5, 3, 123]]") == {5: (3, 123)}


def test_who_sends_long_updates_is_compared_with_as_many_messages() -> None:
    assert [way.messages for way in ways(400)] == [1, 0, 0, 1, 1]
    assert [way.messages for way in ways(3000)] == [1, 0, 0, 1, 1, 3, 3]
    assert len({tuple(key.values()) for key in keys()}) == len(keys()) == 21


def test_a_tape_holds_what_either_end_gets() -> None:
    calls = written(Kind(10.0, 200), 5, 4.0)
    frames = [data for _, _, what, data in calls[Role.SENDER] if what is What.FRAME]
    taken = [data for _, _, what, data in calls[Role.RECEIVER] if what is What.TAKE]
    assert 30 <= len(frames) <= 40
    assert all(any(frame in data for data in taken) for frame in frames[:-1])
    for mine in calls.values():
        assert [call[0] for call in mine] == sorted(call[0] for call in mine)
    still = written(Kind(0.0, 200), 5, 4.0)
    assert sum(what is What.FRAME for _, _, what, _ in still[Role.SENDER]) == 1


def test_a_mix_is_replayed_after_its_lead() -> None:
    calls = tapes([(Kind(10.0, 200), 2), (Kind(0.0, 200), 1)], 1.0)
    assert {call[1] for call in calls[Role.SENDER]} == {0, 1, 2}
    assert LEAD_S < calls[Role.SENDER][-1][0] < LEAD_S + 1
    for role in Role:
        assert timed(role, calls[role], 3)().cpu_s > 0


def test_all_ways_between_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_speed, "STREAMS", 2)
    monkeypatch.setattr(transport_speed, "LEAD", 10)
    monkeypatch.setattr(transport_speed, "FPS", 60.0)
    monkeypatch.setattr(transport_speed, "SIZES", (3000,))
    small = ["--out", str(tmp_path), "--seconds", "0.5", "--repeats", "1"]
    transport_speed.run(small)
    rows = json.loads((tmp_path / "results.json").read_text())
    core, delays = rows[:9], rows[9:]
    assert all(row["streams_per_core"] > 0 for row in core)
    assert [row["system"] for row in delays] == ["bare channel", "session", "session", *["bare channel"] * 4]
    for row in delays:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["measured"] + row["lost"] + row["skipped"] == 30
        assert row["measured"] > 0
    assert delays[0]["p50_ratio"] == 1
    assert "# Speed of the transport" in (tmp_path / "report.md").read_text()
    transport_speed.run(small)
    assert json.loads((tmp_path / "results.json").read_text()) == rows
