"""Train the student of the encoder: what the edge sends, in a fraction of the work.

    python -m experiments.train_student --images DIR --clips DIR --out DIR [--steps N]

What the shipped encoder makes of every crop is computed once (`experiments/student_lessons.py`). The student imitates
its features, its latents and its gist, each number weighed by how much the model's view hangs on it
(`tokenizer.json`), on clean crops and on noisy ones, whose target is the clean one's. With `--view` the student's
values also go through the token head, the tower's back half and the gist head, all as shipped, and that view is drawn
to the tower's view of the picture. Checkpoints, resumes where it stopped, draws its curve; logs with every checkpoint,
on held-out clips, the share of values equal to the encoder's, and the cosine of both views.
`python -m experiments.export_student` ships it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.student import FRONTS, GistStudent, Mix, Student, TowerFront
from experiments.student_lessons import Lessons, prepare
from experiments.train_tokenizer import Both, averaging, draw_depth, learn, load_averaged, relative_error, view_loss
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.edge import load_info
from vidtok.tokenizer.fsq import EDGES, GIST_EDGES, GIST_LEVELS, LEVELS, SEEN_LEVELS, VALUES
from vidtok.tokenizer.networks import SCALE, SEEN, bins_of, context, gist_context, quantise_ste
from vidtok.tokenizer.store import load_encoder, load_gist_head, load_head

NOISY_SHARE = 0.5  # of the crops
NOISE, GAIN, OFFSET = 5.0, 0.06, 4.0  # at most, in steps of a pixel
GIST_SHARE = 0.3  # of the latents' loss
VIEW_SHARE = 0.5  # likewise
FEATURES_SHARE = 2.0
MUON_DECAY, ADAM_DECAY = 0.01, 0.001


class Pupil(nn.Module):
    """What is trained."""

    def __init__(self, front: str = "dense") -> None:
        super().__init__()
        self.student = Student(front)
        self.student.detail.linear.requires_grad_(False)  # it is the encoder's
        self.gist = GistStudent()

    @torch.no_grad()
    def begin(self) -> None:
        """Squeeze as the encoder does, its linear maps of bare pixels included; what adds to a path starts small."""
        teacher, detail = load_encoder(), self.student.detail
        self.student.squeeze.load_state_dict(teacher.squeeze.state_dict())
        detail.linear.load_state_dict(teacher.detail.linear.state_dict())
        detail.told.load_state_dict(teacher.detail.told.state_dict())
        known = {*self.begun(), detail.linear}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module not in known:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Mix):
                module.narrow.weight.mul_(0.3)
        detail.narrow.weight.mul_(0.1)
        if isinstance(front := self.student.front, TowerFront):
            front.stages.load_state_dict(teacher.front.stages[3:].state_dict())
        else:
            front.last.weight.mul_(0.5)

    def begun(self) -> list[nn.Module]:
        """What starts at the encoder's weights and learns little more."""
        front = self.student.front
        parts = [
            self.student.squeeze,
            self.student.detail.told,
            *([front.stages] if isinstance(front, TowerFront) else []),
        ]
        return [module for part in parts for module in part.modules()]


class Judge:
    """Everything behind the canvas, as shipped and frozen."""

    def __init__(self) -> None:
        self.tower: Tower = load_tower().to(memory_format=torch.channels_last)
        self.head, self.gist_head = load_head().to(memory_format=torch.channels_last), load_gist_head()

    def view(self, latents: Tensor, depth: Tensor, gist: Tensor, gist_depth: Tensor) -> tuple[Tensor, Tensor]:
        """What the server sees of rounded latents (B, SEEN, h, w) and gist (B, GIST), so many levels of each."""
        held = context(latents, depth, SEEN_LEVELS)
        maps = self.tower.back(self.head(held))[0]
        view: tuple[Tensor, Tensor] = self.gist_head(maps, held, gist_context(gist, gist_depth))
        return view


