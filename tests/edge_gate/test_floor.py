"""The floor under staleness: nothing gets too old, at an even pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.floor import Floor, overdue

SHAPE = (6, 7)


def play(floor: Floor, fps: float, seconds: float, lost: float = 0.0, seed: int = 0) -> tuple[list[int], float]:
    """Cells told a frame, and the oldest that any got, when what is due is told, and some of that is lost."""
    rng, in_sight = np.random.default_rng(seed), np.ones(SHAPE, bool)
    changed, told_s, oldest, counts = np.zeros(SHAPE, np.uint32), np.zeros(SHAPE), 0.0, []
    for k in range(round(seconds * fps)):
        due = floor.due(changed, in_sight, k / fps, 1000)
        floor.sent([k + 1], k / fps)
        oldest = max(oldest, float((k / fps - told_s).max()))
        if rng.random() >= lost:
            changed[due], told_s[due] = k + 1, k / fps
        counts.append(int(due.sum()))
    return counts, oldest


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
@pytest.mark.parametrize("refresh_s", [2.0, 5.0, 10.0])
def test_no_cell_gets_older_and_what_came_together_is_spread_out(refresh_s: float, fps: float) -> None:
    counts, oldest = play(Floor(refresh_s), fps, 4 * refresh_s)
    assert oldest <= refresh_s
    pace = 42 / refresh_s / fps
    assert max(counts) <= np.ceil(1.5 * pace)
    later = counts[len(counts) // 4 :]
    assert np.mean(later) == pytest.approx(pace, rel=0.4)


def test_what_is_lost_is_due_again_at_once() -> None:
    assert play(Floor(5.0), 10.0, 30.0, lost=0.3)[1] <= 5.0


@given(st.integers(0, 999), st.integers(0, 60), st.floats(0.5, 60))
def test_the_oldest_in_sight_come_first_and_no_more_than_may(seed: int, most: int, within_s: float) -> None:
    rng = np.random.default_rng(seed)
    age, in_sight = rng.uniform(0, 20, SHAPE), rng.random(SHAPE) < 0.8
    due = overdue(age, in_sight, within_s, most)
    late = in_sight & (age >= within_s)
    assert not due[~in_sight].any()
    assert min(late.sum(), most) <= due.sum() <= most
    if due.any() and (in_sight & ~due).any():
        assert age[due].min() >= age[in_sight & ~due].max()


def test_what_is_told_anyway_is_not_told_again() -> None:
    assert not overdue(np.full(SHAPE, 0.1), np.ones(SHAPE, bool), 5.0, 99).any()
    floor = Floor(5.0)
    for second in range(20):
        floor.sent([second + 1], float(second))
        assert not floor.due(np.full(SHAPE, second + 1, np.uint32), np.ones(SHAPE, bool), float(second), 99).any()


def test_without_a_floor_nothing_is_due() -> None:
    floor = Floor(0.0)
    floor.sent(range(100), 1.0)
    assert not floor.due(np.zeros(SHAPE, np.uint32), np.ones(SHAPE, bool), 1e6, 99).any()
