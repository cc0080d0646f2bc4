"""Painted worlds: the same seed gives the same film, answers are what the pixels show, and texts alone tell nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from experiments.questions import NOTHING, Film, Question, worlds
from experiments.questions.forms import FORMS
from experiments.questions.grounds import Made, made_backdrops
from experiments.questions.phrasings import PHRASINGS
from experiments.questions.plans import PLACES, Plan, draw_plan, ninth
from experiments.questions.things import COLOURS, Pixels, Thing
from experiments.questions.worlds import JUST_S, act, world
from tests.experiments.films import check_film, clock_only, guess, same_pixels, text_only

BACKDROPS = made_backdrops(6)
KINDS = {how.kind for how in FORMS.values()}


@cache
def films(first: int, last: int, split: str = "train") -> list[Film]:
    return [world(seed, split, BACKDROPS) for seed in range(first, last)]


def grey(k: int) -> Pixels:
    return np.full((256, 256, 3), 120, np.uint8)


def plan_of(film: Film) -> Plan:
    plan: Plan = film.frames.args[0]  # type: ignore[attr-defined]
    return plan


def named(plan: Plan, text: str, at: float) -> list[Thing]:
    """The things in view whose colour and shape stand in the text."""
    looks = [(thing, thing.look_at(at)) for thing in plan.things if thing.shows(at)]
    return [thing for thing, look in looks if f"{look.colour} {look.shape}" in text.lower()]


def colour_near(pixels: Pixels, thing: Thing, at: float) -> str:
    """The colour that most of the thing's place has."""
    (x, y), reach = thing.place(at), thing.look.side // 2
    patch = pixels[max(0, int(y) - reach) : int(y) + reach, max(0, int(x) - reach) : int(x) + reach].reshape(-1, 3)
    far = np.abs(patch[:, None].astype(int) - np.array(list(COLOURS.values()))).sum(axis=2)
    near = far.argmin(axis=1)[far.min(axis=1) < 60]
    return list(COLOURS)[int(np.bincount(near, minlength=len(COLOURS)).argmax())] if near.size else ""


# Films


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_gives_the_same_film_however_often_it_is_run(seed: int) -> None:
    one, two = (world(seed, "train", BACKDROPS) for _ in range(2))
    assert one.questions == two.questions
    assert same_pixels(one, two)
    assert same_pixels(one, one)


def test_more_rounds_ask_more_and_nothing_twice() -> None:
    once, often = (world(5, "train", BACKDROPS, rounds) for rounds in (1, 5))
    assert {q.text for q in once.questions} <= {q.text for q in often.questions}
    assert len(often.questions) >= 3 * len(once.questions)
    assert len({(q.text, q.at_s) for q in often.questions}) == len(often.questions)
    check_film(often)


def test_other_seeds_and_the_other_split_are_other_films() -> None:
    names = {film.name for film in [*films(0, 20), *films(0, 20, "test")]}
    assert len(names) == 40
    assert plan_of(films(0, 20)[3]) != plan_of(films(0, 20, "test")[3])


def test_films_and_questions_are_as_they_should_be() -> None:
    for film in films(0, 40):
        check_film(film)
        assert 60 <= film.count <= 100
        assert 12 <= len(film.questions) <= 24
    assert {question.kind for film in films(0, 40) for question in film.questions} == KINDS


def test_nothing_happens_in_a_fifth_of_all_films() -> None:
    plans = [draw_plan(np.random.default_rng([seed, 77])) for seed in range(400)]
    assert 0.14 < np.mean([not plan.spans for plan in plans]) < 0.26
    assert 0.43 < np.mean([bool(plan.flashes) for plan in plans]) < 0.57


def test_most_flashes_lie_between_two_whole_seconds_and_each_is_in_a_frame() -> None:
    spans = [flash.spans[0] for film in films(0, 300) for flash in plan_of(film).flashes]
    assert np.mean([int(start) == int(end) and start > int(start) for start, end in spans]) > 0.55
    assert all(any(start <= k / 10 < end for k in range(100)) for start, end in spans)


def test_things_never_hide_each_other() -> None:
    for film in films(0, 60):
        boxes = [thing.swept((256, 256)) for thing in plan_of(film).everything]
        for n, a in enumerate(boxes):
            assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[:n])


def test_what_it_cannot_make_it_refuses() -> None:
    with pytest.raises(ValueError, match="train, test"):
        world(0, "validation", BACKDROPS)
    with pytest.raises(ValueError, match="made_backdrops"):
        world(0, "train", [])


def test_a_backdrop_of_another_size_is_made_to_cover_the_frame() -> None:
    film = world(1, "train", [lambda k: np.full((90, 160, 3), k, np.uint8)])
    assert {frame.pixels.shape for frame in film} == {(256, 256, 3)}


# Truth


