"""The browser's figures: frames are known again, delays and shares are counted right, errors are one line."""

from __future__ import annotations

import asyncio
import shutil
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from experiments import browser_edge, browser_edge_chromium, browser_edge_figures, browser_edge_twins
from experiments.bench import BenchError, Row
from experiments.browser_edge_camera import (
    CLOCK_RATE,
    LEAD_S,
    Glass,
    Reel,
    begins,
    blocks_of,
    glasses,
    nearest,
    number_of,
    numbered,
    offset_of,
)
from experiments.browser_edge_chromium import wall_ahead_s
from experiments.browser_edge_ours import below, of_ours, pace
from experiments.browser_edge_receiver import WEB
from experiments.browser_edge_runs import Moment, Taken, Video, watched
from experiments.browser_edge_twins import Made
from tests.browser.conftest import absent
from tests.experiments.toys import clip
from vidtok.canvas import Grid
from vidtok.tokenizer.fsq import CHANNELS, dequantise

SIZE = (192, 64)


def reel(seconds: float = 2.0) -> Reel:
    return Reel.of(clip(round(10 * (1 + seconds)), size=SIZE))


def taken(count: int, film: Reel, first_s: float = 100.0) -> list[Glass]:
    """The camera's first frames."""
    return [Glass(first_s + k / film.fps, k % film.count, 0.002) for k in range(count)]


# The camera


@given(st.integers(0, 4095))
def test_a_number_is_read_again_through_noise_and_little_contrast(number: int) -> None:
    rng = np.random.default_rng(number)
    picture = numbered(rng.integers(0, 256, (64, 192, 3), dtype=np.uint8), number)
    worse = picture * 0.6 + 40 + rng.normal(0, 10, picture.shape)
    assert number_of(blocks_of(np.clip(worse, 0, 255).astype(np.uint8))) == number


@pytest.mark.parametrize("seed", range(5))
def test_no_picture_without_a_number_has_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert number_of(blocks_of(rng.integers(0, 256, (64, 192, 3), dtype=np.uint8))) is None
    assert number_of([255.0] * 24) is None
    assert number_of([]) is None


def test_only_the_lead_carries_numbers_and_the_measured_part_is_the_clip() -> None:
    film = reel()
    assert film.lead == LEAD_S * 10
    assert [number_of(blocks_of(film.picture(k))) for k in range(film.lead)] == list(range(film.lead))
    frames = list(film.clip())
    assert len(frames) == 20
    assert all(np.array_equal(one.pixels, film.frames[10 + k]) for k, one in enumerate(frames))


def test_a_reel_is_written_as_chromium_reads_it(tmp_path: Path) -> None:
    import av

    film = reel()
    with av.open(str(film.write(tmp_path / "camera.y4m"))) as file:
        stream = file.streams.video[0]
        found = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert (stream.width, stream.height, stream.average_rate) == (192, 64, 10)
    assert len(found) == film.count
    assert number_of(blocks_of(found[7])) == 7


def noted(film: Reel, places: range, wall_s: float = 1000.0, lag_s: float = 0.002) -> list[dict[str, Any]]:
    """What the tap would note of frames."""
    return [
        {
            "timestamp": (50 + k / film.fps) * 1e6,
            "arrived": (50 + k / film.fps + lag_s + wall_s) * 1000,
            "blocks": blocks_of(film.picture(k % film.count)),
        }
        for k in places
    ]


def test_frames_know_their_place_in_the_reel_round_after_round() -> None:
    film = reel()
    found = glasses(noted(film, range(5, 2 * film.count)), 1000.0, film)
    assert [one.place for one in found] == [k % film.count for k in range(5, 2 * film.count)]
    assert found[0].time_s == pytest.approx(50.5)
    assert found[0].lag_s == pytest.approx(0.002, abs=1e-6)
    late = glasses(noted(film, range(film.lead, film.count + 3)), 1000.0, film)
    assert [one.place for one in late] == [0, 1, 2]  # what came before the first number is of no known place


def test_stamps_of_another_clock_and_no_number_at_all_are_said() -> None:
    film = reel()
    with pytest.raises(BenchError, match="another clock"):
        glasses(noted(film, range(5)), 990.0, film)
    with pytest.raises(BenchError, match="no frame of the fake camera"):
        glasses(noted(film, range(film.lead, film.count)), 1000.0, film)


def test_the_measured_part_begins_in_the_first_round_that_is_not_too_late() -> None:
    film = reel()
    seen = taken(4, film)
    first = 100 + film.first / film.fps
    assert begins(seen, film, 101.0) == pytest.approx(first)
    assert begins(seen, film, first + 0.1) == pytest.approx(first + film.count / film.fps)


