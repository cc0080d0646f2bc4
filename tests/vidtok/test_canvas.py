"""The canvas: versions, panning, what is in sight, and the hash that both ends compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vidtok.fakes import generators, grids, offsets, random_canvas
from vidtok.canvas import CELL, MAX_POSITION, UNIT, Canvas, Grid, blank, visible_cells
from vidtok.tokenizer.fsq import CHANNELS, GIST, GIST_EDGES, VALUES, known

halves = offsets.map(lambda offset: int(offset / 2))  # two of them stay in the scene


def small_canvas() -> Canvas:
    """A canvas that can be written down, but for its gist: the golden hash's."""
    grid = Grid(64, 32)
    depth = np.array([[1, 0, 2], [6, 5, 3]], np.uint8)
    values = np.arange(6 * CHANNELS).reshape(2, 3, CHANNELS) * 1361 // 32 % VALUES * known(depth)
    return Canvas(grid, 5, (-3, 20), values.astype(np.uint8), depth, np.zeros((2, 3), np.uint32))


@pytest.mark.parametrize(
    "sides", [(0, 32), (32, 0), (16, 32), (32, 16), (40, 32), (47, 48), (48, 49), (32, 1936), (-32, 32)]
)
def test_a_grid_refuses_sides_that_are_no_units_or_too_short_or_long(sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        Grid(*sides)


@given(grids)
def test_a_grid_has_one_spare_row_and_column(grid: Grid) -> None:
    for cells, side in ((grid.rows, grid.height), (grid.cols, grid.width)):
        assert 0 <= (cells - 1) * CELL - side <= CELL - UNIT  # the last but the spare one may reach out of the frame
    assert grid.frame_cells == (grid.rows - 1) * (grid.cols - 1)
    canvas = blank(grid)
    assert (canvas.version, canvas.position, canvas.offset) == (0, (0, 0), (0, 0))
    assert not canvas.depth.any()
    assert (canvas.gist_depth, canvas.gist.tolist()) == (0, [0] * GIST)
    assert canvas.values.shape == (grid.rows, grid.cols, CHANNELS)
    assert canvas.visible().sum() == grid.frame_cells
    assert canvas.visible()[:-1, :-1].all()


@pytest.mark.parametrize(
    ("size", "rows", "cols"),
    [((32, 32), 2, 2), ((48, 80), 4, 3), ((1280, 720), 24, 41), ((368, 640), 21, 13), ((1920, 1088), 35, 61)],
)
def test_how_many_cells_a_frame_needs(size: tuple[int, int], rows: int, cols: int) -> None:
    grid = Grid(*size)
    assert (grid.rows, grid.cols, grid.frame_cells) == (rows, cols, (rows - 1) * (cols - 1))


@pytest.mark.parametrize("size", [(48, 80), (1280, 720), (368, 640)])
def test_a_side_with_half_a_cell_shows_its_spare_cells_only_from_further_than_half_a_cell_on(
    size: tuple[int, int],
) -> None:
    grid = Grid(*size)
    for offset in range(CELL):
        seen = visible_cells(grid, (offset, offset - 5 * CELL))
        spare = [offset > (CELL - side % CELL if side % CELL else 0) for side in size]
        assert [seen[:, -1].any(), seen[-1].any()] == spare
        assert seen[:-1, :-1].all()


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
    assert panned.gist_depth == canvas.gist_depth
    assert np.array_equal(panned.gist, canvas.gist)
    left, top = (place // CELL for place in canvas.position)
    right, down = panned.position[0] // CELL - left, panned.position[1] // CELL - top
    for row in range(min(grid.rows, 6)):
        for col in range(min(grid.cols, 6)):
            inside = 0 <= row + down < grid.rows and 0 <= col + right < grid.cols
            depth = canvas.depth[row + down, col + right] if inside else 0
            values = canvas.values[row + down, col + right] if inside else np.zeros(CHANNELS)
            assert panned.depth[row, col] == depth
            assert np.array_equal(panned.values[row, col], values)


@given(grids, generators, st.tuples(halves, halves), st.tuples(halves, halves))
def test_panned_twice_is_panned_once_where_nothing_was_lost(
    grid: Grid, rng: np.random.Generator, one: tuple[int, int], two: tuple[int, int]
) -> None:
    canvas = random_canvas(grid, rng)
    twice = canvas.panned(*one).panned(*two)
    once = canvas.panned(one[0] + two[0], one[1] + two[1])
    assert twice.position == once.position
    kept = replace(canvas, depth=np.ones_like(canvas.depth)).panned(*one).panned(*two).depth > 0
    assert np.array_equal(twice.values[kept], once.values[kept])
    assert np.array_equal(twice.depth[kept], once.depth[kept])
    assert np.array_equal(twice.changed[kept], once.changed[kept])
    assert not twice.depth[~kept].any()


@given(grids, generators, st.integers(-800, 800))
def test_the_way_there_and_back_along_one_axis_forgets_only_what_left(
    grid: Grid, rng: np.random.Generator, dx: int
) -> None:
    canvas = random_canvas(grid, rng)
    back = canvas.panned(dx, 0).panned(-dx, 0)
    assert back.position == canvas.position
    assert ((back.depth == canvas.depth) | (back.depth == 0)).all()


def test_the_scene_has_an_end() -> None:
    canvas = blank(Grid(32, 32))
    assert canvas.panned(MAX_POSITION, -MAX_POSITION).position == (MAX_POSITION, -MAX_POSITION)
    with pytest.raises(ValueError, match="leaves the scene"):
        canvas.panned(MAX_POSITION + 1, 0)
    with pytest.raises(ValueError, match="leaves the scene"):
        canvas.panned(0, -MAX_POSITION - 1)


@given(grids, generators)
def test_equal_canvases_hash_alike_and_ages_do_not_count(grid: Grid, rng: np.random.Generator) -> None:
    canvas = random_canvas(grid, rng)
    older = replace(canvas, version=3, changed=canvas.changed + np.uint32(1))
    assert canvas == replace(canvas, values=canvas.values.copy(), gist=canvas.gist.copy())
    assert canvas != older
    assert canvas.state_hash() == older.state_hash()
    assert 0 <= canvas.state_hash() < 1 << 32


@settings(max_examples=50)
@given(grids, generators)
def test_any_change_of_the_state_changes_the_hash(grid: Grid, rng: np.random.Generator) -> None:
    canvas = random_canvas(grid, rng)
    row, col = int(rng.integers(grid.rows)), int(rng.integers(grid.cols))
    values, depth, gist = canvas.values.copy(), canvas.depth.copy(), canvas.gist.copy()
    values[row, col, rng.integers(CHANNELS)] ^= 1
    depth[row, col] ^= 1
    gist[rng.integers(GIST)] ^= 1
    changes = ({"values": values}, {"depth": depth}, {"gist": gist}, {"gist_depth": canvas.gist_depth ^ 1})
    others = (*(replace(canvas, **change) for change in changes), canvas.panned(CELL, 0), canvas.panned(0, 1))
    assert canvas.state_hash() not in {other.state_hash() for other in others}
    assert canvas not in others


def test_golden_hashes() -> None:
    for depth, expected in enumerate(("24fce40e", "3c51465c", "88621d85", "03de5259", "2b08d31f", "08dc1ceb")):
        gist = np.zeros(GIST, np.uint8)
        gist[: GIST_EDGES[depth]] = np.arange(GIST_EDGES[depth]) * 5 // 3 % VALUES
        assert f"{replace(small_canvas(), gist=gist, gist_depth=depth).state_hash():08x}" == expected
    assert f"{blank(Grid(64, 32)).state_hash():08x}" == "da7d73a2"
    assert f"{blank(Grid(640, 368)).state_hash():08x}" == "978bc807"


def test_canvases_are_read_only_and_not_hashable() -> None:
    canvas = blank(Grid(32, 32))
    for array in (canvas.values, canvas.depth, canvas.changed, canvas.gist):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError):
        hash(canvas)
    assert canvas != "a canvas"
