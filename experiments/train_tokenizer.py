"""Train the tokenizer: encoder, token head and viewer together, for what the tower sees and for people's eyes.

    python -m experiments.train_tokenizer --images DIR --clips DIR --out DIR [--steps N]

Every step: clean pictures give the tower's features (the target); the same pictures with sensor noise, exposure and
compression go through the encoder, lose some levels in some cells (quantiser dropout, so that every level stands
alone and a half-known canvas still reads), and come back through the token head into the tower's back half and
through the viewer into pictures. The run checkpoints, resumes where it stopped, and draws its loss curve.
`python -m experiments.export_tokenizer` turns a checkpoint into the files that ship.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from experiments.pictures import load_clips, load_images
from vidtok.model.tower import FEATURES, Tower, load_tower, to_input
from vidtok.tokenizer.fsq import CHANNELS, DIMS, LEVELS
from vidtok.tokenizer.networks import Encoder, TokenHead, Viewer, context, quantise_ste

CELL = 16
SPREAD = 0.9  # of the latents before tanh, so that all eight values of each are used
DEPTH_SHARE = (0.40, 0.25, 0.15, 0.20)  # how often a whole picture is held at 1, 2, 3, 4 levels


class Trainee(nn.Module):
    """What is trained: the encoder behind the tower's (frozen) front half, the token head and the viewer."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = TokenHead()
        self.viewer = Viewer()
        self.encoder.front.load_state_dict(tower.front.state_dict())
        self.encoder.front.requires_grad_(False)

    @torch.no_grad()
    def begin_pixels(self, patterns: Tensor, spread: Tensor) -> None:
        """Give the last level to the strongest patterns (DIMS, 3, 16, 16) of bare pixels, and draw them with it."""
        last = slice(CHANNELS - DIMS, CHANNELS)
        self.encoder.linear.weight[last] = 0
        assert self.encoder.linear.bias is not None
        self.encoder.linear.bias[last] = 0
        self.encoder.pixels.weight.zero_()
        self.encoder.pixels.weight[last] = patterns * (SPREAD / spread)[:, None, None, None]
        coarse = F.avg_pool2d(patterns, 4).reshape(DIMS, 3 * 16)  # what the viewer's linear path can draw
        draw = self.viewer.linear[0]
        assert isinstance(draw, nn.Conv2d)
        draw.weight[:, last] = 0
        draw.weight[:, last, 1, 1] = coarse.T * spread / (0.7 * SPREAD)

    @torch.no_grad()
    def begin(self, projection: Tensor, restoration: Tensor, mean: Tensor) -> None:
        """Start from the best linear bottleneck: networks beside it begin at zero."""
        for last in (self.encoder.detail[-1], self.head.detail[-1], self.viewer.detail[-2]):
            last.weight.mul_(0.01)
            last.bias.zero_()
        self.encoder.linear.weight[:, :, 0, 0] = projection.T * SPREAD
        self.encoder.linear.bias[:] = -(mean @ projection) * SPREAD
        self.head.linear.weight.zero_()
        self.head.linear.weight[:, :CHANNELS, 0, 0] = restoration / (0.7 * SPREAD)  # tanh shrinks by about 0.7
        self.head.linear.bias[:] = mean


def best_linear(
    tower: Tower, pictures: list[NDArray[np.uint8]], size: int, batches: int = 12
) -> tuple[Tensor, Tensor, Tensor]:
    """The linear bottleneck of CHANNELS numbers that the tower's pooled view misses least from.

    With C the covariance of the features and M the mean outer product of the pooled view's gradients, the directions
    are the leading eigenvectors V of C^1/2 M C^1/2: project by C^-1/2 V (unit variance), restore by C^1/2 V.
    """
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    total, square, gradients, count = (
        torch.zeros(FEATURES),
        torch.zeros(FEATURES, FEATURES),
        torch.zeros(FEATURES, FEATURES),
        0,
    )
    for _ in range(batches):
        with torch.no_grad():
            features = tower.front(to_input(torch.from_numpy(crop_batch(pictures, size, 8, rng))))[2]
        features.requires_grad_(True)
        pooled = F.normalize(tower.back(features)[1])
        (slope,) = torch.autograd.grad((pooled * torch.randn_like(pooled)).sum(), features)
        flat, slopes = (t.detach().permute(0, 2, 3, 1).reshape(-1, FEATURES) for t in (features, slope))
        total, square, count = total + flat.sum(0), square + flat.T @ flat, count + len(flat)
        gradients = gradients + slopes.T @ slopes
    mean = total / count
    spread, axes = torch.linalg.eigh(square / count - torch.outer(mean, mean) + 1e-3 * torch.eye(FEATURES))
    root, inverse = (axes @ torch.diag(spread**power) @ axes.T for power in (0.5, -0.5))
    leading = torch.linalg.eigh(root @ gradients @ root)[1].flip(1)[:, :CHANNELS]
    return inverse @ leading, root @ leading, mean


