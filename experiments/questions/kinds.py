"""What can be asked of a film at a moment, and the answer, wherever it is certain.

    Sightings of a film --state: an answer at every frame, or none--> runs --> Told: answer, since when, until when
                        --event: shots and changes in the last seconds-----^

A state is asked about where it has lasted for STEADY frames; one must have seen it some time in its run. An event is
asked about after it is over, or where it is certain that there was none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from experiments.questions.categories import categories
from experiments.questions.detectors import FAINTEST
from experiments.questions.labels import FPS
from experiments.questions.motion import MOVES, STILL, energy_of, filmed_now, mostly, moving_places, shot_age, speed_of
from experiments.questions.sightings import (
    NO,
    SMALLEST_FACE,
    SMALLEST_HAND,
    STEADY,
    SURE_FACE,
    SURE_HAND,
    UNSURE,
    YES,
    Sightings,
    three,
)

Answers = NDArray[np.int64]  # (T,) which of the choices, or UNSURE
Floats = NDArray[np.float32]

SIDES, HEIGHTS, YES_NO = ("left", "middle", "right"), ("top", "bottom"), ("yes", "no")
COUNTS = ("none", "one", "two", "more")
COLOURS = ("red", "yellow", "green", "blue", "brown", "black", "white", "grey")
PLACES = tuple(
    f"{row} {side}".strip() if row != "centre" else ("centre" if side == "" else f"{side} side")
    for row in ("top", "centre", "bottom")
    for side in ("left", "", "right")
)
WHEN = ("no", "just now", "a few seconds ago")
PERSON = "person"
LATELY = 3 * FPS  # frames that "the last seconds" are
JUST_NOW = FPS  # a change is "just now" for so many frames, and "a few seconds ago" after twice as many


@dataclass(frozen=True)
class Told:
    """An answer that is certain, and the frames that one must have seen to know it."""

    kind: str
    answer: str
    choices: tuple[str, ...]
    since: int
    until: int
    place: str = ""  # what the question names, if it does


State = Callable[[Sightings], Answers]
Event = Callable[[Sightings, int], "tuple[str, int, int] | None"]


# States: an answer at every frame


def person(film: Sightings) -> Answers:
    """Is anyone there?"""
    return _yes_no(film.person)


def face_where(film: Sightings) -> Answers:
    """Where is the one face?"""
    return np.where(count_faces(film) == 1, thirds(_middle(film.faces[:, 0])), UNSURE)


def faces(film: Sightings) -> Answers:
    """How many faces: none only where nobody is."""
    found = count_faces(film)
    return np.where(found > 0, np.minimum(found, 3), np.where(film.person == NO, 0, UNSURE))


@lru_cache(maxsize=2)
def count_faces(film: Sightings) -> Answers:
    """Faces that are sure and large; UNSURE where any is neither, or cut off by the frame's edge."""
    score, wide = film.faces[..., 4], film.faces[..., 2] - film.faces[..., 0]
    inside = (film.faces[..., :2].min(-1) > -0.03) & (film.faces[..., 2:4].max(-1) < 1.03)
    sure = (score >= SURE_FACE) & (wide >= SMALLEST_FACE) & inside
    doubt = ((score >= FAINTEST) & ~sure).any(1) | ((film.person != YES) & sure.any(1))  # dogs have faces too
    return np.where(doubt, UNSURE, sure.sum(1))


def hand(film: Sightings) -> Answers:
    """Is a hand in sight?"""
    return _yes_no(film.hand)


def hand_where(film: Sightings) -> Answers:
    """Where is the hand, or where are all of them."""
    box = film.hands
    some = box[..., 4] > 0
    sure = (box[..., 4] >= SURE_HAND) & ((box[..., 2] - box[..., 0]) >= SMALLEST_HAND)
    where = np.stack([thirds(_middle(box[:, i])) for i in range(box.shape[1])], 1)
    same = ((where == where[:, :1]) | ~some).all(1)
    return np.where((film.hand == YES) & sure[:, 0] & same, where[:, 0], UNSURE)


