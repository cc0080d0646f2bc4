"""Tokens on the object, counted right; a scene whose only news is the object."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from experiments import where_it_looks
from experiments.bench import BenchError
from vidtok.canvas import Grid


def test_a_cell_counts_by_how_much_of_it_the_object_covers() -> None:
    mask = np.zeros((64, 96), bool)
    mask[:32, 16:48] = True
    assert where_it_looks.covered(mask, (0, 0), Grid(96, 64))[0].tolist() == [0.5, 0.5, 0, 0]
    assert where_it_looks.covered(mask, (16, 0), Grid(96, 64))[0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("boxes", [False, True])
def test_tokens_fall_on_what_moves(boxes: bool, tmp_path: Path) -> None:
    folder, out = tmp_path / "truth" / "ball", tmp_path / "out"
    for name in ("frames", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(60, 190, (8, 12, 3), np.uint8), (192, 128))
    rows = []
    for k in range(24):
        picture, mask = wall.copy(), np.zeros((128, 192), np.uint8)
        place = np.s_[40:72, 10 + 6 * k : 42 + 6 * k]
        picture[place], mask[place] = (250, 30, 30), 255
        rows.append(f"{10 + 6 * k},40,32,32")
        cv2.imwrite(str(folder / "frames" / f"{k:03d}.png"), picture)
        cv2.imwrite(str(folder / "masks" / f"{k:03d}.png"), mask)
    if boxes:
        for path in (folder / "masks").iterdir():
            path.unlink()
        (folder / "masks").rmdir()
        (folder / "groundtruth_rect.txt").write_text("\n".join(rows))
    where_it_looks.run(["--truth", str(tmp_path / "truth"), "--out", str(out), "--quick"])
    found = json.loads((out / "results.json").read_text())
    assert [row["system"] for row in found] == list(where_it_looks.GATES)
    assert all(row["area"] == pytest.approx(32 * 32 / (128 * 192), abs=1e-3) for row in found)
    assert all(row["lift"] > 2 for row in found)


def test_what_is_no_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no folders"):
        where_it_looks.run(["--truth", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    (tmp_path / "truth" / "thing").mkdir(parents=True)
    with pytest.raises(BenchError, match="neither frames"):
        where_it_looks.run(["--truth", str(tmp_path / "truth"), "--out", str(tmp_path / "out")])
