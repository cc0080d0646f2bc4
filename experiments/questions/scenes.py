"""Films from the built-in scene with questions about them.

    Scene (variant, seed) --a window of 8 to 12 s--> frames, their times from 0 on
        events: label, track --> Tale: visits of pictures, lamp, page, camera --FORMS, say--> Questions

Times of a Tale are the film's. What is asked of still scenes is answered no; films in which more goes on are asked
as often with the answer yes, so that a set with as many of both is even.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_gate.scene import Scene
from edge_gate.scene_script import Box, SceneEvent, Span
from edge_gate.scene_variants import LAP_S, PORTRAITS
from edge_gate.source import Frame
from experiments.questions import Film, Question
from experiments.questions.asking import NUMBERS, YES_NO, Ask, Form
from experiments.questions.choosing import Asked, Chooser, Offer
from experiments.questions.phrasings import say
from experiments.questions.plans import PLACES, SIZE, ninth
from experiments.questions.recalling import AGES, age
from experiments.questions.scene_phrasings import SCENE_PHRASINGS
from experiments.questions.worlds import FPS, SPLITS

SHORTEST_S, LONGEST_S = 8.0, 12.0
WANTED = 18
LATEST_START_S = 13.0  # of a window of the tour: after that hardly anything happens
TIMES = NUMBERS[:4]  # that a lamp lights up in a lap
PLAIN_PX = 60  # the width from which on a picture is asked about by name
NEAR_S = 0.12  # moments nearer to a beginning or an end are not asked about


@dataclass(frozen=True)
class Visit:
    """A picture that is in view for a while, and the events of which that consists."""

    name: str  # what it shows: astronaut, coffee or cat
    span: Span
    events: tuple[SceneEvent, ...]

    @property
    def plain(self) -> bool:
        """Whether it is large enough for everybody to see what it shows."""
        return max(box[2] for event in self.events for _, box in event.track if box is not None) >= PLAIN_PX

    def box(self, t: float) -> Box | None:
        """Where it is at a time of the scene; while it rests, where it came to rest."""
        known = [box for event in self.events for time_s, box in event.track if time_s <= t + 1e-9 and box is not None]
        return known[-1] if known and self.span[0] <= t < self.span[1] else None


@dataclass(frozen=True)
class Tale:
    """What happens in a window of a scene, in the scene's times; `start_s` is the film's zero."""

    variant: str
    start_s: float
    end_s: float
    visits: tuple[Visit, ...]
    lamps: tuple[Span, ...]
    pages: tuple[SceneEvent, ...]
    pans: tuple[Span, ...]

    def ask(self, right: str, choices: tuple[str, ...], t: float, span: Span, **about: str) -> Ask:
        """A question at a time of the scene, in the film's times."""
        since, until = (min(max(at, self.start_s), t) - self.start_s for at in span)
        return Ask(right, choices, round(t - self.start_s, 6), (round(since, 6), round(until, 6)), about)

    def clear(self, t: float, spans: Sequence[Span]) -> bool:
        """Whether none of the spans begins or ends just then."""
        return all(abs(t - edge) > NEAR_S for span in spans for edge in span)


