"""One model in many processes: where streams are placed, what is sent, and what happens when a worker dies.

Most of it is tried with workers in this process; the last tests start a real Ray cluster.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from tests.vidtok.test_answerer import answerer, film
from tests.vidtok.test_mind import at_work, run
from vidtok.canvas import Canvas, Grid, blank
from vidtok.errors import MissingExtra, ModelError
from vidtok.live import workers as module
from vidtok.live.figures import Tally
from vidtok.live.mind import MOST_QUESTIONS, Mind
from vidtok.live.workers import Worker, WorkerDied, Workers, load_workers
from vidtok.model.answerer import Answer, Answerer, Shown

FEW = 3


class Local:
    """A worker in this process, which can be held up and killed."""

    def __init__(self, name: str) -> None:
        self.name, self.mind = name, Mind(answerer())
        self.shown: list[Shown] = []
        self.dead, self.busy = asyncio.Event(), False
        self.thinking = asyncio.create_task(self.mind.run())

    async def _alive(self) -> None:
        while self.busy and not self.dead.is_set():
            await asyncio.sleep(0.001)
        if self.dead.is_set():
            raise WorkerDied(f"{self.name} died")

    async def ready(self) -> int:
        await self._alive()
        return 0

    async def join(self, key: str, canvas: Canvas, fps: float) -> None:
        await self._alive()
        self.mind.join(key, canvas, fps)

    async def show(self, key: str, shown: Shown) -> float:
        await self._alive()
        self.shown.append(shown)
        room = self.mind.show(key, shown.canvas, shown.time_s, shown.late_s)
        return self.mind.behind(key) if room else 1.0

    async def leave(self, key: str) -> None:
        await self._alive()
        self.mind.leave(key)

    async def tally(self) -> Tally:
        await self._alive()
        return self.mind.tally()

    async def ask(self, key: str, text: str) -> AsyncIterator[str | Answer]:
        try:
            async with aclosing(self.mind.ask(key, text)) as words:
                async for word in words:
                    await self._alive()
                    yield word
        except ModelError:
            await self._alive()
            raise

    def kill(self) -> None:
        self.dead.set()
        self.thinking.cancel()


class Shop:
    """Where such workers are made."""

    def __init__(self) -> None:
        self.made: list[Local] = []

    def worker(self, name: str) -> Worker:
        self.made.append(Local(name))
        return self.made[-1]  # type: ignore[return-value]

    def close(self) -> None:
        for worker in self.made:
            worker.kill()


class Hall:
    """Workers at work, and what they have reported."""

    def __init__(self, number: int) -> None:
        self.rows: list[Mapping[str, object]] = []
        self.shop = Shop()
        self.workers = Workers(self.shop, number, self.rows.append)


@asynccontextmanager
async def hall(number: int) -> AsyncIterator[Hall]:
    made = Hall(number)
    async with at_work(made.workers):
        yield made


async def whole(workers: Workers, stream: str) -> Answer:
    async for word in workers.ask(stream, "What is it?"):
        if isinstance(word, Answer):
            return word
    raise AssertionError("no answer")


async def until(holds: Callable[[], bool]) -> None:
    """Wait for that."""
    while not holds():
        await asyncio.sleep(0.005)


def alone(canvases: list[Canvas], first: int = 0) -> Answer:
    """What one model answers to whom the first canvas and the last were shown."""
    model = answerer()
    watch = model.watch(canvases[first], 10.0)
    for k in range(first, len(canvases)):
        model.show(watch, canvases[k], k / 4)
    *_, answer = model.ask(watch, "What is it?")
    assert isinstance(answer, Answer)
    return answer


def test_streams_go_where_the_fewest_are_and_stay_there() -> None:
    async def go() -> None:
        async with hall(2) as at:
            for k in range(5):
                at.workers.join(f"s{k}", blank(Grid(96, 64)), 10.0)
            placed = at.workers.placed()
            assert sorted(list(placed.values()).count(f"worker {k}") for k in (1, 2)) == [2, 3]
            for name in [name for name, worker in placed.items() if worker == "worker 1"]:
                at.workers.leave(name)
            at.workers.join("new", blank(Grid(96, 64)), 10.0)
            assert at.workers.placed()["new"] == "worker 1"
            assert at.workers.placed().items() - {("new", "worker 1")} <= placed.items()

    run(go)


def test_a_question_hears_all_that_had_come_and_is_answered_as_by_one_model() -> None:
    async def go() -> None:
        canvases = list(film(np.random.default_rng(0), 4))
        async with hall(2) as at:
            at.workers.join("a", canvases[0], 10.0)
            for k, canvas in enumerate(canvases):
                assert at.workers.show("a", canvas, k / 4)
                await until(lambda k=k: len(at.shop.made[0].shown) > k)  # type: ignore[misc]
            found = await whole(at.workers, "a")
            expected = alone(canvases)
            assert found.text == expected.text
            assert np.allclose(found.looked, expected.looked, atol=1e-5)

    run(go)


def test_one_canvas_is_under_way_and_the_newest_follows() -> None:
    async def go() -> None:
        canvases = list(film(np.random.default_rng(1), 30))
        async with hall(1) as at:
            at.workers.join("a", canvases[0], 10.0)
            worker = at.shop.made[0]
            await asyncio.sleep(0.01)
            worker.busy = True
            room = []
            for k, canvas in enumerate(canvases):
                room.append(at.workers.show("a", canvas, k / 4))
                await asyncio.sleep(0)
            assert room.count(False) > 20
            asked = asyncio.create_task(whole(at.workers, "a"))
            await asyncio.sleep(0.01)
            worker.busy = False
            await asked
            assert worker.shown[-1].canvas == canvases[-1]
            assert len(worker.shown) <= FEW
            assert at.workers.show("a", canvases[-1], 9.0)

    run(go)


def test_a_worker_that_dies_gives_its_streams_to_another_with_their_newest_canvas() -> None:
    async def go() -> None:
        canvases = list(film(np.random.default_rng(2), 3))
        async with hall(2) as at:
            for name in "ab":
                at.workers.join(name, canvases[0], 10.0)
                for k, canvas in enumerate(canvases):
                    at.workers.show(name, canvas, k / 4)
            await whole(at.workers, "a")
            at.shop.made[0].kill()
            at.workers.show("a", canvases[-1], 0.5)
            found = await whole(at.workers, "a")
            assert found.text == alone(canvases, len(canvases) - 1).text
            assert set(at.workers.placed().values()) == {"worker 2"}
            moved = [row for row in at.rows if row["event"] == "moved"]
            assert moved == [{"event": "moved", "stream": "a", "reason": "worker 1 died", "to": "worker 2"}]

    run(go)


def test_the_only_worker_that_dies_is_replaced_and_questions_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)

    async def go() -> None:
        canvases = list(film(np.random.default_rng(3), 2))
        async with hall(1) as at:
            at.workers.join("a", canvases[0], 10.0)
            at.workers.show("a", canvases[0], 0.0)
            await whole(at.workers, "a")
            before = at.workers.tally().tokens
            at.shop.made[0].kill()
            at.workers.show("a", canvases[1], 0.25)
            assert (await whole(at.workers, "a")).text == alone(canvases, 1).text
            assert at.workers.placed() == {"a": "worker 2"}
            assert at.workers.tally().tokens >= before
            assert at.workers.tally().kept.keys() <= {"a"}

    run(go)


def test_a_question_whose_worker_dies_ends_in_one_line() -> None:
    async def go() -> None:
        async with hall(1) as at:
            at.workers.join("a", blank(Grid(96, 64)), 10.0)
            words = at.workers.ask("a", "What is it?")
            await anext(words)
            at.shop.made[0].kill()
            with pytest.raises(ModelError, match="a: worker 1 died before the answer came; ask again"):
                async for _ in words:
                    pass

    run(go)


def test_closing_interrupts_and_too_much_is_refused() -> None:
    async def go() -> None:
        async with hall(1) as at:
            at.workers.join("a", blank(Grid(96, 64)), 10.0)
            for _ in range(2 * MOST_QUESTIONS):
                words = at.workers.ask("a", "what is it?")
                await anext(words)
                await words.aclose()
            await whole(at.workers, "a")
            with pytest.raises(ModelError, match="another size"):
                at.workers.show("a", blank(Grid(64, 64)), 1.0)
            with pytest.raises(ModelError, match="no such stream"):
                await whole(at.workers, "b")

    run(go)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ray is not installed: pip install 'vidtok\[ray\]'"):
        load_workers(1, lambda _: None, answerer)


def unable() -> Answerer:
    """A model that cannot be loaded."""
    raise FileNotFoundError("no weights here")


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line() -> None:
    with pytest.raises(ModelError, match="no weights here") as caught:
        load_workers(1, lambda _: None, unable)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_ray_answers_as_one_model_and_a_killed_actor_s_stream_goes_on() -> None:
    rows: list[Mapping[str, object]] = []
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    workers = load_workers(2, rows.append, answerer)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    async def go() -> None:
        canvases = list(film(np.random.default_rng(4), 3))
        async with at_work(workers):
            for name in "ab":
                workers.join(name, canvases[0], 10.0)
                workers.show(name, canvases[0], 0.0)
                found = await whole(workers, name)
                assert found.text == alone(canvases[:1]).text
                assert np.allclose(found.looked, alone(canvases[:1]).looked, atol=1e-5)
            assert sorted(workers.placed().values()) == ["worker 1", "worker 2"]
            for _ in range(2 * MOST_QUESTIONS):
                words = workers.ask("a", "what is it?")
                await anext(words)
                await words.aclose()
            await until(lambda: workers.tally().kept.keys() == {"a", "b"})
            assert workers.tally().tokens > 0
            first = next(worker for worker in workers._alive if worker.name == workers.placed()["a"])
            os.kill(await first.ready(), signal.SIGKILL)
            workers.show("a", canvases[-1], 0.5)
            assert (await whole(workers, "a")).text == alone(canvases, 2).text
            assert workers.placed()["a"] == workers.placed()["b"]
            assert [row["stream"] for row in rows if row["event"] == "moved"] == ["a"]

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await go()

    asyncio.run(bounded())
