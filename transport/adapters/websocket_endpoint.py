"""An endpoint over one WebSocket: a binary message is a packet.

    send ──may_send──> queue ──writer task──> the stack's buffer ──> kernel ──> peer
                         └── buffered_amount ──┘

TCP delivers late rather than never, so what has not left is kept small: a delta that would wait behind others
is dropped here, and the kernel is told to hold little that is unsent, where it can be told.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress

try:
    import aiohttp
    from aiohttp import web
except ImportError as error:
    raise ImportError(f"WebSocket needs {error.name}: pip install 'vidtok[edge]'") from None

from transport.adapters.backlog import MAX_DELTA_BUFFERED, may_send
from transport.adapters.endpoint import Inbox
from transport.errors import ConnectionClosed
from transport.fields import MAX_PACKET
from transport.lanes import Lane
from transport.trace import Trace

MAX_MESSAGE = 16 * 1024
_GOODBYE = 1.0

WebSocket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


class WebSocketEndpoint:
    """One end of an open WebSocket; made by `connect` or by a listener."""

    def __init__(
        self,
        websocket: WebSocket,
        transport: asyncio.Transport,
        *,
        http: aiohttp.ClientSession | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.trace = trace or Trace(limit=256)
        self._websocket, self._transport, self._http = websocket, transport, http
        self.inbox = Inbox()
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        _hold_little(transport)
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())

    async def _read(self) -> None:
        try:
            while self.inbox.ended is None:
                self._take(await self._websocket.receive())
        finally:
            self._end("the WebSocket was closed")

    def _take(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.BINARY:
            self.inbox.put(message.data[: MAX_PACKET + 1])  # one byte too many: the session will name it
        elif message.type is aiohttp.WSMsgType.TEXT:
            self.trace.drop(asyncio.get_running_loop().time(), "text-message", size=len(message.data))
        elif message.type is aiohttp.WSMsgType.ERROR:
            self._end(f"the WebSocket failed: {message.data}")
        else:
            self._end("the WebSocket was closed")

    async def _write(self) -> None:
        try:
            while self._queue or self.inbox.ended is None:
                if self._queue:
                    await self._websocket.send_bytes(self._queue.popleft())
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except (ConnectionError, aiohttp.ClientError) as error:
            self._end(f"the WebSocket was lost: {str(error) or type(error).__name__}")

    def _end(self, reason: str) -> None:
        self.inbox.end(reason)
        self._wake.set()

    def send(self, lane: Lane, data: bytes) -> None:
        """Queue for the writer; a delta is dropped when the socket is already behind."""
        if self.inbox.ended is not None:
            raise self.inbox.ended
        try:
            wanted = may_send(lane, data, self.buffered_amount, self.trace, asyncio.get_running_loop().time())
        except ConnectionClosed as error:
            self._end(error.reason)
            raise
        if wanted:
            self._queue.append(data)
            self._wake.set()

    async def receive(self) -> bytes:
        """The next packet."""
        return await self.inbox.get()

    @property
    def buffered_amount(self) -> int:
        """Bytes that neither the writer nor the stack has sent yet."""
        left = 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()
        return sum(map(len, self._queue)) + left

    async def close(self) -> None:
        """Send what is queued, say goodbye and give up what the peer does not take; safe to call twice."""
        self._end("closed by us")
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

    async def _shut(self) -> None:
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._writer
                await self._websocket.close()
        except TimeoutError:
            self._queue.clear()
        finally:
            self._transport.abort()
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            if self._http is not None:
                await self._http.close()


def _hold_little(transport: asyncio.Transport) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # a kernel that cannot: its own buffer then holds more
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_DELTA_BUFFERED)
