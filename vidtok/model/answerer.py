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
from safetensors.torch import load_file

from vidtok.canvas import CELL, Canvas, blank
from vidtok.model.brain import Brain, Size
from vidtok.model.memory import HISTORY, Kept, forget, read, said, seen
from vidtok.model.sequence import AFTER_META, BEFORE_META, PREFIX, question_words
from vidtok.model.stream import Tokens, Told, begin, tell
from vidtok.model.words import EOS, Words
from vidtok.tokenizer.edge import WEIGHTS

MOST_WORDS = 24  # of an answer
MOST_WAITING = 16  # canvases of a stream that have come and are not read yet


@dataclass(frozen=True, eq=False)
class Shown:
    """A canvas that came."""

    canvas: Canvas
    time_s: float
    late_s: float


@dataclass(eq=False)
class Watch:
    """One stream as the model knows it."""

    told: Told
    kept: Kept
    waiting: list[Shown] = field(default_factory=list)  # not read yet, the oldest first
    now_s: float = 0.0  # of the last canvas
    tokens: int = 0  # visual tokens read so far


@dataclass(frozen=True, eq=False)
class Answer:
    """What was answered."""

    text: str
    sure: float  # the product of its words' chances
    looked: NDArray[np.float32]  # (rows, cols) of the canvas: how much each place was looked at; sums to 1 or less


class Answerer:
    """The weights, for any number of streams."""

    def __init__(self, brain: Brain, words: Words, history: int = HISTORY) -> None:
        self.brain, self.words = brain.eval(), words
        self._history = history
        head = read(brain, [nothing := Kept.nothing(brain)], [said(brain, nothing, BEFORE_META, 0, 0.0)])
        self._head = head[0].kept

    @classmethod
    def load(cls, weights: Path = WEIGHTS) -> Answerer:
        """The model that ships."""
        about = json.loads((weights / "model.json").read_text())
        brain = Brain(Size(**about["size"]))
        state = load_file(str(weights / "model.safetensors"))
        brain.load_state_dict({name: value.float() for name, value in state.items()})
        return cls(brain.requires_grad_(False), Words(about["words"]))

    def watch(self, canvas: Canvas, fps: float) -> Watch:
        """Begin with a stream of canvases like this one."""
        told, meta = begin(blank(canvas.grid), fps)
        kept = self._head
        for new in (seen(self.brain, meta), said(self.brain, kept, AFTER_META, len(BEFORE_META), 0.0)):
            kept = read(self.brain, [kept], [new])[0].kept
        return Watch(told, kept)

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

    def catch_up(self, watches: Sequence[Watch]) -> int:
        """Read one waiting canvas of each of these streams, in one pass. The number of tokens."""
        told: list[tuple[Watch, Tokens]] = []
        for watch in watches:
            while watch.waiting:
                shown = watch.waiting.pop(0)
                watch.told, tokens = tell(watch.told, shown.canvas, shown.time_s, shown.late_s)
                if len(tokens):
                    told.append((watch, tokens))
                    break
        if not told:
            return 0
        kepts, news = [watch.kept for watch, _ in told], [seen(self.brain, tokens) for _, tokens in told]
        for (watch, tokens), after in zip(told, read(self.brain, kepts, news), strict=True):
            watch.kept, watch.tokens = forget(after.kept, self._history), watch.tokens + len(tokens)
        return sum(len(tokens) for _, tokens in told)

    def ask(self, watch: Watch, text: str, now_s: float | None = None) -> Iterator[str | Answer]:
        """Words of the answer as they are found, then the whole. Stop asking for more to interrupt it.

        What waits is read first. The stream keeps no trace of the question.
        """
        while watch.waiting:
            self.catch_up([watch])
        kept, canvas = watch.kept, watch.told.canvas
        stream, now = len(kept), watch.now_s if now_s is None else max(now_s, watch.now_s)
        new = said(self.brain, kept, question_words(self.words, text), PREFIX, now)
        answer: list[int] = []
        sure, looked, order = 1.0, torch.zeros(stream), PREFIX + len(new.time_s)
        while len(answer) < MOST_WORDS:
            found = read(self.brain, [kept], [new], look=True)[0]
            kept, chances = found.kept, self.brain.says(found.made[-1]).softmax(-1)
            word = int(chances.argmax())
            sure *= float(chances[word])
            if word == EOS:
                break
            assert found.looked is not None
            looked += found.looked[:stream]
            before = self.words.decode(answer)
            answer.append(word)
            yield self.words.decode(answer)[len(before) :]
            new = said(self.brain, kept, [word], order, now)
            order += 1
        yield Answer(self.words.decode(answer), sure, _places(looked.numpy() / max(len(answer), 1), watch.kept, canvas))


def _places(looked: NDArray[np.floating], kept: Kept, canvas: Canvas) -> NDArray[np.float32]:
    """(rows, cols): how much each place of the canvas was looked at, whichever of its tokens it was."""
    out = np.zeros(canvas.depth.shape, np.float32)
    rows, cols = canvas.depth.shape
    row, col = kept.cell[:, 0] - canvas.position[1] // CELL, kept.cell[:, 1] - canvas.position[0] // CELL
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    np.add.at(out, (row[inside], col[inside]), looked[inside])
    return out
