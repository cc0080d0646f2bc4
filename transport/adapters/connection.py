"""The thin shell: runs a session over an endpoint in asyncio.

endpoint.receive ──> session.receive_datagram ──┐
timer ─────────────> session.handle_timeout ────┼──> events()
flush() ───────────> session.datagrams_to_send ─┘──> endpoint.send
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Self

from transport.adapters.endpoint import Endpoint
from transport.errors import ConnectionClosed
from transport.events import Closed, Event
from transport.session import Session
from transport.wire import CloseCode

_MAX_EVENTS = 256
_GOODBYE = 0.1


class Connection:
    """`async with Connection(session, endpoint) as connection: async for event in connection.events(): ...`

    `clock` must be the clock whose time the session was made with; the loop's own by default. After calls
    on the session (`send_delta`, `applied`, ...) call `flush()`.
    """

    def __init__(self, session: Session, endpoint: Endpoint, *, clock: Callable[[], float] | None = None) -> None:
        self.session = session
        self.endpoint = endpoint
        self.clock = clock or asyncio.get_running_loop().time
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None
        self._over = False

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to read and to run timers."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
            self.flush()

    async def events(self) -> AsyncIterator[Event]:
        """Every event, the last being `Closed`."""
        while True:
            while not self._events:
                if self._over:
                    return
                self._changed.clear()
                await self._changed.wait()
            event = self._events.popleft()
            self._taken.set()
            yield event
            if isinstance(event, Closed):
                return

    def flush(self) -> None:
        """Send what is due, then wait for the session's next time."""
        try:
            for lane, data in self.session.datagrams_to_send(self.clock()):
                self.endpoint.send(lane, data)
        except ConnectionClosed as error:
            self._link_lost(error)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.session.next_timeout()
        if due is None or self._over:
            return
        wait = max(0.001, due - self.clock())
        self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._hand_up(self.session.handle_timeout(self.clock()))
        self.flush()

    async def _read(self) -> None:
        try:
            while not self._over:
                data = await self.endpoint.receive()
                self._hand_up(self.session.receive_datagram(data, self.clock()))
                self.flush()
                await self._let_the_application_catch_up()
        except ConnectionClosed as error:
            self._link_lost(error)

    async def _let_the_application_catch_up(self) -> None:
        while len(self._events) >= _MAX_EVENTS and not self._over:
            self._taken.clear()
            await self._taken.wait()

    def _hand_up(self, events: list[Event]) -> None:
        if events:
            self._events.extend(events)
            self._changed.set()

    def _link_lost(self, error: ConnectionClosed) -> None:
        self.session.close(CloseCode.LINK_LOST, error.reason, self.clock())
        self._hand_up(self.session.handle_timeout(self.clock()))

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye, give it a moment to leave, and close the endpoint."""
        if self._over:
            return
        self.session.close(code, reason, self.clock())
        self._hand_up(self.session.handle_timeout(self.clock()))
        self.flush()
        if self.endpoint.buffered_amount:
            await asyncio.sleep(_GOODBYE)
        self._over = True
        self._changed.set()
        self._taken.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self.endpoint.close()
