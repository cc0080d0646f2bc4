"""What the student of the encoder learns from: crops, and what the shipped encoder makes of each.

    photographs, clips, the built-in scene, pages --crop--> picture --encoder.onnx--> latents, features
                                                                          |--gist.onnx--> gist

One clip in six teaches nothing: its frames are the held-out pictures. All of it is computed once and kept in files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_gate.source import open_source
from experiments.lessons import MAPS, SIDE, crop, of_film, of_photographs, page_fonts, pages
from experiments.pictures import load_films, load_images, middle_of
from vidtok.canvas import CELL
from vidtok.tokenizer.edge import EdgeEncoder
from vidtok.tokenizer.fsq import CHANNELS, GIST

HELD_OUT = 6  # every so many clips
PAGE, SCENE, FILM = 0.05, 0.08, 0.45  # shares of the crops; the rest are photographs
SCENES = ("tour", "still", "pan", "handheld")
CELLS = SIDE // CELL
FEATURES = 112
CHECKED_S, CHECKED = 1.0, 8  # a held-out clip gives so many frames, so far apart

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Lessons:
    """Crops and what the encoder made of them; memory-mapped."""

    pictures: Pixels  # (N, SIDE, SIDE, 3)
    features: NDArray[np.float16]  # (N, FEATURES, MAPS, MAPS)
    latents: NDArray[np.float16]  # (N, CHANNELS, CELLS, CELLS)
    gist: NDArray[np.float16]  # (N, GIST)

    def __len__(self) -> int:
        return len(self.pictures)

    def write(self, at: int, picture: Pixels, teacher: EdgeEncoder) -> None:
        """A picture's lesson."""
        self.pictures[at] = picture
        self.latents[at] = teacher(picture)[:CELLS, :CELLS].transpose(2, 0, 1)
        self.features[at] = teacher.features[0]
        self.gist[at] = teacher.gist()

    @staticmethod
    def of(folder: Path, count: int | None = None) -> Lessons:
        """The files in a folder, made anew for so many lessons if a count is given."""
        shapes = {
            "pictures": (np.uint8, (SIDE, SIDE, 3)),
            "features": (np.float16, (FEATURES, MAPS, MAPS)),
            "latents": (np.float16, (CHANNELS, CELLS, CELLS)),
            "gist": (np.float16, (GIST,)),
        }
        arrays = {}
        for name, (dtype, shape) in shapes.items():
            path = folder / f"{name}.npy"
            arrays[name] = (
                np.load(path, mmap_mode="r")
                if count is None
                else np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))
            )
        return Lessons(**arrays)


def prepare(out: Path, images: Path | None, clips: Path | None, count: int, seed: int) -> tuple[Lessons, Lessons]:
    """The lessons and the held-out lessons in `out`, made if they are not there."""
    for name, make in (("held", _held), ("lessons", _crops)):
        folder = out / name
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder, images, clips, count, seed)
            (folder / "done").touch()
    return Lessons.of(out / "lessons"), Lessons.of(out / "held")


def _clips(clips: Path | None, short_side: int, every_s: float, most: int, held: bool) -> list[list[Pixels]]:
    films = [] if clips is None else load_films(clips, short_side, every_s, most)
    return [film for k, film in enumerate(films) if (k % HELD_OUT == HELD_OUT - 1) == held]


def _held(out: Path, images: Path | None, clips: Path | None, count: int, seed: int) -> None:
    films = _clips(clips, SIDE, CHECKED_S, CHECKED, held=True)
    frames = [middle_of(frame, SIDE) for film in films for frame in film]
    if not frames:
        raise SystemExit(f"--clips: name a folder with at least {HELD_OUT} videos, one in {HELD_OUT} is held out")
    _fill(out, len(frames), lambda at: frames[at])


def _crops(out: Path, images: Path | None, clips: Path | None, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    photographs = [] if images is None else load_images(images, 320)
    films, scenes, fonts = _clips(clips, 320, 0.4, 24, held=False), _scenes(), page_fonts()
    waiting: list[Pixels] = []

    def draw() -> list[Pixels]:
        kind = rng.random()
        if kind < PAGE:
            pair = pages(fonts, rng)
        elif kind < PAGE + SCENE:
            film = scenes[int(rng.integers(len(scenes)))]
            if rng.random() < 0.5:
                return [film[int(rng.integers(len(film)))]]
            pair = of_film(film, rng)
        elif films and (not photographs or kind < PAGE + SCENE + FILM):
            pair = of_film(films[int(rng.integers(len(films)))], rng)
        elif photographs:
            pair = of_photographs(photographs, rng)
        else:
            raise SystemExit("nothing to learn from: name a folder with --images and/or --clips")
        return [crop(each, SIDE, rng) if rng.random() < 0.3 else each[:SIDE, :SIDE] for each in pair]

    def next_one(_: int) -> Pixels:
        if not waiting:
            waiting.extend(draw())
        return waiting.pop()

    _fill(out, count, next_one)


def _scenes() -> list[list[Pixels]]:
    films = []
    for name in SCENES:
        with open_source(f"scene:{name}", size=str(SIDE), fps=2.0, duration_s=30.0) as source:
            films.append([frame.pixels for frame in source])
    return films


def _fill(out: Path, count: int, picture: Callable[[int], Pixels]) -> None:
    lessons, teacher = Lessons.of(out, count), EdgeEncoder()
    for at in tqdm(range(count), f"{out.name}", unit="picture"):
        lessons.write(at, np.ascontiguousarray(picture(at)), teacher)
