"""One stream as the server attends to it: the model reads it, is asked about it, and says what it wishes of the edge.

update --show--> Mind           question --ask--> Mind --words--> whoever asked
            |                      |                 |
            +--- news: asks the user's conditions    +--- where it looked, how sure it was
            |                      |                 |
            +------ wishing.State of this stream ----+--> Wishes, when they have changed --> the edge

Every question, notice and wish is a row of the report; what was asked is left out unless it is to be logged.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from edge_gate.wishes import Wishes
from vidtok.canvas import CELL, Canvas
from vidtok.edits import Kind
from vidtok.errors import ModelError
from vidtok.live import wishing
from vidtok.live.models import Model
from vidtok.live.receiver import Update
from vidtok.model.answerer import Answer, looked_at

EVERY_S = 1.0  # a condition is asked about at most so often
YES = "yes"
RATE_S = 4.0  # over so long the rate of tokens is averaged
MOST_PLACES = 16  # that an answer is said to come from
MOST_CONDITIONS = 8  # of one stream, the server's own included

Place = tuple[int, int, int, float]  # left, top, side in pixels of the frame; weight, 1 at most
Clock = Callable[[], float]
Report = Callable[[Mapping[str, object]], None]


@dataclass
class _Asked:
    """A question, for the rows about it."""

    number: int
    since_s: float
    words: int = 0
    first_word_s: float | None = None
    answer: Answer | None = None

    def hears(self, word: str | Answer, now: float) -> None:
        """A word has come, or the whole."""
        if self.first_word_s is None:
            self.first_word_s = round(now - self.since_s, 4)
        if isinstance(word, Answer):
            self.answer = word
        else:
            self.words += 1

    def row(self, event: str, now: float) -> dict[str, object]:
        """How it ended."""
        first = {} if self.first_word_s is None else {"first_word_s": self.first_word_s}
        return {"event": event, "seconds": round(now - self.since_s, 4), "words": self.words, **first}


@dataclass(frozen=True)
class Notice:
    """The answer to a condition has become yes."""

    condition: str
    capture_ms: int  # of the frame that was news
    sure: float


@dataclass(frozen=True, eq=False)
class _Listener:
    """Somebody who waits for a condition; None says that the stream has ended."""

    condition: str
    heard: asyncio.Queue[Notice | None]


class Attending:
    """A stream from its greeting to its end."""

    def __init__(
        self,
        model: Model,
        name: str,
        canvas: Canvas,
        about: Mapping[str, object],
        base: Wishes,
        clock: Clock,
        state: Callable[[Wishes], None],
        report: Report,
        conditions: Sequence[str] = (),
        log_questions: bool = False,
    ) -> None:
        self.about = about
        self.answering = 0  # questions of others that are being answered
        self._numbers, self._log_questions = count(1), log_questions
        self._model, self._name, self._base, self._canvas = model, name, base, canvas
        self._clock, self._tell_edge, self._report = clock, state, report
        self._wishing = wishing.State(idle_s=math.inf if conditions else clock())
        self._rate, self._rated_s, self._capture_ms = 0.0, clock(), 0
        self._conditions = dict.fromkeys(conditions, False)  # and whether each held when it was asked about last
        self._own = frozenset(conditions)  # which stay when nobody listens
        self._listeners: list[_Listener] = []
        self._noticing: asyncio.Task[None] | None = None
        self._noticed_s = -EVERY_S
        fps = about.get("fps")
        model.join(name, canvas, float(fps) if isinstance(fps, int | float) else 10.0)

    def close(self) -> None:
        """The stream has ended."""
        self._model.leave(self._name)
        if self._noticing is not None:
            self._noticing.cancel()
        for listener in self._listeners:
            listener.heard.put_nowait(None)

    def show(self, update: Update, late_s: float) -> None:
        """A patch has come."""
        now, self._canvas, self._capture_ms = self._clock(), update.canvas, update.capture_ms
        fade = min(1.0, max(now - self._rated_s, 1e-3) / RATE_S)
        self._rate += fade * (update.edits.tokens / max(now - self._rated_s, 1e-3) - self._rate)
        self._rated_s = now
        room = self._model.show(self._name, update.canvas, update.capture_ms / 1000, late_s)
        behind = self._model.behind(self._name) if room else 1.0
        self._wishing = wishing.read(self._wishing, behind, self._rate, now)
        self._wish()
        news = (update.edits.kind == Kind.SET).any()
        if self._conditions and news and now - self._noticed_s >= EVERY_S and self._noticing is None:
            self._noticed_s = now
            self._noticing = asyncio.create_task(self._notice(update.capture_ms))

    def looked(self, answer: Answer) -> list[Place]:
        """Where in the frame an answer came from, most first."""
        looked, (left, top) = looked_at(answer, self._canvas), self._canvas.offset
        most = float(looked.max())
        cells = sorted(((float(looked[at]), at) for at in zip(*np.nonzero(looked), strict=True)), reverse=True)
        return [
            (int(col) * CELL - left, int(row) * CELL - top, CELL, round(weight / most, 3))
            for weight, (row, col) in cells[:MOST_PLACES]
        ]

    async def notices(self, condition: str) -> AsyncGenerator[Notice, None]:
        """Tell each time that the answer to a condition becomes yes, for as long as somebody listens."""
        if condition not in self._conditions and len(self._conditions) >= MOST_CONDITIONS:
            raise ModelError(f"{self._name}: {MOST_CONDITIONS} conditions are watched already: end one first")
        listener = _Listener(condition, asyncio.Queue())
        self._listeners.append(listener)
        self._conditions[condition] = False
        self._wishing = replace(self._wishing, idle_s=math.inf)
        if self._noticing is None and self._canvas.version:
            self._noticed_s = self._clock()
            self._noticing = asyncio.create_task(self._notice(self._capture_ms))
        try:
            while (notice := await listener.heard.get()) is not None:
                yield notice
        finally:
            self._listeners.remove(listener)
            if condition not in self._own | {each.condition for each in self._listeners}:
                self._conditions.pop(condition, None)
            if not self._conditions:
                self._wishing = replace(self._wishing, idle_s=self._clock())

    async def ask(self, text: str) -> AsyncGenerator[str | Answer, None]:
        """Words of the answer, then the whole."""
        asked = _Asked(next(self._numbers), self._clock())
        text_too = {"text": text} if self._log_questions else {}
        self._tell(asked, {"event": "asked", **text_too})
        self._wishing = wishing.asked(self._wishing, asked.since_s)
        self._wish()
        self.answering += 1
        refused: str | None = None
        try:
            async with aclosing(self._model.ask(self._name, text)) as words:
                async for word in words:
                    asked.hears(word, self._clock())
                    yield word
        except ModelError as error:
            refused = str(error)
            raise
        finally:
            self.answering -= 1
            event = "answered" if asked.answer is not None else "interrupted" if refused is None else "refused"
            reason = {} if refused is None else {"reason": refused}
            self._tell(asked, asked.row(event, self._clock()) | reason)
            self._wishing = self._after(asked.answer)
            self._wish()

    def _tell(self, asked: _Asked, row: dict[str, object]) -> None:
        self._report({**row, "stream": self._name, "question": asked.number})

    def _after(self, answer: Answer | None) -> wishing.State:
        now = self._clock()
        if answer is None:
            return wishing.dropped(self._wishing, now)
        looked = looked_at(answer, self._canvas)
        return wishing.answered(self._wishing, looked, self._canvas.position, answer.sure, now)

    def _wish(self) -> None:
        self._wishing, wished = wishing.wishes(self._wishing, self._base, self._clock())
        if wished is not None:
            self._report({"event": "wished", "stream": self._name, "wishes": wished.to_map()})
            self._tell_edge(wished)

    async def _notice(self, capture_ms: int) -> None:
        """Ask about the user's conditions; tell of each that has come true."""
        try:
            for condition, held in list(self._conditions.items()):
                answer = await self._whole(condition)
                if answer is None:
                    return
                holds = answer.text == YES
                if condition in self._conditions:
                    self._conditions[condition] = holds
                if holds and not held:
                    for listener in self._listeners:
                        if listener.condition == condition:
                            listener.heard.put_nowait(Notice(condition, capture_ms, answer.sure))
                    self._report(
                        {
                            "event": "noticed",
                            "stream": self._name,
                            "condition": condition,
                            "capture_ms": capture_ms,
                            "sure": round(answer.sure, 3),
                        }
                    )
        finally:
            self._noticing = None

    async def _whole(self, text: str) -> Answer | None:
        """The answer to the server's own question, which is nobody's asking; None where there is no room for it."""
        try:
            async with aclosing(self._model.ask(self._name, text)) as words:
                async for word in words:
                    if isinstance(word, Answer):
                        return word
        except ModelError:
            pass
        return None
