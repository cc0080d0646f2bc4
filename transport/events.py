"""What a session hands up to the application: frozen values, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Connected:
    """The handshake is done: the other side's meta map, and its wall clock at capture time 0."""

    session_id: bytes
    peer: Mapping[str, Any] = field(default_factory=dict)
    wall_ms: int = 0


@dataclass(frozen=True)
class DeltaReceived:
    """Receiver: patch `payload` takes `base`, which is held, to `version`. Answer `applied` or `rejected`."""

    version: int
    base: int
    payload: bytes
    capture_ms: int
    state_hash: int | None = None


@dataclass(frozen=True)
class StateCheck:
    """Receiver: a heartbeat says what the state at `version`, which is held, must hash to."""

    version: int
    state_hash: int


@dataclass(frozen=True)
class Acknowledged:
    """Sender: the receiver has applied `version`; every older one but it may be forgotten."""

    version: int


@dataclass(frozen=True)
class BaseLost:
    """Sender: what was assumed to have arrived did not; diff again from `new_base`, even if nothing moved."""

    new_base: int


@dataclass(frozen=True)
class Refresh:
    """Sender: the receiver asked for everything again, from blank; `base()` is 0 now."""

    reason: str


@dataclass(frozen=True)
class FeedbackReceived:
    """Sender: the newest feedback of the receiver's application."""

    feedback: Mapping[str, Any]


@dataclass(frozen=True)
class Suspended:
    """The path is gone; the session waits for a new one, and what both ends hold stays good."""


@dataclass(frozen=True)
class Resumed:
    """The session goes on over a new path."""


@dataclass(frozen=True)
class Closed:
    """The session is over, by either side or for silence; the last event there is."""

    code: int
    reason: str


Event = (
    Connected
    | DeltaReceived
    | StateCheck
    | Acknowledged
    | BaseLost
    | Refresh
    | FeedbackReceived
    | Suspended
    | Resumed
    | Closed
)
