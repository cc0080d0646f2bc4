"""What can be asked about a plan at a moment, with the right answer: what is in view then; recalling has the rest.

    Plan, moment --FORMS[form].find--> Ask: what the words are about, answer, choices, the span to have seen

A form that is `even` has its answers drawn alike: it is asked only in films that have a subject for each of them. In
the others every answer is as likely because things, colours, shapes and places are. Forms that are `once` are asked
in every film where they can be: what decides their answer is a coin of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.questions.plans import NINTH, PLACES, Plan, ninth
from experiments.questions.things import COLOURS, SHAPES, Look, Span, Thing

YES_NO = ("yes", "no")
NUMBERS = ("zero", "one", "two", "three", "four", "five")
COLOUR_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Ask:
    """A question without its words: `about` fills the gaps in a phrasing, `who` is the thing, whatever it is called."""

    answer: str
    choices: tuple[str, ...]
    at_s: float
    span: Span  # what one must have seen
    about: dict[str, str] = field(default_factory=dict)
    who: Thing | None = None


Finder = Callable[[Any, float], Iterator[Ask]]
"""From what is known of a film, a Plan or a Tale, and a moment."""


@dataclass(frozen=True)
class Form:
    """One way to ask for something: its kind, and what can be asked at a moment."""

    kind: str
    find: Finder
    even: bool = False
    once: bool = False
    again: bool = False  # the same, at another time


# What is in view, and what it may be called


def seen(plan: Plan, at: float) -> list[Thing]:
    """All that has been seen by then, flashes too."""
    return [thing for thing in plan.everything if thing.start_s <= at]


def standing(plan: Plan, at: float) -> list[Thing]:
    """All that can be seen then, flashes left out."""
    return [thing for thing in plan.things if thing.shows(at)]


def names(plan: Plan, thing: Thing, at: float) -> list[str]:
    """What one may call a thing so that it is the only one of all seen that is meant."""
    look = thing.look_at(at)
    others = [other for thing_ in seen(plan, at) if thing_ is not thing for other in _looks(thing_, at)]
    found = [f"{look.colour} {look.shape}"]
    if all(other.colour != look.colour for other in others):
        found.append(f"{look.colour} shape")
    if all(other.shape != look.shape for other in others):
        found.append(look.shape)
    return found


def called(plan: Plan, thing: Thing, at: float) -> list[str]:
    """What one may call a thing when asking what it did: not by its colour once that has changed."""
    found = names(plan, thing, at)
    if thing.change and thing.change.at_s <= at:
        return [name for name in found if name == thing.look.shape]
    return found


def _looks(thing: Thing, at: float) -> list[Look]:
    return [thing.look, thing.look_at(at)]


def since_last(thing: Thing, at: float) -> Span:
    """Since when it has been as it is then, and then."""
    return max([end for _, end in thing.spans if end <= at], default=0.0), at


def alone(plan: Plan, at: float) -> list[tuple[str, Thing]]:
    """Places with the one thing there that anybody could mean: by "left" one may mean anything on that side."""
    there = [(*thing.place(at), thing) for thing in standing(plan, at)]
    ninths = [ninth(x, y) for x, y, _ in there]
    if None in ninths:
        return []
    columns = [int(x // NINTH) for x, _, _ in there]
    rows = [int(y // NINTH) for _, y, _ in there]
    found = []
    sides = {"left": columns.count(0), "right": columns.count(2), "top": rows.count(0), "bottom": rows.count(2)}
    for place, (_, _, thing) in zip(ninths, there, strict=True):
        if place is not None and ninths.count(place) == 1 and sides.get(place, 1) == 1:
            found.append((place, thing))
    return found


def on_the(place: str) -> str:
    """The place with its preposition."""
    if place in ("left", "right"):
        return f"on the {place}"
    return f"in the {place}" if " " in place or place == "middle" else f"at the {place}"


# Now


def shape_at(plan: Plan, at: float) -> Iterator[Ask]:
    """What shape is on the left?"""
    for place, thing in alone(plan, at):
        yield Ask(thing.look.shape, SHAPES, at, since_last(thing, at), {"at": on_the(place)})


def colour_at(plan: Plan, at: float) -> Iterator[Ask]:
    """What colour is the shape on the left?"""
    for place, thing in alone(plan, at):
        yield Ask(thing.look_at(at).colour, COLOUR_NAMES, at, since_last(thing, at), {"at": on_the(place)})


def shape_of(plan: Plan, at: float) -> Iterator[Ask]:
    """What shape is the red one?"""
    there = standing(plan, at)
    for thing in there:
        colour = thing.look_at(at).colour
        if sum(other.look_at(at).colour == colour for other in there) == 1:
            yield Ask(thing.look.shape, SHAPES, at, since_last(thing, at), {"colour": colour})


def colour_of(plan: Plan, at: float) -> Iterator[Ask]:
    """What colour is the circle?"""
    there = standing(plan, at)
    for thing in there:
        if sum(other.look.shape == thing.look.shape for other in there) == 1:
            yield Ask(thing.look_at(at).colour, COLOUR_NAMES, at, since_last(thing, at), {"shape": thing.look.shape})


def shape_there(plan: Plan, at: float) -> Iterator[Ask]:
    """Is there a circle?"""
    there = {thing.look.shape: thing for thing in standing(plan, at)}
    for shape in SHAPES:
        span = since_last(there[shape], at) if shape in there else (at, at)
        yield Ask("yes" if shape in there else "no", YES_NO, at, span, {"a": a_or_an(shape)})


def colour_there(plan: Plan, at: float) -> Iterator[Ask]:
    """Is there a red shape?"""
    there = {thing.look_at(at).colour: thing for thing in standing(plan, at)}
    for colour in COLOURS:
        span = since_last(there[colour], at) if colour in there else (at, at)
        yield Ask("yes" if colour in there else "no", YES_NO, at, span, {"colour": colour, "a": a_or_an(colour)})


def count(plan: Plan, at: float) -> Iterator[Ask]:
    """How many red shapes are there? About the plan's theme only, when all that changes it is over."""
    theme = plan.theme
    ends = [end for thing in plan.things for _, end in thing.spans]
    if at >= max(ends, default=0.0):
        what = {"all": "shapes", "shape": _plural(theme.value), "colour": f"{theme.value} shapes"}[theme.kind]
        yield Ask(NUMBERS[theme.count], NUMBERS, at, (at, at), {"what": what})


def a_or_an(word: str) -> str:
    """The word with its article."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def where(plan: Plan, at: float) -> Iterator[Ask]:
    """Where is the red circle?"""
    for thing in standing(plan, at):
        place = ninth(*thing.place(at))
        for name in names(plan, thing, at):
            if place is not None:
                yield Ask(place, PLACES, at, since_last(thing, at), {"thing": name}, thing)
