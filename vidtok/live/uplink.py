"""A sender's session over a real link, and over the next one where that is lost.

endpoint --Connection--> events --> whoever tells          Suspended --> connect anew, more and more patiently
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint
from transport.errors import PeerError
from transport.events import BaseLost, Closed, Connected, Event, Resumed, Suspended
from transport.session import Session
from transport.states import State

# Connects to the same server once more.
Again = Callable[[], Awaitable[Endpoint]]

_FIRST_RETRY_S, _LAST_RETRY_S = 0.25, 4.0


class Uplink:
    """`async with Uplink(...) as uplink:` begins when the server has greeted; PeerError when it refuses.

    Every event goes to `on_event`; where what was told did not arrive, `tell_again` tells it anew at that time. With
    `again` the session goes on where its path was lost.
    """

    def __init__(
        self,
        session: Session,
        endpoint: Endpoint,
        *,
        on_event: Callable[[Event], None],
        tell_again: Callable[[float], None],
        again: Again | None = None,
    ) -> None:
        self.connection = Connection(session, endpoint)
        self._on_event, self._tell_again, self._again = on_event, tell_again, again
        self._welcome, self._resumed = asyncio.Event(), asyncio.Event()
        self._closed: Closed | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.connection.start()
        self._listening = asyncio.create_task(self._listen())
        try:
            await self._welcome.wait()
            self.check_open()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _end(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        await self.connection.close()

    def check_open(self) -> None:
        """PeerError once the server has ended the session."""
        if self._closed is not None:
            raise PeerError(
                f"the server ended the session: {self._closed.reason or 'no reason given'} (code {self._closed.code})"
            )

    async def _listen(self) -> None:
        connection, rejoining = self.connection, None
        async for event in connection.events():
            if isinstance(event, Suspended) and self._again is not None:
                if rejoining is not None:
                    rejoining.cancel()
                self._resumed.clear()
                rejoining = asyncio.create_task(_rejoin(connection, self._again, self._resumed))
            if isinstance(event, Resumed):
                self._resumed.set()
            elif isinstance(event, Connected):
                self._welcome.set()
            elif isinstance(event, Closed):
                self._closed = event
                self._welcome.set()
                if rejoining is not None:
                    rejoining.cancel()
            self._on_event(event)
            if isinstance(event, BaseLost) and connection.session.state is State.OPEN:
                self._tell_again(connection.clock())
                connection.flush()


async def _rejoin(connection: Connection, again: Again, resumed: asyncio.Event) -> None:
    """Connect anew, more and more patiently, until the other end has greeted or the session has ended."""
    wait_s = _FIRST_RETRY_S
    while connection.session.state is State.SUSPENDED:
        try:
            await connection.attach(await again())
            async with asyncio.timeout(_LAST_RETRY_S):  # a new path may be lost as well, before anybody greets on it
                await resumed.wait()
        except (PeerError, TimeoutError):
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LAST_RETRY_S)
