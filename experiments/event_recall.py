"""Are short events seen, and does what is no event stay quiet?

    python -m experiments.event_recall --out DIR [--clips DIR] [--size 256] [--fps 30] [--systems a,b]
                                       [--backdrops 10] [--control-s 8] [--seed 0] [--quick] [--jobs N]

    backdrops --plant----> twins, with events and without --system--> sight: which were seen, how soon? --+
        +-----disturb----> a frame held ------------------system--> false_alarms: what was called news? --+--> rows
    rows --event_figures--> summary.json, recall.png, false_alarms.png, examples.png, report.md

What counts as seen is told in `sight`, what as a false alarm in `false_alarms`. Every run of a system is over the
events of one backdrop, with a row for each of them, or under one disturbance of it, with one row.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edge_gate.source import parse_size
from experiments import bench
from experiments.backdrops import EVENTS, Film, find_films
from experiments.bench import BenchError, Row, Rows
from experiments.event_figures import draw, report, summarise
from experiments.false_alarms import SETTLE_S, held, listen
from experiments.films import LARGEST
from experiments.planting import DISTURBANCES, schedule
from experiments.sight import Judge, Trial, make_trial, watch
from experiments.systems import System, pick

KEY = ("system", "setting", "clip", "part", "event")
DEFAULTS = {
    "vidtok": ("price 75", "price 12", "price 2"),
    "vidtok-dense": ("2 levels",),
    "jpeg-1fps": ("q75",),
    "livekit": ("q75 0.3 fps, within 1024x1024",),
    "frame-filter": ("q75 0.95", "q75 0.99"),
    "raw-ids": ("1 fps, 4 levels",),
    "rlt": ("0.4", "0.1"),
    "dtd": ("0.5", "0.85"),
    "x264": ("crf 39",),
}


@dataclass(frozen=True)
class Job:
    """One system at one setting over the events of a backdrop or under one disturbance of it."""

    system: str
    setting: str
    film: Film
    part: str
    held_s: float  # how long a frame is held under a disturbance


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    systems = {system.name: system for system in pick(args.systems or ",".join(DEFAULTS))}
    films, left_out = find_films(args)
    jobs = plan(args, systems, films)
    rows = Rows(args.out, KEY, {"size": films[0].shape, "fps": args.fps, "seed": args.seed, "held_s": args.control_s})
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
    parser.add_argument("--control-s", type=float, default=8.0, help="seconds of each disturbance (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of events and disturbances")
    args = parser.parse_args(argv)
    args.backdrops = (2 if args.quick else 10) if args.backdrops is None else args.backdrops
    width, height = parse_size(args.size)
    if args.backdrops < 1:
        raise BenchError(f"--backdrops {args.backdrops}: give at least 1")
    if not SETTLE_S < args.control_s <= 3600:
        raise BenchError(f"--control-s {args.control_s:g}: give above {SETTLE_S:g} and up to 3600")
    if args.seed < 0:
        raise BenchError(f"--seed {args.seed}: give a whole number from 0 on")
    if not 0 < args.fps <= 240:
        raise BenchError(f"--fps {args.fps:g}: give a rate above 0 and up to 240")
    if width * height * 3 * args.fps * 25 > LARGEST:
        raise BenchError(f"--size {args.size} at {args.fps:g} fps: the frames of 25 s need too much memory")
    return args


def plan(args: argparse.Namespace, systems: dict[str, System], films: Sequence[Film]) -> list[Job]:
    """Every run, those of a backdrop together; disturbances take turns, so that each is tried on some backdrops."""
    kinds = list(DISTURBANCES)
    each = max(3, -(-len(kinds) // len(films)))
    jobs = []
    for number, film in enumerate(films):
        mine = [kinds[(number * each + turn) % len(kinds)] for turn in range(each)]
        for system in systems.values():
            for setting in settings_of(system, args.quick):
                jobs += [Job(system.name, setting, film, part, args.control_s) for part in (EVENTS, *mine)]
    return jobs


def settings_of(system: System, quick: bool) -> list[str]:
    """The settings to run: a few of each system of the default, all (or the quick ones) of any other."""
    labels = DEFAULTS.get(system.name)
    if labels is None:
        return list(system.chosen(quick))
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
        "held_s": job.held_s,
        "build": system.build,
    }
    with bench.naming(system.name, job.setting, job.film.name, job.part):
        found = measure(system, job)
    return [{**head, **row, **told} for row in found]


def measure(system: System, job: Job) -> list[Row]:
    """What a run says of its part."""
    params = system.settings[job.setting]
    if job.part == EVENTS:
        return watch(system, params, trial(job.film), judge())
    return [{"kind": job.part} | listen(system, params, held(job.film, job.part, job.held_s))]


@lru_cache(maxsize=1)
def judge() -> Judge:
    """One for the process."""
    return Judge()


@lru_cache(maxsize=1)
def trial(film: Film) -> Trial:
    """The trial that a backdrop and its seed make."""
    events, count = schedule(film.seeds, film.size, film.fps)
    return make_trial(film.name, film.load(count), events, film.fps, judge())


if __name__ == "__main__":
    bench.main(run)
