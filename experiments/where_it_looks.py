"""Do the tokens fall on what moves? Sequences whose object is marked, sent under tight budgets.

    python -m experiments.where_it_looks --truth DIR --out DIR [--quick]

A folder in `--truth` holds pictures in `frames` or `img`, and the object as `masks` (white where it is) or as
`groundtruth_rect.txt` (x,y,width,height a line). The first picture is held for three seconds, so that what is
counted afterwards is what the gate chose while things moved. `share` is that part of the cells' tokens which fell on
the object, a cell counting by how much of it the object covers; `area` is how much of the frame that is; `lift` one
over the other, 1 for a gate that does not look.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import Caps
from edge_gate.source import Frame
from experiments import bench
from experiments.bench import BenchError, Row
from vidtok.canvas import CELL, Grid
from vidtok.edits import Kind
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig, Step

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

FPS, HOLD_S = 10.0, 3.0
BUDGETS = (10, 20, 40, 80)  # tokens a second
KBPS = 64.0
GATES = {"vidtok": SendConfig(), "vidtok-unlearned": SendConfig(learned=False)}


@dataclass(frozen=True, eq=False)
class Marked:
    """A sequence, and where its object is."""

    name: str
    frames: list[Pixels]
    masks: list[Mask]


def load(folder: Path, rate: int) -> Marked:
    """Every so manieth picture of a folder, cut to whole cells."""
    pictures = next((folder / name for name in ("frames", "img") if (folder / name).is_dir()), None)
    if pictures is None:
        raise BenchError(f"{folder}: holds neither frames/ nor img/")
    paths = sorted(pictures.iterdir())[::rate]
    frames = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths]
    if not frames or any(frame is None for frame in frames):
        raise BenchError(f"{pictures}: a file in it is no picture")
    height, width = (side // CELL * CELL for side in frames[0].shape[:2])
    masks = _masks(folder, len(frames), rate, frames[0].shape[:2])
    cut = np.s_[:height, :width]
    return Marked(folder.name, [np.ascontiguousarray(frame[cut]) for frame in frames], [mask[cut] for mask in masks])


def _masks(folder: Path, count: int, rate: int, shape: tuple[int, int]) -> list[Mask]:
    boxes, marks = folder / "groundtruth_rect.txt", folder / "masks"
    if marks.is_dir():
        found = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(marks.iterdir())[::rate]]
        masks = [mask > 0 for mask in found if mask is not None]
    elif boxes.is_file():
        rows = [line.replace("\t", ",").split(",") for line in boxes.read_text().splitlines() if line.strip()]
        masks = [_box(*(round(float(value)) for value in row), shape=shape) for row in rows[::rate]]
    else:
        raise BenchError(f"{folder}: holds neither masks/ nor groundtruth_rect.txt")
    if len(masks) < count:
        raise BenchError(f"{folder}: {count} pictures, but the object is marked in {len(masks)} only")
    return masks[:count]


def _box(x: int, y: int, width: int, height: int, shape: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[max(y, 0) : y + height, max(x, 0) : x + width] = True
    return mask


def covered(mask: Mask, offset: tuple[int, int], grid: Grid) -> NDArray[np.float64]:
    """(rows, cols): how much of each cell of the frame's `offset` grid the object covers."""
    whole = np.zeros((grid.rows * CELL, grid.cols * CELL))
    x, y = offset
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return np.asarray(whole.reshape(grid.rows, CELL, grid.cols, CELL).mean((1, 3)))


def stream(marked: Marked, config: SendConfig) -> Iterator[tuple[Step, Mask]]:
    """The held picture, then the sequence; yields from there on."""
    height, width = marked.frames[0].shape[:2]
    loop = Loop(Grid(width, height), config, fps=FPS, name=marked.name)
    held = round(HOLD_S * FPS)
    for k in range(held + len(marked.frames)):
        place = max(0, k - held)
        step = loop.step(Frame(marked.frames[place], k / FPS, k))
        if k >= held:
            yield step, marked.masks[place]


def measure(marked: Marked, config: SendConfig) -> Row:
    """How much of what was told fell on the object."""
    height, width = marked.frames[0].shape[:2]
    grid = Grid(width, height)
    on, told, area = 0.0, 0, []
    for step, mask in stream(marked, config):
        cells = step.kind != Kind.KEEP
        on += float(covered(mask, step.offset, grid)[cells].sum())
        told += int(cells.sum())
        area.append(mask.mean())
    share, whole = on / max(told, 1), float(np.mean(area))
    return {
        "tokens_per_s": round(told / len(area) * FPS, 2),
        "share": round(share, 4),
        "area": round(whole, 4),
        "lift": round(share / whole, 2),
    }


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, help="a folder of sequences with their object marked")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=2, help="take every so manieth picture (default 2)")
    parser.add_argument("--quick", action="store_true", help="one budget only")
    args = parser.parse_args(argv)
    folders = [path for path in sorted(args.truth.iterdir()) if path.is_dir()] if args.truth.is_dir() else []
    if not folders:
        raise BenchError(f"--truth {args.truth}: no folders there")
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for folder in folders:
        marked = load(folder, args.every)
        for name, config in GATES.items():
            for budget in BUDGETS[1:2] if args.quick else BUDGETS:
                row = measure(marked, replace(config, caps=Caps(KBPS, budget)))
                rows.append({"system": name, "setting": f"{budget} tokens/s", "clip": marked.name, **row})
                print("  ".join(f"{value}" for value in rows[-1].values()), flush=True)
    bench.write_json(args.out / "results.json", rows)
    bench.write_json(args.out / "summary.json", {"rows": rows, "machine": bench.machine()})


if __name__ == "__main__":
    bench.main(run)
