"""An application that always has more to say, on a link that grows narrow and wide again: what does the rate do?

as much as `allowance` gives, every 20 ms --> Session ==> link: 5 Mbps, 100 kbps, 5 Mbps ==> Session
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from experiments.networks import BROAD_BPS, NARROW_FROM_S, NARROW_UNTIL_S, narrowing
from transport.events import DeltaReceived
from transport.session import Session
from transport.states import Role

EVERY_S = 0.02
END_S = 14.0
SPAN_S = 0.25  # over which what arrives is counted


@dataclass(frozen=True)
class Greedy:
    """Times in seconds, rates in bits a second."""

    waited_max_s: float  # of any packet in our own outbox
    path_queue_max_s: float  # beyond the empty path's delay, the 64 kB that were under way at the drop included
    drained_s: float | None  # from the drop until the path's queue was below 0.2 s for good
    narrow_use: float  # share of the narrow link used, over its second half
    recovered_s: float | None  # from the widening until 90% of the wide link arrives
    broad_use: float  # share of the wide link used from there to the end


def run(seed: int = 0) -> Greedy:
    """Fourteen seconds in virtual time."""
    there, back = narrowing(seed)
    one = Session(Role.SENDER, codec_hash=b"", meta={}, now=0.0, wall_ms=0, session_id=bytes(16))
    other = Session(Role.RECEIVER, codec_hash=b"", meta={}, now=0.0, wall_ms=0)
    made: dict[int, float] = {}
    waited: list[float] = []
    arrivals: list[tuple[float, float, int]] = []  # time, delay, bytes
    left: dict[int, float] = {}

    def step(now: float) -> None:
        for data in there.pop(now):
            for event in other.receive_datagram(data, now):
                if isinstance(event, DeltaReceived):
                    arrivals.append((now, now - left[event.version], len(event.payload)))
                    other.applied(event.version, now)
        other.handle_timeout(now)
        for data in back.pop(now):
            one.receive_datagram(data, now)
        one.handle_timeout(now)
        before = set(one.needed())
        for _, data in one.datagrams_to_send(now):
            there.push(data, now)
        for version in before & made.keys():
            if version not in left:
                left[version] = now
                waited.append(now - made[version])
        for _, data in other.datagrams_to_send(now):
            back.push(data, now)

    now, tick = 0.0, 0
    while now < END_S:
        if now >= tick * EVERY_S:
            tick += 1
            while (room := min(one.allowance(now), one.config.max_update)) > 50:
                version = one.send_delta(
                    base=one.base(now),
                    payload=bytes(room - 20 - room // 80),
                    capture_ms=round(now * 1000),
                    state_hash=None,
                    now=now,
                )
                made[version] = now
        step(now)
        times = (tick * EVERY_S, there.next_time(), back.next_time(), one.next_timeout(), other.next_timeout())
        now = max(now + 1e-5, min(time for time in times if time is not None))
    return _judge(arrivals, max(waited))


def _judge(arrivals: Sequence[tuple[float, float, int]], waited_max_s: float) -> Greedy:
    least = min(delay for _, delay, _ in arrivals)
    late = [time for time, delay, _ in arrivals if delay - least > 0.2]
    drained = max((time for time in late if time < NARROW_UNTIL_S), default=NARROW_FROM_S) - NARROW_FROM_S

    def rate(start: float, end: float) -> float:
        return sum(size for time, _, size in arrivals if start <= time < end) * 8 / (end - start)

    spans = [NARROW_UNTIL_S + k * 0.05 for k in range(int((END_S - NARROW_UNTIL_S) / 0.05) - 5)]
    full = next((start for start, _ in pairwise(spans) if rate(start, start + SPAN_S) >= 0.9 * BROAD_BPS), None)
    half = (NARROW_FROM_S + NARROW_UNTIL_S) / 2
    return Greedy(
        waited_max_s, max(delay for _, delay, _ in arrivals) - least, drained,
        rate(half, NARROW_UNTIL_S) / 100e3, None if full is None else full + SPAN_S - NARROW_UNTIL_S,
        rate(full or END_S - 1, END_S) / BROAD_BPS,
    )  # fmt: skip
