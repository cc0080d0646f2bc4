"""How fast may we send? Delay first, loss second, and never more than is known to be there.

    acks ──> RttEstimator ──> srtt, min_rtt ───────────────────────┐
    acks ──> Delay (one way, by the receiver's clock) ──> queue ───┤
    acks ──> received / lost ──> loss, loss that is the radio's ───┼─> rate ──> token bucket ─┐
    acks ──> delivered ────────────────────────────────────────────┘                          ├─> allowance(now)
    sends ─> under way, buffered below us ─────────────────────────> window ──────────────────┘

Once a round trip: a queue that stands brings the rate below what was delivered; loss beyond what the radio always
loses brings it down in proportion. Up, quickly while the last ceiling is far, gently near it, and only when the
application used what it had: an idle sender learns nothing and must not grow.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from transport.config import SessionConfig

_WINDOW = 10.0  # seconds over which the smallest delay counts as the empty path's
_ROUND = 0.1  # the shortest round
_RECENT = 4.0  # seconds that the best delivery counts for
_DELIVERED = 0.5  # seconds over which deliveries are counted
_QUEUE = 0.06  # a standing queue of so many seconds is too much
_LOSS_EXCESS = 0.10
_LOSS_HOLD = 0.02
_MIN_SAMPLE = 10
_SHRINK = 0.85
_DRAIN = 0.35  # the longer a queue, the more of what is delivered goes into emptying it
_YIELD = 0.7
_ABOVE = 1.1
_PATIENCE = 2  # rounds
_GROW_FAR, _GROW_NEAR = 1.4, 1.06
_USED = 0.5  # who uses less of the rate is limited by the application
_SPARE = 300  # bytes that may be under way beyond what fills the path, so that small things need not wait
_DEAD_LINK = 32_000.0  # bits a second: less makes no dead link better
_RADIO = 1 / 8


class Smallest:
    """The smallest of recent samples."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, float]] = deque()

    def add(self, sample: float, now: float) -> None:
        """Take in one sample."""
        while self._window and self._window[-1][1] >= sample:
            self._window.pop()
        self._window.append((now, sample))
        while self._window[0][0] < now - _WINDOW:
            self._window.popleft()

    @property
    def value(self) -> float | None:
        """The smallest; None before the first."""
        return self._window[0][1] if self._window else None


class RttEstimator:
    """Smoothed round trip and its variation, as in RFC 6298; `minimum` over the last ten seconds."""

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0
        self._smallest = Smallest()

    def add(self, sample: float, now: float) -> None:
        """Take in one measured round trip."""
        if self.smoothed is None:
            self.smoothed, self.variation = sample, sample / 2
        else:
            self.variation += (abs(self.smoothed - sample) - self.variation) / 4
            self.smoothed += (sample - self.smoothed) / 8
        self._smallest.add(sample, now)

    @property
    def minimum(self) -> float:
        """The smallest recent sample; 0 before the first."""
        return self._smallest.value or 0.0

    def timeout(self, config: SessionConfig, held: bool = True) -> float:
        """How long to wait for an acknowledgement, which may be held back, before assuming loss."""
        if self.smoothed is None:
            return config.initial_timeout
        least = config.min_timeout + held * config.ack_delay
        return max(least, self.smoothed + 4 * self.variation + held * config.ack_delay)


@dataclass(frozen=True)
class Arrival:
    """What one acknowledgement says of the newest version it names: its times, where they are known."""

    round_trip: float | None = None
    one_way: float | None = None  # by two clocks: only differences mean anything


