"""A session outlives its path: the state goes on from what both ends hold."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from tests.transport.toy import BLANK, SESSION_ID, ToyReceiver, ToySender, World, new_session
from transport import (
    CloseCode,
    Closed,
    Connected,
    Event,
    FeedbackReceived,
    Lane,
    Link,
    Refresh,
    Resumed,
    Role,
    SessionConfig,
    State,
    Suspended,
)
from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint
from transport.adapters.host import Host
from transport.adapters.loopback import LoopbackEndpoint, loopback_pair
from transport.wire import Hello, pull_packet

PATIENT = SessionConfig(resume_within=10.0)


def world(delay: float = 0.02) -> World:
    there, back = Link(1, delay_s=delay), Link(2, delay_s=delay)
    return World(there, back, config=PATIENT)


def cut(live: World, seconds: float) -> None:
    """The path goes with all that is on it; after so long there is a new one."""
    live.sender.take(live.sender.session.path_lost(live.now))
    live.receiver.take(live.receiver.session.path_lost(live.now), live.now)
    live.there, live.back = Link(3, delay_s=0.02), Link(4, delay_s=0.02)
    live.run(live.now + seconds, change=1.0)
    live.sender.session.path_found(live.now)
    live.receiver.session.path_found(live.now)


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events if isinstance(event, Connected | Suspended | Resumed | Refresh | Closed)]


def test_the_picture_is_not_started_again() -> None:
    live = world()
    live.run(2.0, change=0.5)
    held = live.receiver.version
    cut(live, 3.0)
    assert live.sender.session.state is live.receiver.session.state is State.SUSPENDED
    live.run(live.now + 1.0, change=0.0)
    assert live.in_step()
    assert kinds(live.sender.seen) == kinds(live.receiver.seen) == [Connected, Suspended, Resumed]
    assert all(event.base >= held for event in live.receiver.seen if getattr(event, "version", 0) > held + 5)
    assert live.sender.session.trace.count("restart") == 0


def test_what_was_under_way_when_the_path_went_is_told_anew() -> None:
    live = world(delay=0.5)
    live.run(3.0, change=0.5)
    live.mutate()
    live.sender.frame(live.now)
    live.step()  # it left, and never arrives
    cut(live, 0.5)
    live.run(live.now + 3.0, frame=None)  # nothing changes any more: events alone bring it
    assert live.in_step()


def test_what_had_not_left_when_the_path_went_is_no_base() -> None:
    live = world()
    live.run(2.0, change=1.0)
    live.run(3.0)
    held = live.receiver.version
    live.mutate()
    assert live.sender.frame(live.now) == live.sender.session.base(live.now) == held + 1
    cut(live, 0.0)
    live.run(live.now + 0.1, frame=None)
    assert live.sender.session.state is State.OPEN
    assert live.sender.session.base(live.now) in (held, held + 2)
    live.run(live.now + 0.5)
    assert live.in_step()


def test_a_receiver_that_began_anew_gets_everything() -> None:
    live = world()
    live.run(2.0, change=1.0)
    cut(live, 1.0)
    live.receiver = ToyReceiver(new_session(Role.RECEIVER, live.now, config=PATIENT))
    live.run(live.now + 1.0, change=0.0)
    assert live.in_step()
    assert kinds(live.sender.seen) == [Connected, Suspended, Resumed, Refresh]


def test_a_receiver_that_began_anew_is_heard_from_its_first_word_on() -> None:
    live = world()
    live.run(0.5)
    for seconds in (1.0, 2.0, 3.0):
        live.receiver.session.request_refresh("old", live.now)
        live.receiver.session.send_feedback({"from": "old"}, live.now)
        live.run(seconds, change=1.0)
    live.receiver.session.limit(0)
    live.run(3.5)
    assert live.sender.session.allowance(live.now) == 0
    cut(live, 1.0)
    live.receiver = ToyReceiver(new_session(Role.RECEIVER, live.now, config=PATIENT))
    live.run(live.now + 0.5, change=0.0)
    assert live.in_step(), "the limit went with who set it"
    live.receiver.session.request_refresh("new", live.now)
    live.receiver.session.send_feedback({"from": "new"}, live.now)
    live.run(live.now + 0.5, change=0.0)
    assert [event for event in live.sender.seen if isinstance(event, Refresh)][-1] == Refresh("new")
    assert FeedbackReceived({"from": "new"}) in live.sender.seen


def test_a_limit_that_was_set_meanwhile_is_told_over_the_new_path() -> None:
    live = world()
    live.run(2.0, change=1.0)
    live.receiver.session.limit(0)
    live.run(3.0)
    live.receiver.session.limit(None)
    live.receiver.session.datagrams_to_send(live.now)  # goes with the path
    cut(live, 0.5)
    live.run(live.now + 0.5, change=1.0)
    assert live.sender.session.allowance(live.now) > 0


def test_no_new_path_in_time_is_the_end() -> None:
    live = world()
    live.run(1.0, change=1.0)
    for session in (live.sender.session, live.receiver.session):
        session.path_lost(1.0)
        assert session.next_timeout() == 11.0
        assert session.handle_timeout(11.0) == [Closed(CloseCode.LINK_LOST, "no new path in time")]
        assert session.datagrams_to_send(11.0) == []


def test_silence_suspends_who_can_wait_and_ends_who_cannot() -> None:
    for config, state in ((PATIENT, State.SUSPENDED), (SessionConfig(), State.CLOSED)):
        live = World(Link(1), Link(2), config=config)
        live.run(1.0, change=1.0)
        live.sender.session.handle_timeout(1.0 + config.dead_after)
        assert live.sender.session.state is state


def test_nothing_is_sent_while_suspended() -> None:
    live = world()
    live.run(1.0, change=1.0)
    live.sender.session.path_lost(1.0)
    assert live.sender.session.allowance(1.1) == 0
    assert live.sender.session.datagrams_to_send(1.5) == []
    live.sender.session.path_found(2.0)
    ((lane, data),) = live.sender.session.datagrams_to_send(2.0)
    packet = pull_packet(data)
    assert (lane, isinstance(packet, Hello) and packet.resumed) == (Lane.CONTROL, True)


class Cut:
    """A loopback end that can be cut without a goodbye."""

    def __init__(self) -> None:
        self.ours, self.theirs = loopback_pair()

    async def cut(self) -> None:
        await self.ours.close()


async def follow(connection: Connection, receiver: ToyReceiver) -> None:
    async for event in connection.events():
        receiver.take([event], connection.clock())
        connection.flush()


def test_a_host_joins_a_new_endpoint_to_its_session() -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time()
        receivers: list[ToyReceiver] = []

        async def serve(connection: Connection) -> None:
            receivers.append(ToyReceiver(connection.session))
            await follow(connection, receivers[-1])

        host = Host(lambda: nullcontext(new_session(Role.RECEIVER, now, config=PATIENT)), serve)
        sender = ToySender(new_session(Role.SENDER, now, config=PATIENT))

        def accept(endpoint: Endpoint) -> asyncio.Task[None]:
            return asyncio.create_task(host.accept(endpoint))

        async def talk(connection: Connection, value: int) -> None:
            sender.truth = bytes([value]) * len(BLANK)
            for _ in range(200):
                sender.frame(connection.clock())
                connection.flush()
                await asyncio.sleep(0.005)
                if receivers and receivers[0].shown == sender.truth:
                    return
            raise AssertionError("never in step")

        path = Cut()
        tasks = [accept(path.theirs)]
        async with Connection(sender.session, path.ours) as connection:
            watching = asyncio.create_task(watch(connection, sender))
            await talk(connection, 1)
            for value in (2, 3):
                await path.cut()
                while sender.session.state is not State.SUSPENDED:
                    await asyncio.sleep(0.001)
                path = Cut()
                tasks.append(accept(path.theirs))
                await connection.attach(path.ours)
                await talk(connection, value)
            stranger = LoopbackEndpoint(), LoopbackEndpoint()
            stranger[0].join(stranger[1])
            stranger[0].send(Lane.CONTROL, b"\x00 no greeting")
            tasks.append(accept(stranger[1]))
            await asyncio.sleep(0.01)
            await stranger[0].close()
            await connection.close()
            await watching
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert len(receivers) == 2
        assert kinds(receivers[0].seen)[:5] == [Connected, Suspended, Resumed, Suspended, Resumed]
        assert kinds(sender.seen) == [Connected, Suspended, Resumed, Suspended, Resumed, Closed]
        assert sender.session.trace.count("restart") == 0

    asyncio.run(main())


async def watch(connection: Connection, sender: ToySender) -> None:
    async for event in connection.events():
        sender.take([event])


@pytest.mark.parametrize("resumed", [False, True])
def test_the_id_of_no_session_begins_one(resumed: bool) -> None:
    receiver = new_session(Role.RECEIVER, config=PATIENT)
    sender = new_session(Role.SENDER, config=PATIENT)
    if resumed:
        sender.receive_datagram(new_welcome(), 0.0)
        sender.path_lost(0.0)
        sender.path_found(0.0)
    ((_, hello),) = sender.datagrams_to_send(0.0)
    assert kinds(receiver.receive_datagram(hello, 0.0)) == [Connected]


def new_welcome() -> bytes:
    other = new_session(Role.RECEIVER, config=PATIENT)
    ((_, hello),) = new_session(Role.SENDER, session_id=SESSION_ID).datagrams_to_send(0.0)
    other.receive_datagram(hello, 0.0)
    return other.datagrams_to_send(0.0)[0][1]
