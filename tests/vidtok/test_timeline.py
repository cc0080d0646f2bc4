"""What a trace tells: the numbers that were written, whatever the lines, and nothing where there is nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.toy import World, new_session
from transport import Link, Role, TraceEvent
from vidtok.errors import MissingExtra, TraceError
from vidtok.live import timeline
from vidtok.live.timeline import Log, breaks, draw, panels, percentile, read_trace, summary_lines, tracing

NAMES = ("sent", "acked", "arrived", "applied", "lost", "timeout", "restart", "drop", "rate", "base", "connected",
         "suspended", "resumed", "closed", "of another build")  # fmt: skip
FIELDS = ("version", "base", "size", "rtt_ms", "queue_ms", "capture_ms", "bps", "reason", "code")


def log(*rows: tuple[float, str, Mapping[str, Any]]) -> Log:
    return Log([TraceEvent(time, name, data) for time, name, data in rows])


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def shown(drawn: Log) -> dict[str, list[str]]:
    """The labels of every panel's series."""
    return {panel.label: [series.label for series in panel.series] for panel in panels(drawn)}


def points(drawn: Log, panel: str, label: str) -> list[tuple[float, float]]:
    (found,) = [
        one.points for each in panels(drawn) if each.label == panel for one in each.series if one.label == label
    ]
    return found


# Reading


def test_what_two_sessions_wrote_is_told_and_drawn(tmp_path: Path) -> None:
    paths = {role: tmp_path / f"{role.value}.jsonl" for role in Role}
    world = World(Link(1, loss=0.1, delay_s=0.05, reorder=0.02), Link(2, delay_s=0.05))
    with tracing(paths[Role.SENDER]) as sent, tracing(paths[Role.RECEIVER]) as received:
        world.sender.session = new_session(Role.SENDER, trace=sent)
        world.receiver.session = new_session(Role.RECEIVER, trace=received)
        world.run(5.0, change=0.6)
        world.sender.session.close(reason="done")
        world.run(6.0)
    assert sent is not None
    assert received is not None
    told = {role: read_trace(path) for role, path in paths.items()}
    for role, trace in ((Role.SENDER, sent), (Role.RECEIVER, received)):
        for name in NAMES:
            assert len(told[role].named(name)) == trace.count(name)
        for reason, count in trace.drops().items():
            assert f"{reason} {count}" in "\n".join(summary_lines(told[role]))
        assert "closed       code 0: done" in summary_lines(told[role])
        draw(told[role], tmp_path / "out.png", "both ends")
        assert (tmp_path / "out.png").stat().st_size > 10_000
    lost = sent.count("lost")
    assert lost > 0
    assert f"lost         {lost} of {sent.count('sent')}" in "\n".join(summary_lines(told[Role.SENDER]))
    assert {"delay (ms)", "payload (kbps)", "version", "staleness (s)"} <= shown(told[Role.SENDER]).keys()
    assert {"delay (ms)", "payload (kbps)", "version", "staleness (s)"} <= shown(told[Role.RECEIVER]).keys()


def test_no_trace_wanted_is_no_trace() -> None:
    with tracing(None) as trace:
        assert trace is None


def test_a_trace_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with tracing(tmp_path / "a.jsonl") as trace:
        assert trace is not None
        trace.add(3.0, "connected")
        trace.add(4.5, "lost", version=1)
        assert read_trace(tmp_path / "a.jsonl").seconds == 1.5


def test_times_count_from_the_first_event_in_whatever_order(tmp_path: Path) -> None:
    rows = [{"time": 7, "name": "lost", "version": 3}, {"time": 5.5, "name": "sent"}, {"time": 9, "name": "new"}]
    got = read_trace(written(tmp_path / "a", *rows))
    assert [(event.time, event.name) for event in got.events] == [(0.0, "sent"), (1.5, "lost"), (3.5, "new")]
    assert got.seconds == 3.5
    assert got.notes == []


GOOD = json.dumps({"time": 1.0, "name": "sent"}).encode() + b"\n"