def strongest_patterns(pictures: list[NDArray[np.uint8]], size: int, batches: int = 12) -> tuple[Tensor, Tensor]:
    """The DIMS leading principal patterns of 16x16 pixels (DIMS, 3, 16, 16), of unit norm, and their deviations."""
    rng = np.random.default_rng(2)
    square, count = torch.zeros(3 * CELL * CELL, 3 * CELL * CELL), 0
    for _ in range(batches):
        x = to_input(torch.from_numpy(crop_batch(pictures, size, 8, rng)))
        cells = F.pixel_unshuffle(x, CELL).permute(0, 2, 3, 1).reshape(-1, 3 * CELL * CELL)
        square, count = square + cells.T @ cells, count + len(cells)
    variance, axes = torch.linalg.eigh(square / count)
    leading = axes.flip(1)[:, :DIMS].T.reshape(DIMS, 3, CELL, CELL)
    return leading, variance.flip(0)[:DIMS].sqrt()


def crop_batch(pictures: list[NDArray[np.uint8]], size: int, batch: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random crops of random scale, flipped at random: (B, size, size, 3)."""
    return np.stack([_crop(pictures[i], size, rng) for i in rng.integers(len(pictures), size=batch)])


def _crop(picture: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = int(rng.integers(min(size, height, width), min(height, width) + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop = picture[top : top + side, left : left + side]
    if side != size:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def disturb(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The same pictures as a cheap camera would give them: gain, offset, noise, and sometimes JPEG."""
    return np.stack([_disturb(picture, rng) for picture in pictures])


def _disturb(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0, 5))
    noisy = picture * np.float32(rng.uniform(0.94, 1.06)) + np.float32(rng.uniform(-4, 4)) + noise
    out = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    return out