def scene_film(seed: int, variant: str, split: str) -> Film:
    """A window of the scene's variant at 256x256 and 10 frames a second."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: give one of {', '.join(SPLITS)}")
    rng = np.random.default_rng([seed, SPLITS.index(split), 31])
    number = int(rng.integers(1 << 20))
    scene = Scene(SIZE, FPS, number, variant, duration_s=math.inf)
    count = round(float(rng.uniform(SHORTEST_S, LONGEST_S)) * FPS)
    latest = LATEST_START_S if variant == "tour" else LAP_S[variant] - LONGEST_S
    first = int(rng.integers(0, max(1, round(latest * FPS) + 1)))
    tale = read_tale(scene, first / FPS, (first + count) / FPS)
    return Film(
        name=f"scene:{variant}:{split}:{seed}",
        size=SIZE,
        fps=FPS,
        count=count,
        frames=functools.partial(_frames, number, variant, first, count),
        questions=_questions(tale, split, rng),
    )


def _frames(number: int, variant: str, first: int, count: int) -> Iterator[Frame]:
    scene = Scene(SIZE, FPS, number, variant, duration_s=math.inf)
    for k in range(count):
        yield Frame(scene.frame(first + k).pixels, k / FPS, k)


# What happens


def read_tale(scene: Scene, start_s: float, end_s: float) -> Tale:
    """What the scene's first lap, and the next where the window needs it, tells of this window."""
    events = [event for lap in (0, 1) for event in scene.lap_events(lap)]
    within = [event for event in events if event.start_s < end_s and event.end_s > start_s]
    visits = [visit for visit in _visits(events) if visit.span[0] < end_s and visit.span[1] > start_s]
    return Tale(
        variant=scene.variant,
        start_s=start_s,
        end_s=end_s,
        visits=tuple(visits),
        lamps=tuple((event.start_s, event.end_s) for event in within if event.kind == "blink"),
        pages=tuple(event for event in within if event.kind == "page"),
        pans=tuple((event.start_s, event.end_s) for event in within if event.kind == "pan"),
    )


def _visits(events: Sequence[SceneEvent]) -> list[Visit]:
    """Pictures from when they come in to when they have left; where they only show, each showing is a visit."""
    found: list[Visit] = []
    open_: list[SceneEvent] = []
    for event in events:
        name = re.match(r"a picture of an? (\w+)", event.label)
        if name is None:
            continue
        open_.append(event)
        if event.kind == "leave" or event.label.endswith("shows"):
            found.append(Visit(name[1], (open_[0].start_s, event.end_s), tuple(open_)))
            open_ = []
    return found


# What can be asked


def camera(tale: Tale, t: float) -> Iterator[Ask]:
    """Is the camera moving? Not asked of a hand that only shakes."""
    if tale.variant != "handheld" and tale.clear(t, [(a + 0.3, b - 0.3) for a, b in tale.pans]):
        moving = [(a, b) for a, b in tale.pans if a + 0.3 < t < b - 0.3]
        if moving or not any(a <= t <= b for a, b in tale.pans):
            yield tale.ask("yes" if moving else "no", YES_NO, t, (t - 0.5, t))


def page(tale: Tale, t: float) -> Iterator[Ask]:
    """Is somebody holding up a page?"""
    held = any(event.held_s and event.held_s[0] <= t <= event.held_s[1] for event in tale.pages)
    if held or not any(event.start_s - NEAR_S <= t <= event.end_s + NEAR_S for event in tale.pages):
        yield tale.ask("yes" if held else "no", YES_NO, t, (t, t))


def came_in(tale: Tale, t: float) -> Iterator[Ask]:
    """What did the only picture show that came in?"""
    over = [visit for visit in tale.visits if visit.span[0] < t]
    if len(over) == 1 and over[0].plain and tale.start_s <= over[0].span[0] < t - 1.0:
        yield tale.ask(over[0].name, PORTRAITS, t, over[0].span)


def any_came(tale: Tale, t: float) -> Iterator[Ask]:
    """Did a picture come in, or show up?"""
    over = [visit for visit in tale.visits if visit.span[0] < t]
    if not over or (tale.start_s <= over[0].span[0] and t > over[0].span[0] + 0.5):
        span = over[0].span if over else (tale.start_s, t)
        yield tale.ask("yes" if over else "no", YES_NO, t, span)


def where_is(tale: Tale, t: float) -> Iterator[Ask]:
    """Where is the picture of a cat?"""
    for visit in _one_visit(tale, t):
        box = visit.box(t)
        place = None if box is None else ninth(box[0] + box[2] / 2, box[1] + box[3] / 2)
        if tale.variant == "tour" and place == "middle":
            continue  # there it comes to rest in every lap: no question
        if place is not None and box is not None and _whole(box) and tale.clear(t, [visit.span]):
            yield tale.ask(place, PLACES, t, (t, t), name=visit.name)


