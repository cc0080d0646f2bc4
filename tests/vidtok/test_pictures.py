"""What people are shown of the gate's choices."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_gate.budget import Why
from vidtok.live.pictures import OUTLINES, jpeg, outlined


@pytest.mark.parametrize("why", list(Why))
def test_a_cell_is_outlined_in_the_colour_of_what_became_of_it(why: Why) -> None:
    grid = np.full((3, 3), Why.NOTHING_NEW, np.uint8)
    grid[1, 1] = why
    picture = np.zeros((64, 64, 3), np.uint8)
    shown = outlined(picture, grid, (8, 4), 32)
    lit = shown.any(-1)
    assert lit.any() == (why in OUTLINES)
    assert not picture.any()
    if lit.any():
        rows, cols = np.nonzero(lit)
        assert (rows.min(), rows.max(), cols.min(), cols.max()) == (29, 58, 25, 54)
        assert {tuple(colour) for colour in shown[lit].tolist()} == {OUTLINES[why]}


def test_a_jpeg_keeps_size_and_colours() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 250, 20, 10
    back = cv2.imdecode(np.frombuffer(jpeg(picture), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert back.shape == picture.shape
    assert int(np.abs(back.astype(int) - picture)[:, 4:24].max()) < 12
