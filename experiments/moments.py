"""When to tell each cell, were it known beforehand what comes: exact, by dynamic programming.

    latents of every frame --Spans--> what is missed by who holds a cell from one frame up to another
                           --moments--> what is missed, plus a price a telling, is least

What is missed is the gate's own measure: weighted squared distance, less what noise explains of each number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_gate.novelty import GateConfig, missed
from vidtok.tokenizer.fsq import dequantise, quantise

Floats = NDArray[np.float32]
Told = Callable[[Floats], Floats]  # what is seen from a telling until the next (t, ..., C) -> what is told (..., C)


@dataclass(frozen=True, eq=False)
class Spans:
    """What is missed of N cells over T frames."""

    held: Floats  # (T, T + 1, N): by who holds what is told at one frame up to another
    blank: Floats  # (T + 1, N): by who was told nothing up to a frame, which reads as zeros

    @classmethod
    def of(cls, latents: Floats, weights: Floats, told: Told) -> Spans:
        """From latents (T, N, C) and weights (C,)."""
        count, cells = latents.shape[:2]
        held = np.zeros((count, count + 1, cells), np.float32)
        for start in range(count):
            for end in range(start + 1, count + 1):
                span = latents[start:end]
                now = dequantise(quantise(told(span)))
                held[start, end] = (missed(span, now, np.True_, GateConfig.noise) @ weights).sum(0)
        never = np.cumsum(np.square(latents) @ weights, 0)
        return cls(held, np.concatenate([np.zeros((1, cells), np.float32), never]))


def moments(spans: Spans, price: float) -> NDArray[np.int64]:
    """(T, N): up to which frame a cell is held that is told now, 0 where it is not told now.

    The choice that makes what is missed, plus `price` a telling, least.
    """
    count, cells = len(spans.held), spans.held.shape[2]
    least, start = spans.blank.astype(np.float64), np.full((count + 1, cells), -1)
    for end in range(1, count + 1):
        cost = least[:end] + spans.held[:end, end] + price
        better = cost.min(0) < least[end]
        start[end, better] = cost.argmin(0)[better]
        least[end] = np.minimum(cost.min(0), least[end])
    until = np.zeros((count, cells), np.int64)
    for cell in range(cells):
        end = count
        while (told := start[end, cell]) >= 0:
            until[told, cell], end = end, told
    return until


def first(span: Floats) -> Floats:
    """What is seen in the frame of the telling."""
    return span[0]


def mean(span: Floats) -> Floats:
    """What is seen on average until the next telling."""
    return np.asarray(span.mean(0))
