"""The arithmetic of `browser_edge`: from what a run noted to a row, and ours over the cheapest video that will do.

Taken --figures()--> delays, bytes, CPU, what the model knew at each frame's time --> a row
rows --workable()--> the video of fewest bytes whose model knows no less than ours does --ratios()--> beside the targets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from experiments.bench import Row
from experiments.browser_edge_camera import Glass, Reel
from experiments.browser_edge_runs import Moment, Taken
from vidtok.model.reader import agreement

UDP_BYTES = 28  # IPv4 20, UDP 8, a packet
OURS = "vidtok"
TARGETS = {  # column -> ours over the cheapest video that will do, at most
    "p50_ms": 1 / 3,
    "wire_bytes_per_s": 1 / 5,
    "server_cpu_ms_per_s": 1 / 10,
    "server_cpu_to_cut_ms_per_s": 1 / 10,
}
FRAMES_PER_S = {256 * 256: 15.0, 640 * 480: 10.0}  # pixels -> that the edge is to keep up with, at least
SPENT = ("tab_cpu", "browser_cpu", "server_cpu")


def figures(taken: Taken, reel: Reel, true: Sequence[Any]) -> Row:
    """The figures of a run; `true` is what the whole tower sees in each measured picture."""
    start, end = taken.window
    frames = [glass for glass in taken.glasses if start - 0.5 / reel.fps <= glass.time_s < end - 0.5 / reel.fps]
    inside = within(taken.moments, frames)
    seconds, spent = reel.seconds, taken.spent
    wire = spent["wire_bytes"] + UDP_BYTES * spent["wire_packets"]
    return {
        **quantiles("", [m.token_s - m.taken_s for m in inside]),
        **quantiles("known_", [m.known_s - m.taken_s for m in inside if m.known_s is not None]),
        **quantiles("news_", ages(frames, taken.moments)),
        "feature_cosine": knowledge(frames, taken.moments, reel, true),
        "wire_bytes_per_s": round(wire / seconds, 1),
        "bytes_per_s": round(spent["payload_bytes"] / seconds, 1),
        "packets_per_s": round(spent["wire_packets"] / seconds, 2),
        **{f"{name}_ms_per_s": round(1000 * spent[f"{name}_s"] / seconds, 2) for name in SPENT},
        "server_cpu_to_cut_ms_per_s": round(1000 * (spent["server_cpu_s"] - taken.beyond_cut_s) / seconds, 2),
        "tokens_per_s": round(sum(m.tokens for m in inside) / seconds, 2),
        "frames": len(frames),
        "frames_told": len({m.taken_s for m in inside}),
        "camera_lag_ms": round(1000 * median(glass.lag_s for glass in frames), 2) if frames else None,
        **taken.more,
    }


def within(moments: Sequence[Moment], frames: Sequence[Glass]) -> list[Moment]:
    """The moments of these frames."""
    times = {glass.time_s for glass in frames}
    return [moment for moment in moments if moment.taken_s in times]


def quantiles(name: str, delays_s: Sequence[float]) -> Row:
    """The median and the 95th of a hundred, in ms; None where there is nothing."""
    if not delays_s:
        return {f"{name}p50_ms": None, f"{name}p95_ms": None}
    return {f"{name}p{q}_ms": round(1000 * float(np.percentile(delays_s, q)), 2) for q in (50, 95)}


def ages(frames: Sequence[Glass], moments: Sequence[Moment]) -> list[float]:
    """Of each frame, how long it took until it, or a newer one, stood in the model."""
    out = []
    for glass in frames:
        stood = [moment.token_s for moment in moments if moment.taken_s >= glass.time_s]
        if stood:
            out.append(min(stood) - glass.time_s)
    return out


def knowledge(frames: Sequence[Glass], moments: Sequence[Moment], reel: Reel, true: Sequence[Any]) -> float | None:
    """Mean cosine of what model input tells when the next frame is taken and what the whole tower sees in this one."""
    known = sorted(((m.token_s, m.pooled) for m in moments if m.pooled is not None), key=lambda each: each[0])
    times = [when for when, _ in known]
    found = []
    for glass in frames:
        place = glass.place - reel.first
        last = int(np.searchsorted(times, glass.time_s + 1 / reel.fps)) - 1
        if 0 <= place < len(true) and last >= 0:
            found.append(agreement(known[last][1], true[place]))
    return round(float(np.mean(found)), 4) if found else None


# Over runs


def medians(rows: Sequence[Row]) -> list[Row]:
    """A row a system and setting: the median over clips of every number that all of its clips have."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["system"], row["setting"]), []).append(row)
    out = []
    for (system, setting), mine in found.items():
        numbers = [name for name in mine[0] if all(_is_number(row.get(name)) for row in mine)]
        middle = {name: round(float(median(row[name] for row in mine)), 4) for name in numbers}
        out.append({"system": system, "setting": setting, "clips": len(mine)} | middle)
    return out


def folded(rows: Sequence[Row]) -> list[Row]:
    """Of medians, ours as one row: the stream's, with what the page weighs and what the edge keeps up with."""
    mine = [row for row in rows if row["system"].startswith(OURS)]
    others = [row for row in rows if not row["system"].startswith(OURS)]
    if not mine:
        return others
    whole = {name: value for row in reversed(mine) for name, value in row.items()}
    stream = next((row for row in mine if row["system"] == OURS), {"setting": "its parts alone"})
    return [whole | stream | {"system": OURS}, *others]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def workable(rows: Sequence[Row]) -> Row | None:
    """Of medians, the video of fewest bytes that knows what ours does; where none does, the one that knows most."""
    videos = [row for row in rows if row["system"] != OURS and "feature_cosine" in row]
    ours = next((row for row in rows if row["system"] == OURS and "feature_cosine" in row), None)
    if not videos or ours is None:
        return None
    enough = [row for row in videos if row["feature_cosine"] >= ours["feature_cosine"]]
    if not enough:
        return max(videos, key=lambda row: float(row["feature_cosine"]))
    return min(enough, key=lambda row: float(row["wire_bytes_per_s"]))


def ratios(rows: Sequence[Row], size: tuple[int, int]) -> list[Row]:
    """Ours over the workable video's, and the frames a second that the edge keeps up with, each beside its target."""
    ours = next((row for row in rows if row["system"] == OURS), None)
    if ours is None:
        return []
    out: list[Row] = []
    video: Mapping[str, Any] = workable(rows) or {}
    for column, target in TARGETS.items():
        mine, theirs = ours.get(column), video.get(column)
        ratio = round(mine / theirs, 4) if mine is not None and theirs else None
        out.append(
            _beside(f"{column}, ours over {video.get('system')} ({video.get('setting')})", ratio, target, most=True)
        )
    wanted = FRAMES_PER_S.get(size[0] * size[1])
    if wanted is not None:
        out.append(_beside("frames a second that the edge keeps up with", ours.get("keeps_up_fps"), wanted, most=False))
    return out


def _beside(what: str, figure: float | None, target: float, *, most: bool) -> Row:
    met = None if figure is None else (figure <= target if most else figure >= target)
    said = "–" if met is None else "yes" if met else "no"
    return {"what": what, "figure": figure, "target": f"{'<=' if most else '>='} {target:.3g}", "met": said}