def _one_visit(tale: Tale, t: float) -> list[Visit]:
    here = [visit for visit in tale.visits if visit.span[0] <= t < visit.span[1]]
    return here if len(here) == 1 and here[0].plain else []


def _whole(box: Box) -> bool:
    x, y, width, height = box
    return x > 0 and y > 0 and x + width < SIZE[0] and y + height < SIZE[1]


def moving_now(tale: Tale, t: float) -> Iterator[Ask]:
    """Is the picture of a cat moving just now? Turning is not asked about."""
    for visit in _one_visit(tale, t):
        spans = [(event.start_s, event.end_s, event.kind) for event in visit.events]
        now = [kind for start, end, kind in spans if start - 0.2 < t < end + 0.2]
        if "turn" not in now and len(spans) > 1 and (not now or any(a + 0.2 < t < b - 0.2 for a, b, _ in spans)):
            yield tale.ask("yes" if now else "no", YES_NO, t, (t - 0.3, t), name=visit.name)


def way(tale: Tale, t: float) -> Iterator[Ask]:
    """Which way did the picture of a cat move? Left or right: it never goes up or down."""
    for visit in tale.visits[-1:] if len({visit.name for visit in tale.visits}) == len(tale.visits) else ():
        for event in visit.events:
            boxes = [box for _, box in event.track if box is not None]
            if (
                event.kind == "move"
                and visit.plain
                and tale.start_s <= event.start_s
                and event.end_s < t
                and tale.variant != "scroll"
            ):
                went = boxes[-1][0] - boxes[0][0]
                if abs(went) >= 12:
                    right = "right" if went > 0 else "left"
                    yield tale.ask(right, ("left", "right"), t, (event.start_s, event.end_s), name=visit.name)


def still_here(tale: Tale, t: float) -> Iterator[Ask]:
    """Is the picture of a cat still there?"""
    seen = [visit for visit in tale.visits if visit.span[0] < t - 0.5 and visit.plain]
    for visit in seen:
        alone = sum(visit.name == other.name for other in tale.visits) == 1
        ends = [(event.start_s, event.end_s) for event in visit.events if event.kind == "leave"]
        leaving = any(a < t < b + NEAR_S for a, b in ends)
        if alone and not leaving and tale.clear(t, [visit.span]):
            yield tale.ask("yes" if t < visit.span[1] else "no", YES_NO, t, (t, t), name=visit.name)


def lamp(tale: Tale, t: float) -> Iterator[Ask]:
    """Did a lamp light up?"""
    over = [span for span in tale.lamps if span[0] < t]
    if tale.clear(t, tale.lamps) and not any(a <= tale.start_s for a, _ in over):
        yield tale.ask("yes" if over else "no", YES_NO, t, over[0] if over else (tale.start_s, t))


def lamp_times(tale: Tale, t: float) -> Iterator[Ask]:
    """How many times did the lamp light up? Only the tour's lamp is one and the same."""
    over = [span for span in tale.lamps if span[1] <= t]
    between = not any(a <= t <= b for a, b in tale.lamps) and not any(a <= tale.start_s for a, _ in over)
    if tale.variant == "tour" and between and len(over) < len(TIMES):
        span = (over[0][0], over[-1][1]) if over else (tale.start_s, t)
        yield tale.ask(TIMES[len(over)], TIMES, t, span)


def how_long(tale: Tale, t: float) -> Iterator[Ask]:
    """How long ago did a picture come in, or did a lamp light up for the last time?"""
    entries = [(visit.span[0], visit.events[0].end_s) for visit in tale.visits]
    acts = [("a picture come in", span) for span in entries if tale.start_s <= span[0] < t][-1:]
    acts += [("a lamp light up", span) for span in tale.lamps if span[0] < t][-1:]
    for does, span in acts:
        if found := age(span, t):
            yield tale.ask(found, tuple(AGES), t, span, does=does)


