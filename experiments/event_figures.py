"""The figures of `event_recall`: what was seen and how soon, what was called news, and what it all looked like.

    rows --a group per system and setting--> summary: recall and false alarms with their intervals, costs
    summary, a panel a family -------------> recall.png, over the length of events
    summary, a panel a disturbance --------> false_alarms.png
    Films, events planted in them ---------> examples.png
    all of it -----------------------------> report.md, with what its words say

Intervals are Wilson's, 95%. In recall.png a colour is a system at one setting, in false_alarms.png a system.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments import bench
from experiments.backdrops import EVENTS, Film
from experiments.bench import Row
from experiments.false_alarms import SETTLE_S
from experiments.planting import CONTRASTS, DISTURBANCES, EVENT_MS, KINDS, disturb, schedule, show
from experiments.plots import MARKERS, PALETTE
from experiments.sight import COSINE, GRACE_S, SHARE
from experiments.systems import System

Floats = NDArray[np.float32]

CUTS = {"event_ms": EVENT_MS, "kind": KINDS, "contrast": CONTRASTS}
PANELS = (
    ("ours", ("vidtok", "ablations")),
    ("policies on our tokens", ("tokens",)),
    ("pictures and video", ("pictures", "video", "other")),
)


# Figures of it


def summarise(rows: Sequence[Row]) -> Row:
    """What summary.json holds: an entry per system and setting, in order of first appearance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["system"], row["setting"]), []).append(row)
    return {
        "seen": {"cosine": COSINE, "share": SHARE, "grace_s": GRACE_S},
        "systems": [{"system": name, "setting": at, **_summary(group)} for (name, at), group in groups.items()],
    }


def _summary(rows: Sequence[Row]) -> Row:
    real = [row for row in rows if row["recall"] is not None]
    phantoms = [row["chance"] for row in rows if row.get("chance") is not None]
    controls = [row for row in rows if row["part"] != EVENTS]
    delays = [row["delay_ms"] for row in real if row["delay_ms"] is not None]
    cuts = {
        "50_ms": [row for row in real if row["event_ms"] < 100],
        "longer": [row for row in real if row["event_ms"] >= 100],
        "phantom": [row for row in rows if row.get("chance") is not None],
    }
    first = [row for row in rows if row["event"] == 0]  # costs are of the run: one row of each
    return {
        "clips": len(first),
        "kbps": _mean(row["kbps"] for row in first),
        "tokens_per_s": _mean(row["tokens_per_s"] for row in first),
        **_recall(real),
        **{
            f"{what}_{name}": _mean(row.get(what) for row in some)
            for what in ("sent", "woke")
            for name, some in cuts.items()
        },
        "chance": _mean(phantoms),
        "phantoms": len(phantoms),
        "miss_latency_ms": _mean(row["miss_latency_ms"] for row in real),
        "delay_ms": {f"p{p}": round(float(np.percentile(delays, p)), 1) for p in (50, 95)} if delays else None,
        "recall_by": {
            name: {str(value): _recall([row for row in real if row[name] == value]) for value in values}
            for name, values in (*CUTS.items(), ("size_px", sorted({row["size_px"] for row in real})))
        },
        **_alarms(controls),
        "alarms_by": {kind: _alarms([row for row in controls if row["kind"] == kind]) for kind in DISTURBANCES},
    }


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return round(float(np.mean(there)), 4) if there else None


def _recall(rows: Sequence[Row]) -> Row:
    seen = sum(row["recall"] for row in rows)
    low, high = wilson(seen, len(rows))
    return {"recall": _share(seen, len(rows)), "low": low, "high": high, "events": len(rows)}


def _alarms(rows: Sequence[Row]) -> Row:
    """False alarms an hour; the interval takes seconds as independent, which within a run they are not quite."""
    heard = [row for row in rows if row["alarms"] is not None]
    fired, seconds = sum(row["alarms"] for row in heard), sum(row["control_s"] for row in heard)
    low, high = wilson(fired, seconds)
    share = _share(fired, seconds)
    return {
        "false_alarms_per_h": None if share is None else round(share * 3600, 1),
        "alarms_low": None if low is None else round(low * 3600, 1),
        "alarms_high": None if high is None else round(high * 3600, 1),
        "control_s": seconds,
    }


def _share(hits: float, count: int) -> float | None:
    return round(hits / count, 4) if count else None


def wilson(hits: float, count: int) -> tuple[float, float] | tuple[None, None]:
    """The 95% interval of a share; nothing without a try."""
    if not count:
        return None, None
    z, share = 1.959964, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


# What is said of it


