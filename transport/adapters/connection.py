"""The thin shell: runs a session over an endpoint in asyncio, and over the next one when that is gone.

endpoint.receive ──> session.receive_datagram ──┐
timer ─────────────> session.handle_timeout ────┼──> events()
flush() ───────────> session.datagrams_to_send ─┘──> endpoint.send
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

from transport.adapters.endpoint import Endpoint
from transport.errors import ConnectionClosed
from transport.events import Closed, Event
from transport.session import Session
from transport.states import State
from transport.wire import CloseCode

_MAX_EVENTS = 256
_GOODBYE, _GOODBYE_LOOK = 1.0, 0.01


class Connection:
    """`async with Connection(session, endpoint) as connection: async for event in connection.events(): ...`

    `clock` must be the clock whose time the session was made with; the loop's own by default. After calls
    on the session (`send_delta`, `applied`, ...) call `flush()`. After `Suspended`, `attach` a new endpoint.
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

    def start(self, received: Sequence[bytes] = ()) -> None:
        """Begin to read and to run timers; what was `received` from the endpoint before comes first."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(self.endpoint, received))
            self.flush()

    async def attach(self, endpoint: Endpoint, received: Sequence[bytes] = ()) -> None:
        """Go on over another endpoint; the one before is closed."""
        before, reader = self.endpoint, self._reader
        self._hand_up(self.session.path_lost(self.clock()))
        self.endpoint = endpoint
        self.session.path_found(self.clock())
        self._changed.set()
        self._reader = asyncio.create_task(self._read(endpoint, received))
        self.flush()
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await before.close()

    async def left(self, endpoint: Endpoint) -> None:
        """Wait until this endpoint is no longer the one in use."""
        while not self._over and self.endpoint is endpoint:
            await self._any_change()

    async def _any_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def events(self) -> AsyncIterator[Event]:
        """Every event, the last being `Closed`."""
        while True:
            while not self._events:
                if self._over:
                    return
                await self._any_change()
            event = self._events.popleft()
            self._taken.set()
            yield event
            if isinstance(event, Closed):
                return

    def flush(self) -> None:
        """Send what is due, then wait for the session's next time."""
        try:
            self.session.path_is_behind(self.endpoint.buffered_amount)
            for lane, data in self.session.datagrams_to_send(self.clock()):
                self.endpoint.send(lane, data)
        except ConnectionClosed as error:
            self._path_lost(error)
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

    async def _read(self, endpoint: Endpoint, received: Sequence[bytes]) -> None:
        try:
            for data in received:
                self._take(data)
            while not self._over:
                self._take(await endpoint.receive())
                await self._let_the_application_catch_up()
        except ConnectionClosed as error:
            if endpoint is self.endpoint:
                self._path_lost(error)
                self._arm()

    def _take(self, data: bytes) -> None:
        self._hand_up(self.session.receive_datagram(data, self.clock()))
        self.flush()

    async def _let_the_application_catch_up(self) -> None:
        while len(self._events) >= _MAX_EVENTS and not self._over:
            self._taken.clear()
            await self._taken.wait()

    def _hand_up(self, events: list[Event]) -> None:
        if events:
            self._events.extend(events)
            self._changed.set()

    def _path_lost(self, error: ConnectionClosed) -> None:
        self._hand_up(self.session.path_lost(self.clock(), error.reason))

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye, give it a moment to leave, and close the endpoint."""
        if self._over:
            return
        gone = self.session.state is State.SUSPENDED
        self.session.close(code, reason, self.clock())
        self._hand_up(self.session.handle_timeout(self.clock()))
        self.flush()
        patience = _GOODBYE / _GOODBYE_LOOK
        while self.endpoint.buffered_amount and not gone and patience > 0:
            await asyncio.sleep(_GOODBYE_LOOK)
            patience -= 1
        self._over = True
        self._changed.set()
        self._taken.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self.endpoint.close()
