"""What a baseline is given and gives back, and what lies between its two ends, in virtual time.

    Tape --play--> send(number) --Wire over a link--> the other end --> Deliveries: when each packet was handed over
                                <--Wire over a link-- acknowledgements

Times are those of the running loop, which starts at 0 with the tape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

from experiments.bench import BenchError

Tape = Sequence[tuple[float, int, bytes]]  # (time in seconds, frame number, packet): what a sender emits
T = TypeVar("T")

SMALLEST, LARGEST = 4, 1100  # bytes of a packet; a baseline may number packets in their first four
SAMPLE_S = 0.05


class Carrier(Protocol):
    """A `transport.impair.Link`, or whatever else carries packets as one does. Each run needs fresh ones."""

    def push(self, data: bytes, now: float) -> None: ...
    def pop(self, now: float) -> list[bytes]: ...
    def next_time(self) -> float | None: ...


@dataclass(frozen=True)
class Deliveries:
    """What became of a tape."""

    packets: Sequence[float | None]  # when each was handed to the receiver's application, None if not in time
    queue: Sequence[tuple[float, int]]  # (time, bytes of packets that wait at the sender to be sent a first time)
    wire_there: int  # bytes with every header, lost ones too
    wire_back: int

    @property
    def queue_max(self) -> int:
        """The longest queue at the sender."""
        return max((size for _, size in self.queue), default=0)

    def frames(self, tape: Tape) -> dict[int, float | None]:
        """When the last packet of each frame was handed over; None where one is missing."""
        out: dict[int, float | None] = {}
        for (_, frame, _), time_s in zip(tape, self.packets, strict=True):
            before = out.get(frame, time_s)
            out[frame] = None if before is None or time_s is None else max(before, time_s)
        return out


def check(tape: Tape) -> None:
    """Refuse a tape that no sender of ours emits."""
    if tape and (tape[0][0] < 0 or any(after[0] < before[0] for before, after in pairwise(tape))):
        raise BenchError("a tape's times start at 0 or later and never fall")
    if any(not SMALLEST <= len(packet) <= LARGEST for _, _, packet in tape):
        raise BenchError(f"a tape's packets have {SMALLEST} to {LARGEST} bytes")


async def play(
    tape: Tape, send: Callable[[int], object], queued: Callable[[], int], until_s: float
) -> list[tuple[float, int]]:
    """Send the packets of a tape at their times; the queue at the sender after each, and every SAMPLE_S."""
    loop = asyncio.get_running_loop()
    samples: list[tuple[float, int]] = []

    def look() -> None:
        samples.append((loop.time(), queued()))

    def look_again(number: int) -> None:
        loop.call_soon(look)
        loop.call_at((number + 1) * SAMPLE_S, look_again, number + 1)

    def hand_over(number: int) -> None:
        send(number)
        loop.call_soon(look)
        if number + 1 < len(tape):
            loop.call_at(tape[number + 1][0], hand_over, number + 1)

    if tape:
        loop.call_at(tape[0][0], hand_over, 0)
    loop.call_at(0.0, look_again, 0)
    await asyncio.sleep(until_s - loop.time())
    return samples


class Wire(Generic[T]):
    """One direction between two ends: things of a size on the link come out at its far end, or never."""

    def __init__(self, link: Carrier, arrive: Callable[[T], object]) -> None:
        self._link, self._arrive = link, arrive
        self._things: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0

    def send(self, thing: T, size: int) -> None:
        """Put something onto the link that is so many bytes long there, headers and all."""
        self._link.push(len(self._things).to_bytes(4, "big") + bytes(size - 4), asyncio.get_running_loop().time())
        self._things.append(thing)
        self.bytes += size
        self._wake()

    def _wake(self) -> None:
        when = self._link.next_time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else asyncio.get_running_loop().call_at(when, self._pop)

    def _pop(self) -> None:
        for data in self._link.pop(asyncio.get_running_loop().time()):
            self._arrive(self._things[int.from_bytes(data[:4], "big")])
        self._wake()