def which_first(tale: Tale, t: float) -> Iterator[Ask]:
    """Which picture showed first, the cat or the astronaut?"""
    over = [visit for visit in tale.visits if tale.start_s <= visit.span[0] and visit.span[1] < t]
    names = [visit.name for visit in over]
    for a in over:
        for b in over:
            if a.plain and b.plain and a.name != b.name and names.count(a.name) == names.count(b.name) == 1:
                first = min(a, b, key=lambda visit: visit.span[0]).name
                span = min(a.span[0], b.span[0]), max(a.span[1], b.span[1])
                yield tale.ask(first, (a.name, b.name), t, span, one=a.name, two=b.name)


def anything(tale: Tale, t: float) -> Iterator[Ask]:
    """Did anything happen?"""
    spans = [visit.span for visit in tale.visits] + [*tale.lamps] + [*tale.pans]
    spans += [(event.start_s, event.end_s) for event in tale.pages]
    if tale.variant in ("still", "tour", "events") and tale.clear(t, spans):
        over = sorted(span for span in spans if span[0] < t)
        yield tale.ask("yes" if over else "no", YES_NO, t, over[0] if over else (tale.start_s, t))


FORMS: dict[str, Form] = {
    "camera": Form("camera", camera, even=True, again=True),
    "page": Form("page", page, even=True, again=True),
    "came_in": Form("appeared", came_in),
    "any_came": Form("appeared", any_came, even=True, again=True),
    "where_is": Form("where", where_is),
    "moving_now": Form("moved", moving_now, even=True, again=True),
    "way": Form("direction", way),
    "still_here": Form("left", still_here, even=True, again=True),
    "lamp": Form("brief", lamp, even=True, again=True),
    "lamp_times": Form("count", lamp_times, even=True, again=True),
    "how_long": Form("when", how_long, even=True, again=True),
    "which_first": Form("order", which_first),
    "anything": Form("nothing", anything, even=True),
}
SINGLE = {
    "camera": (("still",), ("pan",)),
    "page": (("still",), ("tour",)),
    "any_came": (("still", "handheld"), ("events",)),
    "lamp": (("still", "handheld"), ("tour",)),
    "anything": (("still",), ("events",)),
}
"""What is asked of some variants, where it is no, and of which others as often, where it is yes."""


def _questions(tale: Tale, split: str, rng: np.random.Generator) -> tuple[Question, ...]:
    first, last = round(tale.start_s * FPS) + 8, round(tale.end_s * FPS)
    times = [k / FPS for k in range(first, last)]
    weights = [6.0 if k == last - 1 else 1.0 for k in range(first, last)]

    def find(form: Form) -> list[Offer]:
        return [(ask, w) for t, w in zip(times, weights, strict=True) for ask in form.find(tale, t)]

    single = Chooser({form: replace(how, even=False) for form, how in FORMS.items()}, find, _act, rng)
    chosen = Chooser(FORMS, find, _act, rng).fill(_single(tale, single), WANTED)
    return tuple(
        Question(
            FORMS[form].kind,
            say(SCENE_PHRASINGS[form], ask.about, split, rng),
            ask.answer,
            ask.at_s,
            ask.choices,
            *ask.span,
        )
        for form, ask in chosen
    )


def _act(ask: Ask) -> str:
    """What it was that is asked about when it is asked how long ago."""
    return ask.about.get("does", "")


def _single(tale: Tale, chooser: Chooser) -> list[Asked]:
    """What is no where nothing happens, asked of such films; of others, as often, with the answer yes."""
    found: list[Asked] = []
    for form, (nothing, much) in SINGLE.items():
        if tale.variant in (*nothing, *much):
            for _ in range(len(nothing) if tale.variant in much else 1):
                found += chooser.draw(form, "yes" if tale.variant in much else "no")
    return found
