"""The answering side of WebSocket: an upgrade per session, under the rules of the WebRTC listener.

GET /session   Upgrade: websocket, Authorization: Bearer TOKEN
101            packets both ways
401 token  403 host or page  426 no WebSocket  429 too many offers  503 full
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ssl import SSLContext

from transport.adapters.admission import Admission, Refusal
from transport.adapters.http_listener import READ_TIMEOUT, HttpListener
from transport.adapters.websocket_endpoint import MAX_MESSAGE, WebSocketEndpoint

from aiohttp import web  # isort: skip - after our own, which says what to install when it is missing

DEFAULT_PATH = "/session"
_CLOSE_TIMEOUT = 1.0
_NO_WEBSOCKET = Refusal(426, "wrong-type", "this path speaks WebSocket")


class WebSocketListener(HttpListener):
    """Accepts WebSockets and hands each to `on_endpoint`, in a task of its own.

    `app` is the aiohttp application: add routes of your own before `start`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        token: str | None,
        on_endpoint: Callable[[WebSocketEndpoint], Awaitable[None]],
        max_sessions: int = 8,
        offers_per_second: float = 5.0,
        open_timeout: float = 15.0,
        read_timeout: float = READ_TIMEOUT,
        path: str = DEFAULT_PATH,
        ssl: SSLContext | None = None,
    ) -> None:
        admission = Admission(host, token=token, max_sessions=max_sessions, offers_per_second=offers_per_second)
        super().__init__(host, port, admission, read_timeout=read_timeout, ssl=ssl)
        self._on_endpoint, self._open_timeout = on_endpoint, open_timeout
        self.app.router.add_get(path, self.guarded(self._answer))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse(timeout=_CLOSE_TIMEOUT, max_msg_size=MAX_MESSAGE, compress=False)
        refusal = self.room() if websocket.can_prepare(request).ok else _NO_WEBSOCKET
        if refusal is not None:
            return self.refuse(request, refusal)
        with self._sessions.opening():
            async with asyncio.timeout(self._open_timeout):
                await websocket.prepare(request)
        if request.transport is not None:
            endpoint = WebSocketEndpoint(websocket, request.transport)
            await asyncio.wait({self._sessions.start(endpoint, self._on_endpoint)})
        return websocket
