"""What a model knows per kilobit and per token: ours against what people use today, on any folder of videos.

    python -m experiments.rate_quality --clips DIR --out DIR [--size 256] [--fps 10] [--seconds 6] [--systems a,b]
                                       [--quick] [--jobs N] [--list]

Each system gets the frames one by one. At every source frame's time, holding included, what its receiver knows is
compared with what the camera sees. A row a system, setting and clip goes to results.json as soon as it is finished;
the same command goes on where it was stopped. summary.json holds means, bits and tokens at equal quality and BD-rates
with bootstrap intervals over clips; the figures are drawn from it.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from edge_gate.source import SourceError, parse_size
from experiments import bench, plots
from experiments.bench import BenchError, Row, Rows
from experiments.films import Film, check_length
from experiments.judges import Bench, Look, Scorer, truths
from experiments.statistics import means, summarise
from experiments.systems import Clip, System, follow, pick

QUICK_CLIPS, QUICK_SECONDS = 4, 2.0
KEY = ("system", "setting", "clip")
COLUMNS = (
    "kbps", "wire_kbps", "tokens_per_s", "feature_cosine", "feature_cosine_tokens", "feature_cosine_viewer",
    "feature_cosine_unseen", "feature_cosine_places", "top1_agreement", "top1_agreement_tokens",
    "top1_agreement_viewer", "psnr_db", "ssim",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One row to be."""

    system: str
    setting: str
    film: Film


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    systems = {system.name: system for system in pick(args.systems)}
    if args.list:
        print("\n".join(f"{s.name}: {s.about}\n    {'; '.join(s.chosen(args.quick))}" for s in systems.values()))
        return
    films, left_out = find_films(args)
    rows = Rows(args.out, KEY, {"size": films[0].shape, "fps": args.fps, "seconds": args.seconds})
    jobs = [Job(s.name, label, film) for film in films for s in systems.values() for label in s.chosen(args.quick)]
    waiting = [job for job in jobs if not rows.has(**key_of(job, systems))]
    took = bench.run_jobs(
        waiting, work, rows, start=start, start_args=(args.systems,), workers=args.jobs, label="rate_quality"
    )
    chosen = rows.keep([key_of(job, systems) for job in jobs])
    summary = summarise(chosen, COLUMNS) | {"clips_left_out": left_out, "machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw(args.out, chosen, summary, systems)
    ran = f"{len(jobs)} rows, {len(waiting)} of them measured now, in {took / 60:.1f} minutes; the rest were there."
    report(args, chosen, summary, systems, ran)
    print(f"{len(chosen)} rows of {len(systems)} systems on {len(films)} clips: {args.out / 'report.md'}")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser("rate_quality", __doc__)
    parser.add_argument("--size", default="256", help="a number for a square, or WIDTHxHEIGHT; multiples of 16")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="of each clip (default 6, with --quick 2)")
    parser.add_argument("--systems", help="names, name* or files with systems() in them, with commas (default: all)")
    parser.add_argument("--list", action="store_true", help="say what the systems are, and end")
    args = parser.parse_args(argv)
    args.seconds = args.seconds if args.seconds is not None else (QUICK_SECONDS if args.quick else 6.0)
    check_length(parse_size(args.size), args.fps, args.seconds)
    return args