def test_a_tracks_clock_is_learned_from_numbers_and_one_misread_does_not_matter() -> None:
    film = reel()
    seen = taken(2 * film.count, film)
    rows = [
        {"pts": (one.time_s + 7.5) * CLOCK_RATE, "number": one.place, "ns": (one.time_s + 0.08) * 1e9}
        for one in seen
        if one.place < 6
    ]
    rows[3]["number"] = 1
    rows.append({"pts": 0, "number": None, "ns": 0})
    assert offset_of(rows, seen, film) == pytest.approx(7.5, abs=0.001)
    with pytest.raises(BenchError, match="1 numbered pictures"):
        offset_of(rows[:1], seen, film)
    for k, row in enumerate(rows):
        row["pts"] += k * CLOCK_RATE
    with pytest.raises(BenchError, match="do not follow"):
        offset_of(rows, seen, film)


def test_a_frame_is_known_by_its_moment_and_nothing_else_is() -> None:
    seen = taken(5, reel())
    assert nearest(seen, 100.203) is seen[2]
    assert nearest(seen, 100.25) is None
    assert nearest([], 100.0) is None


# Runs


def updates(film: Reel, told: dict[int, float]) -> list[tuple[float, Row]]:
    """What the server says of a session begun at 99 s whose page stamps frames 3 ms late: frame -> delay after that."""
    rows: list[tuple[float, Row]] = []
    for version, (k, delay_s) in enumerate(told.items(), 1):
        stamp_s = 100 + k / film.fps + 0.003 - 99
        row = {"event": "update", "version": version, "capture_ms": round(stamp_s * 1000), "tokens": 4}
        at = 99 + stamp_s + delay_s
        rows.append((at, row | {"latency_ms": delay_s * 1000}))
        sight = {"event": "sight", "version": version, "known_ms": (at - 99 + 0.01) * 1000}
        rows.append((at + 0.01, sight))
    return rows


def test_ours_is_counted_from_the_cameras_own_stamp() -> None:
    film = reel()
    moments, more = of_ours(updates(film, {1: 0.02, 2: 0.03, 5: 0.05}), taken(8, film), {2: "a view"})
    assert [round(one.taken_s, 3) for one in moments] == [100.1, 100.2, 100.5]
    delays = [one.token_s - one.taken_s for one in moments]
    assert delays == pytest.approx([0.023, 0.033, 0.053], abs=0.002)
    assert moments[0].known_s == pytest.approx(100.133, abs=0.002)
    assert [one.pooled for one in moments] == [None, "a view", None]
    assert more["stamp_lag_ms"] == pytest.approx(3, abs=1)
    with pytest.raises(BenchError, match="no update"):
        of_ours([], taken(8, film), {})


def test_a_frame_in_two_packets_stands_with_the_second() -> None:
    film = reel()
    rows = updates(film, {1: 0.02})
    second = {**rows[0][1], "version": 9, "latency_ms": 40.0}
    (moment,), _ = of_ours([*rows, (rows[0][0] + 0.02, second)], taken(8, film), {})
    assert moment.token_s - moment.taken_s == pytest.approx(0.043, abs=0.002)
    assert moment.tokens == 8


def test_the_pace_is_of_what_was_worked_on_while_it_was_measured() -> None:
    ahead = wall_ahead_s()
    steps = [{"at": 1000 * (at_s + ahead), "work_ms": 10 * at_s, "looked": at_s > 2} for at_s in (0.5, 1.5, 2.5, 9.0)]
    row = pace(steps, (1.0, 5.0))
    assert row == {"worked_fps": 0.5, "worked_p50_ms": 25.0, "worked_looks": 0.5}
    assert pace([], (1.0, 5.0))["worked_p50_ms"] is None


def test_a_pages_weight_is_told_apart_by_folder() -> None:
    found = {
        "http://a/page.js": 1,
        "http://a/kernels/relaxed.wasm": 20,
        "http://a/weights/a.onnx": 300,
        "http://a/weights/b": 4,
    }
    assert below("/weights/", found) == 304
    assert below("/kernels/", found) == 20


# Figures


def run_of(film: Reel, moments: list[Moment]) -> Taken:
    start = 100 + film.first / film.fps
    spent = {"wire_bytes": 2000.0, "wire_packets": 10.0, "payload_bytes": 1500.0, "frames": 0.0}
    spent |= {"tab_cpu_s": 0.5, "browser_cpu_s": 0.6, "server_cpu_s": 0.25}
    return Taken(taken(film.count, film), moments, (start, start + film.seconds), spent)


