"""A floor under staleness: no cell in sight stays as it was told for longer than so many seconds.

    versions as they are sent, with their times --+
    version of each cell's last edit in the base --+--> ages --overdue--> cells to tell anew now

The ages are those of the base canvas, which the receiver is known (or fairly assumed) to hold: what a lost packet
carried was not told. Any edit counts as telling: a refinement says that what it refines still stands. What was told at
one time, a whole first picture, falls due spread out evenly. Array in, array out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Seen = NDArray[np.bool_]

LEAD_S = 0.5  # so long before its time a cell is due: it is not asked at every moment
_KEPT = 4.0  # times the floor: what was told longer ago is as old as can be


class Floor:
    """Remembers when versions were sent; says which cells are due. Without a floor (0) it does neither."""

    def __init__(self, refresh_s: float) -> None:
        self.refresh_s = refresh_s
        self._sent_s: dict[int, float] = {}

    def sent(self, versions: Iterable[int], time_s: float) -> None:
        """These versions have left."""
        if self.refresh_s > 0:
            self._sent_s |= dict.fromkeys(versions, time_s)
            oldest = time_s - _KEPT * self.refresh_s
            self._sent_s = {version: at for version, at in self._sent_s.items() if at >= oldest or version == 0}

    def due(self, changed: NDArray[np.uint32], in_sight: Seen, time_s: float, most: int) -> Seen:
        """(rows, cols): the cells to tell anew now, `most` at most; `changed` holds the version of each last edit."""
        if self.refresh_s <= 0:
            return np.zeros(in_sight.shape, bool)
        self._sent_s.setdefault(0, time_s)
        versions, place = np.unique(changed, return_inverse=True)
        sent_s = np.array([self._sent_s.get(int(version), -math.inf) for version in versions])
        within_s = max(self.refresh_s - LEAD_S, self.refresh_s / 2)
        return overdue(time_s - sent_s[place].reshape(changed.shape), in_sight, within_s, most)


def overdue(age_s: NDArray[np.float64], in_sight: Seen, within_s: float, most: int) -> Seen:
    """(rows, cols): the oldest cells, as many as an even pace is behind.

    At that pace all cells in sight are told within `within_s`, one after the other. The n-th oldest makes it late by as
    much as it would be told after its time, were the telling to begin now.
    """
    out = np.zeros(in_sight.shape, bool)
    cells = np.flatnonzero(in_sight)
    cells = cells[np.argsort(-age_s.ravel()[cells], kind="stable")]
    left_s = np.maximum(within_s - age_s.ravel()[cells], 0)
    behind = np.arange(1, len(cells) + 1) - left_s * len(cells) / within_s
    out.ravel()[cells[: min(int(behind.max(initial=0) + 1e-6), most)]] = True
    return out
