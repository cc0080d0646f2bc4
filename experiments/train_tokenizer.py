"""Train the tokenizer's levels for the model: what squeezes the tower's features at the edge, and the token head.

    python -m experiments.train_tokenizer --images DIR --clips DIR --out DIR [--steps N]

The front half of the tower never learns, so its features of all crops are computed once (`experiments/lessons.py`).
Every step squeezes those of noisy, moved or clean crops, drops levels in some cells and of the gist (so that every
level stands alone and a half-known canvas still reads), leaves cells as they were before while the gist has gone on,
and sends the rest through the token head into the tower's back half, and through the gist head. The loss is how far
that view is from the tower's view of the clean crop, plus what the numbers would cost to send, plus how much they hang
on noise and on a few pixels' motion. Checkpoints, resumes where it stopped, draws its curve.
`python -m experiments.train_pictures` goes on with the level for people; `experiments.export_tokenizer` ships both.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from experiments.lessons import WAYS, Lessons, prepare
from experiments.pictures import load_films, middle_of
from experiments.quantisers import QUANTISERS, entropy_bits
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.fsq import (
    EDGES,
    GIST,
    GIST_EDGES,
    GIST_LEVEL_OF,
    GIST_LEVELS,
    LEVEL_OF,
    SEEN_LEVELS,
    VALUES,
)
from vidtok.tokenizer.networks import (
    SEEN,
    SEEN_CONTEXT,
    Gist,
    GistHead,
    Squeeze,
    TokenHead,
    context,
    gist_context,
    quantise_ste,
)

DEPTH_SHARE = (0.08, 0.20, 0.20, 0.20, 0.16, 0.16)  # how often a whole crop is held at 0, 1, 2, ... levels
PRICE = (0.06, 0.04, 0.015, 0.004, 0.001)  # of a thousand bits of a crop, on each level
CALM = (1.0, 1.0, 0.6, 0.3, 0.1)  # how much a level is asked not to hang on noise
GIST_SHARE = (0.16, 0.12, 0.16, 0.18, 0.18, 0.2)  # how often 0, 1, 2, ... levels of the gist are held
GIST_PRICE = (0.25, 0.15, 0.08, 0.04, 0.02)
WAY_SHARE = (0.55, 0.4, 0.05)  # clean, noisy, moved
STALE_SHARE = 0.5  # of the crops are held as they were before
SPREAD = 0.7  # of the gist's numbers before tanh, to begin with
LINEAR_RATE = 0.03  # of the learning rate, for the gist's axes
SQUEEZE_RATE = 0.4  # likewise, for what squeezes the cells
TRUST_RATE = 20.0  # likewise, for how far the gist is followed
CHANGE = VALUES / 2  # steps of a value from -1 to 1
ABLATIONS = ("features", "noise", "smoothness")  # what `--without` leaves out


class Rate(nn.Module):
    """About what each number would cost to send, given the cells left and above: a logistic around their mix."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.full((SEEN, 2, 1, 1), 0.4))
        self.centre = nn.Parameter(torch.zeros(SEEN, 1, 1))
        self.spread = nn.Parameter(torch.full((SEEN, 1, 1), -1.0))

    def forward(self, latents: Tensor) -> Tensor:
        """(B, SEEN, h, w) -> bits, the same shape."""
        left, up = F.pad(latents[..., :-1], (1, 0)), F.pad(latents[..., :-1, :], (0, 0, 1, 0))
        return logistic_bits(latents - left * self.mix[:, 0] - up * self.mix[:, 1] - self.centre, self.spread)


