"""Questions with the frames before them on sheets of paper: how a person finds out how often the labels are wrong.

    python -m experiments.questions.sheets --clips DIR [DIR ...] --labels DIR --out DIR
                                           [--split test] [--seed 0] [--films 100] [--each 3]

    films of a seed --so many of each kind--> a row each: eight frames up to the question, words, answer --> PNGs

The last frame of a row is the one at which the question is asked; nothing is drawn into the frames.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments import bench
from experiments.questions import Film, Question
from experiments.questions.labels import find_media
from experiments.questions.real import STYLES, real_films

Pixels = NDArray[np.uint8]

SHOWN, LATELY_S = 8, 3.5  # frames of a row, and how far back they go
TILE, HEAD, ROWS = 160, 26, 6  # pixels of a frame and of the words over it, questions of a sheet


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.questions.sheets", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of videos or photographs")
    parser.add_argument("--labels", type=Path, required=True, help="folder of their labels")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    parser.add_argument("--split", choices=list(STYLES), default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--films", type=int, default=100, help="to draw from (default 100)")
    parser.add_argument("--each", type=int, default=3, help="questions of each kind (default 3)")
    args = parser.parse_args(argv)
    clips = [path for folder in args.clips for path in find_media(folder)]
    films = real_films(clips, args.labels, args.split, args.seed, args.films)
    rows = sample(films, args.each, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for sheet, first in enumerate(range(0, len(rows), ROWS)):
        drawn = [strip(film, one, first + i) for i, (film, one) in enumerate(rows[first : first + ROWS])]
        cv2.imwrite(str(args.out / f"sheet{sheet:02d}.png"), np.concatenate(drawn)[..., ::-1])
    print(f"{len(rows)} of {sum(len(film.questions) for film in films)} questions: {args.out}")


def sample(films: Sequence[Film], each: int, seed: int) -> list[tuple[Film, Question]]:
    """So many questions of each kind, by kind."""
    by_kind: dict[str, list[tuple[Film, Question]]] = defaultdict(list)
    for film in films:
        for one in film.questions:
            by_kind[one.kind].append((film, one))
    rng = np.random.default_rng(seed)
    return [rows[i] for _, rows in sorted(by_kind.items()) for i in rng.permutation(len(rows))[:each]]


def strip(film: Film, one: Question, number: int) -> Pixels:
    """The frames up to a question, in a row under its words; the last is that at which it is asked."""
    begin = max(0.0, min(one.at_s - LATELY_S, one.since_s))
    wanted = np.linspace(begin, one.at_s, SHOWN) * film.fps
    frames = [frame.pixels for frame in film]
    row = np.concatenate([cv2.resize(frames[round(index)], (TILE, TILE)) for index in wanted], 1)
    head = np.full((HEAD, row.shape[1], 3), 255, np.uint8)
    words = f"{number} {one.kind}: {one.text}  -> {one.answer}   (frames {begin:.1f} to {one.at_s:.1f} s; {film.name})"
    cv2.putText(head, words, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, np.asarray(row, np.uint8)])


if __name__ == "__main__":
    bench.main(run)
