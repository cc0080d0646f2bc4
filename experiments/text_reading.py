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
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Size, parse_size
from experiments import bench
from experiments.bench import BenchError, Row, Rows
from experiments.pages import (
    ARRIVES_S,
    ENDS_S,
    PLACED_S,
    RESTS_S,
    Ocr,
    PageFilm,
    char_accuracy,
    draw_text,
    ocr_version,
    write_page,
)
from experiments.systems import Clip, Known, System, clip_of, follow, pick
from vidtok.model.viewer import CanvasViewer

Pixels = NDArray[np.uint8]
Reader = Callable[[Pixels], str]

TRUE = "true-picture"
# All times of this module count from the moment the page is in place; it moves until `STILL_S`.
TIMES_S = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0)
STILL_S = RESTS_S - PLACED_S
SHOWN_S = STILL_S + 1.5  # when shown.png looks
SETTLED_S = STILL_S + 3.0  # from here on the readings count as what the page can be read to in the end
ENOUGH = 0.9
HEIGHTS, HAND, QUICK_HEIGHTS = "10,14,20,28,40,56", "14,56", "14,56"
KEY = ("system", "setting", "clip")
CHOSEN: dict[str, tuple[str, ...]] = {  # settings by how their names begin; none: a quick run's
    "vidtok": ("4 kbps", "16 kbps", "64 kbps"),
    "vidtok-dense": ("4 levels",),
    "jpeg-1fps": ("q30", "q75"),
    "frame-filter": ("q75 0.95", "q30 0.999"),
    "x264": (),
    "svt-av1": (),
}
QUICK = ("vidtok", "jpeg-1fps", "x264")
LARGEST = 2 << 30  # bytes of one film's frames in a worker's memory
TILE, TILE_CAP, LABEL = (40, 168), 20, 248  # of shown.png: rows and columns, pixels of a capital, columns of a label


