"""text_reading as a user runs it, and what it makes of systems that show nothing, one picture, or everything."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from experiments import bench, text_reading
from experiments.bench import BenchError
from experiments.pages import ARRIVES_S, PLACED_S, Ocr, PageFilm
from experiments.systems import Clip, Known, System, clip_of
from experiments.text_reading import (
    SETTLED_S,
    STILL_S,
    TILE,
    TIMES_S,
    Job,
    corner_of,
    read,
    row_of,
    run,
    summarise,
    true_picture,
)
from vidtok.canvas import Grid, blank

SMALL = (256, 192)
JOB = Job("fake", "only", 20, "still", SMALL, 10.0, 0, Path())
CONTRACT = {"system", "setting", "clip", "kbps", "cap_height_px", "char_accuracy", "seconds_to_90"}
FROZEN = """
from dataclasses import replace
from experiments.systems import Known, System

def frozen(params, clip):
    known = None
    for frame in clip:
        known = known or Known(picture=frame.pixels, bytes=1000, packets=1)
        yield known

def systems():
    return [System("frozen", "the first frame for ever", frozen, {"only": None}, packet_bytes=50)]
"""


@pytest.fixture(scope="module")
def film() -> PageFilm:
    return PageFilm(20, "still", SMALL)


@pytest.fixture(scope="module")
def clip(film: PageFilm) -> Clip:
    return clip_of(film.name, film.fps, list(film))


class Spy:
    """Reads what it is told to, from the given reading on, and counts."""

    def __init__(self, text: str, since: int = 0) -> None:
        self.calls, self._text, self._since = 0, text, since

    def __call__(self, picture: np.ndarray) -> str:
        self.calls += 1
        return self._text if self.calls > self._since else ""


def system(run: Any) -> System:
    return System("fake", "for a test", run, {"only": None}, packet_bytes=50)


def test_one_picture_for_ever_is_read_once_and_never_right(film: PageFilm, clip: Clip) -> None:
    def frozen(_: Any, clip: Clip) -> Iterator[Known]:
        known = None
        for frame in clip:
            known = known or Known(picture=frame.pixels, bytes=1000, packets=1)
            yield known

    readings, last = read(system(frozen), "only", film, clip, Ocr())
    row = row_of(JOB, system(frozen), film, clip, readings, last)
    assert row["char_accuracy"] == row["moving_accuracy"] == 0
    assert row["seconds_to_90"] is None
    assert row["bits_to_90"] is None
    assert row["kbps"] == pytest.approx(8 / 8.6, abs=1e-5)
    assert row["wire_kbps"] == pytest.approx(8.4 / 8.6, abs=1e-5)
    spy = Spy("")
    read(system(frozen), "only", film, clip, spy)
    assert spy.calls == 1


def test_bits_count_from_the_last_frame_without_the_page(film: PageFilm, clip: Clip) -> None:
    def steady(_: Any, clip: Clip) -> Iterator[Known]:
        for frame in clip:
            yield Known(picture=frame.pixels, bytes=100 * (frame.index + 1), packets=frame.index + 1)

    for since in (0, 5, TIMES_S.index(SETTLED_S)):
        spy = Spy(film.page.text, since)
        readings, last = read(system(steady), "only", film, clip, spy)
        row = row_of(JOB, system(steady), film, clip, readings, last)
        assert spy.calls == len(TIMES_S)
        assert [reading.time_s for reading in readings] == list(TIMES_S)
        assert row["seconds_to_90"] == TIMES_S[since]
        frames = film.frame_at(PLACED_S + TIMES_S[since]) - film.frame_at(ARRIVES_S)
        assert row["bits_to_90"] == pytest.approx(800 * frames, abs=800)
        assert row["moving_accuracy"] == (1 if since == 0 else 0)
        assert row["char_accuracy"] == 1
        assert set(row) >= CONTRACT


def test_a_receiver_that_knows_nothing_yet_shows_nothing(film: PageFilm, clip: Clip, tmp_path: Path) -> None:
    def late(_: Any, clip: Clip) -> Iterator[Known]:
        for frame in clip:
            yield Known(picture=frame.pixels if frame.time_s >= PLACED_S + STILL_S else None)

    spy = Spy(film.page.text)
    readings, _ = read(system(late), "only", film, clip, spy, tmp_path / "tile.png")
    assert [reading.accuracy for reading in readings] == [float(t >= STILL_S) for t in TIMES_S]
    assert cv2.imread(str(tmp_path / "tile.png"), cv2.IMREAD_GRAYSCALE).shape == TILE


def test_a_canvas_is_read_through_the_viewer(film: PageFilm, clip: Clip) -> None:
    canvas = blank(Grid(*SMALL))

    def empty(_: Any, clip: Clip) -> Iterator[Known]:
        for _frame in clip:
            yield Known(canvas=canvas)

    spy = Spy(film.page.text)
    readings, _ = read(system(empty), "only", film, clip, spy)
    assert spy.calls == 1
    assert all(reading.accuracy == 1 for reading in readings)  # what the reader says counts, also of grey


@pytest.mark.parametrize("cap_px", [10, 28])
def test_the_corner_shows_letters_of_one_height(cap_px: int) -> None:
    film = PageFilm(cap_px, "still")
    tile = corner_of(film.clean_frame(60).pixels, film)
    rows = np.flatnonzero((tile < 120).any(1))
    assert tile.shape == TILE
    assert 17 <= rows[-1] - rows[0] + 1 <= 28  # 20, or more with a tilt and a J


def test_what_has_not_been_reached_is_said() -> None:
    base = {"setting": "a", "kbps": 1.0, "hold": "still", "seconds_to_90": None, "bits_to_90": None}
    rows = [
        {**base, "system": system, "clip": f"{px} px, still", "cap_height_px": px, "char_accuracy": accuracy}
        for system, told in {"true-picture": (0.5, 0.95, 1.0), "fake": (0.95, 0.2, 0.9)}.items()
        for px, accuracy in zip((10, 20, 40), told, strict=True)
    ]
    summary = summarise(rows)
    assert summary["ceiling_too_low"] == ["10 px, still"]
    assert summary["systems"]["fake"]["a"]["smallest_read_px"] == 40  # 10 px by chance is not 20
    assert summary["systems"]["fake"]["a"]["smallest_read_px_hand"] is None


def test_it_runs_says_all_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "frozen.py").write_text(FROZEN)
    out = tmp_path / "out"
    argv = ["--out", str(out), "--systems", str(tmp_path / "frozen.py"), "--size", "256x192", "--jobs", "1"]
    argv += ["--heights", "20", "--hand", ""]
    run(argv)
    rows = json.loads((out / "results.json").read_text())
    true, frozen = rows
    assert set(true) >= CONTRACT
    assert (true["system"], true["kbps"], frozen["system"]) == ("true-picture", None, "frozen")
    assert true["char_accuracy"] >= 0.9
    assert (frozen["char_accuracy"], frozen["seconds_to_90"]) == (0, None)
    assert json.loads((out / "summary.json").read_text())["ceiling_too_low"] == []
    assert "true-picture" in (out / "report.md").read_text()
    for name in ("accuracy.png", "rate.png", "seconds.png", "shown.png"):
        assert 1000 < (out / name).stat().st_size < 400_000

    asked: list[list[Job]] = []
    monkeypatch.setattr(bench, "run_jobs", lambda jobs, *_, **__: float(asked.append(list(jobs)) or 0))
    run(argv)
    (out / "results.json").write_text(json.dumps(rows[:1]))
    run(argv)
    assert [[job.system for job in jobs] for jobs in asked] == [[], ["frozen"]]
    (tmp_path / "frozen.py").write_text(FROZEN.replace("for ever", "again"))
    run(argv)
    assert [[job.system for job in jobs] for jobs in asked] == [[], ["frozen"], ["frozen"]]  # it says it is another
    with pytest.raises(BenchError, match="seed"):
        run([*argv, "--seed", "1"])


def test_the_ceiling_is_always_there_and_settings_are_few() -> None:
    def chosen(*argv: str) -> dict[str, list[str]]:
        args = text_reading.arguments(["--out", "x", *argv])
        return {name: list(system.settings) for name, system in text_reading.chosen_systems(args).items()}

    assert next(iter(chosen())) == true_picture().name
    assert set(text_reading.CHOSEN) < set(chosen())
    assert all(len(settings) <= 4 for settings in chosen().values())
    assert chosen("--systems", "jpeg-1fps")["jpeg-1fps"] == ["q30", "q75"]
    assert len(chosen("--systems", "jpeg-1fps", "--all-settings")["jpeg-1fps"]) > 2
    assert len(chosen("--quick")) == 4


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--heights", "ten"], "--heights ten"),
        (["--heights", ",", "--hand", ","], "no page"),
        (["--heights", "200"], "200"),
        (["--heights", "90", "--size", "128"], "larger --size"),
        (["--fps", "2"], "--fps 2"),
        (["--fps", "nan"], "--fps nan"),
        (["--seed", "-1"], "--seed -1"),
        (["--size", "1920", "--fps", "60"], "memory"),
        (["--systems", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(argv: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        run(["--out", str(tmp_path), *argv])
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_ocr_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(BenchError, match="pip install --no-deps rapidocr-onnxruntime"):
        run(["--out", str(tmp_path / "out"), "--quick"])
    assert not (tmp_path / "out").exists()


def test_systems_are_not_changed() -> None:
    system = true_picture()
    assert replace(system, settings={}) is not system
    assert list(system.settings) == ["unsent"]