def find_films(args: argparse.Namespace) -> tuple[list[Film], list[str]]:
    """The clips that can be measured, and a line for each that cannot."""
    paths = bench.find_clips(args.clips)
    if args.quick:
        paths = paths[:: max(1, len(paths) // QUICK_CLIPS)][:QUICK_CLIPS]
    films, left_out = [], []
    for path in tqdm(paths, "clips", unit="clip"):
        film = Film(str(path), path.relative_to(args.clips).as_posix(), parse_size(args.size), args.fps, args.seconds)
        try:
            film.load()
        except SourceError as error:
            left_out.append(f"{error}; left out")
            tqdm.write(left_out[-1])
        else:
            films.append(film)
    if not films:
        raise BenchError(f"--clips {args.clips}: none of its {len(paths)} videos can be measured")
    return films, left_out


def key_of(job: Job, systems: dict[str, System]) -> Row:
    """What names a row, and the build that it must be of."""
    return {"system": job.system, "setting": job.setting, "clip": job.film.name, "build": systems[job.system].build}


# In a worker

_systems: dict[str, System] = {}


def start(names: str | None) -> None:
    """Load what every job of this worker needs."""
    _systems.update({system.name: system for system in pick(names)})


@lru_cache(maxsize=1)
def judges(size: tuple[int, int]) -> Bench:
    """The networks, for one size."""
    return Bench(size)


@lru_cache(maxsize=2)
def seen(film: Film) -> tuple[Clip, list[Look]]:
    """A clip and what there is to know of it."""
    clip = film.load()
    return clip, truths(judges(film.size), clip)


def work(job: Job) -> list[Row]:
    """One system at one setting on one clip."""
    clip, true = seen(job.film)
    system, judging = _systems[job.system], judges(job.film.size)
    with bench.naming(system.name, job.setting, clip.name):
        return [measure(system, job.setting, clip, true, judging, job.film)]


def measure(system: System, setting: str, clip: Clip, true: Sequence[Look], judging: Bench, film: Film) -> Row:
    """Run it and score every moment."""
    scorer = Scorer(judging)
    known = None
    with contextlib.closing(follow(system, system.settings[setting], clip)) as moments:
        for look, (_, known) in zip(true, moments, strict=True):
            scorer.take(known, look)
    assert known is not None
    return {
        "system": system.name,
        "setting": setting,
        "clip": clip.name,
        "size": film.shape,
        "fps": clip.fps,
        "seconds": film.seconds,
        "frames": clip.count,
        "build": system.build,
        "kbps": clip.kbps(known.bytes),
        "wire_kbps": clip.kbps(system.wire_bytes(known)),
        "tokens_per_s": round(known.tokens / clip.seconds, 6),
        **{name: None if value is None else round(value, 9) for name, value in scorer.row().items()},
    }


# What is said of it


def draw(out: Path, rows: Sequence[Row], summary: Row, systems: dict[str, System]) -> None:
    """The plots."""
    family = {system.name: system.family for system in systems.values()}
    averaged = means(rows, COLUMNS)
    plots.rate_plot(averaged, out / "rate_quality.png", family)
    plots.tokens_plot(averaged, out / "tokens_quality.png", family)
    plots.unseen_plot(averaged, out / "unseen_quality.png", family)
    plots.ablation_plot(averaged, out / "ablations.png", family)
    plots.bits_bars(summary, out / "bits_at_quality.png", family)


def report(args: argparse.Namespace, rows: list[Row], summary: Row, systems: dict[str, System], ran: str) -> None:
    """report.md."""
    averaged = means(rows, COLUMNS)
    reached = [
        {"system": name, **{q: _span(at.get(q)) for q in ("0.75", "0.80", "0.84", "0.87")}}
        for name, at in summary["bits_at"].items()
    ]
    clips = sorted({row["clip"] for row in rows})
    bench.write_report(
        args.out,
        "rate_quality: what a model knows per kilobit and per token",
        [
            f"{len(clips)} clips, at most {args.seconds:g} s of each, {args.size} pixels, {args.fps:g} fps. {ran}",
            *([""] + [f"- {line}" for line in summary["clips_left_out"]] if summary["clips_left_out"] else []),
            "",
            "![kbps](rate_quality.png)",
            "",
            "## Bits at equal feature cosine: kbps, 95% interval over clips",
            "",
            *bench.table(reached, ("system", "0.75", "0.80", "0.84", "0.87")),
            "",
            "## All systems, means over clips",
            "",
            *bench.table(averaged, ("system", "setting", *COLUMNS)),
            "",
            "## What the columns say",
            "",
            "- `kbps`: all bytes that a system's own protocol sends in both directions. Ours: session packets with "
            "headers, acknowledgements and greeting. Video: the encoder's packets, nothing else. Pictures: the files.",
            "- `wire_kbps`: the same and what lies below each packet, by arithmetic: 50 bytes for SRTP over UDP, "
            "93 for a data channel, 79 for a WebSocket over TLS.",
            "- `feature_cosine`: EfficientNet-lite0's pooled features of the true frame against what the receiver "
            "knows at that frame's time, the mean over all frames; ours through token head or viewer, whichever is "
            "better on that clip, both beside it. `top1_agreement`: how often the label is the same.",
            "- `feature_cosine_unseen`: EfficientNet-lite2, through pictures for every system.",
            "- `feature_cosine_places`: as `feature_cosine`, but each of the last maps' places with its own, before "
            "they are pooled: whether it is known what is where.",
            "- `tokens_per_s`: 258 a picture for hosted models, every cell of every frame for decoded video, tokens "
            "sent for ours.",
            "",
            "## The systems",
            "",
            *(f"- `{system.name}`: {system.about}." for system in systems.values()),
        ],
    )


def _span(at: Row | None) -> str | None:
    if at is None or at.get("kbps") is None:
        most = at and at.get("at_most")
        return f"at most {most:.3g}" if most is not None else None
    low, high = at.get("low"), at.get("high")
    return f"{at['kbps']:.3g}" + (f" ({low:.3g} to {high:.3g})" if low is not None and high is not None else "")


if __name__ == "__main__":
    bench.main(run)
