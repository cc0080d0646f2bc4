"""Train the level for people and the viewer, behind levels for the model that no longer change.

    python -m experiments.train_pictures --out DIR [--steps N]

`--out` is the folder of a finished `experiments.train_tokenizer`: its lessons, its levels for the model and its gist
are taken as they are. A picture must look like the true one in pixels, and to the tower: what the viewer draws goes
through the whole tower, whose view of it must be its view of the true picture, from the first edges on. Checkpoints,
resumes, draws its curve.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.adversary import Adversary
from experiments.lessons import Lessons, load
from experiments.train_tokenizer import Trainee, averaging, learn, load_averaged, relative_error
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.fsq import CHANNELS, GIST_LEVELS, LEVELS
from vidtok.tokenizer.networks import SEEN, Detail, Squeeze, Viewer, context, gist_context, quantise_ste

LEAST = 160  # pixels on a side of what the tower is shown
SPREAD = 0.8  # of the last level before tanh, so that all eight values are used
LINEAR_RATE = 0.03  # of the learning rate: their thousands of small weights start at the optimum
DEPTH_SHARE = (0.14, 0.20, 0.18, 0.14, 0.12, 0.22)  # how often a crop is held at 1, 2, ... levels
GIST_SHARE = (0.1, 0.05, 0.1, 0.15, 0.2, 0.4)  # how often 0, 1, 2, ... levels of the gist are held


class Artist(nn.Module):
    """What is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.detail = Detail()
        self.viewer = Viewer()

    @torch.no_grad()
    def begin(self, squeeze: Squeeze, lessons: Lessons, count: int = 1500) -> None:
        """Start from the best linear maps; the networks beside them begin near zero.

        Least squares says what latents tell of a cell's pixels; of what they leave, the strongest patterns are taken.
        """
        latents, pixels = [], []
        for chosen in lessons.spread(count, 50):
            features = torch.from_numpy(lessons.features["clean"][chosen]).permute(0, 3, 1, 2).float()
            z = quantise_ste(torch.tanh(squeeze(features)))
            x = F.pixel_unshuffle(to_input(torch.from_numpy(lessons.pictures[chosen])), 32)
            latents.append(z.permute(0, 2, 3, 1).reshape(-1, SEEN))
            pixels.append(x.permute(0, 2, 3, 1).reshape(-1, 3 * 32 * 32))
        z, x = torch.cat(latents), torch.cat(pixels)
        ones = torch.cat([z, torch.ones(len(z), 1)], 1)
        gram = ones.T @ ones + 1e-3 * len(z) * torch.eye(SEEN + 1)
        told = torch.linalg.solve(gram, ones.T @ x)  # (SEEN + 1, pixels)
        rest = x - ones @ told
        variance, axes = torch.linalg.eigh(rest.T @ rest / len(rest))
        size = CHANNELS - SEEN
        patterns, spread = axes.flip(1)[:, :size], variance.flip(0)[:size].clamp_min(1e-9).sqrt()
        project = patterns / spread * SPREAD
        self.detail.linear.weight[:] = project.T.reshape(size, 3, 32, 32)
        self.detail.linear.bias[:] = -told[-1] @ project
        self.detail.told.weight[:, :, 0, 0] = -(told[:-1] @ project).T
        draw = self.viewer.linear
        draw.weight.zero_()
        draw.weight[:SEEN] = told[:-1].reshape(SEEN, 3, 32, 32)
        draw.weight[SEEN:CHANNELS] = (patterns * spread / (0.75 * SPREAD)).T.reshape(size, 3, 32, 32)
        draw.bias.zero_()  # one a colour is too few for the mean cell, which goes in with the first level held
        draw.weight[CHANNELS] = told[-1].reshape(3, 32, 32)
        for last in (self.detail.narrow[-1], self.viewer.detail[-2], self.viewer.gist[-1]):
            last.weight.mul_(0.05)
            last.bias.zero_()


