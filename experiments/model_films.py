"""The films that the model learns from, each heard under a policy drawn for it; made once, kept, resumable.

painted worlds, the built-in scene, real clips with labels --films--> hear under ours, 1 fps, every cell, ... --> .npz
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

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
# How a film may be heard: system, setting, share. Most as what ships sends it, at several prices.
POLICIES = (
    ("vidtok", "price 2", 0.45),
    ("vidtok", "price 12", 0.2),
    ("vidtok", "price 45", 0.1),
    ("raw-ids", "1 fps, 4 levels", 0.15),
    ("raw-ids", "5 fps, 2 levels", 0.03),
    ("dtd", "0.7", 0.04),
    ("rlt", "0.1", 0.03),
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
    """Files of so many films of each source, made if they are not there."""
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
            yield from (world(seed, "train", backdrops) for seed in seeds)
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
        name, setting, _ = POLICIES[int(rng.choice(len(POLICIES), p=[share for *_, share in POLICIES]))]
        system = _worker.systems[name]
        heard = hear(film, system.run(system.settings[setting], clip_of(film)))
        save(heard, part / f"{number:03d}.npz")
    part.rename(folder)


def _files(places: Places) -> list[Path]:
    photos = (
        [] if places.images is None else [p for p in sorted(places.images.rglob("*")) if p.suffix.lower() in PICTURES]
    )
    return [*find_clips(places.clips), *photos]