@dataclass(frozen=True)
class Job:
    """One row to be."""

    system: str
    setting: str
    cap_px: int
    hold: str
    size: Size
    fps: float
    seed: int
    out: Path

    @property
    def film(self) -> tuple[int, str, Size, float, int]:
        """What names its film."""
        return self.cap_px, self.hold, self.size, self.fps, self.seed

    @property
    def tile(self) -> Path:
        """Where its part of shown.png is kept."""
        name = f"{self.cap_px}px {self.hold} {self.system} {self.setting}"
        return self.out / "shown" / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}.png"


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    systems = chosen_systems(args)
    if args.list:
        print("\n".join(f"{s.name}: {s.about}\n    {'; '.join(s.settings)}" for s in systems.values()))
        return
    ocr = ocr_version()
    size, films = parse_size(args.size), chosen_films(args)
    for cap_px, _ in films:
        write_page(cap_px, size, args.seed)  # says now whether it fits
    same = {"size": "x".join(map(str, size)), "fps": args.fps, "seed": args.seed, "ocr": ocr}
    rows = Rows(args.out, KEY, same)
    jobs = [
        Job(system.name, setting, cap_px, hold, size, args.fps, args.seed, args.out)
        for cap_px, hold in films
        for system in systems.values()
        for setting in system.settings
    ]
    keys = {job: key_of(job, systems) for job in jobs}
    waiting = [job for job in jobs if not (rows.has(**keys[job]) and job.tile.exists())]
    (args.out / "shown").mkdir(exist_ok=True)
    took = bench.run_jobs(
        waiting, work, rows, start=start, start_args=(args.systems,), workers=args.jobs, label="text_reading"
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


def chosen_systems(args: argparse.Namespace) -> dict[str, System]:
    """The systems to run, each with the settings to run it at; the true picture comes first."""
    names = args.systems or ",".join(QUICK if args.quick else CHOSEN)
    out = {TRUE: true_picture()}
    for system in pick(names):
        labels = system.chosen(quick=True)
        if args.all_settings:
            labels = dict(system.settings)
        elif CHOSEN.get(system.name):
            begins = CHOSEN[system.name]
            labels = {label: value for label, value in system.settings.items() if label.startswith(begins)} or labels
        out[system.name] = replace(system, settings=labels)
    return out


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


def true_picture() -> System:
    """The ceiling: what the camera saw, at no cost that means anything."""

    def unsent(_: Any, clip: Clip) -> Iterator[Known]:
        for frame in clip:
            yield Known(picture=frame.pixels, bytes=None)

    return System(TRUE, "the camera's own pictures, sent nowhere: what the OCR can do", unsent, {"unsent": None})


# In a worker

_systems: dict[str, System] = {}


def start(names: str | None) -> None:
    """Load what every job of this worker needs."""
    _systems.update({system.name: system for system in pick(names or ",".join(CHOSEN))} | {TRUE: true_picture()})


@cache
def ocr() -> Ocr:
    """One for the process."""
    return Ocr()


@cache
def viewer() -> CanvasViewer:
    """One for the process."""
    return CanvasViewer()


@lru_cache(maxsize=1)
def filmed(cap_px: int, hold: str, size: Size, fps: float, seed: int) -> tuple[PageFilm, Clip]:
    """A film and all its frames."""
    film = PageFilm(cap_px, hold, size, fps, seed)
    return film, clip_of(film.name, fps, list(film))


def work(job: Job) -> list[Row]:
    """One system at one setting on one page."""
    film, clip = filmed(*job.film)
    system = _systems[job.system]
    readings, last = read(system, job.setting, film, clip, ocr(), job.tile)
    return [row_of(job, system, film, clip, readings, last)]


@dataclass(frozen=True)
class Reading:
    """What was read at a time, and the bytes spent since the page came into view."""

    time_s: float
    text: str
    accuracy: float
    bytes: int | None


def read(
    system: System, setting: str, film: PageFilm, clip: Clip, reader: Reader, tile: Path | None = None
) -> tuple[list[Reading], Known]:
    """Run a system over a film and read what it shows at every moment of `TIMES_S`."""
    due = {film.frame_at(PLACED_S + t): t for t in TIMES_S}
    looking, known = _Looking(film, reader), Known()
    readings: list[Reading] = []
    before: int | None = 0
    with contextlib.closing(follow(system, system.settings[setting], clip)) as moments:
        for number, (_, known) in enumerate(moments):
            if film.pose(number + 1) is not None and film.pose(number) is None:
                before = known.bytes
            if number not in due:
                continue
            text = looking(known)
            spent = None if known.bytes is None or before is None else known.bytes - before
            accuracy = round(char_accuracy(film.page.text, text), 6)
            readings.append(Reading(due[number], text, accuracy, spent))
            if tile is not None and due[number] == SHOWN_S:
                cv2.imwrite(str(tile), corner_of(looking.picture, film))
    return readings, known


class _Looking:
    """Reads what is known; what hasn't changed is neither drawn nor read again."""

    def __init__(self, film: PageFilm, reader: Reader) -> None:
        self._film, self._reader = film, reader
        self._known: Known | None = None
        self._text = ""
        self.picture: Pixels = np.full((film.size[1], film.size[0], 3), 127, np.uint8)  # of who knows nothing yet

    def __call__(self, known: Known) -> str:
        if known.picture is None and known.canvas is None:
            return ""
        last = self._known
        if last is not None and known.picture is last.picture and known.canvas is last.canvas:
            return self._text
        picture = known.picture if known.canvas is None else viewer().show(known.canvas)
        assert picture is not None
        seen = picture[self._film.region]
        if last is None or not np.array_equal(seen, self.picture[self._film.region]):
            self._text = self._reader(seen)
        self._known, self.picture = known, picture
        return self._text


def corner_of(picture: Pixels, film: PageFilm) -> Pixels:
    """The beginning of the page's first line (TILE) in grey, capitals of every height shown equally tall."""
    pose, page = film.pose(film.frame_at(PLACED_S + SHOWN_S)), film.page
    assert pose is not None
    (left, top), scale = page.corner, page.cap_px / TILE_CAP
    x, y = pose.x - page.width / 2 + left, pose.y - page.height / 2 + top
    middle = x + scale * (TILE[1] / 2 - 8), y + scale * TILE_CAP / 2
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    cut = cv2.getRectSubPix(grey, (round(TILE[1] * scale), round(TILE[0] * scale)), middle)
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, TILE[::-1], interpolation=how), np.uint8)


def row_of(job: Job, system: System, film: PageFilm, clip: Clip, readings: Sequence[Reading], last: Known) -> Row:
    """What there is to say of one system on one page."""
    good = next((reading for reading in readings if reading.accuracy >= ENOUGH), None)
    wire = None if last.bytes is None else last.bytes + last.packets * system.packet_bytes
    return {
        "system": job.system,
        "setting": job.setting,
        "clip": film.name,
        "size": "x".join(map(str, job.size)),
        "fps": job.fps,
        "seed": job.seed,
        "ocr": ocr_version(),
        "build": system.build,
        "cap_height_px": job.cap_px,
        "hold": job.hold,
        "signs": len("".join(film.page.lines).replace(" ", "")),
        "kbps": _kbps(last.bytes, clip),
        "wire_kbps": _kbps(wire, clip),
        "char_accuracy": _mean([reading.accuracy for reading in readings if reading.time_s >= SETTLED_S]),
        "moving_accuracy": _mean([reading.accuracy for reading in readings if reading.time_s < STILL_S]),
        "seconds_to_90": None if good is None else good.time_s,
        "bits_to_90": None if good is None or good.bytes is None else 8 * good.bytes,
        **{f"accuracy_at_{reading.time_s:g}_s": reading.accuracy for reading in readings},
        "text": film.page.text,
        "read": readings[-1].text,
    }


