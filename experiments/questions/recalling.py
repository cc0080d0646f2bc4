"""What can be asked about what has been: what things did, what was there for a moment only, and what was at the start.

Plan, moment --> Ask, as in asking; none of it can be told from the picture at the moment alone
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from experiments.questions.asking import COLOUR_NAMES, YES_NO, Ask, a_or_an, alone, called, names, on_the, standing
from experiments.questions.plans import PLACES, Plan, ninth
from experiments.questions.things import COLOURS, SHAPES, SIDES, Span, Thing

AGES = {"just now": (0.2, 0.95), "a few seconds ago": (1.5, 3.5), "longer ago": (4.6, 10.0)}
SOON_S = 1.5
WAYS = ("left", "right", "up", "down")


# What it has done


def moved(plan: Plan, at: float) -> Iterator[Ask]:
    """Did the red circle move? Not asked of what slid in."""
    for thing in standing(plan, at):
        did = thing.move is not None and thing.move.end_s <= at
        if thing.came and thing.came[0] < at and thing.entry in SIDES:
            continue
        span = (thing.move.start_s, at) if thing.move and did else (thing.ready_s, at)
        for name in called(plan, thing, at):
            yield Ask("yes" if did else "no", YES_NO, at, span, {"thing": name}, thing)


def direction(plan: Plan, at: float) -> Iterator[Ask]:
    """Which way did the red circle move? Of one that slid in, that would be two ways."""
    for thing in standing(plan, at):
        if thing.move and thing.move.end_s <= at and not (thing.came and thing.entry in SIDES):
            for name in called(plan, thing, at):
                yield Ask(thing.move.way, WAYS, at, (thing.move.start_s, at), {"thing": name}, thing)


def came_from(plan: Plan, at: float) -> Iterator[Ask]:
    """From which side did the red circle come in?"""
    for thing in standing(plan, at):
        if thing.came and thing.entry in SIDES:
            for name in called(plan, thing, at):
                yield Ask(thing.entry, tuple(SIDES), at, thing.came, {"thing": name}, thing)


def added(plan: Plan, at: float) -> Iterator[Ask]:
    """Is there a shape now that was not there at the start? Yes in half of the films."""
    new = [thing.start_s for thing in standing(plan, at) if thing.came]
    if new:
        yield Ask("yes", YES_NO, at, (min(new), at))
    elif not any(thing.came for thing in plan.things):
        yield Ask("no", YES_NO, at, (0.0, at))


def came_later(plan: Plan, at: float) -> Iterator[Ask]:
    """Did the red circle come in later than the start?"""
    for thing in standing(plan, at):
        for name in called(plan, thing, at):
            span = (thing.start_s, at) if thing.came else (0.0, at)
            yield Ask("yes" if thing.came else "no", YES_NO, at, span, {"thing": name}, thing)


def added_what(plan: Plan, at: float, wanted: str) -> Iterator[Ask]:
    """What shape, or colour, is the only one that has been added?"""
    new = [thing for thing in plan.things if thing.came and thing.start_s <= at]
    if len(new) == 1 and new[0].shows(at) and new[0].look_at(at) == new[0].look and not _flashed(plan, at):
        look = new[0].look_at(at)
        right, choices = (look.shape, SHAPES) if wanted == "shape" else (look.colour, COLOUR_NAMES)
        yield Ask(right, choices, at, (new[0].start_s, at))


def still_there(plan: Plan, at: float) -> Iterator[Ask]:
    """Is the red circle still there?"""
    for thing in plan.things:
        if thing.ready_s <= at:
            stays = thing.shows(at)
            span = (at, at) if stays or thing.went is None else (thing.went[0], at)
            for name in called(plan, thing, at):
                yield Ask("yes" if stays else "no", YES_NO, at, span, {"thing": name}, thing)


def gone_what(plan: Plan, at: float, wanted: str) -> Iterator[Ask]:
    """What shape, or colour, was the only one that has gone?"""
    gone = [thing for thing in plan.things if thing.went and thing.went[1] <= at]
    if len(gone) == 1 and not _flashed(plan, at):
        look = gone[0].look_at(at)
        right, choices = (look.shape, SHAPES) if wanted == "shape" else (look.colour, COLOUR_NAMES)
        yield Ask(right, choices, at, (gone[0].ready_s, gone[0].went[0] if gone[0].went else at))


def changed(plan: Plan, at: float) -> Iterator[Ask]:
    """Did the circle change its colour? Called by its shape alone."""
    for thing in standing(plan, at):
        did = thing.change is not None and thing.change.at_s <= at
        if thing.look.shape in called(plan, thing, at):
            span = (thing.change.at_s, at) if thing.change and did else (thing.ready_s, at)
            yield Ask("yes" if did else "no", YES_NO, at, span, {"shape": thing.look.shape})


def changed_colour(plan: Plan, at: float, wanted: str) -> Iterator[Ask]:
    """What colour did the circle turn, or was it before?"""
    for thing in standing(plan, at):
        if thing.change and thing.change.at_s <= at and thing.look.shape in called(plan, thing, at):
            right = thing.change.look.colour if wanted == "after" else thing.look.colour
            span = (thing.change.at_s, at) if wanted == "after" else (thing.ready_s, thing.change.at_s)
            yield Ask(right, COLOUR_NAMES, at, span, {"shape": thing.look.shape})


def when(plan: Plan, at: float) -> Iterator[Ask]:
    """How long ago did the red circle appear, move or change its colour; or something flash up?"""
    for thing in standing(plan, at):
        acts = [("appear", thing.came)] if thing.came else []
        acts += [("move", (thing.move.start_s, thing.move.end_s))] if thing.move and not _slid(thing) else []
        acts += [("change its colour", (thing.change.at_s,) * 2)] if thing.change else []
        for does, span in acts:
            if span[1] <= at and (ago := age(span, at)):
                for name in called(plan, thing, at):
                    yield Ask(ago, tuple(AGES), at, (span[0], at), {"thing": f"the {name}", "does": does}, thing)
    flashes = _flashed(plan, at)
    if len(flashes) == 1 and (ago := age(flashes[0].spans[0], at)):
        yield Ask(ago, tuple(AGES), at, flashes[0].spans[0], {"thing": "something", "does": "flash up"})


def _slid(thing: Thing) -> bool:
    return thing.came is not None and thing.entry in SIDES


def age(span: Span, at: float) -> str | None:
    """How long ago, whether one counts from its start or its end; None where people would differ."""
    for name, (least, most) in AGES.items():
        if least <= at - span[1] and at - span[0] <= most:
            return name
    return None


def order(plan: Plan, at: float, does: str) -> Iterator[Ask]:
    """Which came, or moved, first: A or B?"""
    starts = {}
    for thing in standing(plan, at):
        span = thing.came if does == "come" else (thing.move.start_s, thing.move.end_s) if thing.move else None
        if span is not None and span[1] <= at and thing.look_at(at) == thing.look:
            starts[thing] = span
    for a, b in permutations(starts, 2):
        one, two = (f"{thing.look_at(at).colour} {thing.look.shape}" for thing in (a, b))
        first = one if starts[a] < starts[b] else two
        span = min(starts[a][0], starts[b][0]), max(starts[a][1], starts[b][1])
        yield Ask(first, (one, two), at, span, {"one": one, "two": two})


# What was there for a moment


def _flashed(plan: Plan, at: float) -> list[Thing]:
    return [flash for flash in plan.flashes if flash.start_s <= at]


def brief(plan: Plan, at: float) -> Iterator[Ask]:
    """Did something flash up? Yes in half of the films."""
    flashes = _flashed(plan, at)
    if flashes:
        yield Ask("yes", YES_NO, at, flashes[0].spans[0])
    elif not plan.flashes:
        yield Ask("no", YES_NO, at, (0.0, at))


def brief_colour_there(plan: Plan, at: float) -> Iterator[Ask]:
    """Did something red flash up? Often asked about a colour that is there for longer."""
    flashes = {flash.look.colour: flash for flash in _flashed(plan, at)}
    for colour in COLOURS:
        span = flashes[colour].spans[0] if colour in flashes else (0.0, at)
        if flashes:
            yield Ask("yes" if colour in flashes else "no", YES_NO, at, span, {"colour": colour, "a": a_or_an(colour)})


def brief_what(plan: Plan, at: float, wanted: str) -> Iterator[Ask]:
    """What colour, shape or place had the only thing that flashed up?"""
    flashes = _flashed(plan, at)
    if len(flashes) == 1:
        flash = flashes[0]
        found = {
            "colour": (flash.look.colour, COLOUR_NAMES),
            "shape": (flash.look.shape, SHAPES),
            "where": (ninth(flash.x, flash.y), PLACES),
        }
        right, choices = found[wanted]
        if right is not None:
            yield Ask(right, choices, at, flash.spans[0])


def happened(plan: Plan, at: float) -> Iterator[Ask]:
    """Did any of the shapes do anything at all? Not asked so soon that hardly anything can have happened."""
    over = [span for span in plan.spans if span[1] <= at]
    if at < SOON_S:
        return
    if over:
        lasting = any(thing.spans and thing.spans[0][1] <= at for thing in plan.things)
        yield Ask("yes", YES_NO, at, (over[0][0], at) if lasting else over[0])
    else:
        yield Ask("no", YES_NO, at, (0.0, at))


# At the start


def then_at(plan: Plan, at: float, wanted: str) -> Iterator[Ask]:
    """What shape, or colour, was on the left at the start?"""
    for place, thing in alone(plan, 0.0):
        right, choices = (thing.look.shape, SHAPES) if wanted == "shape" else (thing.look.colour, COLOUR_NAMES)
        yield Ask(right, choices, at, _first(thing, at), {"at": on_the(place)})


def then_where(plan: Plan, at: float) -> Iterator[Ask]:
    """Where was the red circle at the start?"""
    for thing in standing(plan, 0.0):
        place = ninth(*thing.place(0.0))
        if place is not None and not (thing.change and thing.change.at_s <= at):
            for name in names(plan, thing, at):
                yield Ask(place, PLACES, at, _first(thing, at), {"thing": name}, thing)


def then_there(plan: Plan, at: float) -> Iterator[Ask]:
    """Was there a red shape at the start?"""
    there = {thing.look.colour: thing for thing in standing(plan, 0.0)}
    for colour in COLOURS:
        span = _first(there[colour], at) if colour in there else (0.0, 0.0)
        yield Ask("yes" if colour in there else "no", YES_NO, at, span, {"colour": colour, "a": a_or_an(colour)})


def _first(thing: Thing, at: float) -> Span:
    """How long it was as at the start."""
    return 0.0, min([start for start, _ in thing.spans if start <= at], default=at)
