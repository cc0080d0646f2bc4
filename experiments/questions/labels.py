"""What pretrained networks and plain arithmetic say of every frame of a folder of videos or photographs.

    python -m experiments.questions.labels --clips DIR --out DIR [--seconds 60]

    clip, 256x256, 10 fps --faces, hands, pose, selfie; 1000 classes; optical flow; pixels--> NAME.npz
          512x512,  2 fps --people in tiles; writing ------------------------------------------^

A clip's labels are on disk as soon as they are made; the same command goes on from there. A photograph is a clip of one
frame. Times in a file are counts of frames: every frame, every fifth (tiles) or every tenth (writing).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_gate.source import SourceError, fit, open_source, read_picture
from experiments import bench
from experiments.bench import BenchError
from experiments.pictures import PICTURES, VIDEOS
from experiments.questions.detectors import GRID, Detectors, Writing
from vidtok.model.reader import Reader

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIDE, FINE_SIDE = 256, 512
FPS = 10
TILE_STEP, TEXT_STEP = 5, 10  # frames from one look to the next
FLOW_SIDE = 128
TILE = 300  # pixels of the fine picture that a tile shows; four of them overlap
MADE = 2  # of which build a file is; others are made anew


@dataclass(frozen=True, eq=False)
class Labels:
    """What is said of the T frames of a clip."""

    near_faces: Floats  # (T, MOST, 5) boxes, see detectors.py
    far_faces: Floats  # (T, MOST, 5)
    hands: Floats  # (T, MOST, 5)
    palms: Floats  # (T, MOST, 5)
    pose: Floats  # (T, 33, 3)
    pose_score: Floats  # (T,)
    selfie: Floats  # (T,) share of the picture
    classes: Floats  # (T, 1000) probabilities
    flow: Floats  # (T, GRID, GRID, 2) how far things went since the frame before, in frame widths
    change: Floats  # (T, GRID, GRID) of grey since the frame before, 0 to 255
    jump: Floats  # (T,) how little the colours of the frame before say of these, 0 to 1
    ninths: Floats  # (T, 3, 3, 6) mean and deviation of red, green and blue
    tile_people: Floats  # (ceil(T / TILE_STEP), 2) surest pose and face in a tile
    words: Floats  # (ceil(T / TEXT_STEP), GRID, GRID) covered by what was surely read in the 256x256 picture
    lines: Floats  # (ceil(T / TEXT_STEP), GRID, GRID) covered by what looks like writing in the 512x512 picture

    @property
    def count(self) -> int:
        """Frames."""
        return len(self.selfie)


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    made = make_labels(args.clips, args.out, args.seconds, args.jobs)
    print(f"{made} labelled, {len(list(args.out.glob('*.npz')))} in {args.out}")


def make_labels(clips: Path, out: Path, seconds: float, jobs: int) -> int:
    """Label what is in the folder and has no labels yet; how many that were."""
    out.mkdir(parents=True, exist_ok=True)
    waiting = [path for path in find_media(clips) if not done(out / f"{path.stem}.npz")]
    workers = min(jobs, len(waiting))
    with ProcessPoolExecutor(workers, get_context("spawn"), bench.one_thread) if workers > 1 else nullcontext() as pool:
        label = partial(_label, out=out, seconds=seconds)
        for told in tqdm(
            pool.map(label, waiting) if pool else map(label, waiting), "labels", len(waiting), unit="clip"
        ):
            if told:
                tqdm.write(told)
    return len(waiting)


@cache
def _look() -> Look:
    return Look()


def _label(path: Path, out: Path, seconds: float) -> str:
    """In a worker: the labels of a clip, and why there are none if there are none."""
    try:
        save(out / f"{path.stem}.npz", label_clip(path, _look(), seconds))
    except SourceError as error:
        return f"left out: {error}"
    return ""


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.questions.labels", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos or photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npz a clip")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each clip at most (default 60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: every core)")
    args = parser.parse_args(argv)
    if not args.seconds >= 1:
        raise BenchError(f"--seconds {args.seconds:g}: give at least 1")
    return args


def find_media(folder: Path) -> list[Path]:
    """Every video and photograph below a folder, in order of name; no two of one stem, as files are named by it."""
    if not folder.is_dir():
        raise BenchError(f"--clips {folder}: not a folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEOS | PICTURES and p.name[0] != ".")
    if not found:
        raise BenchError(f"--clips {folder}: no video or photograph in it")
    if len({path.stem for path in found}) < len(found):
        raise BenchError(f"--clips {folder}: two files differ in their ending only; rename one")
    return found


# Looking


class Look:
    """Every network, loaded once."""

    def __init__(self) -> None:
        self.detectors, self.reader, self.writing = Detectors(), Reader(), Writing()

    def frame(self, picture: Pixels) -> dict[str, Any]:
        """What the networks say of one 256x256 picture."""
        hands, palms = self.detectors.hands(picture)
        pose, pose_score = self.detectors.pose(picture)
        return {
            "near_faces": self.detectors.faces(picture, near=True),
            "far_faces": self.detectors.faces(picture, near=False),
            "hands": hands,
            "palms": palms,
            "pose": pose,
            "pose_score": pose_score,
            "selfie": self.detectors.selfie(picture),
            "classes": self.reader.judge(picture).scores,
        }

    def people(self, fine: Pixels) -> tuple[float, float]:
        """The surest pose and face in four tiles of the 512x512 picture: people too small for the whole one."""
        found = [
            (self.detectors.pose(tile)[1], float(self.detectors.faces(tile, near=False)[0, 4]))
            for tile in (np.ascontiguousarray(tile) for tile in tiles(fine))
        ]
        return max(pose for pose, _ in found), max(face for _, face in found)

    def text(self, fine: Pixels) -> tuple[Floats, Floats]:
        """Words read at 256x256, lines seen at 512x512."""
        small = cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return self.writing(np.asarray(small, np.uint8))[0], self.writing(fine)[1]


def tiles(fine: Pixels) -> Iterator[Pixels]:
    """Four corners that overlap in the middle."""
    for top in (0, len(fine) - TILE):
        for left in (0, fine.shape[1] - TILE):
            yield fine[top : top + TILE, left : left + TILE]


def label_clip(path: Path, look: Look, seconds: float) -> Labels:
    """All labels of one file."""
    frames, fine = load(path, SIDE, FPS, seconds), load(path, FINE_SIDE, FPS / TILE_STEP, seconds)
    wanted = -(-len(frames) // TILE_STEP)
    fine = (fine + fine[-1:] * wanted)[:wanted]
    told = [look.frame(frame) for frame in frames]
    text = [look.text(picture) for picture in fine[:: TEXT_STEP // TILE_STEP]]
    columns: dict[str, Any] = {name: [one[name] for one in told] for name in told[0]} | arithmetic(frames)
    columns |= {"tile_people": [look.people(picture) for picture in fine]}
    columns |= {"words": [words for words, _ in text], "lines": [lines for _, lines in text]}
    return Labels(**{name: np.asarray(column, np.float32) for name, column in columns.items()})


def load(path: Path, side: int, fps: float, seconds: float) -> list[Pixels]:
    """The square in the middle of every frame; a photograph is one frame."""
    if path.suffix.lower() in PICTURES:
        picture = read_picture(path)
        if picture is None:
            raise SourceError(f"{path}: not a picture that can be read")
        return [fit(picture, (side, side))]
    with open_source(path, size=str(side), fps=fps, duration_s=seconds) as source:
        return [frame.pixels for frame in source]


# Arithmetic


def arithmetic(frames: Sequence[Pixels]) -> dict[str, list[Any]]:
    """What needs no network: flow, change, jumps of colour, ninths. The first frame has nothing before it."""
    out: dict[str, list[Any]] = {"flow": [], "change": [], "jump": [], "ninths": []}
    before = frames[0]
    for frame in frames:
        out["flow"].append(flow_between(before, frame))
        grey = cv2.absdiff(cv2.cvtColor(before, cv2.COLOR_RGB2GRAY), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        out["change"].append(_mean(grey.astype(np.float32), GRID))
        out["jump"].append(1 - float(np.minimum(colours(before), colours(frame)).sum()))
        out["ninths"].append(ninths(frame))
        before = frame
    return out


@cache
def _flow() -> Any:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def flow_between(before: Pixels, after: Pixels) -> Floats:
    """(GRID, GRID, 2): how far what is at each place came, in frame widths to the right and heights down."""
    small = [
        cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), (FLOW_SIDE, FLOW_SIDE), interpolation=cv2.INTER_AREA)
        for p in (before, after)
    ]
    return _mean(_flow().calc(small[0], small[1], None), GRID) / FLOW_SIDE


def colours(picture: Pixels) -> Floats:
    """Shares (512,) of the picture by coarse colour."""
    bins = (picture[::2, ::2] >> 5).astype(np.int32) @ np.array([64, 8, 1], np.int32)
    return (np.bincount(bins.ravel(), minlength=512) / bins.size).astype(np.float32)


def ninths(picture: Pixels) -> Floats:
    """(3, 3, 6): mean and deviation of each colour in each ninth."""
    values = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA).reshape(3, 32, 3, 32, 3).astype(np.float32)
    return np.concatenate([values.mean((1, 3)), values.std((1, 3))], -1)


def _mean(values: Floats, side: int) -> Floats:
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA), np.float32)


# Files


def save(path: Path, labels: Labels) -> None:
    """Write a file whole or not at all."""
    part = path.with_suffix(".part")
    arrays = {field.name: getattr(labels, field.name).astype(np.float16) for field in fields(Labels)}
    with part.open("wb") as file:
        np.savez_compressed(file, made=np.array(MADE), **arrays)
    part.replace(path)


def done(path: Path) -> bool:
    """Whether a clip's labels are there, and of this build."""
    if not path.exists():
        return False
    with np.load(path) as stored:
        return int(stored["made"]) == MADE


def load_labels(path: Path) -> Labels:
    """Read what `save` wrote. Raises BenchError where it is of another build."""
    if not path.exists() or not done(path):
        raise BenchError(f"{path}: no labels of this build; run experiments.questions.labels --out {path.parent}")
    with np.load(path) as stored:
        return Labels(**{field.name: stored[field.name].astype(np.float32) for field in fields(Labels)})


if __name__ == "__main__":
    bench.main(run)