class RateController:
    """Rate, bucket and window; `rate` is in bits per second, `queue` in seconds."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self._config = config
        self.rtt = RttEstimator()
        self.rate = config.start_rate
        self.loss = 0.0
        self.queue = 0.0
        self.limit: float | None = None  # what the receiver's application takes, bits per second
        self.why = "start"
        self._radio_loss = 0.0
        self._yielding: tuple[float, float] | None = None  # what was delivered and lost when the rate began to yield
        self._yielded = 0  # rounds since it came down to that
        self._one_way = Smallest()
        self._emptied = Smallest()  # the same without what each trip took beyond the shortest; negated, for the largest
        self._ceiling: float | None = None
        self._tokens = self._depth()
        self._filled_at = now
        self._delivered: deque[tuple[float, int]] = deque()
        self._round_start = now
        self._used = 0
        self._received = self._lost = 0
        self._trips: list[float] = []
        self._queues: list[float] = []
        self._share = 0.0  # lost in the last round with enough of both
        self._tried = False  # whether any loss was measured
        self._rounds: deque[tuple[float, float]] = deque()  # what was delivered by the end of each

    # -- how much

    @property
    def pace(self) -> float:
        """What may leave, bits per second: the network's rate, or less where the receiver takes less."""
        return self.rate if self.limit is None else min(self.rate, self.limit)

    def _depth(self) -> float:
        return self.pace / 8 * self._config.bucket_depth

    def _fill(self, now: float) -> None:
        elapsed = max(0.0, now - self._filled_at)
        self._tokens = min(self._depth(), self._tokens + elapsed * self.pace / 8)
        self._filled_at = max(now, self._filled_at)

    def allowance(self, now: float, under_way: int = 0) -> int:
        """Bytes that may leave now, with so many under way: never more than the bucket's depth."""
        self._fill(now)
        return max(0, int(min(self._tokens, self.window() - under_way)))

    def window(self) -> float:
        """Bytes that may be under way at once."""
        patience = self.rtt.minimum + self._config.ack_delay + 2 * _QUEUE
        return self.pace / 8 * patience + _SPARE

    def ready_at(self, now: float) -> float:
        """When the next packet may leave (a packet may overdraw the bucket, then it must refill)."""
        self._fill(now)
        if self._tokens >= 1:
            return now
        return now + (1.001 - self._tokens) * 8 / self.pace if self.pace else now + self._config.max_timeout

    def eager(self, now: float) -> bool:
        """Whether it pays to have each arrival told at once, with its clock."""
        used = self._used * 8 / max(now - self._round_start, _ROUND)
        return used >= _USED / 2 * self.pace or self.queue > _QUEUE / 2 or self.loss > _LOSS_HOLD / 4

    # -- what happens

    def on_sent(self, size: int, now: float) -> None:
        """`size` bytes left."""
        self._fill(now)
        self._tokens -= size
        self._used += size

    def on_ack(self, received: int, lost: int, size: int, arrival: Arrival, now: float) -> None:
        """An acknowledgement told of so many versions received (of `size` bytes) and lost, and perhaps of times."""
        if arrival.round_trip is not None:
            self.rtt.add(arrival.round_trip, now)
            self._trips.append(arrival.round_trip)
        if arrival.one_way is not None:
            beyond = max(0.0, (arrival.round_trip or 0.0) - self.rtt.minimum)
            self._one_way.add(arrival.one_way, now)
            self._emptied.add(beyond - arrival.one_way, now)
            self._queues.append(arrival.one_way - self._empty())
        self._delivered.append((now, size))
        while self._delivered[0][0] < now - max(_DELIVERED, 2 * self.rtt.minimum):
            self._delivered.popleft()
        self._received += received
        self._lost += lost
        if now - self._round_start >= max(_ROUND, self.rtt.minimum):
            self._end_round(now)

    def _empty(self) -> float:
        """The empty path's one way: the least seen, or less where no trip says that its queue lay elsewhere.

        What a trip takes beyond the shortest may be queue before the receiver, or the acknowledgement was late, on its
        way or at an end that was busy: the trip that was delayed least knows best.
        """
        return min(self._one_way.value or 0.0, -(self._emptied.value or 0.0))

    def standing(self) -> bool:
        """Whether there is a queue on the path."""
        return self.queue > _QUEUE

    def delivered(self, now: float) -> float:
        """What has been arriving lately, bits per second."""
        span = max(_DELIVERED, 2 * self.rtt.minimum)
        return sum(size for time, size in self._delivered if time >= now - span) * 8 / span

    def on_timeout(self, now: float, again: bool = False) -> None:
        """Nothing was acknowledged for a whole timeout, or `again`: a link that is down once is not yet a full one."""
        least = _DEAD_LINK if again else max(self._best(), _DEAD_LINK)
        self._set(max(_YIELD * self.rate, min(self.rate, least)), "timeout", now)
        self._start_round(now)

    def _end_round(self, now: float) -> None:
        used = self._used * 8 / max(now - self._round_start, 1e-9)
        delivered = self.delivered(now)
        enough = self._received + self._lost >= _MIN_SAMPLE
        if enough:
            self._share = self._lost / (self._received + self._lost)
            self.loss = self.loss + (self._share - self.loss) / 4 if self._tried else self._share
            self._tried = True
        before, self.queue = self.queue, self._standing()
        excess = self.loss - self._radio_loss
        serial = self._config.max_packet * 8 / max(self.rate, 1.0)  # a packet's own time on a slow link is no queue
        allowed = _QUEUE + min(serial, 0.1)
        if self.queue > allowed:  # a queue that stands says that what arrives is all that there is room for
            sure = used >= _USED * self.rate or (self.queue > 2 * allowed and before > allowed)
            self._ceiling = delivered if sure else self._ceiling
            room = (_SHRINK - min(_DRAIN, self.queue / 2)) * delivered
            self._set(min(self.rate, max(room, 0.0 if sure else 0.5 * self.rate)), "queue", now)
        elif enough and min(excess, self._share - self._radio_loss) > _LOSS_EXCESS:
            self._yield_to_loss(used, now)
        else:
            self._yielding = None if enough else self._yielding
            self._radio_loss += enough * min(0.0, excess) * _RADIO
            calm = min(self.loss, self._share) <= self._radio_loss + _LOSS_HOLD
            if calm and used >= _USED * self.rate and self.queue <= _QUEUE / 2:
                self._grow(now)
        self._rounds.append((now, delivered))
        while self._rounds[0][0] < now - _RECENT:
            self._rounds.popleft()
        self._start_round(now, keep_counts=not enough)

    def _standing(self) -> float:
        """The queue that even this round's luckiest packet met."""
        if self._queues:
            return min(self._queues)
        if self._trips:
            return max(0.0, min(self._trips) - self.rtt.minimum)
        return self.queue

    def _best(self) -> float:
        """The most that was delivered lately: an outage tells nothing of the link that comes back."""
        return max((bps for _, bps in self._rounds), default=0.0)

    def _yield_to_loss(self, used: float, now: float) -> None:
        """Down to what did arrive. Loss that halves at least was a bottleneck's; else it is the radio's: let it be."""
        if self._yielding is None:
            self._yielding, self._yielded = (self._best(), self.loss), 0
            self._set(min(self.rate, max(_ABOVE * used, self._best())), "loss", now)
        floor, loss = self._yielding
        if self.rate > _ABOVE * max(floor, self._config.min_rate):
            self._set(max(_YIELD * self.rate, floor), "loss", now)
            return
        self._yielded += 1
        if self._yielded > _PATIENCE:
            if self._share > loss / 2:
                self.loss = self._radio_loss = self._share
            self._yielding = None

    def _grow(self, now: float) -> None:
        near = self._ceiling is not None and 0.8 * self._ceiling < self.rate < 1.2 * self._ceiling
        if self._ceiling is not None and self.rate >= 1.2 * self._ceiling:
            self._ceiling = None
        self._set(self.rate * (_GROW_NEAR if near else _GROW_FAR), "room", now)

    def _set(self, rate: float, why: str, now: float) -> None:
        self._fill(now)
        self.rate = min(self._config.max_rate, max(self._config.min_rate, rate))
        self.why = why

    def _start_round(self, now: float, *, keep_counts: bool = False) -> None:
        self._round_start = now
        self._used = 0
        self._trips, self._queues = [], []
        if not keep_counts:
            self._received = self._lost = 0
