"""What the ends of a live stream share: the codec's name for the handshake; two sessions joined in virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from transport.config import SessionConfig
from transport.events import Event
from transport.lanes import Lane
from transport.session import Session
from vidtok.entropy import Tables

# A live stream waits for a new path when its own is lost, as long as someone is likely to come back to it.
LIVE = SessionConfig(resume_within=30.0)

# Told of every datagram that the sender emits: (session time in seconds, lane, bytes).
Tap = Callable[[float, Lane, bytes], None]


def codec_hash(tables: Tables, encoder_digest: bytes) -> bytes:
    """Names the build that both ends must share, tables and encoder, in eight bytes."""
    return hashlib.sha256(tables.digest + encoder_digest).digest()[:8]


class Joined:
    """A sender's and a receiver's session back to back: no loss, no delay, no wall clock."""

    def __init__(self, sender: Session, receiver: Session, tap: Tap | None = None) -> None:
        self.sender, self.receiver = sender, receiver
        self.packets = 0  # both ways
        self._tap = tap

    def advance(self, now: float) -> Iterator[tuple[Session, float, Event]]:
        """Run both up to `now`; yields each event with the session it belongs to, and its time.

        The caller reacts to an event before asking for the next, as a live loop would.
        """
        yield from self._exchange(now)
        while (due := self._next()) is not None and due <= now:
            for session in (self.sender, self.receiver):
                for event in session.handle_timeout(due):
                    yield session, due, event
            yield from self._exchange(due)

    def _next(self) -> float | None:
        times = [t for session in (self.sender, self.receiver) if (t := session.next_timeout()) is not None]
        return min(times, default=None)

    def _exchange(self, now: float) -> Iterator[tuple[Session, float, Event]]:
        busy = True
        while busy:
            busy = False
            for source, sink in ((self.sender, self.receiver), (self.receiver, self.sender)):
                for lane, data in source.datagrams_to_send(now):
                    busy = True
                    self.packets += 1
                    if source is self.sender and self._tap is not None:
                        self._tap(now, lane, data)
                    for event in sink.receive_datagram(data, now):
                        yield sink, now, event
