"""What strangers try: floods, slow clients, text, giants; each is refused under a name, and the log stays short."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress

import aiohttp
import pytest

from tests.transport.meeting import TOKEN, UPGRADE, Meeting, listening, run, until
from tests.transport.toy import new_session
from transport import MAX_PACKET, CloseCode, Closed, ConnectionClosed, Role
from transport.adapters.admission import Admission, Bucket
from transport.adapters.connection import Connection
from transport.adapters.http_listener import MAX_BODY, HttpListener
from transport.adapters.webrtc import WebRtcListener
from transport.adapters.websocket import WebSocketEndpoint, WebSocketListener
from transport.adapters.websocket_endpoint import MAX_MESSAGE

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = {WebRtcListener: "/offer", WebSocketListener: "/session"}
both = pytest.mark.parametrize("kind", [WebRtcListener, WebSocketListener])
Kind = type[WebRtcListener] | type[WebSocketListener]


async def knock(http: aiohttp.ClientSession, kind: Kind, port: int, headers: dict[str, str]) -> int:
    """One offer, and the status it gets."""
    url = f"http://127.0.0.1:{port}{PATHS[kind]}"
    if kind is WebRtcListener:
        async with http.post(url, data=b"x", headers=headers | {"Content-Type": "application/sdp"}) as response:
            return response.status
    try:
        async with http.ws_connect(url, headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


async def flood(kind: Kind, listener: HttpListener, headers: dict[str, str]) -> Counter[int]:
    """A thousand offers, as fast as they go."""
    statuses: Counter[int] = Counter()
    async with (
        listening(listener) as port,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):

        async def some() -> None:
            for _ in range(50):
                statuses[await knock(http, kind, port, headers)] += 1

        await asyncio.gather(*(some() for _ in range(20)))
    return statuses


@both
def test_a_thousand_offers_get_one_answer_and_a_few_lines_of_log(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transport")
    first = {WebRtcListener: 400, WebSocketListener: 101}[kind]

    async def main() -> None:
        listener = kind(port=0, token=TOKEN, on_endpoint=Meeting(), offers_per_second=0.001)
        assert await flood(kind, listener, BEARER) == {first: 1, 429: 999}
        assert listener.trace.dropped("too-many-offers") == 999

    run(main())
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert "refused 127.0.0.1: too-many-offers" in lines
    assert len(lines) < 50


@both
def test_a_thousand_guesses_at_the_token_do_not_lock_its_owner_out(kind: Kind) -> None:
    async def main() -> None:
        listener = kind(port=0, token=TOKEN, on_endpoint=Meeting(), offers_per_second=0.001)
        assert await flood(kind, listener, {"Authorization": "Bearer wrong"}) == {401: 1000}
        assert listener.trace.drops() == {"wrong-token": 1000}
        listener = kind(port=0, token=TOKEN, on_endpoint=Meeting(), offers_per_second=1.0)
        async with listening(listener) as port, aiohttp.ClientSession() as http:
            for headers in ({}, {"Authorization": TOKEN}, {"Authorization": f"bearer {TOKEN}"}):
                assert await knock(http, kind, port, headers) == 401
            assert await knock(http, kind, port, BEARER) in (101, 400)

    run(main())


def test_a_bucket_lets_a_burst_and_then_its_rate_through() -> None:
    bucket = Bucket(5.0, 5.0)
    assert sum(bucket.take(100.0 + i / 1000) for i in range(1000)) == 9
    assert sum(bucket.take(1000.0) for _ in range(1000)) == 5
    slow = Bucket(0.5, 1.0)
    assert [slow.take(now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [True, False, True, False, True]


def test_the_log_counts_what_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transport")
    admission = Admission("localhost", token=None, max_sessions=1, offers_per_second=1.0)
    for _ in range(1000):
        admission.refused("wrong-tag", "192.0.2.1:9", 50.0)
    assert len(caplog.records) == 10
    admission.refused("wrong-tag", "192.0.2.1:9", 60.0)
    assert caplog.records[-1].getMessage() == "refused 192.0.2.1:9: wrong-tag (990 more were not logged)"
    assert admission.trace.dropped("wrong-tag") == 1001


async def drip(port: int, head: bytes, drop: bytes) -> bytes:
    """Send `head`, then `drop` again and again until the server hangs up; what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    said = b""

    async def hear() -> None:
        nonlocal said
        with suppress(ConnectionError):
            while piece := await reader.read(1000):
                said += piece

    hearing = asyncio.create_task(hear())
    while not hearing.done():
        writer.write(drop)
        await asyncio.wait({hearing}, timeout=0.01)
    writer.close()
    return said


@both
def test_a_client_that_drips_its_headers_is_cut_off(kind: Kind) -> None:
    async def main() -> None:
        listener = kind(port=0, token=TOKEN, on_endpoint=Meeting(), read_timeout=0.1)
        async with listening(listener) as port:
            assert await drip(port, b"", b"") == b""
            assert await drip(port, f"POST {PATHS[kind]} HTTP/1.1\r\nX-Slow: ".encode(), b"x") == b""
            assert await drip(port, b"G", b"") == b""
        assert listener.trace.drops() == {"slow-headers": 3}

    run(main())


