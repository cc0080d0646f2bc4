"""How fast may we send? A round-trip estimator and a plain rate: small steps up, in proportion down.

    acks ──> RttEstimator ──> srtt, rttvar, min_rtt ─┐
    acks ──> received / lost counts ─────────────────┼─> rate ──> token bucket ──> allowance(now)
    sends ─> bytes used ─────────────────────────────┘

Down when more than a tenth is lost (in proportion, so that plain radio loss does not starve us) or when
the round trip rises well above its minimum (a queue is building). Up, at most once a round trip, only when
the application used what it had: an idle sender learns nothing and must not grow.
"""

from __future__ import annotations

from collections import deque

from transport.config import SessionConfig

_MIN_RTT_WINDOW = 10.0
_LOSS_DECREASE = 0.10
_LOSS_HOLD = 0.02
_MIN_SAMPLE = 10


class RttEstimator:
    """Smoothed round trip and its variation, as in RFC 6298; `minimum` over the last ten seconds."""

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0
        self._window: deque[tuple[float, float]] = deque()

    def add(self, sample: float, now: float) -> None:
        """Take in one measured round trip."""
        if self.smoothed is None:
            self.smoothed, self.variation = sample, sample / 2
        else:
            self.variation += (abs(self.smoothed - sample) - self.variation) / 4
            self.smoothed += (sample - self.smoothed) / 8
        while self._window and self._window[-1][1] >= sample:
            self._window.pop()
        self._window.append((now, sample))
        while self._window[0][0] < now - _MIN_RTT_WINDOW:
            self._window.popleft()

    @property
    def minimum(self) -> float:
        """The smallest recent sample; 0 before the first."""
        return self._window[0][1] if self._window else 0.0

    def timeout(self, config: SessionConfig) -> float:
        """How long to wait for an acknowledgement before assuming loss."""
        if self.smoothed is None:
            return config.initial_timeout
        return max(config.min_timeout, self.smoothed + 4 * self.variation + config.ack_delay)


class RateController:
    """Rate and token bucket; `rate` is in bits per second."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self._config = config
        self.rtt = RttEstimator()
        self.rate = config.start_rate
        self.loss = 0.0
        self._tokens = self._depth()
        self._filled_at = now
        self._round_start = now
        self._used = 0
        self._received = 0
        self._lost = 0
        self._round_samples: list[float] = []

    def _depth(self) -> float:
        return self.rate / 8 * self._config.bucket_depth

    def _fill(self, now: float) -> None:
        elapsed = max(0.0, now - self._filled_at)
        self._tokens = min(self._depth(), self._tokens + elapsed * self.rate / 8)
        self._filled_at = max(now, self._filled_at)

    def allowance(self, now: float) -> int:
        """Bytes that may leave now; never more than the bucket's depth."""
        self._fill(now)
        return max(0, int(self._tokens))

    def ready_at(self, now: float) -> float:
        """When the next packet may leave (a packet may overdraw the bucket, then it must refill)."""
        self._fill(now)
        return now if self._tokens >= 1 else now + (1.001 - self._tokens) * 8 / self.rate

    def on_sent(self, size: int, now: float) -> None:
        """`size` bytes left."""
        self._fill(now)
        self._tokens -= size
        self._used += size

    def on_ack(self, received: int, lost: int, sample: float | None, now: float) -> None:
        """An acknowledgement told of so many packets received and lost, and perhaps a round trip."""
        if sample is not None:
            self.rtt.add(sample, now)
            self._round_samples.append(sample)
        self._received += received
        self._lost += lost
        if now - self._round_start >= max(0.1, self.rtt.smoothed or 0.1):
            self._end_round(now)

    def on_timeout(self, now: float) -> None:
        """Nothing was acknowledged for a whole timeout."""
        self._scale(0.7, now)
        self._start_round(now)

    def _end_round(self, now: float) -> None:
        used = self._used * 8 / max(now - self._round_start, 1e-9)
        enough = self._received + self._lost >= _MIN_SAMPLE
        if enough:
            share = self._lost / (self._received + self._lost)
            self.loss += (share - self.loss) / 4
        if enough and self.loss > _LOSS_DECREASE:
            self._scale(1 - self.loss / 2, now)
        elif self._queue_builds():
            self._scale(0.85, now)
        elif self.loss <= _LOSS_HOLD and used >= 0.7 * self.rate:
            self._scale(1 + min(0.08, 8 * self._config.max_packet / self.rate), now)
        self._start_round(now, keep_counts=not enough)

    def _queue_builds(self) -> bool:
        if not self._round_samples:
            return False
        return min(self._round_samples) > 1.5 * self.rtt.minimum + 0.05

    def _scale(self, factor: float, now: float) -> None:
        self._fill(now)
        self.rate = min(self._config.max_rate, max(self._config.min_rate, self.rate * factor))

    def _start_round(self, now: float, *, keep_counts: bool = False) -> None:
        self._round_start = now
        self._used = 0
        self._round_samples = []
        if not keep_counts:
            self._received = self._lost = 0
