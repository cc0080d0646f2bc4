"""The payload: a patch as bytes, given the base canvas that both ends hold. Each payload decodes alone.

    pan dx, pan dy | levels of the gist [how much of it changes, its values] | density class
    for each visible cell, row by row:
        edited?  [operation  [move x, move y] | [the values of the levels told]]

One range coder runs through all of it; which table codes what is in SHAPES of `vidtok/entropy.py`. Contexts come from
the panned base and from what this payload has already told (cells left and above), never from anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidtok.canvas import MAX_POSITION, Canvas
from vidtok.codec import MOVE_REACH, patch, told_values
from vidtok.edits import Kind, Pan, Patch, no_edits
from vidtok.entropy import (
    MOVE_SPAN,
    NEIGHBOURS,
    NO_VALUE,
    OPERATIONS,
    PAN_ESCAPE,
    TURNS,
    RangeDecoder,
    RangeEncoder,
    Symbols,
    Tables,
    symbols,
)
from vidtok.errors import PayloadError
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST_EDGES, LEVELS, VALUES, known

TURN_SHARES = (10, 25, 50)  # per cent of the gist's held values that change, where the next class begins
OUT_OF_REACH = np.float32(1e6)  # bits
PAN_RAW_BITS = 32  # as far as from one end of the scene to the other, zigzagged


def encode_payload(base: Canvas, edits: Patch, tables: Tables, after: Canvas | None = None) -> bytes:
    """A patch as bytes. The base must be the one it was made against; `after`, if already known, what it leads to."""
    coder = RangeEncoder()
    for number in (edits.pan.dx, edits.pan.dy):
        _encode_pan(coder, number, tables)
    coder.encode(tables.intervals[patch_symbols(base, edits, tables, after)].tolist())
    return coder.finish()


def patch_symbols(base: Canvas, edits: Patch, tables: Tables, after: Canvas | None = None) -> Symbols:
    """Everything but the pan, in the order it is coded: also what the tables are counted from."""
    before = base.panned(edits.pan.dx, edits.pan.dy)
    edited = edits.kind > 0
    visible = before.visible()
    if (edited & ~visible).any():
        raise ValueError("an edit of a cell that the frame does not show")
    around, unknown, hit = _edited_around(edited)[visible], before.depth[visible] == 0, edited[visible]
    density = _cheapest_density(around, unknown, hit, tables)
    kind, depth = (array[edited].astype(np.int64) for array in (edits.kind, edits.depth))
    operation = np.where(kind == Kind.MOVE, 0, np.where(kind == Kind.SET, depth, LEVELS + depth))
    move = edits.move[edited][kind == Kind.MOVE].astype(np.int64) + MOVE_REACH
    contexts = _value_contexts(before, after or patch(base, edits, 0))[edited]
    told = told_values(edits, before)[edited]
    turn = np.flatnonzero(hit)
    parts = [  # of each cell, in this order
        (np.arange(len(hit)), symbols("edited", (density * 16 + around) * 2 + unknown, hit)),
        (
            turn,
            symbols("operation", before.depth[edited] * (OPERATIONS + 1) + _before(operation, OPERATIONS), operation),
        ),
        *(
            (turn[kind == Kind.MOVE], symbols(f"move_{axis}", _before(line, MOVE_SPAN), line))
            for axis, line in zip("xy", move.T, strict=True)
        ),
        (np.repeat(turn, told.sum(1)), symbols("value", contexts[told], edits.values[edited][told])),
    ]
    order = np.argsort(np.concatenate([cells for cells, _ in parts]), kind="stable")
    of_cells = np.concatenate([coded for _, coded in parts])[order]
    return np.concatenate([*_gist_symbols(base, edits), symbols("density", 0, density), of_cells])


def _before(line: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """What stands before each number of a line."""
    return np.concatenate([[first], line[:-1]]) if len(line) else line


def decode_payload(base: Canvas, payload: bytes, tables: Tables) -> Patch:
    """Bytes to the patch they tell; PayloadError for bytes that tell none."""
    decoder = RangeDecoder(payload)
    dx, dy = (_decode_pan(decoder, tables) for _ in range(2))
    if max(abs(base.position[0] + dx), abs(base.position[1] + dy)) > MAX_POSITION:
        raise PayloadError(f"pan by {dx}, {dy} leaves the scene")
    before = base.panned(dx, dy)
    rows, cols = before.depth.shape
    edits = _decode_gist(decoder, base, no_edits(rows, cols, Pan(dx, dy)), tables)
    _Cells(decoder, before, edits, tables).decode()
    decoder.finish()
    return edits


def _gist_symbols(base: Canvas, edits: Patch) -> Iterator[Symbols]:
    yield symbols("gist", base.gist_depth, edits.gist_depth)
    if edits.gist_depth:
        told = GIST_EDGES[edits.gist_depth]
        both = min(told, GIST_EDGES[base.gist_depth])
        changed = int(np.count_nonzero(base.gist[:both] != edits.gist[:both]))
        turn = sum(100 * changed >= share * both for share in TURN_SHARES) if both else TURNS - 1
        yield symbols("turn", 0, turn)
        yield symbols("gist_value", gist_contexts(base)[turn, :told], edits.gist[:told])


def gist_contexts(base: Canvas) -> NDArray[np.int64]:
    """(TURNS, GIST): the flattened context of every value of the gist, in each class of change."""
    held = np.full(base.gist.size, NO_VALUE)
    held[: GIST_EDGES[base.gist_depth]] = base.gist[: GIST_EDGES[base.gist_depth]]
    return (np.arange(held.size) * TURNS + np.arange(TURNS)[:, None]) * (VALUES + 1) + held


def gist_costs(base: Canvas, values: NDArray[np.uint8], tables: Tables) -> tuple[NDArray[np.float32], ...]:
    """(TURNS, GIST) bits of telling each value of the gist, and of repeating the held one (if any is)."""
    costs = tables.costs["gist_value"].reshape(-1, VALUES)
    contexts = gist_contexts(base)
    kept = costs[contexts, base.gist]
    kept[:, GIST_EDGES[base.gist_depth] :] = OUT_OF_REACH
    return costs[contexts, values], kept


def _decode_gist(decoder: RangeDecoder, base: Canvas, edits: Patch, tables: Tables) -> Patch:
    depth = decoder.decode(tables.lists["gist"][base.gist_depth])
    if depth:
        contexts = gist_contexts(base)[decoder.decode(tables.lists["turn"][0])]
        table = tables.lists["gist_value"]
        told = GIST_EDGES[depth]
        edits.gist[:told] = decoder.run(table[context] for context in contexts[:told].tolist())
    return replace(edits, gist_depth=depth)


class _Cells:
    """Decodes the cells of one payload; plain lists inside, since every symbol waits for the one before."""

    def __init__(self, decoder: RangeDecoder, before: Canvas, edits: Patch, tables: Tables) -> None:
        self.decoder, self.read = decoder, decoder.decode
        self.tables, self.edits, self.before = tables.lists, edits, before
        self.rows, self.cols = before.depth.shape
        self.depth = before.depth.ravel().tolist()  # as told so far
        self.held = before.depth.ravel().tolist()  # as in the base
        self.values = before.values.reshape(-1, CHANNELS).tolist()  # as told so far
        self.last, self.last_move = OPERATIONS, (MOVE_SPAN, MOVE_SPAN)  # what the next one's contexts are

    def decode(self) -> None:
        density = self.read(self.tables["density"][0])
        cols = self.cols
        edited = [0] * ((self.rows + 1) * (cols + 2))  # a margin above and on both sides
        table = self.tables["edited"]
        for row, col in np.argwhere(self.before.visible()).tolist():
            place = (row + 1) * (cols + 2) + col + 1
            above = place - cols - 2
            around = edited[place - 1] * 8 + edited[above - 1] * 4 + edited[above] * 2 + edited[above + 1]
            cell = row * cols + col
            if self.read(table[(density * 16 + around) * 2 + (self.held[cell] == 0)]):
                edited[place] = 1
                self._cell(row, col, cell)

    def _cell(self, row: int, col: int, cell: int) -> None:
        held = self.held[cell]
        symbol = self.read(self.tables["operation"][held * (OPERATIONS + 1) + self.last])
        self.last = symbol
        if symbol == 0:
            self._move(row, col, cell)
            return
        kind = Kind.SET if symbol <= LEVELS else Kind.REFINE
        first, depth = (0, symbol) if kind == Kind.SET else (held, symbol - LEVELS)
        if kind == Kind.REFINE and not 0 < held < depth:
            raise PayloadError(f"cell {row},{col} is refined to level {depth} with {held} held")
        values = self._values(row, col, cell, first, depth)
        edits = self.edits
        edits.kind[row, col], edits.depth[row, col] = kind, depth
        edits.values[row, col, EDGES[first] : EDGES[depth]] = values
        self.depth[cell] = depth
        self.values[cell][EDGES[first] : EDGES[depth]] = values

    def _values(self, row: int, col: int, cell: int, first: int, depth: int) -> list[int]:
        left = cell - 1 if col and self.depth[cell - 1] else None
        up = cell - self.cols if row and self.depth[cell - self.cols] else None
        old, old_depth, table = self.values[cell], self.held[cell], self.tables["value"]
        contexts: list[int] = []
        for level in range(first, depth):
            sides = [self.values[c] for c in (left, up) if c is not None and self.depth[c] > level]
            places = range(EDGES[level], EDGES[level + 1])
            near = [sides[0][p] + sides[-1][p] for p in places] if sides else [NEIGHBOURS - 1] * len(places)
            held = old[places.start : places.stop] if old_depth > level else [NO_VALUE] * len(places)
            contexts += [
                (p * (VALUES + 1) + value) * NEIGHBOURS + n for p, value, n in zip(places, held, near, strict=True)
            ]
        return self.decoder.run([table[context] for context in contexts])

    def _move(self, row: int, col: int, cell: int) -> None:
        x = self.read(self.tables["move_x"][self.last_move[0]])
        y = self.read(self.tables["move_y"][self.last_move[1]])
        self.last_move = (x, y)
        source_row, source_col = row + y - MOVE_REACH, col + x - MOVE_REACH
        inside = 0 <= source_row < self.rows and 0 <= source_col < self.cols
        if not inside or self.before.depth[source_row, source_col] == 0 or (x == y == MOVE_REACH):
            raise PayloadError(f"cell {row},{col} is moved from {source_row},{source_col}, which holds nothing")
        self.edits.kind[row, col] = Kind.MOVE
        self.edits.move[row, col] = x - MOVE_REACH, y - MOVE_REACH
        self.depth[cell] = int(self.before.depth[source_row, source_col])
        self.values[cell] = self.before.values[source_row, source_col].tolist()


def _edited_around(edited: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(rows, cols): left, up-left, up and up-right edited, as a number from 0 to 15."""
    wide = np.pad(edited, ((1, 0), (1, 1))).astype(np.int64)
    return wide[1:, :-2] * 8 + wide[:-1, :-2] * 4 + wide[:-1, 1:-1] * 2 + wide[:-1, 2:]