def test_a_row_says_what_a_run_noted() -> None:
    film = reel()
    first = 100 + film.first / film.fps
    moments = [
        Moment(first - 1, first - 0.9, first - 0.85, np.array([1.0, 0])),
        Moment(first + 0.2, first + 0.25, first + 0.26, np.array([0, 1.0]), 7),
        Moment(first + 1.2, first + 1.22, first + 1.23, np.array([0, 1.0]), 3),
    ]
    true = [np.array([0, 1.0])] * 20
    row = browser_edge_figures.figures(run_of(film, moments), film, true)
    assert row["frames"] == 20
    assert row["frames_told"] == 2
    assert row["p50_ms"] == pytest.approx(35, abs=0.1)
    assert row["tokens_per_s"] == 5
    assert row["wire_bytes_per_s"] == (2000 + 28 * 10) / 2
    assert row["server_cpu_ms_per_s"] == 125
    # 13 frames up to the second told: each waits for it or the one before; the rest waits for ever and is not counted
    assert row["news_p95_ms"] == pytest.approx(1000 * np.percentile([0.25, 0.15, 0.05, *np.arange(0.92, 0, -0.1)], 95))
    assert row["feature_cosine"] == pytest.approx(18 / 20)  # the first two frames are not known when the next is taken


def test_where_nothing_arrived_the_figures_are_none_and_not_zero() -> None:
    film = reel()
    row = browser_edge_figures.figures(run_of(film, []), film, [])
    assert row["p50_ms"] is None
    assert row["feature_cosine"] is None
    assert row["frames_told"] == 0


def a_row(system: str, setting: str, cosine: float, size: float, **more: float) -> Row:
    return {
        "system": system,
        "setting": setting,
        "clip": "a",
        "feature_cosine": cosine,
        "wire_bytes_per_s": size,
    } | more


def test_the_workable_video_is_the_smallest_that_knows_as_much() -> None:
    ours = a_row("vidtok", "", 0.8, 100, p50_ms=20, server_cpu_ms_per_s=9)
    videos = [a_row("v", "much", 0.95, 3000), a_row("v", "some", 0.81, 1000, p50_ms=50), a_row("v", "less", 0.7, 200)]
    found = browser_edge_figures.workable([ours, *videos])
    assert found is not None
    assert found["setting"] == "some"
    told = browser_edge_figures.ratios([ours | {"keeps_up_fps": 12.0}, *videos], (256, 256))
    assert [(row["figure"], row["met"]) for row in told] == [
        (0.4, "no"), (0.1, "yes"), (None, "–"), (None, "–"), (12.0, "no"),
    ]  # fmt: skip
    high = browser_edge_figures.workable([ours | {"feature_cosine": 0.99}, *videos])
    assert high is not None
    assert high["setting"] == "much"
    assert browser_edge_figures.workable(videos) is None
    assert browser_edge_figures.ratios(videos, (256, 256)) == []


def test_medians_are_over_clips_and_our_parts_become_one_row() -> None:
    rows = [
        a_row("vidtok", "s", 0.8, 100) | {"clip": "a"},
        a_row("vidtok", "s", 0.9, 300) | {"clip": "b", "p50_ms": None},
        {"system": "vidtok-page", "setting": "loaded", "clip": "a", "page_cold_bytes": 5.0},
        a_row("v", "x", 0.5, 7),
    ]
    ours, video = browser_edge_figures.folded(browser_edge_figures.medians(rows))
    assert (ours["system"], ours["setting"], ours["clips"]) == ("vidtok", "s", 2)
    assert (ours["wire_bytes_per_s"], ours["page_cold_bytes"]) == (200, 5)
    assert "p50_ms" not in ours
    assert video["wire_bytes_per_s"] == 7


# Twins


def made(codes: np.ndarray | None, payloads: tuple[str, ...] = ("ab",)) -> Made:
    latents = None if codes is None else dequantise(codes)
    return Made(
        latents, None, payloads, 1, dict.fromkeys(browser_edge_twins.PARTS, 0.0) | {"encode": 15.0, "tell": 5.0}
    )


def test_shares_count_values_cells_and_frames() -> None:
    grid = Grid(64, 64)
    codes = np.zeros((grid.rows, grid.cols, CHANNELS), np.uint8)
    other = codes.copy()
    other[0, 0, 0] = 1  # of the first level
    other[1, 1, -1] = 2  # of the last
    other[-1] = 5  # out of sight
    browser, python = [made(codes), made(None)], [made(other, ("cd",)), made(None)]
    row = browser_edge_twins.agreement(browser, python, browser, grid)
    assert row["codes_agree"] == pytest.approx(1 - 2 / (4 * CHANNELS), abs=1e-6)
    assert row["codes_near"] == pytest.approx(1 - 1 / (4 * CHANNELS), abs=1e-6)
    assert (row["first_levels_agree"], row["cells_agree"]) == (0.75, 0.5)
    assert (row["looks_agree"], row["payloads_agree"], row["payloads_agree_on_its_codes"]) == (1.0, 0.5, 1.0)
    with pytest.raises(BenchError, match="nothing can be compared"):
        browser_edge_twins.agreement([made(None)], [made(codes)], [made(codes)], grid)


