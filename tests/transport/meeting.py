"""What the tests of adapters share: a listener's side that keeps its endpoints, and a limit for every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from transport.adapters.endpoint import Endpoint
from transport.adapters.registry import Listener

TOKEN = "a token of the test"
UPGRADE = (
    b"GET /session HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`; a test that hangs fails."""

    async def limited() -> None:
        async with asyncio.timeout(60):
            await main

    asyncio.run(limited())


class Meeting:
    """An `on_endpoint` that hands its endpoints to the test and keeps each until `part`."""

    def __init__(self) -> None:
        self._come: asyncio.Queue[Any] = asyncio.Queue()
        self._over = asyncio.Event()

    async def __call__(self, endpoint: Endpoint) -> None:
        self._come.put_nowait(endpoint)
        await self._over.wait()

    async def next(self) -> Any:
        """The next endpoint that comes in."""
        return await self._come.get()

    def part(self) -> None:
        """Let every session return, and so end."""
        self._over.set()

    @property
    def empty(self) -> bool:
        """Whether nobody came whom `next` has not returned."""
        return self._come.empty()


@asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[int]:
    """The port of a listener that runs meanwhile."""
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.close()


async def until(condition: Any) -> None:
    """Wait until `condition()`; the test's limit bounds it."""
    while not condition():
        await asyncio.sleep(0.005)
