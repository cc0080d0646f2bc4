"""What the model's state makes the server wish of a stream's edge. Sans-IO: the clock is an argument.

    nobody asks            --> interest 1/2        a question waits, or was answered just now --> interest 2
    an answer looked there --> attention           an answer was unsure                       --> detail where it looked
    reading falls behind   --> fewer tokens a second, then slowly more again

Wishes are stated anew only when they have changed, and never more often than every LEAST_S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_gate.wishes import Attention, Box, Wishes
from vidtok.canvas import CELL

ASKED, NOBODY = 2.0, 0.5  # interest while somebody asks, and when nobody has for long
HEEDED_S = 10.0  # how long an answer's attention and a wish for detail last
SOON_S = 2.0  # after a question, in which another may follow
QUIET_S = 60.0  # without a question, until nobody counts as asking
UNSURE = 0.5  # answers less sure than this wish for detail
MOST_CELLS = 4  # of detail
FEWEST, FEWER, MORE = 8.0, 0.7, 1.15  # tokens a second; what a step down and a step up make of the cap
STEP_S = 1.0  # between two steps
AT_EASE = 0.25  # of the room for waiting canvases: below it the cap rises again
LEAST_S = 0.25


@dataclass(frozen=True)
class State:
    """All that is remembered of one stream."""

    idle_s: float  # since when nobody has asked: the stream's beginning; never, where the server itself asks
    asked_s: float = -math.inf  # when somebody asked last
    asking: int = 0  # questions that wait for their answer
    attention: Attention | None = None
    detail: tuple[Box, ...] = ()
    heeded_s: float = -math.inf  # when attention and detail were wished for
    cap: float = math.inf  # tokens a second that reading keeps up with
    stepped_s: float = -math.inf
    stated: Wishes | None = None
    stated_s: float = -math.inf


def asked(state: State, now: float) -> State:
    """Somebody asks."""
    return replace(state, asked_s=now, asking=state.asking + 1)


def dropped(state: State, now: float) -> State:
    """A question has ended without an answer."""
    return replace(state, asked_s=now, asking=state.asking - 1)


def answered(state: State, looked: NDArray[np.float32], position: tuple[int, int], sure: float, now: float) -> State:
    """A question was answered; `looked` (rows, cols) says where the answer came from, in a frame at `position`."""
    state = dropped(state, now)
    if not looked.any():
        return state
    attention = Attention.of(looked, position)
    return replace(state, attention=attention, detail=_most_looked(looked, position, sure), heeded_s=now)


def _most_looked(looked: NDArray[np.float32], position: tuple[int, int], sure: float) -> tuple[Box, ...]:
    """The places that an unsure answer looked at most, in the scene."""
    if sure >= UNSURE:
        return ()
    best = np.argsort(-looked, axis=None)[:MOST_CELLS]
    rows, cols = np.unravel_index(best[looked.flat[best] > 0], looked.shape)
    first_x, first_y = (place // CELL * CELL for place in position)
    return tuple(
        (first_x + int(col) * CELL, first_y + int(row) * CELL, CELL, CELL) for row, col in zip(rows, cols, strict=True)
    )


def read(state: State, behind: float, rate: float, now: float) -> State:
    """Canvases are being read: `behind` is the share of their room that is taken, `rate` the tokens a second."""
    if now - state.stepped_s < STEP_S:
        return state
    if behind >= 1:
        return replace(state, cap=max(FEWEST, min(state.cap, rate) * FEWER), stepped_s=now)
    if behind < AT_EASE and state.cap < math.inf:
        cap = state.cap * MORE
        return replace(state, cap=math.inf if cap > 4 * max(rate, FEWEST) else cap, stepped_s=now)
    return state


def wishes(state: State, base: Wishes, now: float) -> tuple[State, Wishes | None]:
    """What is to be stated now; None when nothing has changed, or too little time has passed."""
    fresh = now - state.heeded_s < HEEDED_S
    near = state.asking > 0 or now - state.asked_s < SOON_S
    quiet = now - max(state.asked_s, state.idle_s) > QUIET_S
    interest = ASKED if near else NOBODY if quiet else 1.0
    wished = replace(
        base,
        tokens_per_s=min(base.tokens_per_s, state.cap),
        interest=base.interest * interest,
        attention=state.attention if fresh else base.attention,
        detail=state.detail if fresh else base.detail,
    )
    if wished == state.stated or now - state.stated_s < LEAST_S:
        return state, None
    return replace(state, stated=wished, stated_s=now), wished
