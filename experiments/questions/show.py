"""A film and its questions on one sheet, for people: is what is asked plain to see?

python -m experiments.questions.show --seed N --out DIR [--split test] [--scene tour] [--clips DIR --images DIR]

Film --> tiles: every half second, and the middle of what is there only briefly
     --> lines: when, kind, question, answer, the span to have seen
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.scene import VARIANTS
from experiments.questions import Film
from experiments.questions.grounds import find_backdrops, made_backdrops
from experiments.questions.scenes import scene_film
from experiments.questions.worlds import SPLITS, world

Pixels = NDArray[np.uint8]
TILE_PX = 200
COLUMNS = 7
LINE_PX = 17
BRIEF_S = 0.8


def main(argv: list[str] | None = None) -> Path:
    """Write the sheet of one film; returns where it is."""
    args = _parser().parse_args(argv)
    film = _film(args)
    args.out.mkdir(parents=True, exist_ok=True)
    path: Path = args.out / f"{film.name.replace(':', '_')}.png"
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet(film), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: cannot be written; give another --out")
    print(path)
    return path


def sheet(film: Film) -> Pixels:
    """The contact sheet (H, W, 3)."""
    wanted = _ticks(film)
    tiles = [_tile(frame.pixels, frame.time_s) for frame in film if frame.index in wanted]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[n : n + COLUMNS]) for n in range(0, len(tiles), COLUMNS)]
    return np.vstack([*rows, _lines(film, rows[0].shape[1])])


def _ticks(film: Film) -> set[int]:
    """The frames to show."""
    brief = [(q.since_s + q.until_s) / 2 for q in film.questions if 0 < q.until_s - q.since_s < BRIEF_S]
    often = range(0, film.count, max(1, round(film.fps / 2)))
    return {*often, film.count - 1, *(round(t * film.fps) for t in brief)}


def _tile(pixels: Pixels, time_s: float) -> Pixels:
    side = TILE_PX - LINE_PX - 2
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    tile = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    tile[LINE_PX : LINE_PX + small.shape[0], 2 : 2 + small.shape[1]] = small
    _write(tile, f"{time_s:.1f} s", 0)
    return tile


def _lines(film: Film, width: int) -> Pixels:
    page = np.full((LINE_PX * (len(film.questions) + 2), width, 3), 255, np.uint8)
    _write(page, f"{film.name}, {film.count} frames", 0)
    for n, q in enumerate(film.questions):
        span = f"[{q.since_s:.2f} .. {q.until_s:.2f}]"
        _write(page, f"{q.at_s:4.1f} s  {q.kind:9s} {q.text}  ->  {q.answer.upper()}   {span}", n + 1)
    return page


def _write(page: Pixels, text: str, line: int) -> None:
    place = (4, LINE_PX * (line + 1) - 4)
    cv2.putText(page, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def _film(args: argparse.Namespace) -> Film:
    if args.scene is not None:
        return scene_film(args.seed, args.scene, args.split)
    folders = [folder for folder in (args.clips, args.images) if folder is not None]
    return world(args.seed, args.split, find_backdrops(*folders) if folders else made_backdrops())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.questions.show", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="which film")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose phrasings (train)")
    parser.add_argument("--scene", choices=VARIANTS, help="a film from the built-in scene instead of a painted world")
    parser.add_argument("--clips", type=Path, help="a folder of videos to paint on, instead of made backdrops")
    parser.add_argument("--images", type=Path, help="a folder of pictures to paint on")
    parser.add_argument("--out", type=Path, default=Path("out/questions"), help="folder for the sheet")
    return parser


if __name__ == "__main__":
    main()
