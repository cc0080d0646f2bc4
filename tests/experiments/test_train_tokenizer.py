"""Training as a user runs it: a few steps on pictures made here, stopped and resumed, exported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch


def run(module: str, *args: str | Path | int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def steps_done(folder: Path) -> int:
    return int(torch.load(folder / "checkpoint.pt", weights_only=True)["step"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_parts_train_resume_and_export(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, out, shipped = (tmp_path / name for name in ("images", "run", "weights"))
    images.mkdir()
    for number in range(6):
        small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{number}.png"), cv2.resize(small, (96, 72)))
    common = ("--out", out, "--batch", 2, "--save-every", 1)
    for module, folder, more, other in (
        ("train_tokenizer", out, ("--images", images, "--lessons", 6), ("--without", "smoothness")),
        ("train_pictures", out / "pictures", (), ("--adversary", 0.1)),
        ("train_flow", out / "flow", (), ()),
    ):
        for steps, varied in ((2, ()), (3, other)):
            trained = run(module, *common, *more, *varied, "--steps", steps)
            assert trained.returncode == 0, trained.stderr
            assert steps_done(folder) == steps
        assert "2/3" in trained.stderr  # it went on, it did not begin again
        assert (folder / "curve.png").stat().st_size > 1000
    exported = run("export_tokenizer", "--run", out, "--images", images, "--out", shipped, "--batches", 1)
    assert exported.returncode == 0, exported.stderr
    compared = run("compare_viewers", "--runs", out, "--images", images, "--out", tmp_path / "viewers.json")
    assert compared.returncode == 0, compared.stderr
    rows = json.loads((tmp_path / "viewers.json").read_text())
    assert {row["way"] for row in rows} == {"viewer", "flow, 1 step", "flow, 4 steps"}
    written = {path.name for path in shipped.iterdir()}
    parts = {f"{name}.safetensors" for name in ("encoder", "gist", "head", "gist_head", "viewer")}
    assert written == parts | {
        "encoder.onnx",
        "gist.onnx",
        "viewer.onnx",
        "tokenizer.json",
    }  # nothing half-made is left


def test_nothing_to_train_on_is_one_line(tmp_path: Path) -> None:
    out = run("train_tokenizer", "--out", tmp_path)
    assert out.returncode != 0
    assert out.stderr.strip() == "nothing to learn from: name a folder with --images and/or --clips"