def test_a_client_that_drips_its_body_is_cut_off_and_holds_no_session() -> None:
    async def main() -> None:
        listener = WebRtcListener(port=0, token=TOKEN, on_endpoint=Meeting(), read_timeout=0.5, max_sessions=1)
        head = (
            f"POST /offer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: application/sdp\r\nContent-Length: 60000\r\n\r\n"
        )
        async with listening(listener) as port:
            assert (await drip(port, head.encode(), b"v")).startswith(b"HTTP/1.1 408 ")
            assert listener.sessions == 0
        assert listener.trace.drops() == {"slow-body": 1}

    run(main())


@both
def test_a_dripping_body_of_a_refused_request_is_cut_off(kind: Kind) -> None:
    async def main() -> None:
        listener = kind(port=0, token=TOKEN, on_endpoint=Meeting())
        method = "POST" if kind is WebRtcListener else "GET"
        head = f"{method} {PATHS[kind]} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
        async with listening(listener) as port:
            assert (await drip(port, head.encode(), b"v")).startswith(b"HTTP/1.1 401 ")

    run(main())


def test_a_body_that_is_too_large_is_refused() -> None:
    async def main() -> None:
        listener = WebRtcListener(port=0, token=None, on_endpoint=Meeting())
        async with listening(listener) as port, aiohttp.ClientSession() as http:
            url, headers = f"http://127.0.0.1:{port}/offer", {"Content-Type": "application/sdp"}
            async with http.post(url, data=bytes(MAX_BODY + 1), headers=headers) as response:
                assert response.status == 413
        assert listener.trace.drops() == {"too-large": 1}
        assert listener.sessions == 0

    run(main())


def test_close_does_not_wait_for_slow_clients() -> None:
    async def main() -> None:
        listener = WebSocketListener(port=0, token=None, on_endpoint=Meeting(), read_timeout=3600.0)
        async with listening(listener) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /session HTTP/1.1\r\nX-Slow: ")
            await until(lambda: listener.app.frozen)
        assert await reader.read() == b""
        writer.close()

    run(main())


def test_text_is_dropped_and_large_messages_are_cut_for_the_session_to_name() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = WebSocketListener(port=0, token=None, on_endpoint=meeting)
        async with listening(listener) as port, aiohttp.ClientSession() as http:
            raw = await http.ws_connect(f"http://127.0.0.1:{port}/session")
            endpoint = await meeting.next()
            await raw.send_str("hello?")
            await raw.send_bytes(bytes(5000))
            await raw.ping()
            await raw.send_bytes(b"a packet")
            assert await endpoint.receive() == bytes(MAX_PACKET + 1)
            assert await endpoint.receive() == b"a packet"
            assert endpoint.trace.drops() == {"text-message": 1}
            assert raw.compress == 0

    run(main())


def frame(first: int, size: int) -> bytes:
    """A frame as a client sends it, masked with zeros; `first` holds FIN and opcode."""
    return bytes([first, 0xFE]) + size.to_bytes(2, "big") + bytes(4 + size)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(0x82, MAX_MESSAGE + 1), "exceeds limit"),
        (frame(0x02, MAX_MESSAGE // 2) + frame(0x00, MAX_MESSAGE // 2) + frame(0x80, 1000), "exceeds limit"),
        (b"\xff\xff\xff\xff", "WebSocket failed"),
        (b"\x88\x80\x00\x00\x00\x00", "WebSocket was closed"),
        (b"\x82", "WebSocket was closed"),
    ],
    ids=["giant", "giant in pieces", "no frame", "goodbye", "cut"],
)
def test_what_is_no_message_ends_the_connection(sent: bytes, why: str) -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = WebSocketListener(port=0, token=None, on_endpoint=meeting)
        async with listening(listener) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(UPGRADE)
            endpoint = await meeting.next()
            writer.write(sent)
            writer.write_eof()
            with pytest.raises(ConnectionClosed, match=why) as caught:
                await endpoint.receive()
            assert caught.value.code == CloseCode.LINK_LOST
            meeting.part()
            await until(lambda: listener.sessions == 0)
            writer.close()

    run(main())


def test_a_session_names_what_strangers_send_and_closes() -> None:
    closed: list[Closed] = []

    async def serve(endpoint: WebSocketEndpoint) -> None:
        async with Connection(new_session(Role.RECEIVER, asyncio.get_running_loop().time()), endpoint) as connection:
            async for event in connection.events():
                assert isinstance(event, Closed)
                closed.append(event)

    async def main() -> None:
        listener = WebSocketListener(port=0, token=None, on_endpoint=serve)
        async with listening(listener) as port, aiohttp.ClientSession() as http:
            async with http.ws_connect(f"http://127.0.0.1:{port}/session") as raw:
                for _ in range(200):
                    await raw.send_bytes(bytes(5000))
                async for _ in raw:
                    pass
            await until(lambda: listener.sessions == 0)

    run(main())
    assert [event.code for event in closed] == [CloseCode.PROTOCOL_ERROR]
