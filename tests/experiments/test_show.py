"""The sheet of a film holds its tiles and its questions, and is written where --out says."""

from __future__ import annotations

from pathlib import Path

import cv2

from experiments.questions.grounds import made_backdrops
from experiments.questions.show import main, sheet
from experiments.questions.worlds import world


def test_a_sheet_has_a_line_for_every_question() -> None:
    film = world(0, "train", made_backdrops(3))
    other = sheet(film).shape
    assert other[2] == 3
    assert other[0] > 17 * len(film.questions) + 400


def test_it_writes_a_picture(tmp_path: Path) -> None:
    path = main(["--seed", "3", "--split", "test", "--out", str(tmp_path)])
    assert path.parent == tmp_path
    assert cv2.imread(str(path)) is not None
