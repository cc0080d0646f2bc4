"""One model for every stream: what has come is read as it comes, questions are answered while the streams go on.

    stream: canvas --show--> waiting --+                         +--> each stream's memory
    stream: canvas --show--> waiting --+--one pass, in a thread--+
    question --ask--> next word -------+                         +--> words, as they are found

A pass reads a bounded share of every stream and finds one word of every answer, so none keeps the others waiting for
long, whatever it sends. What comes after a pause is read at once, what follows every PAUSE_S: a pass costs about as
much for two updates as for one. A question hears what had come before it was asked, and waits for nothing else.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field

from vidtok.canvas import Canvas
from vidtok.errors import ModelError
from vidtok.live.figures import Tally
from vidtok.model.answerer import MOST_WAITING, Answer, Answerer, Asking, Watch

MOST_QUESTIONS = 4  # of one stream at a time
PAUSE_S = 1 / 3  # between two readings of a stream that nobody asks about


@dataclass(eq=False)
class _Question:
    """One that somebody waits for."""

    stream: str
    text: str
    hears: int  # canvases that had come when it was asked
    words: asyncio.Queue[str | Answer | None] = field(default_factory=asyncio.Queue)
    asking: Asking | None = None


class Mind:
    """The model's own task: `run` it, `join` streams, `show` it canvases, `ask`."""

    def __init__(self, answerer: Answerer) -> None:
        self._done = Tally()
        self._answerer = answerer
        self._watches: dict[str, Watch] = {}
        self._questions: list[_Question] = []
        self._work = asyncio.Event()
        self._read_s: dict[str, float] = {}  # when each stream was read last

    async def run(self) -> None:
        """Think until cancelled; whoever still waits for an answer then is told that there will be none."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rest_s()):
                        await self._work.wait()
                self._work.clear()
                while await self._pass():
                    pass
        finally:
            for question in self._questions:
                question.words.put_nowait(None)

    def join(self, stream: str, canvas: Canvas, fps: float) -> None:
        """A stream begins, or begins anew with a canvas of another size."""
        self._watches[stream] = self._answerer.watch(canvas, fps)

    def leave(self, stream: str) -> None:
        """A stream has ended: its memory goes, and its questions stay without an answer."""
        self._watches.pop(stream, None)
        self._read_s.pop(stream, None)
        for question in [question for question in self._questions if question.stream == stream]:
            self._end(question)

    def show(self, stream: str, canvas: Canvas, time_s: float, late_s: float = 0.0) -> bool:
        """A canvas has come. False where the model does not keep up with this stream."""
        watch = self._watches[stream]
        if watch.told is None or watch.told.canvas.grid != canvas.grid:
            raise ModelError(f"{stream}: a canvas of another size than it began with; join it again")
        room = self._answerer.show(watch, canvas, time_s, late_s)
        self._work.set()
        return room

    def behind(self, stream: str) -> float:
        """How much of the room for canvases that wait is taken, 0 to 1."""
        return len(self._watches[stream].waiting) / MOST_WAITING

    def watch(self, stream: str) -> Watch:
        """What the model knows of a stream; to look at."""
        return self._watches[stream]

    async def ask(self, stream: str, text: str) -> AsyncGenerator[str | Answer, None]:
        """Words of the answer as they are found, then the whole. Closing the iterator interrupts it at once."""
        if stream not in self._watches:
            raise ModelError(f"{stream}: no such stream; there are {', '.join(self._watches) or 'none now'}")
        if sum(question.stream == stream for question in self._questions) >= MOST_QUESTIONS:
            raise ModelError(f"{stream}: {MOST_QUESTIONS} questions are being answered; ask again when one is done")
        watch = self._watches[stream]
        question = _Question(stream, text, watch.taken + watch.behind)
        self._questions.append(question)
        self._work.set()
        try:
            while (word := await question.words.get()) is not None:
                yield word
                if isinstance(word, Answer):
                    return
            raise ModelError(f"{stream}: ended before the answer came")
        finally:
            if question in self._questions:
                self._questions.remove(question)

    def _end(self, question: _Question) -> None:
        question.words.put_nowait(None)
        self._questions.remove(question)

    def _rest_s(self) -> float | None:
        """How long until a stream that waits may be read; None where none waits."""
        now = asyncio.get_running_loop().time()
        due = [self._due_s(name) for name, watch in self._watches.items() if watch.behind]
        return max(0.0, min(due) - now) if due else None

    def _due_s(self, stream: str) -> float:
        if self.behind(stream) >= 0.5:
            return -math.inf  # whatever the pause, a quick camera must not fill its room
        return self._read_s.get(stream, -PAUSE_S) + PAUSE_S

    async def _pass(self) -> bool:
        """Read of every stream that is due, find a word of every answer; whether there was anything."""
        asked = [question for question in self._questions if self._ready(question)]
        urgent = {question.stream for question in self._questions if question.asking is None}
        now = asyncio.get_running_loop().time()
        due = {name: watch for name, watch in self._watches.items() if name in urgent or self._due_s(name) <= now}
        told = self._answerer.take(list(due.values()))
        if not told and not asked:
            return bool(urgent)
        whole = {id(watch) for watch, _ in told if not watch.behind}
        self._read_s |= {name: now for name, watch in due.items() if id(watch) in whole}
        askings = [question.asking for question in asked if question.asking is not None]
        began = time.perf_counter()
        words = await asyncio.to_thread(self._answerer.think, told, askings)
        tokens = sum(len(each) for _, each in told)
        self._done += Tally(1, time.perf_counter() - began, tokens, len(words))
        for question, word in zip(asked, words, strict=True):
            question.words.put_nowait(word)
            if isinstance(word, Answer) and question in self._questions:
                self._questions.remove(question)
        return True

    def _ready(self, question: _Question) -> bool:
        """Whether the stream was read as far as it had come when this was asked."""
        watch = self._watches[question.stream]
        if question.asking is None and watch.taken >= question.hears:
            question.asking = self._answerer.begin(watch, question.text)
        return question.asking is not None

    def tally(self) -> Tally:
        """What it has done, and what it keeps of each stream."""
        kept = {name: watch.kept.bytes for name, watch in self._watches.items()}
        waiting = {name: len(watch.waiting) for name, watch in self._watches.items()}
        return self._done + Tally(kept=kept, waiting=waiting)
