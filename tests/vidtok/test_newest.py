"""What the labels' reading is given: the newest update, after a rest, and no more once the stream has ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from experiments.virtual_time import run
from vidtok.live.server import Newest

UPDATES: list[Any] = [SimpleNamespace(number=number) for number in range(4)]


def test_only_the_newest_is_got_and_only_once() -> None:
    async def play() -> None:
        fresh = Newest()
        fresh.put(UPDATES[0])
        fresh.put(UPDATES[1])
        assert await fresh.get(0.0) is UPDATES[1]
        waiting = asyncio.create_task(fresh.get(0.0))
        await asyncio.sleep(5)
        assert not waiting.done()
        fresh.put(UPDATES[2])
        assert await waiting is UPDATES[2]

    run(play())


def test_what_comes_during_the_rest_takes_the_place_of_what_waits() -> None:
    async def play() -> None:
        fresh, loop = Newest(), asyncio.get_running_loop()
        fresh.put(UPDATES[0])
        waiting = asyncio.create_task(fresh.get(1.0))
        await asyncio.sleep(0.9)
        fresh.put(UPDATES[1])
        assert await waiting is UPDATES[1]
        assert loop.time() == 1.0

    run(play())


def test_the_end_cuts_the_rest_short_and_the_last_is_still_got() -> None:
    async def play() -> None:
        fresh, loop = Newest(), asyncio.get_running_loop()
        fresh.put(UPDATES[0])
        waiting = asyncio.create_task(fresh.get(60.0))
        await asyncio.sleep(0.5)
        fresh.end()
        assert await waiting is UPDATES[0]
        assert await fresh.get(60.0) is None
        assert loop.time() == 0.5

    run(play())
