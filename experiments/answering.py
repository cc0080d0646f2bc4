"""Serving our own model: how late, how dear, for how long, and fair to whom?

    python -m experiments.answering --clips DIR --out DIR [--quick] [--model DIR] [--only PART ...]

    delay       a canvas comes --> it is in memory; a question --> its first word, its answer; 1 and 10 streams
    cost        CPU a second of video, against decoding, a whole vision tower and every frame's tokens
    day         24 hours of one stream: memory, and whether the last tenth is answered as the first
    eviction    how much of what is superseded the model has to keep
    fairness    ten streams at once, and one of them that behaves badly

Delays and fairness are measured at real pace, in one process, one thread a library; one thing at a time, whatever
`--jobs` says. Films with questions are painted worlds that nothing was trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from experiments import answering_report, bench, timing
from experiments.answering_cost import cost_rows
from experiments.answering_day import HISTORIES, Day, eviction_rows, painted
from experiments.answering_live import RUDE, Delays, fairness, pooled, together, warm
from experiments.answering_streams import Updates, lap_of, updates_of
from experiments.bench import Row
from experiments.films import Film
from experiments.question_answering import NO_END
from experiments.systems import all_systems
from vidtok.model.answerer import Answerer
from vidtok.tokenizer.edge import WEIGHTS

KEY = ("part", "system", "setting", "clip")
SENT = ("vidtok", "price 2")  # of films: the policy that most of the model's lessons were heard under
MANY = 10
FIRST_DAY, FIRST_FILM = 7000, 8000  # seeds


@dataclass(frozen=True)
class Extent:
    """How much a run does."""

    seconds: float  # of each
    repeats: int
    days: int
    films: int  # of a day's lap
    turns: int  # laps of a day
    evictions: tuple[tuple[str, str, int], ...]  # system, setting, films
    histories: tuple[int, ...]


FULL = Extent(
    8.0, 5, 3, 14, 10,
    (("vidtok", "price 2", 24), ("raw-ids", "5 fps, 2 levels", 16), ("vidtok-dense", "5 levels", 6)), HISTORIES,
)  # fmt: skip
QUICK = Extent(3.0, 2, 1, 2, 6, (("vidtok", "price 2", 2), ("raw-ids", "5 fps, 2 levels", 1)), (0, 128, NO_END))


@dataclass(frozen=True)
class Job:
    """Rows that are made together or not at all."""

    part: str
    film: Film | None = None
    number: int = 0
    sent: tuple[str, str] = SENT

    @property
    def name(self) -> str:
        """Of all its rows."""
        return f"{self.part}: {self.film.name if self.film is not None else ', '.join(self.sent)}, {self.number}"


def jobs_of(films: Sequence[Film], extent: Extent) -> list[Job]:
    """All that a run does, part after part."""
    return [
        *(Job("delay", film, count) for count in (1, MANY) for film in films),
        Job("fairness", films[0]),
        *(Job("cost", film) for film in films),
        *(Job("day", number=number) for number in range(extent.days)),
        *(
            Job("eviction", number=number, sent=(system, setting))
            for system, setting, count in extent.evictions
            for number in range(count)
        ),
    ]


# In the worker


@dataclass
class _Bench:
    answerer: Answerer
    extent: Extent
    systems: dict[str, Any]


_bench: _Bench | None = None


def start(model: Path, extent: Extent) -> None:
    """Load the model."""
    global _bench
    _bench = _Bench(Answerer.load(model), extent, all_systems())


def work(job: Job) -> list[Row]:
    """The rows of a job."""
    assert _bench is not None
    with bench.naming(job.name):
        rows = _PARTS[job.part](_bench, job)
    return [{"part": job.part, "job": job.name, **row} for row in rows]


@lru_cache(maxsize=2)
def _updates(film: Film) -> Updates:
    return updates_of(film.load())


def delay(on: _Bench, job: Job) -> list[Row]:
    """Streams that each show the same clip, begun one after the other: their delays, pooled."""
    assert job.film is not None
    updates = _updates(job.film)
    warm(on.answerer, updates)
    found = together(on.answerer, [updates] * job.number)
    setting = f"{job.number} stream{'s' * (job.number > 1)}"
    return [{"system": "vidtok", "setting": setting, "clip": updates.name, **pooled(found).row()}]


def fair(on: _Bench, job: Job) -> list[Row]:
    """Ten alike, then nine of them beside each rude one, in turn; figures of the nine, medians over rounds."""
    assert job.film is not None
    updates = _updates(job.film)
    warm(on.answerer, updates)
    rounds: dict[str, list[list[Delays]]] = {"ten alike": [], **{name: [] for name in RUDE}}
    for _ in range(on.extent.repeats):
        for name, found in rounds.items():
            count = MANY if name not in RUDE else MANY - 1
            found.append(together(on.answerer, [updates] * count, RUDE.get(name))[: MANY - 1])
    alike = [pooled(nine).row()["read_p95_ms"] for nine in rounds["ten alike"]]
    return [
        {"system": "vidtok", "setting": name, "clip": updates.name, **_over_rounds(found, alike)}
        for name, found in rounds.items()
    ]


def _over_rounds(rounds: Sequence[Sequence[Delays]], alike: Sequence[float]) -> Row:
    rows = [pooled(nine).row() | fairness(nine) for nine in rounds]
    out: Row = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        out[name] = round(median(values), 4) if values else None
    ratios = [row["read_p95_ms"] / base for row, base in zip(rows, alike, strict=True)]
    return out | timing.spread("p95_to_alike", ratios)


def cost(on: _Bench, job: Job) -> list[Row]:
    """CPU of a clip, ours and video's."""
    assert job.film is not None
    return cost_rows(on.answerer, job.film.load(), on.extent.repeats)