class MuonConv(torch.optim.Muon):
    """Muon for convolutions: each kernel as a matrix (outputs, the rest)."""

    def __init__(self, kernels: Sequence[nn.Parameter]) -> None:
        self._kernels = list(kernels)
        self._matrices = [nn.Parameter(k.detach().flatten(1).clone()) for k in self._kernels]
        super().__init__(self._matrices, weight_decay=MUON_DECAY, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of the kernels."""
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            matrix.copy_(kernel.flatten(1))
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        super().step()
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            kernel.copy_(matrix.view_as(kernel))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of the kernels."""
        for kernel in self._kernels:
            kernel.grad = None


def both(pupil: Pupil) -> Both:
    """Muon for the kernels, AdamW for biases and for what began at the encoder's."""
    known = [p for module in pupil.begun() for p in module.parameters(recurse=False)]
    there = set(known)
    new = [p for p in pupil.parameters() if p.requires_grad and p not in there]
    return Both(
        MuonConv([p for p in new if p.ndim > 2]),
        torch.optim.AdamW(
            [{"params": [p for p in new if p.ndim <= 2], "share": 0.4}, {"params": known, "share": 0.1}],
            weight_decay=ADAM_DECAY,
            betas=(0.9, 0.98),
        ),
    )


class Noise:
    """What a cheap camera adds, from a store of random numbers."""

    def __init__(self, seed: int) -> None:
        self._store = torch.randn(1 << 23, generator=torch.Generator().manual_seed(seed))

    def __call__(self, pictures: Tensor, rng: np.random.Generator) -> Tensor:
        """(B, 3, H, W) in the encoder's range, some of them disturbed."""
        out = pictures.clone()
        size = out[0].numel()
        for k in np.flatnonzero(rng.random(len(out)) < NOISY_SHARE):
            start = int(rng.integers(len(self._store) - size))
            noise = self._store[start : start + size].view_as(out[k])
            out[k] = (out[k] * (1 + float(rng.uniform(-GAIN, GAIN)))) + float(rng.uniform(-OFFSET, OFFSET)) / 128
            out[k] += noise * (float(rng.uniform(0, NOISE)) / 128)
        return out


def batches(lessons: Lessons, batch: int, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
    """Lessons in random order, each once before any comes again."""
    while True:
        order = rng.permutation(len(lessons))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = np.sort(order[start : start + batch])
            names = ("pictures", "features", "latents", "gist")
            yield {name: torch.from_numpy(getattr(lessons, name)[chosen]) for name in names}


def main() -> None:
    """Command line."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    lessons, held = prepare(args.out, args.images, args.clips, args.lessons, args.seed)
    print(f"{len(lessons)} crops, {len(held)} held out")
    train(args, lessons, held)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.train_student", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--clips", type=Path, help="folder of videos")
    parser.add_argument("--out", type=Path, default=Path("runs/student"), help="lessons, checkpoints, curve, log")
    parser.add_argument("--front", choices=FRONTS, default="dense", help="tower: better and slower")
    parser.add_argument("--eye", action="store_true", help="with --front tower: its eye alone, against the tower's")
    parser.add_argument("--start", type=Path, help="an earlier run whose weights to begin from")
    parser.add_argument("--lessons", type=int, default=24000, help="crops to prepare, 0.29 MB each")
    parser.add_argument("--view", action="store_true", help="train the server's view too: twice the time a step")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    return parser.parse_args()


def train(args: argparse.Namespace, lessons: Lessons, held: Lessons) -> None:
    """All steps."""
    torch.manual_seed(args.seed)
    pupil = Pupil(args.front).to(memory_format=torch.channels_last)
    pupil.begin()
    if args.start is not None:
        load_averaged(pupil, args.start)
    judge, noise, weights = Judge(), Noise(args.seed), Weights()
    average = averaging(pupil)
    drawn = batches(lessons, args.batch, np.random.default_rng())  # a run that goes on draws anew

    def one(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((args.seed, step))
        if args.eye:
            return eye_loss(pupil, next(drawn), noise, judge.tower, rng)
        return step_loss(pupil, next(drawn), noise, weights, judge if args.view else None, rng)

    curves = ("loss",) if args.eye else ("loss", "features", "latents", "gist")
    learn(args, args.out, pupil, both(pupil), average, one, curves, lambda: check(average.module, held, judge))


class Weights:
    """How much each number counts, one on average."""

    def __init__(self) -> None:
        info = load_info()
        self.cells = torch.from_numpy(info.sensitivity / info.sensitivity.mean())[:, None, None]
        self.gist = torch.from_numpy(info.gist_sensitivity / info.gist_sensitivity.mean())


def step_loss(
    pupil: Pupil,
    batch: dict[str, Tensor],
    noise: Noise,
    weights: Weights,
    judge: Judge | None,
    rng: np.random.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """One batch's loss and its parts. Latents and gist are counted in steps of a value, squared."""
    clean = to_input(batch["pictures"])
    picture = noise(clean, rng).contiguous(memory_format=torch.channels_last)
    true = batch["latents"].float().contiguous(memory_format=torch.channels_last)
    true_gist = batch["gist"].float()
    with torch.autocast("cpu", torch.bfloat16):
        latents, features = pupil.student(picture)
        gist = pupil.gist(features)
    latents, gist = latents.float(), gist.float()
    spread = relative_error(features, batch["features"])
    apart = ((latents - true).square() * weights.cells).mean() * (VALUES / 2) ** 2
    gist_apart = ((gist - true_gist).square() * weights.gist).mean() * (VALUES / 2) ** 2
    loss = apart + GIST_SHARE * gist_apart + FEATURES_SHARE * spread
    parts = {"features": spread, "latents": apart, "gist": gist_apart}
    if judge is not None:
        depth = draw_depth(len(clean), *latents.shape[-2:], rng)
        gist_depth = torch.from_numpy(rng.integers(GIST_LEVELS + 1, size=len(clean)))
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                target = tuple(t.float() for t in judge.tower.back(batch["features"].bfloat16()))
            view = judge.view(quantise_ste(latents[:, :SEEN]), depth, quantise_ste(gist), gist_depth)
            seen, parts["cosine"] = view_loss(judge.tower, view, (target[0], target[1]))
        loss = loss + VIEW_SHARE * seen
        parts["cosine"] = parts["cosine"].mean()
    return loss, {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in parts.items()}}


def eye_loss(
    pupil: Pupil, batch: dict[str, Tensor], noise: Noise, tower: Tower, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """How far the eye's view is from what the tower has at stride 8; what comes after it stays the encoder's."""
    front = pupil.student.front
    if not isinstance(front, TowerFront):
        raise SystemExit("--eye: only --front tower has one that can learn alone")
    clean = to_input(batch["pictures"]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            target = F.relu6(tower.front.stem(clean))
            for stage in tower.front.stages[:3]:
                target = stage(target)
        picture = noise(clean, rng).contiguous(memory_format=torch.channels_last)
        seen = front.low(front.eye(picture)) / SCALE
    loss = relative_error(seen, target)
    return loss, {"loss": float(loss.detach())}


@torch.no_grad()
def check(pupil: nn.Module, held: Lessons, judge: Judge) -> dict[str, Any]:
    """On held-out clips: values equal to the encoder's by level, and cosines of the views from both with the tower's.

    Cosines by levels of the cells, without a gist and with all of it.
    """
    pupil.eval()
    picture = to_input(torch.from_numpy(held.pictures[:]))
    ours, theirs = [], (torch.from_numpy(held.latents[:]).float(), torch.from_numpy(held.gist[:]).float())
    for part in picture.split(8):
        latents, features = pupil.student(part)
        ours.append((latents, pupil.gist(features)))
    mine = tuple(torch.cat(parts) for parts in zip(*ours, strict=True))
    truth = torch.cat([judge.tower(part)[1] for part in picture.split(8)])
    same = [(bins_of(a) == bins_of(b)).float() for a, b in zip(mine, theirs, strict=True)]
    pupil.train()
    return {
        "equal": [round(float(same[0][:, EDGES[n] : EDGES[n + 1]].mean()), 4) for n in range(LEVELS)],
        "gist_equal": [
            round(float(same[1][:, GIST_EDGES[n] : GIST_EDGES[n + 1]].mean()), 4) for n in range(GIST_LEVELS)
        ],
        "cosine": views(judge, mine[0], mine[1], truth),
        "encoder_cosine": views(judge, theirs[0], theirs[1], truth),
    }


def views(judge: Judge, latents: Tensor, gist: Tensor, truth: Tensor) -> list[list[float]]:
    """Cosine of the server's view with the truth: [without gist, with it] by levels of the cells, from none."""
    cells, whole = quantise_ste(latents[:, :SEEN]), quantise_ste(gist)
    out = []
    for gist_levels in (0, GIST_LEVELS):
        row = []
        for levels in range(SEEN_LEVELS + 1):
            depth = torch.full((len(cells), *cells.shape[-2:]), levels)
            pooled = judge.view(cells, depth, whole, torch.full((len(cells),), gist_levels))[1]
            row.append(round(float(F.cosine_similarity(pooled, truth).mean()), 4))
        out.append(row)
    return out


if __name__ == "__main__":
    main()
