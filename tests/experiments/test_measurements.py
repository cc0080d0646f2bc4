"""The measurements as a user runs them: rows with the contract's columns, plots, and a second run that goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest


def run(module: str, *args: str | Path) -> None:
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, args)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert out.returncode == 0, out.stderr


@pytest.mark.slow
def test_codec_gains_writes_rows_and_keeps_what_is_finished(tmp_path: Path) -> None:
    run("codec_gains", "--out", tmp_path, "--quick", "--size", "64")
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {"system", "setting", "clip", "kbps", "tokens_per_s", "feature_cosine_tokens"} <= set(rows[0])
    assert len(rows) == 4 * 4
    summary = (tmp_path / "summary.json").read_text()
    assert json.loads(summary)["keyframe_bits_per_cell"]["1 levels"]["raw"] == 3 * 6
    assert 0 <= json.loads(summary)["entropy_coder"]["bits_over_ideal_a_payload"] < 10
    (tmp_path / "results.json").write_text(json.dumps(rows[:-1]))
    run("codec_gains", "--out", tmp_path, "--quick", "--size", "64")
    assert json.loads((tmp_path / "results.json").read_text()) == rows
    assert (tmp_path / "summary.json").read_text() == summary
    assert (tmp_path / "gains.png").stat().st_size > 1000


def test_tokenizer_quality_measures_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    small = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    for number, picture in enumerate(small):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), cv2.resize(picture, (96, 96)))
    run("tokenizer_quality", "--images", tmp_path / "pictures", "--out", tmp_path / "out", "--size", "64")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["setting"] for row in rows] == [f"{n} levels{gist}" for n in range(7) for gist in ("", ", gist")]
    assert all(row["codes_equal_onnx"] >= 0.8 for row in rows)  # the edge computes in 8-bit integers
