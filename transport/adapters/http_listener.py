"""The HTTP under the WebRTC and WebSocket listeners: who is served, and for how long a slow client is borne.

accept ──read_timeout──> headers ──> admission ──read_timeout──> body ──> answer
            cut off                   401 403 429 503      408
"""

from __future__ import annotations

import asyncio
from functools import partial
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

try:
    from aiohttp import web
    from aiohttp.typedefs import Handler
except ImportError as error:
    raise ImportError(f"HTTP needs {error.name}: pip install 'vidtok[edge]'") from None

from transport.adapters.admission import Admission, Refusal, Sessions
from transport.adapters.registry import host_and_port
from transport.errors import LocalProtocolError, PeerError
from transport.trace import Trace

MAX_BODY = 64 * 1024
READ_TIMEOUT = 5.0
_IDLE = 30.0
_LINGER = 1.0  # for the rest of a refused body, so that the client still reads the answer


class HttpListener:
    """A server whose routes open sessions; `app` is the aiohttp application: add routes of your own before `start`.

    `admission` says who may come in; a route's handler is `guarded` by it, unless it is for everybody.
    """

    def __init__(
        self, host: str, port: int, admission: Admission, *, read_timeout: float, ssl: SSLContext | None
    ) -> None:
        self._host, self.port, self._ssl = host, port, ssl
        self.admission, self._read_timeout = admission, read_timeout
        self._sessions = Sessions()
        self._waiting: dict[object, asyncio.TimerHandle] = {}
        self._server: asyncio.Server | None = None
        self.app = web.Application(client_max_size=MAX_BODY, middlewares=[self._headers_came])
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            keepalive_timeout=max(_IDLE, read_timeout),
            lingering_time=_LINGER,
            shutdown_timeout=_LINGER,
        )

    @property
    def sessions(self) -> int:
        """Sessions that are open or opening."""
        return len(self._sessions)

    @property
    def trace(self) -> Trace:
        """Every refusal, under its reason."""
        return self.admission.trace

    async def start(self) -> None:
        """Listen; with port 0, `port` says afterwards which one it is."""
        await self._runner.setup()
        handshake: dict[str, Any] = {"ssl_handshake_timeout": self._read_timeout} if self._ssl else {}
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._accept, self._host, self.port, ssl=self._ssl, backlog=128, **handshake
            )
        except OSError as error:
            await self._runner.cleanup()
            raise PeerError(f"cannot listen on {self._host}:{self.port} ({error.strerror}): try another port") from None
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_accepting(self) -> None:
        """Let no further client in; those that are there go on."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """End every session and stop listening."""
        self.stop_accepting()
        await self._sessions.close()
        for timer in self._waiting.values():
            timer.cancel()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        connection = self._runner.server()
        cut_off = partial(self._cut_off, connection)
        self._waiting[connection] = asyncio.get_running_loop().call_later(self._read_timeout, cut_off)
        return connection

    def _cut_off(self, connection: web.RequestHandler) -> None:
        del self._waiting[connection]
        if connection.transport is not None:
            peer = connection.transport.get_extra_info("peername")
            self.admission.refused("slow-headers", peer[0] if peer else "?", asyncio.get_running_loop().time())
            connection.force_close()

    @web.middleware
    async def _headers_came(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        timer = self._waiting.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await handler(request)

    async def body(self, request: web.Request) -> str:
        """The request's text; 408 when it takes too long, 413 when it is too much."""
        try:
            async with asyncio.timeout(self._read_timeout):
                return await request.text()
        except TimeoutError:
            self._note(request, "slow-body")
            raise web.HTTPRequestTimeout(text="the body took too long") from None
        except web.HTTPRequestEntityTooLarge:
            self._note(request, "too-large")
            raise

    def guarded(self, handler: Handler) -> Handler:
        """The handler of a route, for those only whom the admission lets in: 401 or 403 for the others."""

        async def answer(request: web.Request) -> web.StreamResponse:
            refusal = self.identity(request)
            return await handler(request) if refusal is None else self.refuse(request, refusal)

        return answer

    def refuse(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Say no, and note why."""
        self._note(request, refusal.reason)
        return web.Response(status=refusal.status, text=refusal.text)

    def identity(self, request: web.Request) -> Refusal | None:
        """The admission's check of who asks."""
        headers = request.headers
        return self.admission.identity(headers.get("Authorization", ""), request.host, headers.get("Origin"))

    def room(self) -> Refusal | None:
        """The admission's check of rate and number."""
        return self.admission.room(self.sessions, asyncio.get_running_loop().time())

    def _note(self, request: web.Request, reason: str) -> None:
        self.admission.refused(reason, request.remote, asyncio.get_running_loop().time())


def with_path(url: str, default: str) -> str:
    """`url`, with a path if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # whoever connects to it says what is wrong
    return url if parts.path.strip("/") else parts._replace(path=default).geturl()


def listening_address(url: str, default_path: str) -> tuple[str, int, str]:
    """Host, port and path to listen on; a URL cannot name a certificate."""
    host, port = host_and_port(url)
    parts = urlsplit(with_path(url, default_path))
    if parts.scheme in ("https", "wss"):
        raise LocalProtocolError(
            f"{url} needs a certificate: make the listener yourself with ssl=, or put a proxy before it"
        )
    return host, port, parts.path
