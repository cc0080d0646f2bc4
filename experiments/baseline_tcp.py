"""A websocket under a state stream: a model of a TCP sender and receiver in virtual time, not a kernel's stack.

    tape --websocket frames--> stream --segments, as the window allows--> Wire there --> in order --> times
                                      <-- acknowledgements with up to three SACK blocks -- Wire back

As in Linux: RACK and tail loss probe (RFC 8985), CUBIC (RFC 9438) from ten segments, timer by RFC 6298 with a variance
of at least 200 ms, no Nagle, acknowledgements after 40 ms or two segments and at once around a gap. Left out: opening,
TLS, HyStart, pacing, slow start after idle, undoing a window that shrank in error. The window counts bytes, not
packets, and buffers have no end. What is left out mostly favours this baseline, or is rare on a thin stream.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from experiments.deliveries import Carrier, Deliveries, Tape, Wire, check, play
from experiments.virtual_time import run

MSS = 1448
HEADERS = 20 + 20 + 12  # IPv4, TCP, timestamps
SACK_OPTION, SACK_BLOCK, SACK_BLOCKS = 4, 8, 3
DELAYED_ACK_S = 0.04
FIRST_TIMEOUT_S, LEAST_VARIANCE_S, LARGEST_TIMEOUT_S = 1.0, 0.2, 120.0
PROBE_ALONE_S = 0.2  # longer wait for a probe where one segment is out: its acknowledgement may be delayed
CUBIC_C, CUBIC_BETA = 0.4, 0.7
CLOCK_S = 1e-6  # times closer than this are the same

Span = tuple[int, int]  # bytes of the stream, [start, end)


def websocket_header(size: int) -> int:
    """Bytes before a message of up to 65,535 bytes from a client, which masks."""
    return 6 if size < 126 else 8


def deliver(tape: Tape, there: Carrier, back: Carrier, until_s: float, *, rtt_s: float | None = None) -> Deliveries:
    """Send a tape over fresh links; `rtt_s` is the round trip that opening the connection measured, if it did."""
    check(tape)
    return run(_deliver(tape, there, back, until_s, rtt_s))


async def _deliver(tape: Tape, there: Carrier, back: Carrier, until_s: float, rtt_s: float | None) -> Deliveries:
    ends = list(accumulate(websocket_header(len(packet)) + len(packet) for _, _, packet in tape))
    times: list[float] = []

    def got(end: int) -> None:
        whole = bisect_right(ends, end) - len(times)
        times.extend([_now()] * whole)

    receiver = _Receiver(lambda ack: home.send(ack, ack.size), got)
    sender = _Sender(lambda span: out.send(span, HEADERS + span[1] - span[0]), rtt_s)
    out, home = Wire(there, receiver.take), Wire(back, sender.take)
    queue = await play(tape, lambda number: sender.write(ends[number]), sender.queued, until_s)
    return Deliveries([*times, *[None] * (len(tape) - len(times))], queue, out.bytes, home.bytes)


@dataclass(frozen=True)
class _Ack:
    """All before `next` is here, and these blocks after it, the one that changed last first."""

    next: int
    blocks: tuple[Span, ...]

    @property
    def size(self) -> int:
        return HEADERS + (SACK_OPTION + SACK_BLOCK * len(self.blocks) if self.blocks else 0)


class _Receiver:
    def __init__(self, send: Callable[[_Ack], object], got: Callable[[int], object]) -> None:
        self._send, self._got = send, got
        self._next, self._unacknowledged = 0, 0
        self._blocks: list[Span] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self, span: Span) -> None:
        """One segment."""
        gap = bool(self._blocks) or span[0] != self._next
        joined = [span, *(block for block in self._blocks if block[0] <= span[1] and span[0] <= block[1])]
        start, end = min(block[0] for block in joined), max(block[1] for block in joined)
        self._blocks = [(start, end), *(block for block in self._blocks if block not in joined)]
        if start <= self._next:
            del self._blocks[0]
            self._next = max(self._next, end)
            self._got(self._next)
        self._unacknowledged += 1
        if gap or self._unacknowledged == 2:
            self._acknowledge()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAYED_ACK_S, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._unacknowledged = None, 0
        self._send(_Ack(self._next, tuple(self._blocks[:SACK_BLOCKS])))


class _Cubic:
    """The congestion window, in segments."""

    def __init__(self) -> None:
        self.size, self.threshold = 10.0, math.inf
        self._top, self._since, self._turn_s, self._reno = 0.0, math.nan, 0.0, 0.0

    def grow(self, segments: float, now: float, rtt_s: float) -> None:
        """So many segments arrived while the window was in full use."""
        if self.size < self.threshold:
            self.size += segments
            return
        if math.isnan(self._since):
            self._since, self._top, self._reno = now, max(self._top, self.size), self.size
            self._turn_s = ((self._top - self.size) / CUBIC_C) ** (1 / 3)
        target = CUBIC_C * (now - self._since + rtt_s - self._turn_s) ** 3 + self._top
        self._reno += 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA) * segments / self.size
        steps = min(max(target - self.size, 0.0), self.size / 2) * segments / self.size
        self.size = max(self.size + steps, self._reno)

    def rest(self) -> None:
        """The window is not in full use: time does not count."""
        self._since = math.nan

    def shrink(self) -> None:
        """Something was lost."""
        self._top = self.size * (1 + CUBIC_BETA) / 2 if self.size < self._top else self.size
        self.size = self.threshold = max(self.size * CUBIC_BETA, 2.0)
        self.rest()

    def restart(self) -> None:
        """A timeout: slow start from one segment."""
        self.size = 1.0
        self.rest()


@dataclass(eq=False)
class _Segment:
    start: int
    end: int
    sent_s: float = 0.0  # the last time
    times: int = 0
    arrived: bool = False
    lost: bool = False  # and not sent again since

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def order(self) -> tuple[float, int]:
        """Among all that was sent."""
        return self.sent_s, self.end

    @property
    def flying(self) -> bool:
        return not (self.arrived or self.lost)


class _Sender:
    def __init__(self, put: Callable[[Span], object], rtt_s: float | None) -> None:
        self._put, self._window = put, _Cubic()
        self._out: list[_Segment] = []  # what `next` of an acknowledgement has not passed, in order
        self._written = self._next = 0
        self._srtt: float | None = None
        self._variance, self._rtt_min, self._patience = 0.0, math.inf, 1
        self._newest, self._newest_rtt = (-1.0, 0), 0.0  # of all that arrived, what was sent last
        self._furthest, self._reordered = 0, False
        self._recovered, self._timed_out = 0, False  # in recovery before this is acknowledged; by a timeout?
        self._probed = 0  # no second probe before this is acknowledged
        self._progress_s = self._fresh_s = 0.0  # last acknowledgement or probe; last new segment
        self._look_s: float | None = None  # when to look for losses again
        self._timer: asyncio.TimerHandle | None = None
        if rtt_s is not None:
            self._measure(rtt_s)

    def queued(self) -> int:
        """Bytes written that no segment has carried yet."""
        return self._written - self._next

    def write(self, end: int) -> None:
        """The stream now goes on to here."""
        self._written = end
        self._transmit()

    def take(self, ack: _Ack) -> None:
        """One acknowledgement."""
        news = [one for one in self._out if not one.arrived and _covers(ack, one)]
        if not news:
            return
        full, first = self._full(), self._out[0].start
        for one in news:
            one.arrived, one.lost = True, False
        self._learn(news)
        self._out = [one for one in self._out if one.end > ack.next]
        if ack.next > first:
            self._progress_s, self._patience = _now(), 1
        self._timed_out &= ack.next < self._recovered
        if self._timed_out or ack.next >= self._recovered:
            self._adapt(sum(one.size for one in news) / MSS, full)
        self._look()

    def _learn(self, news: list[_Segment]) -> None:
        """The round trip, whether the path reorders, and what of all that arrived was sent last."""
        now = _now()
        if once := [one.sent_s for one in news if one.times == 1]:
            self._measure(now - min(once))
        for one in news:
            self._reordered |= one.times == 1 and one.end < self._furthest
            again = one.times > 1 and now - one.sent_s < self._rtt_min - CLOCK_S  # it's an earlier sending that arrived
            if one.order > self._newest and not again:
                self._newest, self._newest_rtt = one.order, now - one.sent_s
        self._furthest = max(self._furthest, news[-1].end)

    def _measure(self, rtt_s: float) -> None:
        if self._srtt is None:
            self._srtt, self._variance = rtt_s, rtt_s / 2
        else:
            self._variance += (abs(self._srtt - rtt_s) - self._variance) / 4
            self._srtt += (rtt_s - self._srtt) / 8
        self._rtt_min = min(self._rtt_min, rtt_s)

    def _adapt(self, segments: float, full: bool) -> None:
        if full:
            self._window.grow(segments, _now(), self._srtt or 0.0)
        else:
            self._window.rest()

    def _full(self) -> bool:
        """Whether the window holds the sender back; in slow start, half of it in use is enough."""
        used, window = self._flying() / MSS, self._window
        return 2 * used > window.size if window.size < window.threshold else used + 1 > window.size

    def _flying(self) -> int:
        return sum(one.size for one in self._out if one.flying)

    def _look(self) -> None:
        """RACK: what was sent a round trip and a little before something that arrived is lost."""
        now, recovering = _now(), bool(self._out) and self._out[0].start < self._recovered
        sure = recovering or sum(one.arrived for one in self._out) >= 3
        patience_s = self._newest_rtt + (0.0 if sure and not self._reordered else self._rtt_min / 4)
        older = [one for one in self._out if one.flying and one.order < self._newest]
        for one in older:
            one.lost = one.sent_s + patience_s <= now + CLOCK_S
        self._look_s = max((one.sent_s + patience_s for one in older if one.flying), default=None)
        lost = [one for one in older if one.lost]
        if lost and not recovering:
            self._recovered = self._next
            self._window.shrink()
            self._send(lost[0])
        self._transmit()

    def _transmit(self) -> None:
        """What is lost and then what is new, as far as the window goes."""
        room = self._window.size * MSS - self._flying()
        for one in self._out:
            if one.lost and one.size > room:
                room = 0
            if one.lost and room:
                room -= one.size
                self._send(one)
        while 0 < (size := min(MSS, self.queued())) <= room:
            room -= size
            self._send_new(size)
        self._set_timer()

    def _send_new(self, size: int) -> None:
        self._out.append(_Segment(self._next, self._next + size))
        self._next, self._fresh_s = self._next + size, _now()
        self._send(self._out[-1])

    def _send(self, one: _Segment) -> None:
        one.sent_s, one.times, one.lost = _now(), one.times + 1, False
        self._put((one.start, one.end))

    def _set_timer(self) -> None:
        """One timer: to look for losses, else to probe the tail, else to give up on all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._out:
            return
        due, action = max(self._out[0].sent_s, self._progress_s) + self._timeout(), self._time_out
        if self._look_s is not None:
            due, action = self._look_s, self._look
        elif self._srtt is not None and self._may_probe():
            alone = PROBE_ALONE_S if len(self._out) == 1 else 0.0
            due, action = min(due, max(self._fresh_s, self._progress_s) + 2 * self._srtt + alone), self._probe
        self._timer = asyncio.get_running_loop().call_at(max(due, _now()), action)

    def _timeout(self) -> float:
        if self._srtt is None:
            return FIRST_TIMEOUT_S * self._patience
        return min((self._srtt + max(4 * self._variance, LEAST_VARIANCE_S)) * self._patience, LARGEST_TIMEOUT_S)

    def _may_probe(self) -> bool:
        quiet = not any(one.arrived or one.lost for one in self._out)
        return quiet and self._out[0].start >= max(self._recovered, self._probed)

    def _probe(self) -> None:
        """Something new, or the last segment again, so that an acknowledgement tells what is lost."""
        if self.queued():
            self._send_new(min(MSS, self.queued()))
        else:
            self._send(self._out[-1])
        self._probed, self._progress_s = self._next, _now()
        self._set_timer()

    def _time_out(self) -> None:
        if not self._timed_out:
            self._window.shrink()
        self._window.restart()
        self._recovered, self._timed_out = self._next, True
        self._patience *= 2
        for one in self._out:
            one.lost |= one.flying and one.sent_s + self._newest_rtt + self._rtt_min / 4 <= _now()
        self._send(self._out[0])
        self._transmit()


def _covers(ack: _Ack, one: _Segment) -> bool:
    return one.end <= ack.next or any(start <= one.start and one.end <= end for start, end in ack.blocks)


def _now() -> float:
    return asyncio.get_running_loop().time()
