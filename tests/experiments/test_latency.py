"""Glass to token: what arrives of each frame becomes figures, and two processes really talk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments import latency, timing
from experiments.bench import BenchError
from experiments.latency import Run
from experiments.latency_camera import filmed, measured
from experiments.latency_senders import Sent
from experiments.systems import Clip
from tests.experiments.toys import grey

# What arrives


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
    window = measured(clip)
    moments = {
        number: dict.fromkeys(latency.WHAT, number * 20_000_000 + round(delay * 1e6))
        for number, delay in zip(window, delays, strict=False)
    }
    return Run.of(clip, sent(clip.count, bytes=1000, wire_bytes=2000, wire_packets=10), moments)


def test_figures_of_delays() -> None:
    clip = filmed(grey(10))
    one, other = run_of([10.0, 20.0, 30.0], clip), run_of([40.0] * 5, clip)
    row = latency.row_of([one, other], [one, other])
    assert [row["p50_ms"], row["p50_ms_low"], row["p50_ms_high"]] == [30, 20, 40]
    assert row["ratio_to_video"] == row["answer_ratio_to_video"] == row["ratio_to_video_high"] == 1
    assert (row["frames"], row["frames_measured"], row["frames_skipped"], row["frames_late"]) == (20, 8, 12, 0)
    assert row["kbps"] == pytest.approx(8 / clip.seconds, abs=1e-3)
    assert row["wire_kbps"] == pytest.approx((2000 + 10 * latency.UDP_BYTES) * 8 / clip.seconds / 1000, abs=1e-3)
    assert latency.row_of([one], [other])["ratio_to_video"] == 0.5


def test_what_nobody_sent_is_counted_apart() -> None:
    clip = filmed(grey(10))
    window = measured(clip)
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
