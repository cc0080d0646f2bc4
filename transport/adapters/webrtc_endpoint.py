"""An endpoint over two WebRTC data channels.

    control, anchor lanes ──> channel 0 "control": reliable, ordered
    delta lane            ──> channel 1 "delta": unordered, never retransmitted

Both channels are negotiated by number, so nothing is announced in band. What the stack has not sent yet
is watched: a delta that would wait behind others is dropped here instead, for the next one replaces it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import unquote

try:
    import aiohttp  # noqa: F401 - the two go together
    from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
    from aiortc.rtcicetransport import parse_stun_turn_uri
except ImportError as error:
    raise ImportError(f"WebRTC needs {error.name}: pip install 'vidtok[edge]'") from None

from transport.adapters.backlog import may_send
from transport.adapters.endpoint import Inbox
from transport.adapters.sacks import patient
from transport.errors import ConnectionClosed, LocalProtocolError
from transport.fields import MAX_PACKET
from transport.lanes import Lane
from transport.trace import Trace

_ICE_SERVER = re.compile(r"(?P<scheme>stuns?|turns?):(?:(?P<user>[^:@]+):(?P<password>[^@]+)@)?(?P<rest>[^@/\s]+)")
_HOW = "write stun:host:port or turn:user:password@host:port?transport=udp, with %40 for an @ in a password"


class WebRtcEndpoint:
    """One end of a peer connection; made by `connect` or by a listener."""

    def __init__(self, ice_servers: tuple[str, ...] = (), trace: Trace | None = None) -> None:
        servers = [ice_server(text) for text in ice_servers]
        self.trace = trace or Trace(limit=256)
        self.peer_connection: Any = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        make = self.peer_connection.createDataChannel
        self._control = make("control", negotiated=True, id=0)
        self._delta = make("delta", ordered=False, maxRetransmits=0, negotiated=True, id=1)
        patient(self.peer_connection.sctp)
        self.inbox = Inbox()
        self._settled = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        for channel in (self._control, self._delta):
            channel.on("open", self._on_channel_open)
            channel.on("message", self._on_message)
            channel.on("close", lambda: self._end("the data channel was closed"))
        self.peer_connection.on("connectionstatechange", self._on_state)

    async def opened(self) -> None:
        """Wait until both channels are open; `ConnectionClosed` when that fails."""
        await self._settled.wait()
        if self.inbox.ended is not None:
            raise self.inbox.ended

    def _on_channel_open(self) -> None:
        if self._control.readyState == self._delta.readyState == "open":
            self._settled.set()

    def _on_message(self, data: bytes | str) -> None:
        if isinstance(data, str):
            self.trace.drop(asyncio.get_running_loop().time(), "text-message", size=len(data))
        else:
            self.inbox.put(data[: MAX_PACKET + 1])  # one byte too many: the session will name it

    def _on_state(self) -> None:
        if self.peer_connection.connectionState in ("failed", "closed"):
            self._end(f"the peer connection {self.peer_connection.connectionState}")

    def _end(self, reason: str) -> None:
        self.inbox.end(reason)
        self._settled.set()

    def send(self, lane: Lane, data: bytes) -> None:
        """Send on the lane's channel; a delta is dropped when the stack is already behind."""
        if self.inbox.ended is not None:
            raise self.inbox.ended
        channel = self._delta if lane is Lane.DELTA else self._control
        now = asyncio.get_running_loop().time()
        try:
            wanted = may_send(lane, data, channel.bufferedAmount, self.trace, now)
        except ConnectionClosed as error:
            self._end(error.reason)
            raise
        if channel.readyState != "open":
            self.trace.drop(now, "channel-not-open", lane=lane.name.lower())
        elif wanted:
            channel.send(data)

    async def receive(self) -> bytes:
        """The next packet of either channel."""
        return await self.inbox.get()

    @property
    def buffered_amount(self) -> int:
        """Bytes that the stack has not sent yet."""
        return int(self._control.bufferedAmount + self._delta.bufferedAmount)

    async def close(self) -> None:
        """Close the peer connection; safe to call from several places at once."""
        self._end("closed by us")
        if self._closing is None:
            self._closing = asyncio.ensure_future(self.peer_connection.close())
        await asyncio.shield(self._closing)


def ice_server(text: str) -> Any:
    """What aiortc makes of a STUN or TURN server; `LocalProtocolError`, without the password, when it is malformed."""
    match = _ICE_SERVER.fullmatch(text)
    if match is None or match["scheme"].startswith("turn") != (match["user"] is not None):
        raise LocalProtocolError(f"an ICE server is malformed or lacks its credentials: {_HOW}")
    url = f"{match['scheme']}:{match['rest']}"
    try:
        parse_stun_turn_uri(url)
    except ValueError as error:
        raise LocalProtocolError(f"ICE server {url}: {error}: {_HOW}") from None
    if match["user"] is None:
        return RTCIceServer(urls=url)
    return RTCIceServer(urls=url, username=unquote(match["user"]), credential=unquote(match["password"]))
