"""The thin shell: runs a session over an endpoint in asyncio, and over the next one when that is gone.

endpoint.receive ──> session.receive_datagram ──┐
timer ─────────────> session.handle_timeout ────┼──> on_event, or events()
flush() ───────────> session.datagrams_to_send ─┘──> endpoint.send
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Self

from transport.adapters.endpoint import Endpoint, Inbox
from transport.errors import ConnectionClosed
from transport.events import Closed, Event
from transport.session import Session
from transport.states import State
from transport.wire import CloseCode

_MAX_EVENTS = 256
_GOODBYE, _GOODBYE_LOOK = 1.0, 0.01
_SOON = 0.001


class Connection:
    """`async with Connection(session, endpoint) as connection: async for event in connection.events(): ...`

    `clock` must be the clock whose time the session was made with; the loop's own by default. After calls
    on the session (`send_delta`, `applied`, ...) call `flush()`. After `Suspended`, `attach` a new endpoint.

    With `on_event` each event is handed to that function at once, in place of `events()`: a task has to wait for
    its turn, which is a third of a millisecond over WebRTC. It must not block; what it raises ends the session.
    """

    def __init__(
        self,
        session: Session,
        endpoint: Endpoint,
        *,
        clock: Callable[[], float] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.session = session
        self.endpoint = endpoint
        self.clock = clock or asyncio.get_running_loop().time
        self._on_event = on_event
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._arming = False
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
        """Wait until this endpoint is no longer the one in use, or the session is over."""
        while not self._over and self.session.closed is None and self.endpoint is endpoint:
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
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        try:
            self.session.path_is_behind(self.endpoint.buffered_amount)
            for lane, data in self.session.datagrams_to_send(self.clock()):
                self.endpoint.send(lane, data)
        except ConnectionClosed as error:
            self._path_lost(error)
        self._arm_soon()

    def _arm_soon(self) -> None:
        """Set the timer when what was handed to the stack has left."""
        if not self._arming:
            self._arming = True
            asyncio.get_running_loop().call_soon(self._arm)

    def _arm(self) -> None:
        self._arming = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.session.next_timeout()
        if due is None or self._over:
            return
        wait = max(_SOON, due - self.clock())
        self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._hand_up(self.session.handle_timeout(self.clock()))
        self.flush()

    async def _read(self, endpoint: Endpoint, received: Sequence[bytes]) -> None:
        try:
            for data in received:
                self._take(data)
            inbox: Inbox | None = getattr(endpoint, "inbox", None)
            if inbox is not None and self._on_event is not None:  # a task that is slow must not be woken in between
                inbox.taker = partial(self._take_at_once, endpoint)
            while not self._over:
                self._take(await endpoint.receive())
                await self._let_the_application_catch_up()
        except ConnectionClosed as error:
            if endpoint is self.endpoint:
                self._path_lost(error)
                self._arm_soon()

    def _take_at_once(self, endpoint: Endpoint, data: bytes) -> bool:
        if self._over or endpoint is not self.endpoint or len(self._events) >= _MAX_EVENTS:
            return False
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        """Hand up what comes of a packet. The answer leaves before a task that waits for events has its turn, which may
        take long; what is called at once has had it, and one answer serves the packets that come together."""
        events = self.session.receive_datagram(data, self.clock())
        if self._on_event is None:
            self.flush()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_SOON, self.flush)
        self._hand_up(events)

    async def _let_the_application_catch_up(self) -> None:
        while len(self._events) >= _MAX_EVENTS and not self._over:
            self._taken.clear()
            await self._taken.wait()

    def _hand_up(self, events: list[Event]) -> None:
        if not events:
            return
        self._changed.set()
        if self._on_event is None:
            self._events.extend(events)
            return
        for event in events:
            try:
                self._on_event(event)
            except Exception as error:  # theirs: whoever brought us the packet has no part in it
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "on_event failed", "exception": error})
        self._on_event = lambda _: None
        self.session.close(CloseCode.GOING_AWAY, "the application failed", self.clock())

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
        if self._soon is not None:
            self._soon.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self.endpoint.close()
