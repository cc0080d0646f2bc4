"""The sending side of a session: versions, bases, loss, and what the network should take now."""

from __future__ import annotations

from transport.congestion import RateController
from transport.core import Core, earliest
from transport.errors import LocalProtocolError
from transport.events import Acknowledged, BaseLost, FeedbackReceived, Refresh
from transport.flight import Flight, FlightTable
from transport.lanes import Item, Lane
from transport.wire import Ack, Delta, Feedback, Heartbeat, RefreshRequest, expand, push_packet


class SenderSide:
    """Chains versions optimistically, falls back to the newest acknowledged one when that was wrong."""

    def __init__(self, core: Core, now: float) -> None:
        self._core = core
        self._config = core.config
        self._table = FlightTable(core.config.history)
        self.rate = RateController(core.config, now)
        self._backoff = 0
        self._hash_sent_at: float | None = None
        self._probed_at = now
        self._probe: int | None = None
        self._refresh_served = 0
        self._feedback_seen = -1

    # -- what the application asks

    def base(self) -> int:
        """The version to diff against now."""
        return self._table.tip

    def next_version(self) -> int:
        """The version that the next delta will be given."""
        return self._table.newest + 1

    def oldest_needed(self) -> int:
        """Versions below this may be forgotten."""
        return self._table.oldest_needed()

    def needed(self) -> frozenset[int]:
        """The versions that can still become a base."""
        return self._table.needed()

    def blocked(self) -> bool:
        """Too much is under way without an answer."""
        return len(self._table) >= self._config.max_in_flight

    def allowance(self, now: float) -> int:
        """Bytes that may be handed to `send_delta` now."""
        if self.blocked():
            return 0
        queued = self._core.outbox.queued_bytes(Lane.ANCHOR, Lane.DELTA)
        return max(0, self.rate.allowance(now) - queued)

    def send_delta(
        self,
        base: int,
        payload: bytes,
        capture_ms: int,
        state_hash: int | None,
        now: float,
        lane: Lane,
        deadline: float | None,
    ) -> int:
        """Queue one delta and return its version."""
        self._check(base, payload, state_hash, lane)
        flight = self._table.open(base, len(payload), state_hash)
        distance = flight.version - base if base else 0
        shown = state_hash if self._hash_is_due(lane, now) else None
        anchor = lane is Lane.ANCHOR
        data = push_packet(Delta(flight.version, distance, capture_ms, payload, shown, anchor))
        if shown is not None:
            self._hash_sent_at = now
        if not self._core.outbox.push(Item(lane, data, self._deadline(lane, deadline, now), flight.version)):
            self._core.drop(now, "outbox-full", version=flight.version)
            self._never_sent({flight.version}, now)
        return flight.version

    def _check(self, base: int, payload: bytes, state_hash: int | None, lane: Lane) -> None:
        if not self._table.usable(base):
            raise LocalProtocolError(f"version {base} is no usable base now, base() says {self._table.tip}")
        if len(payload) > self._config.max_payload:
            raise LocalProtocolError(
                f"payload of {len(payload)} bytes, the limit is {self._config.max_payload}: "
                "split the patch into several versions"
            )
        if lane is Lane.CONTROL:
            raise LocalProtocolError("deltas travel on the anchor or the delta lane, not on control")
        if state_hash is not None and not 0 <= state_hash < 1 << 32:
            raise LocalProtocolError(f"state_hash must fit 32 bits, not {state_hash}")
        if self.blocked():
            raise LocalProtocolError("too many versions under way; send nothing while allowance() is 0")

    def _hash_is_due(self, lane: Lane, now: float) -> bool:
        last = self._hash_sent_at
        return last is None or lane is Lane.ANCHOR or now - last >= self._config.hash_interval

    def _deadline(self, lane: Lane, deadline: float | None, now: float) -> float:
        if deadline is not None:
            return deadline
        late = self._config.anchor_deadline if lane is Lane.ANCHOR else self._config.delta_deadline
        return now + late

    # -- what leaves

    def on_sent(self, item: Item, now: float) -> None:
        """A delta left the outbox."""
        self.rate.on_sent(len(item.data), now)
        flight = self._table.get(item.version or 0)
        if flight is not None:
            flight.sent_at = now

    def expire(self, now: float) -> None:
        """Drop what waited too long, with everything built on it."""
        expired = self._core.outbox.expire(now)
        for item in expired:
            self._core.drop(now, "past-deadline", lane=item.lane.name.lower(), version=item.version)
        versions = {item.version for item in expired if item.version is not None}
        if versions:
            self._never_sent(versions, now)

    def _never_sent(self, versions: set[int], now: float) -> None:
        before = self._table.tip
        dead = self._table.withdraw(*versions)
        for item in self._core.outbox.discard(dead):
            self._core.drop(now, "base-dropped", version=item.version)
            versions = versions | {item.version or 0}
        self._table.forget(versions)
        self._tell_if_moved(before, "not sent", now)

    def heartbeat(self, now: float) -> None:
        """Say what the receiver should be showing; when blocked, ask about the newest version instead."""
        version = self._table.tip
        state_hash = self._table.tip_hash()
        if self.blocked():
            version, state_hash = self._table.newest, None
            self._probe = version
        self._probed_at = now
        packet = Heartbeat(version or None, state_hash if version else None, answer=self.blocked())
        self._core.control(packet, now, Lane.DELTA)

    # -- what arrives

    def on_ack(self, ack: Ack, now: float) -> None:
        """Learn what arrived, what was applied, what is lost."""
        near = self._table.newest
        applied = 0 if ack.applied is None else expand(ack.applied, near)
        newest = 0 if ack.newest is None else expand(ack.newest, near)
        if max(applied, newest) > near:
            self._core.drop(now, "ack-of-unsent-version", applied=applied, newest=newest)
            return
        before = self._table.tip
        self._learn_arrivals(ack, newest, now)
        if not self._table.knows(applied):
            self._restart("unknown version acknowledged", now)
        elif self._table.applied(applied):
            self._core.events.append(Acknowledged(applied))
        if ack.missing is not None:
            self._learn_missing(expand(ack.missing, near))
        self._tell_if_moved(before, "acknowledgement", now)

    def _learn_arrivals(self, ack: Ack, newest: int, now: float) -> None:
        if not newest:
            return
        received = self._table.mark_received(newest, ack.received)
        lost = self._table.mark_lost(newest, self._config.reorder_threshold)
        if received:
            self._backoff = 0
        for flight in lost:
            self._core.trace.add(now, "lost", version=flight.version)
        self._table.kill(*(flight.version for flight in lost))
        self.rate.on_ack(len(received), len(lost), _round_trip(received, newest, ack.hold_ms, now), now)

    def _learn_missing(self, missing: int) -> None:
        if missing == self._probe:  # what is still in the table was not applied when this was said
            self._table.kill(missing)
            self._table.resolve(missing)
            self._probe = None
        elif missing > self._table.acked and self._table.get(missing) is not None:
            self._table.kill(missing)

    def on_refresh_request(self, request: RefreshRequest, now: float) -> None:
        """Begin again from blank, once per request number."""
        if request.number <= self._refresh_served:
            self._core.drop(now, "refresh-served", number=request.number)
            return
        self._refresh_served = request.number
        self._restart("refresh", now)
        self._core.events.append(Refresh(request.reason))

    def on_feedback(self, feedback: Feedback, now: float) -> None:
        """Hand up the newest feedback."""
        if feedback.number <= self._feedback_seen:
            self._core.drop(now, "old-feedback", number=feedback.number)
            return
        self._feedback_seen = feedback.number
        self._core.events.append(FeedbackReceived(feedback.values))

    def _restart(self, why: str, now: float) -> None:
        queued = self._core.outbox.discard(range(self._table.newest + 1))
        for item in queued:
            self._core.drop(now, "restarted", version=item.version)
        self._table.restart()
        self._core.trace.add(now, "restart", why=why)

    def _tell_if_moved(self, before: int, why: str, now: float) -> None:
        if self._table.tip != before:
            self._core.trace.add(now, "base", before=before, base=self._table.tip, why=why)
            self._core.events.append(BaseLost(self._table.tip))

    # -- time

    def _timeout_at(self) -> float | None:
        waiting = self._table.waiting()
        if not waiting:
            return None
        wait = self.rate.rtt.timeout(self._config)
        wait = max(wait, min(wait * 2.0**self._backoff, self._config.max_timeout))
        return (waiting[0].sent_at or 0.0) + wait

    def _probe_at(self) -> float | None:
        if not self.blocked():
            return None
        return self._probed_at + max(self.rate.rtt.timeout(self._config), self._config.max_timeout / 2)

    def next_timeout(self, now: float) -> float | None:
        """When something here is due."""
        outbox = self._core.outbox
        ready = self.rate.ready_at(now) if outbox.queued_bytes(Lane.ANCHOR, Lane.DELTA) else None
        return earliest(self._timeout_at(), self._probe_at(), outbox.next_deadline(), ready)

    def handle_timeout(self, now: float) -> None:
        """Give up on what has not been acknowledged in time; ask when blocked."""
        due = self._timeout_at()
        if due is not None and now >= due:
            self._on_timeout(now)
        probe = self._probe_at()
        if probe is not None and now >= probe:
            self.heartbeat(now)

    def _on_timeout(self, now: float) -> None:
        before = self._table.tip
        waiting = self._table.waiting()
        self._core.trace.add(now, "timeout", versions=len(waiting), backoff=self._backoff)
        dead = self._table.kill(*(flight.version for flight in waiting))
        for item in self._core.outbox.discard(dead):
            self._core.drop(now, "base-dropped", version=item.version)
            self._table.forget({item.version or 0})
        self._backoff = min(self._backoff + 1, 6)
        self.rate.on_timeout(now)
        self._tell_if_moved(before, "timeout", now)


def _round_trip(received: list[Flight], newest: int, hold_ms: int, now: float) -> float | None:
    """The round trip of the newest version, if this is its first acknowledgement and its hold is known."""
    if not received or received[-1].version != newest or hold_ms >= 0xFFFF:
        return None
    sent_at = received[-1].sent_at
    return None if sent_at is None else max(0.0, now - sent_at - hold_ms / 1000)
