"""Words for the questions about painted worlds: for every form, phrasings to train on and two others to test with.

    form, what it is about, split --say(rng)--> text, as somebody would type it

Gaps in braces are filled with what the question is about; nothing else in a text depends on the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Phrasings(NamedTuple):
    """The ways to ask one thing."""

    train: tuple[str, ...]
    test: tuple[str, str]


PHRASINGS: dict[str, Phrasings] = {
    "shape_at": Phrasings(
        (
            "what shape is {at}?",
            "what shape do you see {at}?",
            "which shape is {at} now?",
            "{at}, what shape is there?",
            "tell me the shape of the thing {at}",
            "what is the shape {at}, a circle, a star or what?",
        ),
        ("name the shape {at}", "what is the thing {at} shaped like?"),
    ),
    "shape_of": Phrasings(
        (
            "what shape is the {colour} thing?",
            "what shape is the {colour} one?",
            "the {colour} thing, what shape is it?",
            "which shape is {colour}?",
            "tell me the shape of the {colour} one",
        ),
        ("what shape does the {colour} thing have?", "name the shape that is {colour}"),
    ),
    "shape_there": Phrasings(
        (
            "is there {a}?",
            "do you see {a}?",
            "can you see {a} now?",
            "is {a} in the picture?",
            "is {a} there right now?",
        ),
        ("is {a} to be seen?", "does the picture show {a}?"),
    ),
    "colour_at": Phrasings(
        (
            "what colour is the shape {at}?",
            "what colour is the thing {at}?",
            "which colour is the shape {at} now?",
            "tell me the colour of the shape {at}",
            "what is the colour of the thing {at}?",
            "{at} there is a shape, what colour is it?",
        ),
        ("name the colour of the shape {at}", "the shape {at} is of which colour?"),
    ),
    "colour_of": Phrasings(
        (
            "what colour is the {shape}?",
            "which colour is the {shape} now?",
            "what is the colour of the {shape}?",
            "tell me the colour of the {shape}",
            "the {shape}, what colour is it?",
        ),
        ("name the colour of the {shape}", "what colour does the {shape} have?"),
    ),
    "colour_there": Phrasings(
        (
            "is there {a} shape?",
            "do you see {a} shape?",
            "is any of the shapes {colour}?",
            "is one of the shapes {colour} now?",
            "can you see anything painted {colour}?",
        ),
        ("is {a} shape to be seen?", "does the picture show {a} shape?"),
    ),
    "count": Phrasings(
        (
            "how many {what} are there?",
            "how many {what} are there now?",
            "how many {what} do you see?",
            "how many {what} can you see right now?",
            "count the {what}",
            "tell me how many {what} there are",
            "what is the number of {what}?",
            "how many {what} are in the picture?",
        ),
        ("give me the number of {what} that you can see", "{what}: how many at the moment?"),
    ),
    "where": Phrasings(
        (
            "where is the {thing}?",
            "where is the {thing} now?",
            "where do you see the {thing}?",
            "in which part of the picture is the {thing}?",
            "tell me where the {thing} is",
            "where can i find the {thing}?",
            "the {thing}, where is it?",
            "what is the place of the {thing}?",
        ),
        ("at what place is the {thing}?", "which part of the picture holds the {thing}?"),
    ),
    "moved": Phrasings(
        (
            "did the {thing} move?",
            "has the {thing} moved?",
            "did the {thing} move at all?",
            "did the {thing} go anywhere?",
            "has the {thing} changed its place?",
            "did you see the {thing} move?",
            "the {thing}, did it move?",
            "is the {thing} somewhere else than before?",
        ),
        ("was the {thing} moving at any time?", "has the place of the {thing} changed?"),
    ),
    "direction": Phrasings(
        (
            "which way did the {thing} move?",
            "in which direction did the {thing} move?",
            "which way did the {thing} go, left, right, up or down?",
            "the {thing} moved, which way?",
            "tell me the direction in which the {thing} went",
        ),
        ("what direction did the {thing} take?", "which way has the {thing} gone?"),
    ),
    "came_from": Phrasings(
        (
            "from which side did the {thing} come in?",
            "where did the {thing} come in from?",
            "at which side did the {thing} come in?",
            "the {thing} came in from which side?",
            "tell me from which side the {thing} slid in",
        ),
        ("which side did the {thing} enter from?", "over which edge did the {thing} come?"),
    ),
    "added": Phrasings(
        (
            "is there a shape now that was not there at the start?",
            "is one of these shapes new?",
            "has a shape been added since the start?",
            "did a new shape come and stay?",
            "do you see a shape that came later?",
        ),
        ("are there shapes here that came after the start?", "has a new shape come to stay?"),
    ),
    "came_later": Phrasings(
        (
            "did the {thing} come in later?",
            "is the {thing} new?",
            "has the {thing} been added since the start?",
            "did the {thing} appear while you watched?",
            "did you see the {thing} appear?",
        ),
        ("is the {thing} one that came after the start?", "did the {thing} turn up later on?"),
    ),
    "added_shape": Phrasings(
        (
            "what shape appeared?",
            "what shape is the new one?",
            "which shape has been added?",
            "a thing appeared, what shape was it?",
            "tell me the shape of what appeared",
        ),
        ("name the shape that appeared", "what shape has the one that came later?"),
    ),
    "added_colour": Phrasings(
        (
            "what colour is the shape that appeared?",
            "what colour is the new shape?",
            "which colour is the one that has been added?",
            "a shape appeared, what colour is it?",
            "tell me the colour of what appeared",
        ),
        ("name the colour of the shape that appeared", "what colour has the one that came later?"),
    ),
    "still_there": Phrasings(
        (
            "is the {thing} still there?",
            "can you still see the {thing}?",
            "is the {thing} still in the picture?",
            "the {thing}, is it still there?",
            "is the {thing} there now?",
        ),
        ("has the {thing} stayed until now?", "does the picture still show the {thing}?"),
    ),
    "gone_shape": Phrasings(
        (
            "what shape went away?",
            "what shape was the one that left?",
            "which shape is gone?",
            "a thing went away, what shape was it?",
            "tell me the shape of what is gone",
        ),
        ("name the shape that left", "what shape had the one that is not there any more?"),
    ),
    "gone_colour": Phrasings(
        (
            "what colour was the shape that went away?",
            "what colour was the one that left?",
            "which colour had the shape that is gone?",
            "a shape went away, what colour was it?",
            "tell me the colour of what is gone",
        ),
        ("name the colour of the shape that left", "what colour had the one that is not there any more?"),
    ),
    "when": Phrasings(
        (
            "how long ago did {thing} {does}?",
            "when did {thing} {does}?",
            "how long is it since you saw {thing} {does}?",
            "did {thing} {does} just now or longer ago?",
            "is it long ago that you saw {thing} {does}?",
            "you saw {thing} {does}, how long ago was that?",
            "was it just now that you saw {thing} {does}, or when?",
            "about how long ago did {thing} {does}?",
        ),
        ("how much time has gone by since you saw {thing} {does}?", "say when you saw {thing} {does}"),
    ),
    "order_came": Phrasings(
        (
            "which came first, the {one} or the {two}?",
            "what appeared first, the {one} or the {two}?",
            "which was there earlier, the {one} or the {two}?",
            "did the {one} or the {two} come first?",
            "the {one} and the {two}, which appeared first?",
        ),
        ("which was the first to come, the {one} or the {two}?", "of the {one} and the {two}, which came earlier?"),
    ),
    "order_moved": Phrasings(
        (
            "which moved first, the {one} or the {two}?",
            "what was moving first, the {one} or the {two}?",
            "which one moved earlier, the {one} or the {two}?",
            "did the {one} or the {two} move first?",
            "the {one} and the {two}, which moved first?",
        ),
        ("which was the first to move, the {one} or the {two}?", "of the {one} and the {two}, which moved earlier?"),
    ),
    "brief": Phrasings(
        (
            "did something flash up briefly?",
            "did anything flash up?",
            "was there a brief flash of something?",
            "did you see something for just a moment?",
            "did a shape show up for a blink only?",
        ),
        ("was something there for an instant only?", "has any shape flashed up?"),
    ),
    "brief_colour_there": Phrasings(
        (
            "did {a} thing flash up?",
            "did {a} shape flash up?",
            "was there a brief flash of {a} shape?",
            "did you see {a} shape for just a moment?",
            "did {a} shape show up for a blink only?",
        ),
        ("was {a} shape there for an instant only?", "has {a} shape flashed up?"),
    ),
    "brief_colour": Phrasings(
        (
            "what colour was the shape that flashed up?",
            "what colour was the thing that you saw for just a moment?",
            "which colour flashed up?",
            "something flashed up, what colour was it?",
            "tell me the colour of what flashed up",
        ),
        ("name the colour of the shape that flashed up", "what colour had the shape that was there for an instant?"),
    ),
    "brief_shape": Phrasings(
        (
            "what shape flashed up?",
            "what shape was the thing that you saw for just a moment?",
            "which shape was there only for a blink?",
            "something flashed up, what shape was it?",
            "tell me the shape of what flashed up",
        ),
        ("name the shape that flashed up", "what shape had the thing that was there for an instant?"),
    ),
    "brief_where": Phrasings(
        (
            "where did something flash up?",
            "where was the thing that flashed up?",
            "where did you see something for just a moment?",
            "something flashed up, where was it?",
            "in which part of the picture did something flash up?",
        ),
        ("at what place did something flash up?", "where was the shape that was there for an instant?"),
    ),
    "changed": Phrasings(
        (
            "did the {shape} change its colour?",
            "has the {shape} changed colour?",
            "did the {shape} turn another colour?",
            "was the {shape} another colour before?",
            "the {shape}, did it change its colour?",
        ),
        ("has the colour of the {shape} changed?", "did you see the {shape} get another colour?"),
    ),
    "changed_to": Phrasings(
        (
            "what colour did the {shape} turn?",
            "which colour did the {shape} change to?",
            "the {shape} changed its colour, to which?",
            "what colour is the {shape} after it changed?",
            "tell me the new colour of the {shape}",
        ),
        ("name the colour that the {shape} turned", "what colour has the {shape} become?"),
    ),
    "changed_from": Phrasings(
        (
            "what colour was the {shape} before?",
            "what colour was the {shape} before it changed?",
            "the {shape} changed its colour, what was it before?",
            "which colour did the {shape} have at first?",
            "tell me the old colour of the {shape}",
        ),
        ("name the colour that the {shape} had before", "what colour did the {shape} use to be?"),
    ),
    "happened": Phrasings(
        (
            "did anything happen to the shapes?",
            "did any of the shapes do anything?",
            "has anything happened with the shapes so far?",
            "did any shape come, go, move or change?",
            "was there any event with the shapes?",
            "have the shapes been doing anything?",
            "did you see any of the shapes do something?",
            "has any shape come, gone, moved or changed since the start?",
        ),
        ("has something happened to any shape?", "was anything going on with the shapes?"),
    ),
    "then_shape_at": Phrasings(
        (
            "what shape was {at} at the start?",
            "at the beginning, what shape was {at}?",
            "which shape was {at} in the beginning?",
            "what shape did you first see {at}?",
            "tell me what shape was {at} at first",
        ),
        ("name the shape that was {at} when it began", "which shape stood {at} at the very start?"),
    ),
    "then_colour_at": Phrasings(
        (
            "what colour was the shape {at} at the start?",
            "at the beginning, what colour was the shape {at}?",
            "which colour did the shape {at} have in the beginning?",
            "what colour was the shape that you first saw {at}?",
            "tell me the colour of the shape that was {at} at first",
        ),
        (
            "name the colour of the shape that was {at} when it began",
            "what colour stood {at} at the very start?",
        ),
    ),
    "then_where": Phrasings(
        (
            "where was the {thing} at the start?",
            "at the beginning, where was the {thing}?",
            "where did you first see the {thing}?",
            "in which part of the picture was the {thing} at first?",
            "tell me where the {thing} was in the beginning",
        ),
        ("at what place was the {thing} when it began?", "where had the {thing} been at the very start?"),
    ),
    "then_there": Phrasings(
        (
            "was there {a} shape at the start?",
            "at the beginning, was there {a} shape?",
            "was any of the shapes {colour} in the beginning?",
            "did you see {a} shape at the very beginning?",
            "was one of the shapes {colour} at first?",
        ),
        ("was {a} shape to be seen when it began?", "did the first picture show {a} shape?"),
    ),
}

SHORTER = (("what is ", "what's "), ("where is ", "where's "), ("did not ", "didn't "))


def say(ways: Phrasings, about: Mapping[str, str], split: str, rng: np.random.Generator) -> str:
    """A question in words. In training now and then without its question mark, or with a capital."""
    phrasing = str(rng.choice(ways.test if split == "test" else ways.train))
    return loosen(phrasing.format_map(about), rng) if split == "train" else phrasing.format_map(about)


def loosen(text: str, rng: np.random.Generator) -> str:
    """The same words as different people type them."""
    lots = rng.random(3)
    if lots[0] < 0.15:
        text = text.rstrip("?")
    for long, short in SHORTER:
        if lots[1] < 0.3:
            text = text.replace(long, short)
    return text[0].upper() + text[1:] if lots[2] < 0.3 else text
