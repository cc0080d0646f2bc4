"""The one table of state transitions.

    sender:    CONNECTING ──welcome──> OPEN ──close, silence──> CLOSED
    receiver:  LISTENING  ──hello────> OPEN ──close, silence──> CLOSED
                                       │ ^
                             path lost v │ welcome (sender), hello (receiver), over a new path
                                     SUSPENDED ──too long──> CLOSED

An input that is not in a state's row is not legal there: a packet is dropped (and traced), a call of our
own raises `LocalProtocolError`. CLOSED ignores what the receiving application may still be finishing.
"""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """Which end of the session this is."""

    SENDER = "sender"
    RECEIVER = "receiver"


class State(Enum):
    """Where a session stands."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    OPEN = "open"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Input(Enum):
    """What can happen to a session: packets, calls of our own, and verdicts."""

    HELLO = "hello"
    WELCOME = "welcome"
    DELTA = "delta"
    ACK = "ack"
    HEARTBEAT = "heartbeat"
    FEEDBACK = "feedback"
    REFRESH_REQUEST = "refresh-request"
    CLOSE = "close"
    SEND_DELTA = "send_delta"
    APPLIED = "applied"
    REJECTED = "rejected"
    SEND_FEEDBACK = "send_feedback"
    REQUEST_REFRESH = "request_refresh"
    LIMIT = "limit"
    PATH_LOST = "path lost"
    LOCAL_CLOSE = "local close"
    FATAL = "fatal"


PACKETS = frozenset(
    {
        Input.HELLO,
        Input.WELCOME,
        Input.DELTA,
        Input.ACK,
        Input.HEARTBEAT,
        Input.FEEDBACK,
        Input.REFRESH_REQUEST,
        Input.CLOSE,
    }
)

_FOLLOWING = (Input.APPLIED, Input.REJECTED, Input.SEND_FEEDBACK, Input.REQUEST_REFRESH, Input.LIMIT)
_ENDINGS = {Input.CLOSE: State.CLOSED, Input.LOCAL_CLOSE: State.CLOSED, Input.FATAL: State.CLOSED}


def _stays(state: State, *inputs: Input) -> dict[Input, State]:
    return dict.fromkeys(inputs, state)


TRANSITIONS: dict[tuple[Role, State], dict[Input, State]] = {
    (Role.SENDER, State.CONNECTING): {Input.WELCOME: State.OPEN, Input.PATH_LOST: State.CLOSED, **_ENDINGS},
    (Role.SENDER, State.OPEN): {
        **_stays(State.OPEN, Input.WELCOME, Input.ACK, Input.FEEDBACK, Input.REFRESH_REQUEST, Input.SEND_DELTA),
        Input.PATH_LOST: State.SUSPENDED,
        **_ENDINGS,
    },
    (Role.SENDER, State.SUSPENDED): {
        Input.WELCOME: State.OPEN,
        Input.PATH_LOST: State.SUSPENDED,
        **_ENDINGS,
    },
    (Role.SENDER, State.CLOSED): _stays(State.CLOSED, Input.PATH_LOST, *_ENDINGS),
    (Role.RECEIVER, State.LISTENING): {Input.HELLO: State.OPEN, Input.PATH_LOST: State.CLOSED, **_ENDINGS},
    (Role.RECEIVER, State.OPEN): {
        **_stays(State.OPEN, Input.HELLO, Input.DELTA, Input.HEARTBEAT),
        **_stays(State.OPEN, *_FOLLOWING),
        Input.PATH_LOST: State.SUSPENDED,
        **_ENDINGS,
    },
    (Role.RECEIVER, State.SUSPENDED): {
        Input.HELLO: State.OPEN,
        **_stays(State.SUSPENDED, Input.PATH_LOST, *_FOLLOWING),
        **_ENDINGS,
    },
    (Role.RECEIVER, State.CLOSED): {
        **_stays(State.CLOSED, Input.PATH_LOST, *_FOLLOWING),
        **_stays(State.CLOSED, *_ENDINGS),
    },
}

FIRST_STATE = {Role.SENDER: State.CONNECTING, Role.RECEIVER: State.LISTENING}


def next_state(role: Role, state: State, what: Input) -> State | None:
    """Where `what` leads from `state`, or None where it is not legal."""
    return TRANSITIONS.get((role, state), {}).get(what)
