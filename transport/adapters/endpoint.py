"""What every adapter offers: an endpoint that carries whole packets, and one that carries them badly."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from transport.errors import ConnectionClosed
from transport.impair import Link, Route
from transport.lanes import Lane
from transport.wire import CloseCode


class Endpoint(Protocol):
    """One end of a packet path. Packets may be lost, doubled or reordered; they are never cut.

    One that shows its `Inbox` as `inbox` has its packets read in the very call that brings them: not one whose
    `send` makes that call at the other end.
    """

    def send(self, lane: Lane, data: bytes) -> None:
        """Send or drop, never wait; `ConnectionClosed` once the path is gone."""
        ...

    async def receive(self) -> bytes:
        """The next packet; `ConnectionClosed` once the path is gone and all has been read."""
        ...

    @property
    def buffered_amount(self) -> int:
        """Bytes handed to `send` that have not left this machine."""
        ...

    async def close(self) -> None:
        """Give the path up; safe to call twice."""
        ...


class Inbox:
    """A bounded queue of received packets for adapters; when full, the oldest packet gives way."""

    def __init__(self, limit: int = 1024) -> None:
        self._packets: deque[bytes] = deque()
        self._limit = limit
        self._wake = asyncio.Event()
        self._closed: ConnectionClosed | None = None
        self.overflowed = 0
        self.taker: Callable[[bytes], bool] | None = None  # takes packets at once; False: not now

    def put(self, data: bytes) -> None:
        """Add one packet."""
        if self._closed is not None:
            return
        if self.taker is not None and not self._packets and self.taker(data):
            return
        if len(self._packets) >= self._limit:
            self._packets.popleft()
            self.overflowed += 1
        self._packets.append(data)
        self._wake.set()

    def end(self, reason: str, code: int = CloseCode.LINK_LOST) -> None:
        """Nothing more will come."""
        self._closed = self._closed or ConnectionClosed(code, reason)
        self._wake.set()

    @property
    def ended(self) -> ConnectionClosed | None:
        """Why nothing more will come, once that is so."""
        return self._closed

    async def get(self) -> bytes:
        """The oldest packet, waiting for one if need be."""
        while not self._packets:
            if self._closed is not None:
                raise self._closed
            self._wake.clear()
            await self._wake.wait()
        return self._packets.popleft()


class ImpairedEndpoint:
    """Puts a `Link` or a `Route` in front of what an endpoint sends, in real time."""

    def __init__(self, endpoint: Endpoint, link: Link | Route) -> None:
        self._endpoint = endpoint
        self._link = link
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def send(self, lane: Lane, data: bytes) -> None:
        """Hand the packet to the link; it leaves when and if the link lets it."""
        loop = asyncio.get_running_loop()
        self._link.push(bytes([lane]) + data, loop.time())
        self._run()

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            for data in self._link.pop(loop.time()):
                self._endpoint.send(Lane(data[0]), data[1:])
        except ConnectionClosed:
            self._closed = True
        due = self._link.next_time()
        if due is not None and not self._closed:
            self._timer = loop.call_at(due, self._run)

    async def receive(self) -> bytes:
        """What the endpoint receives; impair the other end's sending to impair this."""
        return await self._endpoint.receive()

    @property
    def buffered_amount(self) -> int:
        """What the endpoint says; what the link holds counts as being on the network."""
        return self._endpoint.buffered_amount

    async def close(self) -> None:
        """Drop what the link still holds and close the endpoint."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._endpoint.close()