def draw_depth(batch: int, rows: int, cols: int, rng: np.random.Generator) -> Tensor:
    """Levels held per cell (B, rows, cols): whole pictures at one depth, or patches of anything from 0 to all."""
    depth = np.zeros((batch, rows, cols), np.int64)
    for one in depth:
        one[:] = 1 + rng.choice(LEVELS, p=DEPTH_SHARE)
        if rng.random() < 0.35:
            coarse = rng.integers(0 if rng.random() < 0.5 else 1, LEVELS + 1, size=(-(-rows // 4), -(-cols // 4)))
            mixed = np.kron(coarse, np.ones((4, 4), np.int64))[:rows, :cols]
            one[:] = np.where(rng.random((rows, cols)) < 0.2, rng.integers(1, LEVELS + 1, (rows, cols)), mixed)
    return torch.from_numpy(depth)


def shifted(x: Tensor, offset: tuple[int, int]) -> Tensor:
    """A frame seen through a moved grid: padded at the edges so that cells start `offset` pixels before it."""
    top, left = offset
    return F.pad(x, (left, (CELL - left) % CELL, top, (CELL - top) % CELL), mode="replicate")


def window(features: Tensor, offset: tuple[int, int], rows: int, cols: int) -> Tensor:
    """The cells nearest to the frame: (B, C, rows, cols) out of the moved grid's."""
    top, left = (round(o / CELL) for o in offset)
    return features[:, :, top : top + rows, left : left + cols]


def feature_loss(tower: Tower, features: Tensor, target: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """How far the tower's view from tokens is from its view of the true picture: (loss, mean cosine)."""
    maps, pooled = tower.back(features)
    true_maps, true_pooled = target
    cosine = F.cosine_similarity(pooled.float(), true_pooled.float()).mean()
    spread = (maps.float() - true_maps).square().mean() / true_maps.square().mean()
    scores = tower.back.classify(pooled).float().log_softmax(1)
    divergence = F.kl_div(
        scores,
        tower.back.classify(true_pooled).float().log_softmax(1),
        log_target=True,
        reduction="batchmean",
    )
    return 2 * (1 - cosine) + 0.5 * spread + 0.05 * divergence, cosine


def pixel_loss(picture: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute and squared error, and the error of the local means: (loss, mean squared error)."""
    error = picture.float() - clean
    coarse = F.avg_pool2d(error, 4).abs().mean()
    mse = error.square().mean()
    return error.abs().mean() + 0.5 * coarse + 4 * mse, mse


def step_loss(
    net: Trainee, tower: Tower, clean8: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """One batch's loss and its parts."""
    clean = to_input(torch.from_numpy(clean8)).contiguous(memory_format=torch.channels_last)
    noisy = to_input(torch.from_numpy(disturb(clean8, rng))).contiguous(memory_format=torch.channels_last)
    offset = (int(rng.integers(CELL)), int(rng.integers(CELL))) if rng.random() < 0.4 else (0, 0)
    size, cells = clean.shape[-1], clean.shape[-1] // CELL
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            maps = tower.front(clean)
            features = maps[2]
            target = tuple(t.float() for t in tower.back(features))
            still = net.encoder.squeeze(
                shifted(clean, offset), *(maps if offset == (0, 0) else tower.front(shifted(clean, offset)))
            ).float()
            noisy_maps = tower.front(shifted(noisy, offset))
        latents = net.encoder.squeeze(shifted(noisy, offset), *noisy_maps).float()
        held = context(quantise_ste(latents), draw_depth(len(clean8), *latents.shape[-2:], rng))
        back = window(net.head(held), offset, cells, cells)
        top, left = offset
        picture = net.viewer(held)[:, :, top : top + size, left : left + size]
        known, cosine = feature_loss(tower, back, target)
    seen, mse = pixel_loss(picture, clean)
    drift = (latents - still).square().mean()
    middle = torch.zeros(())
    if offset == (0, 0):
        middle = (back.float() - features).square().mean() / features.float().square().mean()
    loss = known + 0.3 * middle + 0.7 * seen + 10 * drift
    parts = {
        "loss": loss,
        "cosine": cosine,
        "middle": middle,
        "psnr": 10 * torch.log10(4 / mse),
        "drift": drift,
    }
    return loss, {name: float(value) for name, value in parts.items()}


def main() -> None:
    """Command line."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    pictures = load_images(args.images, args.short_side) if args.images else []
    frames = load_clips(args.clips, args.short_side, args.every_s, args.frames) if args.clips else []
    if not pictures and not frames:
        raise SystemExit("nothing to train on: name a folder with --images and/or --clips")
    print(f"{len(pictures)} photographs, {len(frames)} frames of clips")
    train(args, [p for p in (pictures, frames) if p])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.train_tokenizer", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--clips", type=Path, help="folder of videos")
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizer"), help="checkpoints, curve and log go here")
    parser.add_argument("--begin", type=Path, help="checkpoint of an earlier run to take weights from")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="pixels on a side of a training crop")
    parser.add_argument("--short-side", type=int, default=320, help="pictures are kept in memory at this size")
    parser.add_argument("--every-s", type=float, default=0.5, help="seconds between frames taken from a clip")
    parser.add_argument("--frames", type=int, default=40, help="frames taken from a clip at most")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=250)
    return parser.parse_args()


def train(args: argparse.Namespace, pools: list[list[NDArray[np.uint8]]]) -> None:
    """The loop: resume, step, log, checkpoint."""
    torch.manual_seed(args.seed)
    tower = load_tower().to(memory_format=torch.channels_last)
    net = Trainee(tower).to(memory_format=torch.channels_last)
    if not (args.out / "checkpoint.pt").exists():
        net.begin(*best_linear(tower, pools[0], args.size))
        if args.begin:
            net.load_state_dict(averaged_weights(torch.load(args.begin, weights_only=True)), strict=False)
        net.begin_pixels(*strongest_patterns(pools[0], args.size))
    learning = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, args.rate, weight_decay=1e-4)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    start = _resume(args.out, net, average, optimiser)
    log = (args.out / "log.jsonl").open("a")
    sums: dict[str, float] = {}
    for step in (bar := tqdm(range(start, args.steps), initial=start, total=args.steps, desc="tokenizer")):
        rng = np.random.default_rng((args.seed, step))
        for group in optimiser.param_groups:
            group["lr"] = args.rate * _schedule(step, args.steps)
        loss, parts = step_loss(net, tower, crop_batch(pools[step % len(pools)], args.size, args.batch, rng), rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(net)
        sums = {name: sums.get(name, 0.0) + value for name, value in parts.items()}
        if (step + 1) % 50 == 0:
            means = {name: value / 50 for name, value in sums.items()}
            bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
            log.write(json.dumps({"step": step + 1, **means}) + "\n")
            log.flush()
            sums = {}
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            _save(args.out, step + 1, net, average, optimiser)
            draw_curve(args.out)


def _schedule(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 200)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _save(out: Path, step: int, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    state = {
        "step": step,
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, out / "checkpoint.pt.part")
    (out / "checkpoint.pt.part").replace(out / "checkpoint.pt")


def _resume(out: Path, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    path = out / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for module, name in ((net, "net"), (average, "average"), (optimiser, "optimiser")):
        module.load_state_dict(state[name])
    return int(state["step"])


def averaged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged weights of a loaded checkpoint, by the trainee's own names."""
    return {k.removeprefix("module."): v for k, v in state["average"].items() if k != "n_averaged"}


def draw_curve(out: Path) -> None:
    """Draw the training log as `curve.png`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    names = ("loss", "cosine", "psnr", "drift")
    figure, axes = plt.subplots(1, len(names), figsize=(16, 3.5), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        axis.plot([row["step"] for row in rows], [row[name] for row in rows])
        axis.set(title=name, xlabel="step")
        axis.grid(alpha=0.3)
    figure.savefig(out / "curve.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
