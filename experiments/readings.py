"""What an OCR reads in a receiver's picture of a page, over time: one system at one setting on one film is a row.

    PageFilm --System--> Known --its picture, or the viewer's of its canvas--> OCR --> Reading, Reading, ... --> row
                                                                               at SHOWN_S --> its part of shown.png

All times count from the moment the page is in place; it moves until `STILL_S`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Size
from experiments.bench import Row
from experiments.pages import PLACED_S, RESTS_S, Ocr, PageFilm, char_accuracy, ocr_version
from experiments.systems import Clip, Known, System, clip_of, follow, pick
from vidtok.model.viewer import CanvasViewer

Pixels = NDArray[np.uint8]
Reader = Callable[[Pixels], str]

TRUE = "true-picture"
TIMES_S = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0)
STILL_S = RESTS_S - PLACED_S
SHOWN_S = STILL_S + 1.5  # when shown.png looks
SETTLED_S = STILL_S + 3.0  # from here on the readings count as what the page can be read to in the end
ENOUGH = 0.9
TILE, TILE_CAP = (40, 168), 20  # of shown.png: rows and columns, pixels of a capital


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


def true_picture() -> System:
    """The ceiling: what the camera saw, at no cost that means anything."""

    def unsent(_: Any, clip: Clip) -> Iterator[Known]:
        for frame in clip:
            yield Known(picture=frame.pixels, bytes=None)

    return System(TRUE, "the camera's own pictures, sent nowhere: what the OCR can do", unsent, {"unsent": None})


# In a worker

_systems: dict[str, System] = {}


def start(names: str) -> None:
    """Load what every job of this worker needs."""
    _systems.update({system.name: system for system in pick(names)} | {TRUE: true_picture()})


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
        "kbps": clip.kbps(last.bytes),
        "wire_kbps": clip.kbps(system.wire_bytes(last)),
        "char_accuracy": mean([reading.accuracy for reading in readings if reading.time_s >= SETTLED_S]),
        "moving_accuracy": mean([reading.accuracy for reading in readings if reading.time_s < STILL_S]),
        "seconds_to_90": None if good is None else good.time_s,
        "bits_to_90": None if good is None or good.bytes is None else 8 * good.bytes,
        **{f"accuracy_at_{reading.time_s:g}_s": reading.accuracy for reading in readings},
        "text": film.page.text,
        "read": readings[-1].text,
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
