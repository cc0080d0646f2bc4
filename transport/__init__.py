"""Keep a receiver's copy of a small, fast-changing state in step over a bad network.

Every delta packet is a self-contained patch from a named base version to a new version. Nothing is
retransmitted and nothing queues: what was lost is replaced by a newer patch from a base that did arrive.
Sans-IO: the clock is an argument; sockets live in `transport.adapters`.
"""

from transport.config import SessionConfig
from transport.errors import (
    ConnectionClosed,
    LocalProtocolError,
    PeerError,
    ProtocolError,
    RecordingError,
    RemoteProtocolError,
    TransportError,
)
from transport.events import (
    Acknowledged,
    BaseLost,
    Closed,
    Connected,
    DeltaReceived,
    Event,
    FeedbackReceived,
    Refresh,
    Resumed,
    StateCheck,
    Suspended,
)
from transport.fields import MAX_PACKET
from transport.impair import Link
from transport.lanes import Lane
from transport.session import Session
from transport.states import Role, State
from transport.sync import Follower, Publisher
from transport.trace import Trace, TraceEvent
from transport.wire import PROTOCOL_VERSION, CloseCode

__all__ = [
    "MAX_PACKET",
    "PROTOCOL_VERSION",
    "Acknowledged",
    "BaseLost",
    "CloseCode",
    "Closed",
    "Connected",
    "ConnectionClosed",
    "DeltaReceived",
    "Event",
    "FeedbackReceived",
    "Follower",
    "Lane",
    "Link",
    "LocalProtocolError",
    "PeerError",
    "ProtocolError",
    "Publisher",
    "RecordingError",
    "Refresh",
    "RemoteProtocolError",
    "Resumed",
    "Role",
    "Session",
    "SessionConfig",
    "State",
    "StateCheck",
    "Suspended",
    "Trace",
    "TraceEvent",
    "TransportError",
]
