"""The ways of `transport_speed` over real WebRTC between two processes: a bare data channel, and our session over one.

    this process                                                 the receiving process
    number + bytes --channel.send-------------> DTLS, UDP -----> "message" --> Log --GET /log--> this process
                   --Session, Connection------> DTLS, UDP -----> Connection, DeltaReceived --> Log

Every update carries its number. It has arrived when the application has all of it. Times are CLOCK_MONOTONIC, which all
processes of one machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from experiments import bench
from experiments.latency_senders import ask
from transport import DeltaReceived, Event, Role, Session
from transport.adapters.connection import Connection
from transport.adapters.webrtc import WebRtcListener, connect
from transport.adapters.webrtc_endpoint import WebRtcEndpoint

MODULE = "experiments.transport_speed_ways"
GRACE_S = 0.3  # for the last packets
NUMBER = 4  # bytes

Noted = dict[int, tuple[int, int]]  # number -> messages that came of it, and when the last of them did


@dataclass(frozen=True)
class Way:
    """How an update travels: our session, or a bare channel and so many messages on it."""

    name: str
    setting: str
    about: str
    messages: int = 0  # 0: our session
    reliable: bool = False
    task: bool = False  # the receiving application is a task that waits for messages, not aiortc's callback


@dataclass(frozen=True)
class Sent:
    """One run: when each update was handed over and when it had arrived, in ns; a number without has had no room."""

    sent_ns: dict[int, int]
    arrived_ns: dict[int, int]


# The sending end


async def send(url: str, way: Way, size: int, fps: float, count: int) -> Sent:
    """Send so many updates over a connection of its own."""
    await ask(url + "/log", task=str(int(way.task)))  # what came late of the run before
    sent_ns = await (send_bare if way.messages else send_ours)(url, way, size, fps, count)
    noted = read_log(await ask(url + "/log"))
    wanted = max(1, way.messages)
    arrived = {number: ns for number, (messages, ns) in noted.items() if messages == wanted}
    return Sent(sent_ns, arrived)


async def send_ours(url: str, way: Way, size: int, fps: float, count: int) -> dict[int, int]:
    """Over our session, as an application does: only what there is room for."""
    endpoint, sent_ns = await connect(url + "/offer"), {}
    session = new_session(Role.SENDER)
    async with Connection(session, endpoint) as connection:
        following = asyncio.create_task(_follow(connection))
        async for number in paced(fps, count):
            if session.allowance(connection.clock()) < size:
                continue
            (payload,) = messages(number, size, 1)
            sent_ns[number] = time.monotonic_ns()
            now = connection.clock()
            session.send_delta(
                base=session.base(now), payload=payload, capture_ms=round(now * 1000), state_hash=number, now=now
            )
            connection.flush()
        await asyncio.sleep(GRACE_S)
        await connection.close()
        await following
    return sent_ns


async def _follow(connection: Connection) -> None:
    async for _ in connection.events():
        pass


async def send_bare(url: str, way: Way, size: int, fps: float, count: int) -> dict[int, int]:
    """Over a data channel of aiortc and nothing else."""
    peer, channel = bare(way.reliable)
    opened = asyncio.Event()
    channel.on("open", opened.set)
    sent_ns = {}
    try:
        await peer.setLocalDescription(await peer.createOffer())
        how = {"reliable": str(int(way.reliable)), "task": str(int(way.task))}
        answer = await ask(url + "/bare", peer.localDescription.sdp, **how)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await opened.wait()
        async for number in paced(fps, count):
            pieces = messages(number, size, way.messages)
            sent_ns[number] = time.monotonic_ns()
            for piece in pieces:
                channel.send(piece)
        await asyncio.sleep(GRACE_S)
    finally:
        await peer.close()
    return sent_ns


def bare(reliable: bool) -> tuple[Any, Any]:
    """A peer connection with one channel, the same on both sides."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    how = {} if reliable else {"ordered": False, "maxRetransmits": 0}
    return peer, peer.createDataChannel("bare", negotiated=True, id=0, **how)


async def paced(fps: float, count: int) -> AsyncIterator[int]:
    """Numbers from 0, each at its time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number in range(count):
        await asyncio.sleep(start + number / fps - loop.time())
        yield number


def messages(number: int, size: int, count: int) -> list[bytes]:
    """An update of so many bytes as so many messages, each with its number."""
    each = -(-size // count)
    sizes = [min(each, size - place * each) for place in range(count)]
    return [number.to_bytes(NUMBER, "big") + bytes(max(0, one - NUMBER)) for one in sizes]


def new_session(role: Role) -> Session:
    """A session on the running loop's clock."""
    now = asyncio.get_running_loop().time()
    return Session(role, codec_hash=b"transport_speed", meta={}, now=now, wall_ms=0)


# The receiving process


class Log:
    """What arrived since it was last read."""

    def __init__(self) -> None:
        self.task = False  # whether the next session's application is a task
        self._noted: Noted = {}

    def note(self, data: bytes) -> None:
        """Part of an update, or all of it, is here."""
        number, now = int.from_bytes(data[:NUMBER], "big"), time.monotonic_ns()
        self._noted[number] = (self._noted.get(number, (0, 0))[0] + 1, now)

    async def hand_out(self, request: web.Request) -> web.Response:
        """GET /log: once."""
        self.task = request.query.get("task") == "1"
        noted, self._noted = self._noted, {}
        return web.json_response([[number, *one] for number, one in noted.items()])


def read_log(text: str) -> Noted:
    """What `Log.hand_out` wrote."""
    return {number: (count, ns) for number, count, ns in json.loads(text)}


def receive_ours(log: Log) -> Callable[[WebRtcEndpoint], Awaitable[None]]:
    """The receiving application over our session."""

    async def receive(endpoint: WebRtcEndpoint) -> None:
        session = new_session(Role.RECEIVER)
        if log.task:
            async with Connection(session, endpoint) as connection:
                async for event in connection.events():
                    take(connection, event)
            return
        connection = Connection(session, endpoint, on_event=lambda event: take(connection, event))
        async with connection:
            await connection.left(endpoint)

    def take(connection: Connection, event: Event) -> None:
        if isinstance(event, DeltaReceived):
            log.note(event.payload)
            connection.session.applied(event.version, connection.clock())
            connection.flush()

    return receive


def receive_bare(log: Log) -> Callable[[web.Request], Awaitable[web.Response]]:
    """POST /bare: an offer, answered as `WebRtcListener` answers it, with one channel that is noted."""
    tasks: list[asyncio.Task[None]] = []  # for as long as the process lives

    async def answer(request: web.Request) -> web.Response:
        peer, channel = bare(request.query["reliable"] == "1")
        if request.query["task"] == "1":
            inbox: asyncio.Queue[bytes] = asyncio.Queue()
            channel.on("message", inbox.put_nowait)
            tasks.append(asyncio.create_task(_note_all(inbox, log)))
        else:
            channel.on("message", log.note)
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp")

    return answer


async def _note_all(inbox: asyncio.Queue[bytes], log: Log) -> None:
    while True:
        log.note(await inbox.get())


async def receiving() -> None:
    """The other process: says where it listens, serves one run after the other until its standard input ends."""
    log = Log()
    listener = WebRtcListener(port=0, token=None, on_endpoint=receive_ours(log))
    listener.app.router.add_post("/bare", receive_bare(log))
    listener.app.router.add_get("/log", log.hand_out)
    await listener.start()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.port}"}), flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await listener.close()


def run(argv: Sequence[str] | None = None) -> None:
    """Be that process."""
    asyncio.run(receiving())


if __name__ == "__main__":
    bench.main(run)
