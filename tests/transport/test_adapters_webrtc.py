"""Real WebRTC on localhost, between two processes, and everything that the listener refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiortc import RTCSessionDescription

from tests.transport.meeting import TOKEN, run
from tests.transport.toy import FeedbackReceived, ToySender, new_session
from transport import ConnectionClosed, Lane, LocalProtocolError, PeerError, Role
from transport.adapters.connection import Connection
from transport.adapters.webrtc import WebRtcEndpoint, WebRtcListener, connect
from transport.adapters.webrtc_endpoint import ice_server

ROOT = Path(__file__).parents[2]
SDP = {"Content-Type": "application/sdp"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def peer() -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-W", "error", "-m", "tests.transport.webrtc_peer", TOKEN]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}/offer"
    finally:
        process.kill()
        process.communicate()


async def drive(url: str) -> bytes:
    """Send a changing state, then wait until the peer's feedback says that it shows the last one."""
    endpoint = await connect(url, token=TOKEN)
    toy = ToySender(new_session(Role.SENDER, asyncio.get_running_loop().time()))
    async with Connection(toy.session, endpoint) as connection:

        async def frames() -> None:
            for step in range(60):
                toy.truth = bytes((i * step) % 251 for i in range(40)) + toy.truth[40:]
                toy.frame(connection.clock())
                connection.flush()
                await asyncio.sleep(0.02)

        sending = asyncio.create_task(frames())
        async for event in connection.events():
            toy.take([event])
            if sending.done():
                toy.frame(connection.clock())
                connection.flush()
            in_step = isinstance(event, FeedbackReceived) and event.feedback["shown"] == zlib.crc32(toy.truth)
            if sending.done() and in_step:
                break
        await sending
        assert toy.session.rtt is not None
        await connection.close(reason="done")
    return toy.truth


def test_two_processes_come_in_step(peer: tuple[subprocess.Popen[str], str]) -> None:
    process, url = peer
    truths: list[bytes] = []

    async def main() -> None:
        truths.append(await drive(url))

    run(main())
    assert process.stdout is not None
    shown = process.stdout.readline()
    assert shown.startswith(f"shown {zlib.crc32(truths[0])} "), shown
    assert "reason='done'" in shown
    _, errors = process.communicate(input="", timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_the_wrong_token_is_refused_with_words(peer: tuple[subprocess.Popen[str], str]) -> None:
    async def main() -> None:
        for token in (None, "wrong", TOKEN + "x", "tökén"):
            with pytest.raises(PeerError, match=r"/offer refused the token: check --token"):
                await connect(peer[1], token=token)

    run(main())


async def _ignore(endpoint: WebRtcEndpoint) -> None:
    await endpoint.receive()


async def _with_listener(test: Callable[[str, WebRtcListener], Awaitable[None]], **options: Any) -> None:
    listener = WebRtcListener(port=0, on_endpoint=_ignore, **({"token": TOKEN} | options))
    await listener.start()
    try:
        await test(f"http://127.0.0.1:{listener.port}/offer", listener)
    finally:
        await listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_public_host_needs_a_token(host: str) -> None:
    with pytest.raises(LocalProtocolError, match="set a token"):
        WebRtcListener(host, token="", on_endpoint=_ignore)


def test_bad_offers_are_refused() -> None:
    async def test(url: str, listener: WebRtcListener) -> None:
        async with aiohttp.ClientSession() as http:

            async def post(data: bytes, **headers: str) -> int:
                async with http.post(url, data=data, headers=SDP | BEARER | headers) as response:
                    return response.status

            assert await post(b"v=0", **{"Content-Type": "text/plain"}) == 415
            assert await post(b"v=0\r\n" * 20_000) == 413
            for body in (
                b"",
                b"hello",
                b"v=0\r\n",
                b"\xff\xfe\x00",
                b"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
            ):
                assert await post(body) == 400, body
        assert listener.sessions == 0

    run(_with_listener(test, offers_per_second=100.0))


def test_too_many_offers_and_sessions_are_refused() -> None:
    async def offers(url: str, listener: WebRtcListener) -> None:
        async with aiohttp.ClientSession() as http:
            statuses = []
            for _ in range(3):
                async with http.post(url, data=b"x", headers=SDP | BEARER) as response:
                    statuses.append(response.status)
        assert statuses[0] == 400
        assert 429 in statuses

    async def sessions(url: str, listener: WebRtcListener) -> None:
        first = await connect(url, token=TOKEN)
        with pytest.raises(PeerError, match="is full"):
            await connect(url, token=TOKEN)
        await first.close()

    run(_with_listener(offers, offers_per_second=1.0))
    run(_with_listener(sessions, max_sessions=1))


def test_without_a_token_only_local_names_are_served() -> None:
    async def test(url: str, listener: WebRtcListener) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=b"x", headers=SDP | {"Host": "evil.example"}) as response,
        ):
            assert response.status == 403

    run(_with_listener(test, token=None))


