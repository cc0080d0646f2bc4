"""Real WebSockets on localhost: sessions, TLS, refusals, and what happens when the peer does not read."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.transport.meeting import TOKEN, UPGRADE, Meeting, listening, run, until
from tests.transport.test_adapters_connection import sync
from transport import MAX_PACKET, CloseCode, Closed, ConnectionClosed, Lane, LocalProtocolError, PeerError
from transport.adapters.backlog import MAX_CONTROL_BUFFERED
from transport.adapters.websocket import WebSocketListener, connect


def test_a_session_comes_in_step() -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(WebSocketListener(port=0, token=TOKEN, on_endpoint=meeting)) as port:
            sending = await connect(f"ws://127.0.0.1:{port}/session", token=TOKEN)
            sender, receiver = await sync(sending, await meeting.next(), 0.3)
        assert sender.truth == receiver.shown
        assert receiver.seen[-1] == Closed(64, "done")

    run(main())


def test_packets_arrive_whole_both_ways_and_a_close_ends_both() -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(WebSocketListener(port=0, token=None, on_endpoint=meeting)) as port:
            ours = await connect(f"ws://localhost:{port}/session")
            theirs = await meeting.next()
            for lane in Lane:
                for data in (b"", b"x", bytes(MAX_PACKET)):
                    ours.send(lane, data)
                    theirs.send(lane, data[::-1])
                    assert await theirs.receive() == data
                    assert await ours.receive() == data[::-1]
            with pytest.raises(LocalProtocolError, match="1101 bytes"):
                ours.send(Lane.CONTROL, bytes(MAX_PACKET + 1))
            ours.send(Lane.CONTROL, b"last")
            await ours.close()
            await ours.close()
            assert await theirs.receive() == b"last"
            for end in (ours, theirs):
                with pytest.raises(ConnectionClosed):
                    await end.receive()
                with pytest.raises(ConnectionClosed):
                    end.send(Lane.DELTA, b"x")

    run(main())


def certificate(folder: Path) -> Path:
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "test.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_over_tls(tmp_path: Path) -> None:
    async def main() -> None:
        pem = certificate(tmp_path)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(pem)
        meeting = Meeting()
        listener = WebSocketListener(port=0, token=TOKEN, on_endpoint=meeting, ssl=serving, read_timeout=2.0)
        async with listening(listener) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x16")  # the first byte of a handshake that never goes on
            url = f"wss://127.0.0.1:{port}/session"
            with pytest.raises(PeerError, match=r"cannot be reached .*certificate"):
                await connect(url, token=TOKEN)
            ours = await connect(url, token=TOKEN, ssl=ssl.create_default_context(cafile=str(pem)))
            theirs = await meeting.next()
            ours.send(Lane.DELTA, b"sealed")
            assert await theirs.receive() == b"sealed"
            await ours.close()
            assert await reader.read() == b""
            writer.close()

    run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_public_host_needs_a_token(host: str) -> None:
    with pytest.raises(LocalProtocolError, match="set a token"):
        WebSocketListener(host, token="", on_endpoint=Meeting())


def test_refusals_say_what_to_do() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = WebSocketListener(
            port=0, token=TOKEN, on_endpoint=meeting, max_sessions=1, offers_per_second=100.0, path="/here"
        )
        async with listening(listener) as port:
            for token in (None, "wrong", TOKEN + "x", "tökén"):
                with pytest.raises(PeerError, match=r"/here refused the token: check --token"):
                    await connect(f"ws://127.0.0.1:{port}/here", token=token)
            with pytest.raises(PeerError, match="has no such path"):
                await connect(f"ws://127.0.0.1:{port}/there", token=TOKEN)
            first = await connect(f"ws://127.0.0.1:{port}/here", token=TOKEN)
            with pytest.raises(PeerError, match="is full"):
                await connect(f"ws://127.0.0.1:{port}/here", token=TOKEN)
            meeting.part()
            await until(lambda: listener.sessions == 0)
            with pytest.raises(ConnectionClosed):
                await first.receive()
            await first.close()
            assert listener.trace.drops() == {"wrong-token": 4, "no-session-free": 1}

    run(main())


def test_nobody_there_and_no_url_are_said_in_one_line() -> None:
    async def main() -> None:
        for url in ("ws://127.0.0.1:9/session", "ws://[/session", "ws:///session"):
            with pytest.raises(PeerError, match=r"^ws://.* cannot be reached .* is the server running\?$"):
                await connect(url)

    run(main())


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}/session"
            with pytest.raises(PeerError, match=r"did not answer within 0\.1 s"):
                await connect(url, timeout=0.1)

    run(main())


def test_a_redirect_is_not_followed() -> None:
    async def main() -> None:
        listener = WebSocketListener(port=0, token=None, on_endpoint=Meeting())

        async def elsewhere(_: web.Request) -> web.Response:
            raise web.HTTPFound("/session")

        listener.app.router.add_get("/old", elsewhere)
        async with listening(listener) as port:
            with pytest.raises(PeerError, match="302, a redirect"):
                await connect(f"ws://127.0.0.1:{port}/old", token="secret")
            assert listener.trace.drops() == {}

    run(main())


def test_without_a_token_only_local_names_and_pages_are_served() -> None:
    async def main() -> None:
        listener = WebSocketListener(port=0, token=None, on_endpoint=Meeting())
        async with listening(listener) as port, aiohttp.ClientSession() as http:
            for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await http.ws_connect(f"http://127.0.0.1:{port}/session", headers=headers)
                assert caught.value.status == 403
            async with http.get(f"http://127.0.0.1:{port}/session") as response:
                assert response.status == 426
            async with http.ws_connect(f"http://127.0.0.1:{port}/session", origin="http://localhost:3000"):
                assert listener.sessions == 1
            assert listener.trace.drops() == {"foreign-host": 1, "foreign-origin": 2, "wrong-type": 1}

    run(main())


def test_a_peer_that_does_not_read_costs_deltas_then_the_connection() -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(WebSocketListener(port=0, token=None, on_endpoint=meeting)) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(UPGRADE)
            endpoint = await meeting.next()
            assert endpoint.buffered_amount == 0
            while not endpoint.trace.dropped("stack-behind"):
                endpoint.send(Lane.DELTA, bytes(MAX_PACKET))
                await asyncio.sleep(0)
            left = endpoint.buffered_amount
            assert left > 0
            for _ in range(100):
                endpoint.send(Lane.DELTA, bytes(MAX_PACKET))
            assert endpoint.trace.dropped("stack-behind") == 101
            assert endpoint.buffered_amount == left
            for _ in range((MAX_CONTROL_BUFFERED - left) // MAX_PACKET):
                endpoint.send(Lane.CONTROL, bytes(MAX_PACKET))
            with pytest.raises(ConnectionClosed, match="takes no control packets") as caught:
                endpoint.send(Lane.CONTROL, bytes(MAX_PACKET))
            assert caught.value.code == CloseCode.LINK_LOST
            assert endpoint.buffered_amount <= MAX_CONTROL_BUFFERED
            await endpoint.close()
            assert endpoint.buffered_amount == 0
            writer.close()

    run(main())
