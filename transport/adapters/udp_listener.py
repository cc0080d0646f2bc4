"""The listening side of UDP: one socket, one endpoint a peer address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from transport.adapters.admission import NO_SESSION_FREE, Admission, Sessions
from transport.adapters.udp_endpoint import FROM_LISTENER, KNOCK, TO_LISTENER, Seal, UdpEndpoint
from transport.errors import PeerError, RemoteProtocolError
from transport.trace import Trace
from transport.wire import Close, CloseCode, Hello, pull_packet, push_packet

_FULL = push_packet(Close(CloseCode.BUSY, NO_SESSION_FREE.text))


class UdpListener(asyncio.DatagramProtocol):
    """Hands each new peer to `on_endpoint`, in a task of its own; forgets addresses that are silent."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        token: str | None,
        on_endpoint: Callable[[UdpEndpoint], Awaitable[None]],
        max_sessions: int = 8,
        offers_per_second: float = 5.0,
        idle_timeout: float = 60.0,
    ) -> None:
        self._admission = Admission(host, token=token, max_sessions=max_sessions, offers_per_second=offers_per_second)
        self._host, self.port, self._on_endpoint = host, port, on_endpoint
        self._idle_timeout = idle_timeout
        self._seal = Seal(token, sends=FROM_LISTENER, takes=TO_LISTENER)
        self._sessions = Sessions()
        self._peers: dict[Any, UdpEndpoint] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    @property
    def trace(self) -> Trace:
        """Every refused or dropped datagram, under its reason."""
        return self._admission.trace

    async def start(self) -> None:
        """Listen; with port 0, `port` says afterwards which one it is."""
        loop = asyncio.get_running_loop()
        try:
            address = (self._host, self.port)
            transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)
        except OSError as error:
            raise PeerError(f"cannot listen on {self._host}:{self.port} ({error.strerror}): try another port") from None
        self.port = transport.get_extra_info("sockname")[1]
        self._sweep()

    async def close(self) -> None:
        """End every session and stop listening."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        await self._sessions.close()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """Asyncio's call: the socket is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Check the tag, then give the packet to the address's endpoint, or see whether to make one."""
        try:
            packet = self._seal.open(data)
        except RemoteProtocolError as flaw:
            self._refused(str(flaw), address)
            return
        if address not in self._peers and not self._let_in(packet, address):
            return
        self._peers[address].take(packet)
        if packet == KNOCK:
            self._answer(KNOCK, address)

    def _let_in(self, packet: bytes, address: Any) -> bool:
        """Make the endpoint of a new address: only a knock or a Hello does."""
        if packet != KNOCK and not _is_hello(packet):
            self._refused("unknown-address", address)
            return False
        refusal = self._admission.room(self.sessions, asyncio.get_running_loop().time())
        if refusal is not None:
            self._refused(refusal.reason, address)
            if refusal is NO_SESSION_FREE:
                self._answer(_FULL, address)
            return False
        endpoint = UdpEndpoint(self._transport, self._seal, address, on_close=partial(self._forget, address))
        self._peers[address] = endpoint
        self._sessions.start(endpoint, self._on_endpoint)
        return True

    def _forget(self, address: Any, endpoint: UdpEndpoint) -> None:
        if self._peers.get(address) is endpoint:
            del self._peers[address]

    def _answer(self, packet: bytes, address: Any) -> None:
        if self._transport is not None:
            self._transport.sendto(self._seal.close(packet), address)

    def _refused(self, reason: str, address: Any) -> None:
        self._admission.refused(reason, f"{address[0]}:{address[1]}", asyncio.get_running_loop().time())

    def error_received(self, error: Exception) -> None:
        """A peer's machine said that nobody takes our datagrams; its silence will tell."""
        self.trace.drop(asyncio.get_running_loop().time(), "socket-error", error=str(error))

    def _sweep(self) -> None:
        """Forget the addresses that have been silent for too long, now and again and again."""
        loop = asyncio.get_running_loop()
        for address, endpoint in list(self._peers.items()):
            if loop.time() - endpoint.heard_at > self._idle_timeout:
                endpoint.end(f"nothing came for {self._idle_timeout:g} s")
                self._forget(address, endpoint)
                self.trace.add(loop.time(), "forgotten", peer=f"{address[0]}:{address[1]}")
        self._sweep_timer = loop.call_later(self._idle_timeout / 4, self._sweep)


def _is_hello(packet: bytes) -> bool:
    try:
        return isinstance(pull_packet(packet), Hello)
    except RemoteProtocolError:
        return False
