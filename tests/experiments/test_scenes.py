"""Questions about the built-in scene: their times are the film's, their answers what its events say."""

from __future__ import annotations

import numpy as np
import pytest

from edge_gate.scene import VARIANTS, Scene
from experiments.questions.scene_phrasings import SCENE_PHRASINGS
from experiments.questions.scenes import FORMS, read_tale, scene_film
from tests.experiments.films import check_film, guess, same_pixels


@pytest.mark.parametrize("variant", VARIANTS)
def test_films_and_questions_are_as_they_should_be(variant: str) -> None:
    for seed in range(3):
        film = scene_film(seed, variant, "train")
        check_film(film)
        assert 80 <= film.count <= 120
        assert film.questions
        assert film.questions == scene_film(seed, variant, "train").questions


def test_the_same_seed_gives_the_same_pixels() -> None:
    one = scene_film(1, "events", "test")
    assert same_pixels(one, scene_film(1, "events", "test"))


def test_a_window_begins_later_in_the_scene_and_at_zero_in_the_film() -> None:
    film = scene_film(2, "tour", "train")
    number, variant, first, _ = film.frames.args  # type: ignore[attr-defined]
    scene = Scene((256, 256), 10.0, number, variant)
    frame = next(iter(film))
    assert (frame.index, frame.time_s) == (0, 0.0)
    assert first > 0
    assert np.array_equal(frame.pixels, scene.frame(first).pixels)


def test_the_tour_is_told_as_it_happens() -> None:
    scene = Scene((256, 256), 10.0, 3, "tour")
    tale = read_tale(scene, 6.0, 18.0)
    (visit,) = tale.visits
    assert visit.span == (7.2, 13.2)
    assert [start for start, _ in tale.lamps] == [10.6, 11.1, 11.6]
    lamps = {t: [ask.answer for ask in FORMS["lamp_times"].find(tale, t)] for t in (10.0, 11.0, 11.5, 12.5)}
    assert lamps == {10.0: ["zero"], 11.0: ["one"], 11.5: ["two"], 12.5: ["three"]}
    page = {t: [ask.answer for ask in FORMS["page"].find(tale, t)] for t in (12.0, 14.0, 16.0)}
    assert page == {12.0: ["no"], 14.0: [], 16.0: ["yes"]}
    (ask,) = FORMS["way"].find(tale, 15.0)
    start, end = visit.box(8.2), visit.box(9.4)
    assert start is not None
    assert end is not None
    assert ask.answer == ("right" if end[0] > start[0] else "left")
    assert ask.at_s == 9.0


def test_nothing_happens_in_a_still_scene() -> None:
    assert {question.answer for question in scene_film(0, "still", "train").questions} == {"no"}


def test_every_kind_comes_up_and_texts_alone_do_not_tell_the_answer() -> None:
    variants = ("tour", "events", "still", "handheld", "pan", "scroll")
    train, test = (
        [
            question
            for seed in seeds
            for variant in variants
            for question in scene_film(seed, variant, "train").questions
        ]
        for seeds in (range(9), range(100, 106))
    )
    assert {question.kind for question in train} == {how.kind for how in FORMS.values()}
    for kind, (right, chance, count) in guess(train, test).items():
        assert count < 40 or right <= chance + 0.15, f"{kind}: {right:.2f} of {count}, chance is {chance:.2f}"


def test_splits_share_no_phrasing() -> None:
    assert SCENE_PHRASINGS.keys() == FORMS.keys()
    for form, ways in SCENE_PHRASINGS.items():
        assert len(set(ways.train)) >= 8, form
        assert len(set(ways.test)) == 2, form
        assert not set(ways.train) & set(ways.test), form


def test_a_split_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="train, test"):
        scene_film(0, "tour", "all")
