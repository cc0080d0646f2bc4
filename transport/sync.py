"""States instead of versions: what most applications want above a session.

    publish(state) ──> Publisher ──patch──> session ══ network ══> session ──DeltaReceived──> Follower ──> state
                           ^───────events──────┘                      ^───applied, rejected──────┘

The application brings a blank state, a `diff` for the one end and a `patch` for the other, and perhaps a hash of 32
bits by which both notice that they differ. `diff(old, new)` gives bytes, none where the two are equal;
`patch(old, payload)` gives the new state, or raises `ValueError` for bytes that make no sense. States are remembered,
so neither may change one that it was given: publish a copy of what goes on changing.

Several viewers of one state are a session and a publisher each; who joins late is told everything in one patch, and
who is slow gets fewer patches, each from what that viewer holds. As in all of `transport`, the clock is an argument:
hand every event of the session on, and after each call see that `datagrams_to_send` is looked at, or `flush()` called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from transport.errors import LocalProtocolError
from transport.events import Acknowledged, BaseLost, DeltaReceived, Event, Refresh, StateCheck
from transport.session import Session
from transport.states import Role, State

T = TypeVar("T")

_LOOK_AGAIN = 0.02  # seconds until what found no room is tried again


class Publisher(Generic[T]):
    """The sending end: `publish` every new state, and hand every event of the session to `on_event`.

    What finds no room waits, the newest state alone: `on_event`, the next `publish` or `handle_timeout` sends it.
    """

    def __init__(
        self,
        session: Session,
        diff: Callable[[T, T], bytes],
        blank: T,
        state_hash: Callable[[T], int] | None = None,
    ) -> None:
        _check_role(session, Role.SENDER)
        self.session = session
        self._diff, self._hash = diff, state_hash
        self._states = {0: blank}
        self._newest, self._capture_ms = blank, 0
        self._last = self._shown = 0  # the versions sent last and acknowledged last
        self._unsent = False  # the newest state has not been looked at with room to send it
        self._again = False  # the version sent last may never be shown
        self._tried_at = 0.0

    @property
    def settled(self) -> bool:
        """Whether the other end has said that it holds the newest state."""
        return not self._unsent and not self._again and self._shown == self._last

    def publish(self, state: T, now: float, capture_ms: int | None = None) -> int | None:
        """Send `state` and return its version; None when it is told already, or waits for room.

        `capture_ms` is when the state was true: by default now, in milliseconds since the session was made.
        """
        before = self._newest, self._capture_ms, self._unsent
        if capture_ms is None:
            capture_ms = int((now - self.session.started_at) * 1000)
        self._newest, self._capture_ms, self._unsent = state, capture_ms, True
        try:
            return self._send(now)
        except LocalProtocolError:
            self._newest, self._capture_ms, self._unsent = before
            raise

    def on_event(self, event: Event, now: float) -> int | None:
        """Do what an event of the session asks for; the version, if it led to one."""
        if isinstance(event, Acknowledged):
            self._shown = event.version
        self._again = self._again or isinstance(event, BaseLost | Refresh)
        self._forget()
        return self._send(now) if self._waits() else None

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called: whoever publishes often need not."""
        return self._tried_at + _LOOK_AGAIN if self._waits() else None

    def handle_timeout(self, now: float) -> int | None:
        """Try again what found no room; the version, if there is room now."""
        due = self.next_timeout()
        return self._send(now) if due is not None and now >= due else None

    def _waits(self) -> bool:
        return (self._unsent or self._again) and self.session.state is State.OPEN

    def _send(self, now: float) -> int | None:
        self._tried_at = now
        base = self.session.base(now)
        if not self.session.allowance(now):
            return None
        payload = self._diff(self._states[base], self._newest)
        version = None if self._is_told(base, payload) else self._send_patch(base, payload, now)
        self._unsent = self._again = False
        return version

    def _is_told(self, base: int, payload: bytes) -> bool:
        """Whether the other end will come to show the newest state by what was sent last.

        Being equal to the base is not enough: a version beyond it that says otherwise may be under way.
        """
        if base == self._last:
            return not payload
        return not self._again and self._last in self._states and not self._diff(self._states[self._last], self._newest)

    def _send_patch(self, base: int, payload: bytes, now: float) -> int:
        limit = self.session.config.max_update
        if len(payload) > limit:
            raise LocalProtocolError(f"the patch from version {base} has {len(payload)} bytes, one carries {limit}")
        version = self.session.send_delta(
            base=base,
            payload=payload,
            capture_ms=self._capture_ms,
            state_hash=None if self._hash is None else self._hash(self._newest),
            now=now,
            deadline=self._deadline(len(payload), now),
        )
        self._last = version
        self._states[version] = self._newest
        return version

    def _deadline(self, size: int, now: float) -> float:
        """Long patches take long to leave; dropped half sent they would never get through."""
        return now + self.session.config.delta_deadline + 2 * size * 8 / self.session.rate

    def _forget(self) -> None:
        needed = self.session.needed() | {0}
        self._states = {version: state for version, state in self._states.items() if version in needed}


class Follower(Generic[T]):
    """The receiving end: hand every event of the session to `on_event`, and show the states that it returns."""

    def __init__(
        self,
        session: Session,
        patch: Callable[[T, bytes], T],
        blank: T,
        state_hash: Callable[[T], int] | None = None,
    ) -> None:
        _check_role(session, Role.RECEIVER)
        self.session = session
        self.state = blank
        self.version = 0
        self.capture_ms = 0
        self._patch, self._hash = patch, state_hash
        self._blank = blank
        self._states = {0: blank}

    def on_event(self, event: Event, now: float) -> T | None:
        """The state that an event brought; None where it brought none, or one that must not be shown."""
        match event:
            case DeltaReceived():
                return self._on_delta(event, now)
            case StateCheck(version, state_hash):
                if version in self._states and self._differs(self._states[version], state_hash):
                    self._begin_anew()
                    self.session.request_refresh(f"the hash of version {version} is wrong", now)
        return None

    def _on_delta(self, event: DeltaReceived, now: float) -> T | None:
        try:
            state = self._build(event)
        except ValueError as error:
            self._begin_anew()
            self.session.rejected(event.version, f"version {event.version}: {error}", now)
            return None
        self._remember(event.version, state)
        self.state, self.version, self.capture_ms = state, event.version, event.capture_ms
        self.session.applied(event.version, now)
        return state

    def _build(self, event: DeltaReceived) -> T:
        """The state that a delta leads to; `ValueError` says why there is none."""
        if event.base not in self._states:
            raise ValueError(f"version {event.base} was given up")
        base = self._states[event.base]
        state = self._patch(base, event.payload) if event.payload else base
        if self._differs(state, event.state_hash):
            raise ValueError("the hash is wrong")
        return state

    def _differs(self, state: T, state_hash: int | None) -> bool:
        return self._hash is not None and state_hash is not None and self._hash(state) != state_hash

    def _remember(self, version: int, state: T) -> None:
        """As many as the session may build on, and blank, which stands first."""
        self._states[version] = state
        if len(self._states) > self.session.config.history + 1:
            del self._states[next(each for each in self._states if each)]

    def _begin_anew(self) -> None:
        """Only blank can be trusted, nor does the session hold more; what is shown stays until there is better."""
        self._states = {0: self._blank}


def _check_role(session: Session, role: Role) -> None:
    if session.role is not role:
        raise LocalProtocolError(f"this is the {role.value}'s end, the session is the {session.role.value}'s")
