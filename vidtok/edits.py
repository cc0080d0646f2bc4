"""Edits: the words in which one canvas version tells the next.

A patch is a pan and at most one edit a cell. All of a patch's edits refer to the panned base at once, so their order
does not matter. Every edit, the pan included, is one token to the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vidtok.tokenizer.fsq import CHANNELS, EDGES


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


Edit = Pan | Move | Set | Refine


@dataclass(frozen=True, eq=False)
class Patch:
    """The edits between two versions, as maps over the grid.

    `depth` and `values` count where `kind` is SET or REFINE and are zero elsewhere; `move` (dx, dy in cells) counts
    where `kind` is MOVE.
    """

    pan: Pan
    kind: NDArray[np.uint8]  # (rows, cols)
    depth: NDArray[np.uint8]  # (rows, cols), levels held afterwards
    values: NDArray[np.uint8]  # (rows, cols, CHANNELS)
    move: NDArray[np.int8]  # (rows, cols, 2)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patch):
            return NotImplemented
        pairs = (
            (self.kind, other.kind),
            (self.depth, other.depth),
            (self.values, other.values),
            (self.move, other.move),
        )
        return self.pan == other.pan and all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def tokens(self) -> int:
        """What the model pays: one token an edit."""
        return int(np.count_nonzero(self.kind)) + (self.pan != Pan(0, 0))

    def edits(self, base_depth: NDArray[np.uint8]) -> Iterator[Edit]:
        """The patch as single edits; `base_depth` is the panned base's, which a refinement goes on from."""
        if self.pan != Pan(0, 0):
            yield self.pan
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
