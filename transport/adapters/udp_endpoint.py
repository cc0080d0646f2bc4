"""One UDP peer, and the tag by which both ends know each other's datagrams.

    with a token:  datagram = packet | HMAC-SHA256(token, direction | packet)[:8]
    without one:   datagram = packet

The direction keeps a datagram from being accepted by the end that sent it. A knock, which is no packet of any
version, opens an address at the listener, which answers with another.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

from transport.adapters.backlog import may_send
from transport.adapters.endpoint import Inbox
from transport.errors import ConnectionClosed, RemoteProtocolError
from transport.fields import MAX_PACKET
from transport.lanes import Lane
from transport.trace import Trace

TAG_BYTES = 8
KNOCK = b"\x00"
TO_LISTENER, FROM_LISTENER = b">", b"<"


class Seal:
    """Adds and checks tags; `sends` and `takes` are the directions of this end."""

    def __init__(self, token: str | None, sends: bytes, takes: bytes) -> None:
        self._key = (token or "").encode()
        self._sends, self._takes = sends, takes

    def close(self, packet: bytes) -> bytes:
        """The datagram that carries `packet`."""
        return packet + self._tag(self._sends, packet)

    def open(self, datagram: bytes) -> bytes:
        """The packet inside; `RemoteProtocolError` with the name of the flaw."""
        size = TAG_BYTES if self._key else 0
        if len(datagram) > MAX_PACKET + size:
            raise RemoteProtocolError("oversized")
        cut = max(0, len(datagram) - size)
        packet, tag = datagram[:cut], datagram[cut:]
        if not hmac.compare_digest(tag, self._tag(self._takes, packet)):
            raise RemoteProtocolError("wrong-tag")
        return packet

    def _tag(self, direction: bytes, packet: bytes) -> bytes:
        return hmac.digest(self._key, direction + packet, "sha256")[:TAG_BYTES] if self._key else b""


class UdpEndpoint:
    """One peer; made by `connect`, with a socket of its own, or by a listener, whose socket all its peers share."""

    def __init__(
        self,
        transport: Any,  # a DatagramTransport; typeshed does not know that it has a write buffer
        seal: Seal,
        address: Any = None,
        *,
        on_close: Callable[[UdpEndpoint], None],
        trace: Trace | None = None,
    ) -> None:
        self.trace = trace or Trace(limit=256)
        self.heard_at = asyncio.get_running_loop().time()
        self._transport, self._seal, self._address = transport, seal, address
        self._on_close = on_close
        self.inbox = Inbox()

    def take(self, packet: bytes) -> None:
        """A packet of this peer, its tag checked."""
        self.heard_at = asyncio.get_running_loop().time()
        if packet != KNOCK:
            self.inbox.put(packet)

    def end(self, reason: str) -> None:
        """Nothing more will come."""
        self.inbox.end(reason)

    def send(self, lane: Lane, data: bytes) -> None:
        """Send at once; a delta is dropped when the socket is already behind."""
        if self.inbox.ended is not None:
            raise self.inbox.ended
        try:
            wanted = may_send(lane, data, self.buffered_amount, self.trace, asyncio.get_running_loop().time())
        except ConnectionClosed as error:
            self.end(error.reason)
            raise
        if wanted:
            self._transport.sendto(self._seal.close(data), self._address)

    async def receive(self) -> bytes:
        """The next packet of this peer."""
        return await self.inbox.get()

    @property
    def buffered_amount(self) -> int:
        """Bytes that the socket has not taken yet, those of the listener's other peers among them."""
        return int(self._transport.get_write_buffer_size())

    async def close(self) -> None:
        """Forget the peer; safe to call twice."""
        self.end("closed by us")
        self._on_close(self)
