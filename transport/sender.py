"""The sending side of a session: versions, bases, loss, and what the network should take now."""

from __future__ import annotations

from transport.congestion import Arrival, RateController
from transport.core import Core, earliest
from transport.errors import LocalProtocolError
from transport.events import Acknowledged, BaseLost, FeedbackReceived, Refresh
from transport.fields import expand
from transport.flight import Flight, FlightTable
from transport.lanes import Item, Lane
from transport.pieces import fold
from transport.wire import (
    LIMIT_KEY,
    MAX_HOLD_MS,
    Ack,
    Delta,
    Feature,
    Feedback,
    Heartbeat,
    Part,
    RefreshRequest,
    push_packet,
)

_MEMORY = 0.99  # what a sample of loss keeps of those before it
_PRIOR_LOST, _PRIOR = 0.2, 50  # as if so many had been lost of so many before the first
_CAUTIOUS, _BOLD = 0.04, 0.02  # the chance that a base is missing, from and down to which only acknowledged ones serve
_PARITY_LOSS = 0.01
_FEW = 2  # lost at a time: parity is of no use in an outage
_LOOK_AGAIN = 0.01  # seconds, while the path below is behind


class SenderSide:
    """Chains versions while that is safe, else builds on the newest acknowledged one.

    What was assumed to arrive and did not costs a round trip; building on acknowledged versions only costs bits.
    """

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
        self._features = Feature(0)
        self._clock_ms, self._clock_at = 1 << 16, now
        self._progress_at = now  # when something was acknowledged last
        self._told = self._told_lost = 0.0
        self._alone = 0.0  # of the lost, those that parity would have saved
        self._cautious = core.config.bases == "acknowledged"
        self.buffered = 0  # bytes that the path below has not sent yet

    def agree(self, features: Feature) -> None:
        """What both ends can do."""
        self._features = features

    # -- what the application asks

    def base(self, now: float) -> int:
        """The version to diff against now."""
        return self._table.acked if self._cautious or self._doubtful(now) else self._table.tip

    def _doubtful(self, now: float) -> bool:
        """Whether an answer is overdue, though not by so much that all under way counts as lost."""
        if self._config.bases != "auto" or self.rate.rtt.smoothed is None or not self._table.acked:
            return False
        waiting = self._table.waiting()
        soon = max(self._config.min_timeout, self.rate.rtt.smoothed) + self._config.ack_delay
        return bool(waiting) and now - (waiting[0].sent_at or now) > soon

    def next_version(self) -> int:
        """The version that the next delta will be given."""
        return self._table.newest + 1

    def oldest_needed(self) -> int:
        """Versions below this may be forgotten."""
        return self._table.oldest_needed()

    def needed(self) -> frozenset[int]:
        """The versions that can still become a base."""
        return self._table.needed()

    def max_update(self) -> int:
        """The largest payload of one delta."""
        return self._config.max_update if Feature.PARTS in self._features else self._config.max_payload

    def blocked(self) -> bool:
        """Too much is under way without an answer; what is dead among it gives way first."""
        while len(self._table) >= self._config.max_in_flight:
            if not self._table.drop_oldest_dead():
                return True
        return False

    def held_up(self) -> bool:
        """Whether the path below is behind by more than a packet and a twentieth of a second."""
        return self.buffered > self._config.max_packet + self.rate.pace / 8 * 0.05

    def allowance(self, now: float) -> int:
        """Bytes that may be handed to `send_delta` now."""
        if self.blocked():
            return 0
        queued = self._core.outbox.queued_bytes(Lane.ANCHOR, Lane.DELTA)
        left = self.rate.allowance(now, self._table.under_way()) - queued - self.buffered
        room = self._core.outbox.room(Lane.ANCHOR, Lane.DELTA) - 1  # packets, and one for parity
        left = min(left, room * self._config.max_piece)
        return max(0, left // 2 if self._protects() else left)

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
        pieces = self._pieces(payload)
        flight = self._table.open(base, sum(len(piece) for _, piece in pieces), state_hash)
        flight.answer, flight.packets = self._wants_answer(lane, now), sum(not _spare(part) for part, _ in pieces)
        distance = flight.version - base if base else 0
        shown = state_hash if self._hash_is_due(lane, now) else None
        if shown is not None:
            self._hash_sent_at = now
        late = self._deadline(lane, deadline, now)
        for part, piece in pieces:
            delta = Delta(
                flight.version, distance, capture_ms, piece, shown, lane is Lane.ANCHOR, flight.answer, part
            )  # fmt: skip
            if not self._core.outbox.push(Item(lane, push_packet(delta), late, flight.version, _spare(part))):
                self._core.drop(now, "outbox-full", version=flight.version)
                self._never_sent({flight.version}, now)
                break
        return flight.version

    def _pieces(self, payload: bytes) -> list[tuple[Part | None, bytes]]:
        """The payload as packets carry it, and their parity where that pays."""
        size = len(payload)
        if size <= self._config.max_payload and not self._protects():
            return [(None, payload)]
        count = max(1, -(-size // self._config.max_piece)) if size > self._config.max_payload else 1
        parts = [Part(i, count, size) for i in range(count + 1)]
        whole = parts[0].whole
        cut = [payload[i * whole : (i + 1) * whole] for i in range(count)]
        out: list[tuple[Part | None, bytes]] = [(None, payload)] if count == 1 else list(zip(parts, cut, strict=False))
        if self._protects() and size > 0 and whole <= self._config.max_piece:
            out.append((parts[-1], fold(cut, whole)))
        return out

    def _protects(self) -> bool:
        """Whether each update is worth its bytes again: what is lost would come back too late."""
        if Feature.PARITY not in self._features or self._config.parity == "never":
            return False
        if self._core.outbox.queued_bytes(Lane.ANCHOR, Lane.DELTA):
            return False  # what waits for room has none to spare
        if self._config.parity == "always":
            return True
        late = (self.rate.rtt.smoothed or 0.0) > self._config.delta_deadline
        return late and self._alone / (self._told + _PRIOR) > _PARITY_LOSS

    def _loss(self) -> float:
        """The share of versions lost, over the last hundred or so."""
        return (self._told_lost + _PRIOR_LOST) / (self._told + _PRIOR)

    def _wants_answer(self, lane: Lane, now: float) -> bool:
        if Feature.CLOCK not in self._features or lane is Lane.ANCHOR:
            return False
        return self._cautious or self._backoff > 0 or self.rate.eager(now)

    def _check(self, base: int, payload: bytes, state_hash: int | None, lane: Lane) -> None:
        if not self._table.usable(base):
            raise LocalProtocolError(f"version {base} is no usable base now, base() says {self._table.tip}")
        limit = self.max_update()
        if len(payload) > limit:
            raise LocalProtocolError(
                f"payload of {len(payload)} bytes, the limit is {limit}: split the patch into several versions"
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
        if flight is None or item.spare:
            return
        flight.packets -= 1
        if flight.packets == 0:
            flight.sent_at = now
            self._core.trace.add(
                now, "sent", version=flight.version, base=flight.base, size=flight.size, lane=item.lane.name.lower()
            )

    def expire(self, now: float) -> None:
        """Drop what waited too long, with everything built on it."""
        expired = self._core.outbox.expire(now)
        for item in expired:
            self._core.drop(now, "past-deadline", lane=item.lane.name.lower(), version=item.version)
        versions = {item.version for item in expired if item.version is not None and not item.spare}
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

    def heartbeat(self, now: float, ask: bool = False) -> None:
        """Say what the receiver should be showing; when blocked, ask about the newest version instead."""
        version = self._table.tip
        state_hash = self._table.tip_hash()
        if self.blocked():
            version, state_hash = self._table.newest, None
            self._probe = version
        self._probed_at = now
        packet = Heartbeat(version or None, state_hash if version else None, answer=ask or self.blocked())
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
        if self._table.knows(applied):
            if self._table.applied(applied):
                self._core.events.append(Acknowledged(applied))
        elif ack.missing is not None or not self._table.waiting():  # nothing will bring it back to what we know
            self._restart("the receiver shows a version that was given up", now)
        if ack.missing is not None:
            self._learn_missing(expand(ack.missing, near), now)
        self._tell_if_moved(before, "acknowledgement", now)

    def _learn_arrivals(self, ack: Ack, newest: int, now: float) -> None:
        if not newest:
            return
        received = self._table.mark_received(newest, ack.received)
        lost = self._table.mark_lost(newest, self._config.reorder_threshold)
        if received:
            self._backoff, self._progress_at = 0, now
        for flight in lost:
            self._core.trace.add(now, "lost", version=flight.version)
        self._kill({flight.version for flight in lost}, now)
        arrival = self._arrival(received, newest, ack, now)
        size = sum(flight.size for flight in received)
        before = self.rate.rate
        self.rate.on_ack(len(received), len(lost), size, arrival, now)
        self._trace_rate(before, now)
        if received:
            trip = None if arrival.round_trip is None else round(arrival.round_trip * 1000, 1)
            self._core.trace.add(
                now, "acked", version=newest, rtt_ms=trip, queue_ms=round(self.rate.queue * 1000, 1)
            )  # fmt: skip
        self._learn_loss(len(received), len(lost))

    def _trace_rate(self, before: float, now: float) -> None:
        if self.rate.rate != before:
            self._core.trace.add(now, "rate", bps=round(self.rate.rate), why=self.rate.why)

    def _learn_loss(self, received: int, lost: int) -> None:
        """Count, and choose what to build on: with so much under way, how likely is a base missing?"""
        keep = _MEMORY ** (received + lost)
        self._told = self._told * keep + received + lost
        self._told_lost = self._told_lost * keep + lost
        self._alone = self._alone * keep + (lost if lost <= _FEW else 0)
        if self._config.bases == "auto":
            risk = self._loss() * (len(self._table.waiting()) + 2)
            self._cautious = risk > (_BOLD if self._cautious else _CAUTIOUS)

    def _arrival(self, received: list[Flight], newest: int, ack: Ack, now: float) -> Arrival:
        """The times of the newest version, if this is its first acknowledgement and its hold is known."""
        if not received or received[-1].version != newest or ack.hold_ms >= MAX_HOLD_MS:
            return Arrival()
        sent_at = received[-1].sent_at
        if sent_at is None:
            return Arrival()
        one_way = None
        if ack.clock_ms is not None:
            expected = self._clock_ms + int((now - self._clock_at) * 1000)
            self._clock_ms, self._clock_at = expand(ack.clock_ms, expected), now
            one_way = self._clock_ms / 1000 - sent_at
        return Arrival(max(0.0, now - sent_at - ack.hold_ms / 1000), one_way)

    def _learn_missing(self, missing: int, now: float) -> None:
        if missing == self._probe:  # what is still in the table was not applied when this was said
            self._kill({missing}, now)
            self._table.resolve(missing)
            self._probe = None
        elif missing > self._table.acked and self._table.get(missing) is not None:
            self._kill({missing}, now)

    def _kill(self, versions: set[int], now: float) -> None:
        """Give versions up, and all that builds on them; what of that has not left never will."""
        dead = self._table.kill(*versions)
        unsent = self._core.outbox.discard(dead)
        for item in unsent:
            self._core.drop(now, "base-dropped", version=item.version)
        self._table.forget({item.version or 0 for item in unsent} & self._table.never_left())

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
        values = dict(feedback.values)
        if LIMIT_KEY in values:
            self._heed_limit(values.pop(LIMIT_KEY), now)
        if values or not feedback.values:
            self._core.events.append(FeedbackReceived(values))

    def _heed_limit(self, limit: object, now: float) -> None:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0):
            self._core.drop(now, "bad-limit", limit=repr(limit)[:40])
            return
        self.rate.limit = limit
        self._core.trace.add(now, "limit", bps=limit)

    def resume(self, held: bool, now: float) -> None:
        """Over a new path: what was under way is given up; so is all, where the receiver holds nothing more."""
        before = self._table.tip
        for item in self._core.outbox.discard(range(self._table.newest + 1)):
            self._core.drop(now, "path-lost", version=item.version)
        self._backoff = 0
        if held:
            unsent = self._table.never_left()
            self._kill({flight.version for flight in self._table.waiting()} | unsent, now)
            self._table.forget(unsent)
            self._tell_if_moved(before, "resumed", now)
        else:
            self._refresh_served, self._feedback_seen, self.rate.limit = 0, -1, None  # whose they were is gone
            self._restart("the receiver began anew", now)
            self._core.events.append(Refresh("the receiver began anew"))

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
        wait = self.rate.rtt.timeout(self._config, held=not waiting[0].answer)
        if not self._table.acked:  # the receiving application may still be starting
            wait = max(wait, self._config.initial_timeout)
        if self._backoff > self._config.patient_retries:
            wait = max(wait, self._config.max_timeout)
        since = waiting[0].sent_at or 0.0
        if self.rate.standing():  # it is in a queue, for as long as others come out of it
            since = max(since, self._progress_at)
        return since + wait

    def _probe_at(self) -> float | None:
        if not self.blocked():
            return None
        return self._probed_at + max(self.rate.rtt.timeout(self._config), self._config.max_timeout / 2)

    def next_timeout(self, now: float) -> float | None:
        """When something here is due."""
        outbox = self._core.outbox
        ready = self.rate.ready_at(now) if outbox.queued_bytes(Lane.ANCHOR, Lane.DELTA) else None
        if ready is not None and self.held_up():
            ready = max(ready, now + _LOOK_AGAIN)
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
        self._kill({flight.version for flight in waiting}, now)
        rate = self.rate.rate
        self.rate.on_timeout(now, again=self._backoff > 0)
        self._trace_rate(rate, now)
        self._backoff += 1
        self._tell_if_moved(before, "timeout", now)


def _spare(part: Part | None) -> bool:
    """Whether this is the parity, which nobody misses where all else arrives."""
    return part is not None and part.index == part.count