def test_the_pace_counts_every_frame_and_a_look_only_those_looked_at() -> None:
    still = Made(None, None, (), 0, dict.fromkeys(browser_edge_twins.PARTS, 0.0))
    row = browser_edge_twins.costs([made(np.zeros(1, np.uint8)), still])
    assert (row["frame_ms"], row["encode_ms"]) == (10.0, 7.5)
    assert row["keeps_up_fps"] == 100.0
    assert (row["look_p50_ms"], row["look_share"]) == (20.0, 0.5)


def test_pythons_edge_says_what_it_sent_of_each_frame() -> None:
    frames = list(clip(3, size=(64, 64)))
    first, *_ = found = browser_edge_twins.in_python(frames, (64, 64))
    assert len(found) == 3
    assert first.latents is not None
    assert first.latents.shape == (3, 3, CHANNELS)
    assert first.payloads
    assert first.tokens > 0
    others = [Made(np.zeros_like(one.latents), None, (), 0) for one in found if one.latents is not None]
    assert browser_edge_twins.in_python(frames, (64, 64), others)[0].payloads != first.payloads


# The command


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="apt-get install chromium"):
        browser_edge_chromium.find_chromium()
    monkeypatch.setitem(__import__("sys").modules, "playwright.async_api", None)
    with pytest.raises(BenchError, match="pip install playwright"):
        browser_edge_chromium.playwright()


def test_a_wish_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    words = ["--clips", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(BenchError, match="there are ours, video, twins"):
        browser_edge.arguments([*words, "--parts", "mine"])
    with pytest.raises(BenchError, match="--fps 90"):
        browser_edge.arguments([*words, "--fps", "90"])
    with pytest.raises(BenchError, match="no video in it"):
        browser_edge.run(words, checked=lambda: None)


def test_ways_have_a_name_each_and_the_sweep_goes_down_to_one_frame_a_second() -> None:
    for quick in (True, False):
        found = browser_edge.ways(15.0, quick, tuple(browser_edge.KINDS))
        names = [(way.system, way.setting) for way in found]
        assert len(set(names)) == len(names)
        assert min(way.video.fps for way in found if way.video is not None) == 1
    assert Video("video/H264", 5, 30, at_once=False).system == "webrtc-h264"


def test_finished_rows_make_the_report_again_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")

    async def row(args: Any, film: Any, waiting: Any, rows: Any, tell: Any) -> None:
        for number, way in enumerate(waiting):
            key = {"system": way.system, "setting": way.setting, "clip": film.name, "browser": "Chromium 1"}
            found = {"page_cold_bytes": 7} if way.setting == browser_edge.LOADED else a_row("", "", 0.5, 100.0 + number)
            rows.add([found | key | {"p50_ms": 5.0, "server_cpu_ms_per_s": 3.0, "keeps_up_fps": 16.0}])

    monkeypatch.setattr(browser_edge, "measure", row)
    words = ["--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--quick"]
    browser_edge.run(words, checked=lambda: None)
    first = (tmp_path / "out" / "report.md").read_text()
    assert ">= 15" in first
    assert (tmp_path / "out" / "browser_edge.png").stat().st_size > 1000
    monkeypatch.setattr(browser_edge, "measure", None)  # nothing waits
    browser_edge.run(words, checked=lambda: None)
    assert "0 runs took" in (tmp_path / "out" / "report.md").read_text()


# A browser


@pytest.mark.browser
def test_chromium_plays_the_film_and_the_tap_knows_each_frame(tmp_path: Path) -> None:
    if not any(map(shutil.which, browser_edge_chromium.NAMES)) or find_spec("playwright") is None:
        absent("there is no Chromium here, or no Playwright: apt-get install chromium, pip install 'vidtok[dev]'")
    film = reel(1.0)

    async def watch() -> list[Glass]:
        app = web.Application()
        app.router.add_static("/", WEB)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            camera = film.write(tmp_path / "camera.y4m")
            async with browser_edge_chromium.chromium(camera) as browser, browser.tab() as page:
                await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/browser_edge_twin.html")
                await page.evaluate("navigator.mediaDevices.getUserMedia({ video: true })")
                await watched(page, film)
                await asyncio.sleep(1.0)
                return await watched(page, film)
        finally:
            await runner.cleanup()

    seen = asyncio.run(watch())
    steps = [(b.place - a.place) % film.count for a, b in pairwise(seen)]
    assert len(seen) > 3
    assert sum(step == 1 for step in steps) > len(steps) / 2  # a busy machine may miss some, but knows which
    assert all(0 < step < 5 for step in steps)
