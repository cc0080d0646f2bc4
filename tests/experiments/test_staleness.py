"""Staleness is exact: it agrees with hand-made curves and with dense sampling of any other."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.staleness import Tooth, first_shown, heal_time, mean, percentile, staleness

CAPTURED = [0.0, 1.0, 2.0, 3.0]
SHOWN = [0.5, 1.5, 3.5, 3.5]  # frame 2 never came by itself
SAMPLES = 1000

steps = st.integers(0, 50)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[float], list[float | None]]:
    """Frames captured at any times, each shown some time later or never."""
    times = np.cumsum(draw(st.lists(steps, min_size=1, max_size=12))) / 10
    late = [draw(st.none() | steps) for _ in times]
    shown = [None if wait is None else float(at + wait / 10) for at, wait in zip(times, late, strict=True)]
    return [float(at) for at in times], first_shown(shown)


def age_at(captured: list[float], shown: list[float | None], time_s: float) -> float:
    there = [at for at, seen in zip(captured, shown, strict=True) if seen is not None and seen <= time_s]
    return time_s - max(there, default=-math.inf)


def test_a_curve_made_by_hand() -> None:
    teeth = staleness(CAPTURED, SHOWN, 1.0, 4.0)
    assert teeth == [Tooth(1.0, 1.5, 1.0), Tooth(1.5, 3.5, 0.5), Tooth(3.5, 4.0, 0.5)]
    assert [percentile(teeth, percent) for percent in (0, 100)] == [0.5, 2.5]
    assert percentile(teeth, 50) == pytest.approx(1.25)  # half a second twice over below 1, then two teeth up to 1.5
    assert mean(teeth) == pytest.approx((0.5 * 1.25 + 2 * 1.5 + 0.5 * 0.75) / 3)


def test_an_even_stream_is_as_old_as_its_delay_and_up_to_a_frame_more() -> None:
    captured = [k / 10 for k in range(100)]
    teeth = staleness(captured, [at + 0.1 for at in captured], 1.0, 9.0)
    assert [percentile(teeth, percent) for percent in (0, 50, 95, 100)] == pytest.approx([0.1, 0.15, 0.195, 0.2])
    assert mean(teeth) == pytest.approx(0.15)


def test_before_anything_is_shown_the_age_has_no_end() -> None:
    teeth = staleness([0.0, 1.0], [None, 3.0], 0.0, 4.0)
    assert teeth == [Tooth(0.0, 3.0, math.inf), Tooth(3.0, 4.0, 2.0)]
    assert percentile(teeth, 25) == 3
    assert percentile(teeth, 26) == mean(teeth) == math.inf
    assert percentile(staleness([], [], 0.0, 1.0), 50) == math.inf


def test_a_newer_frame_stands_for_those_before_it() -> None:
    assert first_shown([1.0, None, 5.0, 3.0, None]) == [1.0, 3.0, 3.0, 3.0, None]


@given(histories(), steps, st.integers(1, 80))
def test_the_curve_is_that_of_any_moment(
    history: tuple[list[float], list[float | None]], start: int, length: int
) -> None:
    teeth = staleness(*history, start / 10, (start + length) / 10)
    assert (teeth[0].start_s, teeth[-1].end_s) == (start / 10, (start + length) / 10)
    assert all(one.end_s == other.start_s for one, other in pairwise(teeth))
    for tooth in teeth:
        middle = (tooth.start_s + tooth.end_s) / 2
        assert tooth.age_s + middle - tooth.start_s == pytest.approx(age_at(*history, middle))


@given(histories(), steps, st.integers(1, 80), st.integers(0, 100))
def test_percentiles_and_mean_agree_with_dense_sampling(
    history: tuple[list[float], list[float | None]], start: int, length: int, percent: int
) -> None:
    teeth = staleness(*history, start / 10, (start + length) / 10)
    moments = start / 10 + (np.arange(SAMPLES) + 0.5) / SAMPLES * length / 10
    ages = np.array([age_at(*history, float(moment)) for moment in moments])
    exact, tolerance = percentile(teeth, percent), 100 * (len(teeth) + 1) / SAMPLES
    if exact < math.inf:
        assert 100 * np.mean(ages <= exact + 1e-9) >= percent - tolerance
        assert 100 * np.mean(ages < exact - 1e-9) <= percent + tolerance
    else:
        assert 100 * np.mean(ages < math.inf) <= percent + tolerance
    if math.isfinite(mean(teeth)):
        assert mean(teeth) == pytest.approx(float(ages.mean()), abs=0.05)


def test_healing_is_the_first_frame_from_after_the_outage() -> None:
    assert heal_time(CAPTURED, SHOWN, 1.25) == 2.25
    assert heal_time(CAPTURED, SHOWN, 1.0) == 0.5
    assert heal_time(CAPTURED, [0.5, 1.5, None, None], 1.25) is None


def test_no_time_has_no_staleness() -> None:
    with pytest.raises(ValueError, match="after the start"):
        staleness(CAPTURED, SHOWN, 1.0, 1.0)
    with pytest.raises(ValueError, match="percentile"):
        percentile(staleness(CAPTURED, SHOWN, 1.0, 2.0), 101)
    with pytest.raises(ValueError, match="mean"):
        mean([])