def draw(out: Path, entries: Sequence[Row], systems: dict[str, System], films: Sequence[Film]) -> None:
    """The plots."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        _draw_recall(plt, entries, {system.name: system.family for system in systems.values()}, out / "recall.png")
        _draw_alarms(plt, [entry for entry in entries if entry["control_s"]], out / "false_alarms.png")
        _draw_examples(plt, films[:: max(1, len(films) // 3)][:3], out / "examples.png")


def _draw_recall(plt: Any, entries: Sequence[Row], family: dict[str, str], path: Path) -> None:
    """Recall over an event's length: a panel a family, one of ours in grey in every other panel."""
    panels = [(title, [e for e in entries if family[e["system"]] in kinds]) for title, kinds in PANELS]
    panels = [(title, mine) for title, mine in panels if mine]
    ours = [entry for entry in entries if entry["system"] == "vidtok"]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels) + 0.4, 5.4), layout="constrained", sharey=True, squeeze=False
    )
    for axis, (title, mine) in zip(axes[0], panels, strict=True):
        if ours and not any(entry["system"] == "vidtok" for entry in mine):
            middle = ours[len(ours) // 2]
            axis.plot(_places(0), _values(middle), color="0.75", lw=4, label=_label(middle), zorder=0)
        for number, entry in enumerate(mine):
            values = _values(entry)
            spread = np.abs(np.array([_values(entry, "low"), _values(entry, "high")]) - values)
            places = _places((number - (len(mine) - 1) / 2) * 0.07)
            look = {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
            axis.errorbar(places, values, spread, **look, ms=5, lw=1.6, elinewidth=0.6, label=_label(entry))
        axis.set(title=title, xlabel="length of the event, ms", ylim=(-0.03, 1.03))
        axis.set_xticks(range(len(EVENT_MS)), [str(ms) for ms in EVENT_MS])
        axis.grid(axis="y", color="0.9")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=8)
    axes[0][0].set_ylabel("share of events seen, 95% interval")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _places(shift: float) -> Floats:
    return np.arange(len(EVENT_MS), dtype=np.float32) + np.float32(shift)


def _values(entry: Row, name: str = "recall") -> list[float]:
    by = entry["recall_by"]["event_ms"]
    return [math.nan if by[str(ms)][name] is None else by[str(ms)][name] for ms in EVENT_MS]


def _label(entry: Row) -> str:
    return f"{entry['system']}, {entry['setting'].partition(', within')[0]}"


def _draw_alarms(plt: Any, entries: Sequence[Row], path: Path) -> None:
    """False alarms by disturbance: a panel each, a bar a system and setting."""
    kinds = [*DISTURBANCES, "all"]
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(13, 0.3 * len(entries) + 1.7), layout="constrained", sharey=True, squeeze=False
    )
    names = list(dict.fromkeys(entry["system"] for entry in entries))
    colors = [PALETTE[names.index(entry["system"]) % len(PALETTE)] for entry in entries]
    for axis, kind in zip(axes[0], kinds, strict=True):
        alarms = [(entry if kind == "all" else entry["alarms_by"][kind])["false_alarms_per_h"] for entry in entries]
        axis.barh(range(len(entries)), [value or 0.0 for value in alarms], color=colors, height=0.7)
        for place, value in enumerate(alarms):
            axis.text((value or 0) + 60, place, bench.short(value and round(value)), va="center", fontsize=8)
        axis.set(title=kind, xlim=(0, 4700), xticks=(0, 3600))
    axes[0][0].set_yticks(range(len(entries)), [_label(entry) for entry in entries])
    if entries:
        axes[0][0].invert_yaxis()
    figure.supxlabel("seconds of an hour with a false alarm (3,600: all of them)", fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_examples(plt: Any, films: Sequence[Film], path: Path) -> None:
    """Planted events, half-way through, and what disturbances look like."""
    count = len(EVENT_MS)
    figure, axes = plt.subplots(
        len(films) + 1, count, figsize=(13, 2.35 * (len(films) + 1)), layout="constrained", squeeze=False
    )
    for row, film in zip(axes, films, strict=False):
        events = sorted((e for e in schedule(film.seeds, film.size, film.fps)[0] if e.planted), key=lambda e: e.ms)
        frames = film.load(max(event.end for event in events))
        for axis, event in zip(row, events, strict=True):
            k = event.first + event.frames // 2
            left, top, right, bottom = event.box(k)
            axis.imshow(show(frames[k], event, k))
            axis.add_patch(plt.Rectangle((left - 1, top - 1), right - left + 1, bottom - top + 1, fill=False, ec="w"))
            axis.set_title(f"{event.kind}, {event.ms} ms, contrast {event.contrast:g}", fontsize=8)
    still = films[0].load(max(2, round(films[0].fps)))[-1]
    for axis, kind in zip(axes[-1], [kind for kind in DISTURBANCES if kind != "drift"], strict=False):
        axis.imshow(disturb(kind, still, 100, films[0].fps, 0))
        axis.set_title(f"{kind}: no event", fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def report(args: argparse.Namespace, summary: Row, systems: dict[str, System], films: Sequence[Film], ran: str) -> None:
    """report.md."""
    entries = summary["systems"]
    fooled = sum((entry["chance"] or 0) * entry["phantoms"] for entry in entries)
    phantoms = sum(entry["phantoms"] for entry in entries)
    bench.write_report(
        args.out,
        "event_recall: are short events seen, and does what is none stay quiet?",
        [
            f"{len(films)} backdrops at {args.size} pixels and {args.fps:g} fps, seed {args.seed}. {ran}",
            f"Of {phantoms} phantoms, judged like events but never planted, {fooled:.0f} were seen.",
            *([""] + [f"- {line}" for line in summary["clips_left_out"]] if summary["clips_left_out"] else []),
            "",
            "![examples](examples.png)",
            "",
            "## Recall",
            "",
            "![recall](recall.png)",
            "",
            *bench.table([_told(entry) for entry in entries], TOLD),
            "",
            "Told, and woken for, within 150 ms of the first frame: events of 50 ms, longer ones, phantoms:",
            "",
            *bench.table(
                [entry for entry in entries if entry["sent_longer"] is not None],
                (
                    "system",
                    "setting",
                    *(f"{what}_{name}" for what in ("sent", "woke") for name in ("50_ms", "longer", "phantom")),
                ),
            ),
            "",
            "By the event's length in ms, with 95% intervals:",
            "",
            *bench.table([_cut(entry, "event_ms") for entry in entries], ("system", "setting", *map(str, EVENT_MS))),
            "",
            "By what happens and by contrast:",
            "",
            *bench.table(
                [_cut(entry, "kind") | _cut(entry, "contrast") for entry in entries],
                ("system", "setting", *KINDS, *map(str, CONTRASTS)),
            ),
            "",
            "## False alarms an hour",
            "",
            "![false alarms](false_alarms.png)",
            "",
            *bench.table(
                [_disturbed(entry) for entry in entries if entry["control_s"]],
                ("system", "setting", "all", "interval", *DISTURBANCES),
            ),
            "",
            "Systems that are not in this table never say what is news.",
            "",
            "## What the columns say",
            "",
            f"- seen: cosine {COSINE:g} and share {SHARE:g} or more between what differs at the receiver from the same "
            "system's run without the event and what the event truly changes, in EfficientNet-lite0's stride-16 "
            f"features over the event's cells, until {GRACE_S:g} s after its end. Through token head or viewer for "
            "systems with a canvas.",
            "- `recall`: share of planted events seen; Wilson's 95% interval, events taken as independent.",
            "- `chance`: share of phantoms seen. `delay`: from an event's first frame, of those seen. "
            "`miss_latency_ms`: mean over all events, a missed one counting its length and a second.",
            "- `sent`: share of events of which a cell is told within 150 ms. `woke`: an alarm in that time, and none "
            "without the event.",
            f"- false alarms: seconds, from {SETTLE_S:g} s on, in which there is an alarm (any cell marked as news, "
            "for systems that have none) while a held frame "
            f"is disturbed for {args.control_s:g} s. Each disturbance is tried on some of the backdrops.",
            "- `kbps`, `tokens_per_s`: of the runs with events.",
            "",
            "## The systems",
            "",
            *(f"- `{system.name}`: {system.about}." for system in systems.values()),
        ],
    )


TOLD = (
    "system", "setting", "kbps", "tokens_per_s", "events", "recall", "interval", "chance", "delay p50", "delay p95",
    "miss_latency_ms",
)  # fmt: skip


def _told(entry: Row) -> Row:
    delays = entry["delay_ms"] or {"p50": None, "p95": None}
    return {
        **entry,
        "interval": _interval(entry["low"], entry["high"]),
        "delay p50": delays["p50"],
        "delay p95": delays["p95"],
    }


def _cut(entry: Row, name: str) -> Row:
    cells_of = {
        value: None if at["recall"] is None else f"{at['recall']:.2f} ({_interval(at['low'], at['high'])})"
        for value, at in entry["recall_by"][name].items()
    }
    return {"system": entry["system"], "setting": entry["setting"], **cells_of}


def _disturbed(entry: Row) -> Row:
    return {
        "system": entry["system"],
        "setting": entry["setting"],
        "all": entry["false_alarms_per_h"],
        "interval": _interval(entry["alarms_low"], entry["alarms_high"], "{:.0f}"),
        **{kind: at["false_alarms_per_h"] for kind, at in entry["alarms_by"].items()},
    }


def _interval(low: float | None, high: float | None, form: str = "{:.2f}") -> str | None:
    return None if low is None or high is None else f"{form.format(low)} to {form.format(high)}"