@pytest.mark.parametrize("tail", [b"{", b'{"time": 2.0, "na', b"\xff", GOOD[:-3], GOOD[:-1] + b" x"])
def test_a_cut_last_line_is_left_out_with_a_note(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(GOOD + b"\n" + GOOD + tail)
    got = read_trace(path)
    assert len(got.events) == 2
    assert got.notes == ["line 4 is cut and left out: the trace is still being written, or its end is lost"]
    assert summary_lines(got)[-1] == f"note: {got.notes[0]}"


def test_a_last_line_without_its_end_still_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD + GOOD[:-1])
    assert len(read_trace(tmp_path / "a").events) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b"[]", b"3", b"null", b"{}", b'{"time": 1}', b'{"name": "sent"}', b'{"time": "1", "name": "sent"}',
        b'{"time": NaN, "name": "sent"}', b'{"time": true, "name": "sent"}', b'{"time": 1, "name": 2}',
        b'{"time": 1' + b"0" * 400 + b', "name": "sent"}', b"\xff\xfe\x00", b"[" * 100_000, b"x" * (1 << 20),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + line + b"\n" + GOOD)
    with pytest.raises(TraceError, match=r"a\.jsonl, line 2: not an event of a trace; `--trace FILE`"):
        read_trace(path)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_events_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(TraceError, match=r"a\.jsonl: holds no event"):
        read_trace(tmp_path / "a.jsonl")


def test_a_file_of_which_nothing_is_a_trace_is_not_merely_cut(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("hello")
    with pytest.raises(TraceError, match="line 1"):
        read_trace(tmp_path / "a.jsonl")


# In words


def test_the_summary_says_what_there_is() -> None:
    sent = [(0.1 * k, "sent", {"version": k, "size": 500}) for k in range(1, 21)]
    acked = [(0.1 * k, "acked", {"version": k, "rtt_ms": 10.0 * k, "queue_ms": 0}) for k in range(1, 11)]
    rest = [
        (2.1, "lost", {"version": 3}),
        (2.2, "timeout", {"versions": 2}),
        (2.3, "drop", {"reason": "stale"}),
        (2.4, "drop", {"reason": "missing-base"}),
        (2.5, "drop", {"reason": "missing-base"}),
        (2.6, "suspended", {}),
        (4.0, "closed", {"code": 8, "reason": "path\x1b[31m gone"}),
    ]
    assert summary_lines(log(*sent, *acked, *rest)) == [
        "duration     4.0 s, 37 events",
        "sent         20 versions, 10.0 kB of payload, 20.00 kbps",
        "lost         1 of 20 (5.0%), timeouts 1",
        "round trip   median 55.0 ms, p95 95.5 ms",
        "drops        missing-base 2, stale 1",
        "breaks       1",
        "closed       code 8: path?[31m gone",
    ]


def test_a_summary_of_nothing_is_short() -> None:
    assert summary_lines(log((0.0, "of another build", {}))) == ["duration     0.0 s, 1 events", "drops        none"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-6)


# What is drawn


def test_panels_without_data_are_left_out() -> None:
    assert shown(log((0.0, "connected", {}), (1.0, "of another build", {"version": 3}))) == {}
    assert shown(log((0.0, "rate", {"bps": 1000, "why": "start"}))) == {"allowed (kbps)": ["rate"]}
    assert shown(log((0.0, "acked", {"rtt_ms": None, "queue_ms": 3.0}))).keys() == {"delay (ms)", "staleness (s)"}
    assert shown(log((0.0, "drop", {"reason": "stale"}))) == {"": [""]}


def test_mishaps_have_a_row_each_with_their_number() -> None:
    drops = [(0.1 * k, "drop", {"reason": f"kind {k % 40}"}) for k in range(80)]
    (panel,) = panels(log((0.0, "lost", {}), (0.0, "lost", {}), (0.0, "drop", {})))
    assert panel.rows == ("lost (2)", "drop: no reason given (1)")
    (panel,) = panels(log(*drops))
    assert len(panel.rows) == len(panel.series) == timeline.MOST_KINDS + 1
    assert panel.rows[0] == "drop: kind 0 (2)"
    assert panel.rows[-1] == "others (48)"


def test_payload_is_told_per_second_or_in_as_many_pieces_as_fit() -> None:
    rows = [(0.25 * k, "sent", {"version": k, "size": 125}) for k in range(10)]
    assert points(log(*rows), "payload (kbps)", "sent") == [(0.0, 4.0), (1.0, 4.0), (2.0, 2.0), (3.0, 2.0)]
    long = [(float(k), "arrived", {"version": k, "size": 125}) for k in range(3001)]
    rates = points(log(*long), "payload (kbps)", "arrived")
    assert len(rates) <= timeline.BINS + 2
    assert sum(rate for _, rate in rates[:-1]) * 10 / 8 * 1000 == pytest.approx(3001 * 125)


def test_delay_at_a_receiver_counts_from_the_quickest() -> None:
    rows = [
        (1.0, "arrived", {"version": 1, "capture_ms": 200}),
        (1.1, "applied", {"version": 1}),
        (1.5, "arrived", {"version": 2, "capture_ms": 900}),
        (1.6, "applied", {"version": 9}),
        (2.0, "arrived", {"version": 3}),
    ]
    drawn = log(*rows)
    assert points(drawn, "delay (ms)", "capture to arrival, above the smallest") == [
        (1.0, pytest.approx(200)),
        (1.5, 0.0),
    ]
    assert points(drawn, "delay (ms)", "capture to canvas, likewise") == [(1.1, pytest.approx(300))]


def test_age_grows_until_something_newer_is_shown() -> None:
    rows = [
        (0.0, "arrived", {"version": 1, "capture_ms": 100}),
        (0.0, "applied", {"version": 1, "capture_ms": 100}),
        (1.5, "arrived", {"version": 2, "capture_ms": 1100}),
        (1.5, "applied", {"version": 2, "capture_ms": 1100}),
        (2.5, "closed", {}),
    ]
    got = points(log(*rows), "staleness (s)", "age of what is shown, above the smallest delay")
    assert got == [(0.0, 0.0), (1.5, 1.5), (1.5, pytest.approx(0.5)), (2.5, pytest.approx(1.5))]


def test_staleness_at_a_sender_is_the_wait_of_the_oldest_change() -> None:
    rows = [
        (0.0, "sent", {"version": 1}),
        (0.4, "sent", {"version": 2}),
        (0.5, "acked", {"version": 1}),
        (1.0, "acked", {"version": 2}),
        (3.0, "closed", {}),
    ]
    got = points(log(*rows), "staleness (s)", "oldest change without an answer")
    wanted = [(0, 0), (0, 0), (0.4, 0.4), (0.4, 0.4), (0.5, 0.5), (0.5, 0.1), (1, 0.6), (1, 0), (3, 0), (3, 0)]
    assert got == [(time, pytest.approx(wait)) for time, wait in wanted]


def test_breaks_last_until_the_session_goes_on_or_ends() -> None:
    rows = [(1.0, "suspended", {}), (1.5, "suspended", {}), (2.0, "resumed", {}), (3.0, "suspended", {})]
    assert breaks(log(*rows, (4.0, "closed", {}), (5.0, "resumed", {}))) == [(1.0, 2.0), (3.0, 4.0)]
    assert breaks(log(*rows, (6.0, "lost", {}))) == [(1.0, 2.0), (3.0, 6.0)]
    assert breaks(log((1.0, "resumed", {}))) == []


FIELD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)
EVENTS = st.builds(
    TraceEvent, st.floats(0, 100), st.sampled_from(NAMES), st.dictionaries(st.sampled_from(FIELDS), FIELD_VALUES)
)


