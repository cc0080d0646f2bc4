"""Costs that can be compared: CPU time of one thread, systems run in turn in one process, medians with the extremes.

    frames of a clip in memory --prepare, not timed--> a pass a system
    round 0 (warms up, not counted), rounds 1 to R: every pass once, the order turned by one each round --> Spent
    Spent of all rounds --> median, lowest, highest; ratio to the base system of the same round --> a row

CPU time is the whole process's, threads that a library starts by itself included. Only ratios carry over to another
machine. A clip is measured whole or not at all, so that a ratio never compares two runs.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any
from unittest.mock import patch

from tqdm import tqdm

from edge_gate.source import Frame, SourceError, open_source, parse_size
from experiments import bench
from experiments.bench import BenchError, Row, Rows
from experiments.systems import Clip, clip_of
from transport.events import Event
from transport.session import Session
from transport.states import Role
from vidtok.canvas import Canvas, Grid
from vidtok.entropy import load_tables
from vidtok.live.link import Joined, codec_hash
from vidtok.live.receiver import Receiver
from vidtok.live.sender import Sender, hello
from vidtok.tokenizer.edge import EdgeEncoder, load_info

SCENES = ("scene:tour", "scene:still")
KEY = ("system", "setting", "clip")
COLUMNS = ("cpu_ms_per_s", "macs_per_frame", "streams_per_core", "ratio_to_video")
SHORTEST_S = 0.5
QUICK_CLIPS, QUICK_SECONDS, QUICK_REPEATS = 2, 3.0, 2
LARGEST = 2 << 30  # bytes of one clip's frames in memory
SURROUNDINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "SVT_LOG": "1",  # errors only
    # glibc keeps what is freed: else big tensors are given back and faulted in again, or not, by chance of layout
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


# What is measured


@dataclass(frozen=True)
class Spent:
    """One pass over a clip."""

    cpu_s: float
    parts: Mapping[str, float] = field(default_factory=dict)  # CPU seconds by part
    macs: float | None = None  # multiply-adds of all frames together; None where nobody can count them
    bytes: int | None = None  # that crossed the link, both directions
    more: Mapping[str, float] = field(default_factory=dict)  # further columns, the same in every pass


Pass = Callable[[], Spent]


@dataclass(frozen=True)
class Contender:
    """A system at one setting; `prepare` does what is not timed and returns the pass that is."""

    name: str
    setting: str
    about: str
    prepare: Callable[[Clip], Pass]
    base: bool = False  # the ratios of those after it, up to the next base, are to this one


@dataclass(frozen=True)
class Study:
    """One experiment of this kind."""

    name: str
    title: str
    doc: str
    contenders: Callable[[], Sequence[Contender]]
    parts: Mapping[str, str]  # of our own cost, and what they are
    report: Sequence[str]  # what a reader must know, as Markdown


@dataclass(frozen=True)
class Film:
    """A clip or built-in scene and how it is looked at; what a worker loads its frames from."""

    spec: str
    name: str
    size: tuple[int, int]
    fps: float
    seconds: float

    def load(self) -> Clip:
        """Its frames, in memory."""
        size = "x".join(map(str, self.size))
        with open_source(self.spec, size=size, fps=self.fps, duration_s=self.seconds) as source:
            frames = list(source)
        if len(frames) < SHORTEST_S * self.fps:
            raise SourceError(f"{self.spec}: lasts {len(frames) / self.fps:g} s, give at least {SHORTEST_S:g} s")
        return clip_of(self.name, self.fps, frames)


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process that a call takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


class Meter:
    """Adds up CPU time by part; what a part spends inside another counts for the inner one alone."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.parts: dict[str, float] = {}
        self._clock = clock
        self._inner: list[float] = []

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to a part."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            began = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                took = self._clock() - began
                self.parts[part] = self.parts.get(part, 0.0) + took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return wrapped

    @contextmanager
    def watching(self, place: ModuleType | type, parts: Mapping[str, Iterable[str]]) -> Iterator[None]:
        """Within this, functions that a module or class knows by these names are timed: part -> names."""
        names = {name: self.timed(part, getattr(place, name)) for part, chosen in parts.items() for name in chosen}
        with patch.multiple(place, **names):
            yield

    def measure(self, rest: str, work: Callable[[], object]) -> Mapping[str, float]:
        """Run all of it: what no other part claims goes to `rest`. Returns the parts."""
        self.timed(rest, work)()
        return dict(self.parts)


