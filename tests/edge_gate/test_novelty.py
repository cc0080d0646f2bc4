"""The gate: scores that mean something, a glance that ignores the light, quiet that is counted right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.novelty import TICK_S, GateConfig, GlanceState, QuietState, coverage, glance, novelty

Floats = NDArray[np.float32]
LEVELS, SIZE, CELL = 4, 5, 16
CONFIG = GateConfig(floor=0.022, scale=0.05, news=0.2, calm=0.05, glance=2.5, look_every_s=1.0)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def drawn(rng: np.random.Generator, rows: int = 4, cols: int = 5) -> tuple[Floats, Floats, NDArray[np.uint8], Floats]:
    latents, held = rng.uniform(-1, 1, (2, rows, cols, LEVELS * SIZE)).astype(np.float32)
    depth = rng.integers(0, LEVELS + 1, (rows, cols)).astype(np.uint8)
    return latents, held, depth, (rng.random((LEVELS, SIZE)) + 0.01).astype(np.float32)


# Novelty


@given(generators)
def test_scores_lie_between_zero_and_one_and_the_unknown_scores_one(rng: np.random.Generator) -> None:
    latents, held, depth, weights = drawn(rng)
    score = novelty(latents, held, depth, weights, CONFIG)
    assert score.dtype == np.float32
    assert ((score >= 0) & (score <= 1)).all()
    assert (score[depth == 0] == 1).all()


@given(generators)
def test_what_is_held_scores_zero(rng: np.random.Generator) -> None:
    latents, _, depth, weights = drawn(rng)
    assert (novelty(latents, latents, depth, weights, CONFIG)[depth > 0] == 0).all()


@given(generators)
def test_only_levels_that_are_held_are_compared(rng: np.random.Generator) -> None:
    latents, held, depth, weights = drawn(rng)
    beyond = np.arange(LEVELS * SIZE) // SIZE >= depth[..., None]
    other = np.where(beyond, rng.uniform(-1, 1, held.shape), held).astype(np.float32)
    assert np.array_equal(
        novelty(latents, held, depth, weights, CONFIG), novelty(latents, other, depth, weights, CONFIG)
    )


@given(generators, st.floats(0, 1), st.floats(0, 1))
def test_further_away_is_no_less_new(rng: np.random.Generator, one: float, two: float) -> None:
    latents, held, depth, weights = drawn(rng)
    near, far = sorted((one, two))
    score = [
        novelty(held + np.float32(share) * (latents - held), held, depth, weights, CONFIG) for share in (near, far)
    ]
    assert (score[0] <= score[1] + 1e-5).all()


@given(generators, st.floats(0.1, 10))
def test_only_the_proportions_of_the_weights_count(rng: np.random.Generator, scale: float) -> None:
    latents, held, depth, weights = drawn(rng)
    assert np.allclose(
        novelty(latents, held, depth, weights, CONFIG),
        novelty(latents, held, depth, weights * np.float32(scale), CONFIG),
        atol=1e-4,
    )


def test_rounding_to_codes_is_no_news() -> None:
    held = np.zeros((1, 1, LEVELS * SIZE), np.float32)
    for apart, new in ((0.125, False), (0.4, True)):
        score = novelty(held + np.float32(apart), held, np.array([[2]], np.uint8), np.ones((LEVELS, SIZE)), CONFIG)
        assert bool(score[0, 0] > CONFIG.news) is new


# Coverage


@given(st.integers(2, 41), st.integers(2, 41), st.integers(0, CELL - 1), st.integers(0, CELL - 1))
def test_coverage_adds_up_to_the_frame(rows: int, cols: int, x: int, y: int) -> None:
    shares = coverage(rows, cols, (x, y), CELL)
    assert shares.shape == (rows, cols)
    assert np.isclose(shares.sum(), (rows - 1) * (cols - 1), rtol=1e-5)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (shares[1:-1, 1:-1] == 1).all()
    pixels = np.zeros((rows * CELL, cols * CELL))
    pixels[y : y + (rows - 1) * CELL, x : x + (cols - 1) * CELL] = 1
    assert np.allclose(shares, pixels.reshape(rows, CELL, cols, CELL).mean((1, 3)), atol=1e-6)


# The glance


def picture(rng: np.random.Generator) -> Floats:
    small = rng.uniform(30, 200, (8, 10)).astype(np.float32)
    return small.repeat(8, 0).repeat(8, 1)


@given(generators, st.floats(0.9, 1.1))
def test_a_change_of_gain_wakes_nobody(rng: np.random.Generator, gain: float) -> None:
    seen = picture(rng)
    due, state = glance(GlanceState(), seen, 0.0, CONFIG)
    assert due
    due, after = glance(state, seen * np.float32(gain), 0.5, CONFIG)
    assert not due
    assert after is state


@given(generators, st.floats(0, 2.0))
def test_sensor_noise_wakes_nobody(rng: np.random.Generator, sigma: float) -> None:
    seen = picture(rng)
    _, state = glance(GlanceState(), seen, 0.0, CONFIG)
    due, _ = glance(state, seen + rng.normal(0, sigma, seen.shape).astype(np.float32), 0.1, CONFIG)
    assert not due


@given(generators, st.integers(0, 7), st.integers(0, 9), st.sampled_from([-20, 20, 60]))
def test_a_small_local_change_wakes(rng: np.random.Generator, row: int, col: int, change: int) -> None:
    seen = picture(rng)
    _, state = glance(GlanceState(), seen, 0.0, CONFIG)
    other = seen.copy()
    other[row * 8 : row * 8 + 8, col * 8 : col * 8 + 8] += change
    due, after = glance(state, other, 0.1, CONFIG)
    assert due
    assert after.looked_s == 0.1
    assert not glance(after, other, 0.2, CONFIG)[0]


@settings(max_examples=20)
@given(st.sampled_from([5, 10, 25, 30]), st.floats(0.2, 3.0))
def test_it_looks_every_so_often_at_a_still_picture(fps: int, every: float) -> None:
    config = replace(CONFIG, look_every_s=every)
    seen = picture(np.random.default_rng(0))
    state, looks = GlanceState(), []
    for k in range(10 * fps):
        due, state = glance(state, seen, k / fps, config)
        looks += [k / fps] if due else []
    assert looks[0] == 0.0
    gaps = np.diff(looks)
    assert ((gaps >= every - 2 * TICK_S) & (gaps < every + 1 / fps + 1e-9)).all()
    assert 10 - looks[-1] <= every + 1 / fps + 1e-9


def test_slow_change_adds_up_until_it_wakes() -> None:
    seen = picture(np.random.default_rng(0))
    config = replace(CONFIG, look_every_s=100.0)
    state, looks = GlanceState(), 0
    for k in range(50):
        changing = seen.copy()
        changing[:8, :8] += 0.5 * k
        due, state = glance(state, changing, k / 10, config)
        looks += due
    assert 3 < looks < 15


@given(generators)
def test_a_glance_state_is_a_value(rng: np.random.Generator) -> None:
    seen, other = picture(rng), picture(rng)
    _, state = glance(GlanceState(), seen, 0.0, CONFIG)
    assert state.thumbnail is not None
    kept = state.thumbnail.copy()
    first, again = (glance(state, other.copy(), 0.4, CONFIG) for _ in range(2))
    assert first[0] == again[0]
    assert first[1].looked_s == again[1].looked_s
    assert first[1].thumbnail is not None
    assert again[1].thumbnail is not None
    assert np.array_equal(first[1].thumbnail, again[1].thumbnail)
    assert np.array_equal(state.thumbnail, kept)


def test_another_size_wakes() -> None:
    _, state = glance(GlanceState(), np.zeros((64, 64), np.float32), 0.0, CONFIG)
    assert glance(state, np.zeros((64, 72), np.float32), 0.1, CONFIG)[0]


def test_a_black_picture_is_no_division_by_zero() -> None:
    black = np.zeros((64, 64), np.float32)
    _, state = glance(GlanceState(), black, 0.0, CONFIG)
    assert not glance(state, black, 0.1, CONFIG)[0]
    lit = black.copy()
    lit[:8, :8] = 50
    assert glance(state, lit, 0.1, CONFIG)[0]


# Quiet


def test_quiet_is_counted_from_the_last_restlessness() -> None:
    state = QuietState.start(1, 3, 1.0)
    score = np.array([[0.0, CONFIG.calm, 0.9]], np.float32)
    watched = state.watched(score, 2.0, CONFIG)
    assert np.allclose(watched.quiet_s(2.5), [[1.5, 1.5, 0.5]])
    assert np.allclose(state.quiet_s(2.5), 1.5)


@given(generators, st.integers(-6, 6), st.integers(-7, 7))
def test_quiet_moves_with_the_grid(rng: np.random.Generator, down: int, right: int) -> None:
    state = QuietState(rng.uniform(0, 5, (4, 5)))
    moved = state.shifted(down, right, 9.0)
    for row in range(4):
        for col in range(5):
            known = 0 <= row + down < 4 and 0 <= col + right < 5
            assert moved.since[row, col] == (state.since[row + down, col + right] if known else 9.0)


def test_an_unchanged_score_changes_nothing() -> None:
    state = QuietState.start(2, 2, 0.0)
    assert np.array_equal(state.watched(np.zeros((2, 2), np.float32), 7.0, CONFIG).since, state.since)
    assert state.quiet_s(7.0) == pytest.approx(7.0)
