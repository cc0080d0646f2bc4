"""A model that watches: canvases go in as they come, questions are answered whenever they are asked.

    canvas --tell--> tokens --seen--+                             +--> Watch.kept, forgetting what is superseded
    question --question_words-------+--read, many streams at once-+--> Answer: words, one at a time; where it looked

Nothing here knows a clock, a socket or a thread: the server says when.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtok.canvas import CELL, Canvas, blank
from vidtok.model.brain import Brain, Size
from vidtok.model.memory import HISTORY, Kept, New, Read, Sight, forget, read, said, seen, set_clock
from vidtok.model.sequence import AFTER_META, BEFORE_META, PREFIX, question_words
from vidtok.model.stream import Tokens, Told, begin, no_tokens, tell
from vidtok.model.words import EOS, Words
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.store import loaded

MOST_WORDS = 24  # of an answer
MOST_WAITING = 16  # canvases of a stream that have come and are not read yet
MOST_TOKENS = 256  # that are read in one pass: a large frame keeps nobody waiting
LEAST_TOKENS = 32  # of them for each stream, if so many wait


@dataclass(frozen=True, eq=False)
class Shown:
    """A canvas that came."""

    canvas: Canvas
    time_s: float
    late_s: float


@dataclass(eq=False)
class Watch:
    """One stream as the model knows it."""

    kept: Kept
    told: Told | None = None  # None where it is given tokens, not canvases
    waiting: list[Shown] = field(default_factory=list)  # not read yet, the oldest first
    rest: Tokens = field(default_factory=no_tokens)  # of the canvas that is being read
    now_s: float = 0.0  # of the last canvas
    taken: int = 0  # canvases read so far, to their last token
    tokens: int = 0  # visual tokens read so far

    @property
    def behind(self) -> int:
        """Canvases that have come and are not read to their last token."""
        return len(self.waiting) + bool(len(self.rest))


@dataclass(frozen=True, eq=False)
class Answer:
    """What was answered."""

    text: str
    sure: float  # the product of its words' chances
    looked: NDArray[np.float32]  # (n,): how much each token of the stream was looked at; sums to 1 or less
    cell: NDArray[np.int32]  # (n, 2): whose place each of them tells of


@dataclass(eq=False)
class Asking:
    """A question that is being answered."""

    kept: Kept
    new: New  # to be read next
    now_s: float
    looked: Tensor  # (kept when it was asked,), summed over the answer's words
    cell: NDArray[np.int32]  # (kept when it was asked, 2)
    words: list[int] = field(default_factory=list)
    sure: float = 1.0


class Answerer:
    """The weights, for any number of streams."""

    def __init__(self, brain: Brain, words: Words, history: int = HISTORY) -> None:
        self.brain, self.words = brain.eval().requires_grad_(False), words
        self._history = history

    @classmethod
    def load(cls, weights: Path = WEIGHTS, history: int = HISTORY) -> Answerer:
        """The model that ships."""
        about = json.loads((weights / "model.json").read_text())
        brain = loaded(Brain(Size(**about["size"])), weights / "model.safetensors")
        return cls(brain, Words(about["words"]), history)

    def watch(self, canvas: Canvas, fps: float) -> Watch:
        """Begin with a stream of canvases like this one."""
        told, meta = begin(blank(canvas.grid), fps)
        watch = self.listen(meta)
        watch.told = told
        return watch

    def listen(self, meta: Tokens) -> Watch:
        """Begin with a stream of visual tokens whose first is this one."""
        kept, start_s = Kept.nothing(self.brain), float(meta.time_s[0])
        kept = read(self.brain, [kept], [said(self.brain, kept, BEFORE_META, 0, start_s)])[0].kept
        kept = read(self.brain, [kept], [seen(self.brain, meta)])[0].kept
        after = said(self.brain, kept, AFTER_META, len(BEFORE_META), start_s)
        return Watch(read(self.brain, [kept], [after])[0].kept)

    def show(self, watch: Watch, canvas: Canvas, time_s: float, late_s: float = 0.0) -> bool:
        """A canvas has come and waits to be read. False when there was no room: it then takes the place of the last.

        Nothing queues for long: what the canvas in between told is told by the newer one, but for what came and went.
        """
        watch.now_s = max(watch.now_s, time_s)
        room = len(watch.waiting) < MOST_WAITING
        if not room:
            watch.waiting.pop()
        watch.waiting.append(Shown(canvas, time_s, late_s))
        return room

    def take(self, watches: Sequence[Watch]) -> list[tuple[Watch, Tokens]]:
        """Of each of these streams what is to be read next, if anything waits: no more than fits into one pass."""
        waiting = [watch for watch in watches if watch.behind]
        room = max(LEAST_TOKENS, MOST_TOKENS // max(1, len(waiting)))
        taken = ((watch, _taken(watch, room)) for watch in waiting)
        return [(watch, tokens) for watch, tokens in taken if len(tokens)]

    def catch_up(self, watches: Sequence[Watch]) -> None:
        """Read all that waits of these streams."""
        while told := self.take(watches):
            self.think(told)

    def begin(self, watch: Watch, text: str, now_s: float | None = None) -> Asking:
        """Ask about what was read so far; the stream keeps no trace of it."""
        now = watch.now_s if now_s is None else max(now_s, watch.now_s)
        words = question_words(self.words, text)
        kept = watch.kept.apart(len(words) + MOST_WORDS)
        set_clock(self.brain, kept.store, len(kept), now, late_s=0.0)
        new = said(self.brain, kept, words, PREFIX, now)
        return Asking(kept, new, now, torch.zeros(len(kept)), kept.cell)

    def think(self, told: Sequence[tuple[Watch, Tokens]], askings: Sequence[Asking] = ()) -> list[str | Answer]:
        """One pass: read these tokens, and find the next word of each answer, or that it is whole."""
        news = [seen(self.brain, tokens) for _, tokens in told] + [asking.new for asking in askings]
        if not news:
            return []
        kepts = [watch.kept for watch, _ in told] + [asking.kept for asking in askings]
        found = read(self.brain, kepts, news, looking=len(askings))
        for (watch, tokens), after in zip(told, found, strict=False):
            watch.kept, watch.tokens = forget(after.kept, self._history, _sight(watch)), watch.tokens + len(tokens)
        return [self._next(asking, after) for asking, after in zip(askings, found[len(told) :], strict=True)]

    def _next(self, asking: Asking, found: Read) -> str | Answer:
        chances = self.brain.says(found.made[-1]).softmax(-1)
        word = int(chances.argmax())
        asking.sure *= float(chances[word])
        if word == EOS or len(asking.words) == MOST_WORDS:
            share = asking.looked / max(len(asking.words), 1)
            return Answer(self.words.decode(asking.words), asking.sure, share.numpy(), asking.cell)
        assert found.looked is not None
        asking.looked += found.looked[: len(asking.looked)]
        before = self.words.decode(asking.words)
        asking.words.append(word)
        asking.kept, order = found.kept, int(found.kept.order[-1]) + 1
        asking.new = said(self.brain, asking.kept, [word], order, asking.now_s)
        return self.words.decode(asking.words)[len(before) :]

    def ask(self, watch: Watch, text: str, now_s: float | None = None) -> Iterator[str | Answer]:
        """Words of the answer as they are found, then the whole. What waits is read first."""
        self.catch_up([watch])
        asking = self.begin(watch, text, now_s)
        while True:
            (word,) = self.think([], [asking])
            yield word
            if isinstance(word, Answer):
                return


def _taken(watch: Watch, room: int) -> Tokens:
    """The next tokens of a stream, of as many of its canvases as there is room for."""
    parts, count = [no_tokens()], 0
    while count < room and watch.behind:
        if not len(watch.rest):
            shown = watch.waiting.pop(0)
            assert watch.told is not None
            watch.told, watch.rest = tell(watch.told, shown.canvas, shown.time_s, shown.late_s)
        number = np.arange(len(watch.rest))
        parts.append(watch.rest.chosen(number[: room - count]))
        watch.rest = watch.rest.chosen(number[room - count :])
        count += len(parts[-1])
        watch.taken += not len(watch.rest)
    return Tokens.joined(parts)


def _sight(watch: Watch) -> Sight | None:
    """What the newest canvas of a stream covers; None where it is given tokens, not canvases."""
    if watch.told is None:
        return None
    canvas = watch.told.canvas
    top, left = canvas.position[1] // CELL, canvas.position[0] // CELL
    return (top, left), (top + canvas.grid.rows, left + canvas.grid.cols)


def looked_at(answer: Answer, canvas: Canvas) -> NDArray[np.float32]:
    """(rows, cols) of the canvas: how much each place was looked at, whichever of its tokens it was."""
    rows, cols = canvas.depth.shape
    out = np.zeros((rows, cols), np.float32)
    row, col = answer.cell[:, 0] - canvas.position[1] // CELL, answer.cell[:, 1] - canvas.position[0] // CELL
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    np.add.at(out, (row[inside], col[inside]), answer.looked[inside])
    return out
