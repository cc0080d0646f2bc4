"""What a session's trace tells: a few lines of text, and a picture of its time.

    session --tracing--> FILE, JSON lines of `transport.trace` --read_trace--> Log --summary_lines--> text
                                                                               +----panels--draw---> PNG

Either end's trace will do. Panels for which a trace holds nothing are left out; events and fields that are not known
here are left alone, so that traces of other builds can be read. Nothing but `draw` needs matplotlib.
"""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transport.trace import Trace, TraceEvent
from vidtok.errors import MissingExtra, TraceError

MAX_LINE = 1 << 20
MARKS = {"connected": "#00795c", "suspended": "#b36b00", "resumed": "#00795c", "closed": "#c8102e"}
BLUE, RED, GREEN, BROWN = "#0063a6", "#c8102e", "#00795c", "#b36b00"
WIDTH, PANEL, DPI = 11.0, 2.1, 110
SMALLEST_BIN, BINS = 1.0, 300  # seconds; and how many of them fit the picture
MOST_KINDS = 16  # of mishaps that have a row of their own

Point = tuple[float, float]


@dataclass(frozen=True)
class Log:
    """The events of one session, oldest first, times from the first one on; `notes` says what was left out."""

    events: list[TraceEvent]
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return self.events[-1].time

    def named(self, *names: str) -> list[TraceEvent]:
        """The events that have one of some names."""
        return [event for event in self.events if event.name in names]

    def points(self, name: str, what: str, unit: float = 1.0) -> list[Point]:
        """A number of every event called `name` that has it, over time."""
        values = ((event.time, number(event, what)) for event in self.named(name))
        return [(time, value * unit) for time, value in values if value is not None]


def number(event: TraceEvent, what: str) -> float | None:
    """A field of an event, if it is a number."""
    value = event.data.get(what)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return None
    return float(value)


def plain(value: object, longest: int) -> str:
    """Text from a trace, that a peer may have chosen, for one line of a terminal or a picture."""
    text = " ".join(str(value).split())[:longest]
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)


# -- writing and reading


@contextmanager
def tracing(path: Path | None) -> Iterator[Trace | None]:
    """A trace that writes itself into a file, line by line; None where none is wanted."""
    if path is None:
        yield None
        return
    with open(path, "w", buffering=1, encoding="utf-8") as file:
        yield Trace(sink=file)


def read_trace(path: Path) -> Log:
    """The trace in a file; one that is still being written may end within a line."""
    events, notes = [], []
    with open(path, "rb") as file:
        for count, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
            event = _event(line)
            if event is not None:
                events.append(event)
            elif events and not line.endswith(b"\n") and len(line) < MAX_LINE:
                notes.append(f"line {count} is cut and left out: the trace is still being written, or its end is lost")
            elif line.strip():
                raise TraceError(
                    f"{path}, line {count}: not an event of a trace; `--trace FILE` of vidtok send and serve writes one"
                )
    if not events:
        raise TraceError(f"{path}: holds no event; has the session begun?")
    events.sort(key=lambda event: event.time)
    began = events[0].time
    return Log([TraceEvent(event.time - began, event.name, event.data) for event in events], notes)


def _event(line: bytes) -> TraceEvent | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(name := row.get("name"), str):
        return None
    time = number(event := TraceEvent(0.0, name, row), "time")
    return None if time is None else TraceEvent(time, name, event.data)


# -- in words


def summary_lines(log: Log) -> list[str]:
    """What there is to say, a line each; lines for which a trace holds nothing are left out."""
    said = {
        "duration": f"{log.seconds:.1f} s, {len(log.events)} events",
        "sent": _traffic(log, "sent"),
        "arrived": _traffic(log, "arrived"),
        "lost": _losses(log),
        "round trip": _spread([trip for _, trip in log.points("acked", "rtt_ms")]),
        "delay": _spread([delay for _, delay in _delays(log, "arrived")], " above the smallest"),
        "drops": _drops(log),
        "breaks": f"{count}" if (count := len(log.named("suspended"))) else None,
        "closed": _ending(log),
    }
    return [f"{what:<13}{text}" for what, text in said.items() if text] + [f"note: {note}" for note in log.notes]


def _traffic(log: Log, name: str) -> str | None:
    total = sum(size for _, size in log.points(name, "size"))
    rate = f", {total * 8 / log.seconds / 1000:.2f} kbps" if log.seconds else ""
    events = log.named(name)
    return f"{len(_versions(events))} versions, {total / 1000:.1f} kB of payload{rate}" if events else None


def _versions(events: Iterable[TraceEvent]) -> set[float]:
    return {version for event in events if (version := number(event, "version")) is not None}


def _losses(log: Log) -> str | None:
    sent, lost, timeouts = (len(log.named(name)) for name in ("sent", "lost", "timeout"))
    if not sent + lost + timeouts:
        return None
    share = f" of {sent} ({lost / sent:.1%})" if sent else ""
    return f"{lost}{share}, timeouts {timeouts}"


