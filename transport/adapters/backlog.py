"""What an endpoint may still hand to its stack: a late delta is worth nothing, control must leave."""

from __future__ import annotations

from transport.errors import ConnectionClosed, LocalProtocolError
from transport.fields import MAX_PACKET
from transport.lanes import Lane
from transport.trace import Trace
from transport.wire import CloseCode

MAX_DELTA_BUFFERED = 8 * MAX_PACKET
MAX_CONTROL_BUFFERED = 256 * 1024


def may_send(lane: Lane, data: bytes, buffered: int, trace: Trace, now: float) -> bool:
    """Whether `data` should join the `buffered` bytes before it; False, and traced, for a delta that would wait.

    `ConnectionClosed` when the peer takes not even control packets.
    """
    if len(data) > MAX_PACKET:
        raise LocalProtocolError(f"packet of {len(data)} bytes, the limit is {MAX_PACKET}")
    if lane is Lane.DELTA and buffered + len(data) > MAX_DELTA_BUFFERED:
        trace.drop(now, "stack-behind", size=len(data), buffered=buffered)
        return False
    if buffered + len(data) > MAX_CONTROL_BUFFERED:
        raise ConnectionClosed(CloseCode.LINK_LOST, "the peer takes no control packets")
    return True
