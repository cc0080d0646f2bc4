"""Edits: the words in which one canvas version tells the next.

A patch is a pan, at most one edit a cell, and perhaps a new gist. All of a patch's edits refer to the panned base at
once, so their order does not matter. Every edit, pan and gist included, is one token to the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, GIST_EDGES


class Kind(IntEnum):
    """What happens to a cell in a patch."""

    KEEP = 0
    MOVE = 1
    SET = 2
    REFINE = 3


@dataclass(frozen=True)
class Pan:
    """The camera moved: the frame now stands `dx`, `dy` pixels further right and down in the scene."""

    dx: int
    dy: int


@dataclass(frozen=True)
class Move:
    """Cell (row, col) shows what stood `dx`, `dy` cells away in the panned base, on all levels held there."""

    row: int
    col: int
    dx: int
    dy: int


@dataclass(frozen=True)
class Set:
    """Cell (row, col) is news: its values from the first level on; further levels are forgotten."""

    row: int
    col: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Refine:
    """Cell (row, col) shows the same: values for the levels after those held."""

    row: int
    col: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Gist:
    """What the whole frame shows: its values from the first level on; levels after those told stay as they were."""

    values: tuple[int, ...]


Edit = Pan | Move | Set | Refine | Gist


@dataclass(frozen=True, eq=False)
class Patch:
    """The edits between two versions, as maps over the grid, and the gist.

    `depth` and `values` count where `kind` is SET or REFINE and are zero elsewhere; `move` (dx, dy in cells) counts
    where `kind` is MOVE.
    """

    pan: Pan
    kind: NDArray[np.uint8]  # (rows, cols)
    depth: NDArray[np.uint8]  # (rows, cols), levels held afterwards
    values: NDArray[np.uint8]  # (rows, cols, CHANNELS)
    move: NDArray[np.int8]  # (rows, cols, 2)
    gist: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(GIST, np.uint8))  # zero after the levels told
    gist_depth: int = 0  # levels of the gist told

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patch):
            return NotImplemented
        names = ("kind", "depth", "values", "move", "gist")
        same = (self.pan, self.gist_depth) == (other.pan, other.gist_depth)
        return same and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names)

    __hash__ = None  # type: ignore[assignment]

    @property
    def tokens(self) -> int:
        """What the model pays: one token an edit."""
        return int(np.count_nonzero(self.kind)) + (self.pan != Pan(0, 0)) + (self.gist_depth > 0)

    def edits(self, base_depth: NDArray[np.uint8]) -> Iterator[Edit]:
        """The patch as single edits; `base_depth` is the panned base's, which a refinement goes on from."""
        if self.pan != Pan(0, 0):
            yield self.pan
        if self.gist_depth:
            yield Gist(tuple(map(int, self.gist[: GIST_EDGES[self.gist_depth]])))
        for row, col in np.argwhere(self.kind):
            match self.kind[row, col]:
                case Kind.MOVE:
                    yield Move(int(row), int(col), int(self.move[row, col, 0]), int(self.move[row, col, 1]))
                case Kind.SET:
                    yield Set(int(row), int(col), self._values(row, col, 0))
                case _:
                    yield Refine(int(row), int(col), self._values(row, col, int(base_depth[row, col])))

    def _values(self, row: int, col: int, first: int) -> tuple[int, ...]:
        told = self.values[row, col, EDGES[first] : EDGES[self.depth[row, col]]]
        return tuple(map(int, told))


def no_edits(rows: int, cols: int, pan: Pan = Pan(0, 0)) -> Patch:
    """A patch that keeps every cell, with arrays of its own to write into."""
    shape = (rows, cols)
    maps = (np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    return Patch(pan, *maps, np.zeros((*shape, CHANNELS), np.uint8), np.zeros((*shape, 2), np.int8))
