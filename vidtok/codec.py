"""The functional codec: `diff` says how to get from a base canvas to what is wanted, `patch` goes there.

    values seen now -+
    base canvas -----+--> diff --> Patch --> bitstream --> bytes --> bitstream --> Patch --> patch --> canvas
    levels wanted ---+      \\--> canvas (the very one that the other end will hold)

Both are pure; nothing remembers anything. Which cells are worth it is the gate's business, not the codec's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidtok.canvas import Canvas
from vidtok.edits import Kind, Pan, Patch, no_edits
from vidtok.tokenizer.fsq import CHANNELS, GIST_EDGES, GIST_LEVELS, LEVEL_OF, LEVELS

MOVE_REACH = 8  # cells, in each direction


def diff(
    values: NDArray[np.uint8],
    base: Canvas,
    set_to: NDArray[np.uint8],
    *,
    refine_to: NDArray[np.uint8] | None = None,
    pan: Pan = Pan(0, 0),  # noqa: B008 - a frozen value
    moves: NDArray[np.int8] | None = None,
    gist: NDArray[np.uint8] | None = None,
    gist_to: int = 0,
) -> Patch:
    """The patch that brings `base` to what is wanted.

    values (rows, cols, CHANNELS) are those seen through the panned grid; set_to (rows, cols) asks for that many levels
    afresh (0: leave the cell); refine_to asks for that many with the held ones kept, and counts only where it is more
    than is held; moves (rows, cols, 2) asks for a move where it is not (0, 0) and wins over both; the first gist_to
    levels of gist (GIST,) are told.
    """
    before = base.panned(pan.dx, pan.dy)
    rows, cols = before.depth.shape
    out = no_edits(rows, cols, pan)
    out.kind[set_to > 0] = Kind.SET
    out.depth[set_to > 0] = set_to[set_to > 0]
    if refine_to is not None:
        more = (refine_to > before.depth) & (before.depth > 0) & (set_to == 0)
        out.kind[more] = Kind.REFINE
        out.depth[more] = refine_to[more]
    if moves is not None:
        moving = moves.any(-1)
        out.kind[moving], out.depth[moving], out.move[moving] = Kind.MOVE, 0, moves[moving]
    told = told_values(out, before)
    out.values[told] = values[told]
    if gist is not None:
        out.gist[: GIST_EDGES[gist_to]] = gist[: GIST_EDGES[gist_to]]
        out = replace(out, gist_depth=gist_to)
    return out


def told_values(edits: Patch, before: Canvas) -> NDArray[np.bool_]:
    """(rows, cols, CHANNELS): the values that the patch itself carries, given the panned base."""
    first = np.where(edits.kind == Kind.REFINE, before.depth, 0)[..., None]
    return (first <= LEVEL_OF) & (edits.depth[..., None] > LEVEL_OF)


def patch(base: Canvas, edits: Patch, version: int) -> Canvas:
    """The canvas after the edits. Raises ValueError for edits that do not fit the base."""
    before = base.panned(edits.pan.dx, edits.pan.dy)
    values, depth, changed = before.values.copy(), before.depth.copy(), before.changed.copy()
    fresh, more, moving = (edits.kind == k for k in (Kind.SET, Kind.REFINE, Kind.MOVE))
    if (
        (edits.depth[fresh] == 0).any()
        or (edits.depth[more] <= before.depth[more]).any()
        or (edits.depth > LEVELS).any()
        or edits.gist_depth > GIST_LEVELS
    ):
        raise ValueError("an edit names levels that it cannot set")
    if (before.depth[more] == 0).any():
        raise ValueError("a refinement of a cell that was never set")
    told = told_values(edits, before)
    values[fresh] = 0
    values[told] = edits.values[told]
    depth[fresh | more] = edits.depth[fresh | more]
    if moving.any():
        if (edits.move[moving] > MOVE_REACH).any() or (edits.move[moving] < -MOVE_REACH).any():
            raise ValueError(f"a move from further than {MOVE_REACH} cells away")
        if not edits.move[moving].any(-1).all():
            raise ValueError("a move from where the cell is")
        rows, cols = np.nonzero(moving)
        sources = rows + edits.move[moving][:, 1], cols + edits.move[moving][:, 0]
        _check_sources(before, *sources)
        values[moving], depth[moving] = before.values[sources], before.depth[sources]
    changed[edits.kind > 0] = version
    gist, of_gist = before.gist.copy(), GIST_EDGES[edits.gist_depth]
    gist[:of_gist] = edits.gist[:of_gist]
    return replace(
        before,
        version=version,
        values=values,
        depth=depth,
        changed=changed,
        gist=gist,
        gist_depth=max(before.gist_depth, edits.gist_depth),
    )


def _check_sources(before: Canvas, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> None:
    inside = (rows >= 0) & (rows < before.depth.shape[0]) & (cols >= 0) & (cols < before.depth.shape[1])
    if not inside.all() or (before.depth[rows, cols] == 0).any():
        raise ValueError("a move from a cell that holds nothing")


def split(edits: Patch, parts: int) -> Iterator[Patch]:
    """The same edits as a chain of patches: pan, gist and moves first, the rest in raster order, evenly."""
    rest = np.flatnonzero((edits.kind == Kind.SET) | (edits.kind == Kind.REFINE))
    for number, chunk in enumerate(np.array_split(rest, parts)):
        rows, cols = edits.kind.shape
        out = no_edits(rows, cols, edits.pan if number == 0 else Pan(0, 0))
        if number == 0:
            moving = edits.kind == Kind.MOVE
            out.kind[moving], out.move[moving] = Kind.MOVE, edits.move[moving]
            out.gist[:] = edits.gist
            out = replace(out, gist_depth=edits.gist_depth)
        for mine, theirs in ((out.kind, edits.kind), (out.depth, edits.depth)):
            mine.flat[chunk] = theirs.flat[chunk]
        out.values.reshape(-1, CHANNELS)[chunk] = edits.values.reshape(-1, CHANNELS)[chunk]
        yield out
