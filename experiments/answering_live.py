"""Streams at real pace before one model, in one process: how late is it, and does one spoil it for the others?

Updates --at their seconds--> Mind.show ........ read: the last token's keys and values are in the memory
question --now and then-----> Mind.ask  ........ first word ........ whole answer
a rude stream floods, asks without end, or never reads what it is answered
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import mean

import numpy as np

from experiments.answering_streams import Updates, later
from experiments.bench import Row
from experiments.systems.tokens import put
from vidtok.canvas import Canvas, Grid, blank
from vidtok.errors import ModelError
from vidtok.live.mind import MOST_QUESTIONS, Mind
from vidtok.model.answerer import Answer, Answerer, Asking, Watch
from vidtok.model.stream import Tokens
from vidtok.tokenizer.fsq import CHANNELS, GIST, LEVELS, VALUES

TEXTS = ("what colour is it?", "how many things are there?", "what just happened?", "where is the red ball?")
ASK_S = 1.0  # between a stream's questions
FLOOD_HZ = 200.0
STAGGER_S = 0.37  # between the beginnings of streams
DRAIN_S = 5.0  # at the end, what waits may still be read
PERCENTS = (50, 95)


class Timed(Answerer):
    """Notes when the last token of each canvas was read."""

    def __init__(self, like: Answerer) -> None:
        super().__init__(like.brain, like.words)
        self.read_s: dict[tuple[int, float], float] = {}  # watch, the canvas's own second -> when

    def think(self, told: Sequence[tuple[Watch, Tokens]], askings: Sequence[Asking] = ()) -> list[str | Answer]:
        """One pass."""
        out = super().think(told, askings)
        now = time.perf_counter()
        for watch, tokens in told:
            self.read_s |= {(id(watch), time_s): now for time_s in set(tokens.time_s.tolist())}
        return out


@dataclass
class Delays:
    """Of one stream, in milliseconds."""

    read_ms: list[float] = field(default_factory=list)  # of each canvas that told anything
    first_ms: list[float] = field(default_factory=list)  # from a question to the first word
    whole_ms: list[float] = field(default_factory=list)
    shown: int = 0
    crowded: int = 0  # canvases that took another's place because the model did not keep up

    def row(self) -> Row:
        """For a row; None where there was nothing."""
        named = {"read": self.read_ms, "first_word": self.first_ms, "answer": self.whole_ms}
        return {
            **{f"{name}_p{p}_ms": percentile(some, p) for name, some in named.items() for p in PERCENTS},
            "updates": self.shown,
            "updates_read": len(self.read_ms),
            "updates_crowded": self.crowded,
            "questions": len(self.whole_ms),
        }


def percentile(values: Sequence[float], percent: float) -> float | None:
    """None of nothing."""
    return round(float(np.percentile(values, percent)), 3) if values else None


def pooled(delays: Sequence[Delays]) -> Delays:
    """Of several streams together."""
    out = Delays()
    for one in delays:
        out.read_ms += one.read_ms
        out.first_ms += one.first_ms
        out.whole_ms += one.whole_ms
        out.shown += one.shown
        out.crowded += one.crowded
    return out


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, one in so many where one has all."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def fairness(delays: Sequence[Delays]) -> Row:
    """How alike streams fare that ask for the same: of mean delays, of shares read in time, of 95th percentiles."""
    means = [mean(one.read_ms) for one in delays if one.read_ms]
    tails = [value for one in delays if (value := percentile(one.read_ms, 95)) is not None]
    shares = [1 - one.crowded / max(one.shown, 1) for one in delays]
    return {
        "jain_delay": round(jain(means), 4) if means else None,
        "jain_read": round(jain(shares), 4),
        "worst_to_best_p95": round(max(tails) / min(tails), 3) if tails else None,
    }


# Streams that behave


async def play(mind: Mind, timed: Timed, name: str, updates: Updates, late_s: float) -> Delays:
    """Show a stream's canvases when they are due; then wait until they are read."""
    out, loop = Delays(), asyncio.get_running_loop()
    mind.join(name, updates.canvases[0][1], updates.fps)
    watch, arrived = mind.watch(name), {}
    begin = loop.time() + late_s
    for at_s, canvas in updates.canvases:
        await asyncio.sleep(begin + at_s - loop.time())
        arrived[at_s] = time.perf_counter()
        out.crowded += not mind.show(name, canvas, at_s)
    out.shown = len(arrived)
    await _drained(watch)
    read = {at_s: timed.read_s.get((id(watch), at_s)) for at_s in arrived}
    out.read_ms = [1000 * (done - arrived[at_s]) for at_s, done in read.items() if done is not None]
    return out


