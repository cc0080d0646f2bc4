"""Published traces: the units that their files are in, and one line for everything that a file can get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transport import LocalProtocolError
from transport.impair import Link, read_alphartc, read_bandwidth, read_iperf
from transport.impair_traces import Capacity, Curve


def arrivals(link: Link, count: int, size: int = 1000) -> list[float]:
    for _ in range(count):
        link.push(bytes(size), 0.0)
    out = []
    while (now := link.next_time()) is not None:
        out += [now] * len(link.pop(now))
    return out


def test_a_curve_holds_its_rows_and_repeats() -> None:
    curve = Curve("losses", [(1.0, 0.1), (2.0, 0.2), (4.0, 0.3)])
    assert [curve.at(time) for time in (0, 1, 1.9, 2, 3.9, 4, 5.9, 6, 8.5)] == [
        0.1,
        0.1,
        0.1,
        0.2,
        0.2,
        0.3,
        0.3,
        0.1,
        0.2,
    ]
    assert Curve("losses", [(3.0, 0.5)]).at(1e9) == 0.5


def test_capacity_of_an_empty_packet_is_no_wait() -> None:
    capacity = Capacity([(0.0, 0.0), (1.0, 8.0)])
    assert capacity.serve(0, 0.25) == 0.25
    assert capacity.serve(1, 0.25) == 2.0


def test_two_columns_are_seconds_and_megabits_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    path.write_bytes(b"# a ride\n0.0\t4.0\t\r\n0.5 0.008\n\n")
    assert read_bandwidth(path) == [(0.0, 4e6), (0.5, 8e3)]
    path.write_text("15.0 3168.5\n500.0, 3168.5\n")
    assert read_bandwidth(path, time_unit_s=1e-3, rate_unit_bps=1e3) == [(0.015, 3168500.0), (0.5, 3168500.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 1\n1 two\n", "line 2: two numbers are wanted, time and rate, not '1 two'"),
        ("0 1 2\n", "line 1: two numbers"),
        ("0\n", "line 1: two numbers"),
        ("0 1\n\n0 1\n", "line 3: times must start at 0 or later and rise"),
        ("-1 1\n", "line 1: times must"),
        ("0 -1\n", "line 1: a rate must be at least 0"),
        ("0 nan\n", "line 1: a rate must be at least 0"),
        ("inf 1\n", "line 1: times must"),
        ("# nothing\n", "holds no rows"),
        ("\0\1\2\n", "line 1: two numbers"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "columns.txt"
    path.write_text(text)
    with pytest.raises(LocalProtocolError, match=r"columns\.txt") as caught:
        read_bandwidth(path)
    assert said in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\xff\xfe\x00ftyp")
    for reader in (read_bandwidth, read_alphartc, read_iperf):
        with pytest.raises(LocalProtocolError, match=r"film\.mp4, line 1"):
            reader(path)


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value, indent=1))
    return path


def pattern(*rows: dict[str, Any], direction: str = "uplink") -> dict[str, Any]:
    return {"type": "video", direction: {"trace_pattern": list(rows)}}


def test_alphartc_is_milliseconds_kilobits_and_shares(tmp_path: Path) -> None:
    rows = (
        {"duration": 2000, "capacity": 8, "loss": 0, "rtt": 100, "jitter": 4},
        {"duration": 500.0, "capacity": 0, "loss": 0.2, "rtt": 200, "jitter": 0},
        {"duration": 1500, "capacity": 16.5},
    )
    got = read_alphartc(written(tmp_path / "a.json", pattern(*rows)))
    times = [0.0, 2.0, 2.5, 3.25]  # the last row as two halves: all repeats after 4 s
    assert got == {
        "rates": list(zip(times, [8e3, 0.0, 16.5e3, 16.5e3], strict=True)),
        "losses": list(zip(times, [0.0, 0.2, 0.0, 0.0], strict=True)),
        "delays": list(zip(times, [0.05, 0.1, 0.0, 0.0], strict=True)),
        "jitters": list(zip(times, [0.004, 0.0, 0.0, 0.0], strict=True)),
    }
    Link(1, **got)


def test_alphartc_repeats_after_the_sum_of_its_durations(tmp_path: Path) -> None:
    rows = ({"duration": 1000, "capacity": 8}, {"duration": 3000, "capacity": 0})
    got = read_alphartc(written(tmp_path / "a.json", pattern(*rows, direction="downlink")), "downlink")
    assert set(got) == {"rates"}
    assert arrivals(Link(1, **got), 3) == [1.0, 5.0, 9.0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], r"a\.json, uplink.trace_pattern: a list of objects is wanted"),
        ({"uplink": {}}, "a list of objects is wanted"),
        (pattern(), "a list of objects is wanted"),
        ({"uplink": {"trace_pattern": [3]}}, "a list of objects is wanted"),
        (pattern({"capacity": 3}), r"trace_pattern\[0\]: duration must be a number"),
        (pattern({"duration": 5, "capacity": 3}, {"duration": True}), r"trace_pattern\[1\]: duration must be a number"),
        (pattern({"duration": 5, "capacity": "3"}), r"trace_pattern\[0\]: capacity must be a number"),
        (pattern({"duration": 0, "capacity": 3}), "every duration must be above 0"),
        (pattern({"duration": 5, "capacity": -3}), "a.json, uplink.trace_pattern: capacity: every value"),
        (pattern({"duration": 5, "capacity": 3, "loss": 20}), "loss: every value must be at least 0 and at most 1"),
        (pattern({"duration": 5, "capacity": 10**20}), "capacity must be a number"),
    ],
)
def test_bad_patterns_are_named(tmp_path: Path, value: object, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        read_alphartc(written(tmp_path / "a.json", value))


def test_json_that_is_cut_or_too_deep_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"uplink":\n {"trace_pattern": [')
    with pytest.raises(LocalProtocolError, match=r"a\.json, line 2: not JSON"):
        read_alphartc(path)
    path.write_text("[" * 100_000)
    with pytest.raises(LocalProtocolError, match=r"a\.json"):
        read_alphartc(path)


def iperf(*sums: dict[str, Any]) -> dict[str, Any]:
    return {"start": {}, "intervals": [{"streams": [], "sum": row} for row in sums]}


def test_iperf_runs_hold_rates_losses_and_jitters(tmp_path: Path) -> None:
    rows = (
        {"start": 0, "bits_per_second": 3e7, "jitter_ms": 1.0, "lost_percent": 0.5},
        {"start": 0.5, "bits_per_second": 2e7, "jitter_ms": 0.5, "lost_percent": -2.0},
        {"start": 1.0, "bits_per_second": 0, "jitter_ms": 0.0, "lost_percent": 100},
    )
    got = read_iperf(written(tmp_path / "run.json", iperf(*rows)))
    assert got["rates"] == [(0.0, 3e7), (0.5, 2e7), (1.0, 0.0)]
    assert got["losses"] == [(0.0, 0.005), (0.5, 0.0), (1.0, 1.0)]
    assert [jitter for _, jitter in got["jitters"]] == pytest.approx([0.003, 0.0015, 0.0])
    Link(1, **got)
    over_tcp = [{"start": row["start"], "bits_per_second": row["bits_per_second"]} for row in rows]
    assert set(read_iperf(written(tmp_path / "run.json", iperf(*over_tcp)))) == {"rates"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, r"run\.json, intervals: a list of objects is wanted"),
        ({"intervals": [{}]}, r"intervals\[0\].sum: start must be a number"),
        (iperf({"start": 0}), r"intervals\[0\].sum: bits_per_second must be a number"),
        (iperf({"start": 1, "bits_per_second": 1}, {"start": 1, "bits_per_second": 1}), "bits_per_second needs rows"),
        (iperf({"start": 0, "bits_per_second": 1, "lost_percent": 101}), "lost_percent: every value .* at most 1"),
    ],
)
def test_bad_runs_are_named(tmp_path: Path, value: object, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        read_iperf(written(tmp_path / "run.json", value))
