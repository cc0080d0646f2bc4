"""The gate: scores that mean something, a glance that ignores the light, quiet that is counted right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.novelty import (
    TICK_S,
    GateConfig,
    GlanceState,
    Losses,
    QuietState,
    coverage,
    glance,
    losses,
    novelty,
    steady,
    thumbnail,
)

Floats = NDArray[np.float32]
Known = NDArray[np.bool_]
EDGES = (0, 3, 8, 18)  # levels of unequal size
LEVELS, NUMBERS = len(EDGES) - 1, EDGES[-1]
CELL, UNIT = 32, 16
CONFIG = GateConfig(floor=0.022, scale=0.05, news=0.2, calm=0.05, glance=2.5, look_every_s=1.0)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def known_of(depth: NDArray[np.uint8]) -> Known:
    return np.arange(NUMBERS) < np.array(EDGES)[depth][..., None]


def drawn(rng: np.random.Generator, rows: int = 4, cols: int = 5) -> tuple[Floats, Floats, NDArray[np.uint8], Floats]:
    latents, held = rng.uniform(-1, 1, (2, rows, cols, NUMBERS)).astype(np.float32)
    depth = rng.integers(0, LEVELS + 1, (rows, cols)).astype(np.uint8)
    return latents, held, depth, (rng.random(NUMBERS) + 0.01).astype(np.float32)


# Novelty


@given(generators)
def test_scores_lie_between_zero_and_one_and_the_unknown_scores_one(rng: np.random.Generator) -> None:
    latents, held, depth, weights = drawn(rng)
    score = novelty(latents, held, known_of(depth), weights, CONFIG)
    assert score.dtype == np.float32
    assert ((score >= 0) & (score <= 1)).all()
    assert (score[depth == 0] == 1).all()


@given(generators)
def test_what_is_held_scores_zero(rng: np.random.Generator) -> None:
    latents, _, depth, weights = drawn(rng)
    assert (novelty(latents, latents, known_of(depth), weights, CONFIG)[depth > 0] == 0).all()


@given(generators)
def test_only_what_is_known_is_compared(rng: np.random.Generator) -> None:
    latents, held, depth, weights = drawn(rng)
    known = known_of(depth)
    other = np.where(known, held, rng.uniform(-1, 1, held.shape)).astype(np.float32)
    assert np.array_equal(
        novelty(latents, held, known, weights, CONFIG), novelty(latents, other, known, weights, CONFIG)
    )


@given(generators, st.floats(0, 1), st.floats(0, 1))
def test_further_away_is_no_less_new(rng: np.random.Generator, one: float, two: float) -> None:
    latents, held, depth, weights = drawn(rng)
    near, far = sorted((one, two))
    score = [
        novelty(held + np.float32(share) * (latents - held), held, known_of(depth), weights, CONFIG)
        for share in (near, far)
    ]
    assert (score[0] <= score[1] + 1e-5).all()


@given(generators, st.floats(0.1, 10))
def test_only_the_proportions_of_the_weights_count(rng: np.random.Generator, scale: float) -> None:
    latents, held, depth, weights = drawn(rng)
    assert np.allclose(
        novelty(latents, held, known_of(depth), weights, CONFIG),
        novelty(latents, held, known_of(depth), weights * np.float32(scale), CONFIG),
        atol=1e-4,
    )


def test_rounding_is_no_news() -> None:
    held, weights = np.zeros((1, 1, NUMBERS), np.float32), np.ones(NUMBERS, np.float32)
    for levels in range(1, LEVELS + 1):
        known = known_of(np.array([[levels]], np.uint8))
        for apart, new in ((0.125, False), (0.4, True)):
            score = novelty(held + np.float32(apart), held, known, weights, CONFIG)
            assert bool(score[0, 0] > CONFIG.news) is new


# Losses


def lost(rng: np.random.Generator, noise: float = 0.03) -> tuple[Losses, NDArray[np.uint8]]:
    latents, held, depth, weights = drawn(rng)
    rounded = (np.floor(latents * 4) + np.float32(0.5)) / 4
    return losses(latents, rounded, held, known_of(depth), weights, EDGES, noise), depth


@given(generators)
def test_a_loss_is_what_is_weighed_by_hand(rng: np.random.Generator) -> None:
    latents, held, depth, weights = drawn(rng)
    rounded = held + rng.normal(0, 0.3, held.shape).astype(np.float32)
    loss = losses(latents, rounded, held, known_of(depth), weights, EDGES, 0.03)
    for row, col, level in np.ndindex(4, 5, LEVELS):
        place = (row, col, slice(EDGES[level], EDGES[level + 1]))
        share, seen = weights[place[2]], latents[place]
        blank = float((share * seen**2).sum())
        off = float((share * np.maximum((seen - held[place]) ** 2 - 0.03, 0)).sum())
        assert np.isclose(loss.blank[row, col, level], blank, atol=1e-4)
        assert np.isclose(loss.now[row, col, level], off if level < depth[row, col] else blank, atol=1e-4)
        told = min(float((share * (seen - rounded[place]) ** 2).sum()), blank)
        assert np.isclose(loss.told[row, col, level], told, atol=1e-4)


@given(generators)
def test_a_gain_is_the_loss_before_less_the_loss_after(rng: np.random.Generator) -> None:
    loss, depth = lost(rng)
    set_gain, refine_gain = loss.set_gain(), loss.refine_gain(depth)
    assert set_gain.shape == refine_gain.shape == (4, 5, LEVELS)
    for row, col, level in np.ndindex(4, 5, LEVELS):
        now, blank, told = (part[row, col] for part in (loss.now, loss.blank, loss.told))
        after = told[: level + 1].sum() + blank[level + 1 :].sum()
        assert np.isclose(set_gain[row, col, level], now.sum() - after, atol=1e-4)
        missing = slice(depth[row, col], level + 1)
        assert np.isclose(refine_gain[row, col, level], (blank - told)[missing].sum(), atol=1e-4)


@given(generators)
def test_more_levels_never_spare_less_and_what_is_held_is_not_refined(rng: np.random.Generator) -> None:
    loss, depth = lost(rng)
    for gain in (loss.set_gain(), loss.refine_gain(depth)):
        assert (np.diff(gain, axis=-1) >= -1e-4).all()
    assert (loss.refine_gain(depth) >= 0).all()
    assert (loss.refine_gain(depth)[np.arange(LEVELS) < depth[..., None]] == 0).all()
    unknown = depth == 0
    assert np.allclose(loss.set_gain()[unknown], loss.refine_gain(depth)[unknown], atol=1e-4)


@given(generators)
def test_what_noise_explains_is_no_loss_and_not_worth_telling_again(rng: np.random.Generator) -> None:
    held, _, _, weights = drawn(rng)
    hiss = rng.uniform(-0.17, 0.17, held.shape).astype(np.float32)  # its square is below 0.03
    everything = np.ones(held.shape, bool)
    loss = losses(held + hiss, held, held, everything, weights, EDGES, 0.03)
    assert not loss.now.any()
    assert (loss.set_gain() <= 1e-5).all()


# Steadying


@given(generators)
def test_what_does_not_jump_is_averaged_and_what_jumps_is_taken_as_it_is(rng: np.random.Generator) -> None:
    latents, before, _, weights = drawn(rng)
    config = replace(CONFIG, jump=0.1, blend=0.35)
    near = before + rng.uniform(-0.2, 0.2, before.shape).astype(np.float32)  # mean square 0.013
    jumped = rng.random(before.shape[:2]) < 0.5
    latents = np.where(jumped[..., None], before + 1, near)
    before[0, 0] = np.nan  # came into view
    mixed = steady(before, latents, weights, config.jump, config.blend)
    fresh = jumped.copy()
    fresh[0, 0] = True
    assert np.array_equal(mixed[fresh], latents[fresh])
    assert np.allclose(mixed[~fresh], (0.65 * before + 0.35 * latents)[~fresh], atol=1e-5)
    assert steady(None, latents, weights, config.jump, config.blend) is latents


# Coverage

sides = st.integers(2, 60).map(lambda count: count * UNIT)


@given(st.tuples(sides, sides), st.integers(0, CELL - 1), st.integers(0, CELL - 1))
@example((48, 80), 0, 0)
@example((48, 80), 16, 17)
@example((1280, 720), 0, 0)
@example((1280, 720), 31, 15)
@example((368, 640), 20, 16)
def test_coverage_adds_up_to_the_frame(size: tuple[int, int], x: int, y: int) -> None:
    width, height = size
    rows, cols = -(-height // CELL) + 1, -(-width // CELL) + 1
    shares = coverage(size, (x, y), CELL)
    assert shares.shape == (rows, cols)
    assert np.isclose(shares.sum() * CELL * CELL, width * height, rtol=1e-5)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (shares[1:-2, 1:-2] == 1).all()
    pixels = np.zeros((rows * CELL, cols * CELL))
    pixels[y : y + height, x : x + width] = 1
    assert np.allclose(shares, pixels.reshape(rows, CELL, cols, CELL).mean((1, 3)), atol=1e-6)


@given(sides, sides)
def test_at_rest_every_cell_of_the_frame_is_shown_enough_to_be_sent(width: int, height: int) -> None:
    shares = coverage((width, height), (0, 0), CELL)
    assert (shares[:-1, :-1] >= GateConfig().coverage).all()
    assert not shares[-1].any()
    assert not shares[:, -1].any()


# The glance


def picture(rng: np.random.Generator) -> Floats:
    return rng.uniform(30, 200, (8, 10, 3)).astype(np.float32)


@given(generators, st.integers(8, 40), st.integers(8, 40))
def test_a_thumbnail_is_the_mean_of_blocks(rng: np.random.Generator, height: int, width: int) -> None:
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    small = thumbnail(frame)
    assert small.shape == (height // 8, width // 8, 3)
    row, col = (int(rng.integers(side)) for side in small.shape[:2])
    block = frame[row * 8 : row * 8 + 8, col * 8 : col * 8 + 8]
    assert np.allclose(small[row, col], block.mean((0, 1)), atol=1e-3)


@given(generators, st.floats(0.9, 1.1))
def test_a_change_of_gain_wakes_nobody(rng: np.random.Generator, gain: float) -> None:
    seen = picture(rng)
    due, state = glance(GlanceState(), seen, 0.0, CONFIG)
    assert due
    due, after = glance(state, seen * np.float32(gain), 0.5, CONFIG)
    assert not due
    assert after is state


@given(generators, st.floats(0, 4.0))
def test_sensor_noise_wakes_nobody(rng: np.random.Generator, sigma: float) -> None:
    frame = np.rint(picture(rng)).repeat(8, 0).repeat(8, 1)
    noisy = np.clip(np.rint(frame + rng.normal(0, sigma, frame.shape)), 0, 255).astype(np.uint8)
    _, state = glance(GlanceState(), thumbnail(frame.astype(np.uint8)), 0.0, CONFIG)
    due, _ = glance(state, thumbnail(noisy), 0.1, CONFIG)
    assert not due


@given(generators, st.integers(0, 7), st.integers(0, 9), st.sampled_from([-20, 20, 60]))
def test_a_small_local_change_wakes(rng: np.random.Generator, row: int, col: int, change: int) -> None:
    seen = picture(rng)
    _, state = glance(GlanceState(), seen, 0.0, CONFIG)
    other = seen.copy()
    other[row, col] += change
    due, after = glance(state, other, 0.1, CONFIG)
    assert due
    assert after.looked_s == 0.1
    assert after.woken
    due, later = glance(after, other, 0.1 + CONFIG.look_every_s, CONFIG)
    assert due
    assert not later.woken, "only its time had come"
    assert not glance(after, other, 0.2, CONFIG)[0]


@given(generators, st.integers(0, 7), st.integers(0, 9))
def test_another_colour_as_bright_wakes(rng: np.random.Generator, row: int, col: int) -> None:
    seen = picture(rng)
    _, state = glance(GlanceState(), seen, 0.0, CONFIG)
    other = seen.copy()
    other[row, col] += np.array([20, -10, -10], np.float32)
    assert glance(state, other, 0.1, CONFIG)[0]


@settings(max_examples=20)
@given(st.sampled_from([5, 10, 25, 30]), st.floats(0.2, 3.0))
def test_it_looks_less_and_less_often_at_a_still_picture(fps: int, every: float) -> None:
    config = replace(CONFIG, look_every_s=every, look_at_least_s=4 * every)
    seen = picture(np.random.default_rng(0))
    state, looks = GlanceState(), []
    for k in range(20 * fps):
        due, state = glance(state, seen, k / fps, config)
        looks += [k / fps] if due else []
    assert looks[0] == 0.0
    gaps = np.diff(looks)
    wanted = every * np.minimum(2.0 ** np.arange(len(gaps)), 4)
    assert ((gaps >= wanted - 2 * TICK_S) & (gaps < wanted + 1 / fps + 1e-9)).all()
    assert 20 - looks[-1] <= 4 * every + 1 / fps + 1e-9
    seen = seen + 20 * np.eye(8, 10, dtype=np.float32)[..., None]
    woken, state = glance(state, seen, 20.0, config)
    assert woken
    assert state.wait_s == every


def test_slow_change_adds_up_until_it_wakes() -> None:
    seen = picture(np.random.default_rng(0))
    config = replace(CONFIG, look_every_s=100.0)
    state, looks = GlanceState(), 0
    for k in range(50):
        changing = seen.copy()
        changing[0, 0] += 0.5 * k
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
    _, state = glance(GlanceState(), np.zeros((8, 8, 3), np.float32), 0.0, CONFIG)
    assert glance(state, np.zeros((8, 9, 3), np.float32), 0.1, CONFIG)[0]


def test_a_black_picture_is_no_division_by_zero() -> None:
    black = np.zeros((8, 8, 3), np.float32)
    _, state = glance(GlanceState(), black, 0.0, CONFIG)
    assert not glance(state, black, 0.1, CONFIG)[0]
    lit = black.copy()
    lit[0, 0] = 50
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
