"""The sender's table of versions that are under way: what may be used as a base, what is lost.

    acked ──> v1 ──> v2 ──> v3 = tip          every version assumes that its base arrives
                      x                       v2 dies: v3 dies with it, tip falls back to acked
    acked ──> v4 = tip                        and the next version chains from there

A version is *alive* while it may still arrive and be applied as far as we know, *dead* once it or a base
below it was lost. Dead versions stay in the table until something newer is acknowledged: the receiver may
have applied one after all and say so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass
class Flight:
    """One version under way; `sent_at` is None until the last of its packets has left our own outbox."""

    version: int
    base: int
    size: int
    state_hash: int | None
    sent_at: float | None = None
    alive: bool = True
    received: bool = False
    lost: bool = False
    answer: bool = False
    packets: int = 1  # that have not left


class FlightTable:
    """Versions above the newest acknowledged one, oldest first, bounded by the session."""

    def __init__(self, history: int) -> None:
        self.newest = 0
        self.acked = 0
        self.acked_hash: int | None = None
        self.tip = 0
        self._floor = 0
        self._history = history
        self._flights: dict[int, Flight] = {}
        self._recent: deque[int] = deque(maxlen=history)

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, version: int) -> Flight | None:
        """The flight of `version`, if it is in the table."""
        return self._flights.get(version)

    def usable(self, base: int) -> bool:
        """Whether the receiver will, as far as we know, hold `base` when the next version arrives."""
        if base == 0:
            return True
        flight = self._flights.get(base)
        if flight is not None:
            return flight.alive
        return base in self._recent and (base == self.acked or self.newest + 1 - base < self._history)

    def open(self, base: int, size: int, state_hash: int | None) -> Flight:
        """Allot the next version."""
        self.newest += 1
        flight = Flight(self.newest, base, size, state_hash)
        self._flights[flight.version] = flight
        self.tip = flight.version
        return flight

    def tip_hash(self) -> int | None:
        """The state hash at the tip, where the application gave one."""
        flight = self._flights.get(self.tip)
        if flight is not None:
            return flight.state_hash
        return self.acked_hash if self.tip == self.acked else None

    def oldest_needed(self) -> int:
        """Every version below this can never be a base again."""
        if self.acked:
            return self.acked
        return next(iter(self._flights), self.newest + 1)

    def needed(self) -> frozenset[int]:
        """The versions that can still become a base, blank aside."""
        return frozenset(self._flights) | ({self.acked} - {0})

    def withdraw(self, *versions: int) -> set[int]:
        """Kill versions that never left: the tip steps back to what did leave below them."""
        place = self.tip
        dead = self.kill(*versions)
        while place in dead and place in self._flights:
            place = self._flights[place].base
        if place in self._flights:  # else it is acknowledged or older, and kill() chose the newest such
            self.tip = place
        return dead

    def kill(self, *versions: int) -> set[int]:
        """Mark versions and all that build on them dead; the tip falls back if it was one of them."""
        dead = set(versions)
        for flight in self._flights.values():
            if flight.version in dead or flight.base in dead:
                dead.add(flight.version)
                flight.alive = False
        if self.tip in dead:
            self.tip = self.acked
        return dead

    def drop_oldest_dead(self) -> bool:
        """Make room: forget the oldest dead version, if there is one."""
        oldest = next((flight.version for flight in self._flights.values() if not flight.alive), None)
        if oldest is not None:
            del self._flights[oldest]
        return oldest is not None

    def forget(self, versions: set[int]) -> None:
        """Take versions out that never left, or that the receiver cannot have applied."""
        for version in versions:
            self._flights.pop(version, None)

    def knows(self, version: int) -> bool:
        """Whether an acknowledgement of `version` can be used: it stands in the table or is history."""
        return version <= self.acked or version < self._floor or version in self._flights

    def applied(self, version: int) -> bool:
        """The receiver says that it applied `version`, which we know; True when that is news."""
        if version <= self.acked or version < self._floor:
            return False
        self.acked, self.acked_hash = version, self._flights[version].state_hash
        self._recent.append(version)
        self.forget({each for each in self._flights if each <= version})
        tip = self._flights.get(self.tip)
        if tip is None or not tip.alive:
            self.tip = version
        return True

    def mark_received(self, newest: int, bitmap: int) -> list[Flight]:
        """Flights that this acknowledgement is the first to call received."""
        fresh = []
        for flight in self._flights.values():
            behind = newest - flight.version
            arrived = behind == 0 or (1 <= behind <= 32 and bitmap >> (behind - 1) & 1)
            if arrived and not flight.received:
                flight.received = True
                fresh.append(flight)
        return fresh

    def mark_lost(self, newest: int, threshold: int) -> list[Flight]:
        """Flights that so many newer arrivals have overtaken, each told once."""
        fresh = []
        for flight in self._flights.values():
            overdue = newest - flight.version >= threshold and flight.sent_at is not None
            if overdue and not flight.received and not flight.lost:
                flight.lost = True
                fresh.append(flight)
        return fresh

    def waiting(self) -> list[Flight]:
        """Flights that left, are alive and have not been reported as received, oldest first."""
        return [
            flight
            for flight in self._flights.values()
            if flight.alive and flight.sent_at is not None and not flight.received
        ]

    def under_way(self) -> int:
        """Bytes that left and are neither received nor lost nor given up."""
        return sum(flight.size for flight in self.waiting())

    def never_left(self) -> set[int]:
        """Versions of which nothing has left."""
        return {flight.version for flight in self._flights.values() if flight.sent_at is None}

    def resolve(self, upto: int) -> None:
        """The receiver answered a probe at `upto` without having applied anything new: the dead are gone."""
        self.forget({each.version for each in self._flights.values() if not each.alive and each.version <= upto})

    def restart(self) -> None:
        """Begin again from blank; what was sent before no longer counts."""
        self._floor = self.newest + 1
        self.acked, self.acked_hash, self.tip = 0, None, 0
        self._flights.clear()
        self._recent.clear()
