"""The receiving side of a session: which deltas fit what we hold, and when to say so."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from transport.core import Core, earliest
from transport.errors import LocalProtocolError
from transport.events import DeltaReceived, StateCheck
from transport.fields import expand, pack_map
from transport.lanes import Lane
from transport.pieces import Pieces
from transport.wire import ALL_ARRIVED, LIMIT_KEY, Ack, Delta, Feedback, Heartbeat, Part, RefreshRequest

_WINDOW = ALL_ARRIVED.bit_length()
_STILL_HERE = 1.0  # seconds within which a piece is answered, so that who sends long updates knows of us
_LIMIT_BYTES = len(pack_map({LIMIT_KEY: 0.5}))

MAX_VERSION = 1 << 32  # 4.5 years at 30 a second; keeps versions within what others store them in


class ReceiverSide:
    """Hands up deltas whose base is held (blank, applied lately, or handed up and not yet answered)."""

    def __init__(self, core: Core, now: float) -> None:
        self._core = core
        self._config = core.config
        self._applied: deque[int] = deque(maxlen=core.config.history)
        self._pending: dict[int, bool] = {}  # handed up, not answered; True: acknowledge at once
        self._handed_up: deque[int] = deque(maxlen=core.config.history)
        self._pieces = Pieces()
        self._clock = False
        self._newest = 0
        self._newest_at = now
        self._bitmap = ALL_ARRIVED  # of the versions before the newest; those below version 1 count as arrived
        self._capture_ms = 0
        self._capture_at = now
        self._ack_at: float | None = None
        self._acked_at = now
        self._missing: int | None = None
        self._feedback: dict[str, Any] | None = None
        self._limit: dict[str, Any] = {}  # the limit that the application set, if it ever set one
        self._feedback_number = 0
        self._feedback_at = now - core.config.feedback_interval
        self._refresh_number = 0
        self._refresh_reason: str | None = None
        self._refresh_at: float | None = None
        self._refresh_tries = 0
        self._refreshed_at = now - core.config.refresh_interval

    # -- what arrives

    def on_delta(self, delta: Delta, now: float) -> None:
        """Take in one delta: hand it up, or drop it with a reason."""
        version = expand(delta.version, max(self._newest, 1))
        base = version - delta.distance if delta.distance else 0
        if not 0 < version < MAX_VERSION or (delta.distance and base <= 0):
            self._core.drop(now, "bad-base", version=version, base=base)
            return
        payload = delta.payload if delta.part is None else self._whole(version, delta, delta.part, now)
        if payload is None:
            return
        in_order = self._note_arrival(version, now)
        reason = self._why_not(version, base)
        if reason is None:
            self._hand_up(delta, payload, version, base, now)
        else:
            self._core.drop(now, reason, version=version, base=base)
        if reason == "missing-base":
            self._missing = max(version, self._missing or 0)
        urgent = reason is not None or not in_order or len(self._handed_up) == 1 or delta.answer
        self._clock = self._clock or delta.answer
        self._ack_within(0.0 if urgent else self._config.ack_delay, now)

    def _whole(self, version: int, delta: Delta, part: Part, now: float) -> bytes | None:
        """The whole payload once a piece completes it; None while it does not, or where nobody wants it any more."""
        newest = self._handed_up[-1] if self._handed_up else 0
        payload = None
        if version in self._handed_up or self._arrived(version):
            self._core.trace.add(now, "spare", version=version, part=part.index)
        elif version < newest:
            self._core.drop(now, "stale", version=version)
        else:
            try:
                payload = self._pieces.add(version, delta, part)
                self._ack_within(_STILL_HERE, now)
            except ValueError:
                self._core.drop(now, "bad-piece", version=version, part=part.index)
        for each in self._pieces.settle(newest):
            self._core.drop(now, "incomplete", version=each)
        return payload

    def _arrived(self, version: int) -> bool:
        behind = self._newest - version
        return behind == 0 or (0 < behind <= _WINDOW and bool(self._bitmap >> (behind - 1) & 1))

    def _note_arrival(self, version: int, now: float) -> bool:
        """Keep the window of arrivals; False when this one leaves or fills a gap."""
        ahead = version - self._newest
        if ahead > 0:
            self._bitmap = (self._bitmap << ahead | 1 << (ahead - 1)) & ALL_ARRIVED
            self._newest, self._newest_at = version, now
        elif -_WINDOW <= ahead < 0:
            self._bitmap |= 1 << (-ahead - 1)
        return ahead == 1

    def _why_not(self, version: int, base: int) -> str | None:
        if self._handed_up and version <= self._handed_up[-1]:
            return "duplicate" if version in self._handed_up else "stale"
        return None if self._holds(base) else "missing-base"

    def _holds(self, version: int) -> bool:
        return version == 0 or version in self._applied or version in self._pending

    def _hand_up(self, delta: Delta, payload: bytes, version: int, base: int, now: float) -> None:
        if len(self._pending) >= self._config.history:
            self._core.drop(now, "application-behind", version=version)
            return
        first = not self._handed_up
        self._pending[version] = delta.anchor or first
        self._handed_up.append(version)
        if base == 0:
            self._refresh_at = None
        expected = self._capture_ms + int((now - self._capture_at) * 1000)
        capture_ms = expand(delta.capture_ms, expected)
        if capture_ms > self._capture_ms or first:
            self._capture_ms, self._capture_at = capture_ms, now
        self._core.trace.add(now, "arrived", version=version, capture_ms=capture_ms, size=len(payload))
        self._core.events.append(DeltaReceived(version, base, payload, capture_ms, delta.state_hash))

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """Check the sender's claim; answer when it is wrong, or when we have been silent for long."""
        newest = max(self._newest, 1)
        version = 0 if heartbeat.version is None else expand(heartbeat.version, newest)
        if version == self._newest_applied():
            if heartbeat.state_hash is not None:
                self._core.events.append(StateCheck(version, heartbeat.state_hash))
        elif version not in self._pending:
            if version > self._newest_applied():
                self._missing = max(version, self._missing or 0)
            self._ack_within(0.0, now)
        if heartbeat.answer or now - self._acked_at >= self._config.keepalive:
            self._ack_within(0.0, now)

    # -- what the application says

    def applied(self, version: int, now: float) -> None:
        """The application's state is now at `version`."""
        urgent = self._take_pending(version, now)
        if urgent is None:
            return
        self._applied.append(version)
        self._core.trace.add(now, "applied", version=version)
        self._ack_within(0.0 if urgent else self._config.ack_delay, now)

    def rejected(self, version: int, reason: str, now: float) -> None:
        """The application could not apply `version`: everything again, from blank."""
        if self._take_pending(version, now) is not None:
            self.request_refresh(reason, now)

    def _take_pending(self, version: int, now: float) -> bool | None:
        urgent = self._pending.pop(version, None)
        if urgent is None:
            forgotten = len(self._handed_up) == self._config.history and 0 < version < self._handed_up[0]
            if (version not in self._handed_up and not forgotten) or version in self._applied:
                raise LocalProtocolError(f"version {version} was not handed up, or was answered before")
            self._core.trace.add(now, "answer-after-refresh", version=version)
        return urgent

    def request_refresh(self, reason: str, now: float) -> None:
        """Ask for everything from blank; one request stands at a time."""
        self._applied.clear()
        self._pending.clear()
        if self._refresh_at is not None:
            self._core.trace.add(now, "refresh-pending", reason=reason)
            return
        self._refresh_number += 1
        self._refresh_reason, self._refresh_tries = reason, 0
        self._refresh_at = max(now, self._refreshed_at + self._config.refresh_interval)

    def send_feedback(self, values: Mapping[str, Any], now: float) -> None:
        """Keep `values` as the newest feedback to send."""
        if any(key.startswith("~") for key in values):
            raise LocalProtocolError("feedback keys that begin with ~ are the protocol's own")
        pack_map(values, "feedback", self._config.max_packet - 5 - _LIMIT_BYTES)
        kept = {key: value for key, value in (self._feedback or {}).items() if key == LIMIT_KEY}
        if self._feedback and self._feedback != kept:
            self._core.trace.drop(now, "feedback-replaced")
        self._feedback = dict(values) | kept

    def limit(self, rate: float | None) -> None:
        """Tell the sender how many bits a second the application takes; None: as many as come."""
        self._limit = {LIMIT_KEY: rate}
        self._feedback = (self._feedback or {}) | self._limit

    def resume(self, now: float) -> None:
        """Over a new path: what is incomplete will not be completed; say what is held and what is taken."""
        self._pieces = Pieces()
        self._ack_within(0.0, now)
        if self._limit:
            self._feedback = (self._feedback or {}) | self._limit

    # -- what leaves

    def _newest_applied(self) -> int:
        return self._applied[-1] if self._applied else 0

    def _ack_within(self, delay: float, now: float) -> None:
        self._ack_at = earliest(self._ack_at, now + delay)

    def next_timeout(self) -> float | None:
        """When something here is due."""
        return earliest(self._ack_at, self._feedback_due(), self._refresh_at)

    def _feedback_due(self) -> float | None:
        """When feedback is sent next; a limit is said again now and then, for it may have been lost."""
        if self._feedback is not None:
            return self._feedback_at + self._config.feedback_interval
        return self._feedback_at + self._config.keepalive if self._limit else None

    def queue_due(self, now: float) -> None:
        """Put into the outbox whatever is due."""
        if self._ack_at is not None and now >= self._ack_at:
            self._core.control(self._make_ack(now), now, Lane.DELTA)
        feedback_due = self._feedback_due()
        if feedback_due is not None and now >= feedback_due:
            values = self._limit if self._feedback is None else self._feedback
            self._core.control(Feedback(self._feedback_number, values), now)
            self._feedback, self._feedback_at = None, now
            self._feedback_number += 1
        if self._refresh_at is not None and now >= self._refresh_at:
            self._core.control(RefreshRequest(self._refresh_number, self._refresh_reason or ""), now)
            self._refresh_at = now + self._config.refresh_interval * 2.0 ** min(self._refresh_tries, 2)
            self._refreshed_at = now
            self._refresh_tries += 1

    def _make_ack(self, now: float) -> Ack:
        hold_ms = min(0xFFFF, int((now - self._newest_at) * 1000))
        ack = Ack(
            applied=self._newest_applied() or None,
            newest=self._newest or None,
            received=self._bitmap if self._newest else 0,
            hold_ms=hold_ms if self._newest else 0,
            missing=self._missing,
            clock_ms=round(self._newest_at * 1000) & 0xFFFF if self._clock and self._newest else None,
        )
        self._clock = False
        self._ack_at, self._acked_at, self._missing = None, now, None
        return ack