async def _drained(watch: Watch) -> None:
    """Until nothing waits, and the pass under way is over."""
    due = time.monotonic() + DRAIN_S
    while watch.behind and time.monotonic() < due:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


async def wonder(mind: Mind, name: str, out: Delays, first: int, late_s: float) -> None:
    """Ask now and then, without end."""
    await asyncio.sleep(late_s)
    while True:
        await asyncio.sleep(ASK_S)
        began, heard = time.perf_counter(), False
        async with aclosing(mind.ask(name, TEXTS[first % len(TEXTS)])) as words:
            async for word in words:
                now = 1000 * (time.perf_counter() - began)
                if not heard:
                    out.first_ms.append(now)
                    heard = True
                if isinstance(word, Answer):
                    out.whole_ms.append(now)
        first += 1


# Streams that do not

Rude = Callable[[Mind, str, Updates], Coroutine[None, None, None]]


async def flood(mind: Mind, name: str, updates: Updates) -> None:
    """Canvases as fast as nobody sends them, every cell of each new."""
    loop, noise = asyncio.get_running_loop(), noisy(updates.canvases[0][1].grid, 32)
    mind.join(name, noise[0], FLOOD_HZ)
    began, number = loop.time(), 0
    while True:
        await asyncio.sleep(began + number / FLOOD_HZ - loop.time())
        turn, place = divmod(number, len(noise))
        mind.show(name, later(noise[place], turn * len(noise)), number / FLOOD_HZ)
        number += 1


def noisy(grid: Grid, count: int) -> list[Canvas]:
    """Canvases that have nothing in common."""
    rng, canvas, out = np.random.default_rng(0), blank(grid), []
    for _ in range(count):
        values = rng.integers(0, VALUES, (*canvas.depth.shape, CHANNELS), dtype=np.uint8)
        gist = rng.integers(0, VALUES, GIST, dtype=np.uint8)
        canvas = put(canvas, values, np.ones(canvas.depth.shape, bool), LEVELS, gist)
        out.append(canvas)
    return out


async def nag(mind: Mind, name: str, updates: Updates) -> None:
    """As many questions at a time as are allowed, and the next as soon as one is answered."""

    async def one() -> None:
        while True:
            async with aclosing(mind.ask(name, TEXTS[0])) as words:
                async for _ in words:
                    pass

    mind.join(name, updates.canvases[-1][1], updates.fps)
    mind.show(name, updates.canvases[-1][1], 0.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(MOST_QUESTIONS):
            group.create_task(one())


async def hoard(mind: Mind, name: str, updates: Updates) -> None:
    """Asks whenever it may, takes one word of each answer and leaves the rest where it is."""
    mind.join(name, updates.canvases[-1][1], updates.fps)
    mind.show(name, updates.canvases[-1][1], 0.0)
    held = []
    try:
        while True:
            words = mind.ask(name, TEXTS[0])
            try:
                await anext(words)
                held.append(words)
            except ModelError:  # as many as are allowed are being answered
                await asyncio.sleep(0.01)
    finally:
        for words in held:
            await words.aclose()


RUDE: dict[str, Rude] = {
    "floods": flood,
    "asks without end": nag,
    "never reads its answers": hoard,
}


# All at once


def together(answerer: Answerer, tapes: Sequence[Updates], rude: Rude | None = None) -> list[Delays]:
    """The delays of streams that are shown at once, each asked now and then; a rude one beside them, perhaps."""
    return asyncio.run(_together(Timed(answerer), tapes, rude))


async def _together(timed: Timed, tapes: Sequence[Updates], rude: Rude | None) -> list[Delays]:
    mind = Mind(timed)
    out: list[Delays] = []
    async with asyncio.TaskGroup() as group:
        endless = [group.create_task(mind.run())]
        if rude is not None:
            endless.append(group.create_task(rude(mind, "rude", tapes[0])))
        plays: list[Awaitable[Delays]] = []
        asked = [Delays() for _ in tapes]
        for number, tape in enumerate(tapes):
            name, late_s = f"stream {number}", number * STAGGER_S
            plays.append(group.create_task(play(mind, timed, name, tape, late_s)))
            endless.append(group.create_task(wonder(mind, name, asked[number], number, late_s)))
        for number, shown in enumerate(await asyncio.gather(*plays)):
            out.append(pooled([shown, asked[number]]))
        for task in endless:
            task.cancel()
    return out


def warm(answerer: Answerer, updates: Updates) -> None:
    """Read a little and answer once, so that no run pays for being the first."""
    watch = answerer.watch(updates.canvases[0][1], updates.fps)
    for at_s, canvas in updates.canvases[:8]:
        answerer.show(watch, canvas, at_s)
    list(answerer.ask(watch, TEXTS[0]))
