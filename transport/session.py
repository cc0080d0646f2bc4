"""One session, sans-IO: bytes in, events out; calls in, bytes out; the clock is always an argument.

    receive_datagram(data, now) ─> events          send_delta / applied / close ... ─┐
    handle_timeout(now)         ─> events          datagrams_to_send(now) <─ outbox <┘
    next_timeout()              ─> when to call handle_timeout and datagrams_to_send again

The sender greets, the receiver welcomes or refuses; then deltas and heartbeats flow one way, and
acknowledgements, feedback and refresh requests the other. Transitions stand in `states.TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transport.config import SessionConfig
from transport.core import Core, earliest
from transport.errors import ConnectionClosed, LocalProtocolError, RemoteProtocolError
from transport.events import Closed, Connected, Event, Resumed, Suspended
from transport.greeting import Greeter
from transport.lanes import Lane, Outbox
from transport.receiver import ReceiverSide
from transport.sender import SenderSide
from transport.states import FIRST_STATE, Input, Role, State, next_state
from transport.trace import Trace
from transport.wire import (
    Ack,
    Close,
    CloseCode,
    Delta,
    Feature,
    Feedback,
    Heartbeat,
    Hello,
    Packet,
    RefreshRequest,
    UnknownTypeError,
    UnknownVersionError,
    Welcome,
    pull_packet,
)

_INPUTS: dict[type, Input] = {
    Hello: Input.HELLO,
    Welcome: Input.WELCOME,
    Delta: Input.DELTA,
    Ack: Input.ACK,
    Heartbeat: Input.HEARTBEAT,
    Feedback: Input.FEEDBACK,
    RefreshRequest: Input.REFRESH_REQUEST,
    Close: Input.CLOSE,
}
_CLOSE_REPEATS = 3


class Session:
    """One end of a synchronised state. Version 0 is the blank state that both ends always hold."""

    def __init__(
        self,
        role: Role,
        *,
        session_id: bytes | None = None,
        codec_hash: bytes,
        meta: Mapping[str, Any],
        config: SessionConfig | None = None,
        now: float,
        wall_ms: int,
        trace: Trace | None = None,
    ) -> None:
        self.role = role
        self.config = config or SessionConfig()
        self.trace = trace or Trace()
        self.bytes_sent = self.bytes_received = 0
        self.packets_sent = self.packets_received = self.bad_packets = 0
        self._state = FIRST_STATE[role]
        self._greeter = Greeter(
            role, session_id, codec_hash, meta, wall_ms, resumes=self.config.resume_within > 0
        )  # fmt: skip
        self._core = Core(self.config, self.trace, Outbox(self.config.outbox_limit))
        self._sender = SenderSide(self._core, now)
        self._receiver = ReceiverSide(self._core, now)
        self._now = self._started_at = self._heard_at = self._spoke_at = self._suspended_at = now
        self._path = True
        self._closed: Closed | None = None
        self._closes_left = 0
        self._resumed = False
        if role is Role.SENDER:
            self._greeter.start(now)

    # -- what anyone may read

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def session_id(self) -> bytes | None:
        """The session's id; a receiver learns it from the Hello."""
        return self._greeter.session_id

    @property
    def started_at(self) -> float:
        """The time that the session was made with; capture times count from there unless the application differs."""
        return self._started_at

    @property
    def closed(self) -> Closed | None:
        """How the session ended, once it has."""
        return self._closed

    @property
    def max_payload(self) -> int:
        """The largest payload that travels in one packet; `send_delta` cuts longer ones into several."""
        return self.config.max_payload

    @property
    def max_update(self) -> int:
        """The largest payload that `send_delta` takes: more than a packet's, once the peer is known to join pieces."""
        return self._sender.max_update()

    @property
    def packets_dropped(self) -> int:
        """Packets of either direction that were dropped; the trace names the reasons."""
        return self._core.packets_dropped

    @property
    def rtt(self) -> float | None:
        """The sender's smoothed round trip in seconds; None before the first sample."""
        return self._sender.rate.rtt.smoothed

    @property
    def loss(self) -> float:
        """The sender's smoothed share of packets lost, 0 to 1."""
        return self._sender.rate.loss

    @property
    def rate(self) -> float:
        """The sender's current rate in bits per second."""
        return self._sender.rate.rate

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait in the outbox."""
        return self._core.outbox.queued_bytes()

    # -- bytes in

    def receive_datagram(self, data: bytes, now: float) -> list[Event]:
        """Take in one datagram, whatever its bytes; returns what it means for the application."""
        now = self._tick(now)
        self.bytes_received += len(data)
        self.packets_received += 1
        try:
            packet = pull_packet(data)
        except RemoteProtocolError as error:
            self._on_bad_packet(error, now)
        else:
            self._on_packet(packet, now)
        return self._take_events()

    def _on_bad_packet(self, error: RemoteProtocolError, now: float) -> None:
        if isinstance(error, UnknownTypeError):
            self._core.drop(now, "unknown-type", error=str(error))
            return
        self.bad_packets += 1
        self._core.drop(now, "bad-packet", error=str(error))
        if self._state is State.CLOSED:
            return
        if isinstance(error, UnknownVersionError) and self._state is not State.OPEN:
            self._end(Input.FATAL, CloseCode.VERSION_MISMATCH, str(error), now, tell=True)
        elif self.bad_packets > self.config.max_bad_packets:
            self._end(Input.FATAL, CloseCode.PROTOCOL_ERROR, f"too many bad packets, last: {error}", now, tell=True)

    def _on_packet(self, packet: Packet, now: float) -> None:
        what = _INPUTS[type(packet)]
        if next_state(self.role, self._state, what) is None:
            self._core.drop(now, "unexpected-packet", packet=what.value, state=self._state.value)
            self._repeat_close(now)
            return
        self._heard_at = now
        match packet:
            case Hello():
                self._on_hello(packet, now)
            case Welcome():
                self._on_welcome(packet, now)
            case Delta():
                self._receiver.on_delta(packet, now)
            case Ack():
                self._sender.on_ack(packet, now)
            case Heartbeat():
                self._receiver.on_heartbeat(packet, now)
            case Feedback():
                self._sender.on_feedback(packet, now)
            case RefreshRequest():
                self._sender.on_refresh_request(packet, now)
            case Close():
                self._end(Input.CLOSE, packet.code, packet.reason, now, tell=False)

    def _on_hello(self, hello: Hello, now: float) -> None:
        if self._greeter.foreign(hello):
            self._core.drop(now, "foreign-session")
            return
        if self._state is State.LISTENING:
            refusal = self._greeter.refusal(hello)
            if refusal is not None:
                self._end(Input.FATAL, *refusal, now, tell=True)
                return
            self._open(hello, Input.HELLO, now)
        elif self._state is State.SUSPENDED:
            self._resumed = True
            self._reopen(Input.HELLO, now)
            self._receiver.resume(now)
        self._core.control(self._greeter.packet(Welcome, resumed=self._resumed), now)

    def _on_welcome(self, welcome: Welcome, now: float) -> None:
        if self._greeter.foreign(welcome):
            self._core.drop(now, "foreign-session")
        elif self._state is State.CONNECTING:
            refusal = self._greeter.refusal(welcome)
            if refusal is not None:
                self._end(Input.FATAL, *refusal, now, tell=True)
                return
            if self._greeter.hellos == 1:
                self._sender.rate.rtt.add(max(0.0, now - self._spoke_at), now)
            self._open(welcome, Input.WELCOME, now)
            self._sender.agree(self._greeter.agreed)
        elif self._state is State.SUSPENDED:
            self._reopen(Input.WELCOME, now)
            self._sender.resume(welcome.resumed, now)

    def _open(self, greeting: Hello | Welcome, what: Input, now: float) -> None:
        self._step(what)
        self._greeter.meet(greeting)
        self.trace.add(now, "connected", session_id=greeting.session_id.hex())
        self._core.events.append(Connected(greeting.session_id, greeting.meta, greeting.wall_ms))

    # -- the path below

    def path_lost(self, now: float, reason: str = "the path was lost") -> list[Event]:
        """The path is gone: wait for a new one, or end, as `resume_within` says."""
        self._lose_path(CloseCode.LINK_LOST, reason, self._tick(now), tell=False)
        return self._take_events()

    def _lose_path(self, code: CloseCode, reason: str, now: float, *, tell: bool) -> None:
        if self._state is State.OPEN and Feature.RESUME in self._greeter.agreed:
            self._step(Input.PATH_LOST)
            self._suspended_at = now
            self._core.outbox.clear(Lane.CONTROL)
            self.trace.add(now, "suspended", reason=reason)
            self._core.events.append(Suspended())
        elif self._state is not State.SUSPENDED:
            self._end(Input.FATAL, code, reason, now, tell=tell)
        self._path = tell and self._state is State.CLOSED
        self._greeter.stop()

    def path_found(self, now: float) -> None:
        """There is a new path: greet over it (the sender), or wait for the greeting (the receiver)."""
        now = self._tick(now)
        self._path = True
        if self.role is Role.SENDER and self._state is State.SUSPENDED:
            self._greeter.start(now)

    def _reopen(self, what: Input, now: float) -> None:
        self._step(what)
        self._greeter.stop()
        self.trace.add(now, "resumed")
        self._core.events.append(Resumed())

    def path_is_behind(self, buffered: int) -> None:
        """So many bytes that were handed down have not left this machine: `allowance` counts them."""
        self._sender.buffered = buffered

    # -- calls of the sending application

    def base(self, now: float) -> int:
        """The version to diff against: normally the newest sent, after a loss the newest acknowledged."""
        self._sender.expire(self._tick(now))
        return self._sender.base(self._now)

    def send_delta(
        self,
        *,
        base: int,
        payload: bytes,
        capture_ms: int,
        state_hash: int | None,
        now: float,
        lane: Lane = Lane.DELTA,
        deadline: float | None = None,
    ) -> int:
        """Queue the patch from `base` and return its new version; `deadline` is a time of the same clock.

        A payload above `max_payload` is cut into pieces, each in its own packet; one lost piece loses the version.
        """
        now = self._tick(now)
        self._call(Input.SEND_DELTA)
        self._sender.expire(now)
        return self._sender.send_delta(base, payload, capture_ms, state_hash, now, lane, deadline)

    def allowance(self, now: float) -> int:
        """Bytes that the network should take now; 0 says: skip this frame."""
        now = self._tick(now)
        if self._state is not State.OPEN or self.role is not Role.SENDER:
            return 0
        return self._sender.allowance(now)

    @property
    def next_version(self) -> int:
        """The version that the next `send_delta` will be given."""
        return self._sender.next_version()

    def oldest_needed(self) -> int:
        """Every version below this may be forgotten."""
        return self._sender.oldest_needed()

    def needed(self) -> frozenset[int]:
        """The versions, blank aside, that can still become a base: at most `max_in_flight` and one.

        Sparser than `oldest_needed`: versions above it that were dropped unsent are not in here.
        """
        return self._sender.needed()

    # -- calls of the receiving application

    def applied(self, version: int, now: float) -> None:
        """The patch to `version` was applied and its hash, if any, was right."""
        if self._call(Input.APPLIED) is not State.CLOSED:
            self._receiver.applied(version, self._tick(now))

    def rejected(self, version: int, reason: str, now: float) -> None:
        """The patch to `version` could not be applied: asks for everything from blank."""
        if self._call(Input.REJECTED) is not State.CLOSED:
            self._receiver.rejected(version, reason, self._tick(now))

    def request_refresh(self, reason: str, now: float) -> None:
        """Ask for everything from blank; held versions are given up at once."""
        if self._call(Input.REQUEST_REFRESH) is not State.CLOSED:
            self._receiver.request_refresh(reason, self._tick(now))

    def send_feedback(self, feedback: Mapping[str, Any], now: float) -> None:
        """Tell the sender's application something; only the newest unsent one is kept."""
        if self._call(Input.SEND_FEEDBACK) is not State.CLOSED:
            self._receiver.send_feedback(feedback, self._tick(now))

    def limit(self, rate: float | None) -> None:
        """Say how many bits a second the receiving application takes, 0 for none, None for as many as come.

        The sender's `allowance` heeds it like the network's own limit.
        """
        if rate is not None and not rate >= 0:
            raise LocalProtocolError(f"a limit is a rate of 0 or more, or None; not {rate}")
        if self._call(Input.LIMIT) is not State.CLOSED:
            self._receiver.limit(rate)

    # -- the end

    def close(self, code: int = CloseCode.NORMAL, reason: str = "", now: float | None = None) -> None:
        """Say goodbye; `Closed` follows as the last event."""
        if not 0 <= code <= 255:
            raise LocalProtocolError(f"close code must be 0 to 255, not {code}")
        if self._state is not State.CLOSED:
            self._end(Input.LOCAL_CLOSE, code, reason, self._now if now is None else self._tick(now), tell=True)

    def _end(self, what: Input, code: int, reason: str, now: float, *, tell: bool) -> None:
        if self._state is State.CLOSED:
            return
        self._step(what)
        self._closed = Closed(int(code), reason)
        self._greeter.stop()
        self._core.outbox = Outbox(self.config.outbox_limit)
        self._closes_left = _CLOSE_REPEATS if tell else 0
        self.trace.add(now, "closed", code=int(code), reason=reason, by="us" if tell else "peer")
        self._core.events.append(self._closed)
        self._repeat_close(now)

    def _repeat_close(self, now: float) -> None:
        if self._closed is not None and self._closes_left > 0:
            self._closes_left -= 1
            self._core.control(Close(self._closed.code, self._closed.reason), now)

    def _step(self, what: Input) -> State:
        state = next_state(self.role, self._state, what)
        if state is None:
            raise LocalProtocolError(f"a {self.role.value} that is {self._state.value} cannot {what.value}")
        self._state = state
        return state

    def _call(self, what: Input) -> State:
        if self._closed is not None and what is Input.SEND_DELTA and self.role is Role.SENDER:
            raise ConnectionClosed(self._closed.code, self._closed.reason)
        return self._step(what)

    # -- bytes out, and time

    def datagrams_to_send(self, now: float) -> list[tuple[Lane, bytes]]:
        """What should leave now, control first; deltas only as fast as the rate allows."""
        now = self._tick(now)
        if not self._path:
            return []
        self._sender.expire(now)
        self._queue_due(now)
        out: list[tuple[Lane, bytes]] = []
        while (item := self._core.outbox.pop(*self._open_lanes(now))) is not None:
            out.append((item.lane, item.data))
            self._spoke_at = now
            self.packets_sent += 1
            self.bytes_sent += len(item.data)
            if item.version is not None:
                self._sender.on_sent(item, now)
        return out

    def _open_lanes(self, now: float) -> tuple[Lane, ...]:
        """A heartbeat alone is not paced: the peer must hear of us even where it takes nothing."""
        paced = self.role is Role.SENDER and (
            self._state is State.SUSPENDED
            or self._sender.held_up()
            or (self._sender.rate.ready_at(now) > now and self._core.outbox.has_deltas())
        )
        return (Lane.CONTROL,) if paced else tuple(Lane)

    def _queue_due(self, now: float) -> None:
        if self._greeter.due(now, self.config.hello_interval):
            self._core.control(self._greeter.packet(Hello, resumed=self._state is State.SUSPENDED), now)
        if self._state is not State.OPEN:
            return
        if self.role is Role.RECEIVER:
            self._receiver.queue_due(now)
        elif now >= self._spoke_at + self.config.heartbeat and not len(self._core.outbox):
            self._sender.heartbeat(now, ask=now - self._heard_at > self.config.keepalive + self.config.heartbeat)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` and `datagrams_to_send` want to be called next; None once all is over."""
        if self._core.events:
            return self._now
        if not self._path:
            return None if self._state is State.CLOSED else self._dead_at()
        if self._state is State.CLOSED:
            return self._now if len(self._core.outbox) else None
        side = self._side_timeout() if self._state is State.OPEN else None
        control = self._now if self._core.outbox.queued_bytes(Lane.CONTROL) else None
        return earliest(self._greeter.hello_at, self._dead_at(), side, control)

    def _side_timeout(self) -> float | None:
        if self.role is Role.RECEIVER:
            return self._receiver.next_timeout()
        idle = None if len(self._core.outbox) else self._spoke_at + self.config.heartbeat
        return earliest(idle, self._sender.next_timeout(self._now))

    def _dead_at(self) -> float:
        if self._state is State.OPEN:
            return self._heard_at + self.config.dead_after
        if self._state is State.SUSPENDED:
            return self._suspended_at + self.config.resume_within
        return self._started_at + self.config.handshake_timeout

    def handle_timeout(self, now: float) -> list[Event]:
        """Do what is due; harmless when nothing is."""
        now = self._tick(now)
        if self._state is not State.CLOSED and now >= self._dead_at():
            if self._state is State.SUSPENDED:
                self._end(Input.FATAL, CloseCode.LINK_LOST, "no new path in time", now, tell=True)
            elif self._state is State.OPEN:
                self._lose_path(CloseCode.DEAD_PEER, "nothing heard from the peer", now, tell=True)
            else:
                self._end(Input.FATAL, CloseCode.HANDSHAKE_TIMEOUT, "no answer to the greeting", now, tell=True)
        if self._state is State.OPEN and self.role is Role.SENDER:
            self._sender.handle_timeout(now)
            self._sender.expire(now)
        return self._take_events()

    def _tick(self, now: float) -> float:
        """Time as the session sees it: it never falls."""
        self._now = max(now, self._now)
        return self._now

    def _take_events(self) -> list[Event]:
        events, self._core.events = self._core.events, []
        return events
