"""Turn a run of the student into what ships: an `encoder.onnx` and a `gist.onnx` of its own, in 8-bit integers.

    python -m experiments.export_student --run runs/student --images DIR --out vidtok/weights/student

Ranges are calibrated on photographs, but for the picture's, whose 256 values the integers hold exactly. What gives the
latents stays in floats. Says how many values equal the float network's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.export_tokenizer import calibration, export_onnx, pack, through, to_integers
from experiments.pictures import load_images
from experiments.student import FRONTS
from experiments.train_student import Pupil
from experiments.train_tokenizer import load_averaged
from vidtok.model.tower import FEATURES
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.fsq import quantise

FLOATS = ("squeeze/linear", "squeeze/narrow", "squeeze/mix", "detail/told", "detail/narrow")
PIXELS = {"scale": np.array(1 / 128, np.float32), "zero_point": np.array(127, np.uint8)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.export_student", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/student"), help="folder of the training run")
    parser.add_argument("--images", type=Path, required=True, help="photographs to calibrate with")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "student")
    parser.add_argument("--front", choices=FRONTS, default="dense", help="as it was trained")
    parser.add_argument("--floats", action="store_true", help="no integers at all, to compare with")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pupil = Pupil(args.front)
    steps = load_averaged(pupil, args.run)
    pupil.eval()
    samples = [{"picture": x.numpy()} for x in calibration(load_images(args.images, 320))]
    cells, gist = args.out / "encoder.onnx", args.out / "gist.onnx"
    features = ship(pupil.student, cells, ["latents", "features"], samples, args.floats, picture=(1, 3, 64, 64))
    ship(pupil.gist, gist, ["latents"], features, args.floats, features=(1, FEATURES, 4, 4))
    if not args.floats:
        pack(gist)
    print(f"wrote {cells} and {gist}, {steps} steps")


def slow(names: list[str]) -> list[str]:
    """The layers that stay in floats: those that give the latents, and the tower's that integers do not speed up."""
    tower = [name for name in names if "/stages." in name and "project" not in name]
    return tower + [name for name in names if any(part in name for part in FLOATS)]


def ship(
    network: nn.Module,
    path: Path,
    outputs: list[str],
    samples: list[dict[str, np.ndarray]],
    floats: bool,
    **example: tuple[int, ...],
) -> list[dict[str, np.ndarray]]:
    """Write a network; what its last output is for the samples."""
    export_onnx(network, path, outputs, **example)
    exact = through(path, outputs[0], samples)
    if not floats:
        ranges = {"picture": [PIXELS]} if "picture" in example else {}
        to_integers(path, samples, slow, ranges)
    got = through(path, outputs[0], samples)
    same = [np.mean(quantise(a[outputs[0]]) == quantise(b[outputs[0]])) for a, b in zip(got, exact, strict=True)]
    print(f"{path.name}: {path.stat().st_size:,} bytes, {np.mean(same):.1%} of values equal the float network's")
    return through(path, outputs[-1], samples)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
