"""Glass to token: frames are known again, a camera never waits, and two processes really talk."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.source import Frame, Source
from experiments import latency, timing
from experiments.bench import BenchError
from experiments.latency import AtOnce, Camera, Run, Sent
from experiments.systems import Clip, clip_of

numbers = st.integers(0, (1 << latency.BITS) - 1)


def grey(count: int, fps: float = 50.0) -> Clip:
    return clip_of("grey", fps, [Frame(np.full((64, 64, 3), 99, np.uint8), k / fps, k) for k in range(count)])


# The picture's number


@given(numbers, st.sampled_from([(64, 64), (256, 256), (640, 368)]))
def test_a_number_survives_the_worst_of_codecs(number: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(number)
    picture = latency.stamp(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8), number)
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 5])[1]
    assert latency.read_stamp(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)) == number


@given(st.integers(0, (1 << latency.BITS) - 2))
def test_the_next_number_is_one_block_of_news(number: int) -> None:
    assert (latency.gray(number) ^ latency.gray(number + 1)).bit_count() == 1


def test_a_filmed_clip_has_a_lead_a_tail_and_no_number_twice() -> None:
    clip = latency.filmed(grey(20))
    seen = [latency.read_stamp(frame.pixels) for frame in clip]
    assert seen == list(range(clip.count))
    assert len(latency.measured(clip)) == 20
    with pytest.raises(BenchError, match="seconds"):
        latency.filmed(grey(1 << latency.BITS))


# The camera


def test_a_camera_keeps_the_time_of_its_frames() -> None:
    camera = Camera(grey(5))
    assert isinstance(camera, Source)
    shown = [frame.index for frame in camera]
    assert (shown[0], shown[-1]) == (0, 4)
    first = camera.glass_ns[0]
    assert camera.glass_ns == {number: first + number * 20_000_000 for number in shown}
    assert camera.glass_ns[4] <= time.monotonic_ns()


def test_a_camera_shows_the_newest_to_who_asks_late() -> None:
    camera, seen = Camera(grey(20)), []
    for frame in camera:
        seen.append(frame.index)
        time.sleep(0.07)
    assert seen == sorted(set(seen))
    assert seen[-1] == 19
    assert all(after - before >= 3 for before, after in pairwise(seen[:-1]))
    assert set(camera.glass_ns) == set(seen)


# What arrives


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


def sent(count: int, **more: Any) -> Sent:
    return Sent({number: number * 20_000_000 for number in range(count)}, **more)


def test_a_frame_of_ours_counts_when_all_of_its_packets_are_there() -> None:
    def update(version: int, capture_ms: int, ns: int) -> dict[str, Any]:
        return {"event": "update", "version": version, "capture_ms": capture_ms, "ns": ns}

    rows = [update(1, 40, 10), update(2, 40, 11), update(3, 60, 12), update(4, 999, 13)]
    rows += [{"event": "sight", "version": v, "capture_ms": 0, "ns": 20 + v, "features_ns": 14 + v} for v in (1, 3)]
    moments = latency.of_ours(rows, sent(4, capture_ms={1: 20, 2: 40, 3: 60}))
    assert moments == {2: {"token": 11}, 3: {"token": 12, "features": 17, "answer": 23}}


def test_a_frame_of_video_counts_when_it_first_came() -> None:
    rows = [{"event": "sight", "number": n, "ns": ns, "features_ns": ns - 1} for n, ns in ((5, 10), (6, 20), (5, 30))]
    moments = latency.of_video(rows)
    assert moments[5] == {"token": 9, "features": 9, "answer": 10}
    assert set(moments) == {5, 6}


def run_of(delays: Sequence[float], clip: Clip) -> Run:
    window = latency.measured(clip)
    moments = {
        number: dict.fromkeys(latency.WHAT, number * 20_000_000 + round(delay * 1e6))
        for number, delay in zip(window, delays, strict=False)
    }
    return Run.of(clip, sent(clip.count, bytes=1000, wire_bytes=2000, wire_packets=10), moments)


def test_figures_of_delays() -> None:
    clip = latency.filmed(grey(10))
    one, other = run_of([10.0, 20.0, 30.0], clip), run_of([40.0] * 5, clip)
    row = latency.row_of([one, other], [one, other])
    assert [row["p50_ms"], row["p50_ms_low"], row["p50_ms_high"]] == [30, 20, 40]
    assert row["ratio_to_video"] == row["answer_ratio_to_video"] == row["ratio_to_video_high"] == 1
    assert (row["frames"], row["frames_measured"], row["frames_skipped"], row["frames_late"]) == (20, 8, 12, 0)
    assert row["kbps"] == pytest.approx(8 / clip.seconds, abs=1e-3)
    assert row["wire_kbps"] == pytest.approx((2000 + 10 * latency.UDP_BYTES) * 8 / clip.seconds / 1000, abs=1e-3)
    assert latency.row_of([one], [other])["ratio_to_video"] == 0.5


def test_what_nobody_sent_is_counted_apart() -> None:
    clip = latency.filmed(grey(10))
    window = latency.measured(clip)
    at = dict.fromkeys(latency.WHAT, 10**10)
    run = Run.of(clip, sent(window[3]), {window[0]: at, window[5]: at})
    assert (len(run.delays_ms["token"]), run.foreign, run.late) == (1, 1, 7)
    with pytest.raises(BenchError, match="nothing of grey arrived"):
        Run.of(clip, sent(clip.count), {})


# Two processes


def test_ours_and_video_between_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SCENES", ("scene:tour",))
    pair = latency.systems()[2:]
    monkeypatch.setattr(latency, "systems", lambda quick=False: pair)
    small = ["--out", str(tmp_path), "--size", "64", "--seconds", "2", "--repeats", "1"]
    latency.run(small)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["system"] for row in rows] == ["webrtc-vp8", "vidtok"]
    for row in rows:
        assert set(timing.KEY) | {"p50_ms", "p95_ms", "p99_ms", "ratio_to_video"} <= set(row)
        for prefix in latency.WHAT.values():
            assert 0 < row[f"{prefix}p50_ms"] <= row[f"{prefix}p95_ms"] <= row[f"{prefix}p99_ms"]
        assert row["p50_ms"] <= row["features_p50_ms"]
        assert row["frames_misread"] == 0
        assert 0 < row["frames_answered"] <= row["frames_measured"] <= row["frames"] == 20
        assert row["frames_skipped"] == row["frames"] - row["frames_measured"] >= row["frames_late"]
        assert row["wire_kbps"] > row["kbps"] > 0
    assert rows[0]["ratio_to_video"] == 1
    assert (tmp_path / "latency.png").stat().st_size > 1000
    assert "# Glass to token" in (tmp_path / "report.md").read_text()
    marked = [row | {"wire_packets_per_s": 12345.0} for row in rows]
    (tmp_path / "results.json").write_text(json.dumps(marked))
    latency.run(small)
    assert json.loads((tmp_path / "results.json").read_text()) == marked


def test_a_receiving_process_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'some trace' >&2\necho 'Error: no such thing' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(BenchError, match="the receiving process did not start: Error: no such thing"):
        latency.run(["--out", str(tmp_path / "out"), "--size", "64", "--seconds", "1", "--repeats", "1"])