def draft_of(
    net: Artist, trained: Trainee, true: Tensor, seen: Tensor, pooled: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """What the viewer makes of crops that are held at some depth or other, and that depth (B, h, w).

    `true` pictures (B, 3, H, W), the tower's features as `seen`, its pooled view.
    """
    grain = float(rng.uniform(0, 0.03))
    with torch.no_grad():
        model_part = torch.tanh(trained.squeeze(seen).float())
        gist = torch.tanh(trained.gist(pooled))
    mine = torch.tanh(net.detail(true + grain * torch.randn_like(true), seen, model_part).float())
    latents = torch.cat([model_part, mine], 1)
    depth = _depth(len(true), *latents.shape[-2:], rng)
    gist_depth = torch.from_numpy(rng.choice(GIST_LEVELS + 1, size=len(true), p=GIST_SHARE))
    return net.viewer(context(quantise_ste(latents), depth), gist_context(quantise_ste(gist), gist_depth)), depth


def step_loss(
    net: Artist,
    trained: Trainee,
    tower: Tower,
    lessons: Lessons,
    batch: int,
    rng: np.random.Generator,
    adversary: Adversary | None = None,
    weight: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """One batch's loss and its parts; with an adversary, one step of its own as well."""
    chosen = np.sort(rng.integers(len(lessons), size=batch))
    true = to_input(torch.from_numpy(lessons.pictures[chosen])).contiguous(memory_format=torch.channels_last)
    maps = {
        way: torch.from_numpy(lessons.features[way][chosen]).permute(0, 3, 1, 2).bfloat16()
        for way in ("clean", "noisy")
    }
    seen = maps["noisy" if rng.random() < 0.3 else "clean"].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            whole = tower.back(maps["clean"])[1].float()
        picture, depth = draft_of(net, trained, true, seen, whole, rng)
        picture = picture.contiguous(memory_format=torch.channels_last)
        if adversary is not None:
            adversary.learn(picture, true)
        complaint = torch.zeros(()) if adversary is None else adversary.complaint(picture)
        drawn, given = glimpse(picture, true, rng)
        with torch.no_grad():
            *true_edges, true_features = tower.front(given)
            true_maps, true_pooled = (t.float() for t in tower.back(true_features))
        *edges, features = tower.front(drawn)
        view, pooled = tower.back(features)
    error = picture.float() - true
    mse = error.square().mean((1, 2, 3))
    coarse = F.avg_pool2d(error, 4).abs().mean()
    middle = relative_error(features, true_features)
    cosine = F.cosine_similarity(pooled.float(), true_pooled)
    spread = relative_error(view, true_maps)
    pixels = error.abs().mean() + 0.5 * coarse + 8 * mse.mean()
    look = sum(relative_error(mine, theirs) for mine, theirs in zip(edges, true_edges, strict=True))
    loss = 1.5 * pixels + (1 - cosine).mean() + 0.3 * spread + 0.3 * middle + 0.15 * look + weight * complaint
    full = depth.float().mean((1, 2)) > LEVELS - 0.5
    parts = {"loss": loss, "pixels": pixels, "cosine": cosine.mean(), "middle": middle,
             "db": (10 * torch.log10(4 / mse)).mean()}  # fmt: skip
    if full.any():
        parts["db_full"] = (10 * torch.log10(4 / mse[full])).mean()
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def glimpse(drawn: Tensor, true: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same part of both pictures at the same other size, mirrored or not: what looks right must not be a trick."""
    side = int(rng.integers(LEAST, true.shape[-1] + 1))
    top, left = rng.integers(true.shape[-1] - side + 1, size=2).tolist()
    size = max(LEAST, round(side * float(rng.uniform(0.8, 1.25))))
    both = torch.cat([drawn.float(), true])[:, :, top : top + side, left : left + side]
    both = F.interpolate(both, size=(size, size), mode="bilinear", antialias=True)
    both = both.flip(3) if rng.random() < 0.5 else both
    first, second = both.contiguous(memory_format=torch.channels_last).chunk(2)
    return first, second


def _depth(batch: int, rows: int, cols: int, rng: np.random.Generator) -> Tensor:
    depth = np.zeros((batch, rows, cols), np.int64)
    for one in depth:
        one[:] = 1 + rng.choice(LEVELS, p=DEPTH_SHARE)
        if rng.random() < 0.25:
            one[:] = np.where(rng.random((rows, cols)) < 0.4, rng.integers(0, LEVELS + 1, (rows, cols)), one)
    return torch.from_numpy(depth)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.train_pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizer"), help="that of experiments.train_tokenizer")
    parser.add_argument("--start", type=Path, help="an earlier run whose weights to begin from, as far as they fit")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adversary", type=float, default=0.0, help="weight of a critic's complaint, 0 for no critic")
    parser.add_argument("--save-every", type=int, default=250)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tower = load_tower().to(memory_format=torch.channels_last)
    if not (args.out / "checkpoint.pt").exists():
        raise SystemExit(f"{args.out}: no run of experiments.train_tokenizer there; run that first, or name its --out")
    lessons = load(args.out)
    trained = Trainee()
    load_averaged(trained, args.out)
    trained.eval().requires_grad_(False)
    net = Artist().to(memory_format=torch.channels_last)
    linear = [p for part in (net.detail.linear, net.detail.told, net.viewer.linear) for p in part.parameters()]
    others = [p for p in net.parameters() if all(p is not one for one in linear)]
    groups = [{"params": others}, {"params": linear, "share": LINEAR_RATE, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, args.rate, weight_decay=1e-3)
    folder = args.out / "pictures"
    folder.mkdir(exist_ok=True)
    if not (folder / "checkpoint.pt").exists():
        net.begin(trained.squeeze, lessons)
        if args.start is not None:
            load_averaged(net, args.start / "pictures", strict=False)

    adversary = Adversary() if args.adversary else None

    def one(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((args.seed, 1, step))
        return step_loss(net, trained, tower, lessons, args.batch, rng, adversary, args.adversary)

    learn(args, folder, net, optimiser, averaging(net), one, ("loss", "cosine", "db", "db_full"))


if __name__ == "__main__":
    main()