def _kbps(count: int | None, clip: Clip) -> float | None:
    return None if count is None else round(count * 8 / clip.seconds / 1000, 6)


# What is said of it


def summarise(rows: Sequence[Row]) -> Row:
    """The ceiling, and of every system and setting what it spent and from which cap height on it can be read."""
    ceiling = {row["clip"]: row["char_accuracy"] for row in rows if row["system"] == TRUE}
    out: Row = {
        "ceiling": ceiling,
        "ceiling_too_low": [clip for clip, accuracy in ceiling.items() if accuracy < ENOUGH],
        "systems": {},
    }
    for name, setting in _settings(rows):
        mine = [row for row in rows if (row["system"], row["setting"]) == (name, setting)]
        told = {
            "kbps": _mean([row["kbps"] for row in mine]),
            "smallest_read_px": _smallest([row for row in mine if row["hold"] == "still"]),
            "smallest_read_px_hand": _smallest([row for row in mine if row["hold"] == "hand"]),
            "char_accuracy": {row["clip"]: row["char_accuracy"] for row in mine},
            "seconds_to_90": {row["clip"]: row["seconds_to_90"] for row in mine},
            "bits_to_90": {row["clip"]: row["bits_to_90"] for row in mine},
        }
        out["systems"].setdefault(name, {})[setting] = told
    return out


def _settings(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["system"], row["setting"]) for row in rows))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _smallest(rows: Sequence[Row]) -> int | None:
    """The cap height from which on every page was read in the end."""
    out = None
    for row in sorted(rows, key=lambda row: -int(row["cap_height_px"])):
        if row["char_accuracy"] < ENOUGH:
            break
        out = int(row["cap_height_px"])
    return out


def draw_accuracy(rows: Sequence[Row], path: Path) -> None:
    """Signs read right over time, a panel a film."""
    panels = _Panels(rows, "seconds since the page was in place; it moves in the grey part")
    for axis, clip in panels:
        axis.axvspan(TIMES_S[0], STILL_S, color="0.93", zorder=0)
        for row in (row for row in rows if row["clip"] == clip):
            values = [row[f"accuracy_at_{t:g}_s"] for t in TIMES_S]
            axis.plot(TIMES_S, values, label=_label(row), **panels.styles[row["system"], row["setting"]])
    panels.save(path)


def draw_rate(rows: Sequence[Row], path: Path) -> None:
    """Signs read right in the end over what the film cost, a panel a film; the ceiling is a line."""
    panels = _Panels(rows, "kbps over the whole film")
    for axis, clip in panels:
        for name in dict.fromkeys(row["system"] for row in rows):
            mine = [row for row in rows if (row["system"], row["clip"]) == (name, clip)]
            sent = sorted((row["kbps"], row["char_accuracy"]) for row in mine if row["kbps"] is not None)
            style = {**panels.styles[name, mine[0]["setting"]], "linestyle": "-", "label": name}
            if sent:
                axis.plot(*zip(*sent, strict=True), marker="o", markersize=4, **style)
            else:
                axis.axhline(mine[0]["char_accuracy"], **style)
        axis.set_xscale("log")
    panels.save(path)


