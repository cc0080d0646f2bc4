"""Costs that can be compared: CPU time of one thread, systems run in turn in one process, medians with the extremes.

    round 0 (warms up, not counted), rounds 1 to R: every pass once, the order turned by one each round --> Spent
    Spent of all rounds --> median, lowest, highest; ratio to the base system of the same round --> a row

    scenes and clips --Plan: minus those with all their rows--> films that wait --> rows --summarise--> by group

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
from statistics import median
from types import ModuleType
from typing import Any
from unittest.mock import patch

from edge_gate.source import parse_size
from experiments import bench
from experiments.bench import BenchError, Row, Rows
from experiments.films import Film, check_length
from experiments.systems import Clip

SCENES = ("scene:tour", "scene:still")
KEY = ("system", "setting", "clip")
QUICK_CLIPS, QUICK_SECONDS, QUICK_REPEATS = 2, 3.0, 2
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


# Films and their rows


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
    if args.repeats < 1:
        raise BenchError(f"--repeats {args.repeats}: give at least 1")
    if not 1 <= args.fps <= 60:
        raise BenchError(f"--fps {args.fps:g}: give 1 to 60")
    check_length(args.size, args.fps, args.seconds)
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


class Plan:
    """The rows that a run is to have, one a film and system: which films still wait, and what was done about them."""

    def __init__(self, args: argparse.Namespace, systems: Sequence[tuple[str, str]]) -> None:
        self._args, self._films = args, films(args)
        self.rows = Rows(args.out, KEY, run_of(args))
        self._keys = {
            film.name: [dict(zip(KEY, (*system, film.name), strict=True)) for system in systems] for film in self._films
        }
        self.waiting = [film for film in self._films if not all(self.rows.has(**key) for key in self._keys[film.name])]

    def kept(self) -> list[Row]:
        """The rows of this run that there are, in order. Raises BenchError where there is none."""
        rows = self.rows.keep([key for film in self._films for key in self._keys[film.name]])
        if not rows:
            raise BenchError(f"--clips {self._args.clips}: nothing in it could be measured")
        return rows

    def done(self, took_s: float) -> str:
        """What this run did, for the report."""
        return f"{len(self.waiting)} of {len(self._films)} clips measured in {took_s / 60:.1f} minutes."

    def said(self, kept: Sequence[Row]) -> str:
        """The last word to the user."""
        return f"{len(kept)} rows on {len({row['clip'] for row in kept})} clips: {self._args.out / 'report.md'}"


# What is said of it


def group_of(row: Mapping[str, Any]) -> str:
    """Scenes and clips are never averaged together."""
    return row["clip"] if row["clip"] in SCENES else "clips"


def summarise(rows: Sequence[Row]) -> Row:
    """By group and system: medians over clips, the lowest and highest of any clip and round."""
    out: Row = {}
    for row in rows:
        out.setdefault(group_of(row), {}).setdefault(label(row), []).append(row)
    return {group: {name: _over_clips(mine) for name, mine in systems.items()} for group, systems in out.items()}


def groups(summary: Mapping[str, Any]) -> list[str]:
    """Those that a summary has, scenes first."""
    return [name for name in (*SCENES, "clips") if name in summary]


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
