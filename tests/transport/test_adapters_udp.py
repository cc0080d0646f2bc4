"""UDP on localhost: who gets an endpoint, whose datagrams are dropped and why, and when an address is forgotten."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.meeting import TOKEN, Meeting, listening, run, until
from tests.transport.test_adapters_connection import sync
from tests.transport.toy import CODEC, SESSION_ID
from transport import (
    MAX_PACKET,
    Closed,
    ConnectionClosed,
    Lane,
    LocalProtocolError,
    PeerError,
    RemoteProtocolError,
    Role,
)
from transport.adapters.udp import UdpListener, connect
from transport.adapters.udp_endpoint import FROM_LISTENER, KNOCK, TAG_BYTES, TO_LISTENER, Seal
from transport.wire import Close, CloseCode, Hello, push_packet

HELLO = push_packet(Hello(SESSION_ID, Role.SENDER, CODEC))
CLOSE = push_packet(Close(CloseCode.NORMAL))
SEAL = Seal(TOKEN, TO_LISTENER, FROM_LISTENER)


class Stranger(asyncio.DatagramProtocol):
    """A bare socket at a listener's door."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, _: Any) -> None:
        self.heard.put_nowait(data)

    def say(self, *datagrams: bytes) -> None:
        for data in datagrams:
            self.transport.sendto(data)


@asynccontextmanager
async def stranger(port: int) -> AsyncIterator[Stranger]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Stranger, remote_addr=("127.0.0.1", port))
    try:
        yield protocol
    finally:
        transport.close()


@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_session_comes_in_step(token: str | None) -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(UdpListener(port=0, token=token, on_endpoint=meeting)) as port:
            sending = await connect(f"udp://127.0.0.1:{port}", token=token)
            sender, receiver = await sync(sending, await meeting.next(), 0.3)
        assert sender.truth == receiver.shown
        assert receiver.seen[-1] == Closed(64, "done")

    run(main())


def test_a_session_whose_sender_listens_comes_in_step() -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(UdpListener(port=0, token=TOKEN, on_endpoint=meeting)) as port:
            receiving = await connect(f"udp://127.0.0.1:{port}", token=TOKEN)
            sender, receiver = await sync(await meeting.next(), receiving, 0.3)
        assert sender.truth == receiver.shown

    run(main())


def test_packets_arrive_whole_and_each_peer_gets_its_own() -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(UdpListener(port=0, token=TOKEN, on_endpoint=meeting)) as port:
            pairs = []
            for _ in range(3):
                ours = await connect(f"udp://127.0.0.1:{port}", token=TOKEN)
                pairs.append((ours, await meeting.next()))
            for index, (ours, theirs) in enumerate(pairs):
                for data in (bytes([16 + index]), bytes([index]) * MAX_PACKET):
                    ours.send(Lane.DELTA, data)
                    theirs.send(Lane.CONTROL, data)
                    assert await theirs.receive() == data
                    assert await ours.receive() == data
                    assert ours.buffered_amount == theirs.buffered_amount == 0
                with pytest.raises(LocalProtocolError, match="1101 bytes"):
                    ours.send(Lane.CONTROL, bytes(MAX_PACKET + 1))
            for ours, _ in pairs:
                await ours.close()
                await ours.close()
                with pytest.raises(ConnectionClosed):
                    ours.send(Lane.DELTA, b"x")
                with pytest.raises(ConnectionClosed):
                    await ours.receive()

    run(main())


def test_strangers_get_no_endpoint_and_no_answer() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = UdpListener(port=0, token=TOKEN, on_endpoint=meeting)
        async with listening(listener) as port, stranger(port) as outside:
            forged = Seal("another token", TO_LISTENER, FROM_LISTENER)
            mirrored = Seal(TOKEN, FROM_LISTENER, TO_LISTENER)
            outside.say(HELLO, KNOCK, b"x", bytes(TAG_BYTES), forged.close(HELLO), mirrored.close(HELLO))
            outside.say(SEAL.close(CLOSE), SEAL.close(b"\xff"), bytes(MAX_PACKET + TAG_BYTES + 1))
            await until(lambda: listener.trace.count("drop") == 9)
            assert listener.trace.drops() == {"wrong-tag": 6, "unknown-address": 2, "oversized": 1}
            assert meeting.empty
            assert listener.sessions == 0
            assert outside.heard.empty()
            outside.say(SEAL.close(HELLO))
            theirs = await meeting.next()
            assert await theirs.receive() == HELLO

    run(main())


