"""The asyncio shell over loopback, clean and impaired."""

from __future__ import annotations

import asyncio

import pytest

from tests.transport.toy import ToyReceiver, ToySender, new_session
from transport import CloseCode, Closed, ConnectionClosed, Lane, Link, Role
from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint, ImpairedEndpoint, Inbox
from transport.adapters.loopback import loopback_pair


async def sync(sending: Endpoint, receiving: Endpoint, seconds: float = 0.6) -> tuple[ToySender, ToyReceiver]:
    now = asyncio.get_running_loop().time()
    sender, receiver = ToySender(new_session(Role.SENDER, now)), ToyReceiver(new_session(Role.RECEIVER, now))

    async def show(connection: Connection) -> None:
        async for event in connection.events():
            receiver.take([event], connection.clock())
            connection.flush()

    async with Connection(sender.session, sending) as ours, Connection(receiver.session, receiving) as theirs:
        showing = asyncio.create_task(show(theirs))
        end = now + seconds
        while ours.clock() < end or (sender.truth != receiver.shown and ours.clock() < end + 5):
            if ours.clock() < end:
                sender.truth = bytes([int(ours.clock() * 1000) % 256]) * len(sender.truth)
            sender.frame(ours.clock())
            ours.flush()
            await asyncio.sleep(0.01)
        await ours.close(64, "done")
        await showing
    return sender, receiver


def test_a_clean_loopback() -> None:
    async def main() -> None:
        sender, receiver = await sync(*loopback_pair())
        assert sender.truth == receiver.shown
        assert receiver.seen[-1] == Closed(64, "done")

    asyncio.run(main())


def test_an_impaired_loopback() -> None:
    async def main() -> None:
        one, other = loopback_pair()
        bad = [
            ImpairedEndpoint(end, Link(seed, loss=0.2, reorder=0.1, duplicate=0.1, delay_s=0.02))
            for seed, end in enumerate((one, other))
        ]
        sender, receiver = await sync(*bad)
        assert sender.truth == receiver.shown

    asyncio.run(main())


def test_a_lost_link_closes_the_session() -> None:
    async def main() -> None:
        one, other = loopback_pair()
        async with Connection(new_session(Role.SENDER, asyncio.get_running_loop().time()), one) as connection:
            await other.close()
            events = [event async for event in connection.events()]
        assert events == [Closed(CloseCode.LINK_LOST, "closed by the other end")]
        with pytest.raises(ConnectionClosed):
            one.send(Lane.DELTA, b"x")

    asyncio.run(main())


def test_an_inbox_is_bounded_and_ends_after_what_it_holds() -> None:
    async def main() -> None:
        inbox = Inbox(limit=2)
        for index in range(4):
            inbox.put(bytes([index]))
        inbox.end("over")
        assert [await inbox.get(), await inbox.get(), inbox.overflowed] == [b"\x02", b"\x03", 2]
        with pytest.raises(ConnectionClosed, match="over"):
            await inbox.get()

    asyncio.run(main())
