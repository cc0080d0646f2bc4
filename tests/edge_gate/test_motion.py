"""Motion: the position follows the camera and nothing else; cell moves find what was planted."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.motion import PanState, cell_moves, luma, phase_shift, shrink, track_pan
from edge_gate.scene import Scene

Floats = NDArray[np.float32]
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def follow(scene: Scene, ks: range) -> list[PanState]:
    states: list[PanState] = []
    for k in ks:
        states.append(track_pan(states[-1] if states else None, luma(scene.frame(k).pixels)))
    return states


def texture(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A picture with detail of many sizes, 0 to 255."""
    out = np.zeros((height, width), np.float32)
    for side in (4, 8, 16, 32):
        small = rng.random((-(-height // side), -(-width // side)), dtype=np.float32)
        out += small.repeat(side, 0).repeat(side, 1)[:height, :width] * side
    return out * np.float32(255 / out.max())


def same(a: PanState, b: PanState) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(PanState))


# The camera


@pytest.mark.parametrize(
    ("variant", "size", "slack"),
    [("pan", (256, 256), 1.5), ("pan", (320, 192), 4.0), ("handheld", (256, 256), 1.5), ("handheld", (320, 192), 3.0)],
)
def test_the_position_follows_the_camera_and_never_drifts(variant: str, size: tuple[int, int], slack: float) -> None:
    scene = Scene(size, variant=variant)
    home = scene.camera(0)
    for k, state in enumerate(follow(scene, range(120))):
        truth = [now - then for now, then in zip(scene.camera(k), home, strict=True)]
        assert np.abs(np.subtract(state.position, truth)).max() < slack, k


def test_a_still_camera_never_moves_whatever_happens_in_front_of_it() -> None:
    scene = Scene((256, 256), variant="tour")
    before: PanState | None = None
    tripod = 0
    for k, state in enumerate(follow(scene, range(round(scene.duration_s * scene.fps)))):
        if before is not None and scene.camera(k) == scene.camera(k - 1):
            tripod += 1
            assert state.position == before.position, k
        before = state
    assert tripod > 100


@pytest.mark.parametrize("variant", ["still", "events"])
def test_noise_flicker_and_events_are_no_camera(variant: str) -> None:
    assert {state.position for state in follow(Scene((256, 256), variant=variant), range(100))} == {(0, 0)}


@settings(max_examples=10, deadline=None)
@given(generators, st.floats(1.0, 30.0), st.booleans())
def test_noise_on_anything_is_no_camera(rng: np.random.Generator, sigma: float, flat: bool) -> None:
    still = np.full((96, 128), 120, np.float32) if flat else texture(rng, 96, 128)
    state = None
    for _ in range(6):
        state = track_pan(state, still + rng.normal(0, sigma, still.shape).astype(np.float32))
        assert state.position == (0, 0)


@settings(max_examples=10, deadline=None)
@given(generators, st.sampled_from([(6, 0), (-5, 3), (0, 9)]))
def test_a_big_thing_that_passes_is_no_camera(rng: np.random.Generator, speed: tuple[int, int]) -> None:
    wall, thing = texture(rng, 128, 160), texture(rng, 64, 72)
    state = None
    for k in range(6):
        picture = wall.copy()
        x, y = 44 + speed[0] * k, 20 + speed[1] * k
        picture[y : y + 64, x : x + 72] = thing[: max(0, 128 - y), : max(0, 160 - x)]
        state = track_pan(state, picture)
        assert state.position == (0, 0)


@settings(max_examples=20, deadline=None)
@given(generators, st.integers(-20, 20), st.integers(-20, 20))
def test_a_whole_shift_is_found_exactly(rng: np.random.Generator, dx: int, dy: int) -> None:
    wall = texture(rng, 180, 200)
    key, seen = wall[30:150, 30:170], wall[30 + dy : 150 + dy, 30 + dx : 170 + dx]
    assert np.allclose(phase_shift(key, seen), (-dx, -dy), atol=0.5)
    assert track_pan(track_pan(None, key), seen).position == (dx, dy)


@settings(max_examples=15, deadline=None)
@given(generators, st.integers(-6, 6), st.integers(-6, 6))
def test_a_state_is_a_value(rng: np.random.Generator, dx: int, dy: int) -> None:
    wall = texture(rng, 100, 120)
    state = track_pan(None, wall[10:90, 10:110])
    kept = PanState(state.key.copy(), state.key_position, state.position)
    seen = np.ascontiguousarray(wall[10 + dy : 90 + dy, 10 + dx : 110 + dx])
    first, again = track_pan(state, seen), track_pan(state, seen.copy())
    assert same(first, again)
    assert same(state, kept)
    assert isinstance(first.position[0], int)


def test_the_future_never_changes_the_past() -> None:
    scene = Scene((128, 96), variant="handheld")
    whole = follow(scene, range(30))
    state = whole[14]
    for k in range(15, 30):  # go on from a state that was kept
        state = track_pan(state, luma(scene.frame(k).pixels))
    assert same(state, whole[-1])
    assert all(same(a, b) for a, b in zip(follow(scene, range(15)), whole, strict=False))


def test_another_size_begins_anew_where_the_camera_stood() -> None:
    rng = np.random.default_rng(0)
    wall = texture(rng, 120, 140)
    state = track_pan(track_pan(None, wall[:100, :120]), wall[5:105, 9:129])
    assert state.position == (9, 5)
    assert track_pan(state, texture(rng, 60, 80)).position == (9, 5)


def test_a_cut_to_another_scene_is_no_pan() -> None:
    rng = np.random.default_rng(3)
    state = None
    for _ in range(5):
        state = track_pan(state, texture(rng, 96, 128))
        assert state.position == (0, 0)


@settings(max_examples=30)
@given(generators, st.integers(1, 5), st.integers(5, 40), st.integers(5, 40))
def test_shrink_is_the_mean_of_blocks(rng: np.random.Generator, factor: int, rows: int, cols: int) -> None:
    picture = rng.random((rows, cols), dtype=np.float32)
    small = shrink(picture, factor)
    assert small.shape == (rows // factor, cols // factor)
    assert np.isclose(small[0, 0], picture[:factor, :factor].mean(), atol=1e-5)
    assert np.allclose(shrink(picture, 1), picture)


def test_luma_weighs_the_colours() -> None:
    pixels = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]], np.uint8)
    assert np.allclose(luma(pixels), [[255, 76.2, 149.7, 29.1, 0]], atol=0.1)
    assert luma(pixels).dtype == np.float32


