"""Train the gate's network: how long does what a cell shows last, and is something happening there?

    python -m experiments.train_gate --clips DIR --out DIR [--streams N] [--steps N] [--jobs N]

Streams are made of every clip of the folder (`experiments.gate_lessons`), sent at many prices, and kept in `--out`; one
clip in six is held out and teaches nothing. Checkpoints, resumes; ends with gate.onnx, gate.json (the threshold of
waking), the learning curve, the calibration plot and the operating curve, all in `--out`. Copy the first two into
edge_gate/weights to ship them.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from edge_gate.memory import COARSE, inputs
from edge_gate.source import SourceError, open_source
from experiments.export_tokenizer import export_onnx
from experiments.gate_lessons import FADE_S, NONE, USUAL, WHOLE, lesson_of, make_stream
from experiments.pictures import VIDEOS
from experiments.train_tokenizer import averaging, learn, load_averaged
from vidtok.tokenizer.edge import EdgeEncoder, load_info
from vidtok.tokenizer.fsq import LEVELS

WIDTH = 48
SIDE, FILM_FPS, FILM_S = 256, 30.0, 10.0
HELD_OUT = 6  # every so many clips
RARE = 4.0  # what an event's cell counts, against one where nothing happens; the chance is corrected for it
LIKELY = 0.05  # what a cell of a clip that moves by itself counts, against one where nothing happens for certain
LOUD = 0.2  # share of the loss that is about each frame's loudest cell
BATCH = 64
WORTH = 20.0  # what more a cell spares counts no more
AGE = inputs(LEVELS) - COARSE - 7  # where `asked` says how long a cell has been in view
MARGIN = 6  # thresholds above the first at which no control wakes: the held-out ones last ten minutes only
THRESHOLDS = [round(1 - 10 ** (-k / 8), 5) for k in range(1, 33)]


class GateNet(nn.Module):
    """(B, N, rows, cols) -> (B, 2, rows, cols): seconds, and the chance of an event. Sees a cell and its neighbours."""

    mean: Tensor
    scale: Tensor
    range: Tensor

    def __init__(self) -> None:
        super().__init__()
        count = inputs(LEVELS)
        self.register_buffer("mean", torch.zeros(1, count, 1, 1))
        self.register_buffer("scale", torch.ones(1, count, 1, 1))
        self.register_buffer("range", torch.tensor([FADE_S, 1.0]).view(1, 2, 1, 1), persistent=False)
        self.first = nn.Conv2d(count, WIDTH, 1)
        self.around = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 1)
        self.last = nn.Conv2d(WIDTH, 2, 1)

    def raw(self, asked: Tensor) -> Tensor:
        """Before the ranges."""
        x = F.relu(self.first((asked - self.mean) * self.scale))
        x = x + F.relu(self.mix(F.relu(self.around(x))))
        out: Tensor = self.last(x)
        return out

    def forward(self, asked: Tensor) -> Tensor:
        """The verdict."""
        return self.raw(asked).sigmoid() * self.range


# Lessons


def prepare(out: Path, clips: Path, streams: int, jobs: int) -> tuple[list[Path], list[Path]]:
    """The files of lessons to learn from and of those held out, made if they are not there."""
    found = sorted(path for path in clips.rglob("*") if path.suffix.lower() in VIDEOS)
    if not found:
        raise SystemExit(f"--clips {clips}: no videos there")
    folder = out / "lessons"
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(_make, folder=folder, streams=streams)
    with ProcessPoolExecutor(jobs) as pool:
        made = list(tqdm(pool.map(make, found), "lessons", len(found), unit="clip"))
    held = [files for k, files in enumerate(made) if k % HELD_OUT == HELD_OUT - 1]
    kept = [files for k, files in enumerate(made) if k % HELD_OUT != HELD_OUT - 1]
    return list(chain.from_iterable(kept)), list(chain.from_iterable(held))


def _make(path: Path, folder: Path, streams: int) -> list[Path]:
    torch.set_num_threads(1)
    files = [folder / f"{path.name}-{k:03d}.npz" for k in range(streams)]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    if not missing:
        return files
    try:
        with open_source(str(path), size=str(SIDE), fps=FILM_FPS, duration_s=FILM_S) as source:
            film = [frame.pixels for frame in source]
    except SourceError as error:
        tqdm.write(f"left out: {error}")
        return []
    if len(film) < FILM_FPS:
        tqdm.write(f"left out: {path} is shorter than a second")
        return []
    encoder, weights = EdgeEncoder(), load_info().sensitivity
    for k in missing:
        rng = np.random.default_rng([zlib.crc32(path.name.encode()), k])
        stream = make_stream(film, FILM_FPS, rng)
        lesson = lesson_of(stream, encoder, weights, rng)
        part = files[k].with_suffix(".part.npz")
        np.savez(
            part, asked=lesson.asked, gain=lesson.gain.astype(np.float16), lasts=lesson.lasts.astype(np.float16),
            event=lesson.event, kind=stream.kind, fps=stream.fps,
        )  # fmt: skip
        part.rename(files[k])
    return files


class Lessons:
    """Every look of some files, in memory."""

    def __init__(self, files: Sequence[Path]) -> None:
        parts = [np.load(file) for file in files]
        self.asked, self.gain, self.lasts, self.event = (
            np.concatenate([part[name] for part in parts]) for name in ("asked", "gain", "lasts", "event")
        )
        self.stream = np.repeat(np.arange(len(parts)), [len(part["gain"]) for part in parts])
        self.control = np.repeat(
            [str(part["kind"]) == "control" for part in parts], [len(part["gain"]) for part in parts]
        )

    def __len__(self) -> int:
        return len(self.asked)

    def batch(self, chosen: NDArray[np.integer]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """asked, gain, lasts, event of some looks."""
        asked, gain, lasts = (torch.from_numpy(a[chosen]).float() for a in (self.asked, self.gain, self.lasts))
        return asked, gain, lasts, torch.from_numpy(self.event[chosen])


# Learning


def step_loss(net: GateNet, lessons: Lessons, chosen: NDArray[np.integer]) -> tuple[Tensor, dict[str, float]]:
    """Of some looks: how wrong about what lasts, by what it is worth; how wrong about events, each and the loudest."""
    asked, gain, lasts, event = lessons.batch(chosen)
    said = net.raw(asked)
    told = torch.isfinite(lasts) & (gain > 0)
    worth = gain.clamp(max=WORTH) * told
    off = said[:, 0].sigmoid() * FADE_S - torch.nan_to_num(lasts)
    lasting = (off.square() * worth).sum() / worth.sum().clamp(min=1)
    logits, happens = said[:, 1], (event == WHOLE).float()
    sure = happens * RARE + (event == NONE).float() + (event == USUAL).float() * LIKELY
    each = F.binary_cross_entropy_with_logits(
        logits + math.log(RARE), happens, weight=sure, reduction="sum"
    ) / sure.sum().clamp(min=1)
    loudest = [_loudest(logits, event == what) for what in (NONE, WHOLE)]
    loud = F.softplus(loudest[0]).mean() + F.softplus(-loudest[1]).mean()
    loss = lasting / 4 + (1 - LOUD) * each * 10 + LOUD * loud
    return loss, {"loss": loss.item(), "lasting": lasting.item(), "event": each.item(), "loudest": loud.item()}


def _loudest(logits: Tensor, of: Tensor) -> Tensor:
    """The largest of each look that has any; those that have none are left out."""
    most = logits.masked_fill(~of, -torch.inf).flatten(1).max(1).values
    kept: Tensor = most[most.isfinite()]
    return kept if len(kept) else torch.zeros(1)


def train(args: argparse.Namespace, lessons: Lessons) -> GateNet:
    """The network after all steps."""
    net = GateNet()
    torch.manual_seed(args.seed)
    sample = torch.from_numpy(lessons.asked[:: max(1, len(lessons) // 4000)]).float()
    net.mean.copy_(sample.mean((0, 2, 3), keepdim=True))
    net.scale.copy_(1 / sample.std((0, 2, 3), keepdim=True).clamp(min=0.05))
    optimiser = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-3)
    average = averaging(net)

    def one(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([args.seed, step])
        return step_loss(net, lessons, rng.integers(len(lessons), size=BATCH))

    learn(args, args.out, net, optimiser, average, one, ("loss", "lasting", "event", "loudest"))
    load_averaged(net, args.out)
    return net.eval()


# What it has learned


@torch.no_grad()
def verdicts(net: GateNet, lessons: Lessons) -> NDArray[np.float32]:
    """(looks, 2, rows, cols)."""
    parts = [
        net(torch.from_numpy(part).float()).numpy() for part in np.array_split(lessons.asked, len(lessons) // 256 + 1)
    ]
    return np.concatenate(parts)


def examine(net: GateNet, lessons: Lessons) -> dict[str, object]:
    """Figures of held-out streams, and the curves to plot."""
    said = verdicts(net, lessons)
    worth = np.minimum(lessons.gain.astype(np.float32), WORTH) * np.isfinite(lessons.lasts)
    true = np.nan_to_num(lessons.lasts.astype(np.float32))
    error = float((np.square(said[:, 0] - true) * worth).sum() / worth.sum())
    mean = float((true * worth).sum() / worth.sum())
    naive = float((np.square(mean - true) * worth).sum() / worth.sum())
    happens = lessons.event == WHOLE
    sure = happens | (lessons.event == NONE)
    bins = np.clip((said[:, 1] * 10).astype(int), 0, 9)
    calibration = [
        (float(said[:, 1][mine].mean()), float(happens[mine].mean()), int(mine.sum()))
        for b in range(10)
        if (mine := sure & (bins == b)).any()
    ]
    loudest = np.where(lessons.event == NONE, said[:, 1], -1).max((1, 2))
    quiet = lessons.control & old_enough(lessons)  # elsewhere an event's end may be seen late, which is no false wake
    spotted = np.where(happens, said[:, 1], -1).max((1, 2))[happens.any((1, 2))]
    return {
        "looks": len(lessons),
        "lasting_error": error,
        "lasting_error_of_the_mean": naive,
        "calibration": calibration,
        "curve": operating_curve(spotted, loudest[quiet], seconds_of(lessons, quiet)),
    }


def old_enough(lessons: Lessons) -> NDArray[np.bool_]:
    """Looks of the first second know too little of what is usual."""
    since = lessons.asked[:, AGE, 0, 0]
    return np.asarray(since >= np.log1p(1.0))


def seconds_of(lessons: Lessons, looks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for the second of its stream that each of these looks falls into."""
    since = np.expm1(lessons.asked[:, AGE, 0, 0].astype(np.float64))
    return (lessons.stream * 100 + since.astype(int))[looks].astype(np.int64)


