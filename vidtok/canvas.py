"""The canvas: what edge and server both hold. A grid of cells, each with values on the levels known so far, and the
gist: values of the whole frame.

The grid is anchored to the scene. The frame looks at it through a window whose top-left corner stands at `position`
scene pixels, so a frame that R x C cells cover needs R+1 x C+1 of them:

      +----+----+----+        position = (x, y); offset = position mod 32
      | +--|----|--+ |        cell (row, col) covers frame pixels
      +-|--+----+--|-+          32*row - offset_y ... , 32*col - offset_x ...
      | |  frame   | |        with offset 0 the last row and column are out of sight
      +-|--+----+--|-+
      | +--|----|--+ |
      +----+----+----+

Everything here is integers; two canvases with equal fields are the same bytes in any language.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vidtok.tokenizer.fsq import CHANNELS, GIST

CELL = 32
UNIT = 16  # pixels that both sides of a frame are a multiple of
MAX_SIDE = 1920
MAX_POSITION = (1 << 30) - 1

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Grid:
    """The frame's size in pixels and the cells that can be seen of it."""

    width: int
    height: int

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if side % UNIT or not CELL <= side <= MAX_SIDE:
                raise ValueError(f"{name} {side} is not a multiple of {UNIT} between {CELL} and {MAX_SIDE}")

    @property
    def rows(self) -> int:
        """Rows of the canvas, the spare one included."""
        return -(-self.height // CELL) + 1

    @property
    def cols(self) -> int:
        """Columns of the canvas, the spare one included."""
        return -(-self.width // CELL) + 1

    @property
    def frame_cells(self) -> int:
        """Cells of the bare frame: what a dense grid would send."""
        return (self.rows - 1) * (self.cols - 1)


@dataclass(frozen=True, eq=False)
class Canvas:
    """One version of the shared state. Arrays are read-only; edits make new canvases."""

    grid: Grid
    version: int
    position: tuple[int, int]  # (x, y) of the frame's top-left corner in scene pixels
    values: NDArray[np.uint8]  # (rows, cols, CHANNELS), zero on the levels not held
    depth: NDArray[np.uint8]  # (rows, cols), levels held; 0 is a cell never seen
    changed: NDArray[np.uint32]  # (rows, cols), version of the last edit
    gist: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(GIST, np.uint8))  # zero on the levels not held
    gist_depth: int = 0  # levels of it held

    def __post_init__(self) -> None:
        for array in (self.values, self.depth, self.changed, self.gist):
            array.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Canvas):
            return NotImplemented
        mine, theirs = ((c.grid, c.version, c.position, c.gist_depth) for c in (self, other))
        names = ("values", "depth", "changed", "gist")
        return mine == theirs and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names)

    __hash__ = None  # type: ignore[assignment]  # compare canvases; hash them with state_hash()

    @property
    def offset(self) -> tuple[int, int]:
        """(x, y) of the frame within the top-left cell, 0 to 31 pixels."""
        return self.position[0] % CELL, self.position[1] % CELL

    def visible(self) -> NDArray[np.bool_]:
        """(rows, cols): cells of which the frame shows at least one pixel."""
        return visible_cells(self.grid, self.position)

    def state_hash(self) -> int:
        """32 bits over position, gist, depth and values: equal on both ends, or somebody is wrong."""
        head = np.array((*self.position, self.gist_depth), "<i4").tobytes()
        parts = (head, self.gist.tobytes(), self.depth.tobytes(), self.values.tobytes())
        return zlib.crc32(b"".join(parts))

    def panned(self, dx: int, dy: int) -> Canvas:
        """The same scene seen `dx`, `dy` pixels further right and down; cells that come into view are unknown."""
        x, y = self.position[0] + dx, self.position[1] + dy
        if max(abs(x), abs(y)) > MAX_POSITION:
            raise ValueError(f"position {x}, {y} leaves the scene")
        right, down = x // CELL - self.position[0] // CELL, y // CELL - self.position[1] // CELL
        return replace(
            self,
            position=(x, y),
            values=_shift(self.values, down, right),
            depth=_shift(self.depth, down, right),
            changed=_shift(self.changed, down, right),
        )


def blank(grid: Grid) -> Canvas:
    """Version 0: nothing known, frame and grid aligned. Both ends hold it from the start."""
    shape = (grid.rows, grid.cols)
    values = np.zeros((*shape, CHANNELS), np.uint8)
    return Canvas(grid, 0, (0, 0), values, np.zeros(shape, np.uint8), np.zeros(shape, np.uint32))


def visible_cells(grid: Grid, position: tuple[int, int]) -> NDArray[np.bool_]:
    """(rows, cols): cells of the grid of which a frame at `position` shows at least one pixel."""
    seen = np.zeros((grid.rows, grid.cols), bool)
    last_col, last_row = (
        (at % CELL + side - 1) // CELL for at, side in zip(position, (grid.width, grid.height), strict=True)
    )
    seen[: last_row + 1, : last_col + 1] = True
    return seen


def _shift(array: NDArray[T], down: int, right: int) -> NDArray[T]:
    """Drop `down` rows and `right` columns from the top left (negative: from the other side), fill with zero."""
    out = np.zeros_like(array)
    rows, cols = array.shape[:2]
    if abs(down) < rows and abs(right) < cols:
        to = (slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), cols - max(0, right)))
        source = (slice(max(0, down), rows + min(0, down)), slice(max(0, right), cols + min(0, right)))
        out[to] = array[source]
    return out