def _spread(values: Sequence[float], more: str = "") -> str | None:
    if not values:
        return None
    return f"median {percentile(values, 0.5):.1f} ms, p95 {percentile(values, 0.95):.1f} ms{more}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of all lie, between two neighbours in proportion."""
    ranked = sorted(values)
    place = share * (len(ranked) - 1)
    below = ranked[math.floor(place)]
    return below + (ranked[math.ceil(place)] - below) * (place - math.floor(place))


def _drops(log: Log) -> str:
    reasons = Counter(_reason(event) for event in log.named("drop"))
    return ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none"


def _reason(event: TraceEvent) -> str:
    return plain(event.data.get("reason", "no reason given"), 40)


def _ending(log: Log) -> str | None:
    for event in log.named("closed"):
        reason = plain(event.data.get("reason", ""), 100)
        return f"code {plain(event.data.get('code'), 10)}" + (f": {reason}" if reason else "")
    return None


# -- what is drawn


@dataclass(frozen=True)
class Series:
    """Some points: joined by lines, in steps, or not at all."""

    label: str
    points: list[Point]
    color: str
    style: str = "line"  # or "wide" (under another line), "steps", "dots"


@dataclass(frozen=True)
class Panel:
    """Series over the same time; `rows` names the values 0, 1, ... where those are no numbers."""

    label: str
    series: list[Series]
    rows: tuple[str, ...] = ()


def panels(log: Log) -> list[Panel]:
    """The panels for which there is something to draw, from top to bottom."""
    every = (_delay(log), _limits(log), _bytes(log), _mishaps(log), _progress(log), _staleness(log))
    shown = (Panel(each.label, [one for one in each.series if one.points], each.rows) for each in every)
    return [each for each in shown if each.series]


def _delay(log: Log) -> Panel:
    return Panel(
        "delay (ms)",
        [
            Series("round trip", log.points("acked", "rtt_ms"), BLUE),
            Series("of it in queues", log.points("acked", "queue_ms"), BROWN),
            Series("capture to arrival, above the smallest", _delays(log, "arrived"), BLUE, "wide"),
            Series("capture to canvas, likewise", _delays(log, "applied"), GREEN),
        ],
    )


def _captures(log: Log) -> dict[float, float]:
    """When each version that arrived was filmed, in seconds of the log, as if the quickest had come at once."""
    filmed = {
        version: (event.time, capture / 1000)
        for event in log.named("arrived")
        if (version := number(event, "version")) is not None and (capture := number(event, "capture_ms")) is not None
    }
    ahead = min((time - capture for time, capture in filmed.values()), default=0.0)
    return {version: capture + ahead for version, (_, capture) in filmed.items()}


def _delays(log: Log, name: str) -> list[Point]:
    captures = _captures(log)
    return [(time, (time - captures[which]) * 1000) for time, which in log.points(name, "version") if which in captures]


def _limits(log: Log) -> Panel:
    steps = log.points("rate", "bps", 1e-3)
    if steps:
        steps.append((log.seconds, steps[-1][1]))
    return Panel("allowed (kbps)", [Series("rate", steps, RED, "steps")])


def _bytes(log: Log) -> Panel:
    return Panel(
        "payload (kbps)",
        [Series("sent", _rates(log, "sent"), BLUE, "steps"), Series("arrived", _rates(log, "arrived"), GREEN, "steps")],
    )


def _rates(log: Log, name: str) -> list[Point]:
    """Payload over time, in pieces of time of equal length."""
    sizes = log.points(name, "size")
    width = max(SMALLEST_BIN, log.seconds / BINS)
    bins = [0.0] * (int(log.seconds / width) + 1)
    for time, size in sizes:
        bins[int(time / width)] += size
    points = [(place * width, total * 8 / width / 1000) for place, total in enumerate(bins)]
    return [*points, (len(bins) * width, points[-1][1])] if sizes else []


def _mishaps(log: Log) -> Panel:
    """Losses, timeouts, restarts and drops by reason, a row each with its count."""
    kinds: dict[str, list[float]] = {}
    for event in log.named("lost", "timeout", "restart", "drop"):
        kind = f"drop: {_reason(event)}" if event.name == "drop" else event.name
        kind = kind if kind in kinds or len(kinds) < MOST_KINDS else "others"
        kinds.setdefault(kind, []).append(event.time)
    series = [
        Series("", [(time, float(row)) for time in times], BROWN if kind.startswith("drop: ") else RED, "dots")
        for row, (kind, times) in enumerate(kinds.items())
    ]
    return Panel("", series, tuple(f"{kind} ({len(times)})" for kind, times in kinds.items()))


def _progress(log: Log) -> Panel:
    return Panel(
        "version",
        [
            Series("sent", log.points("sent", "version"), BLUE),
            Series("acknowledged", log.points("acked", "version"), GREEN),
            Series("arrived", log.points("arrived", "version"), BLUE, "wide"),
            Series("applied", log.points("applied", "version"), GREEN),
            Series("new base after a loss", log.points("base", "base"), RED, "dots"),
        ],
    )


