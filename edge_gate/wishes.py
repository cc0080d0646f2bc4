"""What the receiver's application wishes of the gate: the keys of a Feedback map, and what they make of a gain.

    application --Wishes--to_map--> Feedback --read--> Wishes --counts--> a factor for every gain of every cell

- `kbps`, `tokens_per_s`: numbers above 0. No more than this over any second; they lower the sender's caps only.
- `interest`: a number, held to 1/16 to 16. What everything counts: below 1 where nobody asks, above it where a question
  waits.
- `attention`: `{"at": [x, y], "cols": n, "weights": bytes}`. What the model looks at: a byte a cell, row by row, `n` to
  a row; the first cell is that of scene pixel `at`. Gains count by the weight's root, LEAST to MOST times, about once
  on average in sight.
- `detail`: up to 8 of `[x, y, width, height]` in scene pixels. To be read: every level of each cell that they touch is
  wanted.

Every feedback states all wishes anew, and holds until the next. Any map can be read: what is missing or makes no sense
is as if it were not there, and no number of a peer's decides how much is allocated.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Seen = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # left, top, width, height in scene pixels

LEAST, MOST = 0.25, 4.0  # what attention makes of a gain
DETAIL = 64.0  # what a gain counts where detail is wished for: even the level for pictures is worth a dear bit
MOST_BOXES = 8
MOST_INTEREST = 16.0
MOST_PLACE = 1 << 30  # scene pixels from where the scene began


@dataclass(frozen=True)
class Attention:
    """How much each cell of a window onto the scene is looked at."""

    at: tuple[int, int]  # (x, y), a scene pixel of the first cell; a canvas's `position` for all of it
    cols: int
    weights: bytes  # a byte a cell, row by row

    def __post_init__(self) -> None:
        if self.cols < 1 or not self.weights or len(self.weights) % self.cols:
            raise ValueError(f"{len(self.weights)} weights are no rows of {self.cols}")
        if max(map(abs, self.at)) > MOST_PLACE:
            raise ValueError(f"position {self.at} leaves the scene")

    @classmethod
    def of(cls, weights: Floats, at: tuple[int, int]) -> Self:
        """From weights (rows, cols) of 0 and more, of any scale; a packet holds about a thousand."""
        whole = np.rint(weights * (255 / max(float(weights.max()), 1e-9)))
        return cls(at, weights.shape[1], whole.astype(np.uint8).tobytes())


@dataclass(frozen=True)
class Wishes:
    """All that is wished at one time."""

    kbps: float = math.inf
    tokens_per_s: float = math.inf
    interest: float = 1.0
    attention: Attention | None = None
    detail: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if not (self.kbps > 0 and self.tokens_per_s > 0):
            raise ValueError(f"caps must be above zero, not {self.kbps} kbps and {self.tokens_per_s} tokens/s")
        if not 1 / MOST_INTEREST <= self.interest <= MOST_INTEREST:
            raise ValueError(f"interest {self.interest} is not 1/{MOST_INTEREST:g} to {MOST_INTEREST:g}")
        if len(self.detail) > MOST_BOXES or not all(map(_is_box, self.detail)):
            raise ValueError(f"detail is up to {MOST_BOXES} boxes in the scene, not {self.detail}")

    def to_map(self) -> dict[str, object]:
        """As a Feedback's map; what is as without a wish is left out."""
        out: dict[str, object] = {}
        for name in ("kbps", "tokens_per_s"):
            if getattr(self, name) < math.inf:
                out[name] = getattr(self, name)
        if self.interest != 1:
            out["interest"] = self.interest
        if self.attention is not None:
            at, cols, weights = list(self.attention.at), self.attention.cols, self.attention.weights
            out["attention"] = {"at": at, "cols": cols, "weights": weights}
        if self.detail:
            out["detail"] = [list(box) for box in self.detail]
        return out


def read(feedback: Mapping[str, object]) -> Wishes:
    """The wishes of any map: the inverse of `Wishes.to_map`."""
    boxes = feedback.get("detail")
    interest = _number(feedback.get("interest"), 1.0)
    return Wishes(
        kbps=_limit(feedback.get("kbps")),
        tokens_per_s=_limit(feedback.get("tokens_per_s")),
        interest=min(max(interest, 1 / MOST_INTEREST), MOST_INTEREST),
        attention=_read_attention(feedback.get("attention")),
        detail=tuple(tuple(box) for box in boxes[:MOST_BOXES] if _is_box(box)) if isinstance(boxes, list) else (),
    )


def counts(wishes: Wishes, position: tuple[int, int], in_sight: Seen, cell: int) -> Floats:
    """(rows, cols): by what all gains of a cell are multiplied; `position` is where the frame stands in the scene."""
    factor = np.ones(in_sight.shape, np.float32)
    if wishes.attention is not None:
        factor = attended(wishes.attention, position, in_sight, cell)
    factor[boxed(wishes.detail, position, in_sight.shape, cell)] = DETAIL
    return factor * np.float32(wishes.interest)


def attended(attention: Attention, position: tuple[int, int], in_sight: Seen, cell: int) -> Floats:
    """(rows, cols) from LEAST to MOST, about 1 on average in sight; 1 where nothing is said of a cell."""
    weights = np.frombuffer(attention.weights, np.uint8).reshape(-1, attention.cols)
    places = []
    for axis, count in enumerate(in_sight.shape):
        place = np.arange(count) + (position[1 - axis] // cell - attention.at[1 - axis] // cell)
        places.append((place, (place >= 0) & (place < weights.shape[axis])))
    (rows, down), (cols, across) = places
    said = np.ix_(down, across)
    of_said, seen = np.sqrt(weights[np.ix_(rows[down], cols[across])].astype(np.float32)), in_sight[said]
    factor = np.ones(in_sight.shape, np.float32)
    if of_said[seen].any():
        of_said = np.clip(of_said / of_said[seen].mean(), LEAST, MOST)
        factor[said] = np.clip(of_said / of_said[seen].mean(), LEAST, MOST)
    return factor


def boxed(boxes: tuple[Box, ...], position: tuple[int, int], shape: tuple[int, ...], cell: int) -> Seen:
    """(rows, cols): the cells that a box touches."""
    out = np.zeros(shape, bool)
    first_col, first_row = (place // cell for place in position)
    for left, top, width, height in boxes:
        rows = slice(max(0, top // cell - first_row), max(0, (top + height - 1) // cell - first_row + 1))
        cols = slice(max(0, left // cell - first_col), max(0, (left + width - 1) // cell - first_col + 1))
        out[rows, cols] = True
    return out


def _number(value: object, default: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return default
    return float(min(max(value, -sys.float_info.max), sys.float_info.max))


def _limit(value: object) -> float:
    number = _number(value, math.inf)
    return number if number > 0 else math.inf


def _read_attention(value: object) -> Attention | None:
    if not isinstance(value, Mapping):
        return None
    at, cols, weights = (value.get(name) for name in ("at", "cols", "weights"))
    if not isinstance(at, list) or len(at) != 2 or not all(map(_is_whole, at)):
        return None
    if not isinstance(cols, int) or not isinstance(weights, bytes):
        return None
    try:
        return Attention((at[0], at[1]), cols, weights)
    except ValueError:
        return None


def _is_box(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(map(_is_whole, value)):
        return False
    return min(value[2:]) >= 1 and max(map(abs, value)) <= MOST_PLACE


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
