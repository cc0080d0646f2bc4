"""The canvas: versions, panning, what is in sight, and the hash that both ends compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vidtok.fakes import generators, grids, offsets, random_canvas
from vidtok.canvas import CELL, MAX_POSITION, Canvas, Grid, blank, visible_cells
from vidtok.tokenizer.fsq import LEVELS

halves = offsets.map(lambda offset: int(offset / 2))  # two of them stay in the scene


def small_canvas() -> Canvas:
    """A canvas that can be written down: the golden hash's."""
    grid = Grid(32, 16)
    depth = np.array([[1, 0, 2], [4, 3, 0]], np.uint8)
    codes = (np.arange(24).reshape(2, 3, LEVELS) * 1361 % 32768) * (np.arange(LEVELS) < depth[..., None])
    return Canvas(grid, 5, (-3, 20), codes.astype(np.uint16), depth, np.zeros((2, 3), np.uint32))


@pytest.mark.parametrize("sides", [(0, 16), (16, 0), (15, 16), (17, 16), (16, 1936), (-16, 16)])
def test_a_grid_refuses_sides_that_are_no_cells(sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        Grid(*sides)


@given(grids)
def test_a_grid_has_one_spare_row_and_column(grid: Grid) -> None:
    assert (grid.rows, grid.cols) == (grid.height // CELL + 1, grid.width // CELL + 1)
    assert grid.frame_cells == (grid.rows - 1) * (grid.cols - 1)
    canvas = blank(grid)
    assert (canvas.version, canvas.position, canvas.offset) == (0, (0, 0), (0, 0))
    assert not canvas.depth.any()
    assert canvas.codes.shape == (grid.rows, grid.cols, LEVELS)
    assert canvas.visible().sum() == grid.frame_cells


@given(grids, offsets, offsets)
def test_a_cell_is_visible_when_the_frame_shows_a_pixel_of_it(grid: Grid, x: int, y: int) -> None:
    shown = np.zeros((grid.rows * CELL, grid.cols * CELL), bool)
    shown[y % CELL : y % CELL + grid.height, x % CELL : x % CELL + grid.width] = True
    cells = shown.reshape(grid.rows, CELL, grid.cols, CELL).any((1, 3))
    assert np.array_equal(visible_cells(grid, (x, y)), cells)


@given(grids, generators, offsets, offsets)
def test_panning_moves_the_window_over_the_scene(grid: Grid, rng: np.random.Generator, dx: int, dy: int) -> None:
    canvas = random_canvas(grid, rng)
    panned = canvas.panned(dx, dy)
    assert panned.position == (canvas.position[0] + dx, canvas.position[1] + dy)
    assert panned.version == canvas.version
    left, top = (place // CELL for place in canvas.position)
    right, down = panned.position[0] // CELL - left, panned.position[1] // CELL - top
    for row in range(min(grid.rows, 6)):
        for col in range(min(grid.cols, 6)):
            known = 0 <= row + down < grid.rows and 0 <= col + right < grid.cols
            depth = canvas.depth[row + down, col + right] if known else 0
            codes = canvas.codes[row + down, col + right] if known else np.zeros(LEVELS)
            assert panned.depth[row, col] == depth
            assert np.array_equal(panned.codes[row, col], codes)


@given(grids, generators, st.tuples(halves, halves), st.tuples(halves, halves))
def test_panned_twice_is_panned_once_where_nothing_was_lost(
    grid: Grid, rng: np.random.Generator, one: tuple[int, int], two: tuple[int, int]
) -> None:
    canvas = random_canvas(grid, rng)
    twice = canvas.panned(*one).panned(*two)
    once = canvas.panned(one[0] + two[0], one[1] + two[1])
    assert twice.position == once.position
    kept = replace(canvas, depth=np.ones_like(canvas.depth)).panned(*one).panned(*two).depth > 0
    assert np.array_equal(twice.codes[kept], once.codes[kept])
    assert np.array_equal(twice.depth[kept], once.depth[kept])
    assert np.array_equal(twice.changed[kept], once.changed[kept])
    assert not twice.depth[~kept].any()


@given(grids, generators, st.integers(-400, 400))
def test_the_way_there_and_back_along_one_axis_forgets_only_what_left(
    grid: Grid, rng: np.random.Generator, dx: int
) -> None:
    canvas = random_canvas(grid, rng)
    back = canvas.panned(dx, 0).panned(-dx, 0)
    assert back.position == canvas.position
    assert ((back.depth == canvas.depth) | (back.depth == 0)).all()


def test_the_scene_has_an_end() -> None:
    canvas = blank(Grid(16, 16))
    assert canvas.panned(MAX_POSITION, -MAX_POSITION).position == (MAX_POSITION, -MAX_POSITION)
    with pytest.raises(ValueError, match="leaves the scene"):
        canvas.panned(MAX_POSITION + 1, 0)
    with pytest.raises(ValueError, match="leaves the scene"):
        canvas.panned(0, -MAX_POSITION - 1)


@given(grids, generators)
def test_equal_canvases_hash_alike_and_ages_do_not_count(grid: Grid, rng: np.random.Generator) -> None:
    canvas = random_canvas(grid, rng)
    older = replace(canvas, version=3, changed=canvas.changed + np.uint32(1))
    assert canvas == replace(canvas, codes=canvas.codes.copy())
    assert canvas != older
    assert canvas.state_hash() == older.state_hash()
    assert 0 <= canvas.state_hash() < 1 << 32


@settings(max_examples=50)
@given(grids, generators)
def test_any_change_of_the_state_changes_the_hash(grid: Grid, rng: np.random.Generator) -> None:
    canvas = random_canvas(grid, rng)
    row, col = int(rng.integers(grid.rows)), int(rng.integers(grid.cols))
    codes, depth = canvas.codes.copy(), canvas.depth.copy()
    codes[row, col, 0] ^= 1
    depth[row, col] ^= 1
    others = (replace(canvas, codes=codes), replace(canvas, depth=depth), canvas.panned(16, 0), canvas.panned(0, 1))
    assert canvas.state_hash() not in {other.state_hash() for other in others}


def test_golden_hashes() -> None:
    assert f"{small_canvas().state_hash():08x}" == "5cbb3541"
    assert f"{blank(Grid(32, 16)).state_hash():08x}" == "1d64a761"
    assert f"{blank(Grid(640, 368)).state_hash():08x}" == "86f449cb"


def test_canvases_are_read_only_and_not_hashable() -> None:
    canvas = blank(Grid(16, 16))
    for array in (canvas.codes, canvas.depth, canvas.changed):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError):
        hash(canvas)
    assert canvas != "a canvas"
