"""Training as a user runs it: a few steps on pictures made here, stopped and resumed, exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import torch


def run(module: str, *args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_it_trains_resumes_and_exports(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(6):
        small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), cv2.resize(small, (96, 72)))
    common = [
        "--images",
        tmp_path / "images",
        "--out",
        tmp_path / "run",
        "--batch",
        "2",
        "--size",
        "64",
        "--short-side",
        "72",
    ]
    first = run("train_tokenizer", *common, "--steps", "2", "--save-every", "1")
    assert first.returncode == 0, first.stderr
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 2
    again = run("train_tokenizer", *common, "--steps", "3", "--save-every", "1")
    assert again.returncode == 0, again.stderr
    assert "2/3" in again.stderr  # it went on, it did not begin again
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 3
    assert (tmp_path / "run" / "curve.png").stat().st_size > 1000
    out = run(
        "export_tokenizer",
        "--checkpoint",
        tmp_path / "run" / "checkpoint.pt",
        "--images",
        tmp_path / "images",
        "--out",
        tmp_path / "w",
        "--batches",
        "1",
    )
    assert out.returncode == 0, out.stderr
    assert {"encoder.onnx", "viewer.onnx", "head.safetensors", "tokenizer.json"} <= {
        p.name for p in (tmp_path / "w").iterdir()
    }


def test_nothing_to_train_on_is_one_line(tmp_path: Path) -> None:
    out = run("train_tokenizer", "--out", tmp_path)
    assert out.returncode != 0
    assert out.stderr.strip() == "nothing to train on: name a folder with --images and/or --clips"