def operating_curve(
    spotted: NDArray[np.floating], loudest: NDArray[np.floating], seconds: NDArray[np.int64]
) -> list[dict[str, float]]:
    """Threshold by threshold: the share of an event's first looks that wake, and false wakes an hour of control."""
    hours = max(len(np.unique(seconds)), 1) / 3600
    curve = []
    for threshold in THRESHOLDS:
        false = len(np.unique(seconds[loudest >= threshold])) / hours
        curve.append(
            {
                "threshold": threshold,
                "recall": float((spotted >= threshold).sum() / max(len(spotted), 1)),
                "false_per_h": false,
            }
        )
    return curve


def draw(out: Path, found: dict[str, object]) -> None:
    """calibration.png and waking.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    said, true, count = zip(*found["calibration"], strict=True)  # type: ignore[misc, arg-type]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    left.plot([0, 1], [0, 1], color="0.8")
    left.plot(said, true, marker="o")
    for x, y, n in zip(said, true, count, strict=True):
        left.annotate(f"{n:,}", (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7)
    left.set(title="cells of held-out streams", xlabel="chance of an event, as said", ylabel="share that was one")
    curve: list[dict[str, float]] = found["curve"]  # type: ignore[assignment]
    right.plot([at["false_per_h"] for at in curve], [at["recall"] for at in curve], marker=".")
    right.set_xscale("symlog", linthresh=1)
    right.set(
        title="waking",
        xlabel="false wakes an hour of disturbance",
        ylabel="share of an event's first looks",
        ylim=(0, 1),
    )
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(out / "waking.png", dpi=100)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="a folder of videos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--streams", type=int, default=24, help="made of each clip")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--save-every", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make lessons")
    args = parser.parse_args(argv)
    files, held_out = prepare(args.out, args.clips, args.streams, args.jobs)
    if not held_out:
        raise SystemExit(f"--clips {args.clips}: give at least {HELD_OUT} videos, one in {HELD_OUT} is held out")
    net = train(args, Lessons(files))
    found = examine(net, Lessons(held_out))
    draw(args.out, found)
    curve: list[dict[str, float]] = found["curve"]  # type: ignore[assignment]
    silent = next((k for k, at in enumerate(curve) if at["false_per_h"] == 0), len(curve))
    wake = curve[min(silent + MARGIN, len(curve) - 1)]["threshold"]
    export_onnx(net, args.out / "gate.onnx", ["said"], asked=(1, inputs(LEVELS), 8, 8))
    info = {"wake": wake, "steps": args.steps, "streams": len(files), "held_out": len(held_out)}
    (args.out / "gate.json").write_text(json.dumps(info) + "\n")
    (args.out / "examined.json").write_text(json.dumps(found, indent=1) + "\n")
    kept = [at for at in curve if at["threshold"] == wake]
    print(
        f"lasting: mean square error {found['lasting_error']:.2f}, of the mean {found['lasting_error_of_the_mean']:.2f}"
    )
    print(f"waking at {wake:g}: {kept[0]}")


if __name__ == "__main__":
    main()
