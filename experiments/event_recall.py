"""Are short events seen, and does what is no event stay quiet?

    python -m experiments.event_recall --out DIR [--clips DIR] [--size 256] [--fps 30] [--systems a,b]
                                       [--backdrops 10] [--seed 0] [--quick] [--jobs N]

    backdrop --plant--> twin with events --system--> what its receiver holds --+
        |                                                                      +--> difference G, at the event's cells
        +-------------> twin without ---system--> what its receiver holds -----+          |
    truth: features with the event - features without it = D, moment by moment ----------+--> seen?
    a frame held, with noise, flicker, shake, ... --system--> does it call any cell news?  that is a false alarm

**Seen**, the same for every system and judged at the receiver only. F are the stride-16 features of EfficientNet-lite0
(112 numbers a cell) over the cells that the event touches. D = F(true frame with the event) - F(without), for each
moment that the event has been on so far; G = F(what the receiver holds) - F(what the same system's receiver holds in
the twin run without the event). The event is seen at the first frame at which, for one of these moments,

    <G, D> / (|G| |D|) >= 0.35        what has changed at the receiver is this event, not something else
    <G, D> / |D|^2     >= 0.1         and not a trace of it

and it may become known until one second after it is over. A moment that is not yet filmed cannot be known; knowledge
that lags is compared with what was filmed before. Systems with pictures are judged by the picture, systems with a
canvas by the token head or by the viewer's picture, whichever sees more. Pictures are cut to the event's surroundings
(three cells on each side), which changes D by less than 1% and costs a third. Where a receiver holds the same codes or
pixels in both runs at all of the event's place, it does not know.

Why so. Comparing with the *true* features without the event counts a codec's own errors as sight: things never planted
came to half of <G, D> / |D|^2 with most systems, and to 1.4 of a faint event. Run against twin run takes them out. A
share of one half, the first definition, was reached on 50 events in ten training clips by 100% at JPEG quality 75, by
46% at quality 10, and by none through all four levels of every cell of the canvas (median 0.30): it asks how faithful
a code is, which `rate_quality` measures. The cosine asks what a reader of that code could tell. It reached 0.35 for
100% at JPEG quality 75, 96% at quality 10, 86% for four levels of the canvas, 60% for one, 36% at JPEG quality 3, and
for 5% where D met the difference of two frames of the clip a third of a second to two seconds apart. In a run that is
rarer, as both twins are filmed at the same times: every run has a phantom, an event that is planned and judged like the
others but never planted, and `chance` is the share of phantoms seen.

**False alarms**: a frame held for 8 s under one disturbance. From two seconds on, and once the receiver holds something
of every cell, each second in which the system marks any cell as news is one. Systems that never say what is news make
no such decision and have none.

`miss_latency_ms`: from an event's first frame until it is seen; one that is missed counts its length and one second.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_gate.source import Frame, SourceError, open_source, parse_size
from experiments import bench
from experiments.bench import BenchError, Row, Rows
from experiments.planting import (
    CONTRASTS,
    DISTURBANCES,
    EVENT_MS,
    KINDS,
    Box,
    Event,
    disturb,
    plant,
    schedule,
    show,
)
from experiments.plots import MARKERS, PALETTE
from experiments.systems import Clip, Known, System, clip_of, follow, pick
from vidtok.canvas import CELL, Canvas
from vidtok.model.tower import load_tower, to_input
from vidtok.model.viewer import CanvasViewer
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.store import canvas_context, load_head

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

COSINE, SHARE = 0.35, 0.1  # from which on an event is seen
GRACE_S = 1.0  # after its end, in which it may still become known
AROUND = 3  # cells on each side of an event that its features are computed with
CONTROL_S, SETTLE_S = 8.0, 2.0
SCENES = ("scene:still", "scene:tour", "scene:pan", "scene:handheld")  # without clips; with them, the first two
LARGEST = 2 << 30  # bytes of one backdrop's frames in a worker's memory
CUTS = {"event_ms": EVENT_MS, "kind": KINDS, "contrast": CONTRASTS}
KEY = ("system", "setting", "clip", "part", "event")
DEFAULTS = {
    "vidtok": ("4 kbps, 160 tokens/s", "16 kbps, 640 tokens/s", "64 kbps, 2560 tokens/s"),
    "vidtok-dense": ("2 levels",),
    "jpeg-1fps": ("q75",),
    "livekit": ("q75 0.3 fps, within 1024x1024",),
    "frame-filter": ("q75 0.95", "q75 0.99"),
    "raw-ids": ("1 fps, 4 levels",),
    "rlt": ("0.4", "0.1"),
    "dtd": ("0.5", "0.85"),
    "x264": ("crf 39",),
}
EVENTS = "events"
"""The part of a run with planted events; the other parts are named by their disturbance."""


@dataclass(frozen=True)
class Film:
    """What a backdrop is made of."""

    spec: str
    name: str
    size: tuple[int, int]
    fps: float
    seed: int

    @property
    def shape(self) -> str:
        """Its size in the words of --size."""
        return "x".join(map(str, dict.fromkeys(self.size)))

    @property
    def seeds(self) -> tuple[int, int]:
        """What everything random about it is drawn with: its own, whatever other clips there are."""
        return self.seed, zlib.crc32(self.name.encode())

    def load(self, count: int) -> list[Pixels]:
        """So many frames; a clip that is shorter goes back and forth."""
        spec = "x".join(map(str, self.size))
        seconds = count / self.fps
        with open_source(self.spec, size=spec, fps=self.fps, duration_s=seconds, seed=self.seed) as source:
            frames = [frame.pixels for frame in source][:count]
        if not frames:
            raise SourceError(f"{self.name}: has no frames; leave it out")
        lap = [*frames, *frames[-2:0:-1]]
        return [lap[k % len(lap)] for k in range(count)]


@dataclass(frozen=True)
class Job:
    """One system at one setting over the events of a backdrop or under one disturbance of it."""

    system: str
    setting: str
    film: Film
    part: str


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    systems = {system.name: system for system in pick(args.systems or ",".join(DEFAULTS))}
    films, left_out = find_films(args)
    jobs = plan(args, systems, films)
    rows = Rows(args.out, KEY, {"size": films[0].shape, "fps": args.fps, "seed": args.seed})
    waiting = [job for job in jobs if not all(rows.has(**key) for key in keys_of(job, systems))]
    took = bench.run_jobs(
        waiting, work, rows, start=start, start_args=(args.systems,), workers=args.jobs, label="event_recall"
    )
    chosen = rows.keep([key for job in jobs for key in keys_of(job, systems)])
    summary = summarise(chosen) | {"clips_left_out": left_out, "machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw(args.out, summary["systems"], systems, films)
    report(args, summary, systems, films, f"{len(waiting)} of {len(jobs)} runs made in {took / 60:.1f} minutes.")
    print(f"{len(chosen)} rows of {len(systems)} systems on {len(films)} backdrops: {args.out / 'report.md'}")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser("event_recall", __doc__, clips=False)
    parser.add_argument("--size", default="256", help="a number for a square, or WIDTHxHEIGHT; multiples of 16")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument(
        "--systems", help=f"names, name* or files with systems() in them, with commas (default: {', '.join(DEFAULTS)})"
    )
    parser.add_argument("--backdrops", type=int, help="clips and scenes to plant in (default 10, with --quick 2)")
    parser.add_argument("--seed", type=int, default=0, help="of events and disturbances")
    args = parser.parse_args(argv)
    args.backdrops = (2 if args.quick else 10) if args.backdrops is None else args.backdrops
    width, height = parse_size(args.size)
    if args.backdrops < 1:
        raise BenchError(f"--backdrops {args.backdrops}: give at least 1")
    if args.seed < 0:
        raise BenchError(f"--seed {args.seed}: give a whole number from 0 on")
    if not 0 < args.fps <= 240:
        raise BenchError(f"--fps {args.fps:g}: give a rate above 0 and up to 240")
    if width * height * 3 * args.fps * 25 > LARGEST:
        raise BenchError(f"--size {args.size} at {args.fps:g} fps: the frames of 25 s need too much memory")
    return args


def find_films(args: argparse.Namespace) -> tuple[list[Film], list[str]]:
    """The backdrops, clips spread over the folder, and a line for each clip that cannot be read."""
    size = parse_size(args.size)
    scenes = [Film(name, name, size, args.fps, args.seed) for name in SCENES]
    if args.clips is None:
        return scenes[: args.backdrops], []
    films: list[Film] = []
    left_out: list[str] = []
    wanted = max(args.backdrops - 2, 1)
    for path in spread(bench.find_clips(args.clips), wanted):
        film = Film(str(path), path.relative_to(args.clips).as_posix(), size, args.fps, args.seed)
        try:
            film.load(2)
        except SourceError as error:
            left_out.append(f"{error}; left out")
            print(left_out[-1])
        else:
            films.append(film)
        if len(films) == wanted:
            break
    return [*films, *scenes[:2]][: args.backdrops], left_out


def spread(paths: Sequence[Path], wanted: int) -> list[Path]:
    """So many of them at even distances, then the others, in case some cannot be read."""
    first = [paths[i * len(paths) // wanted] for i in range(min(wanted, len(paths)))]
    return [*first, *(path for path in paths if path not in first)]


def plan(args: argparse.Namespace, systems: dict[str, System], films: Sequence[Film]) -> list[Job]:
    """Every run, those of a backdrop together; disturbances take turns, so that each is tried on some backdrops."""
    kinds = list(DISTURBANCES)
    each = max(3, -(-len(kinds) // len(films)))
    jobs = []
    for number, film in enumerate(films):
        mine = [kinds[(number * each + turn) % len(kinds)] for turn in range(each)]
        for system in systems.values():
            for setting in settings_of(system, args.systems is None, args.quick):
                jobs += [Job(system.name, setting, film, part) for part in (EVENTS, *mine)]
    return jobs


def settings_of(system: System, default: bool, quick: bool) -> list[str]:
    """The settings to run: a few of each by default, all (or the quick ones) of systems that were asked for."""
    if not default:
        return list(system.chosen(quick))
    labels = DEFAULTS[system.name]
    return [labels[len(labels) // 2]] if quick else list(labels)


def keys_of(job: Job, systems: dict[str, System]) -> list[Row]:
    """What names the rows of a job, and the build that they must be of."""
    key = {"system": job.system, "setting": job.setting, "clip": job.film.name, "part": job.part}
    count = len(schedule(job.film.seeds, job.film.size, job.film.fps)[0])
    numbers = range(count) if job.part == EVENTS else [None]
    return [{**key, "event": number, "build": systems[job.system].build} for number in numbers]


# In a worker

_systems: dict[str, System] = {}


def start(names: str | None) -> None:
    """Load what every job of this worker needs."""
    _systems.update({system.name: system for system in pick(names or ",".join(DEFAULTS))})
    judge()


def work(job: Job) -> list[Row]:
    """The rows of one run."""
    system = _systems[job.system]
    head: Row = {"system": job.system, "setting": job.setting, "clip": job.film.name, "part": job.part}
    told = {
        "size": job.film.shape,
        "fps": job.film.fps,
        "seed": job.film.seed,
        "build": system.build,
    }
    try:
        found = measure(system, job)
    except BenchError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise BenchError(f"{system.name}, {job.setting}, {job.film.name}, {job.part}: {error!r} in {where}") from error
    return [{**head, **row, **told} for row in found]


def measure(system: System, job: Job) -> list[Row]:
    """What a run says of its part."""
    params = system.settings[job.setting]
    if job.part == EVENTS:
        return watch(system, params, trial(job.film), judge())
    return [{"kind": job.part} | listen(system, params, held(job.film, job.part))]


@lru_cache(maxsize=1)
def judge() -> Judge:
    """One for the process."""
    return Judge()


# What there is to see


@dataclass(frozen=True, eq=False)
class Moment:
    """An event at one of its frames: the cells that it touches, and what it does to their features."""

    rows: slice
    cols: slice
    change: Floats  # (112, rows, cols)
    power: float  # its length squared


@dataclass(frozen=True, eq=False)
class Truth:
    """All moments of an event."""

    event: Event
    around: Box  # in cells: what its features are computed from
    moments: tuple[Moment, ...]


@dataclass(frozen=True, eq=False)
class Trial:
    """A backdrop with and without events, and what there is to see of each of them."""

    planted: Clip
    bare: Clip
    truths: tuple[Truth, ...]


@lru_cache(maxsize=1)
def trial(film: Film) -> Trial:
    """The trial that a backdrop and its seed make."""
    events, count = schedule(film.seeds, film.size, film.fps)
    return make_trial(film.name, film.load(count), events, film.fps, judge())


def make_trial(name: str, frames: Sequence[Pixels], events: Sequence[Event], fps: float, judging: Judge) -> Trial:
    """Plant events in frames and work out what there is to see."""

    def planted() -> Iterator[Frame]:
        return (Frame(plant(pixels, events, k), k / fps, k) for k, pixels in enumerate(frames))

    bare = clip_of(name, fps, [Frame(pixels, k / fps, k) for k, pixels in enumerate(frames)])
    truths = tuple(truth_of(event, frames, judging) for event in events)
    return Trial(Clip(name, bare.size, fps, bare.count, planted), bare, truths)


def truth_of(event: Event, frames: Sequence[Pixels], judging: Judge) -> Truth:
    """What an event changes, from the frames without it."""
    height, width = frames[0].shape[:2]
    box = cells(event.area)
    around = (
        max(box[0] - AROUND, 0), max(box[1] - AROUND, 0),
        min(box[2] + AROUND, width // CELL), min(box[3] + AROUND, height // CELL),
    )  # fmt: skip
    moments = []
    bare: tuple[Pixels, Floats] | None = None
    for k in range(event.first, event.end):
        if bare is None or bare[0] is not frames[k]:
            bare = frames[k], judging.features(cut(frames[k], around))
        left, top, right, bottom = cells(event.box(k))
        rows, cols = slice(top - around[1], bottom - around[1]), slice(left - around[0], right - around[0])
        change = (judging.features(cut(show(frames[k], event, k), around)) - bare[1])[:, rows, cols]
        moments.append(Moment(rows, cols, change, max(float((change * change).sum()), 1e-9)))
    return Truth(event, around, tuple(moments))


def cells(box: Box) -> Box:
    """The cells that a box of pixels touches."""
    return box[0] // CELL, box[1] // CELL, -(-box[2] // CELL), -(-box[3] // CELL)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """A box of cells out of a picture."""
    return pixels[box[1] * CELL : box[3] * CELL, box[0] * CELL : box[2] * CELL]


# Who judges


class Judge:
    """The pretrained network's first half, the token head and the viewer."""

    def __init__(self) -> None:
        self._front, self._head, self._viewer = load_tower().front, load_head(WEIGHTS), CanvasViewer()
        self._kept: dict[tuple[str, int], tuple[Canvas, NDArray[Any]]] = {}

    @torch.inference_mode()
    def features(self, pixels: Pixels) -> Floats:
        """(H, W, 3) -> (112, H / 16, W / 16)."""
        return np.asarray(self._front(to_input(torch.from_numpy(np.ascontiguousarray(pixels))[None]))[2][0].numpy())

    def differences(self, known: Known, blind: Known, truth: Truth) -> Iterator[Floats]:
        """G around an event, (112, rows, cols), for each way of looking at what two receivers hold.

        Nothing where both hold the same at the event's place.
        """
        if known.canvas is not None and blind.canvas is not None:
            if not _same_codes(known.canvas, blind.canvas, truth.event.area):
                yield self._tokens(known.canvas, truth.around) - self._tokens(blind.canvas, truth.around)
                yield self._pictures(self._shown(known.canvas), self._shown(blind.canvas), truth.around)
        elif known.picture is not None and blind.picture is not None:
            left, top, right, bottom = truth.event.area
            place = slice(top, bottom), slice(left, right)
            if known.picture is not blind.picture and not np.array_equal(known.picture[place], blind.picture[place]):
                yield self._pictures(known.picture, blind.picture, truth.around)

    def _pictures(self, one: Pixels, other: Pixels, around: Box) -> Floats:
        return self.features(cut(one, around)) - self.features(cut(other, around))

    def _tokens(self, canvas: Canvas, around: Box) -> Floats:
        features = self._once("tokens", canvas, self._read)
        left, top = ((n + CELL // 2) // CELL for n in canvas.offset)  # the cells nearest to the frame
        return features[:, top + around[1] : top + around[3], left + around[0] : left + around[2]]

    @torch.inference_mode()
    def _read(self, canvas: Canvas) -> Floats:
        return np.asarray(self._head(canvas_context(canvas))[0].numpy())

    def _shown(self, canvas: Canvas) -> Pixels:
        return self._once("viewer", canvas, self._viewer.show)

    def _once(self, what: str, canvas: Canvas, make: Callable[[Canvas], NDArray[Any]]) -> NDArray[Any]:
        """What a canvas looks like, kept while the same canvas is held."""
        kept = self._kept.get((what, id(canvas)))
        if kept is None or kept[0] is not canvas:
            if len(self._kept) >= 8:
                self._kept.clear()
            kept = self._kept[what, id(canvas)] = canvas, make(canvas)
        return kept[1]


def _same_codes(one: Canvas, other: Canvas, area: Box) -> bool:
    if one is other:
        return True
    if one.position != other.position:
        return False
    (x, y), (left, top, right, bottom) = one.offset, area
    place = slice((top + y) // CELL, -(-(bottom + y) // CELL)), slice((left + x) // CELL, -(-(right + x) // CELL))
    return np.array_equal(one.depth[place], other.depth[place]) and np.array_equal(one.codes[place], other.codes[place])


@dataclass(frozen=True)
class Likeness:
    """How far a difference is an event."""

    cosine: float
    share: float

    @property
    def seen(self) -> bool:
        """Whether that is seeing it."""
        return self.cosine >= COSINE and self.share >= SHARE


def likeness(change: Floats, truth: Truth, filmed: int) -> Likeness:
    """The best over the moments of an event that have been filmed; `change` (112, rows, cols) is G around it."""
    best = Likeness(0.0, 0.0)
    for moment in truth.moments[:filmed]:
        here = change[:, moment.rows, moment.cols]
        common = float((here * moment.change).sum())
        cosine = common / math.sqrt(max(float((here * here).sum()), 1e-9) * moment.power)
        best = max(best, Likeness(cosine, common / moment.power), key=lambda found: (found.seen, found.cosine))
    return best


# What is seen


@dataclass
class Watched:
    """An event as a receiver came to know of it."""

    truth: Truth
    seen: int | None = None  # the frame
    best: Likeness = Likeness(0.0, 0.0)
    _held: tuple[object, object] | None = None  # what both receivers held at the last look
    _changes: Sequence[Floats] = ()

    def look(self, frame: int, known: Known, blind: Known, fps: float, judging: Judge) -> None:
        """Has it become known? What has been looked at already is only compared with what was filmed since."""
        event = self.truth.event
        if self.seen is not None or not event.first <= frame < event.end + round(GRACE_S * fps):
            return
        held = _holding(known), _holding(blind)
        same = self._held is not None and held[0] is self._held[0] and held[1] is self._held[1]
        if same and frame >= event.end:
            return
        tried = []
        for change in self._changes if same else judging.differences(known, blind, self.truth):
            found = likeness(change, self.truth, frame - event.first + 1)
            self.best = max(self.best, found, key=lambda one: (one.seen, one.cosine))
            tried.append(change)
            if found.seen:
                self.seen = frame
                return
        self._held, self._changes = held, tried


def _holding(known: Known) -> object:
    return known.picture if known.canvas is None else known.canvas


def watch(system: System, params: object, shown: Trial, judging: Judge) -> list[Row]:
    """Run a system over both twins; a row for each event."""
    watched = [Watched(truth) for truth in shown.truths]
    with (
        contextlib.closing(follow(system, params, shown.planted)) as planted,
        contextlib.closing(follow(system, params, shown.bare)) as bare,
    ):
        for (frame, known), (_, blind) in zip(planted, bare, strict=True):
            for one in watched:
                one.look(frame.index, known, blind, shown.bare.fps, judging)
    costs = _costs(known, shown.bare.count / shown.bare.fps)
    return [_event_row(number, one, shown.bare.fps) | costs for number, one in enumerate(watched)]


def _event_row(number: int, watched: Watched, fps: float) -> Row:
    event, seen = watched.truth.event, watched.seen is not None
    delay = None if watched.seen is None else round((watched.seen - event.first) / fps * 1000, 3)
    waited = event.ms + GRACE_S * 1000 if delay is None else delay
    real = event.planted
    return {
        "event": number,
        "kind": event.kind,
        "event_ms": event.ms if real else None,
        "size_px": event.size,
        "contrast": event.contrast,
        "event_frames": event.frames,
        "phantom_ms": None if real else event.ms,
        "events": int(real),
        "recall": float(seen) if real else None,
        "chance": None if real else float(seen),
        "delay_ms": delay if real else None,
        "miss_latency_ms": waited if real else None,
        "cosine": round(watched.best.cosine, 4),
        "share": round(watched.best.share, 4),
        "false_alarms_per_h": None,
    }


def _costs(known: Known, seconds: float) -> Row:
    return {
        "kbps": None if known.bytes is None else round(known.bytes * 8 / seconds / 1000, 6),
        "tokens_per_s": round(known.tokens / seconds, 6),
    }


# What is no event


def held(film: Film, kind: str) -> Clip:
    """A frame of a backdrop held under one disturbance."""
    frames = film.load(max(2, round(film.fps)))
    still, seed = frames[-1], zlib.crc32(f"{film.seeds} {kind}".encode())

    def disturbed() -> Iterator[Frame]:
        return (Frame(disturb(kind, still, k, film.fps, seed), k / film.fps, k) for k in range(count))

    count = round(CONTROL_S * film.fps)
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
                alarms[second] = alarms.get(second, False) or bool(known.news is not None and known.news.any())
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
        **(_costs(known, clip.seconds) if heard else {"kbps": None, "tokens_per_s": None}),
    }


def _knows_all(known: Known) -> bool:
    if known.canvas is None:
        return known.picture is not None
    return bool((known.canvas.depth[known.canvas.visible()] > 0).all())


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
    first = [row for row in rows if row["event"] == 0]  # costs are of the run: one row of each
    return {
        "clips": len(first),
        "kbps": _mean(row["kbps"] for row in first),
        "tokens_per_s": _mean(row["tokens_per_s"] for row in first),
        **_recall(real),
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

PANELS = (
    ("ours", ("vidtok", "ablations")),
    ("policies on our tokens", ("tokens",)),
    ("pictures and video", ("pictures", "video", "other")),
)


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
            f"- false alarms: seconds, from {SETTLE_S:g} s on, in which any cell is marked as news while a held frame "
            f"is disturbed for {CONTROL_S:g} s. Each disturbance is tried on some of the backdrops.",
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


if __name__ == "__main__":
    bench.main(run)
