"""A structured record of what a session did and why: a bounded ring, and a JSON-lines file if wanted.

Every drop is `drop` with a named `reason`; tests read the trace and never private fields.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass(frozen=True)
class TraceEvent:
    """One thing that happened at `time` (seconds of the caller's clock)."""

    time: float
    name: str
    data: Mapping[str, Any]


class Trace:
    """Keeps the last `limit` events and counts all of them; writes JSON lines to `sink` when one is given."""

    def __init__(self, limit: int = 4096, sink: TextIO | None = None) -> None:
        self._ring: deque[TraceEvent] = deque(maxlen=limit)
        self._counts: Counter[str] = Counter()
        self._sink = sink

    def add(self, time: float, name: str, **data: Any) -> None:
        """Record one event."""
        self._ring.append(TraceEvent(time, name, data))
        self._counts[name] += 1
        if self._sink is not None:
            self._sink.write(json.dumps({"time": round(time, 6), "name": name, **data}, default=repr) + "\n")

    def drop(self, time: float, reason: str, **data: Any) -> None:
        """Record that something was dropped, and count it under its reason."""
        self._counts[f"drop:{reason}"] += 1
        self.add(time, "drop", reason=reason, **data)

    def events(self, name: str | None = None) -> list[TraceEvent]:
        """The events still in the ring, oldest first; only those called `name` if given."""
        return [event for event in self._ring if name is None or event.name == name]

    def count(self, name: str) -> int:
        """How many events called `name` there ever were."""
        return self._counts[name]

    def dropped(self, reason: str) -> int:
        """How many drops there ever were for `reason`."""
        return self._counts[f"drop:{reason}"]

    def drops(self) -> dict[str, int]:
        """Every drop reason seen, with its count."""
        return {name[5:]: count for name, count in self._counts.items() if name.startswith("drop:")}
