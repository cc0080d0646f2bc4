"""Can a page that is held up be read? A pretrained OCR on what each receiver shows, over time.

    python -m experiments.text_reading --out DIR [--size 640x480] [--fps 10] [--seed 0] [--systems a,b] [--all-settings]
                                       [--heights 10,14,20,28,40,56] [--hand 14,56] [--quick] [--jobs N] [--list]

    PageFilm --System--> what the receiver knows --its picture, or the viewer's--> OCR --> signs right over time
        true-picture: the OCR on the camera's own pictures, the best that can be had

A row a system, setting and film goes to results.json as soon as it is finished; the same command goes on where it was
stopped. Times count from the moment the page is in place. accuracy.png, rate.png and seconds.png are drawn from the
rows, shown.png has a corner of each page as every receiver showed it, and report.md says what the columns mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from edge_gate.source import parse_size
from experiments import bench
from experiments.bench import BenchError, Row, Rows
from experiments.films import LARGEST
from experiments.pages import ENDS_S, ocr_version, write_page
from experiments.readings import Job, start, true_picture, work
from experiments.systems import System, pick
from experiments.text_figures import draw_accuracy, draw_rate, draw_seconds, draw_shown, report, summarise

HEIGHTS, HAND, QUICK_HEIGHTS = "10,14,20,28,40,56", "14,56", "14,56"
KEY = ("system", "setting", "clip")
CHOSEN: dict[str, tuple[str, ...]] = {  # settings by the words that their names begin with; none: a quick run's
    "vidtok": ("price 12", "price 5", "price 2"),
    "vidtok-dense": ("6 levels",),
    "jpeg-1fps": ("q30", "q75"),
    "frame-filter": ("q75 0.95", "q30 0.999"),
    "x264": (),
    "svt-av1": (),
}
QUICK = ("vidtok", "jpeg-1fps", "x264")


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    systems = chosen_systems(args)
    settings = {name: chosen_settings(system, args) for name, system in systems.items()}
    if args.list:
        print("\n".join(f"{s.name}: {s.about}\n    {'; '.join(settings[s.name])}" for s in systems.values()))
        return
    ocr = ocr_version()
    size, films = parse_size(args.size), chosen_films(args)
    for cap_px, _ in films:
        write_page(cap_px, size, args.seed)  # says now whether it fits
    same = {"size": "x".join(map(str, size)), "fps": args.fps, "seed": args.seed, "ocr": ocr}
    rows = Rows(args.out, KEY, same)
    jobs = [
        Job(name, setting, cap_px, hold, size, args.fps, args.seed, args.out)
        for cap_px, hold in films
        for name, labels in settings.items()
        for setting in labels
    ]
    keys = {job: key_of(job, systems) for job in jobs}
    waiting = [job for job in jobs if not (rows.has(**keys[job]) and job.tile.exists())]
    (args.out / "shown").mkdir(exist_ok=True)
    took = bench.run_jobs(
        waiting, work, rows, start=start, start_args=(names_of(args),), workers=args.jobs, label="text_reading"
    )
    chosen = rows.keep(list(keys.values()))
    summary = summarise(chosen) | {"machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw_accuracy(chosen, args.out / "accuracy.png")
    draw_rate(chosen, args.out / "rate.png")
    draw_seconds(chosen, args.out / "seconds.png")
    draw_shown(jobs, args.out / "shown.png")
    report(args, chosen, summary, systems, f"{len(waiting)} of {len(jobs)} rows measured in {took / 60:.1f} minutes.")
    print(f"{len(chosen)} rows of {len(systems)} systems on {len(films)} films: {args.out / 'report.md'}")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = bench.parser("text_reading", __doc__, clips=None)
    parser.add_argument("--size", default="640x480", help="of the frames; multiples of 16")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of words, places, movement and noise")
    parser.add_argument("--systems", help=f"names, name* or files with systems() in them (default: {','.join(CHOSEN)})")
    parser.add_argument("--all-settings", action="store_true", help="every setting of each system, not a few")
    parser.add_argument("--heights", help=f"cap heights in pixels of pages held still (default {HEIGHTS})")
    parser.add_argument("--hand", help=f"cap heights of pages held by a hand (default {HAND}; with --quick none)")
    parser.add_argument("--list", action="store_true", help="say what the systems are, and end")
    args = parser.parse_args(argv)
    if not 4 <= args.fps <= 60:
        raise BenchError(f"--fps {args.fps:g}: give 4 to 60, the page comes in within half a second")
    if args.seed < 0:
        raise BenchError(f"--seed {args.seed}: give a whole number from 0 on")
    width, height = parse_size(args.size)
    if width * height * 3 * args.fps * ENDS_S > LARGEST:
        raise BenchError(f"--size {args.size} at {args.fps:g} fps: frames of {ENDS_S:g} s need too much memory")
    return args


def names_of(args: argparse.Namespace) -> str:
    """What --systems says, or would say."""
    return args.systems or ",".join(QUICK if args.quick else CHOSEN)


def chosen_systems(args: argparse.Namespace) -> dict[str, System]:
    """The systems to run; the true picture comes first."""
    return {system.name: system for system in (true_picture(), *pick(names_of(args)))}


def chosen_settings(system: System, args: argparse.Namespace) -> list[str]:
    """The settings to run one at."""
    if args.all_settings:
        return list(system.settings)
    begins = CHOSEN.get(system.name)
    labels = [label for label in system.settings if f"{label} ".startswith(tuple(f"{b} " for b in begins or ()))]
    return labels or list(system.chosen(quick=True))


def chosen_films(args: argparse.Namespace) -> list[tuple[int, str]]:
    """Cap heights and how the page is held."""
    still = _numbers("--heights", args.heights or (QUICK_HEIGHTS if args.quick else HEIGHTS))
    hand = _numbers("--hand", (("" if args.quick else HAND) if args.hand is None else args.hand))
    if not still and not hand:
        raise BenchError("--heights and --hand: no page is left")
    return [(cap_px, "still") for cap_px in still] + [(cap_px, "hand") for cap_px in hand]


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        raise BenchError(f"{flag} {text}: give whole numbers of pixels with commas between them") from None


def key_of(job: Job, systems: dict[str, System]) -> Row:
    """What names a row, and the build that it must be of."""
    return {
        "system": job.system,
        "setting": job.setting,
        "clip": f"{job.cap_px} px, {job.hold}",
        "build": systems[job.system].build,
    }


if __name__ == "__main__":
    bench.main(run)
