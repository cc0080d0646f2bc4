"""Endpoints by URL: the scheme picks the adapter, and other packages can add schemes.

    https://host/offer  webrtc://host:port     WebRTC            vidtok[edge]
    wss://host/session  ws://host:port         WebSocket         vidtok[edge]
    udp://host:port                            UDP, trusted LAN
    loopback://name                            within one event loop
    file://PATH.vtk                            replays a recording; connect only

A package adds a scheme with one class, an `Adapter`, and one entry point, named like the scheme:

    [project.entry-points."transport.adapters"]
    carrier-pigeon = "pigeons:PigeonAdapter"

Adapters are imported when their scheme is first used, so this module needs none of their packages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points
from typing import Protocol
from urllib.parse import urlsplit

from transport.adapters.endpoint import Endpoint
from transport.errors import LocalProtocolError, PeerError

GROUP = "transport.adapters"

OnEndpoint = Callable[[Endpoint], Awaitable[None]]


class Listener(Protocol):
    """The side that waits for others and hands each endpoint to `on_endpoint`, in a task of its own."""

    @property
    def port(self) -> int:
        """Where it listens once it has started; 0 where there are no ports."""
        ...

    @property
    def sessions(self) -> int:
        """Sessions that are open or opening."""
        ...

    async def start(self) -> None:
        """Listen; `PeerError` when that is not possible."""
        ...

    async def close(self) -> None:
        """End every session and stop listening."""
        ...


class Adapter(Protocol):
    """What a scheme stands for; made without arguments. What means nothing to it, it ignores."""

    async def connect(self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float) -> Endpoint:
        """Reach the listener at `url`; `PeerError` says what to do when that fails."""
        ...

    def listen(
        self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
    ) -> Listener:
        """A listener for `url`, not started yet."""
        ...


async def connect(
    url: str, *, token: str | None = None, ice_servers: Sequence[str] = (), timeout: float = 15.0
) -> Endpoint:
    """Reach the listener at `url`, or open the recording there."""
    return await adapter_for(url).connect(url, token=token, ice_servers=ice_servers, timeout=timeout)


def listen(
    url: str,
    on_endpoint: OnEndpoint,
    *,
    token: str | None = None,
    max_sessions: int = 8,
    ice_servers: Sequence[str] = (),
) -> Listener:
    """A listener for `url`; call `start` on it."""
    adapter = adapter_for(url)
    return adapter.listen(url, on_endpoint, token=token, max_sessions=max_sessions, ice_servers=ice_servers)


def adapter_for(url: str) -> Adapter:
    """The adapter of the URL's scheme; no package replaces one that is built in."""
    scheme = url.partition(":")[0].lower() if ":" in url else ""
    if scheme in _BUILT_IN:
        return _BUILT_IN[scheme]()
    for found in entry_points(group=GROUP, name=scheme):
        adapter: Adapter = found.load()()
        return adapter
    raise PeerError(
        f"no adapter for the scheme {scheme!r} of {url}: known are {', '.join(schemes())}; "
        f"a package adds one with an entry point of that name in the group {GROUP}"
    )


def schemes() -> list[str]:
    """Every scheme that can be used here."""
    return sorted(_BUILT_IN.keys() | entry_points(group=GROUP).names)


def host_and_port(url: str) -> tuple[str, int]:
    """The address in `url`, for adapters; `LocalProtocolError` unless it names both."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise LocalProtocolError(f"{url} names no host and port: write scheme://host:port")
    return host, port


def _webrtc() -> Adapter:
    from transport.adapters.webrtc import WebRtcAdapter

    return WebRtcAdapter()


def _websocket() -> Adapter:
    from transport.adapters.websocket import WebSocketAdapter

    return WebSocketAdapter()


def _udp() -> Adapter:
    from transport.adapters.udp import UdpAdapter

    return UdpAdapter()


def _loopback() -> Adapter:
    from transport.adapters.named_loopback import LoopbackAdapter

    return LoopbackAdapter()


def _replay() -> Adapter:
    from transport.adapters.replay import ReplayAdapter

    return ReplayAdapter()


_BUILT_IN: dict[str, Callable[[], Adapter]] = {
    "http": _webrtc,
    "https": _webrtc,
    "webrtc": _webrtc,
    "ws": _websocket,
    "wss": _websocket,
    "udp": _udp,
    "loopback": _loopback,
    "file": _replay,
}
