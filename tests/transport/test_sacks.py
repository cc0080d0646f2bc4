"""Acknowledgements below a data channel wait for company, but not for long, and not where something is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from experiments.virtual_time import run
from transport.adapters.sacks import DELAY_S, patient
from transport.adapters.webrtc import connect
from transport.adapters.webrtc_listener import WebRtcListener
from transport.lanes import Lane


class Sctp:
    """What `patient` knows of a transport of aiortc's."""

    def __init__(self) -> None:
        self._sack_needed = False
        self._sack_misordered: set[int] = set()
        self._sack_duplicates: list[int] = []
        self.sent_s: list[float] = []
        self.open = True

    async def _send_sack(self) -> None:
        if not self.open:
            raise ConnectionError("closed")
        self.sent_s.append(asyncio.get_running_loop().time())
        self._sack_needed = False

    async def take(self) -> None:
        """A packet with data has come."""
        self._sack_needed = True
        await self._send_sack()


async def play(sctp: Sctp, *times_s: float) -> list[float]:
    patient(sctp)
    for time_s in times_s:
        await asyncio.sleep(time_s - asyncio.get_running_loop().time())
        await sctp.take()
    await asyncio.sleep(10)
    return sctp.sent_s


@pytest.mark.parametrize(
    ("came_s", "sent_s"),
    [
        ([1.0], [1.0 + DELAY_S]),
        ([1.0, 1.1], [1.1]),
        ([1.0, 1.1, 1.15], [1.1, 1.15 + DELAY_S]),
        ([1.0, 2.0], [1.0 + DELAY_S, 2.0 + DELAY_S]),
    ],
)
def test_every_second_packet_is_answered_or_a_late_one(came_s: list[float], sent_s: list[float]) -> None:
    assert run(play(Sctp(), *came_s)) == pytest.approx(sent_s)


def test_what_is_missing_or_came_twice_is_told_at_once() -> None:
    for gap in ("_sack_misordered", "_sack_duplicates"):
        sctp = Sctp()
        setattr(sctp, gap, [7])
        assert run(play(sctp, 1.0, 1.5)) == [1.0, 1.5]


def test_a_transport_that_was_closed_meanwhile_is_left_alone() -> None:
    async def closed() -> None:
        sctp = Sctp()
        patient(sctp)
        await sctp.take()
        assert not sctp._sack_needed
        sctp.open = False
        await asyncio.sleep(1)

    run(closed())


def test_a_transport_that_is_built_otherwise_stays_as_it_is() -> None:
    other = object()
    patient(other)
    patient(None)


def test_aiortc_sends_half_as_many_and_everything_arrives() -> None:
    sacks: list[str] = []

    async def exchange() -> list[bytes]:
        joined: asyncio.Queue[Any] = asyncio.Queue()
        over = asyncio.Event()

        async def serve(endpoint: Any) -> None:
            sctp = endpoint.peer_connection.sctp
            send = sctp._send_chunk

            async def counted(chunk: Any) -> None:
                sacks.append(type(chunk).__name__)
                await send(chunk)

            sctp._send_chunk = counted
            joined.put_nowait(endpoint)
            await over.wait()

        listener = WebRtcListener(port=0, token=None, on_endpoint=serve)
        await listener.start()
        try:
            client = await connect(f"http://127.0.0.1:{listener.port}/offer")
            server = await asyncio.wait_for(joined.get(), 15)
            got = []
            for number in range(40):
                client.send(Lane.DELTA, bytes([number]))
                got.append(await asyncio.wait_for(server.receive(), 15))
            await client.close()
            over.set()
            return got
        finally:
            await listener.close()

    assert asyncio.run(exchange()) == [bytes([number]) for number in range(40)]
    assert 10 <= sacks.count("SackChunk") <= 30
