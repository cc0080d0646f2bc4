"""Does what is no event stay quiet? A frame held under a disturbance, and how often a system calls that news.

    a frame held, with noise, flicker, shake, ... --system--> does it call any cell news?  that is a false alarm

**False alarms**: a frame held under one disturbance. From two seconds on, and once the receiver holds something of
every cell, each second in which the system raises an alarm is one; any cell marked as news is, where a system has no
alarm. Systems that never say what is news make no such decision and have none.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator

from edge_gate.source import Frame
from experiments.backdrops import Film
from experiments.bench import Row
from experiments.planting import disturb
from experiments.sight import costs_of
from experiments.systems import Clip, Known, System, follow

SETTLE_S = 2.0


def held(film: Film, kind: str, seconds: float) -> Clip:
    """A frame of a backdrop held for so long under one disturbance."""
    frames = film.load(max(2, round(film.fps)))
    still, seed = frames[-1], zlib.crc32(f"{film.seeds} {kind}".encode())

    def disturbed() -> Iterator[Frame]:
        return (Frame(disturb(kind, still, k, film.fps, seed), k / film.fps, k) for k in range(count))

    count = round(seconds * film.fps)
    return Clip(film.name, film.size, film.fps, count, disturbed)


def listen(system: System, params: object, clip: Clip) -> Row:
    """How often a system calls a disturbance news, by the second; a system that says nothing is not heard out."""
    alarms: dict[int, bool] = {}
    settled, heard, known = math.inf, False, Known()
    with contextlib.closing(follow(system, params, clip)) as moments:
        for frame, known in moments:
            heard = heard or known.news is not None
            if not heard and frame.time_s >= 1:
                break
            if settled == math.inf and _knows_all(known):
                settled = max(SETTLE_S, math.ceil(frame.time_s))
            second = int(frame.time_s + 1e-9)
            if second >= settled:
                alarms[second] = alarms.get(second, False) or alarmed(known)
    fired = sum(alarms.values())
    return {
        "event": None,
        "event_ms": None,
        "events": 0,
        "recall": None,
        "miss_latency_ms": None,
        "alarms": fired if heard else None,
        "control_s": len(alarms) if heard else 0,
        "false_alarms_per_h": fired / len(alarms) * 3600 if heard and alarms else None,
        **(costs_of(known, clip) if heard else {"kbps": None, "tokens_per_s": None}),
    }


def alarmed(known: Known) -> bool:
    """Whether a system says that something happens now."""
    if known.alarm is not None:
        return known.alarm
    return known.news is not None and bool(known.news.any())


def _knows_all(known: Known) -> bool:
    if known.canvas is None:
        return known.picture is not None
    return bool((known.canvas.depth[known.canvas.visible()] > 0).all())
