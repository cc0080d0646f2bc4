"""Viewers side by side, on pictures that none has learned from: what ships, and what was tried instead.

    python -m experiments.compare_viewers --runs DIR DIR --images DIR [--out FILE.json]

Each run is a folder of `experiments.train_pictures`, all behind the same levels for the model; where one has a flow
(`experiments.train_flow`), it is drawn in one step and in four. Every cell is held at 1, 2, ... levels, with the gist.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from experiments.judges import SSIM, load_unseen, luma, structural_similarity
from experiments.lessons import SIDE
from experiments.pictures import load_images, middle_of
from experiments.train_flow import Flow
from experiments.train_pictures import Artist
from experiments.train_tokenizer import Trainee, load_averaged
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.fsq import GIST_LEVELS, LEVELS
from vidtok.tokenizer.networks import context, gist_context, quantise_ste

Draw = Callable[[Tensor], Tensor]


class Run:
    """One folder's networks."""

    def __init__(self, folder: Path) -> None:
        self.trained, self.artist = Trainee(), Artist()
        parts = [(self.trained, folder), (self.artist, folder / "pictures")]
        self.draws: dict[str, Draw] = {"viewer": lambda draft: draft}
        if (folder / "flow" / "checkpoint.pt").exists():
            flow = Flow()
            parts.append((flow, folder / "flow"))
            self.draws |= {f"flow, {n} step{'s' * (n > 1)}": lambda draft, n=n: flow.draw(draft, n) for n in (1, 4)}
        for network, part in parts:
            load_averaged(network, part)
            network.eval()

    def drafts(self, true: Tensor, tower: Tower) -> Iterator[tuple[Tensor, float]]:
        """The viewer's picture at 1, 2, ... levels, and the seconds that it took."""
        features = tower.front(true)[2]
        seen = torch.tanh(self.trained.squeeze(features))
        mine = torch.tanh(self.artist.detail(true, features, seen))
        latents = quantise_ste(torch.cat([seen, mine], 1))
        gist = quantise_ste(torch.tanh(self.trained.gist(tower.back(features)[1])))
        whole = gist_context(gist, torch.full((len(true),), GIST_LEVELS))
        for levels in range(1, LEVELS + 1):
            held = context(latents, torch.full((len(true), *latents.shape[2:]), levels))
            began = time.perf_counter()
            yield self.artist.viewer(held, whole).clamp(-127 / 128, 1), time.perf_counter() - began


@torch.inference_mode()
def rows_of(run: Run, true: Tensor, towers: tuple[Tower, Tower]) -> Iterator[dict[str, object]]:
    """One row a way of drawing and a number of levels, means over pictures (N, 3, 256, 256)."""
    views = [tower(true)[1] for tower in towers]
    for level, (draft, took) in enumerate(run.drafts(true, towers[0]), 1):
        for name, draw in run.draws.items():
            began = time.perf_counter()
            drawn = draw(draft).clamp(-127 / 128, 1)
            took_all = took + time.perf_counter() - began
            error = ((drawn - true) * 128).square().mean((1, 2, 3))
            cosines = [
                float(F.cosine_similarity(tower(drawn)[1], view).mean())
                for tower, view in zip(towers, views, strict=True)
            ]
            pairs = zip(pixels_of(drawn), pixels_of(true), strict=True)
            yield {
                "way": name,
                "levels": level,
                "psnr_db": round(float((10 * torch.log10(255**2 / error)).mean()), 2),
                "ssim": round(float(np.mean([structural_similarity(luma(a), luma(b), **SSIM) for a, b in pairs])), 4),
                "feature_cosine": round(cosines[0], 4),
                "feature_cosine_unseen": round(cosines[1], 4),
                "ms": round(1000 * took_all / len(true), 1),
            }


def pixels_of(pictures: Tensor) -> np.ndarray:
    """(N, 3, H, W) -> (N, H, W, 3) uint8."""
    return np.clip(pictures.permute(0, 2, 3, 1).numpy() * 128 + 127.5, 0, 255).astype(np.uint8)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.compare_viewers", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=Path, required=True, help=f"pictures to judge by, cut to {SIDE}x{SIDE}")
    parser.add_argument("--out", type=Path, help="write the rows here")
    args = parser.parse_args()
    true = to_input(torch.from_numpy(np.stack([middle_of(p, SIDE) for p in load_images(args.images, SIDE)])))
    towers = load_tower(), load_unseen()
    rows = [
        {"run": folder.name, **row} for folder in tqdm(args.runs) for row in rows_of(Run(folder), true, towers)
    ]  # fmt: skip
    for row in rows:
        print("  ".join(f"{value}" for value in row.values()))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
