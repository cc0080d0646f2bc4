"""UDP for a trusted LAN: a datagram is a packet, and with a token a tag says that it comes from somebody who has it.

    connect ──knock──> listener ──knock──> connect: the address is open, packets flow both ways
                          └── forgotten when nothing valid came for a minute

What it protects from: strangers, who can neither open a session nor slip a packet into one nor change one, since
they lack the token; datagrams sent back to where they came from; memory that grows with the number of addresses.

What it does not: nothing is encrypted, so whoever sees the network sees the packets. A datagram that was seen can
be sent again: an old knock or Hello opens a session (of `max_sessions`) from any address, and within a session only
the session's own rules tell an old packet from a new one. Tags have 64 bits and the token is the only secret: make it
a long, random one. Without a token only this machine is served and anybody on it may come in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from transport.adapters.registry import OnEndpoint, host_and_port
from transport.adapters.udp_endpoint import FROM_LISTENER, KNOCK, TO_LISTENER, Seal, UdpEndpoint
from transport.adapters.udp_listener import UdpListener
from transport.errors import PeerError, RemoteProtocolError
from transport.wire import Close, pull_packet

__all__ = ["UdpAdapter", "UdpEndpoint", "UdpListener", "connect"]

_KNOCK_INTERVAL = 0.25


class _Socket(asyncio.DatagramProtocol):
    """The connecting side's socket; the kernel lets in datagrams of the one peer only."""

    def __init__(self, token: str | None) -> None:
        self._seal = Seal(token, sends=TO_LISTENER, takes=FROM_LISTENER)
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.endpoint = UdpEndpoint(transport, self._seal, on_close=lambda _: transport.close())

    def datagram_received(self, data: bytes, _: Any) -> None:
        try:
            packet = self._seal.open(data)
        except RemoteProtocolError as flaw:
            self._drop(str(flaw), size=len(data))
            return
        self.endpoint.take(packet)
        if not self.answered.done():
            self.answered.set_result(packet)

    def error_received(self, error: Exception) -> None:
        self._drop("socket-error", error=str(error))  # nobody there yet, perhaps: the session's timers decide

    def connection_lost(self, _: Exception | None) -> None:
        self.endpoint.end("the socket was closed")

    def _drop(self, reason: str, **data: object) -> None:
        self.endpoint.trace.drop(asyncio.get_running_loop().time(), reason, **data)

    async def knock(self) -> bytes:
        """Knock until something valid comes back; that."""
        while not self.answered.done():
            self._transport.sendto(self._seal.close(KNOCK))
            await asyncio.wait({self.answered}, timeout=_KNOCK_INTERVAL)
        return self.answered.result()


async def connect(url: str, *, token: str | None = None, timeout: float = 15.0) -> UdpEndpoint:
    """Open a session with the listener at `url`; `PeerError` says what to do when that fails."""
    host, port = host_and_port(url)
    loop = asyncio.get_running_loop()
    opened: asyncio.DatagramTransport | None = None
    try:
        async with asyncio.timeout(timeout):
            opened, socket = await loop.create_datagram_endpoint(lambda: _Socket(token), remote_addr=(host, port))
            _check(url, await socket.knock())
        return socket.endpoint
    except BaseException as error:
        if opened is not None:
            opened.close()
        if isinstance(error, TimeoutError):
            what = "is it running, and is the token the same on both ends?"
            raise PeerError(f"{url} did not answer within {timeout:g} s: {what}") from None
        if isinstance(error, OSError):
            raise PeerError(f"{url} cannot be reached ({error.strerror}): is the address right?") from None
        raise


def _check(url: str, answer: bytes) -> None:
    """Raise if the first answer is a refusal; whatever else it is, the session will judge."""
    with suppress(RemoteProtocolError):
        if answer != KNOCK and isinstance(refusal := pull_packet(answer), Close):
            raise PeerError(f"{url} refused: {refusal.reason}")


class UdpAdapter:
    """`udp://host:port`."""

    async def connect(self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float) -> UdpEndpoint:
        """Open a session with the listener at `url`."""
        return await connect(url, token=token, timeout=timeout)

    def listen(
        self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
    ) -> UdpListener:
        """A listener for `url`."""
        host, port = host_and_port(url)
        return UdpListener(host, port, token=token, on_endpoint=on_endpoint, max_sessions=max_sessions)