def test_nobody_there_is_said_in_one_line() -> None:
    async def main() -> None:
        with pytest.raises(PeerError, match=r"http://127.0.0.1:9/offer cannot be reached .* is the server running\?"):
            await connect("http://127.0.0.1:9/offer")

    run(main())


def test_a_delta_is_dropped_when_the_stack_is_behind() -> None:
    async def test(url: str, listener: WebRtcListener) -> None:
        endpoint = await connect(url, token=TOKEN)
        for _ in range(200):
            endpoint.send(Lane.DELTA, bytes(1100))
        assert endpoint.trace.dropped("stack-behind") > 100
        assert endpoint.buffered_amount < 200 * 1100
        await endpoint.close()
        with pytest.raises(ConnectionClosed):
            endpoint.send(Lane.DELTA, b"x")
        with pytest.raises(ConnectionClosed):
            await endpoint.receive()

    run(_with_listener(test))


def test_a_session_is_a_resource_that_can_be_deleted() -> None:
    ended: list[str] = []

    async def serve(endpoint: WebRtcEndpoint) -> None:
        try:
            await endpoint.receive()
        except ConnectionClosed as error:
            ended.append(error.reason)

    async def main() -> None:
        listener = WebRtcListener(port=0, token=TOKEN, on_endpoint=serve)
        await listener.start()
        base = f"http://127.0.0.1:{listener.port}"
        endpoint = WebRtcEndpoint()
        peer = endpoint.peer_connection
        await peer.setLocalDescription(await peer.createOffer())
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{base}/offer", data=peer.localDescription.sdp, headers=SDP | BEARER) as response:
                assert response.status == 201
                place = response.headers["Location"]
                await peer.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
            assert place.startswith("/offer/")
            await endpoint.opened()

            async def delete(path: str, **headers: str) -> int:
                async with http.delete(base + path, headers=headers) as response:
                    return response.status

            assert await delete(place) == 401
            assert await delete(place + "x", **BEARER) == 404
            assert listener.sessions == 1
            assert await delete(place, **BEARER) == 200
            while listener.sessions:
                await asyncio.sleep(0.005)
            assert await delete(place, **BEARER) == 404
        assert ended == ["closed by us"]
        assert listener.trace.drops() == {"wrong-token": 1, "unknown-session": 2}
        await endpoint.close()
        await listener.close()

    run(main())


def test_ice_servers_and_their_credentials() -> None:
    plain = ice_server("stun:stun.example.org:3478")
    assert (plain.urls, plain.username, plain.credential) == ("stun:stun.example.org:3478", None, None)
    turn = ice_server("turn:me:p%40ss:word@turn.example.org:3478?transport=tcp")
    assert turn.urls == "turn:turn.example.org:3478?transport=tcp"
    assert (turn.username, turn.credential) == ("me", "p@ss:word")
    assert ice_server("turns:u:p@host").urls == "turns:host"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host:3478",
        "http://host",
        "stun:",
        "stun:u:secret@host",
        "stun:host?transport=udp",
        "turn:host:3478",
        "turn:secret@host",
        "turn::secret@host",
        "turn:u:@host",
        "turn:u:se@cret@host",
        "turn:u:secret@",
        "turn:u:secret@host:port",
    ],
)
def test_a_malformed_ice_server_is_said_without_its_password(text: str) -> None:
    for make in (
        lambda: WebRtcEndpoint((text,)),
        lambda: WebRtcListener(token=None, on_endpoint=_ignore, ice_servers=[text]),
    ):
        with pytest.raises(LocalProtocolError, match=r"write stun:host:port or turn:user:password@host") as caught:
            make()
        assert "secret" not in str(caught.value)