def draw_seconds(rows: Sequence[Row], path: Path) -> None:
    """How long until a page can be read, a column a film."""
    plt = _pyplot()
    clips, settings, styles = list(dict.fromkeys(row["clip"] for row in rows)), _settings(rows), _styles(rows)
    figure, axis = plt.subplots(figsize=(1.3 * len(clips) + 4, 4.4), layout="constrained")
    never = TIMES_S[-1] + 1
    for number, (name, setting) in enumerate(settings):
        mine = [row for row in rows if (row["system"], row["setting"]) == (name, setting)]
        aside = 0.8 * ((number + 0.5) / len(settings) - 0.5)  # so that equal ones can be told apart
        values = [never if row["seconds_to_90"] is None else row["seconds_to_90"] for row in mine]
        nth = sum(known == name for known, _ in settings[:number])
        style = {"color": styles[name, setting]["color"], "marker": "osDv^<>P"[nth % 8], "markersize": 5}
        axis.plot(
            [clips.index(row["clip"]) + aside for row in mine],
            values,
            linestyle="",
            label=f"{name}, {setting}",
            **style,
        )
    for place in range(1, len(clips)):
        axis.axvline(place - 0.5, color="0.85", linewidth=0.8, zorder=0)
    axis.axhspan(TIMES_S[0], STILL_S, color="0.93", zorder=0)
    axis.set_xticks(range(len(clips)), [clip.replace(", ", "\n") for clip in clips])
    ticks = range(int(TIMES_S[-1]) + 1)
    axis.set_yticks([*ticks, never], [*map(str, ticks), "never"])
    axis.set_ylabel(f"seconds until {ENOUGH:.0%} are read;\nthe page moves in the grey part")
    figure.legend(loc="outside right center", fontsize=7.5)
    figure.savefig(path, dpi=100)
    plt.close(figure)


