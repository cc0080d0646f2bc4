"""Backdrops of `event_recall`: what events are planted in, clips of a folder and built-in scenes, as frames.

    --clips DIR --spread over the folder--> clips ---+
                        SCENES --> built-in scenes --+--> Film, Film, ... --load--> frames at --size and --fps

What is random about a film is drawn with --seed and its name: it stays the same whatever other clips there are.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_gate.source import SourceError, open_source, parse_size
from experiments import bench

Pixels = NDArray[np.uint8]

SCENES = ("scene:still", "scene:tour", "scene:pan", "scene:handheld")  # without clips; with them, the first two
EVENTS = "events"
"""The part of a run with planted events; the other parts are named by their disturbance."""


@dataclass(frozen=True)
class Film:
    """What a backdrop is made of."""

    spec: str
    name: str
    size: tuple[int, int]
    fps: float
    seed: int

    @property
    def shape(self) -> str:
        """Its size in the words of --size."""
        return "x".join(map(str, dict.fromkeys(self.size)))

    @property
    def seeds(self) -> tuple[int, int]:
        """What everything random about it is drawn with: its own, whatever other clips there are."""
        return self.seed, zlib.crc32(self.name.encode())

    def load(self, count: int) -> list[Pixels]:
        """So many frames; a clip that is shorter goes back and forth."""
        spec = "x".join(map(str, self.size))
        seconds = count / self.fps
        with open_source(self.spec, size=spec, fps=self.fps, duration_s=seconds, seed=self.seed) as source:
            frames = [frame.pixels for frame in source][:count]
        if not frames:
            raise SourceError(f"{self.name}: has no frames; leave it out")
        lap = [*frames, *frames[-2:0:-1]]
        return [lap[k % len(lap)] for k in range(count)]


def find_films(args: argparse.Namespace) -> tuple[list[Film], list[str]]:
    """The backdrops, clips spread over the folder, and a line for each clip that cannot be read."""
    size = parse_size(args.size)
    scenes = [Film(name, name, size, args.fps, args.seed) for name in SCENES]
    if args.clips is None:
        return scenes[: args.backdrops], []
    films: list[Film] = []
    left_out: list[str] = []
    wanted = max(args.backdrops - 2, 1)
    for path in spread(bench.find_clips(args.clips), wanted):
        film = Film(str(path), path.relative_to(args.clips).as_posix(), size, args.fps, args.seed)
        try:
            film.load(2)
        except SourceError as error:
            left_out.append(f"{error}; left out")
            print(left_out[-1])
        else:
            films.append(film)
        if len(films) == wanted:
            break
    return [*films, *scenes[:2]][: args.backdrops], left_out


def spread(paths: Sequence[Path], wanted: int) -> list[Path]:
    """So many of them at even distances, then the others, in case some cannot be read."""
    first = [paths[i * len(paths) // wanted] for i in range(min(wanted, len(paths)))]
    return [*first, *(path for path in paths if path not in first)]
