"""The films that the model learns from, each heard under a policy drawn for it; made once, kept, resumable.

painted worlds, the built-in scene, real clips with labels --films--> hear under ours, 1 fps, every cell, ... --> .npz
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_gate.source import Frame
from experiments.bench import find_clips, one_thread
from experiments.pictures import PICTURES
from experiments.questions import Film
from experiments.questions.grounds import Clip, Photo, find_backdrops, made_backdrops
from experiments.questions.heard import clip_of, hear, save
from experiments.questions.real import Stock, open_stock, real_films
from experiments.questions.scenes import scene_film
from experiments.questions.worlds import Backdrop, world
from experiments.systems import all_systems

BATCH = 24  # films of a job
ROUNDS = 5  # of questions about a painted world: asking costs little beside hearing
LONG_S = 20.0  # longer than any film
# How a film is heard, once as what ships sends it, and once otherwise: system, setting, share, how much of the film.
Policies = tuple[tuple[str, str, float, float], ...]
OURS: Policies = (
    ("vidtok", "price 2", 0.6, LONG_S),
    ("vidtok", "price 12", 0.28, LONG_S),
    ("vidtok", "price 45", 0.12, LONG_S),
)
OTHERS: Policies = (
    ("raw-ids", "1 fps, 4 levels", 0.5, LONG_S),
    ("raw-ids", "5 fps, 2 levels", 0.08, 4.4),
    ("raw-ids", "10 fps, 4 levels", 0.12, 2.4),
    ("dtd", "0.5", 0.15, LONG_S),
    ("rlt", "0.2", 0.15, LONG_S),
)
SCENES = ("tour", "events", "tour", "scroll", "tour", "still", "tour", "pan")


@dataclass(frozen=True)
class Job:
    """Some films of one source."""

    source: str  # world, scene or real
    number: int

    @property
    def folder(self) -> str:
        """Where they are kept."""
        return f"{self.source}-{self.number:04d}"


@dataclass(frozen=True)
class Places:
    """Folders of the user's, and where what is made goes."""

    clips: Path
    images: Path | None
    labels: Path
    out: Path


def prepare(places: Places, counts: dict[str, int], jobs: int) -> list[Path]:
    """Files of so many films of each source, made if they are not there: those of a film follow each other."""
    work = [Job(source, number) for source, count in counts.items() for number in range(-(-count // BATCH))]
    folder = places.out / "heard"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in work if not (folder / job.folder).exists()]
    if missing:
        order = np.random.default_rng(0).permutation(len(missing))
        with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (places,)) as pool:
            running = [pool.submit(_make, missing[k]) for k in order]
            for done in tqdm(as_completed(running), "films", len(running), unit=f"{BATCH} films"):
                done.result()
    return [file for job in work for file in sorted((folder / job.folder).glob("*.npz"))]


def as_shipped(file: Path) -> bool:
    """Whether the file holds a film as what ships sends it."""
    return file.stem.endswith("-0")


class _Worker:
    """What a process needs to make films."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.systems = all_systems()
        self._stock: Stock | None = None

    @property
    def stock(self) -> Stock:
        """Clips and photographs with labels."""
        if self._stock is None:
            self._stock = open_stock(_files(self.places), self.places.labels)
        return self._stock

    def backdrops(self, number: int) -> list[Backdrop]:
        """Made ones, photographs, clips that run and held frames of clips: few of each, other ones for every job."""
        rng = np.random.default_rng([number, 7])
        folders = [self.places.clips, *([] if self.places.images is None else [self.places.images])]
        found = find_backdrops(*folders, seed=number)
        photos = [each for each in found if isinstance(each, Photo)]
        clips = [each for each in found if isinstance(each, Clip)]
        some = [pick[k] for pick, most in ((photos, 10), (clips, 4)) for k in rng.permutation(len(pick))[:most]]
        return [*made_backdrops(8, seed=8 * number), *some]

    def films(self, job: Job) -> Iterator[Film]:
        """The films of a job."""
        seeds = range(job.number * BATCH, (job.number + 1) * BATCH)
        if job.source == "world":
            backdrops = self.backdrops(job.number)
            yield from (world(seed, "train", backdrops, ROUNDS) for seed in seeds)
        elif job.source == "scene":
            yield from (scene_film(seed, SCENES[seed % len(SCENES)], "train") for seed in seeds)
        else:
            yield from real_films(self.stock, self.places.labels, "train", job.number, BATCH)


_worker: _Worker | None = None


def _begin(places: Places) -> None:
    global _worker
    one_thread()
    _worker = _Worker(places)


def _make(job: Job) -> None:
    assert _worker is not None
    folder = _worker.places.out / "heard" / job.folder
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    rng = np.random.default_rng([job.number, len(job.source)])
    for number, film in enumerate(_worker.films(job)):
        for way, policies in enumerate((OURS, OTHERS)):
            name, setting, _, most_s = policies[int(rng.choice(len(policies), p=[each[2] for each in policies]))]
            system, some = _worker.systems[name], begun(film, most_s)
            heard = hear(some, system.run(system.settings[setting], clip_of(some)))
            save(heard, part / f"{number:03d}-{way}.npz")
    part.rename(folder)


def begun(film: Film, most_s: float) -> Film:
    """Its first seconds, and what is asked in them."""
    count = min(film.count, round(most_s * film.fps))
    questions = tuple(question for question in film.questions if question.at_s * film.fps <= count)
    return replace(film, count=count, frames=partial(_first, film, count), questions=questions)


def _first(film: Film, count: int) -> Iterator[Frame]:
    return islice(film.frames(), count)


def _files(places: Places) -> list[Path]:
    photos = (
        [] if places.images is None else [p for p in sorted(places.images.rglob("*")) if p.suffix.lower() in PICTURES]
    )
    return [*find_clips(places.clips), *photos]