def test_a_thing_has_its_colour_at_its_place_when_asked_about_it_and_is_not_there_before_it_came() -> None:
    checked = Counter[str]()
    for seed in range(16):
        film = world(seed, "train", [grey])
        plan, frames = plan_of(film), {frame.index: frame.pixels for frame in film}
        for question in film.questions:
            now = frames[round(question.at_s * film.fps)]
            for thing in named(plan, question.text, question.at_s):
                assert colour_near(now, thing, question.at_s) == thing.look_at(question.at_s).colour
                if thing.came and thing.came[0] > 0.1:
                    before = frames[int(thing.came[0] * film.fps - 0.5)]
                    assert colour_near(before, thing, 0.0) != thing.look.colour
                    checked["before"] += 1
                if question.kind == "where" and not question.text.lower().startswith("at the"):
                    assert question.answer == ninth(*thing.place(question.at_s)) in PLACES
                    checked["where"] += 1
    assert min(checked["before"], checked["where"]) >= 5


def test_cells_are_told_what_happens_there() -> None:
    """While it happens and just after, at the thing and where it stood; what stands there does nothing."""
    told = Counter[str]()
    for film in films(0, 40):
        plan = plan_of(film)
        for thing in plan.things:
            if thing.move is not None:
                middle = (thing.move.start_s + thing.move.end_s) / 2
                assert act(thing, middle) == act(thing, thing.move.end_s + JUST_S - 0.01) == thing.move.way
                words = [names for _, names in worlds.named(plan, middle)]
                look = thing.look_at(middle)
                assert {(look.colour, look.shape, thing.move.way), (NOTHING, NOTHING, thing.move.way)} <= set(words)
            told.update([act(thing, thing.start_s), act(thing, thing.spans[0][0] - 0.05 if thing.spans else 3.0)])
        for flash in plan.flashes:
            start, end = flash.spans[0]
            assert act(flash, start) == act(flash, end + 0.1) == "flash"
            assert (NOTHING, NOTHING, "flash") in [names for _, names in worlds.named(plan, end + 0.1)]
            told.update([act(flash, start - 0.05), act(flash, end + JUST_S + 0.05), "flash"])
    assert min(told[NOTHING], told["come"], told["flash"]) >= 5


def test_as_many_things_are_seen_as_are_counted() -> None:
    for film in films(0, 80):
        plan = plan_of(film)
        for question in film.questions:
            if question.kind == "count":
                looks = [thing.look_at(question.at_s) for thing in plan.things if thing.shows(question.at_s)]
                words = {"all": len(looks)}
                words |= Counter(look.colour for look in looks) | Counter(look.shape for look in looks)
                asked = "all" if plan.theme.kind == "all" else plan.theme.value
                assert question.choices.index(question.answer) == words.get(asked, 0)


def test_a_flash_is_seen_in_its_span_only() -> None:
    for seed in range(12):
        film = world(seed, "train", [grey])
        for flash in plan_of(film).flashes:
            for frame in film:
                there = colour_near(frame.pixels, flash, 0.0) == flash.look.colour
                assert there == (flash.start_s <= frame.time_s < flash.spans[0][1])


def test_nothing_is_asked_while_something_happens() -> None:
    for film in films(0, 60):
        assert all(plan_of(film).quiet(question.at_s) for question in film.questions)


# Fairness


@pytest.mark.parametrize("cue", [text_only, clock_only])
def test_who_has_not_seen_the_film_is_hardly_better_than_chance(cue: Callable[[Question], str]) -> None:
    train = [question for film in films(0, 300) for question in film.questions]
    others = [*films(1000, 1100), *films(0, 100, "test")]
    test = [question for film in others for question in film.questions]
    for kind, (right, chance, count) in guess(train, test, cue).items():
        assert count >= 40, kind
        assert right <= chance + 0.08, f"{kind}: {right:.2f} of {count} by {cue.__name__}, chance is {chance:.2f}"


def test_splits_share_no_phrasing_and_every_kind_has_enough() -> None:
    assert PHRASINGS.keys() == FORMS.keys()
    for form, ways in PHRASINGS.items():
        assert not set(ways.train) & set(ways.test), form
        assert len(set(ways.test)) == 2
    for kind in KINDS:
        assert sum(len(PHRASINGS[form].train) for form, how in FORMS.items() if how.kind == kind) >= 8
    train = {question.text.lower().rstrip("?") for film in films(0, 300) for question in film.questions}
    test = {question.text.lower().rstrip("?") for film in films(0, 100, "test") for question in film.questions}
    assert not train & test


def test_made_backdrops_are_the_same_every_time() -> None:
    for backdrop in BACKDROPS:
        assert np.array_equal(backdrop(0), Made(backdrop.kind, backdrop.seed)(7))
        assert backdrop(0).shape == (256, 256, 3)