def macs_of(work: Callable[[], object]) -> int:
    """Multiply-adds that torch does in a call, as its own counter counts them (two operations each).

    Networks and inputs may be on the device "meta": shapes are all that is needed, nothing is computed.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2


# Both ends of a stream, each by itself


Call = tuple[str, tuple[Any, ...]]
_BRING_EVENTS = ("receive_datagram", "handle_timeout")
_CALLS = (*_BRING_EVENTS, "datagrams_to_send", "next_timeout")


@dataclass(frozen=True, eq=False)
class Taped:
    """A clip streamed once from end to end, with all that was asked of either end, in order.

    Replayed on a fresh sender (or receiver), the calls do exactly the same work again without the other end.
    """

    sender: Sequence[Call]
    receiver: Sequence[Call]  # "look" marks the end of a frame's time
    bytes: int
    hashes: tuple[int, int]  # of the last canvas at the sender and at the receiver


def new_sender(clip: Clip, encoder: Any) -> Sender:
    """The sending end, as `vidtok.live.recording.Loop` makes it."""
    grid, tables, info = Grid(*clip.size), load_tables(), load_info()
    build, meta = codec_hash(tables, info.digest), dict(hello(grid, clip.fps, clip.name))
    session = Session(Role.SENDER, codec_hash=build, meta=meta, now=0.0, wall_ms=0, session_id=bytes(16))
    return Sender(grid, session, encoder, info, tables)


def new_receiver() -> Receiver:
    """The receiving end, likewise."""
    tables = load_tables()
    build = codec_hash(tables, load_info().digest)
    return Receiver(Session(Role.RECEIVER, codec_hash=build, meta={}, now=0.0, wall_ms=0), tables)


def tape(clip: Clip, encoder: EdgeEncoder) -> Taped:
    """Stream a clip without loss or delay and write everything down."""
    sender, receiver = new_sender(clip, encoder), new_receiver()
    calls: tuple[list[Call], list[Call]] = ([], [])
    for noted, session in zip(calls, (sender.session, receiver.session), strict=True):
        for name in _CALLS:
            _note(session, name, noted)
    _note(sender, "step", calls[0])
    joined = Joined(sender.session, receiver.session)

    def advance(now: float) -> None:
        for session, when, event in joined.advance(now):
            if session is sender.session:
                sender.on_event(event)
            else:
                receiver.on_event(event, when)

    advance(0.0)
    for frame in clip:
        advance(frame.time_s)
        sender.step(frame.pixels, frame.time_s, frame.time_s)
        advance(frame.time_s)
        calls[1].append(("look", ()))
    assert receiver.canvas is not None
    crossed = sender.session.bytes_sent + receiver.session.bytes_sent
    return Taped(*calls, crossed, (sender.canvas.state_hash(), receiver.canvas.state_hash()))


def replay_sender(sender: Sender, taped: Taped) -> None:
    """Ask a fresh sender what the taped one was asked; it must end in the same state."""
    for name, args in taped.sender:
        if name == "step":
            sender.step(*args)
        else:
            for event in _asked(sender.session, name, args):
                sender.on_event(event)
    _check(sender.canvas, taped.hashes[0])


def replay_receiver(receiver: Receiver, taped: Taped, look: Callable[[Canvas, float], object]) -> None:
    """Likewise for a receiver; `look` is given the newest canvas after each frame that changed it, and the time."""
    last, now = receiver.canvas, 0.0
    for name, args in taped.receiver:
        if name == "look":
            if receiver.canvas is not None and receiver.canvas is not last:
                last = receiver.canvas
                look(last, now)
            continue
        now = args[-1] if args else now
        for event in _asked(receiver.session, name, args):
            receiver.on_event(event, now)
    _check(receiver.canvas, taped.hashes[1])


def _asked(session: Session, name: str, args: tuple[Any, ...]) -> Sequence[Event]:
    answer = getattr(session, name)(*args)
    return answer if name in _BRING_EVENTS else ()


def _check(canvas: Canvas | None, wanted: int) -> None:
    if canvas is None or canvas.state_hash() != wanted:
        raise BenchError(
            "a replayed end went another way than the taped one: its decisions hang on more than its input"
        )


def _note(thing: Any, name: str, calls: list[Call]) -> None:
    function = getattr(thing, name)

    def noted(*args: Any) -> Any:
        calls.append((name, args))
        return function(*args)

    setattr(thing, name, noted)


# Rounds


def in_turn(passes: Sequence[Pass], repeats: int) -> list[list[Spent]]:
    """Every pass `repeats` times, all of them once before any again; what each spent, round by round."""
    spent: list[list[Spent]] = [[] for _ in passes]
    for number in range(repeats + 1):
        for place in range(len(passes)):
            index = (place + number) % len(passes)
            gc.collect()
            result = passes[index]()
            if number:  # the first round fills caches
                spent[index].append(result)
    return spent


def columns(spent: Sequence[Spent], base: Sequence[Spent], clip: Clip) -> Row:
    """The figures of a row: medians over rounds, with the lowest and highest."""
    cpu = [one.cpu_s * 1000 / clip.seconds for one in spent]
    ratios = [one.cpu_s / other.cpu_s for one, other in zip(spent, base, strict=True)]
    first = spent[0]
    return {
        **spread("cpu_ms_per_s", cpu),
        "macs_per_frame": None if first.macs is None else round(first.macs / clip.count),
        **spread("streams_per_core", [1000 / value for value in cpu]),
        **spread("ratio_to_video", ratios),
        "kbps": None if first.bytes is None else round(first.bytes * 8 / clip.seconds / 1000, 4),
        **{
            f"{part}_ms_per_s": round(median(one.parts[part] for one in spent) * 1000 / clip.seconds, 4)
            for part in first.parts
        },
        **first.more,
    }


def spread(name: str, values: Sequence[float]) -> Row:
    """A median under its name, the extremes beside it."""
    return {
        name: round(median(values), 4),
        f"{name}_low": round(min(values), 4),
        f"{name}_high": round(max(values), 4),
    }


def measure(study: Study, repeats: int, film: Film) -> list[Row]:
    """All systems of a study on one clip; none where the clip cannot be read, which is said."""
    try:
        clip = film.load()
    except SourceError as error:
        tqdm.write(f"{error}; left out")
        return []
    contenders = study.contenders()
    spent = in_turn([contender.prepare(clip) for contender in contenders], repeats)
    bases = bases_of(contenders)
    width, height = clip.size
    run = {"size": f"{width}x{height}", "fps": clip.fps, "seconds": film.seconds, "repeats": repeats}
    return [
        {"system": c.name, "setting": c.setting, "clip": clip.name, **run, "frames": clip.count}
        | columns(mine, spent[base], clip)
        for c, mine, base in zip(contenders, spent, bases, strict=True)
    ]


def bases_of(contenders: Sequence[Contender]) -> list[int]:
    """For each contender, the place of the one that it is compared with."""
    places: list[int] = []
    for place, contender in enumerate(contenders):
        places.append(place if contender.base else places[-1])
    return places


def start() -> None:
    """What a worker does first: nothing, for all it needs belongs to a clip."""


# The command


def arguments(name: str, doc: str, argv: Sequence[str] | None, *, repeats: int = 5) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser(name, doc, clips=False)
    parser.add_argument("--size", default="256", help="a number for a square, or WIDTHxHEIGHT; multiples of 16")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help=f"of each clip (default 6, with --quick {QUICK_SECONDS:g})")
    parser.add_argument("--repeats", type=int, help=f"rounds (default {repeats}, with --quick {QUICK_REPEATS})")
    args = parser.parse_args(argv)
    args.seconds = args.seconds if args.seconds is not None else (QUICK_SECONDS if args.quick else 6.0)
    args.repeats = args.repeats if args.repeats is not None else (QUICK_REPEATS if args.quick else repeats)
    args.size = parse_size(args.size)
    if not args.seconds >= SHORTEST_S:
        raise BenchError(f"--seconds {args.seconds:g}: give at least {SHORTEST_S:g}")
    if args.repeats < 1:
        raise BenchError(f"--repeats {args.repeats}: give at least 1")
    if not 1 <= args.fps <= 60:
        raise BenchError(f"--fps {args.fps:g}: give 1 to 60")
    if args.size[0] * args.size[1] * 3 * args.fps * args.seconds > LARGEST:
        raise BenchError(f"--seconds {args.seconds:g}: the frames need too much memory, give fewer or a smaller --size")
    return args


def films(args: argparse.Namespace) -> list[Film]:
    """The built-in scenes and the clips of a run."""
    paths = bench.find_clips(args.clips) if args.clips is not None else []
    if args.quick:
        paths = paths[:: max(1, len(paths) // QUICK_CLIPS)][:QUICK_CLIPS]
    named = [(str(path), path.relative_to(args.clips).as_posix()) for path in paths]
    scenes = [(scene, scene) for scene in SCENES]
    return [Film(spec, name, args.size, args.fps, args.seconds) for spec, name in [*scenes, *named]]


def run_of(args: argparse.Namespace) -> Row:
    """What is the same for every row of a run."""
    width, height = args.size
    return {"size": f"{width}x{height}", "fps": args.fps, "seconds": args.seconds, "repeats": args.repeats}


def set_surroundings() -> None:
    """Hold processes that start from here on to one thread a library and to a steady allocator."""
    os.environ.update(SURROUNDINGS)


def conduct(study: Study, argv: Sequence[str] | None, extra: Callable[[argparse.Namespace], Row] | None = None) -> None:
    """Run a study from its command line: rows, summary, plots, report. `extra` adds to the summary."""
    args = arguments(study.name, study.doc, argv)
    set_surroundings()
    chosen = films(args)
    rows = Rows(args.out, KEY, run_of(args))
    names = [(c.name, c.setting) for c in study.contenders()]
    keys = {film.name: [dict(zip(KEY, (*name, film.name), strict=True)) for name in names] for film in chosen}
    waiting = [film for film in chosen if not all(rows.has(**key) for key in keys[film.name])]
    work = partial(measure, study, args.repeats)
    # One worker whatever --jobs says: what runs beside a timing changes it.
    took = bench.run_jobs(waiting, work, rows, start=start, workers=1, label=study.name)
    kept = rows.keep([key for film in chosen for key in keys[film.name]])
    if not kept:
        raise BenchError(f"--clips {args.clips}: nothing in it could be measured")
    summary = summarise(kept) | (extra(args) if extra is not None else {}) | {"machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw(args.out / f"{study.name}.png", summary, study)
    report(args, study, kept, summary, f"{len(waiting)} of {len(chosen)} clips measured in {took / 60:.1f} minutes.")
    print(f"{len(kept)} rows on {len({row['clip'] for row in kept})} clips: {args.out / 'report.md'}")


def group_of(row: Mapping[str, Any]) -> str:
    """Scenes and clips are never averaged together."""
    return row["clip"] if row["clip"] in SCENES else "clips"


def summarise(rows: Sequence[Row]) -> Row:
    """By group and system: medians over clips, the lowest and highest of any clip and round."""
    out: Row = {}
    for row in rows:
        out.setdefault(group_of(row), {}).setdefault(label(row), []).append(row)
    return {group: {name: _over_clips(mine) for name, mine in systems.items()} for group, systems in out.items()}


def label(row: Mapping[str, Any]) -> str:
    """A system and its setting, for people."""
    return f"{row['system']} ({row['setting']})"


def _over_clips(rows: Sequence[Row]) -> Row:
    out: Row = {"system": rows[0]["system"], "setting": rows[0]["setting"], "clips": len(rows)}
    text = {*KEY, "size", "fps", "seconds", "repeats"}
    for name in (name for name in rows[0] if name not in text):
        values = [row[name] for row in rows if row.get(name) is not None]
        how = min if name.endswith("_low") else max if name.endswith("_high") else median
        out[name] = round(how(values), 4) if values else None
    return out


# What is said of it


def draw(path: Path, summary: Row, study: Study) -> None:
    """Bars of CPU time a group, whiskers from lowest to highest; and what our own is made of."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = [name for name in (*SCENES, "clips") if name in summary]
    bars = max(len(summary[name]) for name in groups)
    figure, axes = plt.subplots(
        2, len(groups), figsize=(5.2 * len(groups) + 2.5, 0.42 * bars + 3.4), layout="constrained",
        squeeze=False, gridspec_kw={"height_ratios": (0.42 * bars + 0.8, 1.5)}, sharey="row",
    )  # fmt: skip
    for column, group in enumerate(groups):
        _draw_systems(axes[0][column], group, summary[group])
        _draw_parts(axes[1][column], summary[group], study)
    figure.suptitle(study.title)
    figure.legend(*axes[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_systems(axis: Any, group: str, systems: Row) -> None:
    names, rows = list(systems), list(systems.values())
    values = [row["cpu_ms_per_s"] for row in rows]
    below = [value - row["cpu_ms_per_s_low"] for value, row in zip(values, rows, strict=True)]
    above = [row["cpu_ms_per_s_high"] - value for value, row in zip(values, rows, strict=True)]
    colours = ["tab:orange" if row["system"].startswith("vidtok") else "tab:gray" for row in rows]
    axis.barh(names, values, xerr=(below, above), color=colours, capsize=3, height=0.6, ecolor="black")
    for place, row in enumerate(rows):
        text = f" {row['cpu_ms_per_s']:.3g} ({row['ratio_to_video']:.2f}x)"
        axis.text(row["cpu_ms_per_s_high"], place, text, va="center", fontsize=8)
    axis.set(title=group, xlabel="CPU ms a second of video", xlim=(0, 1.6 * max(r["cpu_ms_per_s_high"] for r in rows)))
    axis.invert_yaxis()


def _draw_parts(axis: Any, systems: Row, study: Study) -> None:
    ours = next(row for row in systems.values() if row["system"] == "vidtok")
    left = 0.0
    for number, part in enumerate(study.parts):
        value = ours[f"{part}_ms_per_s"]
        axis.barh(["vidtok"], [value], left=left, label=part, color=f"C{number}", height=0.5)
        left += value
    axis.set(xlabel="ours by part: CPU ms a second of video", xlim=(0, left * 1.02))


def report(args: argparse.Namespace, study: Study, rows: Sequence[Row], summary: Row, took: str) -> None:
    """report.md."""
    width, height = args.size
    lines = [
        f"{width}x{height}, {args.fps:g} fps, {args.seconds:g} s of each, {args.repeats} rounds. {took}",
        "",
        *study.report,
        "",
        f"![{study.title}]({study.name}.png)",
        "",
    ]
    for group in (name for name in (*SCENES, "clips") if name in summary):
        lines += [f"## {group}", "", *bench.table([_told(row) for row in summary[group].values()], _TABLE), ""]
        ours = [row for row in summary[group].values() if row["system"] == "vidtok"]
        lines += [*bench.table(ours, [f"{part}_ms_per_s" for part in study.parts]), ""]
    if "process" in summary:
        lines += ["## The edge as a process", "", *bench.table([summary["process"]], list(summary["process"])), ""]
    lines += ["## Systems", "", *(f"- **{c.name} ({c.setting})**: {c.about}" for c in study.contenders()), ""]
    lines += ["## Parts of ours", "", *(f"- **{part}**: {about}" for part, about in study.parts.items()), ""]
    bench.write_report(args.out, study.title, lines)


_TABLE = (
    "system",
    "setting",
    "cpu_ms_per_s",
    "low to high",
    "ratio_to_video",
    "streams_per_core",
    "macs_per_frame",
    "kbps",
)


def _told(row: Row) -> Row:
    between = f"{bench.short(row['cpu_ms_per_s_low'])} to {bench.short(row['cpu_ms_per_s_high'])}"
    macs = row["macs_per_frame"]
    return row | {"low to high": between, "macs_per_frame": None if macs is None else f"{macs / 1e6:.1f} M"}


def every(clip: Clip, seconds: float) -> Iterator[tuple[Frame, bool]]:
    """Frames, and whether each is one of those taken every so many seconds, the first included."""
    due = 0.0
    for frame in clip:
        taken = frame.time_s + 1e-9 >= due
        if taken:
            due += seconds
        yield frame, taken