class GistRate(nn.Module):
    """About what each number of the gist would cost to send: a logistic."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(GIST))
        self.spread = nn.Parameter(torch.full((GIST,), -1.0))

    def forward(self, latents: Tensor) -> Tensor:
        """(B, GIST) -> bits, the same shape."""
        return logistic_bits(latents - self.centre, self.spread)


def logistic_bits(away: Tensor, log_spread: Tensor) -> Tensor:
    """What a value's bin costs that lies so far from a logistic's centre."""
    spread, half = log_spread.exp() + 0.02, 1 / VALUES
    share = torch.sigmoid((away + half) / spread) - torch.sigmoid((away - half) / spread)
    return -torch.log2(share.clamp_min(1e-6))


class Trainee(nn.Module):
    """What is trained."""

    def __init__(self, quantiser: str = "fsq") -> None:
        super().__init__()
        self.squeeze = Squeeze()
        self.quantiser = QUANTISERS[quantiser]()
        self.gist = Gist()
        self.head = TokenHead()
        self.gist_head = GistHead()
        self.rate = Rate()
        self.gist_rate = GistRate()
        self.thumbnail = nn.Sequential(nn.Conv2d(SEEN_CONTEXT, 3 * 16, 1), nn.PixelShuffle(4))  # one in 8 x 8 pixels

    @torch.no_grad()
    def begin(self, tower: Tower, lessons: Lessons, count: int = 2048) -> None:
        """Let the gist begin as the principal axes of the tower's pooled view."""
        chosen = lessons.spread(count, 32)
        features = (torch.from_numpy(lessons.features["clean"][c]).permute(0, 3, 1, 2).float() for c in chosen)
        views = torch.cat([tower.back(part)[1] for part in features])
        mean = views.mean(0)
        variance, axes = torch.linalg.eigh(torch.cov((views - mean).T))
        variance = variance.clamp_min(1e-6 * variance[-1])  # of few lessons most are none
        axes, spread = axes.flip(1)[:, :GIST], variance.flip(0)[:GIST].sqrt() / SPREAD
        self.gist.linear.weight[:] = (axes / spread).T
        self.gist.linear.bias[:] = -mean @ (axes / spread)
        self.gist_head.draw.weight.zero_()
        self.gist_head.draw.weight[:, :GIST] = axes * spread * 1.2  # about what tanh takes away
        self.gist_head.draw.bias[:] = mean
        for last in (self.gist.detail[-1], self.gist_head.detail[-1]):
            last.weight.mul_(0.05)

    def groups(self) -> list[dict[str, Any]]:
        """What learns how fast: what starts at an optimum must not be thrown out of it, switches must be free to go."""
        shares = {"gist.linear": LINEAR_RATE, "gist_head.draw": LINEAR_RATE, "squeeze": SQUEEZE_RATE}
        shares["gist_head.trust"] = TRUST_RATE
        parts: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            share = next((rate for prefix, rate in shares.items() if name.startswith(prefix)), 1.0)
            parts.setdefault(share, []).append(parameter)
        return [{"params": parameters, "share": share} for share, parameters in parts.items()]


