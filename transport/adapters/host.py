"""Sessions by their id: a new path either begins one, or goes on with one whose own path is gone.

endpoint ──first packet: Hello of a session that is here──> that session's connection, attached
         ──────────── any other greeting ─────────────────> a new session and connection ──> serve
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint
from transport.errors import RemoteProtocolError
from transport.session import Session
from transport.states import State
from transport.wire import CloseCode, Hello, pull_packet

_GREETING_WITHIN = 10.0


class Host:
    """`accept` is what a listener's `on_endpoint` wants; `make` gives a receiving session for as long as it is served.

    Whoever knows a session's id, 16 random bytes that only its two ends have seen, may go on with it.
    """

    def __init__(
        self, make: Callable[[], AbstractContextManager[Session]], serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._make, self._serve = make, serve
        self._connections: dict[bytes, Connection] = {}

    async def accept(self, endpoint: Endpoint) -> None:
        """Serve one endpoint for as long as it is in use."""
        async with asyncio.timeout(_GREETING_WITHIN):
            first = await endpoint.receive()
        hello = _greeting(first)
        known = self._connections.get(hello.session_id) if hello is not None and hello.resumed else None
        if known is not None and known.session.state in (State.OPEN, State.SUSPENDED):
            await known.attach(endpoint, [first])
            await known.left(endpoint)
        else:
            await self._begin(endpoint, first, hello)

    async def _begin(self, endpoint: Endpoint, first: bytes, hello: Hello | None) -> None:
        session_id = hello.session_id if hello is not None and hello.session_id not in self._connections else None
        with self._make() as session:
            connection = Connection(session, endpoint)
            if session_id is not None:
                self._connections[session_id] = connection
            try:
                connection.start([first])
                await self._serve(connection)
            finally:
                if session_id is not None:
                    del self._connections[session_id]
                await connection.close(CloseCode.GOING_AWAY)


def _greeting(data: bytes) -> Hello | None:
    try:
        packet = pull_packet(data)
    except RemoteProtocolError:
        return None
    return packet if isinstance(packet, Hello) else None
