"""A WebRTC data channel under a state stream: aiortc's own SCTP between two ends, in virtual time over two links.

    tape --RTCDataChannel.send--> RTCSctpTransport --Wire there--> RTCSctpTransport --"message"--> times
                                                   <--Wire back--- SACKs

The stack is the installed one, with its defaults; only its clock, its random numbers and the DTLS transport below it
are ours. The association is set up before time 0 and without loss, and the channel is negotiated: no time or luck goes
into opening it. `ordered=False, max_retransmits=0` is the lossy channel as people use it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities, RTCSctpTransport, rtcsctptransport

from experiments.deliveries import Carrier, Deliveries, Tape, Wire, check, play
from experiments.virtual_time import clock, replaced, run

IP_HEADER = 20  # version 4
UDP_HEADER = 8
DTLS_RECORD = 13 + 8 + 16  # record header, nonce and tag of DTLS 1.2 with AES-GCM, as aiortc agrees on
BELOW_SCTP = IP_HEADER + UDP_HEADER + DTLS_RECORD

_PORT = 5000


def deliver(
    tape: Tape,
    there: Carrier,
    back: Carrier,
    until_s: float,
    *,
    ordered: bool = True,
    max_retransmits: int | None = None,
    rtt_s: float | None = None,
    seed: int = 0,
) -> Deliveries:
    """Send a tape over fresh links. `rtt_s` is the round trip that opening the channel measured, if it did.

    Without it the retransmission timer starts at aiortc's 3 s.
    """
    check(tape)
    return run(_deliver(tape, (there, back), until_s, ordered, max_retransmits, rtt_s, seed))


async def _deliver(
    tape: Tape,
    links: tuple[Carrier, Carrier],
    until_s: float,
    ordered: bool,
    max_retransmits: int | None,
    rtt_s: float | None,
    seed: int,
) -> Deliveries:
    chance = random.Random(seed)
    system = SimpleNamespace(urandom=chance.randbytes)
    times: list[float | None] = [None] * len(tape)
    with replaced(rtcsctptransport, time=clock(), os=system, random32=lambda: chance.getrandbits(32)):
        sender, receiver = _End("client"), _End("server")
        parameters = RTCDataChannelParameters(negotiated=True, id=0, ordered=ordered, maxRetransmits=max_retransmits)
        channel, far = (RTCDataChannel(end.sctp, parameters) for end in (sender, receiver))
        await _connect(sender, receiver)
        if rtt_s is not None:
            sender.sctp._update_rto(rtt_s)
        out, home = Wire(links[0], receiver.take), Wire(links[1], sender.take)
        sender.put, receiver.put = _onto(out), _onto(home)

        def got(message: bytes) -> None:
            times[int.from_bytes(message[:4], "big")] = asyncio.get_running_loop().time()

        def send(number: int) -> None:
            channel.send(number.to_bytes(4, "big") + tape[number][2][4:])

        far.on("message", got)
        queue = await play(tape, send, lambda: _queued(channel, sender.sctp), until_s)
    return Deliveries(times, queue, out.bytes, home.bytes)


class _End:
    """An SCTP transport, and what it takes for its DTLS transport."""

    state = "connected"

    def __init__(self, role: str) -> None:
        self._role = role
        self._tasks: set[asyncio.Task[None]] = set()
        self.put: Callable[[bytes], object] = bytes
        self.sctp = RTCSctpTransport(self, _PORT)

    def take(self, data: bytes) -> None:
        """One packet from the other end."""
        task = asyncio.ensure_future(self.sctp._handle_data(data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_data(self, data: bytes) -> None:
        self.put(data)

    def _register_data_receiver(self, receiver: Any) -> None:
        pass


async def _connect(one: _End, other: _End) -> None:
    """Associate two ends in no time."""
    one.put, other.put = other.take, one.take
    for end in (one, other):
        await end.sctp.start(RTCSctpCapabilities(maxMessageSize=65536), _PORT)
    while one._tasks or other._tasks:
        await asyncio.sleep(0)
    assert one.sctp.state == other.sctp.state == "connected"


def _onto(wire: Wire[bytes]) -> Callable[[bytes], None]:
    return lambda data: wire.send(data, len(data) + BELOW_SCTP)


def _queued(channel: Any, sctp: Any) -> int:
    """Bytes of messages that no packet has carried yet."""
    waiting = sum(len(chunk.user_data) for chunk in sctp._outbound_queue)
    return int(channel.bufferedAmount) + waiting
