"""What both sides of a session share: configuration, trace, outbox, events that wait, counters."""

from __future__ import annotations

from dataclasses import dataclass, field

from transport.config import SessionConfig
from transport.events import Event
from transport.lanes import Item, Lane, Outbox
from transport.trace import Trace
from transport.wire import Packet, push_packet


@dataclass
class Core:
    """Plain shared state; the session owns it, its two sides use it."""

    config: SessionConfig
    trace: Trace
    outbox: Outbox
    events: list[Event] = field(default_factory=list)
    packets_dropped: int = 0

    def drop(self, now: float, reason: str, **data: object) -> None:
        """Trace and count one dropped packet."""
        self.packets_dropped += 1
        self.trace.drop(now, reason, **data)

    def control(self, packet: Packet, now: float, lane: Lane = Lane.CONTROL) -> None:
        """Queue a packet of the protocol's own."""
        item = Item(lane, push_packet(packet), now + self.config.control_deadline)
        if not self.outbox.push(item):
            self.drop(now, "outbox-full", packet=type(packet).__name__.lower())


def earliest(*times: float | None) -> float | None:
    """The smallest of the times that are set."""
    return min((time for time in times if time is not None), default=None)
