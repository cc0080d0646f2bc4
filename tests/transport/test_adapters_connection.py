"""The asyncio shell over loopback, clean and impaired."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from tests.transport.toy import ToyReceiver, ToySender, new_session
from transport import CloseCode, Closed, Connected, ConnectionClosed, DeltaReceived, Event, Lane, Link, Role
from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint, ImpairedEndpoint, Inbox
from transport.adapters.loopback import loopback_pair
from transport.adapters.udp import UdpListener, connect


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


def test_events_are_handed_over_in_the_call_that_brings_them() -> None:
    got: list[tuple[Event, bool]] = []

    async def serve(endpoint: Endpoint) -> None:
        def take(event: Event) -> None:
            got.append((event, reading.get()))
            if isinstance(event, DeltaReceived):
                theirs.session.applied(event.version, theirs.clock())
                theirs.flush()

        session = new_session(Role.RECEIVER, asyncio.get_running_loop().time())
        async with Connection(session, endpoint, on_event=take) as theirs:
            await theirs.left(endpoint)

    async def main() -> None:
        listener = UdpListener(port=0, token=None, on_endpoint=serve)
        await listener.start()
        received = listener.datagram_received

        def datagram_received(data: bytes, address: object) -> None:
            token = reading.set(True)
            received(data, address)
            reading.reset(token)

        listener.datagram_received = datagram_received  # type: ignore[method-assign]
        endpoint = await connect(f"udp://127.0.0.1:{listener.port}")
        toy = ToySender(new_session(Role.SENDER, asyncio.get_running_loop().time()))
        async with Connection(toy.session, endpoint) as ours:
            while not any(isinstance(event, DeltaReceived) for event, _ in got):
                toy.truth = bytes([7]) * len(toy.truth)
                toy.frame(ours.clock())
                ours.flush()
                await asyncio.sleep(0.01)
            await ours.close(64, "done")
        while got[-1][0] != Closed(64, "done"):
            await asyncio.sleep(0.01)
        await listener.close()

    reading = ContextVar("reading", default=False)
    asyncio.run(asyncio.wait_for(main(), 20))
    assert isinstance(got[0][0], Connected)
    in_time = [at_once for event, at_once in got if isinstance(event, DeltaReceived)]
    assert in_time
    assert all(in_time)


def test_what_on_event_raises_ends_the_session() -> None:
    async def main() -> None:
        one, other = loopback_pair()
        now, failures = asyncio.get_running_loop().time(), []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

        def fail(event: Event) -> None:
            raise ValueError(event)

        theirs = Connection(new_session(Role.RECEIVER, now), other, on_event=fail)
        async with Connection(new_session(Role.SENDER, now), one) as ours, theirs:
            ended = [event async for event in ours.events() if isinstance(event, Closed)]
        assert ended == [Closed(CloseCode.GOING_AWAY, "the application failed")]
        assert [type(failure) for failure in failures] == [ValueError]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_slow_application_is_waited_for() -> None:
    inbox = Inbox(limit=2)
    taken: list[bytes] = []
    inbox.taker = lambda data: len(taken) < 1 and not taken.append(data)
    for index in range(3):
        inbox.put(bytes([index]))
    inbox.taker = None
    assert taken == [b"\0"]
    assert [asyncio.run(inbox.get()), asyncio.run(inbox.get())] == [b"\x01", b"\x02"]


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
