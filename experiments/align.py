"""Teach our tokens to stand for another vision tower's features: a projector, and how good it is.

    python -m experiments.align --clips DIR --out DIR [--learn DIR ...] [--images DIR] [--vision-tower NAME_OR_PATH]
                                [--steps N] [--quick]

    crops --tokenizer--> latents, levels dropped at random --Projector, begun as ridge regression--> the tower's own
    --clips, --images --> the same with projector, mean feature and ridge regression --> rows, intervals over clips

`--vision-tower` is efficientnet-lite0 (the default), a folder with a vision-language model that `hf:` takes, or one
with a vision model. What is learned from is named with --learn; without it, three quarters of the clips are, and what
is reported is of the others. Stopped anywhere, the same command goes on. `projector.safetensors` is what `hf:` takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from edge_gate.source import open_source
from experiments import bench
from experiments.align_baselines import Ridge, predict, ridge
from experiments.align_lessons import Lessons, Tokenizer, held, prepare
from experiments.bench import BenchError, Row, Rows
from experiments.pictures import PICTURES
from experiments.plots import PALETTE, pyplot
from experiments.statistics import INTERVAL, LEAST_CLIPS, means
from experiments.teachers import CELLS, PLAIN, SIDE, Teacher, open_teacher
from experiments.train_tokenizer import GIST_SHARE, averaging, draw_depth, learn, load_averaged
from vidtok.model.projector import Projector, ProjectorConfig, save_projector
from vidtok.tokenizer.fsq import GIST_LEVELS, SEEN_LEVELS

SETTINGS = {  # levels of the cells, of the gist
    "gist": (0, GIST_LEVELS),
    "1 level": (1, 0),
    "1 level, gist": (1, GIST_LEVELS),
    "2 levels, gist": (2, GIST_LEVELS),
    "3 levels, gist": (3, GIST_LEVELS),
    "5 levels": (SEEN_LEVELS, 0),
    "5 levels, gist": (SEEN_LEVELS, GIST_LEVELS),
}
SHIPPED = "vidtok-reader"
QUICK = ("1 level", "5 levels, gist")
SYSTEMS = {
    "vidtok-projector": "one network for all settings, levels dropped at random while it learned",
    "ridge": "ridge regression on the same inputs (3x3 cells, gist), one for each setting",
    SHIPPED: "token head, back half and gist head as they ship: made for this tower alone, trained for hours",
    "mean": "the mean feature of each place, over what is learned from",
}
COLUMNS = ("cosine_places", "cosine_pooled", "explained")
SECONDS = 6.0
STRAIGHT_RATE = 0.1  # of the learning rate: what begins at an optimum must not be thrown out of it
DRAWS = 1000


# Learning


def train(args: argparse.Namespace, lessons: Lessons, teacher: Teacher) -> Projector:
    """Train a projector, or take up where it stopped."""
    torch.manual_seed(args.seed)
    projector = Projector(ProjectorConfig(teacher.dim, teacher.outs, args.width, tower=teacher.name))
    if not (args.out / "checkpoint.pt").exists():
        begin(projector, lessons)
    average = averaging(projector)
    straight = [*projector.linear.parameters(), *projector.whole.parameters()]
    bent = [part for part in projector.parameters() if not any(part is one for one in straight)]
    groups = [{"params": straight, "share": STRAIGHT_RATE}, {"params": bent}]
    optimiser = torch.optim.AdamW(groups, args.rate, weight_decay=1e-3)

    def one(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((args.seed, step))
        return step_loss(projector, lessons, args.batch, rng)

    learn(args, args.out, projector, optimiser, average, one, ("loss", "cosine", "error"))
    load_averaged(projector, args.out)
    return projector.eval().requires_grad_(False)


@torch.no_grad()
def begin(projector: Projector, lessons: Lessons, most: int = 256) -> None:
    """Let a projector begin as the best that is linear in a cell and the gist, in the tower's own mean and spread."""
    target = lessons.batch(slice(0, most))[2].flatten(1, 2)
    shift, scale = target.mean((0, 2, 3)), target.std((0, 2, 3)).clamp_min(1e-4)
    projector.shift[:], projector.scale[:] = shift, scale
    cell, gist, added = ridge(lessons).of_cells_alone()
    projector.linear.weight[:, : len(cell), 0, 0] = (cell / scale).T
    projector.linear.weight[:, len(cell) :] = 0
    projector.linear.bias[:] = (added - shift) / scale
    projector.whole.weight[:, : len(gist)] = (gist / scale).T
    projector.whole.weight[:, len(gist) :] = 0
    projector.narrow.weight.mul_(0.1)
    projector.narrow.bias.zero_()


