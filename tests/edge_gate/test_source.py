"""Sources: the resampling law, sizes, files of every kind, folders, and cameras that go away."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.scene import Scene
from edge_gate.source import (
    ROUNDING_S,
    Pixels,
    Source,
    SourceError,
    fit,
    native_size,
    natural_key,
    open_source,
    parse_size,
    resample,
    upright,
)
from edge_gate.source_live import LiveSource

STEP = 3  # brightness from one written frame to the next


def write_video(path: Path, times: list[Fraction], size: tuple[int, int] = (64, 64), rotate: int = 0) -> None:
    """A video whose frame n is a flat grey of 20 + STEP * n, at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if path.suffix == ".mkv" else "mpeg4", rate=60)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 600)
        if rotate:
            stream.set_display_rotation(rotate)
        for number, t in enumerate(times):
            grey = np.full((size[1], size[0], 3), 20 + STEP * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = int(t * 600), Fraction(1, 600)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def steady(fps: int, count: int) -> list[Fraction]:
    return [Fraction(n, fps) for n in range(count)]


def seen(source: Source) -> list[int]:
    """Which written frame each tick shows, read back from its grey."""
    return [round((float(f.pixels.mean()) - 20) / STEP) for f in source]


# Resampling

gaps = st.lists(st.floats(0.0, 1.5, allow_nan=False), min_size=1, max_size=30)


@given(gaps, st.sampled_from([1.0, 7.0, 10.0, 29.97, 60.0]), st.none() | st.floats(0.05, 5.0))
def test_each_tick_shows_the_newest_that_is_not_in_the_future(
    gaps: list[float], fps: float, limit: float | None
) -> None:
    times = [float(t) for t in np.cumsum([0.0, *gaps[1:]])]
    shown = list(resample(((t, 0.25, n) for n, t in enumerate(times)), fps, limit))
    for tick, n in shown:
        assert n == max(i for i, t in enumerate(times) if t <= tick / fps)
    end = min(times[-1] + 0.25 - ROUNDING_S, math.inf if limit is None else limit)
    assert [tick for tick, _ in shown] == [k for k in range(int(end * fps) + 2) if k / fps < end]


@given(st.lists(st.floats(-3.0, 3.0, allow_nan=False), min_size=1, max_size=30))
def test_any_order_of_times_gives_ascending_ticks(times: list[float]) -> None:
    shown = list(resample(((t, 0.1, n) for n, t in enumerate(times)), 10.0))
    assert all(a[0] + 1 == b[0] and a[1] <= b[1] for a, b in itertools.pairwise(shown))
    assert all(tick / 10.0 >= min(times) for tick, _ in shown)


def test_reads_no_further_than_the_first_item_after_the_tick() -> None:
    read: list[int] = []

    def camera() -> object:
        for n in range(100):
            read.append(n)
            yield n / 30, 1 / 30, n

    ticks = resample(camera(), 10.0)  # type: ignore[arg-type]
    assert [next(ticks), next(ticks)] == [(0, 0), (1, 3)]
    assert read == [0, 1, 2, 3, 4]


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("256", (256, 256)), ("640x480", (640, 480)), ("480X640", (480, 640)), (" 64 x 1920", (64, 1920))],
)
def test_sizes_are_read(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "250", "48", "1936", "640x", "640x470", "-256", "1e3", "256x256x3", "٢٥٦"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(SourceError, match="--size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("native", "size"),
    [
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (720, 1280)),
        ((641, 487), (640, 480)),
        ((1280, 720), (1280, 720)),
        ((4000, 100), (1280, 64)),
        ((20, 30), (64, 64)),
    ],
)
def test_native_sizes_are_whole_cells(native: tuple[int, int], size: tuple[int, int]) -> None:
    assert native_size(*native) == size


@given(st.integers(1, 300), st.integers(1, 300), st.integers(4, 12), st.integers(4, 12))
def test_fit_covers_any_size(w: int, h: int, cols: int, rows: int) -> None:
    out = fit(np.full((h, w, 3), 77, np.uint8), (cols * 16, rows * 16))
    assert out.shape == (rows * 16, cols * 16, 3)
    assert out.dtype == np.uint8
    assert np.all(out == 77)


