"""The stream of visual tokens: what is told to the model when a canvas takes another's place. Only numpy.

    canvas before --+
                    +--> what differs, or was told again --> Tokens, in one order for training and for serving
    canvas now -----+

A cell's token carries all that the cell holds and held before, so that a token can be read alone and the older one of
the same place may be forgotten. The whole sequence, with the text around it:

    [BOS] text [SOV] meta [SOT] visual tokens ... [EOV] question [ANS] answer [EOS]
                                              ^ stays open: edits are added here as they come

`meta` is the first visual token: it tells of the stream, not of a place.

What is lost on the way needs no word: the next canvas is compared with what the model was last told, so that whatever a
lost packet undid or left out is a token of kind BACK or a later SET. A token that was long under way says how long.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vidtok.canvas import CELL, Canvas, Grid, blank
from vidtok.tokenizer.fsq import EDGES, GIST, SEEN_LEVELS

SEEN = EDGES[SEEN_LEVELS]  # numbers of a cell that are made for the model
SPAN = 8.0  # the frame's height and width in the model's units of place


class Mark(IntEnum):
    """What a visual token tells."""

    META = 0  # a stream begins: its size and rate
    PAN = 1  # the camera moved
    SET = 2  # a place shows something new
    REFINE = 3  # a place shows the same, better known
    BACK = 4  # a place is again as an older version had it: what was told since got lost
    GIST = 5  # what the whole frame shows


GLOBAL = -(1 << 31)  # row and column of what has no place: gist, pan and meta each supersede their own kind


@dataclass(frozen=True, eq=False)
class Tokens:
    """Visual tokens in their order; arrays of n. Times are seconds of the stream's own clock."""

    mark: NDArray[np.uint8]
    time_s: NDArray[np.float64]  # when the camera saw it
    late_s: NDArray[np.float32]  # how long it was under way
    age_s: NDArray[np.float32]  # how long the place had stayed as it was
    row: NDArray[np.int32]  # of the scene, in cells; GLOBAL where there is none
    col: NDArray[np.int32]
    place: NDArray[np.float32]  # (n, 2), x and y of its middle in the scene, in units of which the frame has SPAN
    eye: NDArray[np.float32]  # (n, 2), where the middle of the frame stood then; (0, 0) when the stream began
    shift: NDArray[np.float32]  # (n, 2), how far a pan goes; of META the frame's size in units of 256 pixels
    depth: NDArray[np.uint8]  # levels made for the model that are held, of a cell or of the gist
    values: NDArray[np.uint8]  # (n, SEEN), zero where nothing is held
    old_depth: NDArray[np.uint8]  # as it was before
    old_values: NDArray[np.uint8]
    gist: NDArray[np.uint8]  # (GIST tokens among the n, GIST), in their order

    def __len__(self) -> int:
        return len(self.mark)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def chosen(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Those alone, in the order of `keep`."""
        number = np.cumsum(self.mark == Mark.GIST) - 1  # of each gist token among the gists
        out = {f.name: getattr(self, f.name)[keep] for f in fields(self) if f.name != "gist"}
        return type(self)(**out, gist=self.gist[number[keep][out["mark"] == Mark.GIST]])


@dataclass(frozen=True, eq=False)
class Told:
    """What the model has been told so far of one stream: all that the next tokens hang on."""

    canvas: Canvas
    time_s: NDArray[np.float64]  # (rows, cols), of each place's last token


def begin(canvas: Canvas, fps: float, time_s: float = 0.0) -> tuple[Told, Tokens]:
    """A stream of canvases like this one, of which nothing is known yet, and the token that says so."""
    meta, grid = _global(Mark.META, canvas, time_s), canvas.grid
    meta.shift[0] = grid.width / 256, grid.height / 256
    meta.age_s[0] = 1 / fps
    empty = replace(blank(grid), position=canvas.position)
    return Told(empty, np.full(canvas.depth.shape, time_s)), meta


def tell(told: Told, canvas: Canvas, time_s: float, late_s: float = 0.0) -> tuple[Told, Tokens]:
    """What is to be told when `canvas` takes the place of the one told last; pure, and empty if nothing is."""
    moved = canvas.position[0] - told.canvas.position[0], canvas.position[1] - told.canvas.position[1]
    before, since = told.canvas.panned(*moved), _shifted(told, canvas)
    parts = []
    if moved != (0, 0):
        parts.append(_global(Mark.PAN, canvas, time_s, late_s))
        parts[-1].shift[0] = _units(moved, canvas.grid)
    if canvas.gist_depth and (canvas.gist_depth != before.gist_depth or (canvas.gist != before.gist).any()):
        parts.append(_gist(canvas, before, time_s, late_s))
    mark = _marks(before, canvas)
    parts.append(_cells(mark, before, canvas, since, time_s, late_s))
    return Told(canvas, np.where(mark > 0, time_s, since)), Tokens.joined(parts)


def no_tokens() -> Tokens:
    """None at all."""
    canvas = blank(Grid(CELL, CELL))
    return _cells(np.zeros_like(canvas.depth), canvas, canvas, np.zeros(canvas.depth.shape), 0.0, 0.0)


def eye(canvas: Canvas) -> tuple[float, float]:
    """Where the frame's middle stands in the scene, in the model's units; (0, 0) when the stream began."""
    return _units(canvas.position, canvas.grid)


def _units(pixels: tuple[int, int], grid: Grid) -> tuple[float, float]:
    return pixels[0] * SPAN / grid.width, pixels[1] * SPAN / grid.height


def _marks(before: Canvas, now: Canvas) -> NDArray[np.uint8]:
    """(rows, cols): what each place's token tells, 0 where there is none."""
    held, had = (np.minimum(canvas.depth, SEEN_LEVELS) for canvas in (now, before))
    differs = (now.values[..., :SEEN] != before.values[..., :SEEN]).any(-1) | (held != had)
    again = (now.changed > before.version) & (now.depth <= SEEN_LEVELS)
    same = _alike(before, now, np.minimum(held, had))
    out = np.where(same & (held > had) & (had > 0), Mark.REFINE, Mark.SET)
    out[now.changed <= before.version] = Mark.BACK
    return np.where((differs | again) & (now.depth > 0) & now.visible(), out, 0).astype(np.uint8)


def _alike(a: Canvas, b: Canvas, depth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(rows, cols): whether both hold the same values on the first levels, `depth` of them."""
    counts = np.asarray(EDGES)[depth][..., None] > np.arange(SEEN)
    return np.asarray(((a.values[..., :SEEN] == b.values[..., :SEEN]) | ~counts).all(-1))


def _cells(
    mark: NDArray[np.uint8], before: Canvas, now: Canvas, since: NDArray[np.float64], time_s: float, late_s: float
) -> Tokens:
    """The tokens of places, in raster order."""
    at = rows, cols = np.nonzero(mark)
    n, grid = len(rows), now.grid
    row, col = rows + now.position[1] // CELL, cols + now.position[0] // CELL
    middle = np.stack([(col + 0.5) * CELL - grid.width / 2, (row + 0.5) * CELL - grid.height / 2], 1)
    return Tokens(
        mark=mark[at],
        time_s=np.full(n, time_s),
        late_s=np.full(n, late_s, np.float32),
        age_s=(time_s - since[at]).astype(np.float32),
        row=row.astype(np.int32),
        col=col.astype(np.int32),
        place=(middle * SPAN / (grid.width, grid.height)).astype(np.float32),
        eye=np.tile(np.array(eye(now), np.float32), (n, 1)),
        shift=np.zeros((n, 2), np.float32),
        depth=np.minimum(now.depth[at], SEEN_LEVELS),
        values=now.values[at][:, :SEEN],
        old_depth=np.minimum(before.depth[at], SEEN_LEVELS),
        old_values=before.values[at][:, :SEEN],
        gist=np.zeros((0, GIST), np.uint8),
    )


def _gist(canvas: Canvas, before: Canvas, time_s: float, late_s: float) -> Tokens:
    out = replace(_global(Mark.GIST, canvas, time_s, late_s), gist=canvas.gist[None])
    out.depth[0], out.old_depth[0] = canvas.gist_depth, before.gist_depth
    return out


def _global(mark: Mark, canvas: Canvas, time_s: float, late_s: float = 0.0) -> Tokens:
    """One token that has no place: it stands in the frame's middle."""
    middle = np.array([eye(canvas)], np.float32)
    return Tokens(
        mark=np.full(1, mark, np.uint8),
        time_s=np.full(1, time_s),
        late_s=np.full(1, late_s, np.float32),
        age_s=np.zeros(1, np.float32),
        row=np.full(1, GLOBAL, np.int32),
        col=np.full(1, mark, np.int32),
        place=middle,
        eye=middle,
        shift=np.zeros((1, 2), np.float32),
        depth=np.zeros(1, np.uint8),
        values=np.zeros((1, SEEN), np.uint8),
        old_depth=np.zeros(1, np.uint8),
        old_values=np.zeros((1, SEEN), np.uint8),
        gist=np.zeros((0, GIST), np.uint8),
    )


def _shifted(told: Told, canvas: Canvas) -> NDArray[np.float64]:
    """(rows, cols): the time of each place's last token, on the grid as it stands now."""
    right, down = (canvas.position[i] // CELL - told.canvas.position[i] // CELL for i in (0, 1))
    if not down and not right:
        return told.time_s
    (rows, from_rows), (cols, from_cols) = (
        _overlap(n, by) for n, by in zip(told.time_s.shape, (down, right), strict=True)
    )
    out = np.full_like(told.time_s, told.time_s.max())
    out[rows, cols] = told.time_s[from_rows, from_cols]
    return out


def _overlap(n: int, by: int) -> tuple[slice, slice]:
    """Of n places moved on by so many: where those that stay are now, and where they were."""
    by = max(-n, min(n, by))
    return slice(max(0, -by), n - max(0, by)), slice(max(0, by), n - max(0, -by))
