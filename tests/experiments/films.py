"""What a film's questions owe: checks that hold for films of every kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np

from experiments.questions import Film, Question


def check_film(film: Film) -> None:
    """Its frames are as it says, and every question is about what is over, in words that are typed."""
    for k, frame in enumerate(islice(film, 3)):
        assert frame.pixels.shape == (film.size[1], film.size[0], 3)
        assert frame.pixels.dtype == np.uint8
        assert (frame.index, frame.time_s) == (k, k / film.fps)
    for question in film.questions:
        assert 0 <= question.since_s <= question.until_s <= question.at_s + 1e-9 <= film.count / film.fps
        assert len(set(question.choices)) == len(question.choices) > 1
        assert question.answer == question.answer.lower()
        assert "{" not in question.text
        assert question.text.strip() == question.text


def same_pixels(one: Film, two: Film) -> bool:
    """Whether two films show the same, frame by frame."""
    return all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))


def text_only(question: Question) -> str:
    """What one knows who has read the question."""
    text = question.text.lower().rstrip("?")
    return text.replace("what's", "what is").replace("where's", "where is")


def clock_only(question: Question) -> str:
    """What one knows who knows the kind of the question and when it is asked."""
    return f"{question.kind} {len(question.choices)} {question.at_s // 1.5}"


def guess(
    train: Iterable[Question], test: Iterable[Question], cue: Callable[[Question], str] = text_only
) -> dict[str, tuple[float, float, int]]:
    """How often a guesser is right that has not seen the film, kind by kind; what chance would give; of how many.

    It says what was most often right for that cue in training, or, of cues that are new, for that kind.
    """
    cues: defaultdict[str, Counter[str]] = defaultdict(Counter)
    kinds: defaultdict[tuple[str, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    for question in train:
        cues[cue(question)][question.answer] += 1
        kinds[question.kind, question.choices][question.answer] += 1
    rows: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    for question in test:
        known = cues.get(cue(question)) or kinds[question.kind, question.choices]
        said = max(question.choices, key=lambda choice, known=known: known[choice])  # type: ignore[misc]
        rows[question.kind].append((said == question.answer, 1 / len(question.choices)))
    return {
        kind: (float(np.mean([r for r, _ in row])), float(np.mean([c for _, c in row])), len(row))
        for kind, row in rows.items()
    }
