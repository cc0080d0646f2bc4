"""Two endpoints in one process, joined back to back."""

from __future__ import annotations

from transport.adapters.endpoint import Inbox
from transport.lanes import Lane


class LoopbackEndpoint:
    """One end of a pair; what it sends is at once in the other's inbox."""

    def __init__(self, limit: int = 1024) -> None:
        self._inbox = Inbox(limit)
        self._peer: LoopbackEndpoint | None = None

    def join(self, peer: LoopbackEndpoint) -> None:
        """Make `peer` the other end of this one."""
        self._peer, peer._peer = peer, self

    def send(self, lane: Lane, data: bytes) -> None:
        """Deliver at once; lanes make no difference here."""
        if self._inbox.ended is not None:
            raise self._inbox.ended
        if self._peer is not None:
            self._peer._inbox.put(data)

    async def receive(self) -> bytes:
        """The next packet from the other end."""
        return await self._inbox.get()

    @property
    def buffered_amount(self) -> int:
        """Nothing is ever buffered on this side."""
        return 0

    async def close(self) -> None:
        """End both sides."""
        self._inbox.end("closed by us")
        if self._peer is not None:
            self._peer._inbox.end("closed by the other end")


def loopback_pair(limit: int = 1024) -> tuple[LoopbackEndpoint, LoopbackEndpoint]:
    """Two joined endpoints."""
    one, other = LoopbackEndpoint(limit), LoopbackEndpoint(limit)
    one.join(other)
    return one, other
