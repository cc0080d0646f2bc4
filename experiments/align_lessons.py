"""What a projector learns from: crops of photographs and clips, as our tokens and as the tower sees them.

crop --tokenizer--> latents of cells and gist, every level      kept in files beside the checkpoints, once
     --tower------> its features at our cells                   they are made they are used again
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from experiments.bench import BenchError, write_json
from experiments.lessons import crop
from experiments.pictures import load_films, load_images
from experiments.teachers import CELLS, SIDE, Teacher
from vidtok.model.tower import load_tower, to_input
from vidtok.tokenizer.fsq import GIST, SEEN_LEVELS
from vidtok.tokenizer.networks import SEEN, context, gist_context, quantise_ste
from vidtok.tokenizer.store import load_encoder, load_gist

SHORT_SIDE = 320  # pixels that pictures are held at in memory
BATCH = 16
PHOTOGRAPHS = 0.6  # of the crops, where there are clips as well

Pictures = list[NDArray[np.uint8]]


class Tokenizer:
    """Pictures to what a canvas would hold of them, every level, in torch."""

    def __init__(self) -> None:
        self._encoder, self._gist, self._back = load_encoder(), load_gist(), load_tower().back

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 256, 256, 3) -> rounded latents (B, SEEN, 8, 8), of the gist (B, GIST)."""
        latents, features = self._encoder(to_input(pixels))
        gist = torch.tanh(self._gist(self._back(features)[1]))
        return quantise_ste(latents[:, :SEEN]), quantise_ste(gist)


@dataclass(frozen=True, eq=False)
class Lessons:
    """Crops, seen both ways; memory-mapped."""

    cells: NDArray[np.float16]  # (N, SEEN, 8, 8)
    gist: NDArray[np.float16]  # (N, GIST)
    target: NDArray[np.float16]  # (N, outs, dim, 8, 8)

    def __len__(self) -> int:
        return len(self.cells)

    def batch(self, chosen: NDArray[np.int64] | slice) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of cells and gist, and the target, of some of them."""
        parts = (part[chosen].astype(np.float32) for part in (self.cells, self.gist, self.target))
        cells, gist, target = map(torch.from_numpy, parts)
        return cells, gist, target


def held(cells: Tensor, gist: Tensor, depth: Tensor, gist_depth: Tensor) -> tuple[Tensor, Tensor]:
    """What a projector reads of latents of which so many levels are held; depth (B, 8, 8), gist_depth (B,)."""
    return context(cells, depth, SEEN_LEVELS), gist_context(gist, gist_depth)


def sources(folders: Sequence[Path]) -> tuple[Pictures, list[Pictures]]:
    """(photographs, frames of clips) below some folders."""
    photographs: Pictures = []
    films: list[Pictures] = []
    for folder in folders:
        if not folder.exists():
            raise BenchError(f"--learn {folder}: no such folder")
        photographs += load_images(folder, SHORT_SIDE)
        films += load_films(folder, SHORT_SIDE, 0.5, 24)
    if not photographs and not films:
        raise BenchError(f"--learn {' '.join(map(str, folders))}: no picture and no video in it")
    return photographs, films


def prepare(out: Path, folders: Sequence[Path], count: int, teacher: Teacher, seed: int) -> Lessons:
    """The lessons in `out`, made where they are not there yet. Raises BenchError where they are of another run."""
    wanted = {"tower": teacher.name, "outs": teacher.outs, "dim": teacher.dim, "count": count, "seed": seed}
    done = out / "lessons.json"
    if not done.exists():
        _write(out, *sources(folders), count, teacher, np.random.default_rng(seed))
        write_json(done, wanted)
    if json.loads(done.read_text()) != wanted:
        raise BenchError(f"{done}: lessons of another run ({done.read_text().split()}); give another --out")
    return Lessons(*(np.load(out / f"{name}.npy", mmap_mode="r") for name in ("cells", "gist", "target")))


def _write(
    out: Path, photographs: Pictures, films: list[Pictures], count: int, teacher: Teacher, rng: np.random.Generator
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    shapes = {
        "cells": (SEEN, CELLS, CELLS),
        "gist": (GIST,),
        "target": (teacher.outs, teacher.dim, CELLS, CELLS),
    }
    files = {
        name: np.lib.format.open_memmap(out / f"{name}.npy", "w+", np.float16, (count, *shape))
        for name, shape in shapes.items()
    }
    tokenizer = Tokenizer()
    share = PHOTOGRAPHS if photographs and films else float(bool(photographs))
    for start in tqdm(range(0, count, BATCH), "lessons"):
        chosen = slice(start, min(count, start + BATCH))
        pools = [photographs if draw < share else _film(films, rng) for draw in rng.random(chosen.stop - start)]
        crops = np.stack([crop(pool[int(rng.integers(len(pool)))], SIDE, rng) for pool in pools])
        pixels = torch.from_numpy(crops)
        for name, part in zip(files, (*tokenizer(pixels), teacher(pixels)), strict=True):
            files[name][chosen] = part.numpy()
    for file in files.values():
        file.flush()


def _film(films: list[Pictures], rng: np.random.Generator) -> Pictures:
    return films[int(rng.integers(len(films)))]
