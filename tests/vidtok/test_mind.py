"""One model for many streams, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import numpy as np
import pytest

from tests.vidtok.test_answerer import answerer, film
from vidtok.canvas import Grid, blank
from vidtok.errors import ModelError
from vidtok.live.mind import MOST_QUESTIONS, Mind
from vidtok.model.answerer import MOST_WAITING, Answer


class Runs(Protocol):
    """A model with a task of its own."""

    async def run(self) -> None:
        """Work until cancelled."""


M = TypeVar("M", bound=Runs)


@asynccontextmanager
async def at_work(model: M) -> AsyncIterator[M]:
    """A model while it works."""
    task = asyncio.create_task(model.run())
    await asyncio.sleep(0)
    try:
        yield model
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def run(what: Callable[[], Awaitable[None]]) -> None:
    """Within ten seconds."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await what()

    asyncio.run(bounded())


async def whole(mind: Mind, stream: str, text: str = "What is it?") -> Answer:
    """The end of an answer."""
    async for word in mind.ask(stream, text):
        if isinstance(word, Answer):
            return word
    raise AssertionError("no answer")


def test_questions_to_many_streams_are_answered_as_to_each_alone() -> None:
    async def go() -> None:
        films = {f"s{k}": list(film(np.random.default_rng(k), 4)) for k in range(5)}
        async with at_work(Mind(answerer())) as mind:
            for name, canvases in films.items():
                mind.join(name, canvases[0], 10.0)
                for k, canvas in enumerate(canvases):
                    assert mind.show(name, canvas, k / 4)
            together = await asyncio.gather(*(whole(mind, name) for name in films))
        for (name, canvases), found in zip(films.items(), together, strict=True):
            model = answerer()
            watch = model.watch(canvases[0], 10.0)
            for k, canvas in enumerate(canvases):
                model.show(watch, canvas, k / 4)
            *_, alone = model.ask(watch, "What is it?")
            assert isinstance(alone, Answer)
            assert found.text == alone.text, name
            assert np.allclose(found.looked, alone.looked, atol=1e-5)

    run(go)


def test_a_question_hears_what_had_come_and_not_what_comes_later() -> None:
    async def go() -> None:
        canvases = list(film(np.random.default_rng(1), 8))
        async with at_work(Mind(answerer())) as mind:
            for name in ("a", "b"):
                mind.join(name, canvases[0], 10.0)
                for k in range(3):
                    mind.show(name, canvases[k], k / 4)
            asked = asyncio.create_task(whole(mind, "a"))
            await asyncio.sleep(0)
            for k in range(3, 8):
                mind.show("a", canvases[k], k / 4)
            late, early = await asked, await whole(mind, "b")
        assert late.looked.shape == early.looked.shape

    run(go)


def test_an_interrupted_answer_leaves_room_and_no_trace() -> None:
    async def go() -> None:
        async with at_work(Mind(answerer())) as mind:
            mind.join("a", blank(Grid(96, 64)), 10.0)
            for _ in range(2 * MOST_QUESTIONS):
                words = mind.ask("a", "what is it?")
                await anext(words)
                await words.aclose()
            assert (await whole(mind, "a")).text is not None

    run(go)


def test_too_many_questions_are_refused_and_a_stream_that_ends_answers_none() -> None:
    async def go() -> None:
        mind = Mind(answerer())  # does not think, so that all of them wait
        mind.join("a", blank(Grid(96, 64)), 10.0)
        waiting = [asyncio.create_task(whole(mind, "a")) for _ in range(MOST_QUESTIONS)]
        await asyncio.sleep(0)
        with pytest.raises(ModelError, match="a: 4 questions"):
            await whole(mind, "a")
        mind.leave("a")
        for task in waiting:
            with pytest.raises(ModelError, match="ended before"):
                await task
        with pytest.raises(ModelError, match="no such stream"):
            await whole(mind, "a")

    run(go)


def test_a_flood_from_one_stream_keeps_no_other_waiting() -> None:
    """It says that there is no room, holds a bounded number, and the others are read in as few passes as ever."""

    async def go() -> None:
        flood, calm = list(film(np.random.default_rng(2), 60, 1.0)), list(film(np.random.default_rng(3), 2))
        model, streams = answerer(), []
        think = model.think

        def noting(told: Any, askings: Any = ()) -> list[str | Answer]:
            streams.append(len(told))
            return think(told, askings)

        model.think = noting  # type: ignore[method-assign]
        async with at_work(Mind(model)) as mind:
            mind.join("flood", flood[0], 10.0)
            mind.join("calm", calm[0], 10.0)
            room = [mind.show("flood", canvas, k / 100) for k, canvas in enumerate(flood)]
            assert room.count(True) == MOST_WAITING
            assert mind.behind("flood") == 1.0
            mind.show("calm", calm[0], 0.0)
            mind.show("calm", calm[1], 0.1)
            await whole(mind, "calm")
            assert streams.count(2) == 1
            assert mind.watch("flood").tokens > 0

    run(go)


def test_what_follows_closely_is_read_together_and_a_question_waits_for_nothing() -> None:
    async def go() -> None:
        canvases, read = list(film(np.random.default_rng(4), 6)), []
        model = answerer()
        think = model.think

        def noting(told: Any, askings: Any = ()) -> list[str | Answer]:
            read.extend(len(set(tokens.time_s)) for _, tokens in told)
            return think(told, askings)

        model.think = noting  # type: ignore[method-assign]
        async with at_work(Mind(model)) as mind:
            mind.join("a", canvases[0], 10.0)
            mind.show("a", canvases[0], 0.0)
            while not read:
                await asyncio.sleep(0.001)
            for k in range(1, 4):
                mind.show("a", canvases[k], k / 10)
            await asyncio.sleep(0.01)
            assert read == [1]
            while mind.watch("a").taken < 4:
                await asyncio.sleep(0.001)
            for k in range(4, 6):
                mind.show("a", canvases[k], k / 10)
            await whole(mind, "a")
        assert read == [1, 3, 2]

    run(go)


def test_a_quick_camera_is_read_before_its_room_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidtok.live.mind.PAUSE_S", 60.0)
    canvases = list(film(np.random.default_rng(5), MOST_WAITING // 2 + 1))

    async def go() -> None:
        async with at_work(Mind(answerer())) as mind:
            mind.join("a", canvases[0], 60.0)
            mind.show("a", canvases[0], 0.0)
            while mind.watch("a").taken < 1:
                await asyncio.sleep(0.001)
            for k, canvas in enumerate(canvases[1:-1], 1):
                mind.show("a", canvas, k / 60)
            await asyncio.sleep(0.05)
            assert mind.watch("a").taken == 1
            mind.show("a", canvases[-1], 1.0)
            while mind.watch("a").taken < len(canvases):
                await asyncio.sleep(0.001)

    run(go)


def test_a_canvas_of_another_size_is_refused() -> None:
    mind = Mind(answerer())
    mind.join("a", blank(Grid(96, 64)), 10.0)
    with pytest.raises(ModelError, match="another size"):
        mind.show("a", blank(Grid(64, 64)), 1.0)
