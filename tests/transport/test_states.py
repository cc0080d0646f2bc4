"""The table of transitions, over every role, state and input."""

from __future__ import annotations

from itertools import product

import pytest

from tests.transport.toy import SESSION_ID, new_session
from transport import (
    CloseCode,
    ConnectionClosed,
    LocalProtocolError,
    Role,
    Session,
    SessionConfig,
    State,
)
from transport.states import FIRST_STATE, PACKETS, TRANSITIONS, Input, next_state
from transport.wire import (
    ALL_FEATURES,
    Ack,
    Close,
    Delta,
    Feedback,
    Heartbeat,
    Hello,
    Packet,
    RefreshRequest,
    Welcome,
    push_packet,
)

STATES = {
    Role.SENDER: (State.CONNECTING, State.OPEN, State.SUSPENDED, State.CLOSED),
    Role.RECEIVER: (State.LISTENING, State.OPEN, State.SUSPENDED, State.CLOSED),
}
CASES = [(role, state, what) for role in Role for state, what in product(STATES[role], Input)]
IDS = [f"{role.value}-{state.value}-{what.value}" for role, state, what in CASES]


def packet_of(what: Input) -> Packet:
    from tests.transport.toy import CODEC

    packets: dict[Input, Packet] = {
        Input.HELLO: Hello(SESSION_ID, Role.SENDER, CODEC, features=int(ALL_FEATURES)),
        Input.WELCOME: Welcome(SESSION_ID, Role.RECEIVER, CODEC, features=int(ALL_FEATURES)),
        Input.DELTA: Delta(1, 0, 0, b""),
        Input.ACK: Ack(),
        Input.HEARTBEAT: Heartbeat(),
        Input.FEEDBACK: Feedback(0, {}),
        Input.REFRESH_REQUEST: RefreshRequest(1),
        Input.CLOSE: Close(0),
    }
    return packets[what]


def session_in(role: Role, state: State, patient: bool = False) -> Session:
    session = new_session(role, config=SessionConfig(resume_within=10.0 * patient))
    greeting = Input.WELCOME if role is Role.SENDER else Input.HELLO
    if state is not FIRST_STATE[role]:
        session.receive_datagram(push_packet(packet_of(greeting)), 0.0)
    if state is State.CLOSED:
        session.close(now=0.0)
    if role is Role.RECEIVER and state in (State.OPEN, State.SUSPENDED):
        session.receive_datagram(push_packet(Delta(9, 0, 0, b"")), 0.0)
    if state is State.SUSPENDED:
        session.path_lost(0.0)
    assert session.state is state
    return session


def call(session: Session, what: Input) -> None:
    match what:
        case Input.SEND_DELTA:
            session.send_delta(base=0, payload=b"", capture_ms=0, state_hash=None, now=0.0)
        case Input.APPLIED:
            session.applied(9, 0.0)
        case Input.REJECTED:
            session.rejected(9, "", 0.0)
        case Input.SEND_FEEDBACK:
            session.send_feedback({}, 0.0)
        case Input.REQUEST_REFRESH:
            session.request_refresh("", 0.0)
        case Input.LIMIT:
            session.limit(5000.0)
        case Input.PATH_LOST:
            session.path_lost(0.0)
        case Input.LOCAL_CLOSE:
            session.close(now=0.0)
        case Input.FATAL:
            session.handle_timeout(1000.0)


@pytest.mark.parametrize(("role", "state", "what"), CASES, ids=IDS)
def test_every_state_and_input(role: Role, state: State, what: Input) -> None:
    session = session_in(role, state, patient=state is State.SUSPENDED or what is Input.PATH_LOST)
    expected = next_state(role, state, what)
    dropped = session.trace.dropped("unexpected-packet")
    if what in PACKETS:
        session.receive_datagram(push_packet(packet_of(what)), 0.0)
        assert session.trace.dropped("unexpected-packet") - dropped == (expected is None)
    elif expected is None:
        closed_sender = role is Role.SENDER and state is State.CLOSED and what is Input.SEND_DELTA
        with pytest.raises(ConnectionClosed if closed_sender else LocalProtocolError):
            call(session, what)
    else:
        call(session, what)
    assert session.state is (expected or state)


def test_the_table_names_only_states_that_a_role_can_be_in() -> None:
    assert set(TRANSITIONS) == {(role, state) for role in Role for state in STATES[role]}
    for (role, _), row in TRANSITIONS.items():
        assert set(row.values()) <= set(STATES[role])


def test_closed_is_the_end() -> None:
    for role in Role:
        session = session_in(role, State.CLOSED)
        session.datagrams_to_send(0.0)
        assert [event.code for event in session.handle_timeout(0.0) if hasattr(event, "code")] == [CloseCode.NORMAL]
        assert session.next_timeout() is None
