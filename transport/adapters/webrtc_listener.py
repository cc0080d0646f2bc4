"""The answering side of WebRTC: one HTTP exchange per session.

POST /offer        Content-Type: application/sdp, Authorization: Bearer TOKEN, body: the offer
201                the answer, Location: /offer/ID   (as in WHIP; candidates are all in the descriptions)
400 bad offer  401 token  403 host  408 too slow  413 too large  415 wrong type  429 too many offers  503 full

DELETE /offer/ID   Authorization: Bearer TOKEN; ends the session: 200, or 404 when there is none
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext

from transport.adapters.admission import Admission, Refusal
from transport.adapters.http_listener import MAX_BODY, READ_TIMEOUT, HttpListener
from transport.adapters.webrtc_endpoint import WebRtcEndpoint, ice_server

from aiohttp import web  # isort: skip - after our own, which says what to install when it is missing
from aiortc import RTCSessionDescription  # isort: skip

__all__ = ["DEFAULT_PATH", "MAX_BODY", "WebRtcListener"]

DEFAULT_PATH = "/offer"
_SDP = "application/sdp"
_WRONG_TYPE = Refusal(415, "wrong-type", f"send the offer as {_SDP}")
_UNKNOWN = Refusal(404, "unknown-session", "no such session")


class WebRtcListener(HttpListener):
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
        read_timeout: float = READ_TIMEOUT,
        path: str = DEFAULT_PATH,
        ssl: SSLContext | None = None,
    ) -> None:
        admission = Admission(host, token=token, max_sessions=max_sessions, offers_per_second=offers_per_second)
        super().__init__(host, port, admission, read_timeout=read_timeout, ssl=ssl)
        self._on_endpoint, self._open_timeout, self._path = on_endpoint, open_timeout, path
        self._ice_servers = tuple(ice_servers)
        for server in self._ice_servers:
            ice_server(server)
        self._endpoints: dict[str, WebRtcEndpoint] = {}
        self.app.router.add_post(path, self.guarded(self._answer))
        self.app.router.add_delete(f"{path}/{{session}}", self.guarded(self._delete))

    async def _answer(self, request: web.Request) -> web.Response:
        refusal = self.room() if request.content_type == _SDP else _WRONG_TYPE
        if refusal is not None:
            return self.refuse(request, refusal)
        with self._sessions.opening():
            try:
                endpoint, answer = await self._negotiate(await self.body(request))
            except web.HTTPException:
                raise
            except Exception as error:  # whatever the SDP parser makes of a stranger's bytes
                text = f"not a usable offer: {type(error).__name__}"
                return self.refuse(request, Refusal(400, "unusable-offer", text))
        name = secrets.token_urlsafe(16)
        self._endpoints[name] = endpoint
        task = self._sessions.start(endpoint, self._serve)
        task.add_done_callback(lambda _: self._endpoints.pop(name))
        headers = {"Location": f"{self._path}/{name}"}
        return web.Response(status=201, text=answer, content_type=_SDP, headers=headers)

    async def _negotiate(self, offer: str) -> tuple[WebRtcEndpoint, str]:
        endpoint = WebRtcEndpoint(self._ice_servers)
        try:
            async with asyncio.timeout(self._open_timeout):
                return endpoint, await _describe(endpoint, offer)
        except BaseException:
            await endpoint.close()
            raise

    async def _serve(self, endpoint: WebRtcEndpoint) -> None:
        async with asyncio.timeout(self._open_timeout):
            await endpoint.opened()
        await self._on_endpoint(endpoint)

    async def _delete(self, request: web.Request) -> web.Response:
        endpoint = self._endpoints.get(request.match_info["session"])
        if endpoint is None:
            return self.refuse(request, _UNKNOWN)
        await endpoint.close()
        return web.Response(text="ended")


async def _describe(endpoint: WebRtcEndpoint, offer: str) -> str:
    """Take the offer; the answer to it."""
    peer = endpoint.peer_connection
    await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    if peer.sctp is None or "m=application" not in offer:
        raise ValueError("no data channel")
    await peer.setLocalDescription(await peer.createAnswer())
    return str(peer.localDescription.sdp)
