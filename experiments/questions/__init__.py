"""Films with questions about them: what the model learns from and what `question_answering` asks.

    a seed, or a folder of clips --> Film: frames, and Questions with the moment at which each is asked
                                       |
         every sending policy reads the same film, every model is asked the same questions

A question may only be about what has been in the film by the time it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_gate.source import Frame


@dataclass(frozen=True)
class Question:
    """Something asked at one moment of a film, with the one right answer."""

    kind: str  # what it tests: "colour", "count", "where", ...; accuracies are told by kind
    text: str  # as somebody would type it
    answer: str  # short, in lower case, without a full stop; what is compared
    at_s: float  # when it is asked
    choices: tuple[str, ...]  # every answer that could have been right; what guessing gives is one in so many
    since_s: float  # when that began which one must have seen to know,
    until_s: float  # and when it was over: between two samples where no sample falls between these
    real: bool = False  # about what a camera filmed, not about something painted in

    def __post_init__(self) -> None:
        if self.answer not in self.choices:
            raise ValueError(f"{self.answer!r} is none of the choices of {self.text!r}")
        if not self.since_s <= self.until_s <= self.at_s + 1e-9:
            raise ValueError(f"{self.text!r} is asked at {self.at_s} s about {self.since_s} to {self.until_s} s")


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
NOTHING = "nothing"  # the word for what shows, or does, nothing in particular
Names = tuple[str, str, str]  # two words for what is there, one for what it does or has just done
Named = Callable[[float], list[tuple[Box, Names]]]


@dataclass(frozen=True)
class Film:
    """Frames as a live source gives them, and what is asked about them."""

    name: str  # says the source and the seed; no two films share one
    size: tuple[int, int]  # width, height
    fps: float
    count: int
    frames: Callable[[], Iterator[Frame]]
    questions: tuple[Question, ...]
    named: Named | None = None  # words for what is in each of some boxes at a time; nothing is elsewhere

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()