def draw_depth(batch: int, rows: int, cols: int, rng: np.random.Generator) -> Tensor:
    """Levels held per cell (B, rows, cols): whole crops at one depth, or patches of anything from 0 to all."""
    depth = np.zeros((batch, rows, cols), np.int64)
    for one in depth:
        one[:] = rng.choice(SEEN_LEVELS + 1, p=DEPTH_SHARE)
        if rng.random() < 0.25:
            most = SEEN_LEVELS + 1
            coarse = rng.integers(int(rng.random() < 0.8), most, size=(-(-rows // 3), -(-cols // 3)))
            mixed = np.kron(coarse, np.ones((3, 3), np.int64))[:rows, :cols]
            one[:] = np.where(rng.random((rows, cols)) < 0.2, rng.integers(1, most, (rows, cols)), mixed)
    return torch.from_numpy(depth)


def draw_told(old: Tensor, new: Tensor, rng: np.random.Generator) -> Tensor:
    """Which cells (B, 1, rows, cols) have been told anew: those that changed most, up to some share, or none at all."""
    changed = (old - new).detach().square().sum(1, keepdim=True)
    order = changed.flatten(1).argsort(1, descending=True).argsort(1).reshape(changed.shape)
    share = torch.from_numpy(np.where(rng.random(len(old)) < 0.3, 0.0, rng.uniform(0, 0.7, len(old))))
    return order < share[:, None, None, None] * changed[0].numel()


def relative_error(guess: Tensor, true: Tensor) -> Tensor:
    """Mean squared error as a share of the truth's mean square."""
    return (guess.float() - true.float()).square().mean() / true.float().square().mean()


def view_loss(tower: Tower, view: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """How far the view from tokens is from the tower's view of the true picture: (loss, cosine of each crop)."""
    maps, pooled = view
    true_maps, true_pooled = target
    cosine = F.cosine_similarity(pooled.float(), true_pooled.float())
    spread = relative_error(maps, true_maps)
    scores = tower.back.classify(pooled).float().log_softmax(1)
    true_scores = tower.back.classify(true_pooled).float().log_softmax(1)
    divergence = F.kl_div(scores, true_scores, log_target=True, reduction="batchmean")
    return 2 * (1 - cosine).mean() + 0.5 * spread + 0.03 * divergence, cosine


def step_loss(
    net: Trainee,
    tower: Tower,
    lessons: Lessons,
    batch: int,
    rng: np.random.Generator,
    price: float,
    without: str | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """One batch's loss and its parts."""
    chosen = np.sort(rng.integers(len(lessons), size=batch))

    def maps(way: str) -> Tensor:
        array = torch.from_numpy(lessons.features[way][chosen])
        return array.permute(0, 3, 1, 2).bfloat16().contiguous(memory_format=torch.channels_last)

    def each(flags: Tensor) -> Tensor:
        return flags[:, None, None, None]

    clean, noisy, moved, later = (maps(way) for way in WAYS)
    stale = torch.from_numpy(rng.random(batch) < STALE_SHARE)
    way = torch.from_numpy(rng.choice(3, size=batch, p=WAY_SHARE))
    way[way == {"noise": 1, "smoothness": 2}.get(without or "", 0)] = 0
    now = torch.where(each(stale), later, clean)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            target = tuple(t.float() for t in tower.back(now))
            glimpsed = tower.back(torch.where(each(stale), now, torch.where(each(way == 0), clean, noisy)))[1].float()
        still, hissing, shifted, become = (
            torch.tanh(part.float()) for part in net.squeeze(torch.cat([clean, noisy, moved, later])).chunk(4)
        )
        latents = torch.where(each(way == 0), still, torch.where(each(way == 1), hissing, shifted))
        latents = torch.where(each(stale) & draw_told(latents, become, rng), become, latents)
        depth = draw_depth(batch, *latents.shape[-2:], rng)
        gist = torch.tanh(net.gist(torch.cat([glimpsed, target[1]])).float())
        gist_depth = torch.from_numpy(rng.choice(GIST_LEVELS + 1, size=batch, p=GIST_SHARE))
        rounded, apart = net.quantiser(latents)
        held = context(rounded, depth, SEEN_LEVELS)
        back = net.head(held)
        bare = tower.back(back)
        view = net.gist_head(bare[0], held, gist_context(quantise_ste(gist[:batch]), gist_depth))
        known, cosine = view_loss(tower, view, target)
        alone = (1 - F.cosine_similarity(bare[1].float(), target[1])).mean()
        thumbnail = net.thumbnail(held).float()
    middle = relative_error(back, now)
    small = F.avg_pool2d(to_input(torch.from_numpy(lessons.pictures[chosen])), 8)
    weight = torch.where(depth.float().mean((1, 2)) > 1.5, 0.3, 0.06) * ~stale
    pixels = ((thumbnail - small).square().mean((1, 2, 3)) * weight).mean()
    told = depth[:, None] > torch.from_numpy(LEVEL_OF[:SEEN])[:, None, None]
    bits = net.rate(smeared(latents)) * told / 1000
    gist_told = gist_depth[:, None] > torch.from_numpy(GIST_LEVEL_OF)
    gist_bits = net.gist_rate(smeared(gist[:batch])) * gist_told / 1000
    prices, calm = (spread_over(n, EDGES[: SEEN_LEVELS + 1])[:, None, None] for n in (PRICE, CALM))
    cost = (bits * prices).sum((1, 2, 3)).mean()
    gist_cost = (gist_bits * spread_over(GIST_PRICE, GIST_EDGES)).sum(1).mean()
    hiss, drift = (((other - still).square() * calm).mean() / calm.mean() for other in (hissing, shifted))
    gist_hiss = (gist[:batch] - gist[batch:]).square().mean()
    features = (without != "features") * (known + 0.5 * alone)
    still_under = (without != "noise") * (hiss + 0.3 * gist_hiss) + (without != "smoothness") * 0.2 * drift
    loss = features + 0.15 * middle + pixels + price * (cost + gist_cost) + apart + still_under
    parts = {"loss": loss, "cosine": cosine.mean(), "middle": middle, "kbits": bits.sum((1, 2, 3)).mean(),
             "gist_kbits": gist_bits.sum(1).mean(), "pixels": pixels, "hiss": (hiss.sqrt() * CHANGE),
             "drift": drift.sqrt() * CHANGE}  # fmt: skip
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def smeared(latents: Tensor) -> Tensor:
    """With noise as wide as a value's bin: what rounding does to a rate, with a gradient."""
    return latents + (torch.rand_like(latents) - 0.5) * (2 / VALUES)


def spread_over(numbers: tuple[float, ...], edges: tuple[int, ...]) -> Tensor:
    """A number a level -> the same for each of the level's numbers."""
    return torch.from_numpy(np.repeat(numbers, np.diff(edges)).astype(np.float32))


@torch.no_grad()
def check(net: Trainee, tower: Tower, features: Tensor) -> dict[str, list[Any]]:
    """On pictures not learned from, `features` (N, 112, 16, 16): kbits of each level, and the cosine of all mixtures.

    `kbits` are by the rate that training goes by, `pairs_kbits` by how often each pair of a cell's numbers occurs.
    Cosines row by row so many levels of the gist, column by column so many of every cell.
    """
    net.eval()
    target = tower.back(features)[1]
    latents, gist = torch.tanh(net.squeeze(features)), quantise_ste(torch.tanh(net.gist(target)))
    pairs = entropy_bits(net.quantiser.symbols(latents)) * latents[0, 0].numel() / 1000
    latents = net.quantiser(latents)[0]
    bits, gist_bits = net.rate(latents).sum((2, 3)).mean(0) / 1000, net.gist_rate(gist).mean(0) / 1000
    cosines = []
    for gist_levels in range(GIST_LEVELS + 1):
        whole = gist_context(gist, torch.full((len(features),), gist_levels))
        row = []
        for levels in range(SEEN_LEVELS + 1):
            depth = torch.full((len(features), *latents.shape[-2:]), levels)
            held = context(latents, depth, SEEN_LEVELS)
            pooled = net.gist_head(tower.back(net.head(held))[0], held, whole)[1]
            row.append(round(float(F.cosine_similarity(pooled, target).mean()), 4))
        cosines.append(row)
    return {
        "kbits": [round(float(bits[:n].sum()), 3) for n in EDGES[1 : SEEN_LEVELS + 1]],
        "pairs_kbits": [round(float(pairs[: n // 2].sum()), 3) for n in EDGES[1 : SEEN_LEVELS + 1]],
        "gist_kbits": [round(float(gist_bits[:n].sum()), 3) for n in GIST_EDGES[1:]],
        "cosine": cosines,
    }


def main() -> None:
    """Command line."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    tower = load_tower().to(memory_format=torch.channels_last)
    lessons = prepare(args.out, args.images, args.clips, args.lessons, tower, args.seed)
    print(f"{len(lessons)} crops")
    train(args, tower, lessons)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.train_tokenizer", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of photographs")
    parser.add_argument("--clips", type=Path, help="folder of videos")
    parser.add_argument("--validate", type=Path, help="folder of videos to check on while training, of other scenes")
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizer"), help="lessons, checkpoints, curve, log")
    parser.add_argument("--start", type=Path, help="an earlier run whose weights to begin from, as far as they fit")
    parser.add_argument("--lessons", type=int, default=12800, help="crops to prepare, 0.37 MB each")
    parser.add_argument("--quantiser", choices=QUANTISERS, default="fsq", help="vq is for comparison")
    parser.add_argument("--without", choices=ABLATIONS, help="leave one thing out, to see what it brings")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    return parser.parse_args()


def train(args: argparse.Namespace, tower: Tower, lessons: Lessons) -> None:
    """Train all that the model's levels need."""
    torch.manual_seed(args.seed)
    net = Trainee(args.quantiser).to(memory_format=torch.channels_last)
    if not (args.out / "checkpoint.pt").exists():
        net.begin(tower, lessons)
    if args.start is not None:
        load_averaged(net, args.start, strict=False)
    optimiser = torch.optim.AdamW(net.groups(), args.rate, weight_decay=1e-3)
    average = averaging(net)
    unseen = validation(args.validate, tower) if args.validate else None

    def one(step: int) -> tuple[Tensor, dict[str, float]]:
        price = min(1.0, step / (0.15 * args.steps))
        rng = np.random.default_rng((args.seed, step))
        return step_loss(net, tower, lessons, args.batch, rng, price, args.without)

    def saved() -> dict[str, Any]:
        return {} if unseen is None else check(average.module, tower, unseen)

    learn(args, args.out, net, optimiser, average, one, ("loss", "cosine", "kbits", "gist_kbits"), saved)


def averaging(net: nn.Module) -> torch.optim.swa_utils.AveragedModel:
    """The running average of a network's weights, which is what ships."""
    return torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))


class Both:
    """Two optimisers as one."""

    def __init__(self, *each: torch.optim.Optimizer) -> None:
        self._each = each

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both."""
        return [group for each in self._each for group in each.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of both."""
        for each in self._each:
            each.zero_grad(set_to_none)

    def step(self) -> None:
        """Of both."""
        for each in self._each:
            each.step()

    def state_dict(self) -> dict[str, Any]:
        """Of both."""
        return {"each": [each.state_dict() for each in self._each]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of both."""
        for each, its in zip(self._each, state["each"], strict=True):
            each.load_state_dict(its)


def learn(
    args: argparse.Namespace,
    out: Path,
    net: nn.Module,
    optimiser: torch.optim.Optimizer | Both,
    average: torch.optim.swa_utils.AveragedModel,
    one: Callable[[int], tuple[Tensor, dict[str, float]]],
    curves: tuple[str, ...],
    saved: Callable[[], dict[str, Any]] = dict,
) -> None:
    """The loop: resume, step, log, checkpoint. `one` gives a step's loss and its parts, `saved` what to log of a save.

    A group of parameters learns at its `share` of the rate.
    """
    start = resume(out, net, average, optimiser)
    log = (out / "log.jsonl").open("a")
    sums: dict[str, list[float]] = {}
    for step in (bar := tqdm(range(start, args.steps), initial=start, total=args.steps, desc=out.name)):
        for group in optimiser.param_groups:
            group["lr"] = args.rate * group.get("share", 1.0) * schedule(step, args.steps)
        loss, parts = one(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(net)
        for name, value in parts.items():
            sums.setdefault(name, []).append(value)
        if (step + 1) % 50 == 0:
            means = {name: round(sum(values) / len(values), 5) for name, values in sums.items()}
            bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
            log.write(json.dumps({"step": step + 1, **means}) + "\n")
            log.flush()
            sums = {}
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save(out, step + 1, net, average, optimiser)
            draw_curve(out, curves)
            if more := saved():
                log.write(json.dumps({"step": step + 1, **more}) + "\n")
    log.close()


def validation(folder: Path, tower: Tower) -> Tensor:
    """The tower's features of frames from the middle of other clips."""
    frames = [frame for film in load_films(folder, 256, 1.0, 8) for frame in film]
    cut = torch.from_numpy(np.stack([middle_of(frame, 256) for frame in frames]))
    with torch.no_grad():
        batches = map(to_input, cut.split(8))
        return torch.cat([tower.front(batch)[2] for batch in batches])


def schedule(step: int, steps: int) -> float:
    """Warm up, then down along half a cosine."""
    warm = min(1.0, (step + 1) / 200)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def save(out: Path, step: int, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {
        "step": step,
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, out / "checkpoint.pt.part")
    (out / "checkpoint.pt.part").replace(out / "checkpoint.pt")


def resume(out: Path, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Take up the checkpoint in `out` if there is one: the step to go on from."""
    path = out / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for module, name in ((net, "net"), (average, "average"), (optimiser, "optimiser")):
        module.load_state_dict(state[name])
    return int(state["step"])


def load_averaged(net: nn.Module, folder: Path, strict: bool = True) -> int:
    """Give a network the averaged weights of a run's checkpoint; the run's steps."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    weights = {k.removeprefix("module."): v for k, v in state["average"].items() if k != "n_averaged"}
    net.load_state_dict(weights, strict=strict)
    return int(state["step"])


def draw_curve(out: Path, names: tuple[str, ...]) -> None:
    """Draw the training log as `curve.png`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for line in (out / "log.jsonl").read_text().splitlines() if "loss" in (row := json.loads(line))]
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3.5), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        axis.plot([row["step"] for row in rows], [row[name] for row in rows])
        axis.set(title=name, xlabel="step")
        axis.grid(alpha=0.3)
    figure.savefig(out / "curve.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