def _cheapest_density(
    around: NDArray[np.int64], unknown: NDArray[np.bool_], edited: NDArray[np.bool_], tables: Tables
) -> int:
    costs = tables.whole_costs["edited"][:, around, unknown.astype(int), edited.astype(int)]  # (DENSITIES, cells)
    return int((costs.sum(1) + tables.whole_costs["density"]).argmin())


def _value_contexts(before: Canvas, after: Canvas) -> NDArray[np.int64]:
    """(rows, cols, CHANNELS): the flattened context of every value, were it coded."""
    held = np.where(known(before.depth), before.values, NO_VALUE).astype(np.int64)
    values, told = after.values.astype(np.int64), known(after.depth)
    left, up = (np.zeros_like(values) for _ in range(2))
    has_left, has_up = (np.zeros_like(told) for _ in range(2))
    left[:, 1:], has_left[:, 1:] = values[:, :-1], told[:, :-1]
    up[1:], has_up[1:] = values[:-1], told[:-1]
    near = np.where(has_left, left, up) + np.where(has_up, up, left)
    near = np.where(has_left | has_up, near, NEIGHBOURS - 1)
    return (np.arange(CHANNELS) * (VALUES + 1) + held) * NEIGHBOURS + near


def value_costs(before: Canvas, values: NDArray[np.uint8], tables: Tables) -> NDArray[np.float32]:
    """(rows, cols, LEVELS): about how many bits each level's values would cost now, neighbours taken as in `values`."""
    full = replace(before, values=values, depth=np.full_like(before.depth, LEVELS))
    contexts = _value_contexts(before, full)
    costs = tables.costs["value"].reshape(-1, VALUES)[contexts, values]
    return np.add.reduceat(costs, EDGES[:-1], axis=-1)


def _encode_pan(coder: RangeEncoder, number: int, tables: Tables) -> None:
    zigzag = 2 * number if number >= 0 else -2 * number - 1
    symbol = min(zigzag, PAN_ESCAPE)
    coder.encode(tables.intervals[symbols("pan", 0, symbol)].tolist())
    if symbol == PAN_ESCAPE:
        coder.bits(zigzag, PAN_RAW_BITS)


def _decode_pan(decoder: RangeDecoder, tables: Tables) -> int:
    zigzag = decoder.decode(tables.lists["pan"][0])
    if zigzag == PAN_ESCAPE:
        zigzag = decoder.bits(PAN_RAW_BITS)
    return -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2