def test_fit_crops_the_middle_and_keeps_pixels_where_it_can() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (75, 70, 3), dtype=np.uint8)
    assert np.array_equal(fit(pixels, (64, 64)), pixels[5:69, 3:67])
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 200
    assert np.all(fit(wide, (64, 64)) == 200)


def test_natural_order_reads_numbers() -> None:
    names = ["b1.png", "a10.png", "a9.png", "10.png", "9.png", "a.png"]
    assert [p.name for p in sorted(map(Path, names), key=natural_key)] == [
        "9.png", "10.png", "a.png", "a9.png", "a10.png", "b1.png",
    ]  # fmt: skip


def test_rotation_turns_counterclockwise() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = 255
    assert upright(pixels, 0) is pixels
    assert upright(pixels, 90)[2, 0, 0] == 255
    assert upright(pixels, -90)[0, 1, 0] == 255
    assert upright(pixels, 180)[1, 2, 0] == 255


# Video files


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("fps", "count", "expected"),
    [
        (10, 6, [0, 1, 2, 3, 4, 5]),
        (30, 9, [0, 3, 6]),
        (60, 30, [0, 6, 12, 18, 24]),
        (1, 3, [0] * 10 + [1] * 10 + [2]),
    ],
)
def test_constant_rates(tmp_path: Path, suffix: str, fps: int, count: int, expected: list[int]) -> None:
    write_video(tmp_path / f"v{suffix}", steady(fps, count))
    with open_source(tmp_path / f"v{suffix}") as source:
        assert seen(source)[: len(expected)] == expected
        assert source.size == (64, 64)
        assert not source.live


def test_variable_rate_times_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    write_video(path, [Fraction(n, 100) for n in (0, 4, 11, 12, 50, 61)])
    source = open_source(path, duration_s=0.7)
    assert seen(source)[:7] == [0, 1, 3, 3, 3, 4, 4]
    frames = list(source)
    assert [f.index for f in frames] == list(range(len(frames)))
    assert [f.time_s for f in frames] == [n / 10.0 for n in range(len(frames))]
    assert len(frames) <= 7