def step_loss(
    projector: Projector, lessons: Lessons, batch: int, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """One batch's loss and its parts."""
    cells, gist, target = lessons.batch(np.sort(rng.integers(len(lessons), size=batch)))
    depth = draw_depth(batch, CELLS, CELLS, rng)
    gist_depth = torch.from_numpy(rng.choice(GIST_LEVELS + 1, size=batch, p=GIST_SHARE))
    guess = projector(*held(cells, gist, depth, gist_depth))
    mean = projector.shift.reshape(1, *target.shape[1:3], 1, 1)
    error = (guess - target).square().mean() / (target - mean).square().mean()
    places = F.cosine_similarity(guess, target, dim=2).mean()
    pooled = F.cosine_similarity(guess.mean((3, 4)), target.mean((3, 4)), dim=2).mean()
    loss = error + 2 * (1 - places) + 2 * (1 - pooled)
    return loss, {"loss": float(loss.detach()), "cosine": float(places.detach()), "error": float(error.detach())}


# Reporting


def compare(guess: Tensor, true: Tensor, mean: Tensor) -> Row:
    """What is reported of the first output of some pictures (B, dim, 8, 8); `mean` (dim, 8, 8) is what is known blind.

    `explained` is the share of what differs from the mean that is told.
    """
    places = F.cosine_similarity(guess, true, dim=1).mean()
    pooled = F.cosine_similarity(guess.mean((2, 3)), true.mean((2, 3)), dim=1).mean()
    explained = 1 - (guess - true).square().sum() / (true - mean).square().sum().clamp_min(1e-9)
    return dict(zip(COLUMNS, (round(float(n), 6) for n in (places, pooled, explained)), strict=True))


class Judge:
    """Compares everything on pictures that nobody has learned from."""

    def __init__(self, projector: Projector, lessons: Lessons, teacher: Teacher, settings: Sequence[str]) -> None:
        self._projector, self._teacher, self._tokenizer = projector, teacher, Tokenizer()
        self._mean = torch.from_numpy(mean_of(lessons))
        solved: Ridge = ridge(lessons)
        self._ridge = {name: solved.solve(*SETTINGS[name]) for name in tqdm(settings, "ridge, solved")}

    @torch.inference_mode()
    def rows(self, frames: NDArray[np.uint8]) -> list[Row]:
        """Of frames (N, 256, 256, 3): a row for each system and setting."""
        pixels = torch.from_numpy(frames)
        cells, gist = self._tokenizer(pixels)
        true = self._teacher(pixels)
        out = []
        for setting, weights in self._ridge.items():
            levels, gist_levels = SETTINGS[setting]
            depth = torch.full((len(frames), CELLS, CELLS), levels)
            known = held(cells, gist, depth, torch.full((len(frames),), gist_levels))
            found = {
                "vidtok-projector": self._projector(*known),
                "ridge": predict(weights, cells, gist, self._teacher.outs),
                "mean": self._mean[None].expand_as(true),
            }
            if (shipped := self._teacher.shipped(*known)) is not None:
                found[SHIPPED] = shipped
            for system, guess in found.items():
                out.append({"system": system, "setting": setting, **compare(guess[:, 0], true[:, 0], self._mean[0])})
        return out


def mean_of(lessons: Lessons) -> NDArray[np.float32]:
    """The mean of the tower's features at each place, (outs, dim, 8, 8)."""
    total = np.zeros(lessons.target.shape[1:], np.float64)
    for part in np.array_split(np.arange(len(lessons)), -(-len(lessons) // 64)):
        total += lessons.target[part].astype(np.float32).sum(0)
    return (total / len(lessons)).astype(np.float32)


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Means over clips of each system and setting, with 95% intervals over clips drawn with replacement."""
    out = []
    for row in means(rows, COLUMNS):
        values = np.array(
            [[r[c] for c in COLUMNS] for r in rows if (r["system"], r["setting"]) == (row["system"], row["setting"])]
        )
        drawn = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), DRAWS)
        ends = np.percentile(drawn @ values / len(values), INTERVAL, axis=0)
        for column, low, high in zip(COLUMNS, *ends, strict=True):
            sure = len(values) >= LEAST_CLIPS
            row |= {column: round(row[column], 4)}
            row |= {
                f"{column}_{end}": round(float(n), 4) if sure else None for end, n in (("low", low), ("high", high))
            }
        out.append(row)
    return out


def compared(rows: Sequence[Row], ours: str = "vidtok-projector") -> list[Row]:
    """How much better ours is than each other system at each setting, clip by clip, with 95% intervals over clips."""
    of = {(row["system"], row["setting"], row["clip"]): np.array([row[c] for c in COLUMNS]) for row in rows}
    gains = [
        {"system": system, "setting": setting, "clip": clip}
        | dict(zip(COLUMNS, map(float, of[ours, setting, clip] - values), strict=True))
        for (system, setting, clip), values in of.items()
        if system != ours
    ]
    return summarise(gains)


def draw(summary: Sequence[Row], path: Path, tower: str) -> None:
    """A point with its interval for each system and setting."""
    plt = pyplot()
    settings = list(dict.fromkeys(row["setting"] for row in summary))
    figure, axes = plt.subplots(1, len(COLUMNS), figsize=(11, 4.2), layout="constrained")
    for axis, column in zip(axes, COLUMNS, strict=True):
        for number, (system, color) in enumerate(zip(SYSTEMS, ("#c8102e", *PALETTE), strict=False)):
            mine = [row for row in summary if row["system"] == system]
            at = [settings.index(row["setting"]) + 0.15 * (number - 1.5) for row in mine]
            values = [row[column] for row in mine]
            ends = [[abs(row[column] - (row[f"{column}_{end}"] or row[column])) for row in mine]
                    for end in ("low", "high")]  # fmt: skip
            axis.errorbar(at, values, ends, fmt="o", color=color, capsize=3, label=system)
        axis.set(title=column.replace("_", " "), xticks=range(len(settings)))
        axis.set_xticklabels(settings, rotation=40, ha="right")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SYSTEMS), frameon=False)
    figure.suptitle(f"{tower} from our tokens, mean over held-out clips, 95% interval")
    figure.savefig(path, dpi=110)
    plt.close(figure)


# The command


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    bench.one_thread()
    folders, jobs = split(args)
    about = {"tower": args.vision_tower, "learned": f"{args.lessons} crops, {args.steps} steps, seed {args.seed}"}
    rows = Rows(args.out, ("system", "setting", "clip"), about)
    teacher = open_teacher(args.vision_tower)
    lessons = prepare(args.out, folders, args.lessons, teacher, args.seed)
    projector = train(args, lessons, teacher)
    save_projector(projector, args.out / "projector.safetensors")
    settings = [name for name in SETTINGS if not args.quick or name in QUICK]
    systems = [name for name in SYSTEMS if name != SHIPPED or teacher.name == PLAIN]
    keys = [{"system": s, "setting": n, "clip": clip.name} for clip in jobs for n in settings for s in systems]
    if waiting := [clip for clip in jobs if not all(rows.has(**key) for key in keys if key["clip"] == clip.name)]:
        judge = Judge(projector, lessons, teacher, settings)
        for clip in tqdm(waiting, "held out"):
            kind = "picture" if clip.suffix.lower() in PICTURES else "clip"
            rows.add([{**row, "clip": clip.name, "kind": kind, **about} for row in judge.rows(frames_of(clip))])
    tell(args.out, rows.keep(keys), about)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser("align", __doc__)
    parser.add_argument("--vision-tower", default=PLAIN, help=f"{PLAIN}, or a folder with a model of transformers")
    parser.add_argument("--learn", type=Path, nargs="+", help="folders of videos and pictures to learn from")
    parser.add_argument("--images", type=Path, help="folder of pictures to report on as well")
    parser.add_argument("--lessons", type=int, help="crops to learn from (default 2400, with --quick 240)")
    parser.add_argument("--steps", type=int, help="of training (default 2000, with --quick 200)")
    parser.add_argument("--width", type=int, default=256, help="of the projector")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    args = parser.parse_args(argv)
    args.lessons = args.lessons or (240 if args.quick else 2400)
    args.steps = args.steps or (200 if args.quick else 2000)
    return args


def split(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """(what to learn from, clips and pictures to report on)."""
    clips = bench.find_clips(args.clips)
    if args.learn is None:
        if len(clips) < LEAST_CLIPS:
            raise BenchError(f"--clips {args.clips}: one clip cannot be learned from and held out; name more --learn")
        folders, clips = [clip for i, clip in enumerate(clips) if i % 4], clips[::4]
    else:
        folders = args.learn
    pictures: list[Path] = []
    if args.images is not None:
        pictures = sorted(p for p in args.images.rglob("*") if p.suffix.lower() in PICTURES)
        if not pictures:
            raise BenchError(f"--images {args.images}: no picture in it")
    return folders, [*clips, *pictures]


def frames_of(path: Path) -> NDArray[np.uint8]:
    """A frame a second of a clip, or a picture: (N, 256, 256, 3)."""
    if path.suffix.lower() not in PICTURES:
        with open_source(path, size=str(SIDE), fps=1.0, duration_s=SECONDS) as source:
            return np.stack([frame.pixels for frame in source])
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise BenchError(f"--images {path}: not a picture that can be read; take it out of the folder")
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    cut = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA))[None]


def tell(out: Path, rows: Sequence[Row], about: Row) -> None:
    """summary.json, plot and report."""
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("clip", "picture")}
    summary = {kind: summarise(mine) for kind, mine in kinds.items() if mine}
    gains = {kind: compared(mine) for kind, mine in kinds.items() if mine}
    bench.write_json(out / "summary.json", {**about, **summary, "better_than": gains, "machine": bench.machine()})
    draw(summary["clip"], out / "align.png", about["tower"])
    lines = [f"{about['tower']}; learned from {about['learned']}.", "", "![align](align.png)", ""]
    for kind, part in summary.items():
        ends = [f"{c}{end}" for c in COLUMNS for end in ("", "_low", "_high")]
        lines += [f"## {kind}s", "", *bench.table(part, ("system", "setting", "clips", *ends)), ""]
        lines += [f"## {kind}s: the projector less each other system, clip by clip", ""]
        lines += [*bench.table(gains[kind], ("system", "setting", *ends)), ""]
    lines += [f"- `{name}`: {said}." for name, said in SYSTEMS.items()]
    bench.write_report(out, "align: our tokens in the place of a vision tower's features", lines)


if __name__ == "__main__":
    bench.main(run)