def _staleness(log: Log) -> Panel:
    return Panel(
        "staleness (s)",
        [
            Series("oldest change without an answer", _unanswered(log), BLUE),
            Series("age of what is shown, above the smallest delay", _age(log), GREEN),
        ],
    )


def _unanswered(log: Log) -> list[Point]:
    """For how long the oldest version above the newest acknowledged one has been on its way."""
    out: list[Point] = []
    waiting: deque[Point] = deque()  # (when sent, version)
    if not log.named("acked"):
        return out
    for event in [*log.named("sent", "acked"), TraceEvent(log.seconds, "end", {})]:
        out.append((event.time, event.time - waiting[0][0] if waiting else 0.0))
        version = number(event, "version")
        if version is not None and event.name == "sent":
            waiting.append((event.time, version))
        while version is not None and event.name == "acked" and waiting and waiting[0][1] <= version:
            waiting.popleft()
        out.append((event.time, event.time - waiting[0][0] if waiting else 0.0))
    return out


def _age(log: Log) -> list[Point]:
    """How long ago what the canvas shows was filmed."""
    captures, out = _captures(log), []
    shown: float | None = None
    for time, version in [*log.points("applied", "version"), (log.seconds, math.nan)]:
        if shown is not None:
            out.append((time, time - shown))
        if version in captures:
            shown = captures[version] if shown is None else max(shown, captures[version])
            out.append((time, time - shown))
    return out


# -- drawing


def draw(log: Log, path: Path, title: str) -> None:
    """Write the picture; MissingExtra where there is no matplotlib."""
    plt = _pyplot()
    shown = panels(log)
    with plt.rc_context({"font.size": 9, "axes.grid": True, "grid.color": "#e4e4e4", "axes.axisbelow": True}):
        heights = [0.2 + 0.15 * len(panel.rows) if panel.rows else 1.0 for panel in shown] or [1.0]
        figure, axes = plt.subplots(
            len(heights), 1, figsize=(WIDTH, 0.8 + PANEL * sum(heights)), height_ratios=heights, sharex=True,
            squeeze=False, layout="constrained",
        )  # fmt: skip
        for axis, panel in zip(axes[:, 0], shown, strict=False):
            _draw_panel(axis, panel)
        for axis in axes[:, 0]:
            _draw_marks(axis, log)
        _name_marks(axes[0, 0], log)
        axes[-1, 0].set(xlabel="seconds", xlim=(0.0, max(log.seconds, 1e-3)))
        figure.suptitle(plain(title, 100).replace("$", r"\$"))
        figure.savefig(path, dpi=DPI)
        plt.close(figure)


def _draw_panel(axis: Any, panel: Panel) -> None:
    for each in panel.series:
        times, values = zip(*each.points, strict=True)
        if each.style == "dots":
            axis.plot(times, values, "|" if panel.rows else ".", color=each.color, markersize=8, label=each.label)
        elif each.style == "steps":
            axis.step(times, values, where="post", color=each.color, linewidth=1.2, label=each.label)
        else:
            wide = {"linewidth": 3.0, "alpha": 0.35} if each.style == "wide" else {"linewidth": 1.0}
            axis.plot(times, values, color=each.color, label=each.label, **wide)
    if panel.rows:
        axis.set(yticks=range(len(panel.rows)), yticklabels=[row.replace("$", r"\$") for row in panel.rows])
        axis.set_ylim(len(panel.rows) - 0.4, -0.6)
    else:
        axis.set(ylabel=panel.label)
        axis.set_ylim(bottom=0)
        legend = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1, "borderpad": 0.1}
        axis.legend(frameon=False, ncols=len(panel.series), fontsize=8, **legend)


def _draw_marks(axis: Any, log: Log) -> None:
    """When the session opened, lost its path, found one again, ended."""
    for event in log.named(*MARKS):
        axis.axvline(event.time, color=MARKS[event.name], linewidth=0.9, linestyle=(0, (4, 2)))
    for start, end in breaks(log):
        axis.axvspan(start, end, color=MARKS["suspended"], alpha=0.12, linewidth=0)


def breaks(log: Log) -> list[tuple[float, float]]:
    """The times from losing the path to going on, or to the end."""
    out, since = [], None
    for event in log.named("suspended", "resumed", "closed"):
        if event.name == "suspended":
            since = event.time if since is None else since
        elif since is not None:
            out.append((since, event.time))
            since = None
    return [*out, (since, log.seconds)] if since is not None else out


def _name_marks(axis: Any, log: Log) -> None:
    place, end = axis.get_xaxis_transform(), log.seconds
    for event in log.named(*MARKS):
        axis.text(
            event.time, 0.97, event.name, transform=place, color=MARKS[event.name], fontsize=8, rotation=90, va="top",
            ha="left" if event.time < end / 2 else "right",
        )  # fmt: skip


def _pyplot() -> Any:
    """matplotlib.pyplot, drawing to files only."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "experiments") from None

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