# Cells

EDGES = (0, 3, 8, 18)  # levels of unequal size
LEVELS, NUMBERS = len(EDGES) - 1, EDGES[-1]


def known(depth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.arange(NUMBERS) < np.array(EDGES)[depth][..., None]


def moves_of(latents: Floats, held: Floats, depth: NDArray[np.uint8], news: NDArray[np.bool_]) -> NDArray[np.int8]:
    return cell_moves(latents, held, known(depth), news, reach=3, tolerance=0.02)


@settings(max_examples=60, deadline=None)
@given(generators, st.integers(-3, 3), st.integers(-3, 3), st.integers(1, LEVELS))
def test_a_planted_shift_is_found(rng: np.random.Generator, dx: int, dy: int, levels: int) -> None:
    shape = (9, 11)
    held = rng.uniform(-1, 1, (*shape, NUMBERS)).astype(np.float32)
    held[..., EDGES[levels] :] = 0
    latents = rng.uniform(-1, 1, held.shape).astype(np.float32)
    row, col = 4, 5
    latents[row, col, : EDGES[levels]] = held[row + dy, col + dx, : EDGES[levels]]
    news = np.zeros(shape, bool)
    news[row, col] = True
    moves = moves_of(latents, held, np.full(shape, levels, np.uint8), news)
    assert moves[row, col].tolist() == [dx, dy]
    moves[row, col] = 0
    assert not moves.any()


@settings(max_examples=40, deadline=None)
@given(generators)
def test_only_news_moves_and_only_from_what_is_held_nearby(rng: np.random.Generator) -> None:
    shape = (6, 7)
    held = rng.uniform(-0.3, 0.3, (*shape, NUMBERS)).astype(np.float32)
    latents = held[rng.permutation(6)][:, rng.permutation(7)]
    depth = rng.integers(0, LEVELS + 1, shape).astype(np.uint8)
    news = rng.random(shape) < 0.5
    moves = moves_of(latents, held, depth, news)
    assert moves.dtype == np.int8
    assert not moves[~news].any()
    for row, col in np.argwhere(moves.any(-1)):
        dx, dy = moves[row, col]
        assert max(abs(dx), abs(dy)) <= 3
        assert 0 <= row + dy < 6
        assert 0 <= col + dx < 7
        levels = depth[row + dy, col + dx]
        assert levels > 0
        apart = np.square(latents[row, col] - held[row + dy, col + dx])[: EDGES[levels]].mean()
        assert apart < 0.02


def test_a_cell_that_explains_itself_is_no_news_and_stays() -> None:
    rng = np.random.default_rng(0)
    held = np.tile(rng.uniform(-1, 1, NUMBERS), (5, 5, 1)).astype(np.float32)  # all alike: any move would do
    depth = np.full((5, 5), 2, np.uint8)
    assert not moves_of(held, held, depth, np.zeros((5, 5), bool)).any()
    assert not moves_of(held, held, depth, np.ones((5, 5), bool)).any()


def test_nothing_moves_where_nothing_is_held_or_nothing_fits() -> None:
    rng = np.random.default_rng(0)
    latents, held = rng.uniform(-1, 1, (2, 5, 5, NUMBERS)).astype(np.float32)
    everywhere = np.ones((5, 5), bool)
    assert not moves_of(latents, held, np.full((5, 5), LEVELS, np.uint8), everywhere).any()
    assert not moves_of(held, held, np.zeros((5, 5), np.uint8), everywhere).any()


def test_reach_zero_switches_moves_off() -> None:
    held = np.zeros((3, 3, NUMBERS), np.float32)
    news, depth = np.ones((3, 3), bool), np.full((3, 3), LEVELS, np.uint8)
    assert not cell_moves(held, held, known(depth), news, reach=0, tolerance=0.02).any()