def test_a_file_that_starts_late_starts_at_zero(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mkv", [Fraction(5) + t for t in steady(10, 4)])
    assert seen(open_source(tmp_path / "v.mkv"))[:4] == [0, 1, 2, 3]


def test_iterates_again_and_ends_when_closed(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mkv", steady(10, 5))
    source = open_source(tmp_path / "v.mkv")
    assert seen(source) == seen(source)
    frames = iter(source)
    next(frames)
    source.close()
    assert list(frames) == []


def test_odd_and_portrait_and_asked_for_sizes(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mkv", steady(10, 2), (171, 133))
    write_video(tmp_path / "tall.mkv", steady(10, 2), (80, 160))
    assert open_source(tmp_path / "odd.mkv").size == (160, 128)
    tall = open_source(tmp_path / "tall.mkv")
    assert (tall.size, next(iter(tall)).pixels.shape) == ((80, 160), (160, 80, 3))
    asked = open_source(tmp_path / "odd.mkv", size="96x64")
    assert next(iter(asked)).pixels.shape == (64, 96, 3)


def test_rotation_of_a_file_is_honoured(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", steady(10, 2), (128, 64), rotate=90)
    assert open_source(tmp_path / "v.mp4").size == (64, 128)


def test_gif(tmp_path: Path) -> None:
    path = tmp_path / "v.gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb8"
        for level in (0, 255, 0):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="rgb8")))
        container.mux(stream.encode())
    assert [float(f.pixels.mean()) > 240.0 for f in open_source(path)][:3] == [False, True, False]


def test_a_truncated_file_gives_what_it_has_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    write_video(whole, steady(10, 60), (128, 128))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        shown = seen(open_source(cut))
    assert 10 < len(shown) < 50
    assert shown == list(range(len(shown)))
    assert "cut.mkv" in caplog.text


@pytest.mark.parametrize("content", [b"", b"this is not a video\n" * 50, bytes(5000), b"\x00\x00\x00\x18ftypmp42" * 9])
def test_files_that_are_not_videos(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"fake\.mp4") as error:
        open_source(path)
    assert "\n" not in str(error.value)


def test_truncated_mp4_without_index(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", steady(10, 5))
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "v.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"v\.mp4"):
        open_source(tmp_path / "v.mp4")


def test_sound_only_and_no_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match=r"sound\.wav: has no video"):
        open_source(tmp_path / "sound.wav")
    write_video(tmp_path / "empty.mkv", [])
    with pytest.raises(SourceError, match=r"empty\.mkv"):
        open_source(tmp_path / "empty.mkv")


# Folders


def test_folder_in_natural_order_with_a_broken_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in (1, 2, 10):
        picture = np.zeros((70, 66, 3), np.uint8)
        picture[..., 2] = 20 * n  # red, as OpenCV writes it
        cv2.imwrite(str(tmp_path / f"p{n}.png"), picture)
    (tmp_path / "p3.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("not a picture")
    frames = list(open_source(tmp_path))
    assert [int(f.pixels[0, 0, 0]) for f in frames] == [20, 40, 40, 200]
    assert not frames[0].pixels[..., 1:].any()
    assert frames[0].pixels.shape == (64, 64, 3)
    assert "p3.png" in caplog.text


def test_folders_with_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures"):
        open_source(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(SourceError, match="no picture could be read"):
        open_source(tmp_path)


# What to open


def test_scenes_are_sources() -> None:
    source = open_source("scene:still", size="128x64", duration_s=0.5, seed=3)
    assert isinstance(source, Scene)
    assert isinstance(source, Source)
    assert (source.name, source.size, len(list(source))) == ("scene:still", (128, 64), 5)
    assert open_source("scene").name == "scene:tour"


@pytest.mark.parametrize(
    "spec",
    [
        "scene:nowhere",
        "/no/such/file.mp4",
        "",
        "http://example.org/a.mp4",
        "rtsp://127.0.0.1:9/a",
        "97",
    ],
)
def test_what_cannot_be_opened_says_so_in_one_line(spec: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError) as error:
        open_source(spec)
    assert spec in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "bad", [{"fps": 0.0}, {"fps": math.nan}, {"fps": 1e6}, {"duration_s": 0.0}, {"duration_s": -1.0}]
)
def test_rates_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(SourceError, match="--"):
        open_source("scene", **bad)  # type: ignore[arg-type]


# Live


class FakeCamera:
    """Gives numbered pictures at `hz` and ends after `count`."""

    def __init__(self, count: int, hz: float = 200.0) -> None:
        self.count, self.hz, self.taken = count, hz, 0
        self.released = threading.Event()

    def read(self) -> Pixels | None:
        time.sleep(1 / self.hz)
        if self.taken >= self.count:
            return None
        self.taken += 1
        return np.full((64, 64, 3), self.taken % 256, np.uint8)

    def release(self) -> None:
        self.released.set()


def test_a_slow_consumer_gets_the_newest_picture() -> None:
    camera = FakeCamera(10_000)
    with LiveSource(camera, "fake", None, fps=50.0) as source:
        frames = iter(source)
        next(frames)
        for _ in range(3):
            time.sleep(0.1)
            before = camera.taken
            frame = next(frames)
            assert int(frame.pixels[0, 0, 0]) >= (before - 1) % 256
        assert source.live
        assert frame.index == 3
    assert camera.released.wait(2.0)
    assert list(frames) == []


def test_a_camera_that_is_unplugged_ends_with_an_error() -> None:
    camera = FakeCamera(5)
    with (
        LiveSource(camera, "fake", None, fps=100.0) as source,
        pytest.raises(SourceError, match="fake: has stopped"),
    ):
        for _ in source:
            pass
    assert camera.released.is_set()


def test_a_camera_without_a_picture_is_refused() -> None:
    with pytest.raises(SourceError, match="fake: shows no picture"):
        LiveSource(FakeCamera(0), "fake", None, fps=10.0)


def test_a_live_source_ends_after_its_duration() -> None:
    with LiveSource(FakeCamera(10_000), "fake", (128, 64), fps=50.0, duration_s=0.2) as source:
        frames = list(source)
    assert 1 <= len(frames) <= 11
    assert frames[0].pixels.shape == (64, 128, 3)
    assert all(a.time_s <= b.time_s < 0.2 for a, b in itertools.pairwise(frames))
