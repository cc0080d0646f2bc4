"""The answering side of WebRTC: one HTTP exchange per session.

POST /offer   Content-Type: application/sdp, Authorization: Bearer TOKEN, body: the offer
201           the answer          (as in WHIP; candidates are all in the descriptions)
400 bad offer  401 token  403 host  413 too large  415 wrong type  429 too many offers  503 full
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from transport.adapters.webrtc_endpoint import WebRtcEndpoint
from transport.errors import ConnectionClosed, LocalProtocolError, PeerError

from aiohttp import web  # isort: skip - after our own, which says what to install when it is missing
from aiortc import RTCSessionDescription  # isort: skip

MAX_BODY = 64 * 1024
_SDP = "application/sdp"
_log = logging.getLogger(__name__)


class WebRtcListener:
    """Answers offers over HTTP and hands each opened endpoint to `on_endpoint`, in a task of its own.

    `app` is the aiohttp application: add routes of your own before `start`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        token: str | None,
        on_endpoint: Callable[[WebRtcEndpoint], Awaitable[None]],
        max_sessions: int = 8,
        offers_per_second: float = 5.0,
        ice_servers: Sequence[str] = (),
        open_timeout: float = 15.0,
    ) -> None:
        if not token and not _is_loopback(host):
            raise LocalProtocolError(f"listening on {host} lets others in: set a token, or listen on 127.0.0.1")
        self._host, self.port, self._token = host, port, token
        self._on_endpoint, self._ice_servers = on_endpoint, tuple(ice_servers)
        self._max_sessions, self._open_timeout = max_sessions, open_timeout
        self._offers_per_second = self._offers_left = offers_per_second
        self._offered_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering = 0
        self._runner: web.AppRunner | None = None
        self.app = web.Application(client_max_size=MAX_BODY)
        self.app.router.add_post("/offer", self._answer)

    @property
    def sessions(self) -> int:
        """Sessions that are open or opening."""
        return len(self._tasks) + self._answering

    async def start(self) -> None:
        """Listen; with port 0, `port` says afterwards which one it is."""
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise PeerError(f"cannot listen on {self._host}:{self.port} ({error.strerror}): try another port") from None
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """End every session and stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        self._answering += 1
        endpoint = WebRtcEndpoint(self._ice_servers)
        try:
            async with asyncio.timeout(self._open_timeout):
                answer = await self._negotiate(endpoint, await request.text())
        except web.HTTPException:
            await endpoint.close()
            raise
        except asyncio.CancelledError:
            await endpoint.close()
            raise
        except Exception as error:  # whatever the SDP parser makes of a stranger's bytes
            await endpoint.close()
            return web.Response(status=400, text=f"not a usable offer: {type(error).__name__}")
        finally:
            self._answering -= 1
        task = asyncio.create_task(self._serve(endpoint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.Response(status=201, text=answer, content_type=_SDP)

    async def _negotiate(self, endpoint: WebRtcEndpoint, offer: str) -> str:
        peer = endpoint.peer_connection
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        if peer.sctp is None or "m=application" not in offer:
            raise ValueError("no data channel")
        await peer.setLocalDescription(await peer.createAnswer())
        return str(peer.localDescription.sdp)

    def _refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {self._token}"
        if self._token and not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
            return web.Response(status=401, text="wrong or missing token")
        if not self._token and not _is_loopback(_host_name(request.host)):
            return web.Response(status=403, text="only local host names without a token")
        if request.content_type != _SDP:
            return web.Response(status=415, text=f"send the offer as {_SDP}")
        if not self._take_offer():
            return web.Response(status=429, text="too many offers")
        if self.sessions >= self._max_sessions:
            return web.Response(status=503, text="no session free")
        return None

    def _take_offer(self) -> bool:
        now = asyncio.get_running_loop().time()
        refill = (now - self._offered_at) * self._offers_per_second
        self._offers_left = min(max(1.0, self._offers_per_second), self._offers_left + refill)
        self._offered_at = now
        self._offers_left -= (taken := self._offers_left >= 1)
        return taken

    async def _serve(self, endpoint: WebRtcEndpoint) -> None:
        try:
            async with asyncio.timeout(self._open_timeout):
                await endpoint.opened()
            await self._on_endpoint(endpoint)
        except (TimeoutError, ConnectionClosed) as error:
            _log.info("a session ended: %s", error or "it never opened")
        except Exception:
            _log.exception("a session failed")
        finally:
            await endpoint.close()


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
