"""What people are shown of the gate's choices."""

from __future__ import annotations

import numpy as np
import pytest

from edge_gate.budget import Why
from vidtok.live.pictures import OUTLINES, outlined


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
