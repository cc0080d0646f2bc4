"""How old a receiver's picture is: what it showed, and when, against when it was captured. Exact, without sampling.

    age
     |    /|   /|       frame k, captured at c, is shown from d on: at d the age falls to d - c
     |  /  | /  |  /    and then grows with the time until a newer frame is shown
     |/    |/   |/
     +----------------> time

`captured[k]` is when frame k was captured; times never fall. `shown[k]` is when the receiver first showed frame k's
state or a newer one, None if it never did. Before anything is shown the age has no end (inf).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tooth:
    """A stretch of time in which the same frame is shown: the age grows from `age_s` by as much as time passes."""

    start_s: float
    end_s: float
    age_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


def first_shown(arrived: Sequence[float | None]) -> list[float | None]:
    """From when each frame itself was there to when it or a newer one was: a newer frame stands for all before it."""
    out: list[float | None] = []
    best: float | None = None
    for time_s in reversed(arrived):
        best = time_s if best is None else best if time_s is None else min(best, time_s)
        out.append(best)
    return out[::-1]


def staleness(captured: Sequence[float], shown: Sequence[float | None], start_s: float, end_s: float) -> list[Tooth]:
    """The age of what the receiver shows, from one time to another."""
    if not start_s < end_s:
        raise ValueError("the end lies after the start")
    changes = sorted((time_s, at_s) for at_s, time_s in zip(captured, shown, strict=True) if time_s is not None)
    teeth: list[Tooth] = []
    newest, since = -math.inf, start_s
    for time_s, at_s in [*changes, (math.inf, math.inf)]:
        if at_s <= newest:
            continue
        until = min(max(time_s, start_s), end_s)
        if until > since:
            teeth.append(Tooth(since, until, since - newest))
        newest, since = at_s, until
    return teeth


def percentile(teeth: Sequence[Tooth], percent: float) -> float:
    """The smallest age that isn't exceeded in so many per cent of the time."""
    if not teeth or not 0 <= percent <= 100:
        raise ValueError("a percentile needs some time, and lies between 0 and 100")
    wanted = percent / 100 * math.fsum(tooth.length_s for tooth in teeth)
    known = [tooth for tooth in teeth if tooth.age_s < math.inf]
    turns = [(tooth.age_s, 1) for tooth in known] + [(tooth.age_s + tooth.length_s, -1) for tooth in known]
    spent, depth, age = 0.0, 0, -math.inf
    for turn, step in sorted(turns):
        if depth and spent + depth * (turn - age) >= wanted:
            return age + (wanted - spent) / depth
        spent += depth * (turn - age) if depth else 0.0
        age, depth = turn, depth + step
    return age if len(known) == len(teeth) else math.inf


def mean(teeth: Sequence[Tooth]) -> float:
    """The mean age over time."""
    if not teeth:
        raise ValueError("a mean needs some time")
    weighted = math.fsum(tooth.length_s * (tooth.age_s + tooth.length_s / 2) for tooth in teeth)
    return weighted / math.fsum(tooth.length_s for tooth in teeth)


def heal_time(captured: Sequence[float], shown: Sequence[float | None], outage_end_s: float) -> float | None:
    """How long after an outage's end the receiver first shows a frame captured at that end or later; None if never."""
    fresh = [
        time_s for at_s, time_s in zip(captured, shown, strict=True) if at_s >= outage_end_s and time_s is not None
    ]
    return min(fresh) - outage_end_s if fresh else None
