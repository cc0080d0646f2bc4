"""The films of `question_answering`: which there are, and how a worker makes them from a folder of clips.

--clips --labels (made if missing)--> windows and cuts with questions about what a camera saw: real
       +--as backdrops--> painted worlds: planted              the built-in scene: scene
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from experiments.bench import find_clips
from experiments.questions import Film
from experiments.questions.grounds import find_backdrops
from experiments.questions.labels import make_labels
from experiments.questions.real import Stock, open_stock, real_films
from experiments.questions.scenes import scene_film
from experiments.questions.worlds import world

PARTS = ("real", "planted", "scene")
FILMS = {"real": 120, "planted": 18, "scene": 12}  # twice as many questions a film where things are painted
QUICK_FILMS = {"real": 24, "planted": 12, "scene": 6}
LABELLED_S = 20.0  # of each clip
TOGETHER = 6  # films that are made together
VARIANTS = ("tour", "events", "tour", "scroll", "tour", "still")


@dataclass(frozen=True)
class Pick:
    """Films of one part, the `number`th of them."""

    part: str
    number: int
    seed: int
    films: int  # of the part


def pick_films(args: argparse.Namespace, labels: Path) -> list[Pick]:
    """All films, some at a time; the clips' labels are made if they are not there."""
    make_labels(args.clips, labels, LABELLED_S, args.jobs)
    counts = QUICK_FILMS if args.quick else FILMS
    return [Pick(part, number, args.seed, counts[part]) for part in PARTS for number in range(counts[part] // TOGETHER)]


def films_of(pick: Pick, clips: Path, labels: Path) -> Iterator[Film]:
    """The films of a pick."""
    mine = range(pick.number * TOGETHER, (pick.number + 1) * TOGETHER)
    if pick.part == "real":
        whole = _real(clips, labels, pick.seed, pick.films)
        yield from (whole[k] for k in mine if k < len(whole))
    elif pick.part == "planted":
        backdrops = find_backdrops(clips, seed=pick.seed)
        yield from (world(1000 * pick.seed + k, "test", backdrops) for k in mine)
    else:
        yield from (scene_film(1000 * pick.seed + k, VARIANTS[k % len(VARIANTS)], "test") for k in mine)


@lru_cache(maxsize=1)
def _stock(clips: Path, labels: Path) -> Stock:
    return open_stock(find_clips(clips), labels)


@lru_cache(maxsize=1)
def _real(clips: Path, labels: Path, seed: int, count: int) -> list[Film]:
    return real_films(_stock(clips, labels), labels, "test", seed, count)
