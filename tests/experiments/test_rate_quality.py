"""`rate_quality` as a user runs it: odd folders and clips, an interruption, the same numbers twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from experiments.bench import BenchError
from experiments.rate_quality import COLUMNS, arguments, find_films, run
from tests.experiments.toys import pictures, write_video

TOYS = Path(__file__).with_name("toys.py")
CONTRACT = {
    "system", "setting", "clip", "kbps", "tokens_per_s", "feature_cosine", "feature_cosine_tokens",
    "feature_cosine_viewer", "feature_cosine_unseen", "top1_agreement", "psnr_db", "ssim",
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of each odd kind."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "plain.mkv", pictures(14))
    write_video(folder / "portrait_odd.mkv", [f[:, :47] for f in pictures(12, size=(64, 98))])
    write_video(folder / "slow_1fps.mkv", pictures(3), fps=1)
    write_video(folder / "fast_60fps.mkv", pictures(75), fps=60)
    write_video(folder / "variable.mkv", pictures(8), times=[0, 0.05, 0.4, 0.45, 0.9, 1.3, 1.35, 1.8])
    return folder


def command(clips: Path, out: Path, *more: str) -> list[str]:
    systems = f"{TOYS},jpeg-1fps"
    flags = ["--clips", str(clips), "--out", str(out), "--size", "64", "--jobs", "1", "--systems", systems]
    return [*flags, "--seconds", "2", *more]


def films(folder: Path) -> tuple[list[str], list[str]]:
    found, left_out = find_films(arguments(command(folder, folder / "out")))
    return [film.name for film in found], left_out


def rows_of(out: Path) -> list[dict[str, Any]]:
    return list(json.loads((out / "results.json").read_text()))


def test_every_odd_clip_is_measured_again_and_again_with_the_same_result(clips: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    run(command(clips, out))
    rows = rows_of(out)
    assert len(rows) == 5 * (1 + 2 + 5)
    assert set(rows[0]) >= CONTRACT
    assert {row["clip"]: row["frames"] for row in rows} == {
        "fast_60fps.mkv": 13, "plain.mkv": 14, "portrait_odd.mkv": 12, "slow_1fps.mkv": 20, "variable.mkv": 19,
    }  # fmt: skip
    perfect = [row for row in rows if row["system"] == "identity"]
    assert all(row["feature_cosine"] == row["ssim"] == 1 for row in perfect)
    held = next(r for r in rows if r["clip"] == "slow_1fps.mkv" and r["setting"] == "every 10")
    assert held["feature_cosine"] == pytest.approx(1)  # a source of one frame a second repeats what it holds
    for name in ("summary.json", "report.md", "rate_quality.png", "tokens_quality.png", "bits_at_quality.png"):
        assert (out / name).stat().st_size > 100

    some = [row for row in rows if row["clip"] != "plain.mkv"]
    again.mkdir()
    (again / "results.json").write_text(json.dumps(some))
    run(command(clips, again))
    assert (again / "results.json").read_bytes() == (out / "results.json").read_bytes()
    parts = [json.loads((folder / "summary.json").read_text()) for folder in (out, again)]
    assert parts[0] == parts[1]
    assert "40 rows, 8 of them measured now" in (again / "report.md").read_text()


def test_a_row_of_another_build_or_run_is_not_taken_for_this_one(clips: Path, tmp_path: Path) -> None:
    row = {"system": "identity", "setting": "all", "clip": "plain.mkv", "size": "64", "fps": 10.0, "seconds": 3.0}
    (tmp_path / "results.json").write_text(json.dumps([row]))
    with pytest.raises(BenchError, match=r"results.json: holds rows with seconds 3.0, this run has 2.0; give another"):
        run(command(clips, tmp_path))
    (tmp_path / "results.json").write_text("half a fi")
    with pytest.raises(BenchError, match=r"results.json: not readable .*; move it away"):
        run(command(clips, tmp_path))


def test_a_folder_with_nothing_to_see_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"{tmp_path}/nowhere: not a folder"):
        films(tmp_path / "nowhere")
    (tmp_path / "readme.txt").write_text("no video")
    with pytest.raises(BenchError, match=f"{tmp_path}: no video in it .*mp4"):
        films(tmp_path)


def test_clips_that_cannot_be_measured_are_left_out_by_name(clips: Path, tmp_path: Path) -> None:
    shutil.copy(clips / "plain.mkv", tmp_path)
    whole = (clips / "plain.mkv").read_bytes()
    (tmp_path / "corrupt.mp4").write_bytes(b"not a video at all" * 50)
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 20])
    (tmp_path / "empty.webm").write_bytes(b"")
    write_video(tmp_path / "short.mkv", pictures(9))
    names, left_out = films(tmp_path)
    assert names == ["plain.mkv"]
    assert sorted(line.split(":")[0] for line in left_out) == [
        str(tmp_path / name) for name in ("corrupt.mp4", "cut.mkv", "empty.webm", "short.mkv")
    ]
    assert any("short.mkv: lasts 0.9 s, a rate needs at least 1 s; left out" in line for line in left_out)


def test_a_folder_of_broken_clips_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corrupt.mp4").write_bytes(b"no")
    with pytest.raises(BenchError, match=f"{tmp_path}: none of its 1 videos can be measured"):
        films(tmp_path)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--size", "100"], "multiples of 16"),
        (["--size", "much"], "--size much"),
        (["--seconds", "0.5"], "at least 1"),
        (["--size", "1920x1920", "--seconds", "600"], "too much memory"),
        (["--systems", "h264"], "no such system"),
    ],
)
def test_flags_that_make_no_sense_end_in_one_line(tmp_path: Path, flags: list[str], said: str) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "experiments.rate_quality", "--clips", str(tmp_path), "--out", str(tmp_path), *flags],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert out.returncode == 2
    assert out.stderr.startswith("error: ")
    assert said in out.stderr
    assert len(out.stderr.splitlines()) == 1


def test_an_interrupted_run_keeps_its_rows_and_says_how_to_go_on(clips: Path, tmp_path: Path) -> None:
    for attempt in ("one", "two", "three"):  # a busy machine may let it end before this test looks
        out = tmp_path / attempt
        line = [sys.executable, "-m", "experiments.rate_quality", *command(clips, out)]
        process = subprocess.Popen(
            line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
        )  # fmt: skip
        waited = 0.0
        while not (out / "results.json").exists() and process.poll() is None and waited < 120:
            time.sleep(0.05)
            waited += 0.05
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if process.returncode != 0:
            break
    assert process.returncode == 130
    assert "interrupted: finished rows are kept" in said
    assert "Traceback" not in said
    assert 1 <= len(rows_of(out)) < 40
    assert not (out / "report.md").exists()


def test_a_system_that_fails_is_named_with_its_clip_and_line(clips: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from experiments.systems import Known, System\n"
        "def systems():\n    return [System('mine', 'fails', run, {'hard': 0})]\n"
        "def run(params, clip):\n    for frame in clip:\n        yield Known(picture=frame.pixels, bytes=1 // params)\n"
    )
    with pytest.raises(BenchError, match=r"mine, hard, .*mkv: ZeroDivisionError.* in mine.py, line 6"):
        run([*command(clips, tmp_path / "out"), "--systems", str(mine)])


def test_the_list_names_every_system_and_setting(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["--clips", str(clips), "--out", str(clips / "out"), "--list"])
    said = capsys.readouterr().out
    for name in ("vidtok", "vidtok-dense", "x264", "x264-gop2s", "x265", "svt-av1", "vp9", "jpeg-1fps", "livekit"):
        assert f"\n{name}: " in f"\n{said}"
    assert not (clips / "out").exists()


def test_the_contract_s_columns_are_all_there() -> None:
    assert CONTRACT - {"system", "setting", "clip"} <= set(COLUMNS)


def test_videos_are_written_as_the_tests_think(tmp_path: Path) -> None:
    shown = pictures(2)
    reader = cv2.VideoCapture(str(write_video(tmp_path / "a.mkv", shown)))
    _, first = reader.read()
    assert np.array_equal(first[..., ::-1], shown[0])
