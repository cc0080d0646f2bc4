"""What is read of systems that show nothing, one picture, or everything; and the corner of a page that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from experiments.pages import ARRIVES_S, PLACED_S, Ocr, PageFilm
from experiments.readings import SETTLED_S, STILL_S, TILE, TIMES_S, Job, corner_of, read, row_of
from experiments.systems import Clip, Known, System, clip_of
from vidtok.canvas import Grid, blank

SMALL = (256, 192)
JOB = Job("fake", "only", 20, "still", SMALL, 10.0, 0, Path())
CONTRACT = {"system", "setting", "clip", "kbps", "cap_height_px", "char_accuracy", "seconds_to_90"}


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