def test_a_wrong_tag_within_a_session_is_dropped_at_both_ends() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = UdpListener(port=0, token=TOKEN, on_endpoint=meeting)
        async with listening(listener) as port, stranger(port) as outside:
            outside.say(SEAL.close(KNOCK))
            theirs = await meeting.next()
            assert SEAL.open(await outside.heard.get()) == KNOCK
            changed = bytearray(SEAL.close(b"packet"))
            changed[0] ^= 1
            outside.say(bytes(changed), SEAL.close(b"packet"))
            assert await theirs.receive() == b"packet"
            assert listener.trace.drops() == {"wrong-tag": 1}

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            connecting = asyncio.create_task(connect(f"udp://127.0.0.1:{peer.getsockname()[1]}", token=TOKEN))
            knock, address = await asyncio.get_running_loop().sock_recvfrom(peer, 2000)
            theirs_seal = Seal(TOKEN, FROM_LISTENER, TO_LISTENER)
            for data in (knock, b"", theirs_seal.close(KNOCK), b"no tag here", theirs_seal.close(b"packet")):
                peer.sendto(data, address)
            ours = await connecting
            assert await ours.receive() == b"packet"
            assert ours.trace.drops() == {"wrong-tag": 3}
            await ours.close()

    run(main())


def test_without_a_token_only_this_machine_is_served() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(LocalProtocolError, match="set a token"):
            UdpListener(host, token=None, on_endpoint=Meeting())


def test_the_wrong_token_and_nobody_there_are_said_with_words() -> None:
    async def main() -> None:
        async with listening(UdpListener(port=0, token=TOKEN, on_endpoint=Meeting())) as port:
            for token in (None, "wrong"):
                with pytest.raises(PeerError, match=r"did not answer within 0\.1 s: .* the token the same"):
                    await connect(f"udp://127.0.0.1:{port}", token=token, timeout=0.1)
        with pytest.raises(PeerError, match="did not answer"):
            await connect(f"udp://127.0.0.1:{port}", token=TOKEN, timeout=0.1)
        with pytest.raises(PeerError, match="cannot be reached"):
            await connect("udp://no.such.host.invalid:9")
        with pytest.raises(LocalProtocolError, match="write scheme://host:port"):
            await connect("udp://127.0.0.1")

    run(main())


def test_a_full_listener_says_so_and_has_room_again() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = UdpListener(port=0, token=TOKEN, on_endpoint=meeting, max_sessions=1, offers_per_second=1000.0)
        async with listening(listener) as port:
            first = await connect(f"udp://127.0.0.1:{port}", token=TOKEN)
            with pytest.raises(PeerError, match="refused: no session free"):
                await connect(f"udp://127.0.0.1:{port}", token=TOKEN)
            assert listener.trace.drops() == {"no-session-free": 1}
            meeting.part()
            await until(lambda: listener.sessions == 0)
            second = await connect(f"udp://127.0.0.1:{port}", token=TOKEN)
            await first.close()
            await second.close()

    run(main())


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    async def main() -> None:
        async with listening(UdpListener(port=0, token=None, on_endpoint=Meeting())) as port:
            with pytest.raises(PeerError, match="try another port"):
                await UdpListener(port=port, token=None, on_endpoint=Meeting()).start()

    run(main())


def test_a_silent_address_is_forgotten_and_may_come_back() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = UdpListener(port=0, token=None, on_endpoint=meeting, idle_timeout=0.05)
        async with listening(listener) as port, stranger(port) as outside:
            outside.say(HELLO)
            first = await meeting.next()
            assert await first.receive() == HELLO
            with pytest.raises(ConnectionClosed, match=r"nothing came for 0\.05 s"):
                await first.receive()
            assert listener.trace.count("forgotten") == 1
            outside.say(HELLO)
            second = await meeting.next()
            await first.close()
            assert await second.receive() == HELLO
            outside.say(CLOSE)
            assert await second.receive() == CLOSE
            assert meeting.empty

    run(main())


def test_a_late_packet_of_an_ended_session_opens_none() -> None:
    async def main() -> None:
        meeting = Meeting()
        listener = UdpListener(port=0, token=None, on_endpoint=meeting)
        async with listening(listener) as port, stranger(port) as outside:
            outside.say(HELLO)
            await (await meeting.next()).close()
            outside.say(CLOSE)
            await until(lambda: listener.trace.dropped("unknown-address"))
            assert meeting.empty

    run(main())


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_a_seal_opens_what_its_other_end_closed_and_nothing_else(packet: bytes, noise: bytes) -> None:
    ours, theirs = Seal(TOKEN, TO_LISTENER, FROM_LISTENER), Seal(TOKEN, FROM_LISTENER, TO_LISTENER)
    datagram = ours.close(packet)
    assert len(datagram) == len(packet) + TAG_BYTES
    assert theirs.open(datagram) == packet
    for other in (ours, Seal("x" + TOKEN, FROM_LISTENER, TO_LISTENER)):
        with pytest.raises(RemoteProtocolError, match="wrong-tag"):
            other.open(datagram)
    if noise != datagram:
        with pytest.raises(RemoteProtocolError, match="wrong-tag"):
            theirs.open(noise)