def day(on: _Bench, job: Job) -> list[Row]:
    """A day of one stream."""
    count = on.extent.films
    system, setting = job.sent
    lap = lap_of(painted(FIRST_DAY + job.number * count, count), on.systems[system], setting)
    return Day(on.answerer, lap, on.extent.turns, f"day {job.number + 1}").run()


def eviction(on: _Bench, job: Job) -> list[Row]:
    """A film under one way of sending, with every size of memory."""
    system, setting = job.sent
    (film,) = painted(FIRST_FILM + job.number, 1)
    return eviction_rows(on.answerer, film, on.systems[system], setting, on.extent.histories)


_PARTS = {"delay": delay, "fairness": fair, "cost": cost, "day": day, "eviction": eviction}


# The command


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    timing.set_surroundings()
    extent = QUICK if args.quick else FULL
    args.seconds = extent.seconds
    films = timing.films(args)
    jobs = jobs_of([films[0], films[-1]] if args.quick else films, extent)
    jobs = [job for job in jobs if job.part in args.only]
    build = bench.digest(args.model / "model.safetensors", args.model / "model.json")
    same = {"model": build, "seconds": extent.seconds, "repeats": extent.repeats, "turns": extent.turns}
    rows = bench.Rows(args.out, KEY, same)
    done = {row["job"] for row in rows.all()}
    waiting = [job for job in jobs if job.name not in done]
    took = bench.run_jobs(
        waiting, work, rows, start=start, start_args=(args.model, extent), workers=1, label="answering"
    )
    wanted = {job.name for job in jobs}
    kept = [row for row in rows.all() if row["job"] in wanted]
    said = f"{len(waiting)} of {len(jobs)} jobs in {took / 60:.1f} minutes; model {build}."
    answering_report.write(args.out, kept, said)
    print(f"{len(kept)} rows: {args.out / 'report.md'}")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = bench.parser("answering", __doc__)
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder of model.safetensors and model.json")
    parser.add_argument(
        "--only", nargs="+", choices=_PARTS, default=list(_PARTS), metavar="PART", help="some parts alone"
    )
    args = parser.parse_args(argv)
    args.size, args.fps = (256, 256), 10.0
    return args


if __name__ == "__main__":
    bench.main(run)