@given(st.lists(EVENTS, min_size=1, max_size=30))
def test_whatever_the_fields_hold_there_is_a_summary_and_there_are_panels(events: list[TraceEvent]) -> None:
    drawn = Log(sorted(events, key=lambda event: event.time))
    assert all(line.isprintable() for line in summary_lines(drawn))
    for panel in panels(drawn):
        assert all(np.isfinite(series.points).all() for series in panel.series)


@pytest.mark.parametrize(
    "rows",
    [
        [(0.0, "of another build", {})],
        [(0.0, "connected", {}), (1.0, "suspended", {}), (2.0, "closed", {})],
        [(0.0, "drop", {"reason": "$x_1$ _ \\frac 漢字 \x00"}), (0.0, "sent", {"version": 1, "size": -5})],
        [(0.5 * k, "drop", {"reason": f"kind {k}"}) for k in range(100)],
    ],
)
def test_strange_traces_are_drawn_all_the_same(tmp_path: Path, rows: list[tuple[float, str, dict[str, Any]]]) -> None:
    draw(log(*rows), tmp_path / "out.png", "$a_b$ 漢字.jsonl")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_install_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"matplotlib is not installed: pip install 'vidtok\[experiments\]'"):
        draw(log((0.0, "lost", {})), tmp_path / "out.png", "")
    assert summary_lines(log((0.0, "lost", {})))
    assert list(tmp_path.iterdir()) == []
