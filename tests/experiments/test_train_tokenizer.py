"""Training from the command line: a few steps on pictures made here, stopped and resumed, exported, compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from experiments import compare_viewers, export_tokenizer, train_flow, train_pictures, train_tokenizer
from experiments.lessons import Lessons


def run(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *args: str | Path | float) -> None:
    """As its command line would."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, args)])
    module.main()


@pytest.mark.parametrize(
    ("count", "chosen"), [(3, [[0, 2], [4]]), (5, [[0, 1], [2, 3], [4]]), (2048, [[0, 1], [2, 3], [4]])]
)
def test_lessons_are_chosen_from_first_to_last_and_none_twice(count: int, chosen: list[list[int]]) -> None:
    lessons = Lessons(np.zeros((5, 1, 1, 3), np.uint8), {})
    assert [batch.tolist() for batch in lessons.spread(count, 2)] == chosen


def steps_done(folder: Path) -> int:
    return int(torch.load(folder / "checkpoint.pt", weights_only=True)["step"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what torch's exporter says of itself is no error of ours
def test_all_parts_train_resume_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    images, out, shipped = (tmp_path / name for name in ("images", "run", "weights"))
    images.mkdir()
    for number in range(6):
        small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{number}.png"), cv2.resize(small, (96, 72)))
    common = ("--out", out, "--batch", 2, "--save-every", 1)
    for module, folder, more, other in (
        (train_tokenizer, out, ("--images", images, "--lessons", 6), ("--without", "smoothness")),
        (train_pictures, out / "pictures", (), ("--adversary", 0.1)),
        (train_flow, out / "flow", (), ()),
    ):
        for steps, varied in ((2, ()), (3, other)):
            run(monkeypatch, module, *common, *more, *varied, "--steps", steps)
            assert steps_done(folder) == steps
        assert "2/3" in capsys.readouterr().err  # it went on, it did not begin again
        assert (folder / "curve.png").stat().st_size > 1000
    for module in (export_tokenizer, compare_viewers):
        monkeypatch.setattr(module, "SIDE", 64)  # what is measured then takes any size
    run(monkeypatch, export_tokenizer, "--run", out, "--images", images, "--out", shipped, "--batches", 1)
    run(monkeypatch, compare_viewers, "--runs", out, "--images", images, "--out", tmp_path / "viewers.json")
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


def test_nothing_to_train_on_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"\Anothing to learn from: name a folder with --images and/or --clips\Z"):
        run(monkeypatch, train_tokenizer, "--out", tmp_path)
