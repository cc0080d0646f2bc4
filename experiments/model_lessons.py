"""Batches that the model learns from: films as heard under a policy, and questions about them, as whole sequences.

    Heard, Heard, ... --a few questions of each--> one sequence a film: prefix, visual tokens, question, question, ...
                                                      every question sees what had come by its time, and itself

What stands where is said by `vidtok.model.sequence`; serving reads the same piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.questions import NOTHING, Question
from experiments.questions.heard import Heard, earlier
from vidtok.model.brain import AXES, Brain, as_tensors
from vidtok.model.sequence import AFTER_META, BEFORE_META, FIRST_STEP, PREFIX, question_words
from vidtok.model.stream import GLOBAL, SPAN, Tokens
from vidtok.model.words import EOS, PAD, Words

ALONE = 1 << 20  # steps of questions: nothing that comes later sees them
SPELLED = 0.06  # of a question's words
EARLIER_S = 50.0  # a stream may have begun so much before the film
THIRDS = ("left", "middle", "right"), ("top", "middle", "bottom")
NAMES = 7  # words for a visual token
UNNAMED = -100  # what a loss leaves out
CONTROL = -1  # a position that holds a word


@dataclass(frozen=True, eq=False)
class Sentence:
    """A question and its answer as numbers."""

    words: list[int]
    answer: int  # where in them the answer begins
    at_s: float

    @classmethod
    def of(cls, words: Words, question: Question, rng: np.random.Generator | None = None) -> Sentence:
        """As it is said to the model, with the answer that is right; with `rng` a few words are spelled instead."""
        asked = question_words(words, question.text)
        if rng is not None:
            asked = _spelled(words, asked, rng.random(len(asked)) < SPELLED)
        return cls([*asked, *words.encode(question.answer), EOS], len(asked), question.at_s)


def _spelled(words: Words, asked: Sequence[int], which: NDArray[np.bool_]) -> list[int]:
    """A question in which these words are spelled, as are words that the model was never taught."""
    out: list[int] = []
    for number, spell in zip(asked, which, strict=True):
        word = words.decode([number])
        out += words.spelled(word) if spell and word.isalpha() and len(word) > 1 else [number]
    return out


@dataclass(frozen=True, eq=False)
class Layout:
    """One sequence: which word or which visual token stands where, and when and in which step."""

    word: NDArray[np.int64]  # (n,), PAD where a visual token stands
    visual: NDArray[np.int64]  # (n,), number of the visual token, CONTROL where a word stands
    step: NDArray[np.int64]  # (n,)
    until: NDArray[np.int64]  # (n,), the last step of visual tokens that it sees
    at: NDArray[np.float32]  # (n, AXES)
    answer: NDArray[np.bool_]  # (n,), where what comes next is to be learned

    def __len__(self) -> int:
        return len(self.word)


def lay_out(tokens: Tokens, step: NDArray[np.int32], sentences: Sequence[Sentence]) -> Layout:
    """One film's sequence."""
    n = len(tokens)
    start = float(tokens.time_s[0])
    head = [_words(BEFORE_META, 0, start, (0.0, 0.0), 0), _seen(tokens, slice(0, 1), np.array([len(BEFORE_META)]))]
    head.append(_words(AFTER_META, len(BEFORE_META), start, (0.0, 0.0), len(BEFORE_META) + 1))
    steps = step[1:].astype(np.int64) + FIRST_STEP - 1
    parts = [*head, _seen(tokens, slice(1, n), steps)]
    for number, sentence in enumerate(sentences):
        known = int(np.searchsorted(tokens.time_s, sentence.at_s + 1e-6))
        parts.append(_asked(tokens, known, int(step[known - 1]) + FIRST_STEP - 1, sentence, ALONE * (number + 1)))
    return Layout(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


Part = tuple[NDArray[Any], ...]


def _words(words: Sequence[int], order: int, time_s: float, eye: tuple[float, float], step: int) -> Part:
    n = len(words)
    at = np.tile(np.array([time_s, *eye, 0], np.float32), (n, 1))
    at[:, 3] = order + np.arange(n)
    steps = step + np.arange(n)
    return np.array(words, np.int64), np.full(n, CONTROL), steps, steps, at, np.zeros(n, bool)


def _seen(tokens: Tokens, which: slice, steps: NDArray[np.int64]) -> Part:
    number = np.arange(len(tokens))[which]
    at = np.zeros((len(number), AXES), np.float32)
    at[:, 0], at[:, 1:3] = tokens.time_s[which], tokens.place[which]
    return np.full(len(number), PAD), number, steps, steps, at, np.zeros(len(number), bool)


def _asked(tokens: Tokens, known: int, until: int, sentence: Sentence, first: int) -> Part:
    eye = tokens.eye[known - 1]
    words, visual, steps, _, at, answer = _words(
        sentence.words, PREFIX, sentence.at_s, (float(eye[0]), float(eye[1])), first
    )
    answer[sentence.answer - 1 : -1] = True
    return words, visual, steps, np.full(len(words), until), at, answer


def sees(layout: Layout) -> NDArray[np.bool_]:
    """(n, n): who sees whom."""
    step, until, question = layout.step, layout.until, layout.step // ALONE
    earlier = step[None] <= until[:, None]  # of the prefix and of visual tokens; those of the same step included
    own = (question[None] == question[:, None]) & (question[:, None] > 0) & (step[None] <= step[:, None])
    return np.asarray(earlier | own)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences of one length."""

    words: Tensor  # (B, L)
    tokens: Tokens  # of all sequences
    visual: Tensor  # (B, L), number among these, CONTROL elsewhere
    at: Tensor  # (B, L, AXES)
    sees: Tensor  # (B, L, L)
    answer: Tensor  # (B, L)
    named: Tensor  # (visual tokens, NAMES), words as `names_of` gives them, UNNAMED where nobody knows

    def run(self, brain: Brain) -> tuple[Tensor, Tensor]:
        """What the model makes of the positions before an answer's words (words, dim); of visual tokens half way.

        What looks at a visual token in the layers after that finds words in it, not only codes.
        """
        x = brain.words(self.words)
        seen = self.visual != CONTROL
        x[seen] = brain.edits(as_tensors(self.tokens))[self.visual[seen]].to(x.dtype)
        made, half = brain(x, self.at, self.sees)
        return made[self.answer], half[seen]

    def names(self) -> Tensor:
        """The words of `named`, in the order in which `run` tells of visual tokens."""
        return self.named[self.visual[self.visual != CONTROL]]

    def right(self) -> Tensor:
        """(answer words,): what should come there."""
        return self.words.roll(-1, 1)[self.answer]


@dataclass(frozen=True, eq=False)
class Lesson:
    """One film to learn from."""

    layout: Layout
    tokens: Tokens
    named: NDArray[np.int64]  # (tokens, NAMES)


def collate(lessons: Sequence[Lesson]) -> Batch:
    """Sequences side by side, the shorter ones filled up."""
    count, longest = len(lessons), max(len(one.layout) for one in lessons)
    words, visual = np.full((count, longest), PAD), np.full((count, longest), CONTROL)
    at, answer = np.zeros((count, longest, AXES), np.float32), np.zeros((count, longest), bool)
    mask = np.zeros((count, longest, longest), bool)
    mask[:] = np.eye(longest, dtype=bool)
    first = 0
    for k, one in enumerate(lessons):
        layout, n = one.layout, len(one.layout)
        words[k, :n], at[k, :n], answer[k, :n] = layout.word, layout.at, layout.answer
        visual[k, :n] = np.where(layout.visual == CONTROL, CONTROL, layout.visual + first)
        mask[k, :n, :n] = sees(layout)
        first += len(one.tokens)
    named = np.concatenate([one.named for one in lessons])
    arrays = [torch.from_numpy(array) for array in (words, visual, at, mask, answer, named)]
    return Batch(arrays[0], Tokens.joined([one.tokens for one in lessons]), *arrays[1:])


def drawn(heard: Heard, words: Words, rng: np.random.Generator, most: int) -> Lesson:
    """One film as a lesson: some of its questions, a few words of them spelled, the stream perhaps begun earlier."""
    chosen = rng.permutation(len(heard.questions))[:most]
    tokens = heard.tokens
    if rng.random() < 0.3:
        begun = (heard.step <= 1) & (tokens.time_s <= 0.05)
        tokens = replace(tokens, time_s=tokens.time_s - begun * float(rng.uniform(0, EARLIER_S)))
    return lesson(heard, tokens, [Sentence.of(words, heard.questions[k], rng) for k in chosen], words)


def lesson(heard: Heard, tokens: Tokens, sentences: Sequence[Sentence], words: Words) -> Lesson:
    """A film with these tokens, and these questions about it."""
    return Lesson(lay_out(tokens, heard.step, sentences), tokens, numbered(names_of(heard.named, tokens), words))


def names_of(named: NDArray[np.str_], tokens: Tokens) -> NDArray[np.str_]:
    """(n, NAMES): what each token shows and its place showed before, twice each; what that does; where it is, twice."""
    before, shown = earlier(tokens.row, tokens.col), named[:, :2]
    was = np.where((before < 0)[:, None], np.where(shown == "", "", NOTHING), shown[before])
    return np.concatenate([shown, was, named[:, 2:], places(tokens)], 1)


def places(tokens: Tokens) -> NDArray[np.str_]:
    """(n, 2): in which third of the frame each cell's token is, across and down; empty for what has no place."""
    at = tokens.place - tokens.eye
    third = np.digitize(at, (-SPAN / 6, SPAN / 6))
    out = np.stack([np.array(names)[third[:, axis]] for axis, names in enumerate(THIRDS)], 1)
    out[tokens.row == GLOBAL] = ""
    return np.asarray(out)


def numbered(named: NDArray[np.str_], words: Words) -> NDArray[np.int64]:
    """The numbers of words, UNNAMED for those that are not in the list."""
    names, which = np.unique(named, return_inverse=True)
    numbers = [words.number(name) for name in names.tolist()]
    return np.array([UNNAMED if n is None else n for n in numbers], np.int64)[which].reshape(named.shape)
