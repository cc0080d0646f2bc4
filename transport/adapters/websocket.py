"""WebSocket for both ends, where UDP is not let through: `connect` asks, `WebSocketListener` accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ssl import SSLContext
from typing import Any, NoReturn

from transport.adapters.admission import REFUSALS, bearer
from transport.adapters.http_listener import listening_address, with_path
from transport.adapters.registry import OnEndpoint
from transport.adapters.websocket_endpoint import MAX_MESSAGE, WebSocketEndpoint
from transport.adapters.websocket_listener import DEFAULT_PATH, WebSocketListener
from transport.errors import PeerError

import aiohttp  # isort: skip - after our own, which says what to install when it is missing

__all__ = ["WebSocketAdapter", "WebSocketEndpoint", "WebSocketListener", "connect"]


class _WebSocket(aiohttp.ClientWebSocketResponse):
    """Remembers the transport below it, whose write buffer the endpoint watches."""

    def __init__(
        self, reader: Any, writer: Any, protocol: Any, response: aiohttp.ClientResponse, *rest: Any, **more: Any
    ):
        super().__init__(reader, writer, protocol, response, *rest, **more)
        self.transport = response.connection.transport if response.connection else None
        if self.transport is None:
            raise aiohttp.ClientConnectionError("lost at once")


async def connect(
    url: str, *, token: str | None = None, timeout: float = 15.0, ssl: SSLContext | None = None
) -> WebSocketEndpoint:
    """Open a session with the listener at `url`; `PeerError` says what to do when that fails."""
    no_redirects = aiohttp.TraceConfig()
    no_redirects.on_request_redirect.append(_refuse_redirect)
    http = aiohttp.ClientSession(
        ws_response_class=_WebSocket, trace_configs=[no_redirects], timeout=aiohttp.ClientTimeout(total=None)
    )
    trusted: dict[str, Any] = {"ssl": ssl} if ssl is not None else {}
    try:
        async with asyncio.timeout(timeout):
            websocket: Any = await http.ws_connect(url, headers=bearer(token), max_msg_size=MAX_MESSAGE, **trusted)
        return WebSocketEndpoint(websocket, websocket.transport, http=http)
    except BaseException as error:
        await http.close()
        _explain(error, url, timeout)


def _explain(error: BaseException, url: str, timeout: float) -> NoReturn:
    """Raise what `error` means to somebody who wanted to connect."""
    if isinstance(error, TimeoutError):
        raise PeerError(f"{url} did not answer within {timeout:g} s: is the server running?") from None
    if isinstance(error, aiohttp.WSServerHandshakeError):
        raise PeerError(f"{url} {REFUSALS.get(error.status, f'answered {error.status}')}") from None
    if isinstance(error, aiohttp.ClientError | ValueError | OSError):
        raise PeerError(
            f"{url} cannot be reached ({str(error) or type(error).__name__}): is the server running?"
        ) from None
    raise error


async def _refuse_redirect(_: object, __: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
    redirect.response.close()
    raise PeerError(f"{redirect.url} answered {redirect.response.status}, a redirect: use the address it leads to")


class WebSocketAdapter:
    """`ws://host:port/path` and `wss://...`; without a path it is /session."""

    async def connect(
        self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float
    ) -> WebSocketEndpoint:
        """Open a session with the listener at `url`."""
        return await connect(with_path(url, DEFAULT_PATH), token=token, timeout=timeout)

    def listen(
        self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
    ) -> WebSocketListener:
        """A listener for `url`."""
        host, port, path = listening_address(url, DEFAULT_PATH)
        return WebSocketListener(host, port, token=token, on_endpoint=on_endpoint, max_sessions=max_sessions, path=path)
