"""WebRTC for both ends: `connect` offers, `WebRtcListener` answers, one HTTP exchange apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from transport.adapters.admission import REFUSALS, bearer
from transport.adapters.http_listener import listening_address, with_path
from transport.adapters.registry import OnEndpoint
from transport.adapters.webrtc_endpoint import WebRtcEndpoint
from transport.adapters.webrtc_listener import DEFAULT_PATH, MAX_BODY, WebRtcListener
from transport.errors import ConnectionClosed, PeerError

import aiohttp  # isort: skip - after our own, which says what to install when it is missing
from aiortc import RTCSessionDescription  # isort: skip

__all__ = ["WebRtcAdapter", "WebRtcEndpoint", "WebRtcListener", "connect"]

_SDP = "application/sdp"


async def connect(
    url: str, *, token: str | None = None, ice_servers: Sequence[str] = (), timeout: float = 15.0
) -> WebRtcEndpoint:
    """Offer a session to the listener at `url`; `PeerError` says what to do when that fails."""
    endpoint = WebRtcEndpoint(tuple(ice_servers))
    try:
        async with asyncio.timeout(timeout):
            await _offer(endpoint, url, token)
            await endpoint.opened()
    except TimeoutError:
        await endpoint.close()
        raise PeerError(f"{url} did not connect within {timeout:g} s: is UDP let through between you?") from None
    except ConnectionClosed as error:
        await endpoint.close()
        raise PeerError(f"{url}: {error.reason}: is UDP let through between you?") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        await endpoint.close()
        raise PeerError(
            f"{url} cannot be reached ({str(error) or type(error).__name__}): is the server running?"
        ) from None
    except BaseException:
        await endpoint.close()
        raise
    return endpoint


async def _offer(endpoint: WebRtcEndpoint, url: str, token: str | None) -> None:
    peer = endpoint.peer_connection
    await peer.setLocalDescription(await peer.createOffer())
    headers = {"Content-Type": _SDP} | bearer(token)
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=peer.localDescription.sdp, headers=headers, allow_redirects=False) as response,
    ):
        answer = (await _body(response)).decode("utf-8", "replace")
        if response.status != 201:
            what = REFUSALS.get(response.status, f"answered {response.status}: {answer[:200].strip()}")
            raise PeerError(f"{url} {what}")
    try:
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    except Exception as error:  # whatever the SDP parser makes of a stranger's bytes
        raise PeerError(f"{url} answered with no usable description ({type(error).__name__})") from None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole answer, up to a limit, however it is cut into pieces."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_BODY:
            raise PeerError(f"{response.url} answered with more than {MAX_BODY} bytes")
    return body


class WebRtcAdapter:
    """`http://host:port/path`, `https://...`, and `webrtc://` for the former; without a path it is /offer."""

    async def connect(
        self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float
    ) -> WebRtcEndpoint:
        """Offer a session to the listener at `url`."""
        return await connect(_http(url), token=token, ice_servers=ice_servers, timeout=timeout)

    def listen(
        self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
    ) -> WebRtcListener:
        """A listener for `url`."""
        host, port, path = listening_address(_http(url), DEFAULT_PATH)
        return WebRtcListener(
            host,
            port,
            token=token,
            on_endpoint=on_endpoint,
            max_sessions=max_sessions,
            ice_servers=ice_servers,
            path=path,
        )


def _http(url: str) -> str:
    scheme, _, rest = url.partition(":")
    return with_path(f"http:{rest}" if scheme.lower() == "webrtc" else url, DEFAULT_PATH)
