"""Pages, their films, and how what was read is compared with what stood there."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.bench import BenchError
from experiments.pages import (
    DIGITS,
    FINE,
    HOLDS,
    LETTERS,
    PLACED_S,
    RESTS_S,
    WORDS,
    Ocr,
    PageFilm,
    char_accuracy,
    draw_page,
    draw_text,
    edit_distance,
    ocr_version,
    reading_order,
    write_page,
)

SMALL = (256, 192)
TEXTS = st.text("ABC7 x", max_size=12)


@pytest.fixture(scope="module")
def ocr() -> Ocr:
    return Ocr()


# Pages


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 60), st.integers(0, 2**20))
def test_a_page_is_made_of_signs_that_no_two_look_alike(cap_px: int, seed: int) -> None:
    page = write_page(cap_px, (640, 480), seed)
    assert set("".join(page.lines)) <= set(LETTERS + DIGITS + " ")
    assert page == write_page(cap_px, (640, 480), seed)
    assert page.lines != write_page(cap_px, (640, 480), seed + 1).lines


def test_the_words_need_no_other_signs() -> None:
    assert set("".join(WORDS)) <= set(LETTERS)
    assert not set(LETTERS + DIGITS) & set("0OQ1I58Z")


@pytest.mark.parametrize("cap_px", [10, 14, 20, 28, 40, 56])
def test_capitals_are_as_tall_as_asked_and_all_of_them_is_on_the_sheet(cap_px: int) -> None:
    ink, below = draw_text("H", cap_px * FINE)
    assert abs(ink.shape[0] / FINE - cap_px) <= 0.5
    assert below == 0
    assert draw_text("J", cap_px * FINE)[1] > 0  # this font's J hangs down
    page = write_page(cap_px, (640, 480), 0)
    sheet = draw_page(page)
    assert sheet.shape == (page.height * FINE, page.width * FINE, 4)
    dark = np.argwhere(sheet[..., 0] + 255 * (1 - sheet[..., 3]) < 100)
    assert (dark.min(0) >= FINE * 0.03 * page.height).all()
    assert (dark.max(0) <= np.array(sheet.shape[:2]) - FINE * 0.03 * page.height).all()
    left, top = page.corner
    assert abs(dark[:, 0].min() / FINE - top) <= 2
    assert abs(dark[:, 1].min() / FINE - left) <= 2


@pytest.mark.parametrize("cap_px", [0, 5, 90, 121])
def test_a_height_that_does_not_fit_is_one_line(cap_px: int) -> None:
    with pytest.raises(BenchError, match=str(cap_px)):
        write_page(cap_px, SMALL, 0)


# Films


@pytest.mark.parametrize("hold", HOLDS)
def test_a_film_is_the_same_each_time_and_another_by_seed(hold: str) -> None:
    film = PageFilm(20, hold, SMALL, seed=3)
    for k in (0, 12, 40):
        assert np.array_equal(film.frame(k).pixels, PageFilm(20, hold, SMALL, seed=3).frame(k).pixels)
        assert not np.array_equal(film.frame(k).pixels, PageFilm(20, hold, SMALL, seed=4).frame(k).pixels)
    assert film.page == PageFilm(20, "still", SMALL, seed=3).page
    frames = list(film)
    assert len(frames) == len(film)
    assert all(frame.pixels.shape == (192, 256, 3) for frame in frames)


def test_it_moves_first_and_is_truly_still_then() -> None:
    film = PageFilm(20, "still", SMALL)
    placed, rests = film.frame_at(PLACED_S), film.frame_at(RESTS_S)
    empty, moving = film.clean_frame(0).pixels, [film.clean_frame(k).pixels for k in range(placed, rests + 1)]
    held = [film.clean_frame(k).pixels for k in range(rests, len(film))]
    assert film.pose(placed - 6) is None
    assert np.array_equal(film.clean_frame(placed - 5).pixels, empty)  # about to come in, out of sight
    assert all(not np.array_equal(a, b) for a, b in pairwise(moving))
    assert all(np.array_equal(held[0], other) for other in held[1:])
    a, b = (film.frame(k).pixels.astype(int) for k in (rests, rests + 20))
    assert 0.5 < np.abs(a - b).mean() < 8  # noise, flicker and exposure stay


def test_how_fast_it_moves_and_a_hand_trembles() -> None:
    film = PageFilm(20, "hand", SMALL)
    poses = [film.pose(k) for k in range(film.frame_at(PLACED_S), len(film))]
    places = np.array([(pose.x, pose.y) for pose in poses if pose is not None])
    steps = np.hypot(*np.diff(places, axis=0).T)
    rest = film.frame_at(RESTS_S) - film.frame_at(PLACED_S)
    assert steps[:rest].max() < 4
    assert 3 < np.hypot(*(places[rest] - places[0])) < 15
    assert (steps[rest:] > 0).all()
    assert np.abs(places[rest:] - places[rest:].mean(0)).max() < 1


def test_what_is_read_holds_the_page_wherever_it_is() -> None:
    film = PageFilm(40, "hand")
    rows, columns = film.region
    for k in range(film.frame_at(PLACED_S), len(film)):
        pose = film.pose(k)
        assert pose is not None
        turn = math.radians(pose.angle_deg)
        half_w = (film.page.width * math.cos(turn) + film.page.height * abs(math.sin(turn))) / 2
        assert columns.start <= max(0, pose.x - half_w)
        assert columns.stop >= min(640, pose.x + half_w)
    assert 0 <= rows.start < rows.stop <= 480


def test_nobody_else_holds_pages() -> None:
    with pytest.raises(BenchError, match="dog"):
        PageFilm(20, "dog", SMALL)


# Reading


def test_the_true_picture_is_read_and_a_blank_one_is_not(ocr: Ocr) -> None:
    film = PageFilm(28, "still")
    read = ocr(film.frame(50).pixels[film.region])
    assert char_accuracy(film.page.text, read) >= 0.95
    assert len(read.splitlines()) == len(film.page.lines)
    blank = np.full((480, 640, 3), 240, np.uint8)
    assert ocr(blank) == ""
    assert char_accuracy(film.page.text, ocr(blank)) == 0


def test_without_the_ocr_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(BenchError, match=r"pip install --no-deps rapidocr-onnxruntime==1\.4\.4") as caught:
        Ocr()
    assert len(str(caught.value).splitlines()) == 1


def test_which_ocr_it_is() -> None:
    assert ocr_version().startswith("rapidocr-onnxruntime 1.")


@pytest.mark.parametrize("degrees", [-3, 0, 2])
@settings(deadline=None)
@given(st.permutations(range(6)))
def test_pieces_are_put_in_order_on_a_tilted_page(degrees: int, order: list[int]) -> None:
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    pieces = []
    for line in range(3):
        for part in range(2):
            box = np.array([(0, 0), (180, 0), (180, 20), (0, 20)]) + np.array((210 * part, 36 * line))
            pieces.append((box @ matrix.T, f"{line}{part}"))
    assert reading_order([pieces[n] for n in order]) == "00 01\n10 11\n20 21"
    assert reading_order([]) == ""


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_edit_distance_is_what_it_is_by_definition(a: str, b: str) -> None:
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            swap = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, swap)
    assert edit_distance(a, b) == edit_distance(b, a) == table[-1][-1]


@settings(deadline=None)
@given(st.text(LETTERS + DIGITS, min_size=1, max_size=40), st.data())
def test_accuracy_counts_signs_and_nothing_else(text: str, data: st.DataObject) -> None:
    assert char_accuracy(text, text) == 1
    assert char_accuracy(text, " ".join(text.lower()) + "\n") == 1
    assert char_accuracy(text, "") == 0
    assert char_accuracy(text, "?" * 100) == 0
    wrong = data.draw(st.sets(st.integers(0, len(text) - 1)))
    spoilt = "".join("?" if n in wrong else sign for n, sign in enumerate(text))
    assert char_accuracy(text, spoilt) == pytest.approx(1 - len(wrong) / len(text))
    assert 0 <= char_accuracy(text, data.draw(TEXTS)) <= 1


def test_nothing_to_read_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nothing"):
        char_accuracy(" \n", "A")


def test_pages_are_values() -> None:
    page = write_page(20, SMALL, 0)
    assert replace(page) == page
    assert len({page, replace(page)}) == 1