def moves(film: Sightings) -> Answers:
    """Does anything move: yes where several places do for a while, no where not one has changed for a second."""
    moving = moving_places(film).sum((1, 2))
    still = film.change.max((1, 2))
    still = maximum_filter1d(still, FPS + 1, origin=FPS // 2, mode="nearest")
    told = _yes_no(three(moving >= 5, still < STILL))
    return np.where(shot_age(film) >= FPS, told, UNSURE)


def motion_where(film: Sightings) -> Answers:
    """Left, middle or right: where nearly all motion is."""
    energy = energy_of(film).sum(1)
    parts = np.stack([part.sum(1) for part in np.split(energy, (5, 11), 1)], 1)
    return mostly(film, parts, 0.75)


def motion_height(film: Sightings) -> Answers:
    """Top or bottom: where nearly all motion is."""
    energy = energy_of(film).sum(2)
    return mostly(film, np.stack([part.sum(1) for part in np.split(energy, 2, 1)], 1), 0.85)


def way(film: Sightings) -> Answers:
    """Which way most of what moves goes: left or right."""
    energy = energy_of(film)[..., None]
    mean = (film.flow * energy).sum((1, 2)) / np.maximum(energy.sum((1, 2)), 1e-6)
    speed = (speed_of(film) * energy[..., 0]).sum((1, 2)) / np.maximum(energy.sum((1, 2, 3)), 1e-6)
    enough = (moving_places(film).sum((1, 2)) >= 8) & (np.abs(mean[:, 0]) > 0.85 * speed) & (speed > 1.5 * MOVES)
    return np.where(enough & filmed_now(film), np.where(mean[:, 0] > 0, 1, 0), UNSURE)


def what(film: Sightings) -> Answers:
    """Which category the picture is of."""
    return film.category.astype(np.int64)


def screen(film: Sightings) -> Answers:
    """Is it what a screen shows?"""
    return _yes_no(film.screen)


def text(film: Sightings) -> Answers:
    """Is anything written?"""
    return _yes_no(three((film.words == YES).sum((1, 2)) >= 3, (film.words == NO).all((1, 2))))


def bright(film: Sightings) -> Answers:
    """Dark or bright: the mean grey is far from the middle."""
    grey = film.colour[..., :3].mean((1, 2, 3))
    return np.where(grey < 70, 0, np.where(grey > 155, 1, UNSURE))


def colour_at(row: int, col: int) -> State:
    """What colour a ninth is, where it is nearly all of one."""
    return lambda film: np.where(film.whole == YES, colour_names(film.colour[:, row, col]), UNSURE)


STATES: dict[str, tuple[State, tuple[str, ...]]] = {
    "person": (person, YES_NO),
    "face_where": (face_where, SIDES),
    "faces": (faces, COUNTS),
    "hand": (hand, YES_NO),
    "hand_where": (hand_where, SIDES),
    "moves": (moves, YES_NO),
    "motion_where": (motion_where, SIDES),
    "motion_height": (motion_height, HEIGHTS),
    "way": (way, ("left", "right")),
    "what": (what, categories()),
    "screen": (screen, YES_NO),
    "text": (text, YES_NO),
    "bright": (bright, ("dark", "bright")),
}


# Events: what happened in the last seconds


def cut(film: Sightings, now: int) -> tuple[str, int, int] | None:
    """Did all of the picture change at once, and when?"""
    seen = film.jump[: now + 1]
    cuts = np.flatnonzero(seen == YES)
    if (seen == UNSURE).any() or now < LATELY:
        return None
    if not len(cuts):
        return "no", 0, now
    ago = now - int(cuts[-1])
    if ago <= JUST_NOW:
        return "just now", int(cuts[-1]) - 1, int(cuts[-1])
    return None if ago < 2 * JUST_NOW else ("a few seconds ago", int(cuts[-1]) - 1, int(cuts[-1]))


def before(film: Sightings, now: int) -> tuple[str, int, int] | None:
    """What was there before the one change of all the picture."""
    cuts = np.flatnonzero(film.jump[: now + 1] != NO)
    if len(cuts) != 1 or film.jump[cuts[0]] != YES or now - cuts[0] < 5 or cuts[0] < FPS:
        return None
    earlier, later = gist(film)[: cuts[0]], gist(film)[now]
    told = earlier[-1]
    if told == UNSURE or later in (UNSURE, told) or not (earlier[-STEADY:] == told).all():
        return None
    others = np.flatnonzero(earlier != told)
    if len(np.setdiff1d(earlier, [told, UNSURE])):
        return None
    return GISTS[told], int(others[-1]) + 1 if len(others) else 0, int(cuts[0]) - 1


GISTS = (*categories(), PERSON)


@lru_cache(maxsize=2)
def gist(film: Sightings) -> Answers:
    """What a frame is of, people first."""
    return np.where(film.person == YES, len(categories()), film.category.astype(np.int64))


def came(film: Sightings, now: int) -> tuple[str, int, int] | None:
    """Has somebody come into view who was not there three seconds ago?"""
    return None if _swapped(film, now) else _turned(film.person, now, NO, YES)


def went(film: Sightings, now: int) -> tuple[str, int, int] | None:
    """Was somebody there three seconds ago who is gone now?"""
    return None if _swapped(film, now) else _turned(film.person, now, YES, NO)


def raised(film: Sightings, now: int) -> tuple[str, int, int] | None:
    """Did somebody's hand come into view, or leave it, in the last seconds of one shot?"""
    since = now - LATELY
    if since < 0 or shot_age(film)[now] < LATELY or film.person[now] != YES:
        return None
    lately = film.hand[since : now + 1]
    sure = np.flatnonzero(lately != UNSURE)
    turns = np.flatnonzero(np.diff(lately[sure]))
    if UNSURE in (lately[0], lately[-1]) or len(lately) - len(sure) > (STEADY if len(turns) else 0):
        return None
    if not len(turns):
        return "neither", since, now
    last, first = int(sure[turns[0]]), int(sure[turns[0] + 1])  # the last frame of the old and the first of the new
    if len(turns) > 1 or turns[0] + 1 < STEADY or len(sure) - turns[0] - 1 < STEADY:
        return None
    return ("came" if lately[first] == YES else "left"), since + last, since + first


def face_moved(film: Sightings, now: int) -> tuple[str, int, int] | None:
    """Did the one face go to the left or to the right in the last two seconds?"""
    since = now - 2 * FPS
    if since < 0 or shot_age(film)[now] < now - since or not (count_faces(film)[since : now + 1] == 1).all():
        return None
    x = _middle(film.faces[since : now + 1, 0])
    begins, ends = float(np.median(x[:3])), float(np.median(x[-3:]))
    if np.ptp(x) < 0.04:
        return "no", since, now
    if abs(ends - begins) < 0.12 or np.ptp(x) > 1.2 * abs(ends - begins):
        return None
    return ("right" if ends > begins else "left"), since, now


EVENTS: dict[str, tuple[Event, tuple[str, ...]]] = {
    "cut": (cut, WHEN),
    "before": (before, GISTS),
    "came": (came, YES_NO),
    "went": (went, YES_NO),
    "raised": (raised, ("came", "left", "neither")),
    "face_moved": (face_moved, ("left", "right", "no")),
}
KINDS = (*STATES, "colour", *EVENTS)


# Asking


def askable(film: Sightings, moments: Sequence[int]) -> Iterator[tuple[int, Told]]:
    """All that could be asked at these frames, with the frame."""
    for kind, (state, choices) in STATES.items():
        yield from _runs(kind, state(film), choices, moments)
    for place, name in enumerate(PLACES):
        yield from _runs("colour", colour_at(*divmod(place, 3))(film), COLOURS, moments, name)
    for kind, (event, choices) in EVENTS.items():
        for now in moments:
            found = event(film, now)
            if found is not None:
                yield now, Told(kind, found[0], choices, max(found[1], 0), found[2])


def _runs(
    kind: str, answers: Answers, choices: tuple[str, ...], moments: Sequence[int], place: str = ""
) -> Iterator[tuple[int, Told]]:
    begins = run_begins(answers)
    for now in moments:
        if answers[now] != UNSURE and now - begins[now] >= STEADY - 1:
            yield now, Told(kind, choices[answers[now]], choices, int(begins[now]), now, place)


def run_begins(values: Answers) -> Answers:
    """For each frame, the first of the frames on end that are as it is."""
    new = np.concatenate([[True], values[1:] != values[:-1]])
    return np.asarray(np.maximum.accumulate(np.where(new, np.arange(len(values)), 0)))


# Parts of answers


def thirds(x: Floats) -> Answers:
    """Left, middle, right by number; UNSURE near their borders."""
    return np.where(x < 0.36, 0, np.where(x > 0.64, 2, np.where(np.abs(x - 0.5) < 0.08, 1, UNSURE)))


def colour_names(ninth: Floats) -> Answers:
    """(T, 6) mean and deviation -> one of COLOURS, where there is nearly one only and it has a plain name."""
    hsv = cv2.cvtColor((ninth[:, None, :3] / 255).astype(np.float32), cv2.COLOR_RGB2HSV)[:, 0]
    hue, strength, light = hsv[:, 0], hsv[:, 1], hsv[:, 2] * 255
    strong, pale = (strength > 0.45) & (light > 70), strength < 0.1
    named = [
        strong & ((hue < 10) | (hue > 345)) & (light > 110),
        strong & (hue > 46) & (hue < 62) & (light > 150),
        strong & (hue > 80) & (hue < 160),
        strong & (hue > 200) & (hue < 250),
        strong & (hue > 15) & (hue < 36) & (light < 140),
        light < 24,
        pale & (light > 215),
        pale & (light > 90) & (light < 165),
    ]
    return np.where(ninth[:, 3:].max(1) < 24, np.select(named, range(len(named)), UNSURE), UNSURE)


def _yes_no(state: NDArray[np.int8]) -> Answers:
    return np.where(state == YES, 0, np.where(state == NO, 1, UNSURE))


def _middle(box: Floats) -> Floats:
    return (box[..., 0] + box[..., 2]) / 2


def _turned(state: NDArray[np.int8], now: int, first: int, last: int) -> tuple[str, int, int] | None:
    """Whether a state was `first` three seconds ago and is `last` since: yes; no where it is certain that not."""
    since = now - LATELY
    if since < STEADY - 1 or now >= len(state):
        return None
    then, here = state[since - STEADY + 1 : since + 1], state[now - STEADY + 1 : now + 1]
    if (then == UNSURE).any() or (here == UNSURE).any() or len(set(then)) > 1 or len(set(here)) > 1:
        return None
    if then[0] == first and here[0] == last:
        lately = np.arange(since, now + 1)
        return "yes", int(lately[state[lately] == first][-1]), int(lately[state[lately] != last][-1]) + 1
    if (state[max(since - 2 * FPS, 0) : since] != then[0]).any():
        return None  # it changed a little before "the last seconds" began, or after: who can tell
    lately_states = state[since : now + 1]
    changes = np.count_nonzero(np.diff(lately_states[lately_states != UNSURE]))
    return ("no", since, now) if changes == int(then[0] != here[0]) else None


def _swapped(film: Sightings, now: int) -> bool:
    """Whether one shot with somebody followed another in the last seconds: perhaps with somebody else."""
    lately = slice(max(now - LATELY, 0), now + 1)
    cuts = np.flatnonzero(film.jump[lately] != NO)
    return len(cuts) > 1 or (len(cuts) == 1 and film.person[now] != NO and film.person[lately][0] != NO)