class _Panels:
    """A panel a film with signs read right on its upright axis, and one legend."""

    def __init__(self, rows: Sequence[Row], across: str) -> None:
        self.clips, self.styles = list(dict.fromkeys(row["clip"] for row in rows)), _styles(rows)
        wide = min(4, len(self.clips))
        tall = -(-len(self.clips) // wide)
        self._plt = _pyplot()
        self._figure, axes = self._plt.subplots(
            tall, wide, figsize=(3.2 * wide + 2.6, 2.6 * tall + 0.6), sharex=True, sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        self._axes = list(axes.flat)
        self._figure.supxlabel(across, fontsize=10)
        self._figure.supylabel("signs read right", fontsize=10)

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        for axis in self._axes[len(self.clips) :]:
            axis.axis("off")
        for axis, clip in zip(self._axes, self.clips, strict=False):
            axis.set_title(clip, fontsize=10)
            axis.set_ylim(-0.03, 1.04)
            axis.axhline(ENOUGH, color="0.7", linewidth=0.8, zorder=0)
            yield axis, clip

    def save(self, path: Path) -> None:
        """Write the PNG."""
        self._figure.legend(*self._axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7.5)
        self._figure.savefig(path, dpi=100)
        self._plt.close(self._figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _styles(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Any]]:
    """A colour a system, a line a setting; the ceiling is black."""
    names = list(dict.fromkeys(row["system"] for row in rows if row["system"] != TRUE))
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for name, setting in _settings(rows):
        number = sum(key[0] == name for key in out)
        colour = "black" if name == TRUE else f"C{names.index(name) % 10}"
        line = ((0, (1, 1.5)), (0, (4, 1.5)), "-", (0, (6, 1, 1, 1)))[number % 4]
        out[name, setting] = {"color": colour, "linestyle": "-" if name == TRUE else line, "linewidth": 1.4}
    return out


def _label(row: Row) -> str:
    return f"{row['system']}, {row['setting']}"


def draw_shown(jobs: Sequence[Job], path: Path) -> None:
    """What every receiver showed of each page: a row a setting, a column a film, in 16 greys to keep the file small."""
    films = list(dict.fromkeys((job.cap_px, job.hold) for job in jobs))
    settings = list(dict.fromkeys((job.system, job.setting) for job in jobs))
    sheet = np.full(((len(settings) + 1) * (TILE[0] + 4), LABEL + len(films) * (TILE[1] + 4)), 255, np.uint8)
    for column, (cap_px, hold) in enumerate(films):
        _write(sheet, f"{cap_px} px, {hold}", 28, LABEL + column * (TILE[1] + 4))
    for number, (name, setting) in enumerate(settings, 1):
        _write(sheet, f"{name}, {setting}", number * (TILE[0] + 4) + 26, 4)
    for job in jobs:
        tile = cv2.imread(str(job.tile), cv2.IMREAD_GRAYSCALE) if job.tile.exists() else None
        if tile is not None and tile.shape == TILE:
            top = (1 + settings.index((job.system, job.setting))) * (TILE[0] + 4)
            left = LABEL + films.index((job.cap_px, job.hold)) * (TILE[1] + 4)
            sheet[top : top + TILE[0], left : left + TILE[1]] = tile // 16 * 17
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _write(sheet: Pixels, text: str, foot: int, left: int) -> None:
    ink, below = draw_text(text, 8.5)
    bottom, width = foot + below, min(ink.shape[1], sheet.shape[1] - left)
    sheet[bottom - ink.shape[0] : bottom, left : left + width] = (255 - ink[:, :width]) // 16 * 17


def report(args: argparse.Namespace, rows: list[Row], summary: Row, systems: dict[str, System], ran: str) -> None:
    """report.md."""
    clips = list(summary["ceiling"])
    low = summary["ceiling_too_low"]
    ceiling = (
        f"Even the camera's own picture stays below {ENOUGH:.0%} at: {'; '.join(low)}. Nothing can be said there."
        if low
        else f"The camera's own picture is read to {ENOUGH:.0%} or more on every page."
    )
    bench.write_report(
        args.out,
        "text_reading: can a page that is held up be read?",
        [
            f"{len(clips)} films of {ENDS_S:g} s, {args.size} pixels, {args.fps:g} fps, seed {args.seed}; "
            f"{rows[0]['ocr']}. {ran}",
            "",
            ceiling,
            "",
            "![signs read right over time](accuracy.png)",
            "",
            "![signs read right for what was spent](rate.png)",
            "",
            "![seconds until a page can be read](seconds.png)",
            "",
            f"![the first line, {SHOWN_S - STILL_S:g} s after the page came to rest](shown.png)",
            "",
            f"## Signs read right in the end, the mean of {sum(t >= SETTLED_S for t in TIMES_S)} (`char_accuracy`)",
            "",
            *_by_clip(rows, clips, "char_accuracy"),
            "",
            f"## Signs read right while it moves, the mean of {sum(t < STILL_S for t in TIMES_S)} (`moving_accuracy`)",
            "",
            *_by_clip(rows, clips, "moving_accuracy"),
            "",
            f"## Seconds until {ENOUGH:.0%} are read (`seconds_to_90`; – is never)",
            "",
            *_by_clip(rows, clips, "seconds_to_90"),
            "",
            f"## Kilobits from the page's coming into view until {ENOUGH:.0%} are read (`bits_to_90` / 1000)",
            "",
            *_by_clip([row | {"kbit": row["bits_to_90"] and row["bits_to_90"] / 1000} for row in rows], clips, "kbit"),
            "",
            *_definitions(),
            "",
            "## The systems",
            "",
            *(f"- `{system.name}`: {system.about}." for system in systems.values()),
        ],
    )


def _by_clip(rows: Sequence[Row], clips: Sequence[str], column: str) -> list[str]:
    lines = []
    for name, setting in _settings(rows):
        mine = [row for row in rows if (row["system"], row["setting"]) == (name, setting)]
        values = {row["clip"]: row[column] for row in mine}
        lines.append({"system": name, "setting": setting, "kbps": _mean([row["kbps"] for row in mine]), **values})
    return bench.table(lines, ("system", "setting", "kbps", *clips))


def _definitions() -> list[str]:
    return [
        "## What the words say",
        "",
        f"- A film: a still room; from {ARRIVES_S:g} s on a page comes in, is in place at {PLACED_S:g} s, drifts and "
        f"turns slowly in a hand that shakes by a pixel, and rests from {RESTS_S:g} s on: `still` on a stand, or by a "
        "`hand` that trembles by less than a pixel. Sensor noise, flicker and exposure drift throughout, no motion "
        "blur. The page is in place, and comes to rest, half-way between two whole seconds, so that one picture a "
        "second waits half a second, as it does on average.",
        "- The text: common words and random codes by turns, capitals and digits in DejaVu Sans, no two signs of the "
        "alphabet alike (no 0 O Q, 1 I, 5, 8, Z). Cap height is that of the letters in the frame.",
        "- The picture: what a system's receiver shows at that moment, holding included; of canvases, the viewer's. "
        "The same part of it for everyone, the page and its surroundings, is read by PP-OCRv4 at its own size.",
        "- `char_accuracy`: 1 - edit distance / signs, 0 at worst, spaces, line ends and case aside, the mean over the "
        f"readings from {SETTLED_S:g} to {TIMES_S[-1]:g} s after the page was in place, {SETTLED_S - STILL_S:g} s and "
        "more after it came to rest; `accuracy_at_T_s` at each time. One page a height: an error is worth 1 / `signs`.",
        f"- `seconds_to_90`: the first of the times {', '.join(f'{t:g}' for t in TIMES_S)} s at which {ENOUGH:.0%} are "
        f"right, counted from the moment the page is in place; up to {STILL_S:g} it still moves. `bits_to_90`: a "
        "system's own bytes from the last frame without the page up to that moment.",
        "- `kbps`: all bytes over the whole film that a system's own protocol sends; `wire_kbps` adds what lies below "
        "each packet.",
    ]


if __name__ == "__main__":
    bench.main(run)
